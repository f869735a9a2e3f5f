//! What several kinds share: references, conditions, durations, retention, mover settings.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use k8s_openapi::{
    api::core::v1::{ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The project's time type. Written as RFC 3339 in UTC with whole seconds.
pub type Time = DateTime<Utc>;

/// A rule and what it tells the user.
type Rule = (&'static str, &'static str);
/// The rule of a schedule; what it cannot see is told by the condition.
pub(super) const SCHEDULE: Rule = (
    r"self.matches('^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|([^ ]+ +){4}[^ ]+)$')",
    "a schedule is five-field cron such as 'H * * * *', or @hourly, @daily, @weekly, @monthly, @yearly",
);
/// The rule of a size or a rate.
pub(super) const QUANTITY: Rule =
    ("type(self) == int || isQuantity(string(self))", "a quantity is a number with a unit, such as 500M or 10Gi");
/// The rule of a list of access modes.
pub(super) const ACCESS_MODES: Rule = (
    "self.all(m, m in ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod'])",
    "accessModes are ReadWriteOnce, ReadOnlyMany, ReadWriteMany and ReadWriteOncePod",
);

/// What the name of an object looks like. A name that is none could mean another object in the path of a request.
pub(super) const NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// Makes a field's own description win over that of its type, which would take its place where the field is
/// optional.
pub(super) fn keep_descriptions(schema: &mut schemars::Schema) {
    let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
    for property in properties.into_iter().flat_map(|properties| properties.values_mut()) {
        let description = property.get("description").cloned();
        let first = property.pointer_mut("/anyOf/0").and_then(serde_json::Value::as_object_mut);
        if let (Some(description), Some(first)) = (description, first) {
            first.insert("description".to_owned(), description);
        }
    }
}

/// The largest `observedGeneration` that says "never seen".
pub const NEVER_OBSERVED: i64 = -1;

/// `observedGeneration` of an object that was never seen.
pub(crate) fn never_observed() -> i64 {
    NEVER_OBSERVED
}

/// The group of External Secrets Operator's kinds.
pub const ESO_GROUP: &str = "external-secrets.io";

/// The group of a kind that both we and External Secrets Operator have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// `strongroom.dev`.
    #[default]
    Strongroom,
    /// `external-secrets.io`.
    ExternalSecrets,
}

impl Group {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strongroom => super::GROUP,
            Self::ExternalSecrets => ESO_GROUP,
        }
    }
}

/// One observation of an object's state, as every Kubernetes API has it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed, for example `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// A stable word for programs.
    pub reason: String,
    /// What is so, for people: the real error, and what to do.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// The generation of the object that this was observed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It is not known yet.
    Unknown,
}

/// A length of time in Kubernetes' style: `15s`, `1h30m`, `168h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// The same as the standard library's type.
    pub const fn as_std(self) -> std::time::Duration {
        self.0
    }

    /// The same as chrono's type, at most about 292 million years.
    pub fn as_chrono(self) -> chrono::Duration {
        chrono::Duration::from_std(self.0).unwrap_or(chrono::Duration::MAX)
    }
}

/// Why a text is not a [`Duration`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a duration: write it like 15s, 1h30m or 168h")]
pub struct InvalidDuration(String);

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.to_owned());
        if text == "0" {
            return Ok(Self(std::time::Duration::ZERO));
        }
        if text.is_empty() {
            return Err(invalid());
        }
        let (mut total, mut rest) = (0_u128, text);
        while !rest.is_empty() {
            let (number, after) = rest.split_at(rest.find(|c| !is_of_number(c)).ok_or_else(invalid)?);
            let (unit, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
            rest = after;
            total = nanoseconds(number, unit).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        }
        let seconds = u64::try_from(total / NANOSECONDS).map_err(|_| invalid())?;
        Ok(Self(std::time::Duration::new(seconds, u32::try_from(total % NANOSECONDS).unwrap_or_default())))
    }
}

/// In a second.
const NANOSECONDS: u128 = 1_000_000_000;

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// A number with a unit, as Go writes them: fractions and small units too.
fn nanoseconds(number: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOSECONDS,
        "m" => 60 * NANOSECONDS,
        "h" => 3600 * NANOSECONDS,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().map(u128::from) };
    let fraction = &fraction[..fraction.len().min(9)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(unit)?.checked_add(digits(fraction)? * unit / scale)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes, seconds, millis) =
            (seconds / 3600, seconds % 3600 / 60, seconds % 60, self.0.subsec_millis());
        let mut empty = true;
        for (amount, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s"), (millis.into(), "ms")] {
            if amount > 0 {
                write!(f, "{amount}{unit}")?;
                empty = false;
            }
        }
        if empty { f.write_str("0s") } else { Ok(()) }
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": 60, "pattern": r"^(0|(([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|μs|ms|s|m|h))+)$"})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// One key of a Secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Namespace of the Secret; only cluster-wide kinds may name one, and must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Key in the Secret. Default `token` for a store's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The name of an object in a namespace that is given by the context.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
}

