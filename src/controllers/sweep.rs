//! Deletes what an object that is gone left in the operator's namespace, where no owner reference reaches, and what
//! a run left that its `VolumeBackup` has forgotten.
//!
//! Children are read before their owners: a child whose owner is not found then had none any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Secret},
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::PartialObjectMeta};
use serde::de::DeserializeOwned;

use crate::{
    api::{
        MANAGER,
        backup::{RepositoryKey, VolumeBackup},
        foreign::{VolumeSnapshot, VolumeSnapshotContent},
        labels,
        repository::{ClusterResticRepository, RepositorySpec, ResticRepository},
        restore::VolumeRestore,
    },
    clients::{
        cluster,
        groups::{self, Groups},
    },
    controllers::{
        MOVES_DATA,
        backup::{default_key, stores_are_filled},
        context::Context,
        destination,
    },
    core::{
        backup,
        problem::Problem,
        sweep::{Child, Owners, garbage},
    },
};

/// How often is looked without being asked.
const PERIOD: Duration = Duration::from_mins(10);
/// How soon is looked again while something is being deleted.
const SOON: Duration = Duration::from_secs(2);
/// Sweeps at the start, when something was deleted, and now and then.
pub(crate) async fn run(ctx: Arc<Context>) {
    stores_are_filled(&ctx).await;
    loop {
        let pause = match sweep(&ctx).await {
            Ok(0) => PERIOD,
            Ok(left) => {
                tracing::info!(left, "leftovers are deleted");
                SOON
            }
            Err(problem) => {
                tracing::warn!(reason = %problem.reason, "leftovers cannot be deleted: {problem}");
                Duration::from_secs(30)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ctx.sweep.notified() => {}
        }
    }
}

/// Deletes what can go now. Returns how much is left over.
async fn sweep(ctx: &Context) -> Result<usize, Problem> {
    let jobs: Vec<PartialObjectMeta<Job>> = list(ctx.own()).await?;
    let secrets: Vec<PartialObjectMeta<Secret>> = list(ctx.own()).await?;
    let claims: Vec<PartialObjectMeta<PersistentVolumeClaim>> = list(ctx.own()).await?;
    let claims: Vec<_> = claims.into_iter().filter(|claim| !is_kept(ctx, claim)).collect();
    let snapshots: Vec<PartialObjectMeta<VolumeSnapshot>> = list(Api::all(ctx.client.clone())).await?;
    let contents: Vec<PartialObjectMeta<VolumeSnapshotContent>> = list(ctx.global()).await?;
    let groups = groups::find(&ctx.client, &ListParams::default().labels(&children())).await?;
    let (twins, snapshots): (Vec<_>, Vec<_>) =
        snapshots.into_iter().partition(|object| object.namespace().as_ref() == Some(&ctx.namespace));
    let all = [
        labels_of(&jobs),
        labels_of(&secrets),
        labels_of(&claims),
        labels_of(&twins),
        labels_of(&contents),
        labels_of(&snapshots),
        groups.iter().map(|(_, of)| of.labels.clone().unwrap_or_default()).collect(),
    ];
    if all.iter().all(Vec::is_empty) {
        return Ok(0);
    }
    let owner_uids = all.iter().flatten().filter_map(|labels| labels.get(labels::OWNER_UID)).collect();
    let owners = owners(ctx, &owner_uids).await?;
    let all: Vec<Child<'_>> = all
        .iter()
        .enumerate()
        .flat_map(|(rank, labels)| labels.iter().map(move |labels| Child { rank, labels }))
        .collect();
    let garbage = garbage(&all, &owners);
    let go = |rank: usize, labels: &BTreeMap<String, String>| garbage.may_go(&Child { rank, labels });
    delete(ctx.own(), &jobs, |labels| go(0, labels)).await?;
    delete(ctx.own(), &secrets, |labels| go(1, labels)).await?;
    delete(ctx.own(), &claims, |labels| go(2, labels)).await?;
    delete(ctx.own(), &twins, |labels| go(3, labels)).await?;
    delete(ctx.global(), &contents, |labels| go(4, labels)).await?;
    for snapshot in snapshots.iter().filter(|snapshot| go(5, snapshot.labels())) {
        let api = ctx.api::<VolumeSnapshot>(&snapshot.namespace().unwrap_or_default());
        delete(api, std::slice::from_ref(snapshot), |_| true).await?;
    }
    for (version, group) in groups.iter().filter(|(_, of)| of.labels.as_ref().is_some_and(|labels| go(6, labels))) {
        Groups::new(&ctx.client, *version, group.namespace.as_deref()).delete(group).await?;
    }
    Ok(garbage.count())
}

/// Whether a `VolumeBackup` keeps a cache on this claim, or may: what it declares is not all there.
fn is_kept(ctx: &Context, claim: &PartialObjectMeta<PersistentVolumeClaim>) -> bool {
    let (owner, run) = (claim.labels().get(labels::OWNER_UID), claim.labels().get(labels::RUN));
    let Some(backup) = owner.filter(|_| run.is_none()).and_then(|uid| ctx.stores.backups.by_uid(uid)) else {
        return false;
    };
    let Ok(keys) = backup::repository_keys(&backup.spec, default_key(ctx)) else { return true };
    let namespace = backup.namespace().unwrap_or_default();
    let declared = |key: &RepositoryKey| Some(destination::subject(ctx, key, &namespace)?.spec);
    let specs: Option<Vec<RepositorySpec>> = keys.iter().map(declared).collect();
    specs.is_none_or(|specs| backup::keeps(&backup, keys.iter().zip(&specs), &claim.name_any()))
}

fn labels_of<K>(objects: &[PartialObjectMeta<K>]) -> Vec<BTreeMap<String, String>> {
    objects.iter().map(|object| object.metadata.labels.clone().unwrap_or_default()).collect()
}

/// What selects the children of every owner.
fn children() -> String {
    format!("{}={MANAGER},{} in ({})", labels::MANAGED_BY, labels::OWNER_KIND, MOVES_DATA.join(","))
}

/// The children of every owner.
async fn list<K>(api: Api<K>) -> Result<Vec<PartialObjectMeta<K>>, Problem>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match api.list_metadata(&ListParams::default().labels(&children())).await {
        Ok(list) => Ok(list.items),
        // The cluster has no such kind.
        Err(kube::Error::Api(status)) if cluster::is_absent(&status) => Ok(vec![]),
        Err(error) => Err(cluster::problem::<K>("list", "children", &error)),
    }
}

