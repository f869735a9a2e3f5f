//! Which request it is: one reading of method and path, used for answering,
//! counting and choosing faults alike.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// The kinds of requests; their names are those of `GET /admin/counts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    #[serde(rename = "vaults.list")]
    VaultsList,
    #[serde(rename = "vault.get")]
    VaultGet,
    #[serde(rename = "items.list")]
    ItemsList,
    #[serde(rename = "item.create")]
    ItemCreate,
    #[serde(rename = "item.get")]
    ItemGet,
    #[serde(rename = "item.update")]
    ItemUpdate,
    #[serde(rename = "item.patch")]
    ItemPatch,
    #[serde(rename = "item.delete")]
    ItemDelete,
    #[serde(rename = "files.list")]
    FilesList,
    #[serde(rename = "file.get")]
    FileGet,
    #[serde(rename = "file.content")]
    FileContent,
    #[serde(rename = "activity.list")]
    ActivityList,
    #[serde(rename = "heartbeat")]
    Heartbeat,
    #[serde(rename = "health")]
    Health,
    #[serde(rename = "metrics")]
    Metrics,
    /// A known path, asked with a method that it does not have.
    #[serde(rename = "method-not-allowed")]
    MethodNotAllowed,
    #[serde(rename = "unknown")]
    Unknown,
}

impl Kind {
    /// The name, as in counts, faults and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::VaultsList => "vaults.list",
            Self::VaultGet => "vault.get",
            Self::ItemsList => "items.list",
            Self::ItemCreate => "item.create",
            Self::ItemGet => "item.get",
            Self::ItemUpdate => "item.update",
            Self::ItemPatch => "item.patch",
            Self::ItemDelete => "item.delete",
            Self::FilesList => "files.list",
            Self::FileGet => "file.get",
            Self::FileContent => "file.content",
            Self::ActivityList => "activity.list",
            Self::Heartbeat => "heartbeat",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Unknown => "unknown",
        }
    }
}

/// A request, recognised, with the IDs that its path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) kind: Kind,
    pub(crate) vault: String,
    pub(crate) item: String,
    pub(crate) file: String,
}

impl Route {
    /// Reads method and path. Slashes at the end are accepted: the JavaScript
    /// SDK asks for `/v1/vaults/`.
    pub(crate) fn parse(method: &Method, path: &str) -> Self {
        let segments: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (kind, ids): (Kind, &[&str]) = match segments.as_slice() {
            ["v1", "vaults"] => (get(method, Kind::VaultsList), &[]),
            ["v1", "vaults", vault] => (get(method, Kind::VaultGet), &[vault]),
            ["v1", "vaults", vault, "items"] if method == Method::POST => (Kind::ItemCreate, &[vault]),
            ["v1", "vaults", vault, "items"] => (get(method, Kind::ItemsList), &[vault]),
            ["v1", "vaults", vault, "items", item] => (one_item(method), &[vault, item]),
            ["v1", "vaults", vault, "items", item, "files"] => (get(method, Kind::FilesList), &[vault, item]),
            ["v1", "vaults", vault, "items", item, "files", file] => (get(method, Kind::FileGet), &[vault, item, file]),
            ["v1", "vaults", vault, "items", item, "files", file, "content"] => {
                (get(method, Kind::FileContent), &[vault, item, file])
            }
            ["v1", "activity"] => (get(method, Kind::ActivityList), &[]),
            ["heartbeat"] => (get(method, Kind::Heartbeat), &[]),
            ["health"] => (get(method, Kind::Health), &[]),
            ["metrics"] => (get(method, Kind::Metrics), &[]),
            _ => (Kind::Unknown, &[]),
        };
        let id = |n: usize| ids.get(n).map(|id| (*id).to_owned()).unwrap_or_default();
        Self { kind, vault: id(0), item: id(1), file: id(2) }
    }
}

fn get(method: &Method, kind: Kind) -> Kind {
    if method == Method::GET { kind } else { Kind::MethodNotAllowed }
}

fn one_item(method: &Method) -> Kind {
    match *method {
        Method::GET => Kind::ItemGet,
        Method::PUT => Kind::ItemUpdate,
        Method::PATCH => Kind::ItemPatch,
        Method::DELETE => Kind::ItemDelete,
        _ => Kind::MethodNotAllowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_the_sdks_is_recognised() {
        for (method, path, kind) in [
            (Method::GET, "/v1/vaults", Kind::VaultsList),
            (Method::GET, "/v1/vaults/", Kind::VaultsList),
            (Method::GET, "/v1/vaults/v", Kind::VaultGet),
            (Method::GET, "/v1/vaults/v/items/", Kind::ItemsList),
            (Method::POST, "/v1/vaults/v/items/", Kind::ItemCreate),
            (Method::GET, "/v1/vaults/v/items/i", Kind::ItemGet),
            (Method::PUT, "/v1/vaults/v/items/i", Kind::ItemUpdate),
            (Method::PATCH, "/v1/vaults/v/items/i", Kind::ItemPatch),
            (Method::DELETE, "/v1/vaults/v/items/i", Kind::ItemDelete),
            (Method::POST, "/v1/vaults/v/items/i", Kind::MethodNotAllowed),
            (Method::GET, "/v1/vaults/v/items/i/files/", Kind::FilesList),
            (Method::GET, "/v1/vaults/v/items/i/files/f", Kind::FileGet),
            (Method::GET, "/v1/vaults/v/items/i/files/f/content", Kind::FileContent),
            (Method::GET, "/v1/activity", Kind::ActivityList),
            (Method::GET, "/heartbeat", Kind::Heartbeat),
            (Method::GET, "/v1/heartbeat", Kind::Unknown),
            (Method::GET, "/vaults", Kind::Unknown),
            (Method::GET, "/", Kind::Unknown),
        ] {
            assert_eq!(Route::parse(&method, path).kind, kind, "{method} {path}");
        }
    }

    #[test]
    fn identifiers_are_taken_from_the_path() {
        let route = Route::parse(&Method::GET, "/v1/vaults/My%20vault/items/i/files/f/content");
        assert_eq!((route.vault.as_str(), route.item.as_str(), route.file.as_str()), ("My vault", "i", "f"));
    }

    #[test]
    fn names_are_the_same_in_json() {
        for kind in [Kind::VaultsList, Kind::FileContent, Kind::Unknown, Kind::ItemPatch] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
