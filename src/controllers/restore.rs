//! VolumeRestore: observes what the plan needs to see, and does the one next step, again and again.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{PersistentVolume, PersistentVolumeClaim},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::events::EventType,
};
use serde_json::{Value, json};

use crate::{
    api::{
        common::{Condition, Time},
        restore::{FINALIZER, RestorePhase, VolumeRestore, VolumeRestoreStatus},
    },
    clients::cluster,
    controllers::{
        backup::{stores_are_filled, wake_queued},
        context::{Context, Handle, Stores},
        runner::{Action, Reconcile},
    },
    core::{
        conditions::{self, READY, Summary},
        problem::Problem,
        restore::{Step, Which, has_ended, next_step},
        workload::{Kind, Workload},
    },
};

mod movers;
mod observe;

/// More steps than one look ever needs: a plan that goes in circles ends here, and is looked at again.
const STEPS: usize = 60;
/// How soon is looked again after a write that was refused because something had changed, or may pass in a moment.
const AGAIN: Duration = Duration::from_millis(500);

impl Reconcile for VolumeRestore {
    const KIND: &'static str = "VolumeRestore";

    fn handle(stores: &Stores) -> &Handle<Self> {
        &stores.restores
    }

    fn api(&self, ctx: &Context) -> Api<Self> {
        ctx.api(&self.namespace().unwrap_or_default())
    }

    async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
        stores_are_filled(&ctx).await;
        ctx.stores.restores.filled().await;
        let api = object.api(&ctx);
        for _ in 0..STEPS {
            let Some(restore) = cluster::get(&api, &object.name_any()).await? else {
                return Ok(Action::await_change());
            };
            if let Some(action) = Box::pin(Look { ctx: &ctx, api: &api, restore }.go()).await? {
                return Ok(action);
            }
        }
        Ok(Action::requeue(AGAIN))
    }

    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
        let mut status = self.status.clone().unwrap_or_default();
        // Why it failed says more than why it cannot be put back at this moment.
        if has_ended(status.phase) || status.failure.is_some() {
            return None;
        }
        conditions::summarize(
            &mut status.conditions,
            &Summary::NotReady(problem.clone()),
            self.metadata.generation,
            now,
        );
        (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
    }

    fn conditions(&self) -> Vec<Condition> {
        self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
    }

    fn deleted(&self, ctx: &Context) {
        release(ctx, &self.uid().unwrap_or_default());
        ctx.sweep.notify_one();
        // One that was forced away may have left its app stopped.
        ctx.forgotten.notify_one();
    }
}

/// Gives the place among the movers back.
fn release(ctx: &Context, uid: &str) {
    ctx.queue.release(uid);
    let waits = |status: &VolumeRestoreStatus| status.phase == Some(RestorePhase::Queued);
    ctx.stores.restores.wake_where(|restore| restore.status.as_ref().is_some_and(waits));
    wake_queued(ctx);
}

/// One look at an object, and one step.
struct Look<'a> {
    ctx: &'a Context,
    api: &'a Api<VolumeRestore>,
    restore: VolumeRestore,
}

