//! How a Secret passes from ESO's ExternalSecret to ours, and an ExternalSecret back to ESO.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::json;

use crate::{
    api::{
        common::Group,
        eso::{EsoExternalSecret, FINALIZER, MANAGED},
        external_secret::ExternalSecret,
    },
    clients::cluster,
    controllers::{
        context::Context,
        runner::{Action, Reconcile},
    },
    core::{
        problem::{Problem, Reason},
        secret,
        takeover::{self, Role},
    },
};

/// What wakes ESO, which looks at an ExternalSecret when its annotations change. It is taken off again at once.
const TOUCH: &str = "strongroom.dev/given-back";

/// Takes the Secret over from the ExternalSecret of ESO's kind that this one replaces: of the same name and for the same
/// Secret, and ours.
pub(crate) async fn succeed(object: &ExternalSecret, ctx: &Context) -> Result<(), Problem> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let before = ctx.stores.eso_external_secrets.by_name(Some(&namespace), &name).filter(|before| {
        let same = before.target().1 == secret::target_name(object);
        object.spec.group == Group::Strongroom && same && super::role(ctx, before) == Role::Ours
    });
    let Some(before) = before else { return Ok(()) };
    let api: Api<Secret> = ctx.api(&namespace);
    let target = secret::target_name(object);
    let meta = api.get_metadata_opt(target).await;
    let meta = meta.map_err(|error| cluster::problem::<Secret>("read", target, &error))?;
    let before = takeover::declared(&before).unwrap_or_else(|_| takeover::outline(&before));
    let patch = meta.and_then(|meta| takeover::passed_on(&meta.metadata, object, &before));
    let Some(patch) = patch else { return Ok(()) };
    let result = api.patch_metadata(target, &PatchParams::default(), &Patch::Merge(patch)).await;
    result.map_err(|error| cluster::problem::<Secret>("take over", target, &error))?;
    ctx.stores.wake_declared(Group::ExternalSecrets, &namespace, &name);
    Ok(())
}

/// Why an ExternalSecret of ESO's kind is not reconciled any more: one of ours has the same name and the same Secret.
pub(super) fn replaced(object: &EsoExternalSecret, ctx: &Context) -> Option<Problem> {
    let (namespace, name) = object.target();
    let by = ctx.stores.external_secrets.by_name(Some(&namespace), &object.name_any())?;
    let is_it = by.metadata.deletion_timestamp.is_none() && secret::target_name(&by) == name;
    is_it.then(|| {
        let message = format!(
            "the ExternalSecret of strongroom.dev with the same name writes Secret {name} now: delete this one"
        );
        Problem::new(Reason::Foreign, message)
    })
}

/// Takes ESO's finalizer off an ExternalSecret that is being deleted: ESO may not be there to do it. The Secret goes
/// with its owner.
pub(super) async fn release(object: &EsoExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    let left: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    if left.len() < object.finalizers().len() {
        let metadata = json!({"finalizers": left, "resourceVersion": object.resource_version()});
        patch(object, ctx, "release", &json!({ "metadata": metadata })).await?;
    }
    Ok(Action::await_change())
}

/// Changes an object, unless it has changed or is gone.
async fn patch(
    object: &EsoExternalSecret,
    ctx: &Context,
    action: &str,
    patch: &serde_json::Value,
) -> Result<Option<PartialObjectMeta<EsoExternalSecret>>, Problem> {
    match object.api(ctx).patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(patched) => Ok(Some(patched)),
        Err(kube::Error::Api(status)) if cluster::is_absent(&status) => Ok(None),
        Err(error) => Err(cluster::problem::<EsoExternalSecret>(action, &object.name_any(), &error)),
    }
}

/// Gives an ExternalSecret back to ESO: first its Secret, last the status, so that it is done again where it was
/// interrupted. ESO is woken by the change of the Secret, and sees that the status is not its own.
pub(super) async fn give_back(object: &EsoExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    let declared = takeover::declared(object).unwrap_or_else(|_| takeover::outline(object));
    let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
    let name = secret::target_name(&declared);
    let live = cluster::get(&api, name).await?;
    let back = live.as_ref().and_then(|live| takeover::given_back(live, &declared));
    if let Some(back) = &back {
        let result = api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(back)).await;
        result.map_err(|error| cluster::problem::<Secret>("give back", name, &error))?;
    }
    let wakes = back.is_some() && live.is_some_and(|live| live.labels().contains_key(MANAGED));
    if !wakes {
        // ESO does not watch a Secret that it did not make.
        let annotate = |value: Option<String>| json!({"metadata": {"annotations": {TOUCH: value}}});
        patch(object, ctx, "wake ESO for", &annotate(Some(ctx.now().to_rfc3339()))).await?;
        patch(object, ctx, "wake ESO for", &annotate(None)).await?;
    }
    if let Some(uid) = &object.metadata.uid {
        ctx.takeover.mixed().remove(uid);
    }
    // Where ESO has been there already, the status is its own.
    let live = cluster::get(&object.api(ctx), &object.name_any()).await?;
    if live.as_ref().is_some_and(takeover::is_marked) {
        let unmarked = json!({"status": {"syncedResourceVersion": null}});
        let params = PatchParams::default();
        let result = object.api(ctx).patch_status(&object.name_any(), &params, &Patch::Merge(unmarked)).await;
        result.map_err(|error| {
            cluster::problem::<EsoExternalSecret>("write the status of", &object.name_any(), &error)
        })?;
    }
    Ok(Action::await_change())
}
