//! Restoring: the tasks, and what came of them.

use serde::{Deserialize, Serialize};

use crate::api::common::Time;

use super::{BackupVolume, RateLimits};

/// Find the snapshots to restore.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResolveTask {
    /// What to look for, one for each claim.
    pub volumes: Vec<BackupVolume>,
    /// Which one.
    pub selection: Selection,
    /// Snapshots that are known not to be good (ids in full): chosen only by their id.
    #[serde(default)]
    pub not_good: Vec<String>,
    /// Snapshots that were accepted as good, which the base's catalogue does not know yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
}

/// Which snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// By id: at least eight characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The newest at or before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// So many before that.
    #[serde(default)]
    pub previous: u32,
}

/// Restore volumes and check them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTask {
    /// The run's id.
    pub run: String,
    /// The volumes.
    pub volumes: Vec<RestoreTaskVolume>,
    /// Limits in KiB a second.
    #[serde(default)]
    pub limits: RateLimits,
}

/// A volume to fill. It is mounted at `mount`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RestoreTaskVolume {
    /// The claim that it is for.
    pub claim: String,
    /// restic's id of the snapshot, in full.
    pub snapshot: String,
    /// Host that the snapshot has to have.
    pub host: String,
    /// Path that the snapshot has to have.
    pub path: String,
    /// Where the volume is mounted.
    pub mount: String,
}

/// A snapshot to restore.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Resolved {
    /// The claim.
    pub claim: String,
    /// restic's id, in full.
    pub snapshot: String,
    /// When it was made.
    pub time: Time,
    /// Files in it, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Bytes in it, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// A volume that was filled and checked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Restored {
    /// The claim.
    pub claim: String,
    /// Files, directories, links and so on in the snapshot, each of which was found in the volume.
    pub entries: i64,
    /// Bytes restored.
    pub bytes: i64,
    /// Seconds it took.
    pub seconds: i64,
}
