//! Claims and volumes of a restore: the claim that stages the new volume, the marks and policies of both volumes,
//! and the claim that is created anew. Patches are JSON merge patches that carry the `resourceVersion` they rest on.
//!
//! How Kubernetes binds, as it was seen on a real cluster: a volume whose `claimRef` has a namespace and a name but no
//! uid is `Available` for exactly that claim, and whoever creates the claim gets that volume, also without
//! `volumeName`; a volume whose `claimRef` has the uid of a claim that is gone is `Released` and is never bound again.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use serde_json::{Value, json};

use crate::{
    api::{
        annotations::{CLAIM, KEEP_UNTIL, RECLAIM_POLICY},
        common::Time,
        labels,
    },
    core::names::{self, Owner},
};

/// The reclaim policy under which a volume outlives its claim.
pub const RETAIN: &str = "Retain";
/// The reclaim policy under which a volume goes with its claim.
pub const DELETE: &str = "Delete";

/// Our labels on a volume.
const MARKS: [&str; 6] = [
    labels::MANAGED_BY,
    labels::OWNER_KIND,
    labels::OWNER_NAMESPACE,
    labels::OWNER_NAME,
    labels::OWNER_UID,
    labels::RUN,
];
/// Beginnings of the annotations with which Kubernetes notes how a claim was bound and provisioned.
const BINDING_NOTES: [&str; 4] =
    ["pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/", "control-plane.alpha.kubernetes.io/"];

/// The claim in the operator's namespace that provisions a new volume like `claim`'s.
pub fn staging_claim(
    name: &str,
    namespace: &str,
    owner: &Owner,
    run: &str,
    claim: &PersistentVolumeClaim,
) -> PersistentVolumeClaim {
    let spec = claim.spec.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(names::child_labels(owner, Some(run))),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: spec.access_modes,
            resources: spec.resources,
            storage_class_name: spec.storage_class_name,
            volume_mode: spec.volume_mode,
            volume_attributes_class_name: spec.volume_attributes_class_name,
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

/// Makes a volume outlive its claim and remembers what that changes, and the claim as it was. None where it is so.
pub fn hold(volume: &PersistentVolume, owner: &Owner, run: &str, claim: &PersistentVolumeClaim) -> Option<Value> {
    if is_held_by(volume, &owner.uid) && policy(volume) == RETAIN {
        return None;
    }
    let saved = if is_held_by(volume, &owner.uid) { annotation(volume, CLAIM).map(str::to_owned) } else { None };
    let saved = saved.unwrap_or_else(|| serde_json::to_string(&essence(claim)).unwrap_or_default());
    Some(json!({
        "metadata": {
            "resourceVersion": volume.metadata.resource_version,
            "labels": names::child_labels(owner, Some(run)),
            "annotations": {RECLAIM_POLICY: own_policy(volume), CLAIM: saved, KEEP_UNTIL: null},
        },
        "spec": {"persistentVolumeReclaimPolicy": RETAIN},
    }))
}

/// Gives a volume that is held by this owner a reclaim policy and takes our marks off. None where it is not held.
pub fn release(volume: &PersistentVolume, owner_uid: &str, policy: &str) -> Option<Value> {
    is_held_by(volume, owner_uid).then(|| unmark(volume, policy))
}

/// Notes until when a volume that is held by this owner is kept. None where that is noted.
pub fn keep(volume: &PersistentVolume, owner_uid: &str, until: Time) -> Option<Value> {
    let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let wanted = is_held_by(volume, owner_uid) && annotation(volume, KEEP_UNTIL) != Some(&until);
    wanted.then(|| {
        json!({"metadata": {"resourceVersion": volume.metadata.resource_version, "annotations": {KEEP_UNTIL: until}}})
    })
}

/// A kept volume whose time is over gets its own reclaim policy back and loses our marks: with `Delete` Kubernetes
/// deletes it, and with `Retain` it stays as after any claim's end, since its owner declared that. None before.
pub fn expire(volume: &PersistentVolume, now: Time) -> Option<Value> {
    let until = annotation(volume, KEEP_UNTIL)?.parse::<Time>().ok()?;
    (is_ours(volume) && until <= now).then(|| unmark(volume, own_policy(volume)))
}

/// Makes a volume wait for the claim of that name, whoever creates it.
pub fn wait_for_name(volume: &PersistentVolume, namespace: &str, name: &str) -> Value {
    refer(volume, namespace, name, None)
}

/// Makes a volume wait for nobody: it refers to a claim that cannot exist, so it is `Released`.
pub fn park(volume: &PersistentVolume, namespace: &str, name: &str, nobody: &str) -> Value {
    refer(volume, namespace, name, Some(nobody))
}

/// Has a volume of ours deleted as soon as nothing is bound to it. None where that is so.
pub fn discard(volume: &PersistentVolume) -> Option<Value> {
    (policy(volume) != DELETE).then(|| {
        json!({
            "metadata": {"resourceVersion": volume.metadata.resource_version},
            "spec": {"persistentVolumeReclaimPolicy": DELETE},
        })
    })
}

/// The claim that a held volume remembers.
pub fn saved_claim(volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    serde_json::from_str(annotation(volume, CLAIM)?).ok()
}

/// The claim as it was, on another volume.
pub fn claim_on(saved: &PersistentVolumeClaim, volume: &str) -> PersistentVolumeClaim {
    let mut claim = saved.clone();
    claim.spec.get_or_insert_default().volume_name = Some(volume.to_owned());
    claim
}

/// What of a claim its user declared, without what Kubernetes noted in it.
fn essence(claim: &PersistentVolumeClaim) -> PersistentVolumeClaim {
    let meta = &claim.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !BINDING_NOTES.iter().any(|prefix| name.starts_with(prefix)));
    // A StatefulSet with `whenScaled: Delete` makes the pod that it removes the owner of its claim.
    let owners: Vec<OwnerReference> =
        meta.owner_references.iter().flatten().filter(|owner| owner.kind != "Pod").cloned().collect();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: (!owners.is_empty()).then_some(owners),
            ..ObjectMeta::default()
        },
        spec: claim.spec.clone().map(|spec| PersistentVolumeClaimSpec { volume_name: None, ..spec }),
        status: None,
    }
}

