//! A Secret that ESO made and we took over, or the other way round: who may remove which keys.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::{
    api::{
        MANAGER, annotations,
        eso::{CREATED_BY, DATA_HASH, MANAGED},
        external_secret::ExternalSecret,
        labels,
    },
    core::{
        names::{self, Owner, child_labels},
        secret::{Policy, eso_manager, manager, note, owner_reference},
    },
};

/// What we note on a Secret.
const NOTES: [&str; 4] = [annotations::INPUTS, annotations::ITEMS, annotations::DATA, annotations::RESTARTED];
/// How we label a Secret.
const LABELS: [&str; 5] =
    [labels::MANAGED_BY, labels::OWNER_KIND, labels::OWNER_NAME, labels::OWNER_NAMESPACE, labels::OWNER_UID];

/// The patch by which an ExternalSecret of ours gets the Secret of `before`, the one of ESO's kind that it replaces. The
/// Secret has its new owner before anything is fetched: the old one may be deleted at any moment, and would take the
/// Secret along. None where the Secret is not of `before`.
pub fn passed_on(meta: &ObjectMeta, object: &ExternalSecret, before: &ExternalSecret) -> Option<Value> {
    let (uid, old) = (object.uid().unwrap_or_default(), before.uid().unwrap_or_default());
    let (to, from, eso) = (manager(object), manager(before), eso_manager(meta, &before.name_any()));
    let owners = meta.owner_references.clone().unwrap_or_default();
    let has = |name: &str| meta.managed_fields.iter().flatten().any(|entry| entry.manager.as_deref() == Some(name));
    let is_owned = owners.iter().any(|owner| owner.uid == old);
    let is_of_eso = eso.as_deref().is_some_and(has);
    if !is_owned && !names::belongs_to(meta.labels.as_ref(), &old) && !has(&from) && !is_of_eso {
        return None;
    }
    // What was written for the old one is the new one's to remove: by us, or by ESO where we never wrote.
    let last = if has(&from) { Some(from) } else { eso.clone() };
    let mut fields = meta.managed_fields.clone().unwrap_or_default();
    fields.retain(|entry| entry.manager.is_none() || entry.manager == last || entry.manager != eso);
    for entry in fields.iter_mut().filter(|entry| entry.manager.is_some() && entry.manager == last) {
        entry.manager = Some(to.clone());
        entry.operation = Some("Apply".to_owned());
    }
    let shares = Policy::of(object).shares;
    let mut owners: Vec<OwnerReference> = owners.into_iter().filter(|owner| owner.uid != old).collect();
    if is_owned && Policy::of(object).owns {
        owners.push(owner_reference(object));
    }
    let mut labels = json!({ MANAGED: null, CREATED_BY: null });
    if !shares {
        let owner = Owner { kind: "ExternalSecret", namespace: object.namespace(), name: object.name_any(), uid };
        labels.as_object_mut()?.extend(child_labels(&owner, None).into_iter().map(|(key, value)| (key, value.into())));
    }
    let notes: Map<String, Value> =
        NOTES.iter().filter(|_| shares).map(|name| (note(name, before), Value::Null)).collect();
    let mut annotations = json!({ DATA_HASH: null });
    annotations.as_object_mut()?.extend(notes);
    Some(json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "labels": labels, "annotations": annotations,
        "ownerReferences": owners, "managedFields": fields,
    }}))
}

/// The patch that gives a Secret back to ESO: nothing of ours stays on it, and what we wrote is ESO's to remove. None
/// where nothing of ours is on it.
pub fn given_back(secret: &Secret, object: &ExternalSecret) -> Option<Value> {
    let meta = &secret.metadata;
    let uid = object.uid().unwrap_or_default();
    let is_ours = meta.labels.as_ref().is_some_and(|map| map.get(labels::OWNER_UID) == Some(&uid));
    let ours = manager(object);
    let wrote = meta.managed_fields.iter().flatten().any(|entry| entry.manager.as_ref() == Some(&ours));
    if !is_ours && !wrote {
        return None;
    }
    let eso = eso_manager(meta, &object.name_any());
    let mut fields = meta.managed_fields.clone().unwrap_or_default();
    for entry in fields.iter_mut().filter(|entry| entry.manager.as_ref() == Some(&ours)) {
        if let Some(eso) = &eso {
            entry.manager = Some(eso.clone());
            entry.operation = Some("Update".to_owned());
        }
    }
    // What only removed keys wrote nothing.
    fields.retain(|entry| entry.manager.as_deref() != Some(MANAGER));
    let gone = |map: Option<&BTreeMap<String, String>>, names: &[String]| -> Value {
        let there = names.iter().filter(|name| map.is_some_and(|map| map.contains_key(*name)));
        there.map(|name| (name.clone(), Value::Null)).collect()
    };
    let notes: Vec<String> = NOTES.iter().map(|name| note(name, object)).collect();
    let labels: Vec<String> = if is_ours { LABELS.iter().map(|&name| name.to_owned()).collect() } else { Vec::new() };
    Some(json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version,
        "labels": gone(meta.labels.as_ref(), &labels),
        "annotations": gone(meta.annotations.as_ref(), &notes),
        "managedFields": fields,
    }}))
}
