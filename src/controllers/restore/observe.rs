//! What a restore's plan needs to see, and no more of it than the phase asks for.

use std::{collections::BTreeMap, fmt::Debug};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::VolumeAttachment,
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use super::movers;
use crate::{
    api::{
        backup::{BackupTarget, VolumeBackup},
        restore::{RestorePhase, RestoreVolume, VolumeRestore, VolumeRestoreStatus},
    },
    clients::cluster,
    controllers::{
        backup::{default_key, running},
        context::Context,
        destination,
        runner::Reconcile,
    },
    core::{
        backup::{confirm, rate_limits, taken},
        mover_state::MoverState,
        names::{self, Owner},
        problem::{Problem, Reason},
        queue::{Running, Urgency, Waiting},
        restore::{ClaimSeen, Mover, Observed, Source, Which, claims, has_ended, is_before, repository},
        task::BackupVolume,
        time, volumes,
        workload::{self, PodUse, Workload},
    },
};

/// What the plan needs to see now.
pub(super) async fn observe(ctx: &Context, restore: &VolumeRestore) -> Result<Observed, Problem> {
    let (namespace, name) = (restore.namespace().unwrap_or_default(), restore.name_any());
    let uid = restore.uid().unwrap_or_default();
    let owner = Owner { kind: VolumeRestore::KIND, namespace: Some(namespace.clone()), name: name.clone(), uid };
    let absent = Mover { state: MoverState::Absent, ended: None, has_credentials: false };
    let mut seen = Observed {
        run: names::run_id(&ctx.cluster, &name, &owner.uid, ""),
        owner,
        namespace: ctx.namespace.clone(),
        backup: None,
        source: None,
        before: None,
        full: None,
        resolving: absent.clone(),
        restoring: absent,
        claims: BTreeMap::new(),
        workloads: vec![],
        pods: vec![],
    };
    let status = restore.status.clone().unwrap_or_default();
    if has_ended(status.phase) || (status.phase.is_none() && status.failure.is_none()) {
        return Ok(seen);
    }
    seen.resolving = movers::observe(ctx, &seen.run, &seen.owner.uid, Which::Resolve).await?;
    seen.restoring = movers::observe(ctx, &seen.run, &seen.owner.uid, Which::Restore).await?;
    let moves_data = matches!(
        status.phase,
        Some(RestorePhase::Resolving | RestorePhase::Queued | RestorePhase::Restoring | RestorePhase::Checking)
    );
    if moves_data && status.failure.is_none() {
        data(ctx, restore, &status, &mut seen).await?;
    }
    let names: Vec<String> = match &seen.backup {
        Some(backup) if status.volumes.is_empty() => claims(backup).unwrap_or_default(),
        _ => status.volumes.iter().map(|volume| volume.claim.clone()).collect(),
    };
    for (index, name) in names.iter().enumerate() {
        let recorded = status.volumes.iter().find(|volume| volume.claim == *name);
        let found = claim(ctx, &namespace, name, recorded, index, &seen).await?;
        seen.claims.insert(name.clone(), found);
    }
    if !moves_data || status.volumes.is_empty() || status.failure.is_some() {
        seen.workloads = workloads(ctx, &namespace).await?;
        seen.pods = pods(ctx, &namespace).await?;
        attachments(ctx, &mut seen).await?;
    }
    Ok(seen)
}

/// What is needed until the new volume is filled.
async fn data(
    ctx: &Context,
    restore: &VolumeRestore,
    status: &VolumeRestoreStatus,
    seen: &mut Observed,
) -> Result<(), Problem> {
    let backup = restore.spec.from.backup.as_deref().unwrap_or_default();
    let (namespace, now) = (restore.namespace().unwrap_or_default(), ctx.now());
    seen.backup = cluster::get(&ctx.api::<VolumeBackup>(&namespace), backup).await?;
    if status.volumes.is_empty() {
        let others = ctx.stores.restores.store.state();
        seen.before = others.iter().find(|other| is_before(other, restore)).map(|other| other.name_any());
    } else if seen.restoring.state == MoverState::Absent {
        let who = Waiting {
            uid: seen.owner.uid.clone(),
            namespace,
            urgency: Urgency::Restore,
            since: restore.metadata.creation_timestamp.as_ref().map_or(now, time::from_k8s),
            repositories: vec![],
        };
        seen.full = ctx.queue.ask(who, running(ctx), now).err().map(|full| full.to_string());
    } else {
        // It runs already: also right after a start of the controller.
        ctx.queue.resume(Running { uid: seen.owner.uid.clone(), namespace, repositories: vec![] });
    }
    let starts = status.volumes.is_empty() || seen.restoring.state == MoverState::Absent;
    if let Some(backup) = seen.backup.as_ref().filter(|_| starts) {
        seen.source = Some(source(ctx, restore, backup).await);
    }
    if seen.backup.is_none() && !status.volumes.is_empty() && starts {
        let message = format!("VolumeBackup {backup} was deleted: create it again");
        seen.source = Some(Err(Problem::new(Reason::RepositoryNotFound, message)));
    }
    Ok(())
}

