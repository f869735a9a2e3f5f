//! One look at an ExternalSecret: whether its Secret is as declared, and making it so.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, runtime::events::EventType};

use super::sources::{Missing, Resolution, fetch, origins, prove_gone};
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
        problem::{Problem, Reason},
        secret::{
            self, Claim, Desired, Entry, Hold, Ingredients, Notes, OTP_SECONDS, Policy, Request, Suspect, Text, Wanted,
        },
        template::Moment,
    },
};

/// One look at an object: what it is made of, and what is known of its Secret.
pub(super) struct Look<'a> {
    pub(super) object: &'a ExternalSecret,
    pub(super) ctx: &'a Context,
    pub(super) request: Request,
    pub(super) hold: Hold,
    pub(super) known: Option<Known>,
}

/// What is known of a Secret that this object wrote.
pub(super) struct Known {
    version: Option<String>,
    inputs: String,
    items: String,
}

/// Why nothing came of a look.
struct Unmade {
    problem: Problem,
    /// The searches that find items, and nothing in them.
    empty: Vec<Entry>,
}

impl From<Problem> for Unmade {
    fn from(problem: Problem) -> Self {
        Self { problem, empty: vec![] }
    }
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
    /// Brings the Secret up to date. False while something is still being fetched, which wakes the object.
    pub(super) async fn sync(&self, resolution: &mut Resolution) -> Result<bool, Problem> {
        match self.attempt(resolution).await {
            // Items match a search and have nothing that it wants: the one that had it may be gone.
            Err(Unmade { problem, empty })
                if secret::is_gone(self.object, &problem) && resolution.set_aside(&empty, &problem) =>
            {
                self.attempt(resolution).await
            }
            result => result,
        }
        .map_err(|unmade| unmade.problem)
    }

    /// Whether the Secret was written and is held as it is, whatever became of its items.
    pub(super) async fn is_held(&self) -> Result<bool, Problem> {
        Ok(self.hold != Hold::No && self.keeps(&Resolution::default(), None).await?)
    }

    async fn attempt(&self, resolution: &Resolution) -> Result<bool, Unmade> {
        let Self { object, ctx, .. } = self;
        let nothing = resolution.resolved.is_empty();
        if self.hold != Hold::No && self.keeps(resolution, None).await? {
            return Ok(true);
        }
        let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
        if let Some(missing) = resolution.missing.first()
            && binding.is_none_or(|binding| binding.generation != object.metadata.generation)
        {
            // Nothing was ever made of what is declared now: a name may be wrong.
            return Err(missing.problem.clone().into());
        }
        if nothing && self.known.is_none() {
            return Err(self.nothing_left(&resolution.missing).into());
        }
        let items = self.known.as_ref().map(|known| known.items.as_str()).unwrap_or_default();
        let Some(gone) = prove_gone(object, ctx, resolution, items).await? else { return Ok(false) };
        if nothing && object.spec.target.deletion_policy == Some(DeletionPolicy::Delete) {
            self.delete().await?;
            return Err(self.nothing_left(&resolution.missing).into());
        }
        let done = self.make(resolution, &gone).await?;
        if nothing { Err(self.nothing_left(&resolution.missing).into()) } else { Ok(done) }
    }

