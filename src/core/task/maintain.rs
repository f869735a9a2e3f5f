//! Maintenance: the tasks, and what came of them.

use serde::{Deserialize, Serialize};

use crate::api::common::Retention;

use super::{Watch, Written};

/// Apply retention and free space.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MaintainTask {
    /// What to keep, for each history. A snapshot of no history here is kept.
    pub histories: Vec<History>,
    /// Snapshots that are known not to be good: they do not count as kept ones.
    #[serde(default)]
    pub not_good: Vec<String>,
    /// Snapshots that were accepted as good, which the base's catalogue does not know yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// Locks of others that someone wants removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlock: Vec<String>,
}

/// Check the repository: its structure always, and a part of the data where one is named.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckTask {
    /// Which part of the data is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Locks of others that someone wants removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlock: Vec<String>,
}

/// A part of a repository's data: the same packs each time, and all parts together are all data.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 1.
    pub number: u32,
    /// Of so many.
    pub of: u32,
}

/// The snapshots of one host and path, and what is kept of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct History {
    /// Host.
    pub host: String,
    /// Path.
    pub path: String,
    /// Namespace and name of the `VolumeBackup` that declares it.
    pub backup: String,
    /// The claim that it is of.
    #[serde(default)]
    pub claim: String,
    /// What is kept.
    pub retention: Retention,
    /// How another program that writes it too is known.
    #[serde(default)]
    pub watch: Watch,
}

/// A history that another program writes too, so that nothing of it was forgotten.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Held {
    /// Host.
    pub host: String,
    /// Path.
    pub path: String,
    /// Namespace and name of the `VolumeBackup` that declares it.
    pub backup: String,
    /// What was written.
    pub written: Written,
}

/// What came of maintenance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Maintained {
    /// Snapshots kept.
    pub kept: i64,
    /// Snapshots forgotten.
    pub forgotten: i64,
    /// Size of the repository in bytes.
    pub bytes: i64,
    /// The first history that another program writes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// What a check found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// How many errors.
    pub errors: i64,
    /// The first of them, in restic's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub first: String,
}
