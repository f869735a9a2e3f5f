//! What a `VolumeBackup`'s plan needs to see, and no more of it than the phase asks for.

use std::collections::HashMap;

use k8s_openapi::{
    api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ParseExpressionError, PartialObjectMeta, Selector},
};

use crate::{
    api::{
        backup::{BackupPhase, Run, VolumeBackup},
        common::Time,
        foreign::{VolumeGroupSnapshot, VolumeSnapshot, VolumeSnapshotContent},
    },
    clients::{
        cluster,
        groups::{self, Groups},
    },
    controllers::{
        backup::{default_key, hooks},
        children,
        context::Context,
        destination, jobs,
        runner::PAGE,
    },
    core::{
        backup::{
            self, Observed, SeenClaim, SeenMover, SeenRepository, SeenStaging, World, cache_of, cache_of_run,
            claim_names, credentials_name, hooks_are_due, job_name, owner, repository_keys, staging,
        },
        destination::{Scope, targets},
        group,
        mover_state::MoverState,
        problem::{Problem, Reason},
    },
};

/// A staging claim that is not bound after so many seconds is asked about.
const PATIENCE: i64 = 20;

/// What a plan needs to see now.
pub(super) async fn observe(
    ctx: &Context,
    backup: &VolumeBackup,
    world: &World,
    now: Time,
) -> Result<Observed, Problem> {
    let mut seen = Observed::default();
    let status = backup.status.clone().unwrap_or_default();
    let phase = status.phase;
    if let Some(run) = &status.run {
        Box::pin(children_of(ctx, backup, run, world, phase, now, &mut seen)).await?;
    }
    if hooks_are_due(&status) {
        seen.pods = hooks::pods(&ctx.client, backup).await?;
    }
    let cleaning = phase == Some(BackupPhase::Cleaning);
    let waits_for_movers = phase == Some(BackupPhase::BackingUp);
    match &status.run {
        // What is being deleted is all that counts until it is gone; then the object is idle again.
        Some(_) if waits_for_movers => mounted_caches(ctx, &mut seen, &owner(backup).uid).await?,
        Some(_) if cleaning && has_children(&seen) => {}
        Some(run) if !cleaning => {
            seen.claims = claims(ctx, backup, &run.claims).await?;
            seen.classes = groups::single_classes(&ctx.client).await?;
            seen.repositories = repositories(ctx, backup, &run.repositories).await;
            caches(ctx, backup, run, &mut seen).await?;
            look_whose(ctx, backup, &mut seen);
        }
        _ => declared(ctx, backup, &mut seen).await?,
    }
    Ok(seen)
}

/// What is declared.
async fn declared(ctx: &Context, backup: &VolumeBackup, seen: &mut Observed) -> Result<(), Problem> {
    match repository_keys(&backup.spec, default_key(ctx)) {
        Ok(keys) => seen.repositories = repositories(ctx, backup, &keys).await,
        Err(problem) => seen.no_repository = Some(problem),
    }
    if !backup.spec.suspend {
        seen.claims = match &backup.spec.claim_selector {
            Some(selector) => selected(ctx, backup, selector).await?,
            None => claims(ctx, backup, &claim_names(backup)).await?,
        };
        seen.classes = groups::single_classes(&ctx.client).await?;
        if seen.claims.len() > 1 && group::declared(&backup.spec).is_ok() {
            seen.group_classes = groups::classes(&ctx.client).await?;
        }
        look_whose(ctx, backup, seen);
    }
    Ok(())
}

async fn repositories(
    ctx: &Context,
    backup: &VolumeBackup,
    keys: &[crate::api::backup::RepositoryKey],
) -> Vec<SeenRepository> {
    let namespace = backup.namespace().unwrap_or_default();
    let mut seen = vec![];
    for key in keys {
        let state = destination::usable(ctx, key, &namespace).await;
        let at_work = destination::subject(ctx, key, &namespace).and_then(|subject| subject.status.at_work);
        seen.push(SeenRepository { key: key.clone(), state, taken: None, at_work });
    }
    seen
}

/// The claims on which the run's movers keep their caches.
async fn caches(ctx: &Context, backup: &VolumeBackup, run: &Run, seen: &mut Observed) -> Result<(), Problem> {
    for (mover, of) in seen.movers.iter_mut().zip(&seen.repositories) {
        let Ok((spec, _)) = &of.state else { continue };
        if let Some(claim) = cache_of_run(backup, run, &of.key, spec, &ctx.namespace) {
            mover.cache = cluster::get_owned(&ctx.own(), &claim.name_any(), &owner(backup).uid).await?;
        }
    }
    Ok(())
}

