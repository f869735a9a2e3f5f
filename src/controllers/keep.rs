//! What restores leave for later: volumes that are kept for a time, and workloads whose restore was forgotten.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::PersistentVolume,
};
use kube::{Api, ResourceExt, api::ListParams};
use tokio::sync::Notify;

use crate::{
    api::{MANAGER, annotations::STOPPED_BY, labels, restore::VolumeRestore},
    clients::cluster::{self, Object},
    controllers::{
        context::Context,
        restore::{merge, patch_workload},
        runner::Reconcile,
    },
    core::{
        problem::Problem,
        restore::has_ended,
        volumes,
        workload::{self, Workload},
    },
};

/// How often is looked whether the time of a kept volume is over.
const PERIOD: Duration = Duration::from_mins(1);

/// Puts forgotten workloads right at the start and when a restore vanished, and looks after kept volumes until the controller ends.
pub(crate) async fn run(ctx: Arc<Context>) {
    let mut is_put_right = false;
    loop {
        let result = async {
            if !is_put_right {
                start_forgotten(&ctx).await?;
                is_put_right = true;
            }
            expire(&ctx).await
        };
        if let Err(problem) = result.await {
            tracing::warn!(reason = %problem.reason, "kept volumes cannot be looked after: {problem}");
        }
        is_put_right &= !vanished_within(PERIOD, &ctx.forgotten).await;
    }
}

/// Waits for so long, or until a restore vanished, and says whether one did.
async fn vanished_within(period: Duration, forgotten: &Notify) -> bool {
    tokio::time::timeout(period, forgotten.notified()).await.is_ok()
}

/// Gives volumes whose time is over their own reclaim policy back, with which Kubernetes deletes them.
async fn expire(ctx: &Context) -> Result<(), Problem> {
    let volumes: Api<PersistentVolume> = ctx.global();
    let selector = format!("{}={MANAGER},{}={}", labels::MANAGED_BY, labels::OWNER_KIND, VolumeRestore::KIND);
    let kept = volumes.list(&ListParams::default().labels(&selector)).await;
    let kept = kept.map_err(|error| cluster::problem::<PersistentVolume>("list", "that are kept", &error))?;
    for volume in kept {
        let Some(patch) = volumes::expire(&volume, ctx.now()) else { continue };
        if merge(&volumes, &volume.name_any(), &patch).await? {
            tracing::info!(volume = volume.name_any(), "the volume that a restore replaced is no longer kept");
        }
    }
    Ok(())
}

/// Starts what a restore stopped that no longer exists, or that has ended.
async fn start_forgotten(ctx: &Context) -> Result<(), Problem> {
    let stopped = [stopped::<Deployment>(ctx).await?, stopped::<StatefulSet>(ctx).await?];
    if stopped.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let restores: Api<VolumeRestore> = Api::all(ctx.client.clone());
    let restores = restores.list(&ListParams::default()).await;
    let restores = restores.map_err(|error| cluster::problem::<VolumeRestore>("list", "of all namespaces", &error))?;
    let at_work: BTreeSet<String> = restores
        .iter()
        .filter(|restore| !has_ended(restore.status.as_ref().and_then(|status| status.phase)))
        .filter_map(ResourceExt::uid)
        .collect();
    let [deployments, stateful_sets] = stopped;
    for (namespace, name) in deployments {
        let found = cluster::get(&ctx.api::<Deployment>(&namespace), &name).await?;
        start(ctx, found.as_ref().map(workload::deployment), &at_work).await?;
    }
    for (namespace, name) in stateful_sets {
        let found = cluster::get(&ctx.api::<StatefulSet>(&namespace), &name).await?;
        start(ctx, found.as_ref().map(workload::stateful_set), &at_work).await?;
    }
    Ok(())
}

/// Namespace and name of the workloads that some restore stopped.
async fn stopped<K: Object>(ctx: &Context) -> Result<Vec<(String, String)>, Problem> {
    let all: Api<K> = Api::all(ctx.client.clone());
    let all = all.list_metadata(&ListParams::default()).await;
    let all = all.map_err(|error| cluster::problem::<K>("list", "of all namespaces", &error))?;
    let stopped = all.items.iter().filter(|object| object.annotations().contains_key(STOPPED_BY));
    Ok(stopped.map(|object| (object.namespace().unwrap_or_default(), object.name_any())).collect())
}

async fn start(ctx: &Context, workload: Option<Workload>, at_work: &BTreeSet<String>) -> Result<(), Problem> {
    let Some(workload) = workload else { return Ok(()) };
    let forgotten = workload.stopped_by.as_ref().is_some_and(|restore| !at_work.contains(restore));
    if forgotten && patch_workload(ctx, &workload, &workload.start()).await? {
        let (namespace, title) = (&workload.namespace, workload.title());
        tracing::warn!(namespace, "{title} was stopped by a restore that is gone; it is started again");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_restore_that_vanishes_is_not_waited_out() {
        let forgotten = Notify::new();
        assert!(!vanished_within(PERIOD, &forgotten).await);
        // Also one that vanished while something else was done.
        forgotten.notify_one();
        assert!(vanished_within(PERIOD, &forgotten).await);
        assert!(!vanished_within(PERIOD, &forgotten).await, "once for each");
    }
}
