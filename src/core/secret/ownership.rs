//! Whose a Secret is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::{
    api::{
        GROUP, MANAGER,
        common::{ESO_GROUP, Group},
        eso::MANAGED as ESO_MANAGED,
        external_secret::ExternalSecret,
        labels,
    },
    core::{
        names,
        problem::{Problem, Reason},
    },
};

use super::is_of_eso;

/// What a Secret of the target's name is to an ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is none.
    Absent,
    /// It is this ExternalSecret's.
    Ours,
    /// It is nobody's, as a bootstrap leaves it: it is adopted.
    Nobodys,
}

/// Whose a Secret is; an error where it is someone else's, who is named. `is_alive` tells whether an ExternalSecret of
/// a uid is there: a Secret of one that is gone is nobody's. So is one that ESO left behind, where ESO's kinds are not
/// in the cluster (`has_eso`).
pub fn claim(
    secret: Option<&ObjectMeta>,
    object: &ExternalSecret,
    is_alive: impl Fn(&str) -> bool,
    has_eso: bool,
) -> Result<Claim, Problem> {
    let Some(meta) = secret else { return Ok(Claim::Absent) };
    let owner_uid = object.metadata.uid.as_deref().unwrap_or_default();
    let place =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let foreign = |owner: &str, todo: &str| {
        Problem::new(Reason::Foreign, format!("Secret {place} belongs to {owner} and is left alone: {todo}"))
    };
    let rename = "set another target.name, or delete one of the two";
    let succeed = "set spec.controller: strongroom on its store, and an ExternalSecret of the same name takes the \
                   Secret over; or set another target.name";
    // The Secret of an ExternalSecret that was deleted and created anew waits for garbage collection: it is taken over.
    let is_left_over = |owner: &OwnerReference| {
        owner.kind == "ExternalSecret" && owner.api_version.starts_with(GROUP) && !is_alive(&owner.uid)
    };
    let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let controller = controller.filter(|owner| owner.uid == owner_uid || !is_left_over(owner));
    if let Some(owner) = controller.filter(|owner| owner.uid != owner_uid) {
        let todo = if owner.api_version.starts_with(ESO_GROUP) { succeed } else { rename };
        return Err(foreign(&format!("{} {} ({})", owner.kind, owner.name, owner.api_version), todo));
    }
    let label = |name: &str| meta.labels.as_ref().and_then(|map| map.get(name)).map(String::as_str);
    // What ESO wrote for this object came with it.
    let was_esos = object.spec.group == Group::ExternalSecrets
        && is_of_eso(meta, object.metadata.name.as_deref().unwrap_or_default());
    if controller.is_none() && label(ESO_MANAGED) == Some("true") && !was_esos && has_eso {
        let todo = format!("if no ExternalSecret of {ESO_GROUP} writes it any more, remove that label; else {succeed}");
        return Err(foreign(&format!("External Secrets Operator (label {ESO_MANAGED})"), &todo));
    }
    if controller.is_some() || was_esos || names::belongs_to(meta.labels.as_ref(), owner_uid) {
        return Ok(Claim::Ours);
    }
    if is_the_operators(meta) {
        return Err(foreign("the operator itself", rename));
    }
    if label(labels::MANAGED_BY) == Some(MANAGER) {
        let uid = label(labels::OWNER_UID).unwrap_or_default();
        if is_alive(uid) {
            let (kind, name) = (label(labels::OWNER_KIND), label(labels::OWNER_NAME));
            let owner = format!("{} {}", kind.unwrap_or("an object"), name.unwrap_or(uid));
            return Err(foreign(&owner, rename));
        }
    }
    Ok(Claim::Nobodys)
}

/// Whether a Secret is this ExternalSecret's to delete: it says so itself. What ESO merely wrote into for this object is
/// somebody else's.
pub fn owns(meta: &ObjectMeta, object: &ExternalSecret) -> bool {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let refers = meta.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    refers || names::belongs_to(meta.labels.as_ref(), uid)
}

/// Whether a Secret is one that the operator needs for itself, such as a mover's credentials.
fn is_the_operators(meta: &ObjectMeta) -> bool {
    let label = |name: &str| meta.labels.as_ref().and_then(|map| map.get(name)).map(String::as_str);
    label(labels::MANAGED_BY) == Some(MANAGER) && label(labels::OWNER_KIND) != Some("ExternalSecret")
}

/// Whether keys may be merged into a Secret: not where another ExternalSecret owns it, which would take them out again.
pub fn share(meta: &ObjectMeta, owner_uid: &str, is_alive: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let name = meta.name.as_deref().unwrap_or_default();
    let foreign = |owner: &str| {
        let message = format!(
            "Secret {name} belongs to ExternalSecret {owner}, which would take other keys out again: merge into another Secret, or declare the keys there"
        );
        Err(Problem::new(Reason::Foreign, message))
    };
    if is_the_operators(meta) {
        let message = format!("Secret {name} belongs to the operator itself: merge into another Secret");
        return Err(Problem::new(Reason::Foreign, message));
    }
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    if let Some(owner) = owner.filter(|owner| owner.kind == "ExternalSecret" && owner.uid != owner_uid) {
        return foreign(&owner.name);
    }
    let label = |name: &str| meta.labels.as_ref().and_then(|map| map.get(name)).map(String::as_str);
    let (uid, name) = (label(labels::OWNER_UID).unwrap_or_default(), label(labels::OWNER_NAME).unwrap_or_default());
    let is_ours = label(labels::MANAGED_BY) == Some(MANAGER) && label(labels::OWNER_KIND) == Some("ExternalSecret");
    if is_ours && uid != owner_uid && is_alive(uid) { foreign(name) } else { Ok(()) }
}