fn unmark(volume: &PersistentVolume, policy: &str) -> Value {
    let marks: BTreeMap<&str, Value> = MARKS.into_iter().map(|mark| (mark, Value::Null)).collect();
    json!({
        "metadata": {
            "resourceVersion": volume.metadata.resource_version,
            "labels": marks,
            "annotations": {RECLAIM_POLICY: null, CLAIM: null, KEEP_UNTIL: null},
        },
        "spec": {"persistentVolumeReclaimPolicy": policy},
    })
}

fn refer(volume: &PersistentVolume, namespace: &str, name: &str, uid: Option<&str>) -> Value {
    json!({
        "metadata": {"resourceVersion": volume.metadata.resource_version},
        "spec": {"claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "resourceVersion": null,
            "fieldPath": null,
        }},
    })
}

/// The claim that a volume is for.
pub fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume waits for the claim of that name, whoever creates it.
pub fn is_waiting_for(volume: &PersistentVolume, namespace: &str, name: &str) -> bool {
    claim_ref(volume).is_some_and(|claim| {
        claim.uid.is_none() && claim.namespace.as_deref() == Some(namespace) && claim.name.as_deref() == Some(name)
    })
}

/// The volume that a claim is bound to, or asks for.
pub fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether a claim is bound.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") && volume_of(claim).is_some()
}

/// The phase of a volume.
pub fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The reclaim policy that a volume has now.
pub fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or(RETAIN)
}

/// The reclaim policy that a volume has when nothing of ours holds it.
pub fn own_policy(volume: &PersistentVolume) -> &str {
    annotation(volume, RECLAIM_POLICY).filter(|_| is_ours(volume)).unwrap_or_else(|| policy(volume))
}

/// Whether a volume is held by the restore of that uid.
pub fn is_held_by(volume: &PersistentVolume, owner_uid: &str) -> bool {
    names::belongs_to(volume.metadata.labels.as_ref(), owner_uid) && annotation(volume, RECLAIM_POLICY).is_some()
}

fn is_ours(volume: &PersistentVolume) -> bool {
    let manager = volume.metadata.labels.as_ref().and_then(|labels| labels.get(labels::MANAGED_BY));
    manager.is_some_and(|manager| manager == crate::api::MANAGER)
}

fn annotation<'a>(volume: &'a PersistentVolume, name: &str) -> Option<&'a str> {
    volume.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The size that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// The size of a volume.
pub fn capacity(volume: &PersistentVolume) -> Option<&Quantity> {
    volume.spec.as_ref()?.capacity.as_ref()?.get("storage")
}

/// A quantity as a number; none where it cannot be read.
pub fn number(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        _ => return None,
    };
    // With an exponent ("1e9") the digits hold it already.
    digits.parse::<f64>().ok().map(|number| number * unit)
}
