//! ExternalSecret: resolves its references, sees whether anything changed, fetches and writes what did.

mod gone;
mod look;
mod sources;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::SubsecRound;
use kube::{Api, ResourceExt, runtime::controller::Action};
use tokio::time::timeout;

use crate::{
    api::{
        common::{Condition, Group, Time},
        external_secret::ExternalSecret,
    },
    controllers::{
        connect::Reader,
        context::{Context, Handle, Stores},
        runner::Reconcile,
        takeover,
    },
    core::{
        conditions::{Summary, summarize},
        interest::Interest,
        problem::{Class, Problem, Reason},
        secret::{self, Hold, OTP_SECONDS, OriginKind, Policy, Wanted, What},
        store::StoreKey,
    },
};
use look::{Look, is_bound, known, set_status};
use sources::{Resolution, is_of_the_store, resolve};

/// How long the first list of our Secrets is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

impl Reconcile for ExternalSecret {
    const KIND: &'static str = "ExternalSecret";

    fn handle(stores: &Stores) -> &Handle<Self> {
        &stores.external_secrets
    }

    fn api(&self, ctx: &Context) -> Api<Self> {
        ctx.api(&self.namespace().unwrap_or_default())
    }

    async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
        look_at(&object, &ctx).await
    }

    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
        let mut status = self.status.clone().unwrap_or_default();
        status.observed_generation = self.metadata.generation.unwrap_or_default();
        status.phase = Some(secret::phase(problem));
        if problem.class() != Class::Transient {
            // The wish was heard; what is wrong is said, and clears by itself.
            let request = secret::request(self);
            status.last_handled_reconcile_at = request.requested_at;
            status.last_handled_force_at = request.force_at;
        }
        summarize(&mut status.conditions, &Summary::NotReady(problem.clone()), self.metadata.generation, now);
        (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
    }

    fn conditions(&self) -> Vec<Condition> {
        self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
    }

    fn failed(&self, ctx: &Context, problem: &Problem) {
        ctx.failures.note(self, problem);
    }

    fn deleted(&self, ctx: &Context) {
        forget(self, ctx);
        // One of ESO's kind that it replaced is not replaced any more.
        let namespace = self.namespace().unwrap_or_default();
        ctx.stores.wake_declared(Group::ExternalSecrets, &namespace, &self.name_any());
    }
}

/// Looks at an ExternalSecret, whichever group it was declared in.
pub(crate) async fn look_at(object: &ExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    let result = reconcile(object, ctx).await;
    if result.is_err() {
        interested(object, ctx, None);
    }
    result
}

/// Forgets an ExternalSecret that is gone.
pub(crate) fn forget(object: &ExternalSecret, ctx: &Context) {
    ctx.connect.forget(&reader(object));
    ctx.refusals.forget(&object.namespace().unwrap_or_default());
    ctx.failures.forget(object);
    ctx.secrets.refer(object, Vec::new());
}

fn reader(object: &ExternalSecret) -> Reader {
    Reader::ExternalSecret(object.spec.group, object.namespace().unwrap_or_default(), object.name_any())
}

