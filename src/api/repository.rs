//! `ResticRepository` and `ClusterResticRepository`: where backups go, and the defaults of what goes there.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::NFSVolumeSource,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{
    Condition, Duration, LocalRef, MoverSpec, NAME, QUANTITY, Retention, SCHEDULE, StoreRef, Time, never_observed,
};

/// Default of `identity.host`.
pub const DEFAULT_HOST: &str = "{{ namespace }}";
/// Default of `identity.path`.
pub const DEFAULT_PATH: &str = "/data/{{ claim }}";
/// Default of `limits.backups`.
pub const DEFAULT_BACKUPS: u32 = 3;
/// Default of `limits.perNode`.
pub const DEFAULT_PER_NODE: u32 = 2;

/// Where the backups of one namespace go.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "ResticRepository",
    plural = "resticrepositories",
    namespaced,
    status = "RepositoryStatus",
    category = "strongroom",
    doc = "Where the backups of one namespace go.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!self.url.startsWith('/')", "a path needs a volume, which only a ClusterResticRepository has"))]
#[x_kube(validation = ("!has(self.volume)", "volume is for a ClusterResticRepository: its movers run beside that volume"))]
#[x_kube(validation = ("!has(self.default) || !self.default", "default is for a ClusterResticRepository"))]
#[x_kube(validation = ("!has(self.allowedNamespaces)", "allowedNamespaces is for a ClusterResticRepository; a ResticRepository serves its own namespace only"))]
pub struct ResticRepositorySpec {
    /// What both kinds declare.
    #[serde(flatten)]
    pub repository: RepositorySpec,
}

/// Where the backups of the whole cluster go.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "ClusterResticRepository",
    plural = "clusterresticrepositories",
    status = "RepositoryStatus",
    category = "strongroom",
    doc = "Where the backups of the whole cluster go.",
    printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.volume) || self.url.startsWith('/repository')", "with volume, url is a path below /repository, where the volume is mounted"))]
#[x_kube(validation = ("has(self.volume) || !self.url.startsWith('/')", "a path needs volume: it is mounted at /repository"))]
pub struct ClusterResticRepositorySpec {
    /// What both kinds declare.
    #[serde(flatten)]
    pub repository: RepositorySpec,
}

/// What both kinds of repository declare.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RepositorySpec {
    /// The repository of every `VolumeBackup` that names none. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// restic repository URL: a minijinja template over `namespace`, `name` (of the `VolumeBackup`), `claim` and
    /// `cluster`, for example `s3:https://s3.example.net/backups/{{ namespace }}/{{ name }}`.
    /// Backends: a path, `rest:`, `s3:`, `b2:`, `azure:`, `gs:`, `swift:`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = ("!self.startsWith('rclone:') && !self.startsWith('sftp:')", "rclone: and sftp: need programs that the image does not have: use rest, s3, b2, azure, gs, swift or volume"))]
    pub url: String,
    /// A volume that holds the repositories, mounted at `/repository`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<RepositoryVolume>,
    /// restic's password and the backend's credentials.
    pub credentials: Credentials,
    /// The same for forget and prune, where the server lets `credentials` only append.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_credentials: Option<Credentials>,
    /// PEM certificates of the authority that signed the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaRef>,
    /// The namespaces that may use this repository. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Host and path that snapshots are written with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Identities besides one's own that namespaces may restore from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub allowed_identities: Vec<AllowedIdentity>,
    /// Only restores: no backup, creation, unlock or maintenance. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// How claims that fill themselves are filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub populate: Option<Populate>,
    /// When `VolumeBackups` run that declare no schedule: five-field cron with `H`, or `@hourly` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(validation = SCHEDULE)]
    pub schedule: Option<String>,
    /// IANA time zone of the schedules. Default UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The longest delay after a due time, the same for one object each time. Default: a tenth of the period,
    /// at most 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// What `VolumeBackups` keep that declare no retention. Default: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// How much may run at once, and how fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// When snapshots are forgotten, space is freed and the repository is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// How movers run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mover: Option<MoverSpec>,
    /// Starts nothing new while true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// A volume that holds repositories: exactly one of `nfs` and `claimName`.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.nfs) != has(self.claimName)", "exactly one of nfs and claimName"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RepositoryVolume {
    /// An NFS export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NFSVolumeSource>,
    /// A claim in the operator's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub claim_name: Option<String>,
}

/// Where credentials come from: exactly one of `secretRef` and `onepassword`.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.secretRef) != has(self.onepassword)", "exactly one of secretRef and onepassword"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Credentials {
    /// A Secret with restic's own variables: in the operator's namespace for a `ClusterResticRepository`, in its
    /// own for a `ResticRepository`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// A 1Password item whose fields are named like restic's own variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onepassword: Option<OnePasswordItem>,
}

/// A 1Password item.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OnePasswordItem {
    /// The store to read from.
    pub store_ref: StoreRef,
    /// Title or id of the item.
    #[schemars(length(min = 1, max = 1024))]
    pub item: String,
}

