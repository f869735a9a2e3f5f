//! `VolumeRestore`: one restore. It runs once.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    backup::{Progress, RepositoryKey},
    common::{ACCESS_MODES, Condition, Duration, NAME, QUANTITY, RepositoryRef, Time, never_observed},
};

/// Default of `keepPrevious`.
pub const DEFAULT_KEEP_PREVIOUS: Duration = Duration::from_secs(168 * 3600);
/// Default of `stopTimeout`.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Default of `timeout`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// The rule of every field but `suspend`.
const IMMUTABLE: (&str, &str) =
    ("self == oldSelf", "a VolumeRestore runs once and cannot be changed: create another one");
/// Held from the moment that something is stopped until it is started again.
pub const FINALIZER: &str = "strongroom.dev/put-back";

/// One restore.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "VolumeRestore",
    namespaced,
    status = "VolumeRestoreStatus",
    category = "strongroom",
    derive = "PartialEq",
    doc = "One restore: the data is brought back, and the app with it. It runs once.",
    printcolumn(name = "From", type_ = "string", json_path = ".spec.from.backup"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Percent", type_ = "integer", json_path = ".status.progress.percent"),
    printcolumn(name = "Snapshot", type_ = "string", json_path = ".status.snapshotTime"),
    printcolumn(name = "Downtime", type_ = "string", json_path = ".status.downtime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.snapshot), has(self.asOf), has(self.previous), has(self.to), has(self.method), has(self.include), has(self.exclude), has(self.delete), has(self.workload), has(self.keepPrevious), has(self.stopTimeout), has(self.timeout)] == [has(oldSelf.snapshot), has(oldSelf.asOf), has(oldSelf.previous), has(oldSelf.to), has(oldSelf.method), has(oldSelf.include), has(oldSelf.exclude), has(oldSelf.delete), has(oldSelf.workload), has(oldSelf.keepPrevious), has(oldSelf.stopTimeout), has(oldSelf.timeout)]", IMMUTABLE.1))]
#[x_kube(validation = ("[has(self.snapshot), has(self.asOf)].filter(x, x).size() <= 1", "snapshot and asOf exclude each other"))]
#[x_kube(validation = ("!has(self.snapshot) || !has(self.previous)", "snapshot names one snapshot: previous cannot count back from it"))]
#[x_kube(validation = ("(!has(self.include) && !has(self.exclude)) || (has(self.method) && self.method == 'InPlace')", "include and exclude restore a part of a volume, which only method InPlace can"))]
#[x_kube(validation = ("!has(self.from.restore) || (!has(self.snapshot) && !has(self.asOf) && !has(self.previous) && !has(self.to))", "from.restore swaps the kept volume back: snapshot, asOf, previous and to have no meaning with it"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct VolumeRestoreSpec {
    /// Where the data comes from.
    #[x_kube(validation = IMMUTABLE)]
    pub from: RestoreSource,
    /// The snapshot, by restic's id (at least eight characters). Partial and suspect ones only so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self.matches('^[0-9a-f]{8,64}$')", "snapshot is restic's id: 8 to 64 hexadecimal digits"))]
    #[x_kube(validation = IMMUTABLE)]
    pub snapshot: Option<String>,
    /// The newest good snapshot at or before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub as_of: Option<Time>,
    /// The so-many-th good snapshot before that. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10000))]
    #[x_kube(validation = IMMUTABLE)]
    pub previous: Option<u32>,
    /// Where the data goes. Default: the claims that were backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub to: Option<RestoreTarget>,
    /// `Swap` (default): into a new volume, checked, then swapped in. `InPlace`: into the volume itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub method: Option<RestoreMethod>,
    /// Only these paths of the snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 4096)))]
    #[x_kube(validation = IMMUTABLE)]
    pub include: Vec<String>,
    /// All but these paths of the snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 4096)))]
    #[x_kube(validation = IMMUTABLE)]
    pub exclude: Vec<String>,
    /// Deletes what the snapshot does not have. Default: true for a whole snapshot, false for a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub delete: Option<bool>,
    /// What happens to the workload that uses the claim. Default `Stop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub workload: Option<WorkloadPolicy>,
    /// How long the replaced volume or the safety snapshot is kept. Default 168h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub keep_previous: Option<Duration>,
    /// The longest time that the workload may take to stop; then everything is put back. Default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub stop_timeout: Option<Duration>,
    /// The longest time without progress; then the restore has failed. Default 2h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = IMMUTABLE)]
    pub timeout: Option<Duration>,
    /// Starts nothing new while true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// Where the data comes from: `backup`, `repositoryRef` with `identity`, `replicationSource` or `restore`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.backup), has(self.identity), has(self.replicationSource), has(self.restore)].filter(x, x).size() == 1", "exactly one of backup, identity (with repositoryRef), replicationSource and restore"))]
