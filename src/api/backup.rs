//! `VolumeBackup`: these claims are backed up. A standing declaration.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{
    ACCESS_MODES, Condition, Duration, MoverSpec, NAME, RepositoryKind, RepositoryRef, Retention, SCHEDULE, Time,
    never_observed,
};

/// Default of `stagingTimeout`.
pub const DEFAULT_STAGING_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Default of `deadline`.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// Default of a hook's `timeout`.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest `timeout` of a hook: the app is held still meanwhile.
pub const MAX_HOOK_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Default of `retries`.
pub const DEFAULT_RETRIES: u32 = 2;
/// Runs that the status keeps.
pub const KEPT_RUNS: usize = 10;
/// Snapshots that the status keeps.
pub const KEPT_SNAPSHOTS: usize = 20;

/// These claims are backed up.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "VolumeBackup",
    namespaced,
    status = "VolumeBackupStatus",
    category = "strongroom",
    derive = "Default",
    derive = "PartialEq",
    doc = "These claims are backed up: a standing declaration.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Last Run", type_ = "string", json_path = ".status.lastResult"),
    printcolumn(name = "Last Success", type_ = "date", json_path = ".status.lastSuccess"),
    printcolumn(name = "Next Run", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.claimSelector) || !has(self.claimNames)", "claimNames and claimSelector exclude each other"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct VolumeBackupSpec {
    /// The claims, by name. Default: the claim of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 253), regex(pattern = NAME)))]
    #[x_kube(validation = ("self.all(a, self.exists_one(b, a == b))", "claimNames names a claim twice"))]
    pub claim_names: Vec<String>,
    /// The claims, by label: those that have the labels when a run starts. With `matchLabels` alone, and one driver that
    /// has group snapshots, they are snapshotted as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_selector: Option<LabelSelector>,
    /// Where to. Default: the default `ClusterResticRepository`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub repository_refs: Vec<BackupRepositoryRef>,
    /// When: five-field cron with `H`, or `@hourly` and so on. Default: the repository's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(validation = SCHEDULE)]
    pub schedule: Option<String>,
    /// IANA time zone of the schedule. Default: the repository's, else UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The longest delay after a due time. Default: the repository's, else a tenth of the period, at most 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// What is kept. Default: the repository's, else everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// How movers run. What is set here beats the repository's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mover: Option<MoverSpec>,
    /// Runs once at once when the object is created. Default false: the first run is at the first due time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_on_create: bool,
    /// How the data is read. Default `Snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<BackupMethod>,
    /// Overrides the choice of the `VolumeSnapshotClass` by driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// Overrides the storage class of the staging claim. Default: the claim's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// Overrides the access modes of the staging claim, which the driver tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(validation = ACCESS_MODES)]
    pub access_modes: Vec<String>,
    /// Patterns of what restic leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub exclude: Vec<String>,
    /// Leaves out directories that hold a file of one of these names (`name[:header]`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub exclude_if_present: Vec<String>,
    /// Leaves out directories marked as caches (`CACHEDIR.TAG`). Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_caches: bool,
    /// Commands in the app's pod around the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// The longest time until snapshot and staging claim are usable. Default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staging_timeout: Option<Duration>,
    /// The longest time of a run, retries included. Default 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How often a failed run is tried again, each time from a fresh snapshot. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10))]
    pub retries: Option<u32>,
    /// A run with fewer files or bytes than this share of the last good one is `Suspect`. Default `50%`; `0%`
    /// switches it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self.matches('^[0-9]{1,2}%$')", "shrinkGuard is a percentage such as 50%"))]
    pub shrink_guard: Option<String>,
    /// Starts nothing new while true; running work finishes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// A repository, with its own times.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct BackupRepositoryRef {
    /// The repository object.
    #[serde(flatten)]
    pub repository: RepositoryRef,
    /// When. Default: the `VolumeBackup`'s, else the repository's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(validation = SCHEDULE)]
    pub schedule: Option<String>,
    /// What is kept. Default: the `VolumeBackup`'s, else the repository's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// How the data is read.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum BackupMethod {
    /// From a CSI snapshot.
    #[default]
    Snapshot,
    /// From a clone of the volume.
    Clone,
    /// From the volume itself, while the app runs: not crash-consistent.
    Direct,
}

/// Commands in the app's pod around the snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Hooks {
    /// Run in order before the snapshot. One that fails or takes too long ends the attempt: nothing is snapshotted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub before: Vec<Hook>,
    /// Run in order as soon as the snapshot is usable, and always: also where it could not be made, and more than once
    /// where the operator ended meanwhile. One that fails is told and does not spoil the backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub after: Vec<Hook>,
}

/// A command in the app's pod: a pod that is ready and uses the (first) claim.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Hook {
    /// The command and its arguments; no shell.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Container. Default: the pod's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = NAME))]
    pub container: Option<String>,
    /// Time limit, at most 5m. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) <= duration('5m')", "a hook's timeout is at most 5m: the app is held still meanwhile"))]
    pub timeout: Option<Duration>,
}

/// What is known about a `VolumeBackup`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct VolumeBackupStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// One word for the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What happens now, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The next due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// When the last good run ended, into whichever repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Time>,
    /// The worst result of the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_result: Option<RunResult>,
    /// The run in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// How each claim is read, and why so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimStatus>,
    /// The state in each repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<BackupRepositoryStatus>,
    /// The last ten runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunRecord>,
    /// The newest good snapshots, at most twenty, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotRecord>,
    /// The last handled value of `reconcile.fluxcd.io/requestedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last handled value of `reconcile.fluxcd.io/forceAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_force_at: Option<String>,
}

