//! A Secret that ESO made and we took over, or the other way round: who may remove which keys.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    api::{MANAGER, annotations, external_secret::ExternalSecret, labels},
    core::secret::{manager, note},
};

/// How ESO's field managers begin; the name of the ExternalSecret follows, or a hash where that is long.
const ESO_MANAGER: &str = "externalsecrets.external-secrets.io/";
/// The longest field manager that ESO writes in full.
const LONGEST: usize = 63;
/// What we note on a Secret.
const NOTES: [&str; 4] = [annotations::INPUTS, annotations::ITEMS, annotations::DATA, annotations::RESTARTED];
/// How we label a Secret.
const LABELS: [&str; 5] =
    [labels::MANAGED_BY, labels::OWNER_KIND, labels::OWNER_NAME, labels::OWNER_NAMESPACE, labels::OWNER_UID];

/// The field manager with which ESO writes for an ExternalSecret, as far as a Secret tells: of a long name ESO uses a
/// hash, which is that of this ExternalSecret only where no other one has written too.
pub fn eso_manager(meta: &ObjectMeta, name: &str) -> Option<String> {
    let plain = format!("{ESO_MANAGER}{name}");
    if plain.len() <= LONGEST {
        return Some(plain);
    }
    let hashed = format!("{ESO_MANAGER}sha3/");
    let mut all: Vec<&str> =
        meta.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref()).collect();
    all.retain(|manager| manager.starts_with(&hashed));
    all.sort_unstable();
    all.dedup();
    if let [one] = all.as_slice() { Some((*one).to_owned()) } else { None }
}

/// Whether ESO has written to a Secret for this ExternalSecret.
pub fn is_of_eso(meta: &ObjectMeta, name: &str) -> bool {
    let eso = eso_manager(meta, name);
    eso.is_some() && meta.managed_fields.iter().flatten().any(|entry| entry.manager == eso)
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
