//! ExternalSecret: resolves its references, sees whether anything changed, fetches and writes what did.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::DateTime;
use futures::future::join_all;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, ResourceExt, runtime::controller::Action};

use crate::{
    api::{
        annotations,
        common::{Condition, Time},
        external_secret::{Binding, ExternalSecret, ExternalSecretPhase, ExternalSecretStatus},
    },
    clients::cluster,
    controllers::{
        connect::{self, Reader, Source, file_problem},
        context::{Context, Handle, Stores},
        runner::Reconcile,
        secret_writer::{Written, write},
    },
    core::{
        conditions::{Summary, summarize},
        field,
        index::Found,
        interest::Interest,
        problem::{Problem, Reason},
        secret::{self, Claim, Entry, OTP_SECONDS, Request, Wanted},
        sensitive::Sensitive,
        store::StoreKey,
        template::Moment,
    },
};

/// What templates draw chance from, as long as nothing keeps a seed of the cluster's own.
const FIXED_SEED: [u8; 32] = [0; 32];

/// How long a look for changes that a user asks for is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

impl Reconcile for ExternalSecret {
    const KIND: &'static str = "ExternalSecret";

    fn handle(stores: &Stores) -> &Handle<Self> {
        &stores.external_secrets
    }

    fn api(&self, ctx: &Context) -> Api<Self> {
        ctx.api(&self.namespace().unwrap_or_default())
    }

    async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
        let result = reconcile(&object, &ctx).await;
        if result.is_err() {
            interested(&object, &ctx, &[], true);
        }
        result
    }

    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
        let mut status = self.status.clone().unwrap_or_default();
        status.observed_generation = self.metadata.generation.unwrap_or_default();
        status.phase = Some(secret::phase(problem));
        summarize(&mut status.conditions, &Summary::NotReady(problem.clone()), self.metadata.generation, now);
        (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }

    fn deleted(&self, ctx: &Context) {
        ctx.connect.forget(&reader(self));
    }
}

fn reader(object: &ExternalSecret) -> Reader {
    Reader::ExternalSecret(object.namespace().unwrap_or_default(), object.name_any())
}

/// A reference, where it is read, and the item that it means.
struct Resolved {
    wanted: Wanted,
    source: Source,
    found: Found,
}

async fn reconcile(object: &ExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if object.spec.suspend {
        return suspended(object, ctx).await;
    }
    let wanted = secret::wanted(&object.spec)?;
    let request = secret::request(object);
    // From here on every change wakes this object, until it is known which ones concern it.
    interested(object, ctx, &[], true);
    let resolved = match resolve(object, ctx, wanted, &request).await {
        Ok(Some(resolved)) => resolved,
        Ok(None) => return Ok(Action::await_change()),
        Err(problem) if is_of_the_store(&problem) && stays(object, ctx).await? => return Ok(Action::await_change()),
        Err(problem) => return Err(problem),
    };
    let done = sync(object, ctx, &resolved, &request).await?;
    if done {
        interested(object, ctx, &resolved, false);
    }
    let otp = resolved.iter().any(|resolved| resolved.wanted.reference.is_otp());
    Ok(if otp { Action::requeue(next_step(ctx.now())) } else { Action::await_change() })
}

/// Tells the hub which changes concern the object.
fn interested(object: &ExternalSecret, ctx: &Context, resolved: &[Resolved], waiting: bool) {
    let namespace = object.namespace().unwrap_or_default();
    let wanted = secret::wanted(&object.spec).unwrap_or_default();
    let mut names: BTreeSet<String> = wanted.iter().map(|wanted| wanted.reference.item.clone()).collect();
    names.extend(resolved.iter().flat_map(|resolved| [resolved.found.item.clone(), resolved.found.title.clone()]));
    let stores = wanted.iter().map(|wanted| StoreKey::of(&wanted.store, &namespace)).collect();
    ctx.connect.interest(&reader(object), Interest { stores, names, waiting });
}

/// Whether a problem is one of the store or its server, which says nothing about the item.
fn is_of_the_store(problem: &Problem) -> bool {
    secret::phase(problem) == ExternalSecretPhase::Waiting && problem.reason != Reason::ClusterError
}