    /// Makes the Secret of what there is, where that is not what it was made of.
    async fn make(&self, resolution: &Resolution, gone: &[Suspect]) -> Result<bool, Unmade> {
        let Self { object, ctx, .. } = self;
        let (origins, found) = (origins(object, ctx).await?, resolution.found());
        let step = resolution.is_otp().then(|| ctx.now().timestamp() / OTP_SECONDS);
        let inputs = secret::inputs(object, &found, &origins, step, &ctx.fingerprints);
        if self.keeps(resolution, Some(&inputs)).await? {
            return Ok(true);
        }
        let texts = secret::texts(&object.spec, &origins)?;
        let target = self.refused(&inputs).await?;
        let refusal = |problem: &Problem, of_target: bool| {
            Refusal::new(inputs.clone(), target.clone(), of_target, problem.clone())
        };
        let desired = self.desired(resolution, texts, &inputs).await;
        let desired = desired.inspect_err(|Unmade { problem, empty }| {
            if is_of_content(problem) {
                ctx.refusals.note(object, refusal(problem, false).with_empty(empty.clone()));
            }
        })?;
        let Some((desired, newest)) = desired else { return Ok(false) };
        if !Policy::of(object).writes() {
            self.synced(resolution, None).await?;
            return Ok(true);
        }
        let data = secret::data_hash(object, &desired.data, &ctx.fingerprints);
        let items = secret::items_with(&found, gone);
        let notes = Notes { inputs: inputs.clone(), items, data, restarted: None };
        let written = write(object, ctx, &desired, notes).await;
        let written = written.inspect_err(|problem| {
            if is_of_target(problem) {
                ctx.refusals.note(object, refusal(problem, true));
            }
        })?;
        ctx.refusals.clear(object);
        let Some(written) = written else { return Ok(true) };
        self.measure(&written, newest);
        self.finish(resolution, written).await?;
        Ok(true)
    }

    /// What was refused before and is as it was is refused again, without a look at the items. Where a Secret was in the
    /// way, its version now.
    async fn refused(&self, inputs: &str) -> Result<Option<String>, Unmade> {
        let Self { object, ctx, request, .. } = self;
        let Some(refusal) = ctx.refusals.of(object).filter(|_| !request.look) else { return Ok(None) };
        let mut target = None;
        if refusal.of_target {
            let (api, name) = (ctx.api::<Secret>(&object.namespace().unwrap_or_default()), secret::target_name(object));
            let meta = api.get_metadata_opt(name).await;
            let meta = meta.map_err(|error| cluster::problem::<Secret>("read", name, &error))?;
            target = Some(meta.and_then(|meta| meta.metadata.resource_version).unwrap_or_default());
        }
        if refusal.holds(inputs, target.as_deref()) {
            return Err(Unmade { problem: refusal.problem, empty: refusal.empty });
        }
        Ok(target)
    }

    /// What the Secret should hold, and when the item changed that changed last. Nothing while something is still being
    /// fetched.
    async fn desired(
        &self,
        resolution: &Resolution,
        texts: Vec<Text>,
        inputs: &str,
    ) -> Result<Option<(Desired, Option<Time>)>, Unmade> {
        let Self { object, ctx, request, .. } = self;
        let fetched = fetch(object, ctx, &resolution.resolved, request.force || resolution.is_otp()).await?;
        let Some(fetched) = fetched else { return Ok(None) };
        // Of this object: another one with the same inputs draws other chances.
        let seed = ctx.fingerprints.seed(&[&object.namespace().unwrap_or_default(), &object.name_any(), inputs]);
        let yields = fetched.yields.iter().filter(|(wanted, values)| values.is_empty() && wanted.is_search());
        let empty: Vec<Entry> = yields.map(|(wanted, _)| wanted.entry).collect();
        let ingredients = Ingredients { yields: fetched.yields, texts };
        let desired = secret::render(&object.spec, ingredients, &Moment { now: ctx.now(), seed });
        let desired = desired.map_err(|problem| Unmade { problem, empty })?;
        Ok(Some((desired, fetched.newest)))
    }

    /// Restarts what has to be, and says in the status that the Secret is as declared; not where nothing is left to
    /// make it of.
    async fn finish(&self, resolution: &Resolution, written: Written) -> Result<(), Problem> {
        let secret = restart::owed(self.object, self.ctx, written.secret).await?;
        if !Policy::of(self.object).shares {
            self.ctx.secrets.wrote(&secret);
        }
        if resolution.resolved.is_empty() && self.hold == Hold::No {
            return Ok(());
        }
        self.synced(resolution, Some(&Written { secret, ..written })).await
    }

