//! Writes the Secret of an ExternalSecret, and nothing that is not its own.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::Status,
    runtime::events::EventType,
};
use serde_json::{Map, Value, json};

use crate::{
    api::{MANAGER, annotations, external_secret::ExternalSecret},
    clients::cluster,
    controllers::context::Context,
    core::{
        problem::{Problem, Reason},
        secret::{self, Claim, Desired, Notes, Policy, note},
    },
};

/// What came of a write.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The Secret now.
    pub(crate) secret: Secret,
    /// Whether it was written because of its source, and not only repaired.
    pub(crate) changed: bool,
}

/// Makes the Secret what it should be: a new one is created; else nothing where it is already, server-side apply where
/// it is not, and after that the removal of keys that nobody declared. What is someone else's stays untouched. Nothing
/// comes of it where the namespace is being deleted.
pub(crate) async fn write(
    object: &ExternalSecret,
    ctx: &Context,
    desired: &Desired,
    notes: Notes,
) -> Result<Option<Written>, Problem> {
    let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
    let name = secret::target_name(object);
    if is_new(object) {
        match create(object, &api, desired, &notes).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(kube::Error::Api(status)) if is_terminating(&status) => return Ok(None),
            Err(error) => return Err(refused(name, &error)),
            Ok(secret) => return Ok(Some(Written { secret, changed: true })),
        }
    }
    let live = cluster::get(&api, name).await?;
    let claim = claim(object, ctx, live.as_ref())?;
    let said = |secret: &Secret, what: &str| secret.annotations().get(&note(what, object)).cloned();
    let before = live.as_ref().map(|live| (said(live, annotations::DATA), said(live, annotations::RESTARTED)));
    let mut wanted = secret::object(object, desired, &notes);
    let same_data = live.as_ref().is_some_and(|live| live.data == wanted.data);
    // Nothing is owed for what is new, nor for the same data that another key hashes otherwise.
    let restarted =
        before.filter(|(data, restarted)| !(same_data && data == restarted)).and_then(|(_, restarted)| restarted);
    if object.spec.target.restart {
        let restarted = restarted.unwrap_or_else(|| notes.data.clone());
        wanted = secret::object(object, desired, &Notes { restarted: Some(restarted), ..notes });
    }
    if let Some(live) = &live {
        secret::keep_type(&mut wanted, live);
        secret::leave_others(live, &mut wanted, object);
    }
    let inputs = |secret: &Secret| said(secret, annotations::INPUTS);
    let changed = live.as_ref().is_none_or(|live| inputs(live) != inputs(&wanted));
    if let Some(live) = live.as_ref().filter(|live| claim == Claim::Ours && !secret::differs(live, &wanted, object)) {
        forget_old(object, ctx, &api, name).await?;
        return Ok(Some(Written { secret: live.clone(), changed: false }));
    }
    if let Some(live) = &live {
        secret::changeable(live, &wanted, object)?;
        let contested = secret::contested_key(live, &wanted, object).filter(|_| Policy::of(object).shares);
        if let Some(key) = contested {
            return Err(contest(&key, name, "another ExternalSecret"));
        }
    }
    let live = match live {
        Some(live) => Some(made_applied(object, &api, live).await?),
        None => None,
    };
    let Some(mut now) = apply(object, &api, &wanted, live.as_ref()).await? else { return Ok(None) };
    let surplus = secret::surplus_keys(&now, &wanted, object);
    if !surplus.is_empty() {
        now = remove(&api, &now, &surplus).await?;
    }
    if claim == Claim::Nobodys && !Policy::of(object).shares {
        adopted(object, ctx, name, &surplus).await;
    }
    forget_old(object, ctx, &api, name).await?;
    Ok(Some(Written { secret: now, changed }))
}

/// Whether the object has no Secret yet, and would have one for itself.
fn is_new(object: &ExternalSecret) -> bool {
    let policy = Policy::of(object);
    object.status.as_ref().is_none_or(|status| status.binding.is_none()) && policy.creates && !policy.shares
}

