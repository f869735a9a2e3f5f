//! The contract between the controller and the mover: what a Job is to do, and what it answers.
//!
//! The task is given in the environment variable [`TASK_ENV`] and holds no secret. Credentials come as
//! restic's own variables from the run's Secret. The answer is the container's termination message.

mod backup;
mod maintain;
mod restore;

use serde::{Deserialize, Serialize};

use crate::api::{backup::Progress, repository::Lock};

pub use backup::{BackedUp, BackupTask, BackupVolume, Guard, Others, Place, RateLimits, Verdict, Watch, Written};
pub use maintain::{CheckTask, Checked, Held, History, MaintainTask, Maintained, Part};
pub use restore::{ResolveTask, Resolved, RestoreTask, RestoreTaskVolume, Restored, Selection};

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
/// Where the mover's own space is mounted: restic's cache, its temporary files, and credentials that it wants as files.
pub const CACHE_MOUNT: &str = "/cache";
/// Where a cache is mounted that is kept from run to run. No credential is written there.
pub const KEPT_CACHE_MOUNT: &str = "/cache/kept";
/// The tag that names the run of a snapshot: `run=<id>`.
pub const RUN_TAG: &str = "run=";
/// The tag that names the cluster whose run it was: `cluster=<hash of its id>`.
pub const CLUSTER_TAG: &str = "cluster=";
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

/// What a mover answers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// restic's id of the repository, where it was learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// The locks that are left in the repository, where that was looked for; not more than
    /// [`TOLD`](crate::core::locks::TOLD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks: Option<Vec<Lock>>,
}

impl Answer {
    /// What came of it, in a repository of that id.
    pub const fn new(repository: Option<String>, outcome: Outcome) -> Self {
        Self { repository, outcome, locks: None }
    }
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
