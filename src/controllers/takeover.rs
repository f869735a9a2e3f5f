//! Stores and ExternalSecrets of External Secrets Operator's group that are ours: noticed when ESO's kinds appear,
//! reconciled in place, given back.

mod hand_over;
mod known;
mod pushes;
mod users;
mod watches;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::Stream;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{events::EventType, watcher},
};

pub(crate) use hand_over::succeed;
use hand_over::{give_back, release, replaced};
pub use known::Takeover;
pub(crate) use known::{discover, follow};
pub(crate) use pushes::watch_pushes;
pub(crate) use users::{is_left, recount, users};
use watches::concerning;
pub(crate) use watches::events;

use crate::{
    api::{
        common::{Condition, Time},
        eso::{EsoExternalSecret, FINALIZER},
        external_secret::{ExternalSecret, ExternalSecretStatus},
    },
    clients::{cluster, guarded::Guarded},
    controllers::{
        context::{Context, Handle, Stores},
        external_secret,
        runner::{Action, Reconcile},
    },
    core::{
        problem::{Problem, Reason},
        store::StoreKey,
        takeover::{self, Role},
    },
};

impl EsoExternalSecret {
    /// Namespace and name of its Secret.
    pub(crate) fn target(&self) -> (String, String) {
        let declared = self.spec.declared.as_ref().ok().and_then(|spec| spec.target.name.clone());
        (self.namespace().unwrap_or_default(), declared.unwrap_or_else(|| self.name_any()))
    }
}

impl Reconcile for EsoExternalSecret {
    const KIND: &'static str = "ExternalSecret.external-secrets.io";

    fn handle(stores: &Stores) -> &Handle<Self> {
        &stores.eso_external_secrets
    }

    fn api(&self, ctx: &Context) -> Api<Self> {
        ctx.api(&self.namespace().unwrap_or_default())
    }

    fn events(
        ctx: &Arc<Context>,
    ) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<Self>>>> + Send + 'static {
        concerning(ctx.clone())
    }

    async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
        match role(&ctx, &object) {
            Role::Theirs => Ok(Action::await_change()),
            // What we reconciled before a store of another controller was named is ours to let go.
            Role::Mixed(_) if object.metadata.deletion_timestamp.is_some() && takeover::is_marked(&object) => {
                release(&object, &ctx).await
            }
            Role::Mixed(others) => {
                external_secret::forget(&takeover::outline(&object), &ctx);
                ctx.takeover.mixed().extend(object.uid());
                mixed(&object, &ctx, &others).await
            }
            Role::Ours | Role::Leaving if object.metadata.deletion_timestamp.is_some() => release(&object, &ctx).await,
            Role::Leaving => {
                external_secret::forget(&takeover::outline(&object), &ctx);
                give_back(&object, &ctx).await
            }
            Role::Ours => {
                if let Some(problem) = replaced(&object, &ctx) {
                    return Err(problem);
                }
                let declared = takeover::declared(&object).map_err(|error| {
                    let message = format!("spec is not understood: {error}");
                    Problem::new(Reason::InvalidSpec, message)
                })?;
                external_secret::look_at(&declared, &ctx).await
            }
        }
    }

    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
        let ours = takeover::outline(self);
        let status = ours.with_problem(problem, now)?.status.unwrap_or_default();
        let status = Some(takeover::status(&ours, &status));
        (self.status != status).then(|| Self { status, ..self.clone() })
    }

    fn conditions(&self) -> Vec<Condition> {
        takeover::outline(self).conditions()
    }

    fn failed(&self, ctx: &Context, problem: &Problem) {
        ctx.failures.note(&takeover::outline(self), problem);
    }

    fn changed(&self, ctx: &Context) {
        ctx.takeover.recount.notify_one();
    }

    fn listed(ctx: &Context) {
        ctx.takeover.recount.notify_one();
        // They are what they were, but a store has changed hands.
        ctx.stores.eso_external_secrets.wake_where(|_| true);
    }

    fn deleted(&self, ctx: &Context) {
        if let Some(uid) = &self.metadata.uid {
            ctx.takeover.mixed().remove(uid);
        }
        external_secret::forget(&takeover::outline(self), ctx);
        ctx.takeover.recount.notify_one();
    }
}