/// A `VolumeBackup`'s phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum BackupPhase {
    /// Nothing runs; the next run has its time.
    Idle,
    /// The claim is absent or pending.
    WaitingForClaim,
    /// A run is due and waits for its place.
    Queued,
    /// The volume is snapshotted and staged.
    Snapshotting,
    /// The mover runs.
    BackingUp,
    /// What the run needed is removed.
    Cleaning,
    /// No run can start until something is changed; the condition says what.
    Blocked,
    /// `spec.suspend` is true.
    Suspended,
}

/// Why a run started.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum RunTrigger {
    /// Its time came.
    Schedule,
    /// Someone asked.
    Manual,
    /// The object was created with `runOnCreate`.
    Create,
}

/// A run in progress.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Run {
    /// Its id, in the names of everything temporary.
    pub id: String,
    /// Why it started.
    pub trigger: RunTrigger,
    /// The due time that it serves, for a scheduled run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<Time>,
    /// When it started.
    pub started_at: Time,
    /// When this attempt started.
    pub attempt_started_at: Time,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The claims that are backed up together.
    pub claims: Vec<String>,
    /// By what they are snapshotted as one; none where each has a snapshot of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<RunGroup>,
    /// The repositories that they go to.
    pub repositories: Vec<RepositoryKey>,
    /// The results so far, one for each claim and repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<RunRecord>,
    /// The staged volumes: gone before the snapshot that they may depend on is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// How far the mover is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The hooks of this attempt, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RunHooks>,
}

/// The `VolumeGroupSnapshot` of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RunGroup {
    /// Its `VolumeGroupSnapshotClass`.
    pub class_name: String,
    /// The labels of its claims.
    pub match_labels: BTreeMap<String, String>,
    /// The version of its API.
    pub version: GroupSnapshotVersion,
}

/// A version of the API of group snapshots.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum GroupSnapshotVersion {
    /// `v1`
    V1,
    /// `v1beta2`
    V1beta2,
    /// `v1beta1`
    V1beta1,
}

impl GroupSnapshotVersion {
    /// All of them, the newest first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V1beta2, Self::V1beta1];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta2 => "v1beta2",
            Self::V1beta1 => "v1beta1",
        }
    }
}

/// The hooks of an attempt as they were declared when it began, and how far they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RunHooks {
    /// What runs before the snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub before: Vec<Hook>,
    /// What runs when the snapshot is usable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub after: Vec<Hook>,
    /// The pod in which they run, once it is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<HookPod>,
    /// How many of `before` were started: written before each of them is, so that none is run twice.
    #[schemars(with = "u32")]
    pub started: usize,
    /// How many of `before` have succeeded.
    #[schemars(with = "u32")]
    pub succeeded: usize,
    /// Whether `after` has begun, or is about to: nothing is snapshotted from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
    /// How many of `after` are done with.
    #[schemars(with = "u32")]
    pub done: usize,
    /// Until when the next of `after`, which could not be run, is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub try_until: Option<Time>,
    /// What is worth telling of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The pod in which hooks run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[schemars(transform = super::common::keep_descriptions)]
pub struct HookPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A repository object's kind and name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryKey {
    /// The kind.
    pub kind: RepositoryKind,
    /// The name.
    pub name: String,
}

/// How far a mover is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Percent of the bytes, 0 to 100.
    pub percent: i64,
    /// Files done.
    pub files_done: i64,
    /// Files found so far.
    pub files_total: i64,
    /// Bytes done.
    pub bytes_done: i64,
    /// Bytes found so far.
    pub bytes_total: i64,
    /// Seconds that are left, as restic estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
}

/// How a claim is read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    /// Name of the claim.
    pub name: String,
    /// CSI driver of its volume.
    pub driver: String,
    /// The `VolumeSnapshotClass` that is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// Access mode of the staging claim.
    pub access_mode: String,
    /// Why it is read in this way.
    pub reason: String,
}

/// How a run ended: the worst last, which is shown where there are several.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunResult {
    /// All was read and stored.
    Succeeded,
    /// A snapshot was stored, but something could not be read.
    Partial,
    /// All was read, but there is suspiciously little of it.
    Suspect,
    /// No snapshot was stored.
    Failed,
}

impl RunResult {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Partial => "Partial",
            Self::Suspect => "Suspect",
            Self::Failed => "Failed",
        }
    }
}

/// A run's end for one claim and repository.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// The run.
    pub id: String,
    /// The claim.
    pub claim: String,
    /// The repository object.
    pub repository: RepositoryKey,
    /// How it ended.
    pub result: RunResult,
    /// When it ended.
    pub time: Time,
    /// restic's id of the snapshot; of the one it rests on, where nothing had changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Files in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Bytes in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Bytes added to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<i64>,
    /// Seconds that the mover took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// Whether the base's catalogue is still to be told if it counts as good: someone accepted it since, or the base did
    /// not answer. The next run does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untold: bool,
    /// A stable word for what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A `VolumeBackup`'s state in one repository.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepositoryStatus {
    /// The repository object.
    pub repository: RepositoryKey,
    /// For each claim: where its snapshots are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<BackupTarget>,
    /// restic's id of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When the last good run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Time>,
    /// `Fresh` and `LastRunSucceeded`; `OtherWriter` while another program writes the same history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Where the snapshots of a claim are, as the templates resolved. Pinned: a change would fork the history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct BackupTarget {
    /// The claim.
    pub claim: String,
    /// restic repository URL, without credentials.
    pub url: String,
    /// Host of the snapshots.
    pub host: String,
    /// Path of the snapshots.
    pub path: String,
}

/// A good snapshot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// restic's id, in full.
    pub id: String,
    /// The claim.
    pub claim: String,
    /// The repository object.
    pub repository: RepositoryKey,
    /// When the data was as it is in the snapshot.
    pub time: Time,
    /// Bytes in it.
    pub bytes: i64,
}
