//! Writes the Secret of an ExternalSecret, and nothing that is not its own.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::{Map, Value, json};

use crate::{
    api::{
        MANAGER, annotations,
        external_secret::{CreationPolicy, ExternalSecret},
    },
    clients::cluster,
    controllers::context::Context,
    core::{
        problem::{Problem, Reason},
        secret::{self, Claim},
    },
};

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Version of the Secret now.
    pub(crate) resource_version: Option<String>,
    /// Whether it was written because of its source, and not only repaired.
    pub(crate) changed: bool,
}

/// Makes the Secret what it should be: nothing where it is already, else server-side apply, and after that the removal
/// of keys that nobody declared. What is someone else's stays untouched. Nothing comes of it where the namespace is being
/// deleted.
pub(crate) async fn write(object: &ExternalSecret, ctx: &Context, wanted: &Secret) -> Result<Option<Written>, Problem> {
    let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
    let name = wanted.name_any();
    let live = cluster::get(&api, &name).await?;
    let alive = |uid: &str| ctx.stores.external_secrets.by_uid(uid).is_some();
    let meta = live.as_ref().map(|live| &live.metadata);
    let claim = secret::claim(meta, &object.uid().unwrap_or_default(), alive)?;
    if meta.is_some_and(|meta| meta.deletion_timestamp.is_some()) {
        return Err(Problem::new(
            Reason::ClusterError,
            format!("Secret {name} is being deleted: it is created anew after that"),
        ));
    }
    let inputs = |secret: &Secret| secret.annotations().get(annotations::INPUTS).cloned();
    let changed = live.as_ref().is_none_or(|live| inputs(live) != inputs(wanted));
    if let Some(live) = live.as_ref().filter(|live| claim == Claim::Ours && !secret::differs(live, wanted)) {
        return Ok(Some(Written { resource_version: live.resource_version(), changed: false }));
    }
    let mut applied = wanted.clone();
    // Whoever writes in between is not overwritten unseen.
    applied.metadata.resource_version = live.as_ref().and_then(ResourceExt::resource_version);
    let params = PatchParams::apply(MANAGER).force();
    let mut now = match api.patch(&name, &params, &Patch::Apply(&applied)).await {
        Ok(now) => now,
        Err(error) if is_terminating(&error) => return Ok(None),
        Err(error) => return Err(refused(&name, wanted, live.as_ref(), &error)),
    };
    let foreign = secret::foreign_keys(&now, wanted);
    if !foreign.is_empty() {
        now = remove(&api, &now, &foreign).await?;
    }
    if claim == Claim::Nobodys {
        adopted(object, ctx, &name, &foreign).await;
    }
    forget_old(object, ctx, &api, &name).await?;
    Ok(Some(Written { resource_version: now.resource_version(), changed }))
}

/// Removes keys, provided that the Secret is as it was read.
async fn remove(api: &Api<Secret>, live: &Secret, keys: &[String]) -> Result<Secret, Problem> {
    let name = live.name_any();
    let nothing: Map<String, Value> = keys.iter().map(|key| (key.clone(), Value::Null)).collect();
    let metadata = json!({"uid": live.uid(), "resourceVersion": live.resource_version()});
    let patch = Patch::Merge(json!({"metadata": metadata, "data": nothing}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&name, &params, &patch)
        .await
        .map_err(|error| cluster::problem::<Secret>("remove keys from", &name, &error))
}

async fn adopted(object: &ExternalSecret, ctx: &Context, name: &str, removed: &[String]) {
    let keys = if removed.is_empty() {
        "it had no other keys".to_owned()
    } else {
        format!("these keys, which are not declared, were removed: {}", removed.join(", "))
    };
    ctx.event(object, EventType::Normal, "Adopted", format!("Secret {name} belonged to nobody; {keys}")).await;
}

/// Whether nothing can be created any more because the namespace is being deleted.
fn is_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the API refuses, in words that say what to do about it.
fn refused(name: &str, wanted: &Secret, live: Option<&Secret>, error: &kube::Error) -> Problem {
    let invalid = matches!(error, kube::Error::Api(status) if status.code == 422);
    let types = (live.and_then(|live| live.type_.as_ref()), wanted.type_.as_ref());
    if let (true, (Some(is), Some(should))) = (invalid, types)
        && is != should
    {
        let message = format!(
            "Secret {name} has type {is}, which cannot be changed to {should}: delete it, and it is created anew"
        );
        return Problem::new(Reason::InvalidData, message);
    }
    if invalid && live.is_some_and(|live| live.immutable == Some(true)) {
        let message = format!("Secret {name} is immutable: delete it, and it is created anew");
        return Problem::new(Reason::InvalidData, message);
    }
    if invalid {
        // The API's own words may quote values.
        let message = format!(
            "the API refuses Secret {name}: its type may need certain keys, a label or annotation of the template is not valid, or an admission policy denies it"
        );
        return Problem::new(Reason::InvalidData, message);
    }
    cluster::problem::<Secret>("write", name, error)
}

/// Deletes the Secret under the name that the object had before, where it is ours alone.
async fn forget_old(object: &ExternalSecret, ctx: &Context, api: &Api<Secret>, name: &str) -> Result<(), Problem> {
    let old = object.status.as_ref().and_then(|status| status.binding.as_ref()).map(|binding| binding.name.as_str());
    let owned = object.spec.target.creation_policy.unwrap_or_default() == CreationPolicy::Owner;
    let Some(old) = old.filter(|old| *old != name && owned) else { return Ok(()) };
    let Some(live) = cluster::get(api, old).await? else { return Ok(()) };
    let uid = object.uid().unwrap_or_default();
    if secret::claim(Some(&live.metadata), &uid, |_| true) == Ok(Claim::Ours) {
        cluster::delete(api, &live).await?;
        let note = format!("Secret {old} was deleted: target.name is now {name}");
        ctx.event(object, EventType::Normal, "Renamed", note).await;
    }
    Ok(())
}
