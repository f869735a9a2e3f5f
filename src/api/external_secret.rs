//! `ExternalSecret`: keys of a Secret, taken from 1Password items.
//!
//! The fields are those of `external-secrets.io/v1` that a 1Password user can use, plus what the API
//! document calls ours.

#![expect(dead_code, reason = "the schema derive repeats the types, where what is no part of a schema is not read")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, Duration, Group, NAME, StoreRef, Time, never_observed};

/// Keys of a Secret, taken from 1Password items.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "ExternalSecret",
    namespaced,
    status = "ExternalSecretStatus",
    category = "strongroom",
    doc = "Keys of a Secret, taken from 1Password items.",
    printcolumn(name = "Store", type_ = "string", json_path = ".spec.secretStoreRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.binding.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.refreshTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(has(self.data) && size(self.data) > 0) || (has(self.dataFrom) && size(self.dataFrom) > 0)", "declare data or dataFrom: without them there is nothing to sync"))]
#[x_kube(validation = ("!has(self.data) || self.data.all(a, self.data.exists_one(b, a.secretKey == b.secretKey))", "two entries of data have the same secretKey"))]
#[x_kube(validation = ("has(self.secretStoreRef) || ((!has(self.data) || self.data.all(e, has(e.sourceRef))) && (!has(self.dataFrom) || self.dataFrom.all(e, has(e.sourceRef))))", "secretStoreRef is missing: name a SecretStore or ClusterSecretStore"))]
#[x_kube(validation = ("!has(self.target) || !has(self.target.deletionPolicy) || self.target.deletionPolicy != 'Delete' || !has(self.target.creationPolicy) || self.target.creationPolicy in ['Owner', 'Orphan']", "deletionPolicy Delete needs creationPolicy Owner or Orphan: a Secret that is not ours alone is not deleted"))]
#[x_kube(validation = ("!has(self.target) || !has(self.target.deletionPolicy) || self.target.deletionPolicy != 'Merge' || !has(self.target.creationPolicy) || self.target.creationPolicy != 'None'", "deletionPolicy Merge cannot act with creationPolicy None"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct ExternalSecretSpec {
    /// The store of every entry that names none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_store_ref: Option<StoreRef>,
    /// The Secret that is written.
    #[serde(default)]
    pub target: Target,
    /// When the Secret may change. Default `Periodic`: whenever an item changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_policy: Option<RefreshPolicy>,
    /// With `0`, the Secret is never refreshed after its first sync. Any other value is as good as none, since changes
    /// are noticed by the store's poll (`pollInterval`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<Duration>,
    /// Times at which routine refreshes are allowed or denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_windows: Option<SyncWindows>,
    /// Single keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub data: Vec<DataEntry>,
    /// Whole items. Later entries override earlier ones; `data` overrides both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub data_from: Vec<DataFromEntry>,
    /// Starts nothing new while true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The group that the object was declared in: no field, but known by the watch that told of it.
    #[serde(skip)]
    pub group: Group,
}

/// When a Secret may change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum RefreshPolicy {
    /// Written once, then left alone.
    CreatedOnce,
    /// Whenever an item or the object changes.
    Periodic,
    /// When the object changes.
    OnChange,
}

/// Times at which routine refreshes are allowed or denied.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncWindows {
    /// Whether the windows allow or deny.
    pub kind: SyncWindowKind,
    /// The windows.
    #[schemars(length(max = 50))]
    pub windows: Vec<SyncWindow>,
}

/// Whether windows allow or deny.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SyncWindowKind {
    /// Only inside a window.
    Allow,
    /// Only outside the windows.
    Deny,
}

/// One recurring window of time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncWindow {
    /// When it opens: five-field cron, UTC.
    pub schedule: String,
    /// How long it stays open.
    pub duration: Duration,
}

/// The Secret that is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.manifest)", "target.manifest is not supported: Strongroom writes Secrets only"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Target {
    /// Name of the Secret. Default: the name of the `ExternalSecret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: Option<String>,
    /// Who owns the Secret. Default `Owner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_policy: Option<CreationPolicy>,
    /// What happens when the source is gone. Default `Retain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How the Secret is composed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<Template>>,
    /// Whether the Secret is immutable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immutable: bool,
    /// Rolls the Deployments, StatefulSets and DaemonSets of the namespace that use the Secret once when
    /// its data changes. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
    /// Refused: other kinds than Secret cannot be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub manifest: Option<Box<serde_json::Value>>,
}

