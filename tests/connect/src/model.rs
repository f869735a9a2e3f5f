//! The objects of the Connect API, in the JSON of its published OpenAPI
//! document: values that are empty or false are left out, and timestamps
//! are written as Go writes them (the server is a Go program).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, sync::Arc};

/// A moment, in UTC, with up to nine decimals and no trailing zeros
/// (`2021-04-10T17:20:05.98944527Z` in the official documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) DateTime<Utc>);

impl Stamp {
    /// The given moment, but always later than `self`.
    pub(crate) fn advance(self, now: DateTime<Utc>) -> Self {
        Self(now.max(self.0 + chrono::TimeDelta::nanoseconds(1)))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.format("%Y-%m-%dT%H:%M:%S"))?;
        let nanos = self.0.timestamp_subsec_nanos();
        if nanos > 0 {
            write!(out, ".{}", format!("{nanos:09}").trim_end_matches('0'))?;
        }
        out.write_str("Z")
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A vault. `contentVersion` and `updatedAt` are what a client may watch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Vault {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) attribute_version: u64,
    pub(crate) content_version: u64,
    /// How many active items it holds.
    pub(crate) items: u64,
    #[serde(rename = "type")]
    pub(crate) kind: VaultKind,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

/// The types a vault can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum VaultKind {
    #[default]
    UserCreated,
    Personal,
    Everyone,
    Transfer,
}

/// What a list of items shows of each: no sections, fields or files.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) title: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    pub(crate) version: u64,
    pub(crate) vault: Reference,
    pub(crate) category: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) urls: Vec<Link>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) favorite: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<ItemState>,
    pub(crate) last_edited_by: String,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

/// A whole item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Item {
    #[serde(flatten)]
    pub(crate) summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sections: Vec<Section>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<Field>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<File>,
}

/// The state of an item that is not active (absent for active ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ItemState {
    Archived,
}

/// A reference to a vault or a section: its ID alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) id: String,
}

/// A website of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) label: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) primary: bool,
    pub(crate) href: String,
}

/// A section; its ID is unique within the item only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Section {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) label: String,
}

/// A field. `type` is a free text: the published list says `TOTP` where the
/// server says `OTP` (pull requests 26 and 88 of 1Password/connect).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) section: Option<Reference>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) purpose: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) label: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entropy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_details: Option<PasswordDetails>,
    /// The current one-time password; filled in when the item is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) totp: Option<String>,
}

/// What the server tells of a password. The history has old passwords in
/// clear, as the real server's has: clients must not keep or log it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PasswordDetails {
    pub(crate) entropy: u64,
    pub(crate) generated: bool,
    pub(crate) strength: &'static str,
    pub(crate) history: Vec<String>,
}

/// A file of an item. Its bytes are answered by the content endpoint, and in
/// base64 where `inline_files` asks for them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct File {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) size: usize,
    /// Snake case, unlike everything else (Connect changelog, 1.5.5).
    pub(crate) content_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    #[serde(skip)]
    pub(crate) bytes: Arc<[u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        Stamp(text.parse().unwrap()).to_string()
    }

    #[test]
    fn stamps_are_written_as_go_writes_them() {
        for text in [
            "2021-04-10T17:20:05.98944527Z",
            "2021-04-13T17:20:05.989445411Z",
            "2021-04-13T17:20:05.5Z",
            "2021-04-13T17:20:05Z",
        ] {
            assert_eq!(written(text), text);
        }
    }

    #[test]
    fn stamps_only_advance() {
        let first = Stamp("2021-04-13T17:20:05Z".parse().unwrap());
        let earlier = "2020-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(first.advance(earlier).to_string(), "2021-04-13T17:20:05.000000001Z");
    }
}
