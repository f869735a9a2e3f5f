//! What an ExternalSecret refers to: a key and a property, as users of External Secrets Operator write them, or a
//! reference of 1Password's own (`op://vault/item[/section]/field`).

use std::{collections::BTreeSet, fmt};

use crate::{
    api::external_secret::{Find, RemoteRef},
    core::problem::{Problem, Reason},
};

/// The scheme of 1Password's own references.
const SCHEME: &str = "op://";
/// What asks for the present one-time password instead of the field's value, as 1Password writes it.
const OTP: [&str; 2] = ["?attribute=otp", "?attribute=totp"];

/// What a key and property mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The vault, by name or id, where the reference names one.
    pub vault: Option<String>,
    /// The item, by title or id.
    pub item: String,
    /// What of it.
    pub part: Part,
}

/// What `find` asks for: the items of a title, with tags, and their fields and files whose names match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Only the items of this title.
    pub title: Option<String>,
    /// Only items that carry all of these.
    pub tags: BTreeSet<String>,
    /// Only fields and files in whose names this regular expression is found.
    pub label: Option<String>,
}

impl From<&Find> for Search {
    fn from(find: &Find) -> Self {
        Self {
            title: find.path.clone(),
            tags: find.tags.keys().cloned().collect(),
            label: find.name.as_ref().and_then(|name| name.regexp.clone()),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<String> = self.tags.iter().map(|tag| format!("{tag:?}")).collect();
        match (&self.title, tags.is_empty()) {
            (Some(title), true) => write!(f, "path {title:?}"),
            (Some(title), false) => write!(f, "path {title:?} and tags {}", tags.join(", ")),
            (None, false) => write!(f, "tags {}", tags.join(", ")),
            (None, true) => f.write_str("find"),
        }
    }
}

/// A part of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All fields; of a document all files.
    All,
    /// The field `password`; of a document its first file.
    Default,
    /// What has that label, id, `section/field` or file name.
    Named {
        /// The name.
        name: String,
        /// Which kinds of part may have it.
        kind: PartKind,
        /// Whether the present one-time password is meant.
        otp: bool,
    },
}

/// Which kinds of part a name may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Fields and files.
    Any,
    /// Fields only (`field/x`).
    Field,
    /// Files only (`file/x`).
    File,
}

impl Reference {
    /// Understands one entry of `data`.
    pub fn of_data(remote: &RemoteRef) -> Result<Self, Problem> {
        Self::parse(remote, Part::Default)
    }

    /// Understands an `extract`.
    pub fn of_extract(remote: &RemoteRef) -> Result<Self, Problem> {
        Self::parse(remote, Part::All)
    }

    fn parse(remote: &RemoteRef, whole: Part) -> Result<Self, Problem> {
        let property = remote.property.as_deref().filter(|property| !property.is_empty());
        let Some(path) = remote.key.strip_prefix(SCHEME) else {
            let part = property.map_or(whole, Part::named);
            return Ok(Self { vault: None, item: remote.key.clone(), part });
        };
        let key = &remote.key;
        let invalid = |why: &str| Problem::new(Reason::InvalidSpec, format!("remoteRef.key {key:?} {why}"));
        let mut parts = path.splitn(3, '/');
        let (Some(vault), Some(item)) = (parts.next(), parts.next()) else {
            return Err(invalid("names no item: write op://vault/item or op://vault/item/field"));
        };
        if vault.is_empty() || item.is_empty() {
            return Err(invalid("has an empty part: write op://vault/item or op://vault/item/field"));
        }
        let field = parts.next().filter(|field| !field.is_empty());
        let part = match (field, property) {
            (Some(_), Some(_)) => return Err(invalid("names a field already: remove property")),
            (Some(field), None) => Part::named(field),
            (None, Some(property)) => Part::named(property),
            (None, None) => whole,
        };
        Ok(Self { vault: Some(vault.to_owned()), item: item.to_owned(), part })
    }

    /// Whether the value changes with time, without the item's version telling.
    pub fn is_otp(&self) -> bool {
        matches!(self.part, Part::Named { otp: true, .. })
    }
}

