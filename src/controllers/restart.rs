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
    core::{
        problem::{Problem, Reason},
        restart,
        secret::{note, reference},
    },
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
    if !ctx.restart {
        let message = "spec.target.restart is switched off for this cluster: set restart: true in the chart's values, or remove it";
        return Err(Problem::new(Reason::NotSupported, message));
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), secret.name_any());
    let mut rolled = roll(&ctx.api(&namespace), &name, &data, |one: &Deployment| &one.spec.template).await?;
    rolled.extend(roll(&ctx.api(&namespace), &name, &data, |one: &StatefulSet| &one.spec.template).await?);
    rolled.extend(roll(&ctx.api(&namespace), &name, &data, |one: &DaemonSet| &one.spec.template).await?);
    let (refused, rolled): (Vec<_>, Vec<_>) = rolled.into_iter().partition(|(_, problem)| problem.is_some());
    if !rolled.is_empty() {
        let names: Vec<String> = rolled.into_iter().map(|(name, _)| name).collect();
        let note = format!("Secret {name} has new data: restarted {}", names.join(", "));
        ctx.event(&reference(object), EventType::Normal, "Restarted", note).await;
    }
    // The others have been restarted all the same.
    if let Some(problem) = refused.into_iter().find_map(|(_, problem)| problem) {
        return Err(problem);
    }
    note_restart(object, ctx, secret, &data).await
}

/// Restarts the workloads of a kind: their names, and why one could not be.
async fn roll<K>(
    api: &Api<K>,
    secret: &str,
    data: &str,
    template: impl Fn(&K) -> &PodTemplateSpec,
) -> Result<Vec<(String, Option<Problem>)>, Problem>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let kind = K::kind(&());
    let list =
        api.list(&ListParams::default()).await.map_err(|error| cluster::problem::<K>("list every", "", &error))?;
    let mut rolled = Vec::new();
    for workload in list {
        let Some(patch) = restart::patch(template(&workload), secret, data) else { continue };
        let name = workload.name_any();
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&name, &params, &Patch::Merge(patch)).await {
            Ok(_) => rolled.push((format!("{kind} {name}"), None)),
            Err(kube::Error::Api(status)) if cluster::is_absent(&status) => {}
            Err(error) => rolled.push((name.clone(), Some(cluster::problem::<K>("restart", &name, &error)))),
        }
    }
    Ok(rolled)
}
