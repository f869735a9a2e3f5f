//! Kinds of External Secrets Operator (`external-secrets.io/v1`), as far as they can be ours: where the store says
//! `spec.controller: strongroom`. The definitions are ESO's; nothing is generated from these types.
//!
//! What ESO allows and we do not understand must not stall a watch: a declaration is understood, or it is noted why
//! not.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};

use super::{
    MANAGER,
    common::{ConditionStatus, ESO_GROUP, StoreKind, StoreRef, Time},
    external_secret::ExternalSecretSpec,
    store::StoreSpec,
};

/// ESO's finalizer on ExternalSecrets.
pub const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// ESO's finalizer on stores that PushSecrets with deletionPolicy Delete refer to.
pub const STORE_FINALIZER: &str = "secretstore.externalsecrets.io/finalizer";
/// ESO's label on what it manages.
pub const MANAGED: &str = "reconcile.external-secrets.io/managed";
/// ESO's label of a Secret that says, as a hash, which ExternalSecret made it.
pub const CREATED_BY: &str = "reconcile.external-secrets.io/created-by";
/// ESO's annotation of a Secret: a hash of its data.
pub const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";

/// An ExternalSecret of ESO's.
#[derive(CustomResource, Clone, Debug, PartialEq)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    root = "EsoExternalSecret",
    namespaced,
    schema = "disabled",
    status = "EsoStatus"
)]
pub struct EsoExternalSecretSpec {
    /// The stores that it refers to.
    pub stores: BTreeSet<StoreRef>,
    /// What it declares, or why that is not understood.
    pub declared: Result<Box<ExternalSecretSpec>, String>,
}

/// A SecretStore of ESO's.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "SecretStore",
    root = "EsoSecretStore",
    namespaced,
    schema = "disabled",
    status = "EsoStoreStatus"
)]
#[serde(transparent)]
pub struct EsoSecretStoreSpec {
    /// What both kinds of store declare.
    pub store: EsoStore,
}

/// A ClusterSecretStore of ESO's.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ClusterSecretStore",
    root = "EsoClusterSecretStore",
    schema = "disabled",
    status = "EsoStoreStatus"
)]
#[serde(transparent)]
pub struct EsoClusterSecretStoreSpec {
    /// What both kinds of store declare.
    pub store: EsoStore,
}

/// A PushSecret of ESO's, which we do not serve: only the stores that it refers to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "external-secrets.io",
    version = "v1alpha1",
    kind = "PushSecret",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PushSecretSpec {
    /// Where everything goes.
    #[serde(default)]
    pub secret_store_refs: Vec<PushStore>,
    /// Where a part of it goes.
    #[serde(default)]
    pub data_to: Vec<PushPart>,
}

/// A part of what a PushSecret pushes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushPart {
    /// Where it goes.
    #[serde(default)]
    pub store_ref: PushStore,
}

/// The stores that a PushSecret means: one by its name, or those with labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushStore {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Labels of the stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Kind.
    #[serde(default)]
    pub kind: StoreKind,
}

/// What a store of ESO's declares: nothing where it is not ours, else what we understand, or why not.
#[derive(Clone, Debug, PartialEq)]
pub struct EsoStore(pub Option<Result<Box<StoreSpec>, String>>);

impl<'de> Deserialize<'de> for EsoStore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let is_ours = value.get("controller").and_then(serde_json::Value::as_str) == Some(MANAGER);
        let parsed = is_ours.then(|| serde_json::from_value(value).map(Box::new).map_err(|error| error.to_string()));
        Ok(Self(parsed))
    }
}

impl Serialize for EsoStore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        nothing(serializer)
    }
}

impl<'de> Deserialize<'de> for EsoExternalSecretSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let stores = stores(&value);
        let mut declared = serde_json::from_value(value).map(Box::new).map_err(|error| error.to_string());
        if let Ok(spec) = &mut declared {
            of_eso(spec);
        }
        Ok(Self { stores, declared })
    }
}

impl Serialize for EsoExternalSecretSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        nothing(serializer)
    }
}

/// Only statuses of these kinds are written.
fn nothing<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_map(Some(0))?.end()
}

/// Every store that an ExternalSecret refers to.
fn stores(spec: &serde_json::Value) -> BTreeSet<StoreRef> {
    let entries = ["data", "dataFrom"].into_iter().filter_map(|field| spec.get(field)?.as_array()).flatten();
    let own = entries.filter_map(|entry| entry.pointer("/sourceRef/storeRef"));
    let parse = |value: &serde_json::Value| {
        let mut reference: StoreRef = serde_json::from_value(value.clone()).ok()?;
        reference.api_group = Some(ESO_GROUP.to_owned());
        Some(reference)
    };
    spec.get("secretStoreRef").into_iter().chain(own).filter_map(parse).collect()
}

/// Has every reference mean a store of ESO's.
fn of_eso(spec: &mut ExternalSecretSpec) {
    let data = spec.data.iter_mut().map(|entry| &mut entry.source_ref);
    let sources = data.chain(spec.data_from.iter_mut().map(|entry| &mut entry.source_ref)).flatten();
    let own = sources.filter_map(|source| source.store_ref.as_mut());
    for reference in spec.secret_store_ref.iter_mut().chain(own) {
        reference.api_group = Some(ESO_GROUP.to_owned());
    }
}

/// The status of an ExternalSecret of ESO's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EsoStatus {
    /// When the Secret last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_time: Option<Time>,
    /// What was last carried out: for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// The Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<EsoBinding>,
    /// `Ready`, and `Deleted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<EsoCondition>,
}

/// The Secret of an ExternalSecret of ESO's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EsoBinding {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// The status of a store of ESO's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EsoStoreStatus {
    /// What the store can do: `ReadOnly`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// `Ready`, and `Strongroom` while it is ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<EsoCondition>,
}

/// A condition as ESO has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EsoCondition {
    /// What is observed.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// A word for programs.
    #[serde(default)]
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_noted_and_stalls_nothing() {
        let spec = |json| serde_json::from_value::<EsoExternalSecretSpec>(json).unwrap();
        let fine = spec(serde_json::json!({
            "secretStoreRef": {"name": "one"},
            "dataFrom": [{"extract": {"key": "a"}, "sourceRef": {"storeRef": {"name": "two", "kind": "ClusterSecretStore"}}}],
        }));
        assert_eq!(fine.stores.iter().map(|store| store.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        let declared = fine.declared.unwrap();
        assert_eq!(declared.secret_store_ref.unwrap().api_group.as_deref(), Some(ESO_GROUP));
        for json in [
            serde_json::json!({"secretStoreRef": {"name": "one"}, "refreshInterval": {"no": "duration"}}),
            serde_json::json!({"secretStoreRef": {"name": "one"}, "data": "no list"}),
        ] {
            let odd = spec(json);
            assert!(odd.declared.is_err() && odd.stores.len() == 1, "{odd:?}");
        }
        assert_eq!(spec(serde_json::json!({"data": 1})).stores, BTreeSet::new());
    }

    #[test]
    fn of_a_store_that_is_not_ours_nothing_is_read() {
        let store = |json| serde_json::from_value::<EsoSecretStoreSpec>(json).unwrap().store.0;
        let vault = serde_json::json!({"provider": {"vault": {"server": "x"}}});
        assert_eq!(store(vault), None);
        assert_eq!(store(serde_json::json!({"controller": "other"})), None);
        let wrong = serde_json::json!({"controller": "strongroom", "provider": {"vault": {"server": "x"}}});
        assert!(store(wrong).unwrap().unwrap_err().contains("onepassword"));
    }
}