/// The claims of the caches that movers have.
async fn mounted_caches(ctx: &Context, seen: &mut Observed, owner_uid: &str) -> Result<(), Problem> {
    for mover in &mut seen.movers {
        if let Some(name) = mover.job.as_ref().and_then(cache_of) {
            mover.cache = cluster::get_owned(&ctx.own(), name, owner_uid).await?;
        }
    }
    Ok(())
}

/// Looks for each repository whether another `VolumeBackup` has the history that this one would go on with.
fn look_whose(ctx: &Context, backup: &VolumeBackup, seen: &mut Observed) {
    let names: Vec<String> = seen.claims.iter().map(|claim| claim.name.clone()).collect();
    for of in &mut seen.repositories {
        of.taken = taken(ctx, backup, of, &names);
    }
}

fn taken(ctx: &Context, backup: &VolumeBackup, of: &SeenRepository, claims: &[String]) -> Option<Problem> {
    let (spec, _) = of.state.as_ref().ok()?;
    let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
    let scope = Scope { namespace: &namespace, name: &name, cluster: &ctx.cluster };
    let targets = targets(spec, scope, claims).ok()?;
    let all = ctx.stores.backups.store.state();
    backup::taken(backup, &of.key, (spec, &ctx.cluster), &targets, all.iter().map(|other| &**other))
}

async fn claims(ctx: &Context, backup: &VolumeBackup, names: &[String]) -> Result<Vec<SeenClaim>, Problem> {
    let api: Api<PersistentVolumeClaim> = ctx.api(&backup.namespace().unwrap_or_default());
    let mut seen = vec![];
    for name in names {
        let claim = cluster::get(&api, name).await?;
        seen.push(with_volume(ctx, name.clone(), claim).await?);
    }
    Ok(seen)
}

/// The claims that have the labels of a selector, by name. One that is being deleted is none any more.
async fn selected(ctx: &Context, backup: &VolumeBackup, selector: &LabelSelector) -> Result<Vec<SeenClaim>, Problem> {
    let selector: Selector = selector
        .clone()
        .try_into()
        .map_err(|error: ParseExpressionError| Problem::new(Reason::InvalidSpec, format!("claimSelector: {error}")))?;
    let api: Api<PersistentVolumeClaim> = ctx.api(&backup.namespace().unwrap_or_default());
    let found = api.list(&ListParams::default().labels_from(&selector)).await;
    let found = found.map_err(|error| cluster::problem::<PersistentVolumeClaim>("list", "of the namespace", &error))?;
    let mut claims = found.items;
    claims.retain(|claim| claim.metadata.deletion_timestamp.is_none());
    claims.sort_by_key(ResourceExt::name_any);
    let mut seen = vec![];
    for claim in claims {
        seen.push(with_volume(ctx, claim.name_any(), Some(claim)).await?);
    }
    Ok(seen)
}

/// A claim with its volume, where it is bound.
async fn with_volume(ctx: &Context, name: String, claim: Option<PersistentVolumeClaim>) -> Result<SeenClaim, Problem> {
    let is_bound = |claim: &&PersistentVolumeClaim| {
        claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
    };
    let volume = match claim.as_ref().filter(is_bound).and_then(volume_name) {
        Some(volume) => cluster::get(&ctx.global::<PersistentVolume>(), volume).await?,
        None => None,
    };
    Ok(SeenClaim { name, claim, volume })
}

fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref()
}

