//! What of a Secret cannot be changed.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::{manager, surplus_keys};
use crate::{
    api::external_secret::ExternalSecret,
    core::problem::{Problem, Reason},
};

/// Keeps the type of a live Secret where none is declared: the API would take the loss of it for a change.
pub fn keep_type(wanted: &mut Secret, live: &Secret) {
    if wanted.type_.is_none() {
        wanted.type_ = live.type_.clone().filter(|live| live != "Opaque");
    }
}

/// Whether the API would let a Secret become what it should be.
pub fn changeable(live: &Secret, wanted: &Secret, owner: &ExternalSecret) -> Result<(), Problem> {
    let name = live.name_any();
    let refused = |what: String| {
        Err(Problem::new(Reason::InvalidData, format!("Secret {name} {what}: delete it, and it is created anew")))
    };
    let same = |key: &String, value| live.data.as_ref().and_then(|data| data.get(key)) == Some(value);
    if live.immutable == Some(true) {
        if !wanted.data.iter().flatten().all(|(key, value)| same(key, value))
            || !surplus_keys(live, wanted, owner).is_empty()
        {
            return refused("is immutable, and its keys or values have changed".to_owned());
        }
        // What somebody else made immutable, applying without it does not change.
        if wanted.immutable != Some(true) && is_ours(live, owner) {
            return refused("is immutable, which cannot be taken back".to_owned());
        }
    }
    match (&live.type_, &wanted.type_) {
        (Some(is), Some(should)) if is != should => {
            refused(format!("has type {is}, which cannot be changed to {should}"))
        }
        _ => Ok(()),
    }
}

/// Whether the object applied that a Secret is immutable.
fn is_ours(live: &Secret, owner: &ExternalSecret) -> bool {
    let ours = manager(owner);
    live.metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_ref() == Some(&ours)
            && entry.operation.as_deref() == Some("Apply")
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:immutable").is_some())
    })
}
