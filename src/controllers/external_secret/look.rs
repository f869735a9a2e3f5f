//! One look at an ExternalSecret: whether its Secret is as declared, and making it so.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::{
    gone::{Unmatched, first},
    sources::{Resolution, fetch, origins, prove_gone},
};
use crate::{
    api::{
        annotations,
        common::{Group, Time},
        external_secret::{Binding, DeletionPolicy, ExternalSecret, ExternalSecretPhase, ExternalSecretStatus},
    },
    clients::cluster,
    controllers::{
        context::Context,
        refusals::{Refusal, is_of_content, is_of_target},
        restart,
        runner::Reconcile,
        secret_writer::{Written, write},
        takeover,
    },
    core::{
        conditions::{Summary, summarize},
        problem::Problem,
        secret::{self, Claim, Desired, Hold, Ingredients, Notes, OTP_SECONDS, Policy, Request, Suspect, Text, Wanted},
        template::Moment,
    },
};

/// One look at an object: what it is made of, and what is known of its Secret.
pub(super) struct Look<'a> {
    pub(super) object: &'a ExternalSecret,
    pub(super) ctx: &'a Context,
    pub(super) now: Time,
    pub(super) request: Request,
    pub(super) hold: Hold,
    pub(super) known: Option<Known>,
}

/// What is known of a Secret that this object wrote.
pub(super) struct Known {
    version: Option<String>,
    inputs: String,
    pub(super) items: String,
}

/// What the Secret should hold.
struct Made {
    desired: Desired,
    /// When the item changed that changed last.
    newest: Option<Time>,
    unmatched: Option<Unmatched>,
}

pub(super) fn is_bound(object: &ExternalSecret, known: &Known) -> bool {
    let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
    known.version.is_some()
        && binding.is_some_and(|b| b.name == secret::target_name(object) && b.resource_version == known.version)
}

/// What is known of the object's Secret: from the watch, where that tells of a Secret of this object as it was last
/// written, else from the cluster. Nothing where there is none of this object's.
pub(super) async fn known(object: &ExternalSecret, ctx: &Context) -> Result<Option<Known>, Problem> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), secret::target_name(object));
    let uid = object.uid().unwrap_or_default();
    if let Some(known) = ctx.secrets.known(&namespace, name).filter(|known| *known.owner == *uid) {
        let known =
            Known { version: Some(known.version.into()), inputs: known.inputs.into(), items: known.items.into() };
        if is_bound(object, &known) {
            return Ok(Some(known));
        }
    }
    if object.status.as_ref().is_none_or(|status| status.binding.is_none()) {
        return Ok(None);
    }
    let meta = ctx.api::<Secret>(&namespace).get_metadata_opt(name).await;
    let meta = meta.map_err(|error| cluster::problem::<Secret>("read", name, &error))?.map(|meta| meta.metadata);
    let alive = |uid: &str| ctx.stores.is_declared(uid);
    if !Policy::of(object).shares
        && secret::claim(meta.as_ref(), object, alive, ctx.takeover.may_be_there())? != Claim::Ours
    {
        return Ok(None);
    }
    Ok(meta.map(|meta| {
        let note = |name: &str| {
            let map = meta.annotations.as_ref();
            map.and_then(|map| map.get(&secret::note(name, object))).cloned().unwrap_or_default()
        };
        Known {
            inputs: note(annotations::INPUTS),
            items: note(annotations::ITEMS),
            version: meta.resource_version.clone(),
        }
    }))
}

