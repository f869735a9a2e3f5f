//! SecretStore and ClusterSecretStore: reads token and certificates, hands them to the hub, says what the server tells.

mod registration;

use std::{sync::Arc, time::Duration};

use futures::Stream;
use kube::{Api, Resource, ResourceExt, runtime::watcher};

use registration::registration;

use crate::{
    api::{
        annotations,
        common::{Condition, Group, Time},
        eso::{EsoClusterSecretStore, EsoSecretStore},
        store::{ClusterSecretStore, SecretStore, StoreSpec, StoreStatus},
    },
    clients::{cluster, guarded::Guarded},
    controllers::{
        connect::{Source, Wake, problem},
        context::{Context, Handle, Stores},
        credentials::Reads,
        runner::{Action, Reconcile},
        takeover::{events, is_left, users},
    },
    core::{
        problem::{Class, Problem, Reason},
        store::{Seen, StoreKey, is_ours, of_eso, status, vaults},
        takeover::{self, Hold, Users},
    },
};

/// How often token and certificates are read again while the server cannot be used with them.
const RETRY: Duration = Duration::from_secs(15);
/// How long a server's first answer is waited for here; it wakes the store when it takes longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// What every kind of store is.
trait AnyStore: Reconcile {
    const GROUP: Group = Group::Strongroom;

    fn declared(&self) -> Result<StoreSpec, Problem>;
    fn known(&self) -> Option<StoreStatus>;
    fn with_status(&self, status: StoreStatus, users: Option<&Users>, now: Time) -> Self;
    fn says_the_same_as(&self, other: &Self) -> bool;

    fn key(&self) -> StoreKey {
        StoreKey { group: Self::GROUP, namespace: self.namespace(), name: self.name_any() }
    }
}

macro_rules! store {
    ($kind:ident, $handle:ident, $api:expr) => {
        impl AnyStore for $kind {
            fn declared(&self) -> Result<StoreSpec, Problem> {
                Ok(self.spec.store.clone())
            }

            fn known(&self) -> Option<StoreStatus> {
                self.status.clone()
            }

            fn with_status(&self, status: StoreStatus, _: Option<&Users>, _: Time) -> Self {
                Self { status: Some(status), ..self.clone() }
            }

            fn says_the_same_as(&self, other: &Self) -> bool {
                self.status == other.status
            }
        }

        impl Reconcile for $kind {
            const KIND: &'static str = stringify!($kind);

            fn handle(stores: &Stores) -> &Handle<Self> {
                &stores.$handle
            }

            fn api(&self, ctx: &Context) -> Api<Self> {
                $api(self, ctx)
            }

            async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
                reconcile(&*object, &ctx, None).await
            }

            fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
                failed(self, problem, now)
            }

            fn conditions(&self) -> Vec<Condition> {
                self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
            }

            fn deleted(&self, ctx: &Context) {
                forget(ctx, &self.key());
            }
        }
    };
}

/// The same for a kind of External Secrets Operator's.
macro_rules! eso_store {
    ($kind:ident, $name:literal, $handle:ident, $api:expr) => {
        impl AnyStore for $kind {
            const GROUP: Group = Group::ExternalSecrets;

            fn declared(&self) -> Result<StoreSpec, Problem> {
                of_eso(&self.spec.store, &self.key())
            }

            fn known(&self) -> Option<StoreStatus> {
                self.status.as_ref().map(takeover::store_in_our_terms)
            }

            fn with_status(&self, status: StoreStatus, users: Option<&Users>, now: Time) -> Self {
                let status = takeover::store_status(&self.metadata, self.status.as_ref(), &status, users, now);
                Self { status: Some(status), ..self.clone() }
            }

            fn says_the_same_as(&self, other: &Self) -> bool {
                self.status == other.status
            }
        }

        impl Reconcile for $kind {
            const KIND: &'static str = $name;

            fn handle(stores: &Stores) -> &Handle<Self> {
                &stores.$handle
            }

            fn api(&self, ctx: &Context) -> Api<Self> {
                $api(self, ctx)
            }

            fn events(
                ctx: &Arc<Context>,
            ) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<Self>>>> + Send + 'static {
                events(ctx)
            }

            fn changed(&self, ctx: &Context) {
                let (key, is_ours) = (self.key(), self.spec.store.0.is_some());
                // One that was made anew without our name is left as well.
                let leaves = takeover::is_taken_over(self.status.as_ref()) || ctx.takeover.held(&key).is_some();
                ctx.takeover.hold(&key, if is_ours { Some(Hold::Ours) } else { leaves.then_some(Hold::Leaving) });
            }

            fn listed(ctx: &Context) {
                ctx.takeover.listed_stores(&Self::kind(&()));
            }

            async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
                let key = object.key();
                match ctx.takeover.held(&key) {
                    Some(Hold::Ours) => {
                        let users = users(&ctx, &key).await;
                        reconcile(&*object, &ctx, Some(&users)).await
                    }
                    Some(Hold::Leaving) if !is_left(&ctx, &key) => {
                        forget(&ctx, &key);
                        Ok(Action::requeue(Duration::from_secs(1)))
                    }
                    Some(Hold::Leaving) => {
                        let left =
                            Self { status: object.status.as_ref().map(takeover::left_status), ..(*object).clone() };
                        cluster::write_status(&object.api(&ctx), &left).await?;
                        ctx.takeover.hold(&key, None);
                        Ok(Action::await_change())
                    }
                    None => {
                        forget(&ctx, &key);
                        Ok(Action::await_change())
                    }
                }
            }

            fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
                // Of a store that is not ours we say nothing.
                self.spec.store.0.as_ref().and_then(|_| failed(self, problem, now))
            }

            fn conditions(&self) -> Vec<Condition> {
                self.known().unwrap_or_default().conditions
            }

            fn deleted(&self, ctx: &Context) {
                ctx.takeover.tell(&self.key(), None);
                // Its ExternalSecrets stay ours: they may be deleted next, with nobody else there to let them go.
                forget(ctx, &self.key());
            }
        }
    };
}

