//! The Secret as it is applied, and how a live one differs from it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};

use super::{Desired, Policy, eso_manager, manager, target_name};
use crate::{
    api::{MANAGER, annotations, common::Group, eso::EsoExternalSecret, external_secret::ExternalSecret},
    core::{
        fingerprint::Fingerprints,
        names::{self, Owner, child_labels},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// Labels and annotations of an ExternalSecret that are not copied to its Secret: they speak of that object only, and
/// tools would take the Secret for what it is not.
const NOT_COPIED: [&str; 10] = [
    "kubectl.kubernetes.io/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "reconcile.fluxcd.io/",
    "meta.helm.sh/",
    "strongroom.dev/",
    "external-secrets.io/force-sync",
    "force-sync",
    "app.kubernetes.io/managed-by",
];

/// What the operator notes on a Secret about its making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Keyed hash of what it was made of.
    pub inputs: String,
    /// The items and their versions.
    pub items: String,
    /// Keyed hash of its data.
    pub data: String,
    /// Keyed hash of the data that the workloads were last restarted for, where that is asked for.
    pub restarted: Option<String>,
}

/// The annotation in which something is noted: of its own where several objects write to one Secret.
pub fn note(name: &str, object: &ExternalSecret) -> String {
    if Policy::of(object).shares { format!("{name}.{}", object.uid().unwrap_or_default()) } else { name.to_owned() }
}

/// What other objects call an ExternalSecret.
pub fn reference(object: &ExternalSecret) -> ObjectReference {
    let api_version = match object.spec.group {
        Group::Strongroom => ExternalSecret::api_version(&()).into_owned(),
        Group::ExternalSecrets => EsoExternalSecret::api_version(&()).into_owned(),
    };
    ObjectReference { api_version: Some(api_version), ..object.object_ref(&()) }
}

/// The reference by which a Secret goes with its ExternalSecret.
pub fn owner_reference(object: &ExternalSecret) -> OwnerReference {
    OwnerReference {
        api_version: reference(object).api_version.unwrap_or_default(),
        kind: ExternalSecret::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The labels and annotations of an ExternalSecret that its Secret gets where no template says otherwise.
pub(super) fn copied(object: &ExternalSecret) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    if object.spec.target.template.is_some() {
        return (BTreeMap::new(), BTreeMap::new());
    }
    (own(object.metadata.labels.as_ref()), own(object.metadata.annotations.as_ref()))
}

/// Labels or annotations without those that tools keep for themselves.
pub(super) fn own(map: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let all = map.into_iter().flatten();
    let fits = all.filter(|(key, _)| !NOT_COPIED.iter().any(|prefix| key.starts_with(prefix)));
    fits.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The Secret as it is applied. The notes become annotations, by which a restarted controller sees that nothing
/// changed.
pub fn object(owner: &ExternalSecret, desired: &Desired, notes: &Notes) -> Secret {
    let policy = Policy::of(owner);
    let (uid, namespace) = (owner.uid().unwrap_or_default(), owner.namespace());
    let (mut labels, mut annotations) = copied(owner);
    labels.extend(desired.labels.clone());
    annotations.extend(desired.annotations.clone());
    if !policy.shares {
        let owner =
            Owner { kind: "ExternalSecret", namespace: namespace.clone(), name: owner.name_any(), uid: uid.clone() };
        labels.extend(child_labels(&owner, None));
    }
    let ours = [
        (annotations::INPUTS, Some(&notes.inputs)),
        (annotations::ITEMS, Some(&notes.items)),
        (annotations::DATA, Some(&notes.data)),
        (annotations::RESTARTED, notes.restarted.as_ref()),
    ];
    annotations.extend(ours.into_iter().filter_map(|(name, value)| Some((note(name, owner), value?.clone()))));
    let template = owner.spec.target.template.as_ref().and_then(|template| template.metadata.clone());
    let data = desired.data.iter().map(|(key, value)| (key.clone(), ByteString(value.expose().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(target_name(owner).to_owned()),
            namespace,
            labels: Some(labels),
            annotations: Some(annotations),
            finalizers: template.map(|template| template.finalizers).filter(|finalizers| !finalizers.is_empty()),
            owner_references: policy.owns.then(|| vec![owner_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        immutable: owner.spec.target.immutable.then_some(true),
        type_: desired.type_.clone(),
        ..Secret::default()
    }
}

/// Leaves out the labels and annotations that somebody else gives a shared Secret otherwise: of two ExternalSecrets the
/// first one that wrote one keeps it, and what is only copied from an ExternalSecret overrules nobody.
pub fn leave_others(live: &Secret, wanted: &mut Secret, owner: &ExternalSecret) {
    if !Policy::of(owner).shares {
        return;
    }
    let (ours, copies) = (manager(owner), owner.spec.target.template.is_none());
    let is_theirs =
        |entry: &ManagedFieldsEntry| if copies { !is_of(entry, &ours) } else { is_of_another(entry, &ours) };
    let (live, wanted) = (&live.metadata, &mut wanted.metadata);
    for (field, live_map, map) in
        [("f:labels", &live.labels, &mut wanted.labels), ("f:annotations", &live.annotations, &mut wanted.annotations)]
    {
        let theirs = fields_of(live, &["f:metadata", field], is_theirs);
        let value = |key: &String| live_map.as_ref().and_then(|map| map.get(key));
        if let Some(map) = map {
            map.retain(|key, wanted| !theirs.contains(key) || value(key) == Some(wanted));
        }
    }
}

/// Whether a live Secret is not as it should be. Where others share it, only what is ours counts.
pub fn differs(live: &Secret, wanted: &Secret, owner: &ExternalSecret) -> bool {
    let holds = |live: Option<&BTreeMap<String, String>>, wanted: Option<&BTreeMap<String, String>>| {
        wanted.into_iter().flatten().all(|(key, value)| live.and_then(|map| map.get(key)) == Some(value))
    };
    let owners = |secret: &Secret| -> Vec<String> {
        secret.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
    };
    let live_owners = owners(live);
    let changed =
        wanted.data.iter().flatten().any(|(key, value)| live.data.as_ref().and_then(|d| d.get(key)) != Some(value));
    let is_owner = live_owners.iter().any(|uid| Some(uid) == owner.uid().as_ref());
    changed
        || !surplus_keys(live, wanted, owner).is_empty()
        || !holds(live.metadata.labels.as_ref(), wanted.metadata.labels.as_ref())
        || !holds(live.metadata.annotations.as_ref(), wanted.metadata.annotations.as_ref())
        || is_owner != Policy::of(owner).owns
        || wanted.type_.as_ref().is_some_and(|type_| live.type_.as_ref() != Some(type_))
        || (wanted.immutable == Some(true) && live.immutable != Some(true))
}

/// Keys of a live Secret that should not be there: all that are not declared, or where others share it, those of them
/// that are ours.
pub fn surplus_keys(live: &Secret, wanted: &Secret, owner: &ExternalSecret) -> Vec<String> {
    let declared = wanted.data.as_ref();
    // What ESO wrote for this object before it became ours is ours to remove.
    let before = || match owner.spec.group {
        Group::Strongroom => BTreeSet::new(),
        Group::ExternalSecrets => {
            eso_manager(&live.metadata, &owner.name_any()).map(|eso| keys_of(live, &eso, "Update")).unwrap_or_default()
        }
    };
    let ours = Policy::of(owner).shares.then(|| &owned_keys(live, &manager(owner)) | &before());
    let surplus = |key: &&String| {
        declared.is_none_or(|data| !data.contains_key(*key)) && ours.as_ref().is_none_or(|ours| ours.contains(*key))
    };
    live.data.iter().flat_map(BTreeMap::keys).filter(surplus).cloned().collect()
}

/// Whether a live Secret holds what was last written to it, whatever else changed.
pub fn is_intact(live: &Secret, owner: &ExternalSecret, fingerprints: &Fingerprints) -> bool {
    let ours = Policy::of(owner).shares.then(|| owned_keys(live, &manager(owner)));
    let data = live.data.iter().flatten().filter(|(key, _)| ours.as_ref().is_none_or(|ours| ours.contains(*key)));
    let data = data.map(|(key, value)| (key.clone(), Sensitive::from(value.0.clone()))).collect();
    let noted = live.annotations().get(&note(annotations::DATA, owner));
    noted.is_some_and(|noted| *noted == data_hash(owner, &data, fingerprints)) && is_marked(live, owner)
}

/// Whether the labels and the owner are those that the policy asks for.
fn is_marked(live: &Secret, owner: &ExternalSecret) -> bool {
    let (policy, uid) = (Policy::of(owner), owner.uid().unwrap_or_default());
    let owners = live.metadata.owner_references.iter().flatten();
    let is_owner = owners.into_iter().any(|owner| owner.uid == uid);
    is_owner == policy.owns && (policy.shares || names::belongs_to(live.metadata.labels.as_ref(), &uid))
}

/// Keyed hash of a Secret's data: of this Secret, so that nobody learns by another one what it holds.
pub fn data_hash(owner: &ExternalSecret, data: &SensitiveMap, fingerprints: &Fingerprints) -> String {
    fingerprints.of_data(&[&owner.namespace().unwrap_or_default(), target_name(owner)], data)
}

/// A key that another ExternalSecret writes otherwise, where several share a Secret.
pub fn contested_key(live: &Secret, wanted: &Secret, owner: &ExternalSecret) -> Option<String> {
    let ours = manager(owner);
    let theirs = fields_of(&live.metadata, &["f:data"], |entry| is_of_another(entry, &ours) && is_by(entry, "Apply"));
    let value = |secret: &Secret, key: &String| secret.data.as_ref().and_then(|data| data.get(key)).cloned();
    theirs.into_iter().find(|key| value(wanted, key).is_some_and(|wanted| value(live, key) != Some(wanted)))
}

/// The keys that a field manager applied.
fn owned_keys(secret: &Secret, manager: &str) -> BTreeSet<String> {
    keys_of(secret, manager, "Apply")
}

/// The keys that a field manager wrote by an operation.
fn keys_of(secret: &Secret, manager: &str, operation: &str) -> BTreeSet<String> {
    fields_of(&secret.metadata, &["f:data"], |entry| is_of(entry, manager) && is_by(entry, operation))
}

fn is_of(entry: &ManagedFieldsEntry, manager: &str) -> bool {
    entry.manager.as_deref() == Some(manager)
}

fn is_by(entry: &ManagedFieldsEntry, operation: &str) -> bool {
    entry.operation.as_deref() == Some(operation)
}

/// Whether it is of another ExternalSecret than the one that writes as `ours`.
fn is_of_another(entry: &ManagedFieldsEntry, ours: &str) -> bool {
    let rest = entry.manager.as_deref().filter(|manager| *manager != ours).and_then(|name| name.strip_prefix(MANAGER));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// The names below a place that those field managers own which fit.
fn fields_of(meta: &ObjectMeta, place: &[&str], fits: impl Fn(&ManagedFieldsEntry) -> bool) -> BTreeSet<String> {
    let entries = meta.managed_fields.iter().flatten().filter(|entry| fits(entry));
    let below = |entry: &'_ ManagedFieldsEntry| -> Vec<String> {
        let mut field = entry.fields_v1.as_ref().map(|fields| &fields.0);
        for name in place {
            field = field.and_then(|field| field.get(name));
        }
        let names = field.and_then(serde_json::Value::as_object).into_iter().flat_map(serde_json::Map::keys);
        names.filter_map(|name| name.strip_prefix("f:")).map(str::to_owned).collect()
    };
    entries.flat_map(below).collect()
}