impl Part {
    fn named(text: &str) -> Self {
        let plain = OTP.iter().find_map(|suffix| text.strip_suffix(suffix));
        let otp = plain.is_some();
        let text = plain.unwrap_or(text);
        let (name, kind) = match (text.strip_prefix("field/"), text.strip_prefix("file/")) {
            (Some(name), _) => (name, PartKind::Field),
            (None, Some(name)) if !otp => (name, PartKind::File),
            _ => (text, PartKind::Any),
        };
        Self::Named { name: name.to_owned(), kind, otp }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::{
        field,
        odd::{flaw, item, name},
    };

    fn remote(key: &str, property: Option<&str>) -> RemoteRef {
        serde_json::from_value(serde_json::json!({"key": key, "property": property})).unwrap()
    }

    fn named(name: &str, kind: PartKind, otp: bool) -> Part {
        Part::Named { name: name.into(), kind, otp }
    }

    #[test]
    fn understands_what_users_write() {
        use PartKind::{Any, Field, File};
        for (key, property, vault, item, part) in [
            ("radarr", None, None, "radarr", Part::Default),
            ("radarr", Some(""), None, "radarr", Part::Default),
            ("Nextcloud (Admin)", Some("private key"), None, "Nextcloud (Admin)", named("private key", Any, false)),
            ("1password/OP_TOKEN", Some("field/a/b"), None, "1password/OP_TOKEN", named("a/b", Field, false)),
            ("tls", Some("file/tls.key"), None, "tls", named("tls.key", File, false)),
            ("x", Some("one-time password?attribute=otp"), None, "x", named("one-time password", Any, true)),
            ("op://Kubernetes/radarr", None, Some("Kubernetes"), "radarr", Part::Default),
            ("op://Kubernetes/radarr", Some("key"), Some("Kubernetes"), "radarr", named("key", Any, false)),
            ("op://Kubernetes/radarr/key", None, Some("Kubernetes"), "radarr", named("key", Any, false)),
            ("op://K/i/sec/key", None, Some("K"), "i", named("sec/key", Any, false)),
            ("op://K/i/sec/key?attribute=otp", None, Some("K"), "i", named("sec/key", Any, true)),
        ] {
            let found = Reference::of_data(&remote(key, property)).unwrap();
            assert_eq!(
                found,
                Reference { vault: vault.map(str::to_owned), item: item.into(), part },
                "{key} {property:?}"
            );
        }
        assert_eq!(Reference::of_extract(&remote("radarr", None)).unwrap().part, Part::All);
    }

    #[test]
    fn refuses_references_without_meaning() {
        for (key, property) in
            [("op://vault", None), ("op:///item", None), ("op://v//f", None), ("op://v/i/f", Some("g"))]
        {
            let problem = Reference::of_data(&remote(key, property)).unwrap_err();
            assert_eq!(problem.reason, Reason::InvalidSpec, "{key}");
            assert!(problem.message.contains(key), "{}", problem.message);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Whatever stands in an ExternalSecret is understood or refused, the same each time, and whatever it asks of an
        /// item is answered without any other value being shown.
        #[test]
        fn any_reference_is_answered(
            key in prop_oneof![name(), name().prop_map(|name| format!("op://{name}"))],
            property in prop::option::of(name()),
            item in item(),
        ) {
            let remote = remote(&key, property.as_deref());
            for parse in [Reference::of_data, Reference::of_extract] {
                let reference = match parse(&remote) {
                    Ok(reference) => reference,
                    Err(problem) => {
                        prop_assert_eq!(problem.reason, Reason::InvalidSpec);
                        prop_assert!(problem.message.len() < 10 * key.len() + 200, "{problem}");
                        continue;
                    }
                };
                prop_assert_eq!(&parse(&remote).unwrap(), &reference);
                prop_assert!(reference.vault.is_some() == key.starts_with("op://"), "{key}");
                let asked = [field::one(&item, &reference.part).map(|_| ()), field::all(&item, &reference.part).map(|_| ())];
                for problem in asked.into_iter().filter_map(Result::err) {
                    prop_assert_eq!(flaw(&problem), None);
                }
            }
            if let Err(problem) = field::matching(&item, |name| name.len() < 9) {
                prop_assert_eq!(flaw(&problem), None);
            }
        }

        /// What is written as 1Password writes it means what it was written for.
        #[test]
        fn what_is_written_is_understood(vault in "[^/]{1,9}", item in "[^/]{1,9}", field in name(), otp in any::<bool>()) {
            prop_assume!(!field.is_empty() && OTP.iter().all(|suffix| !field.ends_with(suffix)));
            prop_assume!(["field/", "file/"].iter().all(|prefix| !field.starts_with(prefix)));
            let suffix = if otp { OTP[0] } else { "" };
            let part = named(&field, PartKind::Any, otp);
            for (key, property) in [
                (format!("op://{vault}/{item}/{field}{suffix}"), None),
                (format!("op://{vault}/{item}"), Some(format!("{field}{suffix}"))),
            ] {
                let expected = Reference { vault: Some(vault.clone()), item: item.clone(), part: part.clone() };
                prop_assert_eq!(Reference::of_data(&remote(&key, property.as_deref())).unwrap(), expected);
            }
        }
    }
}
