//! Stores and ExternalSecrets of External Secrets Operator's group that are ours: noticed when ESO's kinds appear,
//! reconciled in place, given back.

mod hand_over;
mod users;
mod watches;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::Stream;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{events::EventType, watcher},
};
use tokio::{sync::watch, time::sleep};

pub(crate) use hand_over::succeed;
use hand_over::{give_back, release, replaced};
pub(crate) use users::{is_left, users};
use watches::concerning;
pub(crate) use watches::events;

use crate::{
    api::{
        common::{Condition, ESO_GROUP, Time},
        eso::EsoExternalSecret,
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
        takeover::{self, Hold, Holds, Role},
    },
};

/// How often it is looked whether ESO's kinds are there.
const INTERVAL: Duration = Duration::from_secs(15);

/// What of ESO's is ours.
#[derive(Debug)]
pub struct Takeover {
    /// Whether ESO's kinds are there.
    served: watch::Sender<bool>,
    /// Whether it has been seen that its ExternalSecrets are not there.
    absent: AtomicBool,
    /// ESO's stores that matter, and how often that has changed.
    holds: watch::Sender<(u64, Holds)>,
    /// The ExternalSecrets that nobody reconciles because of us, by uid.
    mixed: Mutex<HashSet<String>>,
    /// The change after which the ExternalSecrets have been listed.
    listed: AtomicU64,
}

impl Default for Takeover {
    fn default() -> Self {
        Self {
            served: watch::Sender::new(false),
            absent: AtomicBool::new(false),
            holds: watch::Sender::new((0, Holds::new())),
            mixed: Mutex::default(),
            listed: AtomicU64::new(0),
        }
    }
}

impl Takeover {
    /// Notes what a store is to us.
    pub(crate) fn hold(&self, store: &StoreKey, hold: Option<Hold>) {
        self.holds.send_if_modified(|(count, holds)| {
            let old = match hold {
                Some(hold) => holds.insert(store.clone(), hold),
                None => holds.remove(store),
            };
            *count += u64::from(old != hold);
            old != hold
        });
    }

    fn mixed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.mixed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn held(&self, store: &StoreKey) -> Option<Hold> {
        self.holds.borrow().1.get(store).copied()
    }

    /// Whether ESO's ExternalSecrets may be in the cluster: until it is seen that they are not.
    pub(crate) fn may_be_there(&self) -> bool {
        !self.absent.load(Ordering::SeqCst)
    }

    /// Notes which of ESO's kinds are there. When its chart is uninstalled, they go one after the other.
    fn note(&self, is_served: impl Fn(&str) -> bool) {
        self.absent.store(!is_served("ExternalSecret"), Ordering::SeqCst);
        if !is_served("ExternalSecret") {
            self.holds.send_if_modified(|(_, holds)| !std::mem::take(holds).is_empty());
        }
        let all = ["ExternalSecret", "SecretStore", "ClusterSecretStore"].into_iter().all(is_served);
        self.served.send_if_modified(|served| std::mem::replace(served, all) != all);
    }

    fn role(&self, object: &EsoExternalSecret) -> Role {
        let was_mixed = object.metadata.uid.as_ref().is_some_and(|uid| self.mixed().contains(uid));
        takeover::role(object, &self.holds.borrow().1, was_mixed)
    }

    /// Whether every ExternalSecret that concerns us is known, since the stores are what they are.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst) == self.holds.borrow().0
    }
}

/// Sees whether ESO's kinds are in the cluster.
pub(crate) async fn discover(ctx: Arc<Context>) {
    let version = format!("{ESO_GROUP}/v1");
    loop {
        match ctx.client.list_api_group_resources(&version).await {
            Ok(list) => ctx.takeover.note(|kind| list.resources.iter().any(|resource| resource.kind == kind)),
            Err(kube::Error::Api(status)) if status.is_not_found() => ctx.takeover.note(|_| false),
            // The API does not answer: nothing is known that was not known before.
            Err(error) => tracing::debug!(%error, "cannot see whether ESO's kinds are there"),
        }
        sleep(INTERVAL).await;
    }
}

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
        match ctx.takeover.role(&object) {
            Role::Theirs => Ok(Action::await_change()),
            Role::Mixed(others) => {
                external_secret::forget(&takeover::outline(&object), &ctx);
                ctx.takeover.mixed().extend(object.uid());
                mixed(&object, &ctx, &others).await;
                Ok(Action::await_change())
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

    fn listed(ctx: &Context) {
        // They are what they were, but a store has changed hands.
        ctx.stores.eso_external_secrets.wake_where(|_| true);
    }

    fn deleted(&self, ctx: &Context) {
        if let Some(uid) = &self.metadata.uid {
            ctx.takeover.mixed().remove(uid);
        }
        external_secret::forget(&takeover::outline(self), ctx);
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

/// Says that nobody reconciles an ExternalSecret.
async fn mixed(object: &EsoExternalSecret, ctx: &Context, others: &BTreeSet<StoreKey>) {
    let names: Vec<String> = others.iter().map(ToString::to_string).collect();
    let note = format!(
        "this ExternalSecret is left alone: it refers to a store with controller strongroom and to {}, so neither \
         Strongroom nor External Secrets Operator reconciles it; declare two ExternalSecrets",
        names.join(", ")
    );
    ctx.event(&object.object_ref(&()), EventType::Warning, "MixedStores", note).await;
}
