//! The kinds of `strongroom.dev/v1alpha1`: types, validation rules and printer columns, nothing else.
//!
//! Each kind is one file. What several kinds share is in [`common`]; objects of other groups that
//! Kubernetes' own client library does not know are in [`foreign`].

#![expect(unreachable_pub, reason = "the schema derive repeats each type inside a function")]

pub mod backup;
pub mod common;
pub mod eso;
pub mod external_secret;
pub mod foreign;
pub mod repository;
pub mod restore;
pub mod store;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// The API group of every kind.
pub const GROUP: &str = "strongroom.dev";
/// The only served version.
pub const VERSION: &str = "v1alpha1";
/// The value of `app.kubernetes.io/managed-by` on every object that the operator creates, and the
/// prefix of its field managers.
pub const MANAGER: &str = "strongroom";

/// Labels that the operator sets.
pub mod labels {
    /// Kubernetes' label for the tool that manages an object.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Kind of the object that a child in another namespace belongs to.
    pub const OWNER_KIND: &str = "strongroom.dev/owner-kind";
    /// Namespace of that object (absent for a cluster-wide one).
    pub const OWNER_NAMESPACE: &str = "strongroom.dev/owner-namespace";
    /// Name of that object, shortened with a hash where it exceeds a label's 63 characters.
    pub const OWNER_NAME: &str = "strongroom.dev/owner-name";
    /// Uid of that object: what ownership is decided by.
    pub const OWNER_UID: &str = "strongroom.dev/owner-uid";
    /// The run that a temporary object belongs to.
    pub const RUN: &str = "strongroom.dev/run";
    /// On a backup's mover: its slot, of which a node has one at a time.
    pub const SLOT: &str = "strongroom.dev/slot";
}

/// Annotations that the operator reads or sets.
pub mod annotations {
    /// Look at the object now (Flux's habit; any new value).
    pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
    /// With the value of [`REQUESTED_AT`]: act although nothing is due.
    pub const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
    /// The habit of External Secrets Operator's users: sync now (any new value).
    pub const FORCE_SYNC: &str = "force-sync";
    /// The same, as newer versions of it know it.
    pub const ESO_FORCE_SYNC: &str = "external-secrets.io/force-sync";
    /// Accepts what a condition asks to confirm; the value is the id that the condition names.
    pub const ACCEPT: &str = "strongroom.dev/accept";
    /// On the Secret with the key of our hashes: something of External Secrets Operator's is, or was, ours.
    pub const TAKEN_OVER: &str = "strongroom.dev/taken-over";
    /// On a Secret of ours: keyed hash of the inputs that it was rendered from.
    pub const INPUTS: &str = "strongroom.dev/inputs";
    /// On a Secret of ours: the items and versions that it was rendered from.
    pub const ITEMS: &str = "strongroom.dev/items";
    /// On a Secret of ours: keyed hash of its data.
    pub const DATA: &str = "strongroom.dev/data";
    /// On a Secret of ours: keyed hash of the data that the workloads were last restarted for.
    pub const RESTARTED: &str = "strongroom.dev/restarted";
    /// Beginning of a pod template's annotation: what follows is a Secret's name, the value a keyed hash of its data.
    pub const SECRET: &str = "secret.strongroom.dev/";
    /// On a workload that a restore stopped: the uid of that `VolumeRestore`.
    pub const STOPPED_BY: &str = "strongroom.dev/stopped-by";
    /// On a workload that a restore stopped: the replicas it had.
    pub const REPLICAS: &str = "strongroom.dev/replicas";
    /// On a volume that is about to be bound: the claim as it was, as JSON.
    pub const CLAIM: &str = "strongroom.dev/claim";
    /// On a volume that a restore replaced or provides: the reclaim policy it had.
    pub const RECLAIM_POLICY: &str = "strongroom.dev/reclaim-policy";
    /// On a volume that a restore replaced: when it may be deleted (RFC 3339).
    pub const KEEP_UNTIL: &str = "strongroom.dev/keep-until";
}

/// The definitions of all kinds, in the order in which they are documented.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        store::SecretStore::crd(),
        store::ClusterSecretStore::crd(),
        external_secret::ExternalSecret::crd(),
        repository::ResticRepository::crd(),
        repository::ClusterResticRepository::crd(),
        backup::VolumeBackup::crd(),
        restore::VolumeRestore::crd(),
    ]
    .into_iter()
    .map(finished)
    .collect()
}

/// Adds to a derived definition what the derive cannot say.
fn finished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        // An object that the operator has not seen never counts as ready (kstatus compares this with the generation).
        let status = schema.properties.as_mut().and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": common::NEVER_OBSERVED})));
        }
        known_formats(schema);
    }
    crd
}

/// Writes the range of an unsigned number out: Kubernetes warns about its format, and does not check it.
fn known_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref() == Some("uint32") {
        schema.format = None;
        schema.maximum.get_or_insert_with(|| u32::MAX.into());
    }
    for child in schema.properties.iter_mut().flat_map(std::collections::BTreeMap::values_mut) {
        known_formats(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(child)) = &mut schema.items {
        known_formats(child);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(child)) = &mut schema.additional_properties {
        known_formats(child);
    }
}