impl Look<'_> {
    /// Whether the Secret is held as it is, whatever became of its items.
    pub(super) async fn holds(&self) -> Result<bool, Problem> {
        let items = self.known.as_ref().map(|known| secret::count(&known.items)).unwrap_or_default();
        self.keeps(Some(self.words(items, "")), None).await
    }

    /// Brings the Secret up to date. False while something is still being fetched, which wakes the object.
    pub(super) async fn sync(&self, resolution: &Resolution) -> Result<bool, Problem> {
        let Self { object, ctx, .. } = self;
        let nothing = resolution.resolved.is_empty();
        let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
        if let Some(missing) = resolution.missing.first()
            && binding.is_none_or(|binding| binding.generation != object.metadata.generation)
        {
            // Nothing was ever made of what is declared now: a name may be wrong.
            return Err(missing.problem.clone());
        }
        if nothing && self.known.is_none() {
            return Err(self.nothing_left(first(&resolution.missing)));
        }
        let items = self.known.as_ref().map(|known| known.items.as_str()).unwrap_or_default();
        let gone = prove_gone(ctx, &resolution.found(), &resolution.missing, items).await?;
        if nothing && object.spec.target.deletion_policy == Some(DeletionPolicy::Delete) {
            self.delete().await?;
            return Err(self.nothing_left(first(&resolution.missing)));
        }
        let done = self.make(resolution, &gone).await?;
        if nothing { Err(self.nothing_left(first(&resolution.missing))) } else { Ok(done) }
    }

    /// Makes the Secret of what there is, where that is not what it was made of.
    async fn make(&self, resolution: &Resolution, gone: &[Suspect]) -> Result<bool, Problem> {
        let Self { object, ctx, .. } = self;
        let (origins, found) = (origins(object, ctx).await?, resolution.found());
        let step = resolution.is_otp().then(|| ctx.now().timestamp() / OTP_SECONDS);
        let inputs = secret::inputs(object, &found, &origins, step, &ctx.fingerprints);
        if self.keeps(self.message(resolution), Some(&inputs)).await? {
            return Ok(true);
        }
        let texts = secret::texts(&object.spec, &origins)?;
        let target = self.refused(&inputs).await?;
        let note = |by_target: bool| {
            let (inputs, target) = (inputs.clone(), target.clone());
            move |problem: &Problem| {
                if (if by_target { is_of_target } else { is_of_content })(problem) {
                    ctx.refusals.note(object, Refusal { inputs, by_target, target, problem: problem.clone() });
                }
            }
        };
        let desired = self.desired(resolution, texts, &inputs).await.inspect_err(note(false))?;
        let Some(Made { desired, newest, unmatched }) = desired else { return Ok(false) };
        if !Policy::of(object).writes() {
            self.synced(self.message(resolution), None).await?;
            return Ok(true);
        }
        let left = unmatched.as_ref().filter(|unmatched| unmatched.nothing).map(|unmatched| &unmatched.problem);
        let left = left.map(|problem| self.nothing_left(problem.clone()));
        if let Some(problem) = &left
            && object.spec.target.deletion_policy == Some(DeletionPolicy::Delete)
        {
            self.delete().await?;
            note(false)(problem);
            return Err(problem.clone());
        }
        let data = secret::data_hash(object, &desired.data, &ctx.fingerprints);
        let gone = unmatched.as_ref().map_or(gone, |unmatched| &unmatched.gone);
        let items = secret::items_with(&found, gone);
        // What holds nothing of its items is never in sync with them.
        let made_of = if left.is_some() { String::new() } else { inputs.clone() };
        let notes = Notes { inputs: made_of, items, data, restarted: None };
        let written = write(object, ctx, &desired, notes).await.inspect_err(note(true))?;
        ctx.refusals.clear(object);
        let Some(written) = written else { return Ok(true) };
        self.measure(&written, newest);
        let message = self.message(resolution).filter(|_| left.is_none());
        self.finish(message, written).await?;
        let left = left.inspect(|problem| note(false)(problem));
        left.map_or(Ok(true), Err)
    }

    /// What was refused before and is as it was is refused again, without a look at the items. Where a Secret was in the
    /// way, its version now.
    async fn refused(&self, inputs: &str) -> Result<Option<String>, Problem> {
        let Self { object, ctx, request, .. } = self;
        let Some(refusal) = ctx.refusals.of(object).filter(|_| !request.look) else { return Ok(None) };
        let mut target = None;
        if refusal.by_target {
            let (api, name) = (ctx.api::<Secret>(&object.namespace().unwrap_or_default()), secret::target_name(object));
            let meta = api.get_metadata_opt(name).await;
            let meta = meta.map_err(|error| cluster::problem::<Secret>("read", name, &error))?;
            target = Some(meta.and_then(|meta| meta.metadata.resource_version).unwrap_or_default());
        }
        if refusal.inputs == inputs && refusal.target == target { Err(refusal.problem) } else { Ok(target) }
    }

    /// What the Secret should hold. Nothing while something is still being fetched.
    async fn desired(&self, resolution: &Resolution, texts: Vec<Text>, inputs: &str) -> Result<Option<Made>, Problem> {
        let Self { object, ctx, request, .. } = self;
        let fetched = fetch(object, ctx, &resolution.resolved, request.force || resolution.is_otp()).await?;
        let Some(mut fetched) = fetched else { return Ok(None) };
        let unmatched = self.leave_unmatched(resolution, &mut fetched).await?;
        // Of this object: another one with the same inputs draws other chances.
        let seed = ctx.fingerprints.seed(&[&object.namespace().unwrap_or_default(), &object.name_any(), inputs]);
        let ingredients = Ingredients { yields: fetched.yields, texts };
        // Of the same inputs the same comes again, although time goes on: a sync that is asked for changes nothing then.
        let status = object.status.as_ref().filter(|_| self.known.as_ref().is_some_and(|known| known.inputs == inputs));
        let now = status.and_then(|status| status.refresh_time).unwrap_or(self.now);
        let desired = secret::render(&object.spec, ingredients, &Moment { now, seed })?;
        Ok(Some(Made { desired, newest: fetched.newest, unmatched }))
    }

    /// Restarts what has to be, and says in the status that the Secret is as declared; not where nothing is left to
    /// make it of.
    async fn finish(&self, message: Option<String>, written: Written) -> Result<(), Problem> {
        let secret = restart::owed(self.object, self.ctx, written.secret).await?;
        if !Policy::of(self.object).shares {
            self.ctx.secrets.wrote(&secret);
        }
        self.synced(message, Some(&Written { secret, ..written })).await
    }

    /// Whether the Secret is as it was last written, and made of these inputs (or held as it is, with none).
    async fn keeps(&self, message: Option<String>, inputs: Option<&str>) -> Result<bool, Problem> {
        let Some(known) = self.known.as_ref().filter(|_| !self.request.force) else { return Ok(false) };
        if inputs.is_some_and(|inputs| inputs != known.inputs) {
            return Ok(false);
        }
        let binding = self.object.status.as_ref().and_then(|status| status.binding.as_ref());
        let same = binding.is_some_and(|binding| secret::is_as_bound(self.object, binding));
        if is_bound(self.object, known) && (same || inputs.is_none()) {
            self.synced(message, None).await?;
            return Ok(true);
        }
        // Somebody wrote to it: what it holds is what counts.
        let api = self.ctx.api::<Secret>(&self.object.namespace().unwrap_or_default());
        let live = cluster::get(&api, secret::target_name(self.object)).await?;
        let intact = |live: &Secret| secret::is_intact(live, self.object, &self.ctx.fingerprints);
        let Some(secret) = live.filter(intact) else { return Ok(false) };
        self.finish(message, Written { secret, changed: false }).await?;
        Ok(true)
    }

    fn measure(&self, written: &Written, newest: Option<Time>) {
        if !written.changed || self.known.is_none() {
            return;
        }
        if let Some(at) = newest {
            self.ctx.connect.metrics.latency.observe((self.ctx.now() - at).as_seconds_f64().max(0.0));
        }
    }

    /// Says in the status that the Secret is as declared, in these words; nothing without any.
    async fn synced(&self, message: Option<String>, written: Option<&Written>) -> Result<(), Problem> {
        let Some(message) = message else { return Ok(()) };
        let Self { object, ctx, request, .. } = self;
        let (now, name) = (self.now, secret::target_name(object));
        let mut status = object.status.clone().unwrap_or_default();
        status.observed_generation = object.metadata.generation.unwrap_or_default();
        status.phase = Some(ExternalSecretPhase::Synced);
        status.last_handled_reconcile_at.clone_from(&request.requested_at);
        status.last_handled_force_at.clone_from(&request.force_at);
        if let Some(written) = written {
            if written.changed {
                status.refresh_time = Some(now);
            }
            status.binding = Some(Binding {
                name: name.to_owned(),
                resource_version: written.secret.resource_version(),
                generation: object.metadata.generation,
                metadata: secret::metadata(object),
            });
        }
        summarize(&mut status.conditions, &Summary::Ready("Synced", message), object.metadata.generation, now);
        set_status(object, ctx, status).await
    }

    /// That the Secret is as declared; nothing where there is nothing to make it of.
    fn message(&self, resolution: &Resolution) -> Option<String> {
        let items: BTreeSet<String> = resolution.found().into_iter().map(|found| found.item).collect();
        let missing: Vec<(Wanted, Problem)> =
            resolution.missing.iter().map(|missing| (missing.wanted.clone(), missing.problem.clone())).collect();
        let without = if missing.is_empty() { String::new() } else { secret::without(self.object, &missing) };
        (!resolution.resolved.is_empty()).then(|| self.words(items.len(), &without))
    }

    fn words(&self, items: usize, without: &str) -> String {
        let name = secret::target_name(self.object);
        let items = if items == 1 { "its item".to_owned() } else { format!("its {items} items") };
        match self.hold {
            _ if !Policy::of(self.object).writes() => {
                format!("{items} can be read; no Secret is written (creationPolicy None){without}")
            }
            Hold::No => format!("Secret {name} is in sync with {items}{without}"),
            Hold::Yes => format!("Secret {name} was made of {items} and is not refreshed{without}"),
            Hold::Until(at) => {
                let at = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                format!("Secret {name} was made of {items}; it is refreshed from {at} on (syncWindows){without}")
            }
        }
    }
}

pub(super) async fn set_status(
    object: &ExternalSecret,
    ctx: &Context,
    status: ExternalSecretStatus,
) -> Result<(), Problem> {
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    if object.spec.group == Group::ExternalSecrets {
        return takeover::set_status(object, ctx, &status).await;
    }
    let api = object.api(ctx);
    let updated = ExternalSecret { status: Some(status), ..object.clone() };
    if cluster::try_write_status(&api, &updated).await?.is_some() {
        return Ok(());
    }
    // The watch lags behind, perhaps only behind our own last write. Where the declaration changed, it is looked at
    // again as soon as the watch shows it.
    let live = cluster::get(&api, &object.name_any()).await?;
    let same = |live: &ExternalSecret| {
        live.metadata.uid == object.metadata.uid && live.metadata.generation == object.metadata.generation
    };
    if let Some(live) = live.filter(same) {
        let mut status = updated.status.unwrap_or_default();
        status.refresh_time = status.refresh_time.max(live.status.as_ref().and_then(|status| status.refresh_time));
        cluster::write_status(&api, &ExternalSecret { status: Some(status), ..live }).await?;
    }
    Ok(())
}