store!(SecretStore, secret_stores, |store: &Self, ctx: &Context| ctx.api(&store.namespace().unwrap_or_default()));
store!(ClusterSecretStore, cluster_secret_stores, |_, ctx: &Context| ctx.global());
eso_store!(EsoSecretStore, "SecretStore.external-secrets.io", eso_secret_stores, |store: &Self, ctx: &Context| ctx
    .api(&store.namespace().unwrap_or_default()));
eso_store!(
    EsoClusterSecretStore,
    "ClusterSecretStore.external-secrets.io",
    eso_cluster_secret_stores,
    |_, ctx: &Context| ctx.global()
);

/// Forgets a store that is gone, or not ours.
fn forget(ctx: &Context, key: &StoreKey) {
    ctx.credentials.read(&Wake::Store(key.clone()), Reads::new());
    ctx.connect.forget_store(key);
}

/// A store whose look ended in a problem, where that is new.
fn failed<K: AnyStore>(object: &K, problem: &Problem, now: Time) -> Option<K> {
    let known = object.known();
    let handled = known.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    let new = status(known.as_ref(), object.meta().generation, handled, Err(problem.clone()), now);
    let updated = object.with_status(new, None, now);
    (!updated.says_the_same_as(object)).then_some(updated)
}

async fn reconcile<K: AnyStore>(object: &K, ctx: &Context, users: Option<&Users>) -> Result<Action, Problem> {
    let key = object.key();
    let spec = object.declared()?;
    if !is_ours(&spec) {
        forget(ctx, &key);
        return Ok(Action::await_change());
    }
    let known = object.known();
    let handled = known.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    let requested = object.annotations().get(annotations::REQUESTED_AT);
    // ESO's kinds have no place to note what was handled.
    let look = requested.filter(|_| K::GROUP == Group::Strongroom && requested != handled);
    let seen = match observe(object, &spec, ctx, look).await {
        Err(problem) if problem.reason == Reason::ClusterError => return Err(problem),
        Ok(None) => return Ok(Action::await_change()),
        Ok(Some(seen)) => Ok(seen),
        Err(problem) => Err(problem),
    };
    // A problem waits here and not in the runner: the token is read again soon, however often it was wrong.
    let failed = seen.as_ref().err().or_else(|| seen.as_ref().ok()?.vaults.as_ref().err()).map(Problem::class);
    let new = status(known.as_ref(), object.meta().generation, requested, seen, ctx.now());
    let updated = object.with_status(new, users, ctx.now());
    if !updated.says_the_same_as(object) {
        cluster::write_status(&object.api(ctx), &updated).await?;
    }
    Ok(match failed {
        None | Some(Class::Terminal) => Action::await_change(),
        Some(Class::Transient | Class::Blocked) => Action::requeue(RETRY),
    })
}

/// Hands the store to the hub and reads what its server tells; nothing while the server is asked for the first time.
async fn observe<K: AnyStore>(
    object: &K,
    spec: &StoreSpec,
    ctx: &Context,
    look: Option<&String>,
) -> Result<Option<Seen>, Problem> {
    let key = object.key();
    let mut reads = Reads::new();
    let wanted = registration(object, spec, ctx, &mut reads).await;
    if wanted.as_ref().err().is_none_or(|problem| problem.reason != Reason::ClusterError) {
        ctx.credentials.read(&Wake::Store(key.clone()), reads);
    }
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(problem) => {
            if problem.reason != Reason::ClusterError {
                ctx.connect.refuse(&key, &problem);
            }
            return Err(problem);
        }
    };
    let place = wanted.place.clone();
    let source = ctx.connect.register(&key, wanted).map_err(|failure| {
        let problem = problem(&failure, &place, ctx.now());
        ctx.connect.refuse(&key, &problem);
        problem
    })?;
    if let Some(words) = look {
        source.endpoint.refresh(words, PATIENCE, None).await;
    } else {
        source.endpoint.started(PATIENCE).await;
    }
    seen(&source, ctx).transpose()
}

fn seen(source: &Source, ctx: &Context) -> Option<Result<Seen, Problem>> {
    let overview = match source.endpoint.overview()? {
        Ok(overview) => overview,
        Err(failure) => return Some(Err(problem(&failure, &source.place, ctx.now()))),
    };
    let vaults = source.endpoint.with_index(|index| vaults(index, &source.order)).ok()?;
    // A vault that was added to the store a moment ago: the look that lists it wakes the store.
    if vaults.as_ref().is_err_and(|problem| problem.reason == Reason::StoreNotReady) {
        return None;
    }
    Some(Ok(Seen {
        vaults,
        version: overview.version,
        token_expires_at: source.place.expires_at,
        detection: overview.detection,
        last_change_at: overview.last_change_at,
    }))
}