#[x_kube(validation = ("!has(self.identity) || has(self.repositoryRef)", "identity needs repositoryRef"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RestoreSource {
    /// A `VolumeBackup` of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub backup: Option<String>,
    /// Which of the backup's repositories, or the one that holds `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_ref: Option<RepositoryRef>,
    /// Host and path of the snapshots, literally.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<RestoreIdentity>,
    /// A `VolSync` `ReplicationSource` of the namespace: its repository and history.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub replication_source: Option<String>,
    /// Undoes an earlier `VolumeRestore`: the volume that it replaced is swapped back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub restore: Option<String>,
}

/// Host and path of snapshots.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct RestoreIdentity {
    /// Host.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Path.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
}

/// Where the data goes: exactly one of `claimName` and `newClaim`.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.claimName) != has(self.newClaim)", "exactly one of claimName and newClaim"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RestoreTarget {
    /// Another existing claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub claim_name: Option<String>,
    /// A new claim beside the app; nothing is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_claim: Option<NewClaim>,
}

/// A claim that a restore creates.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NewClaim {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Its size. Default: the size of the claim that was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = QUANTITY)]
    pub size: Option<Quantity>,
    /// Its storage class. Default: that of the claim that was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// Its access modes. Default: those of the claim that was backed up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(validation = ACCESS_MODES)]
    pub access_modes: Vec<String>,
}

/// How the data is brought back.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum RestoreMethod {
    /// Into a new volume, checked, then swapped in.
    #[default]
    Swap,
    /// Into the volume itself, with a safety snapshot before.
    InPlace,
}

/// What happens to the workload that uses the claim.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum WorkloadPolicy {
    /// It is stopped, and started again as it was.
    #[default]
    Stop,
    /// Nothing is stopped; a claim in use is an error.
    Ignore,
}

/// What is known about a `VolumeRestore`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct VolumeRestoreStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// One word for the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// The repository object that the data comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryKey>,
    /// Time of the snapshot, for the printer column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<Time>,
    /// What is restored, one for each claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<RestoreVolume>,
    /// The workloads that were stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<StoppedWorkload>,
    /// When the first of them was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Time>,
    /// How long the app was down, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime: Option<String>,
    /// How far the mover is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// When the data last made progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progressed_at: Option<Time>,
    /// Each step, in words for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<RestoreStep>,
    /// Until when what was replaced is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Time>,
    /// Why it failed, while what it did is put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Why a restore failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A restore's phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum RestorePhase {
    /// The snapshot is looked for.
    Resolving,
    /// It waits for its place.
    Queued,
    /// The data is written into the new volume.
    Restoring,
    /// The data is compared with the snapshot.
    Checking,
    /// The workload is stopped.
    Stopping,
    /// The new volume is bound under the claim's name.
    Swapping,
    /// The workload is started.
    Starting,
    /// Done.
    Succeeded,
    /// Not done; the app runs on what it had.
    Failed,
}

/// One claim's restore.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreVolume {
    /// The claim whose snapshot it is.
    pub source: String,
    /// The claim that the data goes to.
    pub claim: String,
    /// restic's id of the snapshot, in full.
    pub snapshot: String,
    /// Time of the snapshot.
    pub time: Time,
    /// Host of the snapshot.
    pub host: String,
    /// Path of the snapshot.
    pub path: String,
    /// Files in the snapshot, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Bytes in the snapshot, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Uid of the claim before the swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// The volume that the claim had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_volume: Option<String>,
    /// The volume with the restored data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Entries restored and checked against the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<i64>,
}

/// A workload that was stopped.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, Hash)]
pub struct StoppedWorkload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The replicas it had.
    pub replicas: i32,
}

/// A step of a restore.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct RestoreStep {
    /// When it was done.
    pub time: Time,
    /// What was done, for people.
    pub message: String,
}