impl Look<'_> {
    /// Does the next step. None where the next one can be done at once.
    async fn go(self) -> Result<Option<Action>, Problem> {
        let observed = Box::pin(observe::observe(self.ctx, &self.restore)).await?;
        let ctx = self.ctx;
        match next_step(&self.restore, &observed, ctx.now()) {
            Step::Record(status) => {
                let written = self.write(*status).await?;
                Ok((!written).then(|| Action::requeue(AGAIN)))
            }
            Step::Wait(status, pause) => {
                self.write(*status).await?;
                Ok(Some(Action::requeue(pause)))
            }
            Step::Finalizer(wanted) => self.finalizer(wanted).await.map(again),
            Step::StartMover(which, task, mounts) => {
                movers::start(ctx, &self.restore, &observed, which, &task, &mounts).await.map(|()| None)
            }
            Step::RemoveMover(which) => {
                movers::remove(ctx, &observed, which).await?;
                if which == Which::Restore {
                    release(ctx, &observed.owner.uid);
                }
                Ok(None)
            }
            Step::Stage(claim) => cluster::create(&ctx.own(), &*claim, &observed.owner.uid).await.map(|_| None),
            Step::CreateClaim(claim) => self.create_claim(&claim).await,
            Step::DeleteClaim(claim) => {
                let api: Api<PersistentVolumeClaim> = ctx.api(&claim.namespace().unwrap_or_default());
                cluster::delete(&api, &*claim).await.map(|()| None)
            }
            Step::PatchVolume(name, patch) => merge(&ctx.global::<PersistentVolume>(), &name, &patch).await.map(again),
            Step::PatchWorkload(workload, patch) => patch_workload(ctx, &workload, &patch).await.map(again),
            Step::Done => {
                release(ctx, &observed.owner.uid);
                Ok(Some(Action::await_change()))
            }
        }
    }

    /// Writes the status where it differs. False where the object has changed meanwhile.
    async fn write(&self, status: VolumeRestoreStatus) -> Result<bool, Problem> {
        if self.restore.status.as_ref() == Some(&status) {
            return Ok(true);
        }
        let wanted = VolumeRestore { status: Some(status), ..self.restore.clone() };
        let Some(written) = cluster::try_write_status(self.api, &wanted).await? else { return Ok(false) };
        self.tell(&written).await;
        Ok(true)
    }

    /// Tells about each new step and about the end, once.
    async fn tell(&self, written: &VolumeRestore) {
        let (old, new) = (self.restore.status.clone().unwrap_or_default(), written.status.clone().unwrap_or_default());
        let (namespace, name) = (written.namespace().unwrap_or_default(), written.name_any());
        let ready = conditions::get(&new.conditions, READY);
        let (reason, message) = ready.map(|ready| (ready.reason.clone(), ready.message.clone())).unwrap_or_default();
        if has_ended(new.phase) && !has_ended(old.phase) {
            let failed = new.phase == Some(RestorePhase::Failed);
            tracing::info!(namespace, name, reason, "the restore has ended: {message}");
            let type_ = if failed { EventType::Warning } else { EventType::Normal };
            self.ctx.event(&written.object_ref(&()), type_, &reason, message).await;
            release(self.ctx, &written.uid().unwrap_or_default());
        } else if let Some(step) = new.steps.last().filter(|_| new.steps.len() > old.steps.len()) {
            tracing::info!(namespace, name, "{}", step.message);
            let type_ = if new.failure.is_some() { EventType::Warning } else { EventType::Normal };
            self.ctx.event(&written.object_ref(&()), type_, &reason, step.message.clone()).await;
        } else if old.phase.is_none() {
            tracing::info!(namespace, name, "a restore starts");
        }
    }

    async fn finalizer(&self, wanted: bool) -> Result<bool, Problem> {
        let mut finalizers = self.restore.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        let version = self.restore.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
        merge(self.api, &self.restore.name_any(), &patch).await
    }

    /// Creates the app's claim. A quota that still counts the old claim is a matter of moments, which nobody should
    /// have to wait for longer than needed.
    async fn create_claim(&self, claim: &PersistentVolumeClaim) -> Result<Option<Action>, Problem> {
        let api: Api<PersistentVolumeClaim> = self.ctx.api(&claim.namespace().unwrap_or_default());
        match api.create(&PostParams::default(), claim).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(error) => {
                let problem = cluster::problem::<PersistentVolumeClaim>("create", &claim.name_any(), &error);
                tracing::warn!(claim = claim.name_any(), "{problem}");
                if let Some(updated) = self.restore.with_problem(&problem, self.ctx.now()) {
                    cluster::try_write_status(self.api, &updated).await?;
                }
                Ok(Some(Action::requeue(AGAIN)))
            }
        }
    }
}

/// What follows a patch: the next step, or a look in a moment where something had changed meanwhile.
fn again(patched: bool) -> Option<Action> {
    (!patched).then(|| Action::requeue(AGAIN))
}

/// Patches a workload. False where it has changed meanwhile.
pub(crate) async fn patch_workload(ctx: &Context, workload: &Workload, patch: &Value) -> Result<bool, Problem> {
    match workload.kind {
        Kind::Deployment => merge(&ctx.api::<Deployment>(&workload.namespace), &workload.name, patch).await,
        Kind::StatefulSet => merge(&ctx.api::<StatefulSet>(&workload.namespace), &workload.name, patch).await,
    }
}

/// Patches an object on the condition that it is as it was read. False where it has changed or is gone.
pub(crate) async fn merge<K: cluster::Object>(api: &Api<K>, name: &str, patch: &Value) -> Result<bool, Problem> {
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(error) if cluster::is_conflict(&error) => Ok(false),
        Err(kube::Error::Api(status)) if cluster::is_absent(&status) => Ok(false),
        Err(error) => Err(cluster::problem::<K>("patch", name, &error)),
    }
}
