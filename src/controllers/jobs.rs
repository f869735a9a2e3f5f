//! What became of a mover's Job.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::api::{ListParams, LogParams};

use crate::{
    api::backup::Progress,
    clients::cluster,
    controllers::context::Context,
    core::{
        job::CONTAINER,
        mover_state::{self, MoverState},
        task::ProgressLine,
    },
};

/// Looks at an owner's Job in the operator's namespace and at its pod.
pub async fn observe(
    ctx: &Context,
    name: &str,
    owner_uid: &str,
) -> Result<(Option<Job>, MoverState), crate::core::problem::Problem> {
    let Some(job) = cluster::get_owned(&ctx.own::<Job>(), name, owner_uid).await? else {
        return Ok((None, MoverState::Absent));
    };
    let pod = pod_of(ctx, name, job.metadata.uid.as_deref().unwrap_or_default()).await?;
    let mut state = mover_state::of(&job, pod.as_ref());
    if let (MoverState::Running { progress }, Some(pod)) = (&mut state, &pod) {
        *progress = last_progress(ctx, pod).await;
    }
    Ok((Some(job), state))
}

/// The pod of a Job: by the Job's uid, as the pod of a deleted one of the same name may still be there, with its answer.
async fn pod_of(ctx: &Context, job: &str, uid: &str) -> Result<Option<Pod>, crate::core::problem::Problem> {
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let pods = ctx.own::<Pod>().list(&params).await;
    let pods = pods.map_err(|error| cluster::problem::<Pod>("list", job, &error))?;
    Ok(pods.items.into_iter().next())
}

/// The last line of progress in the mover's log; none where it has not said anything yet.
async fn last_progress(ctx: &Context, pod: &Pod) -> Option<Progress> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let running = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    if !statuses.iter().any(running) {
        return None;
    }
    let params = LogParams { container: Some(CONTAINER.to_owned()), tail_lines: Some(5), ..LogParams::default() };
    let log = ctx.own::<Pod>().logs(pod.metadata.name.as_deref()?, &params).await.ok()?;
    log.lines().rev().find_map(|line| serde_json::from_str::<ProgressLine>(line).ok()).map(|line| line.progress)
}