/// A CA certificate in a Secret or `ConfigMap` beside the credentials: exactly one of the two names.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.secretName) != has(self.configMapName)", "exactly one of secretName and configMapName"))]
pub struct CaRef {
    /// Name of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: Option<String>,
    /// Name of a `ConfigMap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub config_map_name: Option<String>,
    /// Key in it. Default `ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Namespaces: any one of the two admits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct AllowedNamespaces {
    /// By name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// By label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Host and path of snapshots: minijinja templates over the same variables as `url`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct Identity {
    /// Host. Default `{{ namespace }}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path. Default `/data/{{ claim }}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// An identity that namespaces may restore from although it is not their own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct AllowedIdentity {
    /// Host, literally.
    pub host: String,
    /// Path, literally.
    pub path: String,
    /// The namespaces.
    pub namespaces: Vec<String>,
}

/// How claims that fill themselves are filled.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Populate {
    /// Where no snapshot exists: an empty volume (`Empty`, default), or wait (`Fail`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_missing: Option<OnMissing>,
    /// The newest snapshot at or before this time, for every claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
}

/// What a claim becomes where no snapshot exists.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum OnMissing {
    /// An empty volume.
    #[default]
    Empty,
    /// Nothing: it waits.
    Fail,
}

/// How much may run at once, and how fast.
#[derive(Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Backups at once into this repository. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub backups: Option<u32>,
    /// Backups at once on one node. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub per_node: Option<u32>,
    /// Bytes a second to the repository, for each mover. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = QUANTITY)]
    pub upload: Option<Quantity>,
    /// Bytes a second from the repository, for each mover. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = QUANTITY)]
    pub download: Option<Quantity>,
}

/// When snapshots are forgotten, space is freed and the repository is checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Maintenance {
    /// When retention is applied and space is freed. Default `H 4 * * *` where a retention is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(validation = SCHEDULE)]
    pub schedule: Option<String>,
    /// When the repository is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Starts no maintenance while true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// When the repository is checked.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// When.
    #[schemars(length(max = 200))]
    #[x_kube(validation = SCHEDULE)]
    pub schedule: String,
    /// How much of the data is read: a percentage such as `5%`. Default: only the structure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self.matches('^([1-9][0-9]?|100)%$')", "readData is a percentage such as 5%"))]
    pub read_data: Option<String>,
}

/// What is known about a repository object.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RepositoryStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// One word for the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RepositoryPhase>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The base: the small restic repository that proves that this is the right place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// When the base was last found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reachable_at: Option<Time>,
    /// What the last look was made for: it is made again when this changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probed: Option<String>,
    /// When that look was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probed_at: Option<Time>,
    /// The restic repositories below this object, by URL path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repositories: BTreeMap<String, ResticRepositoryStatus>,
    /// Number of `VolumeBackups` that use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<i64>,
    /// When maintenance runs next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_maintenance: Option<Time>,
    /// The last maintenance run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_maintenance: Option<MaintenanceResult>,
    /// When the repositories are checked next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Time>,
    /// The last check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<MaintenanceResult>,
    /// The restic repository that maintenance or a check works on now: backups into it wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_work: Option<AtWork>,
    /// The last handled value of `reconcile.fluxcd.io/requestedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last handled value of `reconcile.fluxcd.io/forceAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_force_at: Option<String>,
}

/// A repository object's phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum RepositoryPhase {
    /// Reachable, and its base is the known one.
    Ready,
    /// Nothing is there yet: creating the base waits for acceptance.
    BaseMissing,
    /// It does not answer, or refuses us.
    Unreachable,
    /// Another repository than the known one answers, or it is gone.
    Changed,
    /// `spec.suspend` is true.
    Suspended,
}

/// The base of a repository object.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct Base {
    /// restic's id of it.
    pub id: String,
}

/// One restic repository below a repository object.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResticRepositoryStatus {
    /// restic's id of it.
    pub id: String,
    /// Whether no `VolumeBackup` goes there any more. It is kept: only people delete backups.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphaned: bool,
    /// Number of snapshots at the last maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<i64>,
    /// Size in bytes at the last maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The locks that were left in it after the last maintenance or check that could find out; at most eight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locks: Option<Vec<Lock>>,
    /// When maintenance last ended here, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintained_at: Option<Time>,
    /// When a check last ended here, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
    /// Errors that the last check found, where it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_errors: Option<i64>,
    /// Which part of the data was read by the last good check that read some, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_part: Option<u32>,
}

/// A lock in a restic repository.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct Lock {
    /// The beginning of restic's id of it.
    pub id: String,
    /// Host of the process that made it; of one of ours, its run.
    pub host: String,
    /// User of the process.
    pub user: String,
    /// Number of the process.
    pub process: i64,
    /// Whether it lets no other work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// When it was last renewed.
    pub since: Time,
}

/// What maintenance does with a restic repository.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Chore {
    /// Snapshots are forgotten, and space is freed.
    Retention,
    /// The repository is checked.
    Check,
}

/// The restic repository that maintenance works on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct AtWork {
    /// Its URL, without credentials.
    pub url: String,
    /// What is done.
    pub chore: Chore,
    /// Since when.
    pub since: Time,
}

/// A maintenance run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceResult {
    /// When it ended.
    pub time: Time,
    /// Whether all of it succeeded.
    pub succeeded: bool,
    /// Snapshots forgotten.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: i64,
    /// What happened, for people.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}