/// Creates a Secret. Whether there is one is what the API says: a look before would cost as much again.
async fn create(object: &ExternalSecret, api: &Api<Secret>, desired: &Desired, notes: &Notes) -> kube::Result<Secret> {
    let restarted = object.spec.target.restart.then(|| notes.data.clone());
    let wanted = secret::object(object, desired, &Notes { restarted, ..notes.clone() });
    api.create(&PostParams { field_manager: Some(secret::manager(object)), ..PostParams::default() }, &wanted).await
}

/// The Secret with what was created taken for what was applied, so that applying takes away what is not declared any
/// more.
async fn made_applied(object: &ExternalSecret, api: &Api<Secret>, live: Secret) -> Result<Secret, Problem> {
    let Some(patch) = secret::made_applied(&live.metadata, object) else { return Ok(live) };
    let (name, params) = (live.name_any(), PatchParams::default());
    let patched = api.patch(&name, &params, &Patch::Merge(&patch)).await;
    patched.map_err(|error| cluster::problem::<Secret>("write", &name, &error))
}

/// What a live Secret is to the object; an error where it must not be written.
fn claim(object: &ExternalSecret, ctx: &Context, live: Option<&Secret>) -> Result<Claim, Problem> {
    let (policy, name) = (Policy::of(object), secret::target_name(object));
    let uid = object.uid().unwrap_or_default();
    let alive = |uid: &str| ctx.stores.is_declared(uid);
    let meta = live.map(|live| &live.metadata);
    let claim = match meta {
        Some(meta) if policy.shares => secret::share(meta, &uid, alive).map(|()| Claim::Ours)?,
        None if !policy.creates => {
            let message = format!(
                "Secret {name} does not exist, and creationPolicy Merge creates none: create it, or use CreateOrMerge"
            );
            return Err(Problem::new(Reason::SecretMissing, message));
        }
        meta => secret::claim(meta, object, alive, ctx.takeover.may_be_there())?,
    };
    if meta.is_some_and(|meta| meta.deletion_timestamp.is_some()) {
        let message = format!("Secret {name} is being deleted: it is created anew after that");
        return Err(Problem::new(Reason::ClusterError, message));
    }
    Ok(claim)
}

/// Applies a Secret, provided that it is as it was read: whoever writes in between is not overwritten unseen. Nothing
/// where the namespace is being deleted.
async fn apply(
    object: &ExternalSecret,
    api: &Api<Secret>,
    wanted: &Secret,
    live: Option<&Secret>,
) -> Result<Option<Secret>, Problem> {
    let name = wanted.name_any();
    let mut applied = wanted.clone();
    applied.metadata.resource_version = live.and_then(ResourceExt::resource_version);
    let mut params = PatchParams::apply(&secret::manager(object));
    // A Secret of ours is ours alone. Of one that is shared, the keys of other ExternalSecrets are theirs; and where there
    // was none, one that somebody makes at this moment is.
    params.force = live.is_some() && !Policy::of(object).shares;
    let result = match api.patch(&name, &params, &Patch::Apply(&applied)).await {
        Err(kube::Error::Api(status)) if is_field_conflict(&status) => {
            yields(&name, live, &status)?;
            params.force = true;
            api.patch(&name, &params, &Patch::Apply(&applied)).await
        }
        result => result,
    };
    match result {
        Ok(now) if live.is_none() && has_others(&now, object) => {
            withdraw(api, &now, object).await?;
            let message = format!("Secret {name} appeared while it was made: it is looked at again");
            Err(Problem::new(Reason::ClusterError, message))
        }
        Ok(now) => Ok(Some(now)),
        Err(kube::Error::Api(status)) if is_terminating(&status) => Ok(None),
        Err(error) => Err(refused(&name, &error)),
    }
}

/// Whether somebody else has written to a Secret.
fn has_others(secret: &Secret, object: &ExternalSecret) -> bool {
    let ours = secret::manager(object);
    secret.metadata.managed_fields.iter().flatten().any(|entry| entry.manager.as_ref() != Some(&ours))
}

/// Takes back what was applied to a Secret that is somebody else's.
async fn withdraw(api: &Api<Secret>, live: &Secret, object: &ExternalSecret) -> Result<(), Problem> {
    let name = live.name_any();
    let nothing = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": live.uid()}});
    let applied = api.patch(&name, &PatchParams::apply(&secret::manager(object)), &Patch::Apply(&nothing)).await;
    applied.map(drop).map_err(|error| cluster::problem::<Secret>("take back what was written to", &name, &error))
}