/// An object whose content does not matter, because its presence alone is refused.
fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

/// Who owns the Secret.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum CreationPolicy {
    /// Created and owned: it goes with the `ExternalSecret`, and holds only what that declares.
    #[default]
    Owner,
    /// Created, but it stays when the `ExternalSecret` goes.
    Orphan,
    /// Never created; keys are merged into a Secret that exists.
    Merge,
    /// Created when absent, otherwise merged into.
    CreateOrMerge,
    /// Nothing is written.
    None,
}

/// What happens when the source is gone.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// The Secret is kept.
    #[default]
    Retain,
    /// The Secret is deleted.
    Delete,
    /// Only the keys whose source is gone are removed.
    Merge,
}

/// How the Secret is composed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Template {
    /// Type of the Secret. Default `Opaque`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// `v2`: Go templates (default). `minijinja`: Jinja templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<EngineVersion>,
    /// Labels and annotations of the Secret; their values are templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// `Replace` (default): the Secret holds only what the template makes. `Merge`: the source's keys too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_policy: Option<MergePolicy>,
    /// Keys and their templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Templates from a `ConfigMap`, a Secret or a literal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub template_from: Vec<TemplateFrom>,
}

/// Language of the templates.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum EngineVersion {
    /// Go templates.
    #[default]
    #[serde(rename = "v2")]
    V2,
    /// Jinja templates.
    #[serde(rename = "minijinja")]
    Minijinja,
}

/// Metadata of the Secret.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct TemplateMetadata {
    /// Labels; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers of the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// Whether a template replaces the source's keys.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum MergePolicy {
    /// Only what the template makes.
    #[default]
    Replace,
    /// The source's keys too.
    Merge,
}

/// Templates from elsewhere: exactly one of `configMap`, `secret` and `literal`.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.configMap), has(self.secret), has(self.literal)].filter(x, x).size() == 1", "exactly one of configMap, secret and literal"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct TemplateFrom {
    /// Templates in a `ConfigMap` of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TemplateSource>,
    /// Templates in a Secret of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<TemplateSource>,
    /// A template that renders to a YAML map of keys and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// Where the result goes: `Data` (default), `Annotations` or `Labels`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Not supported but for `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values_decoding_strategy: Option<DecodingStrategy>,
}

/// Keys of a `ConfigMap` or Secret that hold templates.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct TemplateSource {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// The keys to read.
    #[schemars(length(max = 100))]
    pub items: Vec<TemplateSourceItem>,
}

/// A key that holds a template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct TemplateSourceItem {
    /// The key.
    pub key: String,
    /// Whether the key's content is the template of one value (default) or of a map of keys and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_as: Option<TemplateAs>,
}

/// What a template makes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum TemplateAs {
    /// One value, under the key it was read from.
    #[default]
    Values,
    /// A YAML map of keys and values.
    KeysAndValues,
}

/// One key of the Secret.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct DataEntry {
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[-._a-zA-Z0-9]+$')", "a key of a Secret consists of letters, digits, '-', '_' and '.'"))]
    pub secret_key: String,
    /// What it is taken from.
    pub remote_ref: RemoteRef,
    /// Another store than `secretStoreRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<Box<SourceRef>>,
}

/// What a key is taken from.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.version)", "1Password items have no readable old versions: remove version"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct RemoteRef {
    /// The item: its title or id, or `op://vault/item[/section]/field`.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
    /// The field: its label or id, `section/field`, `field/x` or `file/x`. Default `password` for `data`, all
    /// fields for `extract`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Refused: 1Password Connect serves the present version only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How the value is encoded at its source. Default `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<DecodingStrategy>,
    /// How characters that a key cannot hold are replaced. Default `Default`: by `_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ConversionStrategy>,
    /// Accepted for compatibility: it means nothing with 1Password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_policy: Option<MetadataPolicy>,
    /// Whether a value with a NUL byte is an error. Default `Ignore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// How a value is encoded at its source.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum DecodingStrategy {
    /// Whatever fits: base64, URL-safe base64, or as it is.
    Auto,
    /// Base64.
    Base64,
    /// URL-safe base64.
    #[serde(rename = "Base64URL")]
    Base64Url,
    /// As it is.
    #[default]
    None,
}

