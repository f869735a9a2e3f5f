//! The contract between the controller and the mover: what a Job is to do, and what it answers.
//!
//! The task is given in the environment variable [`TASK_ENV`] and holds no secret. Credentials come as
//! restic's own variables from the run's Secret. The answer is the container's termination message.

use serde::{Deserialize, Serialize};

use crate::{
    api::{
        backup::Progress,
        common::{Retention, Time},
    },
    core::catalogue::Place,
};

/// The environment variable that holds the task, as JSON.
pub const TASK_ENV: &str = "STRONGROOM_TASK";
/// The environment variable that holds the URL of the base (from the run's Secret: a URL may hold credentials).
pub const BASE_URL_ENV: &str = "STRONGROOM_BASE_REPOSITORY";
/// The environment variable that holds PEM certificates of the repository server's authority (from the run's Secret).
pub const CA_ENV: &str = "STRONGROOM_CA";
/// The environment variable that names restic's program. Default: beside the mover's, or in PATH.
pub const RESTIC_ENV: &str = "STRONGROOM_RESTIC";
/// The environment variable that names another place for the answer than [`ANSWER_PATH`], for tests.
pub const ANSWER_ENV: &str = "STRONGROOM_ANSWER";
/// Where the mover writes its answer.
pub const ANSWER_PATH: &str = "/dev/termination-log";
/// The longest answer, in bytes: half of what Kubernetes keeps.
pub const MAX_ANSWER: usize = 2048;
/// Where a file system repository is mounted.
pub const REPOSITORY_MOUNT: &str = "/repository";
/// Where restic's cache is mounted.
pub const CACHE_MOUNT: &str = "/cache";
/// The tag that names the run of a snapshot: `run=<id>`.
pub const RUN_TAG: &str = "run=";
/// The tag that keeps mode and owner of the volume's root directory, which is not itself in a snapshot:
/// `root=<octal mode>:<uid>:<gid>`.
pub const ROOT_TAG: &str = "root=";

/// What a mover is to do.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// Say whether a repository is there, and its id.
    Probe,
    /// Create the repository (the base, once in its life).
    Create,
    /// Back volumes up.
    Backup(BackupTask),
    /// Find the snapshots to restore.
    Resolve(ResolveTask),
    /// Restore volumes and check them.
    Restore(RestoreTask),
    /// Apply retention and free space.
    Maintain(MaintainTask),
    /// Check the repository.
    Check(CheckTask),
    /// Remove the lock of a mover that was killed and had this one's host name.
    Unlock,
}

impl Task {
    /// Whether restic holds a lock in the repository while it does this.
    pub const fn locks(&self) -> bool {
        matches!(self, Self::Backup(_) | Self::Maintain(_) | Self::Check(_))
    }
}

/// Back volumes up.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupTask {
    /// The run's id.
    pub run: String,
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
    /// Whether to look for another program that writes the same history: one more start of restic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Box<Watch>>,
}

/// Whether a snapshot counts as good.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Verdict {
    /// Its id, in full.
    pub snapshot: String,
    /// Whether it does.
    pub good: bool,
}

/// By what the snapshots of another program are told from what came before us.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Watch {
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
    /// restic's id of the snapshot.
    pub snapshot: String,
    /// Where the volume is mounted.
    pub mount: String,
}

/// Apply retention and free space.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
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
}

/// Check the repository: its structure always, and a part of the data where one is named.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckTask {
    /// Which part of the data is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
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
    /// What is kept.
    pub retention: Retention,
    /// How another program that writes it too is known.
    #[serde(default)]
    pub watch: Watch,
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

/// What a mover answers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// restic's id of the repository, where it was learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a task.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The repository is there.
    Found,
    /// The repository was created.
    Created,
    /// Every volume has an entry: a snapshot, or why there is none.
    BackedUp(Vec<BackedUp>),
    /// The snapshots, one for each claim.
    Resolved(Vec<Resolved>),
    /// The volumes were filled and equal their snapshots.
    Restored(Vec<Restored>),
    /// Retention was applied.
    Maintained(Maintained),
    /// The repository was checked to its end.
    Checked(Checked),
    /// So many locks of a mover that was killed were removed.
    Unlocked(i64),
    /// It failed as a whole.
    Failed(Failure),
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

/// Why a task failed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// restic's own words, or ours; without secrets.
    pub message: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// No repository is at the URL (restic's exit code 10).
    NoRepository,
    /// The base is missing, or another one than the known.
    BaseChanged,
    /// Another process holds a lock (11).
    Locked,
    /// The password is wrong (12).
    WrongPassword,
    /// The repository does not answer, or refuses the credentials.
    Unreachable,
    /// No snapshot fits; the message lists what is there.
    NoSnapshot,
    /// Something could not be read (3).
    Partial,
    /// The volume is empty, or all of it is excluded.
    Empty,
    /// The volume or the repository is full.
    NoSpace,
    /// The restored data does not equal the snapshot.
    CheckFailed,
    /// The mover was told to stop (130, or a signal).
    Interrupted,
    /// Anything else.
    Fatal,
}

/// A line on the mover's standard output, for whoever looks meanwhile: `{"progress": {...}}` or `{"waits": "..."}`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// How far it is.
    Progress(Progress),
    /// What it waits for.
    Waits(String),
}