async fn reconcile(object: &ExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if object.spec.suspend {
        return suspended(object, ctx).await;
    }
    takeover::succeed(object, ctx).await?;
    let wanted = secret::wanted(&object.spec)?;
    refer(object, ctx);
    if timeout(PATIENCE, ctx.secrets.filled()).await.is_err() {
        let message = "the Secrets of the cluster cannot be listed: see the operator's log";
        return Err(Problem::new(Reason::ClusterError, message));
    }
    let (request, hold) = (secret::request(object), secret::hold(object, ctx.now())?);
    // From here on every change wakes this object, until it is known which ones concern it.
    interested(object, ctx, None);
    // A status holds whole seconds.
    let now = ctx.now().trunc_subsecs(0);
    let mut look = Look { object, ctx, now, request, hold, known: None };
    if look.hold != Hold::No {
        look.known = known(object, ctx).await?;
        if look.holds().await? {
            interested(object, ctx, Some(&Resolution::default()));
            return Ok(match look.hold {
                Hold::Until(at) => again(at, ctx.now()),
                Hold::No | Hold::Yes => Action::await_change(),
            });
        }
    }
    let resolution = match resolve(object, ctx, wanted, &look.request).await {
        Ok(Some(resolution)) => resolution,
        Ok(None) => return Ok(Action::await_change()),
        Err(problem) if is_of_the_store(&problem) && stays(object, ctx).await? => return Ok(Action::await_change()),
        Err(problem) => return Err(problem),
    };
    look.known = known(object, ctx).await?;
    if !look.sync(&resolution).await? {
        return Ok(Action::await_change());
    }
    interested(object, ctx, Some(&resolution));
    Ok(match look.hold {
        Hold::Until(at) => again(at, ctx.now()),
        _ if resolution.is_otp() => Action::requeue(next_step(ctx.now())),
        Hold::No | Hold::Yes => Action::await_change(),
    })
}

/// A look right after a time.
fn again(at: Time, now: Time) -> Action {
    Action::requeue((at - now).to_std().unwrap_or_default() + Duration::from_secs(1))
}

/// Tells the hub which changes concern the object: all of its stores, or (once it is in sync) those of its items.
fn interested(object: &ExternalSecret, ctx: &Context, synced: Option<&Resolution>) {
    let namespace = object.namespace().unwrap_or_default();
    let wanted = secret::wanted(&object.spec).unwrap_or_default();
    let title = |wanted: &Wanted| match &wanted.what {
        What::Part(reference) => Some(reference.item.clone()),
        What::Search(_) => None,
    };
    let mut names: BTreeSet<String> = wanted.iter().filter_map(title).collect();
    let found = synced.into_iter().flat_map(|resolution| resolution.resolved.iter().flat_map(|r| &r.found));
    names.extend(found.flat_map(|found| [found.item.clone(), found.title.clone()]));
    // An item that appears may be one that a search matches.
    let searches = wanted.iter().any(|wanted| matches!(wanted.what, What::Search(_)));
    let waiting = searches || synced.is_none_or(|resolution| !resolution.missing.is_empty());
    let stores = wanted.iter().map(|wanted| StoreKey::of(&wanted.store, &namespace)).collect();
    ctx.connect.interest(&reader(object), Interest { stores, names, waiting });
}

/// Has the object looked at when a template's source changes, or a Secret that it shares with others.
fn refer(object: &ExternalSecret, ctx: &Context) {
    let mut names = secret::origins(&object.spec);
    if Policy::of(object).shares {
        names.push((OriginKind::Secret, secret::target_name(object).to_owned()));
    }
    ctx.secrets.refer(object, names);
}

/// Whether the Secret is as this object last wrote it: then it stays, and so does the status, while only the server is
/// missing.
async fn stays(object: &ExternalSecret, ctx: &Context) -> Result<bool, Problem> {
    if !secret::is_synced(object) || secret::request(object).look {
        return Ok(false);
    }
    Ok(known(object, ctx).await?.is_some_and(|known| is_bound(object, &known)))
}

async fn suspended(object: &ExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    let mut status = object.status.clone().unwrap_or_default();
    let message = "suspended: the Secret stays as it is".to_owned();
    let summary = if status.binding.is_some() {
        Summary::Ready("Suspended", message)
    } else {
        Summary::Progressing("Suspended", message)
    };
    status.observed_generation = object.metadata.generation.unwrap_or_default();
    summarize(&mut status.conditions, &summary, object.metadata.generation, ctx.now());
    set_status(object, ctx, status).await?;
    Ok(Action::await_change())
}

/// How long the present one-time passwords hold.
fn next_step(now: Time) -> Duration {
    let left = OTP_SECONDS - now.timestamp().rem_euclid(OTP_SECONDS);
    Duration::from_secs(u64::try_from(left).unwrap_or_default() + 1)
}