/// Which of the two kinds of store a reference means.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKind {
    /// A store of the same namespace.
    #[default]
    SecretStore,
    /// A store of the cluster.
    ClusterSecretStore,
}

/// A reference to a store.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.apiGroup) || self.apiGroup == 'strongroom.dev'", "apiGroup must be strongroom.dev (or absent)"))]
pub struct StoreRef {
    /// `SecretStore` (default) or `ClusterSecretStore`.
    #[serde(default)]
    pub kind: StoreKind,
    /// Name of the store.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Default `strongroom.dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
}

impl StoreRef {
    /// The group of the store.
    pub fn group(&self) -> Group {
        if self.api_group.as_deref() == Some(ESO_GROUP) { Group::ExternalSecrets } else { Group::Strongroom }
    }
}

/// Which of the two kinds of repository object a reference means.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RepositoryKind {
    /// A repository object of the same namespace.
    ResticRepository,
    /// A repository object of the cluster.
    #[default]
    ClusterResticRepository,
}

impl RepositoryKind {
    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResticRepository => "ResticRepository",
            Self::ClusterResticRepository => "ClusterResticRepository",
        }
    }
}

/// A reference to a repository object.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.apiGroup) || self.apiGroup == 'strongroom.dev'", "apiGroup must be strongroom.dev (or absent)"))]
pub struct RepositoryRef {
    /// `ClusterResticRepository` (default) or `ResticRepository`.
    #[serde(default)]
    pub kind: RepositoryKind,
    /// Name of the repository object.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Default `strongroom.dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
}

/// How many snapshots are kept. What no rule keeps is forgotten; no rule at all keeps everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.within) || has(self.tags) || ![self.?last, self.?hourly, self.?daily, self.?weekly, self.?monthly, self.?yearly].exists(n, n.hasValue()) || [self.?last, self.?hourly, self.?daily, self.?weekly, self.?monthly, self.?yearly].exists(n, n.orValue(0) > 0)", "a retention of zeros keeps nothing: leave it out to keep everything"))]
pub struct Retention {
    /// The newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// The newest of each of the last so many hours that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<u32>,
    /// The newest of each of the last so many days that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// The newest of each of the last so many weeks that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// The newest of each of the last so many months that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// The newest of each of the last so many years that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// All that are younger than this, counted from the newest snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// All that carry one of these restic tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 256)))]
    pub tags: Vec<String>,
}

impl Retention {
    /// Whether no rule is set, which keeps everything.
    pub fn keeps_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// How the pods that move data are run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = keep_descriptions)]
pub struct MoverSpec {
    /// Requests and limits of the mover's container. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resources_schema")]
    pub resources: Option<ResourceRequirements>,
    /// restic's cache. Default: an emptyDir of 1Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSpec>,
    /// Nodes that the mover may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the mover tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the mover's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Labels besides our own on the mover's pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations on the mover's pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Runs the mover as this user instead of root. What that user cannot read makes a run `Partial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as: Option<RunAs>,
}

/// The schema of a container's resources without the feature-gated `claims`.
fn resources_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let amounts = |description: &str| {
        serde_json::json!({
            "type": "object",
            "description": description,
            "additionalProperties": {"x-kubernetes-int-or-string": true}
        })
    };
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "properties": {
            "limits": amounts("The most that the container may use: cpu, memory, ephemeral-storage."),
            "requests": amounts("What the scheduler reserves for it. Default: the limits.")
        }
    })
}

/// A numeric user and group.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunAs {
    /// Numeric user id.
    #[schemars(range(min = 0))]
    pub user: i64,
    /// Numeric group id. Default: the user's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub group: Option<i64>,
    /// Further groups, for reading.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supplemental_groups: Vec<i64>,
}

/// restic's cache.
#[derive(Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CacheSpec {
    /// Size. Default 1Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = QUANTITY)]
    pub size: Option<Quantity>,
    /// Keeps the cache of backups on a claim of this class in the operator's namespace, one for each `VolumeBackup` and
    /// repository. Default: an emptyDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

#[cfg(test)]
mod tests;
