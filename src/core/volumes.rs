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
/// With `until`, nobody has to come back to it: it is kept for that time.
pub fn hold(
    volume: &PersistentVolume,
    owner: &Owner,
    run: &str,
    claim: &PersistentVolumeClaim,
    until: Option<Time>,
) -> Option<Value> {
    if is_held_by(volume, &owner.uid) && policy(volume) == RETAIN {
        return None;
    }
    let saved = if is_held_by(volume, &owner.uid) { annotation(volume, CLAIM).map(str::to_owned) } else { None };
    let saved = saved.unwrap_or_else(|| serde_json::to_string(&essence(claim)).unwrap_or_default());
    Some(json!({
        "metadata": {
            "resourceVersion": volume.metadata.resource_version,
            "labels": names::child_labels(owner, Some(run)),
            "annotations": {RECLAIM_POLICY: own_policy(volume), CLAIM: saved, KEEP_UNTIL: until.map(rfc3339)},
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
    let until = rfc3339(until);
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

fn rfc3339(time: Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
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

/// Whether a restore may touch a volume: it holds it, or one of these claims (namespace and name) has it, as the volume
/// itself says. What a claim or a status says of a volume proves nothing: they are written in the app's namespace.
pub fn is_of(volume: &PersistentVolume, owner_uid: &str, claims: [(&str, &str); 2]) -> bool {
    let of = claim_ref(volume).and_then(|claim| Some((claim.namespace.as_deref()?, claim.name.as_deref()?)));
    is_held_by(volume, owner_uid) || of.is_some_and(|of| claims.contains(&of))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            kind: "VolumeRestore",
            namespace: Some("media".to_owned()),
            name: "radarr-7x2".to_owned(),
            uid: "restore-uid".to_owned(),
        }
    }

    fn claim() -> PersistentVolumeClaim {
        serde_saphyr::from_str(
            "
             metadata:
               name: data-radarr-0
               namespace: media
               uid: old-uid
               resourceVersion: '7'
               finalizers: [kubernetes.io/pvc-protection]
               labels: {app: radarr, kustomize.toolkit.fluxcd.io/name: radarr}
               annotations:
                 pv.kubernetes.io/bind-completed: 'yes'
                 pv.kubernetes.io/bound-by-controller: 'yes'
                 volume.kubernetes.io/storage-provisioner: rook-ceph.rbd.csi.ceph.com
                 volume.kubernetes.io/selected-node: node-1
                 example.net/note: kept
               ownerReferences:
                 - {apiVersion: apps/v1, kind: StatefulSet, name: radarr, uid: s}
                 - {apiVersion: v1, kind: Pod, name: radarr-0, uid: p}
             spec:
               accessModes: [ReadWriteOnce]
               storageClassName: ceph-block
               volumeMode: Filesystem
               volumeName: pvc-old
               resources: {requests: {storage: 10Gi}}
               dataSourceRef: {apiGroup: strongroom.dev, kind: VolumeBackup, name: radarr}
             status: {phase: Bound}",
        )
        .unwrap()
    }

    fn volume(text: &str) -> PersistentVolume {
        serde_saphyr::from_str(text).unwrap()
    }

    fn merged(volume: &PersistentVolume, patch: &Value) -> PersistentVolume {
        fn merge(into: &mut Value, patch: &Value) {
            let Some(patch) = patch.as_object() else {
                *into = patch.clone();
                return;
            };
            if !into.is_object() {
                *into = json!({});
            }
            for (key, value) in patch {
                let map = into.as_object_mut().unwrap();
                if value.is_null() {
                    map.remove(key);
                } else {
                    merge(map.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        let mut value = serde_json::to_value(volume).unwrap();
        merge(&mut value, patch);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_staging_claim_is_like_the_claim_but_not_filled_by_anyone_else() {
        insta::assert_yaml_snapshot!(staging_claim(
            "radarr-7x2-ab-data",
            "strongroom",
            &owner(),
            "radarr-7x2-ab",
            &claim()
        ));
    }

    #[test]
    fn a_held_volume_remembers_the_claim_as_it_was_declared() {
        let old = volume(
            "metadata: {name: pvc-old, resourceVersion: '3'}\nspec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: media, name: data-radarr-0, uid: old-uid}}",
        );
        let held = merged(&old, &hold(&old, &owner(), "run", &claim(), None).unwrap());
        assert_eq!((policy(&held), own_policy(&held)), (RETAIN, DELETE));
        assert_eq!(hold(&held, &owner(), "run", &claim(), None), None, "it is held");
        insta::assert_yaml_snapshot!(claim_on(&saved_claim(&held).unwrap(), "pvc-new"));

        let waiting = merged(&held, &wait_for_name(&held, "media", "data-radarr-0"));
        assert!(is_waiting_for(&waiting, "media", "data-radarr-0") && !is_waiting_for(&waiting, "media", "other"));
        let parked = merged(&waiting, &park(&waiting, "strongroom", "run", "restore-uid"));
        assert!(!is_waiting_for(&parked, "media", "data-radarr-0"));
        assert_eq!(merged(&held, &release(&held, "restore-uid", DELETE).unwrap()), with_empty_maps(old));
        assert_eq!(release(&held, "another", DELETE), None, "another restore's volume stays as it is");
    }

    /// What a merge patch leaves of maps that it emptied.
    fn with_empty_maps(mut volume: PersistentVolume) -> PersistentVolume {
        volume.metadata.labels = Some(BTreeMap::new());
        volume.metadata.annotations = Some(BTreeMap::new());
        volume
    }

    #[test]
    fn a_volume_itself_says_whose_it_is() {
        let of = |claim: &str| volume(&format!("metadata: {{name: pvc-1}}\nspec: {{claimRef: {claim}}}"));
        let claims = [("media", "data-radarr-0"), ("strongroom-system", "radarr-7x2-data")];
        let is_of = |volume: &PersistentVolume| is_of(volume, "restore-uid", claims);
        assert!(is_of(&of("{namespace: media, name: data-radarr-0, uid: any}")));
        assert!(is_of(&of("{namespace: strongroom-system, name: radarr-7x2-data}")));
        let another = of("{namespace: office, name: data-radarr-0}");
        assert!(!is_of(&another));
        assert!(!is_of(&of("{namespace: media, name: another}")));
        assert!(!is_of(&volume("metadata: {name: pvc-1}")));
        let held = merged(&another, &hold(&another, &owner(), "run", &claim(), None).unwrap());
        assert!(is_of(&held));
        assert!(!super::is_of(&held, "another-restore", claims));
    }

    #[test]
    fn a_kept_volume_gets_its_own_policy_back_when_its_time_is_over() {
        for own in [DELETE, RETAIN] {
            let old = volume(&format!(
                "metadata: {{name: pvc-old, resourceVersion: '3'}}\nspec: {{persistentVolumeReclaimPolicy: {own}}}"
            ));
            let until: Time = "2026-10-08T00:00:00Z".parse().unwrap();
            assert_eq!(keep(&old, "restore-uid", until), None, "only what is held is kept");
            let held = merged(&old, &hold(&old, &owner(), "run", &claim(), None).unwrap());
            let kept = merged(&held, &keep(&held, "restore-uid", until).unwrap());
            assert_eq!(keep(&kept, "restore-uid", until), None);
            assert_eq!(expire(&kept, until - chrono::Duration::seconds(1)), None);
            assert_eq!(merged(&kept, &expire(&kept, until).unwrap()), with_empty_maps(old));
            let mut foreign = kept.clone();
            foreign.metadata.labels = None;
            assert_eq!(expire(&foreign, until), None, "without our labels it is not ours");
        }
    }
}
