//! What became of a mover's Job.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::{
    ResourceExt,
    api::{ListParams, LogParams},
};

use crate::{
    clients::cluster,
    controllers::context::Context,
    core::{
        job::CONTAINER,
        mover_state::{self, MoverState},
        problem::Problem,
        task::Told,
        unlock,
    },
};

/// Looks at an owner's Job in the operator's namespace and at its pod.
pub async fn observe(ctx: &Context, name: &str, owner_uid: &str) -> Result<(Option<Job>, MoverState), Problem> {
    let Some(job) = cluster::get_owned(&ctx.own::<Job>(), name, owner_uid).await? else {
        return Ok((None, MoverState::Absent));
    };
    let pod = pod_of(ctx, name, job.metadata.uid.as_deref().unwrap_or_default()).await?;
    let mut state = mover_state::of(&job, pod.as_ref(), ctx.now());
    if let (MoverState::Running { .. }, Some(pod)) = (&state, &pod) {
        match last_told(ctx, pod).await {
            Some(Told::Progress(progress)) => state = MoverState::Running { progress: Some(progress), waits: None },
            Some(Told::Waits(what)) => state = MoverState::Running { progress: None, waits: Some(what) },
            None => {}
        }
    }
    Ok((Some(job), state))
}

/// What became of the Job that removes the lock of a mover, where one may be needed.
pub async fn observe_unlocking(
    ctx: &Context,
    mover: &Job,
    state: &MoverState,
    owner_uid: &str,
) -> Result<MoverState, Problem> {
    if !unlock::is_needed(mover, state) {
        return Ok(MoverState::Absent);
    }
    let name = unlock::job_name(&mover.name_any());
    let state = observe(ctx, &name, owner_uid).await?.1;
    if let Some(why) = unlock::failed(&state) {
        tracing::warn!(job = name, "the lock of a mover that was killed is left until it is 30 minutes old: {why}");
    }
    Ok(state)
}

/// The pod of a Job: by the Job's uid, as the pod of a deleted one of the same name may still be there, with its answer.
async fn pod_of(ctx: &Context, job: &str, uid: &str) -> Result<Option<Pod>, Problem> {
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let pods = ctx.own::<Pod>().list(&params).await;
    let pods = pods.map_err(|error| cluster::problem::<Pod>("list", job, &error))?;
    Ok(pods.items.into_iter().next())
}

/// What the mover told last in its log; none where it has not said anything yet.
async fn last_told(ctx: &Context, pod: &Pod) -> Option<Told> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let running = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    if !statuses.iter().any(running) {
        return None;
    }
    let params = LogParams { container: Some(CONTAINER.to_owned()), tail_lines: Some(5), ..LogParams::default() };
    let log = ctx.own::<Pod>().logs(pod.metadata.name.as_deref()?, &params).await.ok()?;
    log.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}