/// What the run has made.
async fn children_of(
    ctx: &Context,
    backup: &VolumeBackup,
    run: &Run,
    world: &World,
    phase: Option<BackupPhase>,
    now: Time,
    seen: &mut Observed,
) -> Result<(), Problem> {
    let owner = owner(backup);
    let uid = owner.uid.as_str();
    let app: Api<VolumeSnapshot> = ctx.api(&backup.namespace().unwrap_or_default());
    let mut of_group = HashMap::new();
    if let Some(group) = run.group.as_ref().filter(|_| phase != Some(BackupPhase::BackingUp)) {
        let groups = Groups::new(&ctx.client, group.version, backup.metadata.namespace.as_deref());
        seen.group = groups.get(&staging(&owner, &run.id, world, 0).group_name(), uid).await?;
        if let Some(group) = seen.group.as_ref().filter(|_| phase == Some(BackupPhase::Snapshotting)) {
            of_group = members(ctx, backup, group).await?;
        }
    }
    let (own, contents) = (ctx.own::<VolumeSnapshot>(), ctx.global::<VolumeSnapshotContent>());
    for index in 0..run.claims.len() {
        let names = staging(&owner, &run.id, world, index);
        let mut staged = SeenStaging {
            claim: cluster::get_owned(&ctx.own::<PersistentVolumeClaim>(), &names.claim_name(), uid).await?,
            ..SeenStaging::default()
        };
        if phase != Some(BackupPhase::BackingUp) {
            staged.snapshot = match run.group {
                Some(_) => of_group.remove(&run.claims[index]),
                None => cluster::get_owned(&app, &names.snapshot_name(), uid).await?,
            };
            staged.content = cluster::get_owned(&contents, &names.content_name(), uid).await?;
            staged.twin = cluster::get_owned(&own, &names.twin_name(), uid).await?;
        }
        if phase == Some(BackupPhase::Snapshotting)
            && let Some(bound) = staged
                .snapshot
                .as_ref()
                .and_then(|snapshot| snapshot.status.as_ref()?.bound_volume_snapshot_content_name.as_deref())
        {
            staged.snapshot_content = cluster::get(&contents, bound).await?;
        }
        let late = (now - run.attempt_started_at).num_seconds() > PATIENCE;
        if let Some(claim) = staged.claim.as_ref().filter(|claim| late && volume_name(claim).is_none()) {
            staged.warning = warning(ctx, claim).await?;
        }
        seen.staging.push(staged);
    }
    for index in 0..run.repositories.len() {
        let (job, state) = jobs::observe(ctx, &job_name(&run.id, index), uid).await?;
        let credentials = match phase {
            Some(BackupPhase::BackingUp) => None,
            _ => children::secret(ctx, &credentials_name(&run.id, index), uid).await?,
        };
        let unlocking = match phase {
            Some(BackupPhase::Cleaning) => jobs::observe_unlocking(ctx, job.as_ref(), &state, uid).await?,
            _ => MoverState::Absent,
        };
        seen.movers.push(SeenMover { credentials, job, state, unlocking, ..SeenMover::default() });
    }
    if phase == Some(BackupPhase::Cleaning) {
        seen.volumes = volumes(ctx, run, seen).await?;
    }
    Ok(())
}

/// The snapshots of a group, by the claims that they are of. Once it is ready, all of them are there.
async fn members(
    ctx: &Context,
    backup: &VolumeBackup,
    group: &VolumeGroupSnapshot,
) -> Result<HashMap<String, VolumeSnapshot>, Problem> {
    let mut members = HashMap::new();
    if !group::is_made(group) {
        return Ok(members);
    }
    let api: Api<VolumeSnapshot> = ctx.api(&backup.namespace().unwrap_or_default());
    let is_member = |object: &PartialObjectMeta<VolumeSnapshot>| {
        object.owner_references().iter().any(|owner| Some(&owner.uid) == group.metadata.uid.as_ref())
    };
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&params).await;
        let page =
            page.map_err(|error| cluster::problem::<VolumeSnapshot>("list those of", &group.name_any(), &error))?;
        for found in page.items.iter().filter(|object| is_member(object)) {
            let Some(snapshot) = cluster::get(&api, &found.name_any()).await? else { continue };
            let claim = snapshot.spec.source.persistent_volume_claim_name.clone();
            members.extend(claim.map(|claim| (claim, snapshot)));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(members),
        }
    }
}

/// The staged volumes that are still there.
async fn volumes(ctx: &Context, run: &Run, seen: &Observed) -> Result<Vec<PersistentVolume>, Problem> {
    let of_claims = seen.staging.iter().filter_map(|seen| volume_name(seen.claim.as_ref()?).map(str::to_owned));
    let names: std::collections::BTreeSet<String> = run.volumes.iter().cloned().chain(of_claims).collect();
    let mut volumes = vec![];
    for name in names {
        volumes.extend(cluster::get(&ctx.global::<PersistentVolume>(), &name).await?);
    }
    Ok(volumes)
}

/// The last thing that the cluster said is wrong with a claim.
async fn warning(ctx: &Context, claim: &PersistentVolumeClaim) -> Result<Option<String>, Problem> {
    let uid = claim.uid().unwrap_or_default();
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
    let events = ctx.own::<Event>().list(&params).await;
    let events = events.map_err(|error| cluster::problem::<Event>("list", &claim.name_any(), &error))?;
    let time = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0);
    Ok(events.items.into_iter().max_by_key(time).and_then(|event| event.message))
}

/// Lets a staged volume go with its claim, although its class keeps volumes.
pub(super) async fn let_go(ctx: &Context, volume: &str) -> Result<(), Problem> {
    let patch = Patch::Merge(serde_json::json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}));
    let patched = ctx.global::<PersistentVolume>().patch(volume, &PatchParams::default(), &patch).await;
    patched.map(drop).map_err(|error| cluster::problem::<PersistentVolume>("change", volume, &error))
}

fn has_children(seen: &Observed) -> bool {
    let staged = |seen: &SeenStaging| {
        seen.snapshot.is_some() || seen.content.is_some() || seen.twin.is_some() || seen.claim.is_some()
    };
    !seen.volumes.is_empty()
        || seen.group.is_some()
        || seen.staging.iter().any(staged)
        || seen.movers.iter().any(|mover| mover.job.is_some() || mover.credentials.is_some())
}
