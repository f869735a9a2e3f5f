//! The field managers under which Strongroom and ESO write a Secret for an ExternalSecret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    api::{MANAGER, common::Group, external_secret::ExternalSecret},
    core::names,
};

/// How ESO's field managers begin; the name of the ExternalSecret follows, or a hash where that is long.
const ESO_MANAGER: &str = "externalsecrets.external-secrets.io/";
/// The longest field manager that ESO writes in full.
const LONGEST: usize = 63;

/// The field manager of what an ExternalSecret writes.
pub fn manager(object: &ExternalSecret) -> String {
    let name = object.name_any();
    let name = if name.len() > 100 { names::label(&name) } else { name };
    match object.spec.group {
        Group::Strongroom => format!("{MANAGER}/{name}"),
        // Of that name there may be one in each group.
        Group::ExternalSecrets => format!("{MANAGER}/eso/{name}"),
    }
}

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

/// The patch after which what was created for an ExternalSecret counts as applied: what an apply then leaves out goes,
/// as of anything else that was applied before. None where nothing was created, or something was applied since.
pub fn made_applied(meta: &ObjectMeta, object: &ExternalSecret) -> Option<Value> {
    let ours = manager(object);
    let mut fields = meta.managed_fields.clone().unwrap_or_default();
    let is = |entry: &ManagedFieldsEntry, operation: &str| {
        entry.manager.as_ref() == Some(&ours) && entry.operation.as_deref() == Some(operation)
    };
    if fields.iter().any(|entry| is(entry, "Apply")) {
        return None;
    }
    fields.iter_mut().find(|entry| is(entry, "Update"))?.operation = Some("Apply".to_owned());
    Some(json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "managedFields": fields}}))
}