async fn delete<K>(
    api: Api<K>,
    objects: &[PartialObjectMeta<K>],
    may_go: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Result<(), Problem>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    for object in objects.iter().filter(|object| may_go(object.labels())) {
        cluster::delete_by_metadata(&api, &object.metadata).await?;
    }
    Ok(())
}

/// Who is there, and which run each `VolumeBackup` has that has children.
async fn owners(ctx: &Context, wanted: &BTreeSet<&String>) -> Result<Owners, Problem> {
    let mut owners = Owners::default();
    let backups: Api<VolumeBackup> = Api::all(ctx.client.clone());
    let all = backups.list_metadata(&ListParams::default()).await;
    let mut uids: BTreeSet<String> = uids(all, backup::KIND)?;
    for uid in uids.iter().filter(|uid| wanted.contains(uid)) {
        // An object that cannot be understood keeps its children: what it runs is not known.
        let Some(known) = ctx.stores.backups.by_uid(uid) else { continue };
        let api: Api<VolumeBackup> = ctx.api(&known.namespace().unwrap_or_default());
        if let Some(live) = cluster::get(&api, &known.name_any()).await?.filter(|live| live.uid().as_ref() == Some(uid))
        {
            let run = live.status.and_then(|status| status.run).map(|run| run.id);
            owners.runs.insert(uid.clone(), run);
        }
    }
    owners.uids.append(&mut uids);
    let params = ListParams::default();
    owners.uids.extend(self::uids(
        Api::<VolumeRestore>::all(ctx.client.clone()).list_metadata(&params).await,
        "VolumeRestore",
    )?);
    owners.uids.extend(self::uids(
        Api::<ResticRepository>::all(ctx.client.clone()).list_metadata(&params).await,
        "ResticRepository",
    )?);
    owners.uids.extend(self::uids(
        ctx.global::<ClusterResticRepository>().list_metadata(&params).await,
        "ClusterResticRepository",
    )?);
    Ok(owners)
}

fn uids<K: Clone>(
    list: kube::Result<kube::core::ObjectList<PartialObjectMeta<K>>>,
    kind: &str,
) -> Result<BTreeSet<String>, Problem> {
    let list = list.map_err(|error| cluster::problem::<VolumeBackup>("list every", kind, &error))?;
    Ok(list.items.iter().filter_map(|object| object.metadata.uid.clone()).collect())
}