/// How characters that a key cannot hold are replaced.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum ConversionStrategy {
    /// By `_`.
    #[default]
    Default,
    /// By `_U` and their code.
    Unicode,
}

/// Whether metadata instead of values is fetched.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum MetadataPolicy {
    /// Values.
    #[default]
    None,
    /// Metadata: not available for 1Password.
    Fetch,
}

/// Whether a value with a NUL byte is an error.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum NullBytePolicy {
    /// It is not.
    #[default]
    Ignore,
    /// It is.
    Fail,
}

/// Another source than `secretStoreRef`.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.generatorRef)", "generators are not supported: write the value to a 1Password item"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct SourceRef {
    /// Another store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<StoreRef>,
    /// Refused: generators are not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub generator_ref: Option<serde_json::Value>,
}

impl Eq for SourceRef {}

/// Many keys of the Secret: exactly one of `extract` and `find`.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.extract) != has(self.find)", "exactly one of extract and find"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct DataFromEntry {
    /// All fields of one item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<RemoteRef>,
    /// Fields of many items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// Changes of the keys, one after another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub rewrite: Vec<Rewrite>,
    /// Another store than `secretStoreRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<Box<SourceRef>>,
}

/// Which items and fields to take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Find {
    /// Only the item of this title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only fields whose label matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<FindName>,
    /// Only items that carry all these tags (the map's keys).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// How characters that a key cannot hold are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ConversionStrategy>,
    /// How the values are encoded at their source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<DecodingStrategy>,
    /// Whether a value with a NUL byte is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// A regular expression that is searched in names.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct FindName {
    /// The expression, in Go's syntax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regexp: Option<String>,
}

/// A change of keys: exactly one of the three.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq, Eq)]
#[x_kube(validation = ("[has(self.regexp), has(self.transform), has(self.merge)].filter(x, x).size() == 1", "exactly one of regexp, transform and merge"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct Rewrite {
    /// Replaces what a regular expression matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regexp: Option<RewriteRegexp>,
    /// Renders each key through a template in which it is `.value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<RewriteTransform>,
    /// Merges values that are JSON objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<RewriteMerge>,
}

/// Replaces what a regular expression matches.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct RewriteRegexp {
    /// The expression, in Go's syntax.
    pub source: String,
    /// The replacement; `$1` is the first group.
    pub target: String,
}

/// Renders each key through a template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct RewriteTransform {
    /// The template; the key is `.value`.
    pub template: String,
}

/// Merges values that are JSON objects.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMerge {
    /// With strategy `JSON`: the key that holds the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Keys that win, the last most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<String>,
    /// Whether a key of `priority` may be absent. Default `Strict`: it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_policy: Option<MergePriority>,
    /// Whether two values of one key are an error. Default `Error`: they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_policy: Option<MergeConflict>,
    /// Where the merged keys go. Default `Extract`: they replace all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<MergeStrategy>,
}

/// Whether a key of `priority` may be absent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum MergePriority {
    /// It may not.
    #[default]
    Strict,
    /// It may.
    IgnoreNotFound,
}

/// Whether two values of one key are an error.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum MergeConflict {
    /// They are.
    #[default]
    Error,
    /// The later one wins.
    Ignore,
}

/// Where merged keys go.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum MergeStrategy {
    /// They replace all.
    #[default]
    Extract,
    /// They become one JSON object under the key `into`, beside what was there.
    #[serde(rename = "JSON")]
    Json,
}

/// What is known about an `ExternalSecret`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct ExternalSecretStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// `Synced`, `Waiting` or `Failing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ExternalSecretPhase>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When the Secret last changed because of its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_time: Option<Time>,
    /// The Secret that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The last handled value of `reconcile.fluxcd.io/requestedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last handled value of `reconcile.fluxcd.io/forceAt` or `force-sync`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_force_at: Option<String>,
}

/// The Secret that was written.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Its version after our last write: as long as it is unchanged, nobody else wrote to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// The generation of the `ExternalSecret` that it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// A hash of the labels and annotations of the `ExternalSecret` that it was made for, without those of tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_hash: Option<String>,
}

/// An `ExternalSecret`'s phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum ExternalSecretPhase {
    /// The Secret holds what is declared.
    Synced,
    /// Something that may come by itself is missing: a store, a server, a token.
    Waiting,
    /// Something has to be changed; the condition says what.
    Failing,
}
