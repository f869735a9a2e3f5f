//! Backing volumes up: the task, and what came of it.

use serde::{Deserialize, Serialize};

use crate::api::common::Time;

use super::Failure;

/// Back volumes up.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupTask {
    /// The run's id.
    pub run: String,
    /// What tells this cluster's snapshots from another one's.
    #[serde(default)]
    pub cluster: String,
    /// The volumes.
    pub volumes: Vec<BackupVolume>,
    /// With restic's id of the base: where no repository is yet, it is created, if the base is there and has that
    /// id. Without: a missing repository is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_under_base: Option<String>,
    /// What makes a snapshot suspicious.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// Where claims are backed up, which the base's catalogue does not know yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// Which older snapshots count as good, which the base's catalogue does not know yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// Patterns of what is left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Leaves out directories that hold such a file.
    #[serde(default)]
    pub exclude_if_present: Vec<String>,
    /// Leaves out directories marked as caches.
    #[serde(default)]
    pub exclude_caches: bool,
    /// Limits in KiB a second.
    #[serde(default)]
    pub limits: RateLimits,
    /// Locks of others that someone wants removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlock: Vec<String>,
    /// Whether to look for another program that writes the same history: one more start of restic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Box<Watch>>,
}

/// What is backed up where.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Place {
    /// Namespace of the `VolumeBackup`.
    pub namespace: String,
    /// Name of the `VolumeBackup`.
    pub name: String,
    /// The claim.
    pub claim: String,
    /// URL of the restic repository, without credentials.
    pub url: String,
    /// Host of its snapshots.
    pub host: String,
    /// Path of its snapshots.
    pub path: String,
}

/// Whether a snapshot counts as good.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Verdict {
    /// Its id, in full.
    pub snapshot: String,
    /// Whether it does.
    pub good: bool,
}

/// By what the snapshots of another program, or of another cluster, are told from what came before us.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Watch {
    /// What tells this cluster's snapshots from another one's.
    #[serde(default)]
    pub cluster: String,
    /// Since when the history is ours, at the latest: the oldest of our snapshots that is there may tell more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Until when someone accepted what another program wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Time>,
}

/// What the last good backup of a claim had, and the least share of it that is no reason for suspicion.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Guard {
    /// The claim.
    pub claim: String,
    /// Files.
    pub files: i64,
    /// Bytes.
    pub bytes: i64,
    /// In percent.
    pub percent: i64,
}

impl Guard {
    /// Whether a backup with so many files and bytes is suspicious.
    pub const fn is_shrunk(&self, files: i64, bytes: i64) -> bool {
        files.saturating_mul(100) < self.files.saturating_mul(self.percent)
            || bytes.saturating_mul(100) < self.bytes.saturating_mul(self.percent)
    }
}

/// Limits in KiB a second, as restic's options have them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct RateLimits {
    /// To the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<u64>,
    /// From the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download: Option<u64>,
}

/// A volume to back up. It is mounted at `path`, which restic records.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct BackupVolume {
    /// The claim that the data belongs to.
    pub claim: String,
    /// Host of the snapshot.
    pub host: String,
    /// Path of the snapshot, and where the volume is mounted.
    pub path: String,
}

/// Whether another program writes the same history.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Others {
    /// None does.
    None,
    /// One does.
    Wrote(Written),
}

/// The newest snapshot of another program.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Written {
    /// The beginning of its id.
    pub snapshot: String,
    /// When it was made.
    pub time: Time,
    /// Whether another cluster's Strongroom made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster: bool,
}

/// What came of one volume's backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackedUp {
    /// The claim.
    pub claim: String,
    /// The snapshot, in full; the one it rests on, where nothing had changed. None where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Whether nothing had changed, so that no new snapshot was stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
    /// Files seen.
    #[serde(default)]
    pub files: i64,
    /// Bytes seen.
    #[serde(default)]
    pub bytes: i64,
    /// Bytes added to the repository.
    #[serde(default)]
    pub added: i64,
    /// Seconds it took.
    #[serde(default)]
    pub seconds: i64,
    /// How many files could not be read: the snapshot is partial where this is not 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: i64,
    /// Why it failed, or the first paths that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Whether the base could not be told what there was to tell: the next run is to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untold: bool,
    /// Whether another program writes the same history, where that was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Others>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}
