//! `SecretStore` and `ClusterSecretStore`: how to reach 1Password Connect.
//!
//! The fields are those of `external-secrets.io/v1`, so that a store can be moved by changing its group.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, Duration, NAME, SecretKeyRef, Time, never_observed};

/// How often a Connect server is asked for changes unless the store says otherwise.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// How to reach 1Password Connect, for the ExternalSecrets of one namespace.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "SecretStore",
    namespaced,
    status = "StoreStatus",
    category = "strongroom",
    doc = "How to reach 1Password Connect, for the ExternalSecrets of one namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Vaults", type_ = "string", json_path = ".status.vaultNames"),
    printcolumn(name = "Connect", type_ = "string", json_path = ".status.connectVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.conditions) || size(self.conditions) == 0", "conditions restrict who may use a ClusterSecretStore; a SecretStore serves its own namespace only"))]
#[x_kube(validation = ("!has(self.provider.onepassword.auth.secretRef.connectTokenSecretRef.namespace)", "connectTokenSecretRef.namespace is for a ClusterSecretStore; a SecretStore reads the Secret of its own namespace"))]
pub struct SecretStoreSpec {
    /// What both kinds of store declare.
    #[serde(flatten)]
    pub store: StoreSpec,
}

/// How to reach 1Password Connect, for the ExternalSecrets of every namespace that `conditions` admit.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[kube(
    group = "strongroom.dev",
    version = "v1alpha1",
    kind = "ClusterSecretStore",
    status = "StoreStatus",
    category = "strongroom",
    doc = "How to reach 1Password Connect, for the ExternalSecrets of every namespace that its conditions admit.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Vaults", type_ = "string", json_path = ".status.vaultNames"),
    printcolumn(name = "Connect", type_ = "string", json_path = ".status.connectVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.provider.onepassword.auth.secretRef.connectTokenSecretRef.namespace)", "connectTokenSecretRef.namespace is required: a ClusterSecretStore has no namespace of its own"))]
pub struct ClusterSecretStoreSpec {
    /// What both kinds of store declare.
    #[serde(flatten)]
    pub store: StoreSpec,
}

/// What both kinds of store declare.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StoreSpec {
    /// Which controller serves this store: absent, empty or `strongroom` is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The namespaces that may use a `ClusterSecretStore`; any one of them admits. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<StoreCondition>,
    /// Where the secrets come from.
    pub provider: Provider,
}

/// Namespaces that may use a `ClusterSecretStore`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct StoreCondition {
    /// Namespaces by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces by a regular expression that is searched in their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_regexes: Vec<String>,
}

/// Where secrets come from: 1Password Connect is the only provider.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Provider {
    /// 1Password Connect.
    pub onepassword: OnePassword,
}

/// A 1Password Connect server and what to read there.
#[derive(Clone, Debug, Serialize, Deserialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.caBundle) || !has(self.caProvider)", "caBundle and caProvider exclude each other"))]
#[schemars(transform = super::common::keep_descriptions)]
pub struct OnePassword {
    /// URL of the server, without `/v1`: `http://onepassword-connect.external-secrets.svc`.
    #[x_kube(validation = ("self.startsWith('http://') || self.startsWith('https://')", "connectHost must start with http:// or https://"))]
    #[x_kube(validation = ("!self.matches('/v1/?$')", "connectHost is the server's address without /v1"))]
    #[schemars(length(min = 8, max = 2048))]
    pub connect_host: String,
    /// The vaults to look in, by name or id, each with its place in the order (1 is first).
    #[x_kube(validation = ("size(self) > 0", "name at least one vault"))]
    #[x_kube(validation = ("self.all(a, self.exists_one(b, self[a] == self[b]))", "two vaults have the same place in the order"))]
    #[schemars(extend("maxProperties" = 50))]
    pub vaults: BTreeMap<String, i32>,
    /// The access token.
    pub auth: OnePasswordAuth,
    /// PEM certificates of the authority that signed the server's certificate, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// The same, read from a Secret or ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_provider: Option<CaProvider>,
    /// How often the server is asked whether something changed. Default 15s, at least 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.matches('[a-z]$') || duration(self) >= duration('1s')", "pollInterval must be at least 1s"))]
    pub poll_interval: Option<Duration>,
}

/// How to authenticate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OnePasswordAuth {
    /// By a token in a Secret.
    pub secret_ref: OnePasswordAuthSecretRef,
}

/// Where the token is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OnePasswordAuthSecretRef {
    /// The Secret and key with the Connect access token.
    pub connect_token_secret_ref: SecretKeyRef,
}

/// Where CA certificates are read from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaProvider {
    /// `Secret` or `ConfigMap`.
    #[serde(rename = "type")]
    pub type_: CaProviderType,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Namespace of the object: for a `ClusterSecretStore` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Key in the object. Default `ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Kind of object that holds CA certificates.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum CaProviderType {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

/// What is known about a store.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::common::keep_descriptions)]
pub struct StoreStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// `Ready` or `NotReady`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<StorePhase>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The vaults of the store that the token can read, in the store's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vaults: Vec<VaultStatus>,
    /// The names of those vaults, for the printer column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault_names: Option<String>,
    /// Version of the Connect server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_version: Option<String>,
    /// When the token expires, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Time>,
    /// How changes are noticed: by the vaults' versions, or by item lists where those cannot be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_detection: Option<ChangeDetection>,
    /// When the last change was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_change_at: Option<Time>,
    /// The last handled value of `reconcile.fluxcd.io/requestedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A store's phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum StorePhase {
    /// The server answers and every vault is there.
    Ready,
    /// It does not; the condition says why.
    NotReady,
}

/// A vault as the token sees it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultStatus {
    /// 1Password's id.
    pub id: String,
    /// The vault's name.
    pub name: String,
    /// Number of items in it.
    pub items: i64,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum ChangeDetection {
    /// One request tells whether any vault changed.
    VaultVersion,
    /// Each vault's items are listed at every poll.
    ItemList,
}