async fn source(ctx: &Context, restore: &VolumeRestore, backup: &VolumeBackup) -> Result<Source, Problem> {
    let key = repository(&restore.spec, backup, default_key(ctx))?;
    let namespace = restore.namespace().unwrap_or_default();
    let opened = destination::open(ctx, &key, &namespace, &backup.name_any(), &claims(backup)?).await?;
    let all = ctx.stores.backups.store.state();
    if let Some(problem) =
        taken(backup, &key, (&opened.spec, &ctx.cluster), &opened.targets, all.iter().map(|other| &**other))
    {
        return Err(problem);
    }
    let known = backup.status.iter().flat_map(|status| &status.repositories).find(|known| known.repository == key);
    confirm(&key, known.map_or(&[], |known| &known.targets), &opened.targets)?;
    let volume = |target: BackupTarget| BackupVolume { claim: target.claim, host: target.host, path: target.path };
    Ok(Source {
        repository: key,
        id: known.and_then(|known| known.id.clone()),
        targets: opened.targets.into_iter().map(volume).collect(),
        limits: rate_limits(&opened.spec),
    })
}

/// A claim and what belongs to it.
async fn claim(
    ctx: &Context,
    namespace: &str,
    name: &str,
    recorded: Option<&RestoreVolume>,
    index: usize,
    seen: &Observed,
) -> Result<ClaimSeen, Problem> {
    let claim = cluster::get(&ctx.api::<PersistentVolumeClaim>(namespace), name).await?;
    let staging_name = names::of_run(&seen.run, "data", index);
    let own = ctx.own::<PersistentVolumeClaim>();
    let staging = cluster::get_owned(&own, &staging_name, &seen.owner.uid).await?;
    let claims = [(namespace, name), (ctx.namespace.as_str(), staging_name.as_str())];
    let volume = async |name: Option<&str>| {
        let found = volume(ctx, name).await?;
        Ok::<_, Problem>(found.filter(|found| volumes::is_of(found, &seen.owner.uid, claims)))
    };
    let previous = recorded.and_then(|volume| volume.previous_volume.as_deref());
    let staged = staging.as_ref().and_then(volumes::volume_of);
    let bound = volume(claim.as_ref().and_then(volumes::volume_of)).await?;
    let of_name = |name: Option<&str>| bound.clone().filter(|bound| bound.metadata.name.as_deref() == name);
    Ok(ClaimSeen {
        previous: match of_name(previous) {
            Some(previous) => Some(previous),
            None => volume(previous).await?,
        },
        volume: volume(recorded.and_then(|volume| volume.volume.as_deref()).or(staged)).await?,
        bound,
        claim,
        staging,
        attached: vec![],
    })
}

async fn volume(ctx: &Context, name: Option<&str>) -> Result<Option<PersistentVolume>, Problem> {
    match name {
        Some(name) => cluster::get(&ctx.global(), name).await,
        None => Ok(None),
    }
}

/// The workloads of a namespace.
async fn workloads(ctx: &Context, namespace: &str) -> Result<Vec<Workload>, Problem> {
    let deployments = list::<Deployment>(&ctx.api(namespace)).await?;
    let stateful_sets = list::<StatefulSet>(&ctx.api(namespace)).await?;
    let deployments = deployments.iter().map(workload::deployment);
    Ok(deployments.chain(stateful_sets.iter().map(workload::stateful_set)).collect())
}

/// The pods of a namespace that have claims.
async fn pods(ctx: &Context, namespace: &str) -> Result<Vec<PodUse>, Problem> {
    let pods = list::<Pod>(&ctx.api(namespace)).await?;
    let api: Api<ReplicaSet> = ctx.api(namespace);
    let sets = api.list_metadata(&ListParams::default()).await;
    let sets = sets.map_err(|error| cluster::problem::<ReplicaSet>("list", "of the namespace", &error))?;
    let controllers = sets
        .items
        .iter()
        .filter_map(|set| Some((set.metadata.uid.clone()?, workload::controller(&set.metadata)?.clone())));
    let controllers = controllers.collect();
    Ok(pods.iter().filter_map(|pod| workload::pod(pod, &controllers)).collect())
}

/// The nodes to which the volumes that the app had are attached.
async fn attachments(ctx: &Context, seen: &mut Observed) -> Result<(), Problem> {
    let attachments = list::<VolumeAttachment>(&ctx.global()).await?;
    for claim in seen.claims.values_mut() {
        let previous = claim.previous.as_ref().and_then(|volume| volume.metadata.name.as_deref());
        let of_previous = attachments.iter().filter(|attachment| {
            previous.is_some() && attachment.spec.source.persistent_volume_name.as_deref() == previous
        });
        claim.attached = of_previous.map(|attachment| attachment.spec.node_name.clone()).collect();
    }
    Ok(())
}

async fn list<K>(api: &Api<K>) -> Result<Vec<K>, Problem>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await;
    list.map(|list| list.items).map_err(|error| cluster::problem::<K>("list", "of the namespace", &error))
}