fn is_field_conflict(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 409 && causes.any(|cause| cause.reason == "FieldManagerConflict")
}

/// Whether those who wrote the keys before may be overruled: not another ExternalSecret, nor the Secret's controller.
fn yields(name: &str, live: Option<&Secret>, status: &Status) -> Result<(), Problem> {
    let causes = || status.details.iter().flat_map(|details| &details.causes);
    let ours = format!("\"{MANAGER}/");
    let controller = live
        .and_then(|live| live.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)));
    let of_ours = causes().find(|cause| cause.field.starts_with(".data.") && cause.message.contains(&ours));
    // What a person changed by hand is put right; labels and annotations are not worth a fight that nobody wins.
    let theirs = causes().find(|cause| cause.field.starts_with(".data.") && !cause.message.contains("\"kubectl"));
    let field = |cause: &kube::core::response::StatusCause| cause.field.trim_start_matches(".data.").to_owned();
    let (key, whose) = match (of_ours, controller) {
        (Some(cause), _) => (field(cause), "another ExternalSecret".to_owned()),
        (None, Some(owner)) if theirs.is_some() => {
            (theirs.map(field).unwrap_or_default(), format!("{} {}", owner.kind, owner.name))
        }
        (None, _) => return Ok(()),
    };
    Err(contest(&key, name, &whose))
}

fn contest(key: &str, name: &str, whose: &str) -> Problem {
    let message = format!("key {key:?} of Secret {name} is written by {whose}: leave it out, or use another Secret");
    Problem::new(Reason::Foreign, message)
}

/// Notes that the workloads were restarted for what a Secret holds.
pub(crate) async fn note_restart(
    object: &ExternalSecret,
    ctx: &Context,
    live: Secret,
    data: &str,
) -> Result<Secret, Problem> {
    let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
    let name = live.name_any();
    let metadata = json!({
        "uid": live.uid(), "resourceVersion": live.resource_version(),
        "annotations": {note(annotations::RESTARTED, object): data},
    });
    let params = PatchParams { field_manager: Some(secret::manager(object)), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    api.patch(&name, &params, &patch).await.map_err(|error| cluster::problem::<Secret>("annotate", &name, &error))
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
    ctx.event(
        &secret::reference(object),
        EventType::Normal,
        "Adopted",
        format!("Secret {name} belonged to nobody; {keys}"),
    )
    .await;
}

/// Whether nothing can be created any more because the namespace is being deleted.
fn is_terminating(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the API refuses, in words that say what to do about it: its own may quote values.
fn refused(name: &str, error: &kube::Error) -> Problem {
    let kube::Error::Api(status) = error else { return cluster::problem::<Secret>("write", name, error) };
    // What decides beside the API may decide otherwise soon.
    if ["ValidatingAdmissionPolicy", "admission webhook"].iter().any(|word| status.message.contains(word)) {
        let message = format!("an admission policy of the cluster refuses Secret {name}: it is tried again");
        return Problem::new(Reason::ClusterError, message);
    }
    if status.code == 422 {
        let message = format!(
            "the API refuses Secret {name}: its type may need certain keys, or a label or annotation of the template is not valid"
        );
        return Problem::new(Reason::InvalidData, message);
    }
    cluster::problem::<Secret>("write", name, error)
}

/// Deletes the Secret under the name that the object had before, where it is ours alone.
async fn forget_old(object: &ExternalSecret, ctx: &Context, api: &Api<Secret>, name: &str) -> Result<(), Problem> {
    let old = object.status.as_ref().and_then(|status| status.binding.as_ref()).map(|binding| binding.name.as_str());
    let Some(old) = old.filter(|old| *old != name && Policy::of(object).owns) else { return Ok(()) };
    let Some(live) = cluster::get(api, old).await? else { return Ok(()) };
    let is_ours = secret::claim(Some(&live.metadata), object, |_| true, true) == Ok(Claim::Ours);
    if is_ours && secret::owns(&live.metadata, object) {
        cluster::delete(api, &live).await?;
        let note = format!("Secret {old} was deleted: target.name is now {name}");
        ctx.event(&secret::reference(object), EventType::Normal, "Renamed", note).await;
    }
    Ok(())
}
