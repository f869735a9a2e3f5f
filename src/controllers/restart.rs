//! Has workloads take up a Secret's new data (`target.restart`): their pods are replaced once for each change.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{PodTemplateSpec, Secret},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
    runtime::events::EventType,
};

use crate::{
    api::{MANAGER, annotations, external_secret::ExternalSecret},
    clients::cluster::{self, Object},
    controllers::{context::Context, secret_writer::note_restart},
    core::{problem::Problem, restart, secret::note},
};

/// Restarts what uses a Secret, where that is asked for and its data is not that of the last restart. It is noted on
/// the Secret when it is done, so that a restart that is owed is not forgotten. The Secret as it is then.
pub(crate) async fn owed(object: &ExternalSecret, ctx: &Context, secret: Secret) -> Result<Secret, Problem> {
    let noted = |name: &str| secret.annotations().get(&note(name, object)).cloned();
    let (Some(data), Some(restarted)) = (noted(annotations::DATA), noted(annotations::RESTARTED)) else {
        return Ok(secret);
    };
    if !object.spec.target.restart || data == restarted {
        return Ok(secret);
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), secret.name_any());
    let mut rolled = roll(&ctx.api(&namespace), &name, &data, |one: &Deployment| Some(&one.spec.template)).await?;
    rolled.extend(roll(&ctx.api(&namespace), &name, &data, |one: &StatefulSet| Some(&one.spec.template)).await?);
    rolled.extend(roll(&ctx.api(&namespace), &name, &data, |one: &DaemonSet| Some(&one.spec.template)).await?);
    if !rolled.is_empty() {
        let note = format!("Secret {name} has new data: restarted {}", rolled.join(", "));
        ctx.event(object, EventType::Normal, "Restarted", note).await;
    }
    note_restart(object, ctx, secret, &data).await
}

async fn roll<K>(
    api: &Api<K>,
    secret: &str,
    data: &str,
    template: impl Fn(&K) -> Option<&PodTemplateSpec>,
) -> Result<Vec<String>, Problem>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let kind = K::kind(&());
    let list =
        api.list(&ListParams::default()).await.map_err(|error| cluster::problem::<K>("list every", "", &error))?;
    let mut rolled = Vec::new();
    for workload in list {
        let Some(patch) = template(&workload).and_then(|template| restart::patch(template, secret, data)) else {
            continue;
        };
        let name = workload.name_any();
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&name, &params, &Patch::Merge(patch)).await {
            Ok(_) => rolled.push(format!("{kind} {name}")),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(cluster::problem::<K>("restart", &name, &error)),
        }
    }
    Ok(rolled)
}