    /// Whether the Secret is as it was last written, and made of these inputs (or held as it is, with none).
    async fn keeps(&self, resolution: &Resolution, inputs: Option<&str>) -> Result<bool, Problem> {
        let Some(known) = self.known.as_ref().filter(|_| !self.request.force) else { return Ok(false) };
        if inputs.is_some_and(|inputs| inputs != known.inputs) {
            return Ok(false);
        }
        let binding = self.object.status.as_ref().and_then(|status| status.binding.as_ref());
        let same = binding.is_some_and(|binding| secret::is_made_for(binding, self.object));
        if is_bound(self.object, known) && (same || inputs.is_none()) {
            if !resolution.resolved.is_empty() || self.hold != Hold::No {
                self.synced(resolution, None).await?;
            }
            return Ok(true);
        }
        // Somebody wrote to it: what it holds is what counts.
        let api = self.ctx.api::<Secret>(&self.object.namespace().unwrap_or_default());
        let live = cluster::get(&api, secret::target_name(self.object)).await?;
        let intact = |live: &Secret| secret::is_intact(live, self.object, &self.ctx.fingerprints);
        let Some(secret) = live.filter(intact) else { return Ok(false) };
        self.finish(resolution, Written { secret, changed: false }).await?;
        Ok(true)
    }

    /// Deletes the Secret, whose items are all gone.
    async fn delete(&self) -> Result<(), Problem> {
        let Self { object, ctx, .. } = self;
        let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
        let name = secret::target_name(object);
        let Some(live) = cluster::get(&api, name).await? else { return Ok(()) };
        let (alive, has_eso) = (|uid: &str| ctx.stores.is_declared(uid), ctx.takeover.may_be_there());
        let is_ours = secret::claim(Some(&live.metadata), object, alive, has_eso)? == Claim::Ours;
        if is_ours && secret::owns(&live.metadata, object) {
            cluster::delete(&api, &live).await?;
            let note = format!("Secret {name} was deleted: its items are gone (deletionPolicy Delete)");
            ctx.event(&secret::reference(object), EventType::Normal, "Deleted", note).await;
        }
        Ok(())
    }

    /// Why there is no Secret, or nothing of this object in it.
    fn nothing_left(&self, missing: &[Missing]) -> Problem {
        let none = || Problem::new(Reason::NoMatch, "nothing matches");
        let problem = missing.first().map_or_else(none, |missing| missing.problem.clone());
        let bound = self.object.status.as_ref().is_some_and(|status| status.binding.is_some());
        let name = secret::target_name(self.object);
        if bound { secret::after_deletion(self.object, name, &problem) } else { problem }
    }

    fn measure(&self, written: &Written, newest: Option<Time>) {
        if !written.changed || self.known.is_none() {
            return;
        }
        if let Some(at) = newest {
            self.ctx.connect.metrics.latency.observe((self.ctx.now() - at).as_seconds_f64().max(0.0));
        }
    }

    /// Says in the status that the Secret is as declared.
    async fn synced(&self, resolution: &Resolution, written: Option<&Written>) -> Result<(), Problem> {
        let Self { object, ctx, request, .. } = self;
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
            status.binding = Some(Binding {
                name: name.to_owned(),
                resource_version: written.secret.resource_version(),
                generation: object.metadata.generation,
                metadata_hash: Some(secret::metadata_hash(object)),
            });
        }
        let message = self.message(resolution, name);
        summarize(&mut status.conditions, &Summary::Ready("Synced", message), object.metadata.generation, now);
        set_status(object, ctx, status).await
    }

    fn message(&self, resolution: &Resolution, name: &str) -> String {
        let items: BTreeSet<String> = resolution.found().into_iter().map(|found| found.item).collect();
        let items = match items.len() {
            // Held, and its items are not there any more.
            0 => "its items".to_owned(),
            1 => "its item".to_owned(),
            count => format!("its {count} items"),
        };
        let missing: Vec<(Wanted, Problem)> =
            resolution.missing.iter().map(|missing| (missing.wanted.clone(), missing.problem.clone())).collect();
        let without = if missing.is_empty() { String::new() } else { secret::without(self.object, &missing) };
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