/// Whether the Secret is as this object last wrote it: then it stays, and so does the status, while only the server is
/// missing.
async fn stays(object: &ExternalSecret, ctx: &Context) -> Result<bool, Problem> {
    if !secret::is_synced(object) || secret::request(object).look {
        return Ok(false);
    }
    Ok(look(object, ctx).await?.is_some_and(|meta| is_bound(object, &meta)))
}

fn is_bound(object: &ExternalSecret, meta: &ObjectMeta) -> bool {
    let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
    meta.resource_version.is_some()
        && binding.is_some_and(|b| b.name == secret::target_name(object) && b.resource_version == meta.resource_version)
}

/// The Secret's metadata.
async fn look(object: &ExternalSecret, ctx: &Context) -> Result<Option<ObjectMeta>, Problem> {
    let (api, name) = (ctx.api::<Secret>(&object.namespace().unwrap_or_default()), secret::target_name(object));
    let meta = api.get_metadata_opt(name).await.map_err(|error| cluster::problem::<Secret>("read", name, &error))?;
    Ok(meta.map(|meta| meta.metadata))
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

/// Finds the item of every reference. Nothing while a server is asked for the first time, which wakes the object.
async fn resolve(
    object: &ExternalSecret,
    ctx: &Context,
    wanted: Vec<Wanted>,
    request: &Request,
) -> Result<Option<Vec<Resolved>>, Problem> {
    let namespace = object.namespace().unwrap_or_default();
    let mut sources = Vec::new();
    for wanted in &wanted {
        let Some(source) = connect::source(ctx, &wanted.store, Some(&namespace)).await? else { return Ok(None) };
        sources.push(source);
    }
    if request.look {
        let mut asked: Vec<&Source> = Vec::new();
        for source in &sources {
            if !asked.iter().any(|other| Arc::ptr_eq(&other.endpoint, &source.endpoint)) {
                asked.push(source);
            }
        }
        join_all(asked.iter().map(|source| source.endpoint.refresh(PATIENCE))).await;
    }
    let mut resolved = Vec::new();
    for (wanted, source) in wanted.into_iter().zip(sources) {
        let Some(found) = connect::resolve(ctx, &source, &wanted.reference)? else { return Ok(None) };
        resolved.push(Resolved { wanted, source, found });
    }
    Ok(Some(resolved))
}

/// Brings the Secret up to date. False while an item is still being fetched, which wakes the object.
async fn sync(
    object: &ExternalSecret,
    ctx: &Context,
    resolved: &[Resolved],
    request: &Request,
) -> Result<bool, Problem> {
    let now = ctx.now();
    let otp = resolved.iter().any(|resolved| resolved.wanted.reference.is_otp());
    let step = otp.then(|| now.timestamp() / OTP_SECONDS);
    let found: Vec<Found> = resolved.iter().map(|resolved| resolved.found.clone()).collect();
    let inputs = secret::inputs(&object.spec, &found, step);
    if keeps(object, ctx, &inputs, request).await? {
        synced(object, ctx, &found, request, None).await?;
        return Ok(true);
    }
    // The watch may lag behind our own last write: what follows is decided from what is there now.
    let Some(live) = &cluster::get(&object.api(ctx), &object.name_any()).await? else { return Ok(true) };
    let lagged = live.resource_version() != object.resource_version();
    let object = live;
    if lagged && keeps(object, ctx, &inputs, request).await? {
        synced(object, ctx, &found, request, None).await?;
        return Ok(true);
    }
    let fetched = fetch(object, ctx, resolved, request.force || otp).await?;
    let Some(Fetched { yields, newest }) = fetched else { return Ok(false) };
    let desired = secret::render(&object.spec, yields, &Moment { now, seed: FIXED_SEED })?;
    let wanted = secret::object(object, &desired, &inputs, &secret::items(&found));
    let Some(written) = write(object, ctx, &wanted).await? else { return Ok(true) };
    if written.changed && object.status.as_ref().is_some_and(|status| status.binding.is_some()) {
        let seconds = newest.map(|at| (now - at).as_seconds_f64().max(0.0));
        if let Some(seconds) = seconds {
            ctx.connect.metrics.latency.observe(seconds);
        }
    }
    synced(object, ctx, &found, request, Some(written)).await?;
    Ok(true)
}

/// Whether the Secret is up to date, or to be left alone. An error where it is someone else's.
async fn keeps(object: &ExternalSecret, ctx: &Context, inputs: &str, request: &Request) -> Result<bool, Problem> {
    let meta = look(object, ctx).await?;
    let alive = |uid: &str| ctx.stores.external_secrets.by_uid(uid).is_some();
    let claim = secret::claim(meta.as_ref(), &object.uid().unwrap_or_default(), alive)?;
    let Some(meta) = meta.filter(|_| claim == Claim::Ours && !request.force) else { return Ok(false) };
    let same = meta.annotations.as_ref().and_then(|map| map.get(annotations::INPUTS)).is_some_and(|old| old == inputs);
    Ok(secret::holds(object) || (same && is_bound(object, &meta)))
}

/// What the references yielded.
struct Fetched {
    yields: Vec<(Wanted, Vec<(String, Sensitive)>)>,
    /// When the item changed that changed last.
    newest: Option<Time>,
}

/// Fetches each item once and takes from it what each reference means.
async fn fetch(
    object: &ExternalSecret,
    ctx: &Context,
    resolved: &[Resolved],
    fresh: bool,
) -> Result<Option<Fetched>, Problem> {
    let reader = reader(object);
    let items = join_all(resolved.iter().map(|r| connect::fetch(ctx, &r.source, &r.found, fresh, &reader))).await;
    let (mut yields, mut newest) = (Vec::new(), None);
    for (resolved, item) in resolved.iter().zip(items) {
        let Some(item) = item? else { return Ok(None) };
        newest = newest.max(DateTime::parse_from_rfc3339(&item.updated_at).ok().map(|at| at.to_utc()));
        let part = &resolved.wanted.reference.part;
        let sources = match resolved.wanted.entry {
            Entry::Data(index) => {
                let name = object.spec.data[index].secret_key.clone();
                vec![(name, field::one(&item, part)?)]
            }
            Entry::Extract(_) => field::all(&item, part)?,
        };
        let mut values = Vec::new();
        for (name, source) in sources {
            let value = match source {
                field::Source::Value(value) => value,
                field::Source::File(file) => {
                    let content = resolved.source.endpoint.file(&resolved.found, &file).await;
                    let problem =
                        |failure| file_problem(&item.title, &file.name, &failure, &resolved.source.place, ctx.now());
                    content.map_err(problem)?
                }
            };
            values.push((name, value));
        }
        yields.push((resolved.wanted.clone(), values));
    }
    Ok(Some(Fetched { yields, newest }))
}

/// Says in the status that the Secret is as declared.
async fn synced(
    object: &ExternalSecret,
    ctx: &Context,
    found: &[Found],
    request: &Request,
    written: Option<Written>,
) -> Result<(), Problem> {
    let (now, name) = (ctx.now(), secret::target_name(object));
    let mut status = object.status.clone().unwrap_or_default();
    status.observed_generation = object.metadata.generation.unwrap_or_default();
    status.phase = Some(ExternalSecretPhase::Synced);
    status.last_handled_reconcile_at.clone_from(&request.requested_at);
    status.last_handled_force_at.clone_from(&request.force_at);
    if let Some(written) = written {
        if written.changed {
            status.refresh_time = Some(now);
        }
        status.binding = Some(Binding { name: name.to_owned(), resource_version: written.resource_version });
    }
    let items: BTreeSet<&str> = found.iter().map(|found| found.item.as_str()).collect();
    let message = match items.len() {
        1 => format!("Secret {name} is in sync with its item"),
        count => format!("Secret {name} is in sync with its {count} items"),
    };
    summarize(&mut status.conditions, &Summary::Ready("Synced", message), object.metadata.generation, now);
    set_status(object, ctx, status).await
}

async fn set_status(object: &ExternalSecret, ctx: &Context, status: ExternalSecretStatus) -> Result<(), Problem> {
    if object.status.as_ref() != Some(&status) {
        let updated = ExternalSecret { status: Some(status), ..object.clone() };
        cluster::write_status(&object.api(ctx), &updated).await?;
    }
    Ok(())
}

/// How long the present one-time passwords hold.
fn next_step(now: Time) -> Duration {
    let left = OTP_SECONDS - now.timestamp().rem_euclid(OTP_SECONDS);
    Duration::from_secs(u64::try_from(left).unwrap_or_default() + 1)
}