/// Writes a status of ours in ESO's terms.
pub(crate) async fn set_status(
    object: &ExternalSecret,
    ctx: &Context,
    status: &ExternalSecretStatus,
) -> Result<(), Problem> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let Some(theirs) = ctx.stores.eso_external_secrets.by_name(Some(&namespace), &name) else { return Ok(()) };
    let mut status = takeover::status(object, status);
    if theirs.metadata.uid != object.metadata.uid || theirs.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let api = theirs.api(ctx);
    let mut updated = EsoExternalSecret::clone(&theirs);
    updated.metadata.resource_version.clone_from(&object.metadata.resource_version);
    updated.status = Some(status.clone());
    if cluster::try_write_status(&api, &updated).await?.is_some() {
        return Ok(());
    }
    // The watch lags behind, perhaps only behind our own last write.
    let same = |live: &EsoExternalSecret| {
        live.metadata.uid == object.metadata.uid && live.metadata.generation == object.metadata.generation
    };
    if let Some(live) = cluster::get(&api, &name).await?.filter(same) {
        status.refresh_time = status.refresh_time.max(live.status.as_ref().and_then(|status| status.refresh_time));
        cluster::write_status(&api, &EsoExternalSecret { status: Some(status), ..live }).await?;
    }
    Ok(())
}

/// What an ExternalSecret of ESO's is to us.
fn role(ctx: &Context, object: &EsoExternalSecret) -> Role {
    let was_mixed = object.metadata.uid.as_ref().is_some_and(|uid| ctx.takeover.mixed().contains(uid));
    let known = ctx.takeover.known();
    let is_gone = |store: &StoreKey| known.is_complete() && !is_there(ctx, store);
    takeover::role(object, &known.holds, was_mixed, is_gone)
}

/// Whether the watch knows a store of ESO's.
fn is_there(ctx: &Context, store: &StoreKey) -> bool {
    match store.namespace.as_deref() {
        Some(namespace) => ctx.stores.eso_secret_stores.by_name(Some(namespace), &store.name).is_some(),
        None => ctx.stores.eso_cluster_secret_stores.by_name(None, &store.name).is_some(),
    }
}

/// How long External Secrets Operator may take to let an ExternalSecret go.
const GRACE: Duration = Duration::from_secs(30);

/// Says that nobody reconciles an ExternalSecret, and that one waits which we never had: its finalizer is not ours.
async fn mixed(object: &EsoExternalSecret, ctx: &Context, others: &BTreeSet<StoreKey>) -> Result<Action, Problem> {
    let names: Vec<String> = others.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let note = match &object.metadata.deletion_timestamp {
        None => format!(
            "this ExternalSecret is left alone: it refers to a store with controller strongroom and to {names}, so \
             neither Strongroom nor External Secrets Operator reconciles it; declare two ExternalSecrets"
        ),
        Some(_) if !object.finalizers().iter().any(|name| name == FINALIZER) => return Ok(Action::await_change()),
        Some(since) => {
            let waited = ctx.now().timestamp() - since.0.as_second();
            let left = GRACE.saturating_sub(Duration::from_secs(u64::try_from(waited).unwrap_or_default()));
            if !left.is_zero() {
                return Ok(Action::requeue(left));
            }
            format!(
                "the deletion waits for External Secrets Operator, which takes off its finalizer {FINALIZER} when it \
                 runs; Strongroom never reconciled this ExternalSecret, which refers to {names} too, and leaves it alone"
            )
        }
    };
    ctx.event(&object.object_ref(&()), EventType::Warning, "MixedStores", note).await;
    Ok(Action::await_change())
}
