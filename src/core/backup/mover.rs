//! The mover of a run, for one repository.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use crate::{
    api::{
        annotations,
        backup::{BackupTarget, RepositoryKey, Run, VolumeBackup},
        common::Time,
        repository::RepositorySpec,
    },
    core::{
        destination::{self, Scope},
        driver,
        job::{self, Mount, MoverJob},
        locks, names,
        problem::{Problem, Reason},
        slots,
        task::{BackupTask, BackupVolume, KEPT_CACHE_MOUNT, Place, RateLimits, Task},
    },
};

use super::{
    Child, Observed, SeenMover, Step, World, attempt::deadline, cache::cache_of_run, credentials_name, guard, holder,
    job_name, known, others, owner, results, staging,
};

/// The shortest time that a mover gets, in seconds, however late it starts.
const SHORTEST_MOVER: i64 = 60;

/// The next step towards the mover: its credentials, then its Job.
pub(super) fn start(
    backup: &VolumeBackup,
    run: &Run,
    world: &World,
    seen: &Observed,
    (index, key): (usize, &RepositoryKey),
    mover: &SeenMover,
    now: Time,
) -> Result<Step, Problem> {
    let gone = || Problem::new(Reason::RepositoryNotFound, format!("{} {} is gone", key.kind.as_str(), key.name));
    let repository = seen.repositories.iter().find(|seen| seen.key == *key).ok_or_else(gone)?;
    let state = repository.state.as_ref().map_err(Clone::clone)?;
    repository.taken.clone().map_or(Ok(()), Err)?;
    if let Some(problem) = &mover.problem {
        return Err(problem.clone());
    }
    let cache = cache_of_run(backup, run, key, &state.0, &world.namespace);
    if let Some(claim) = cache.as_ref().filter(|_| mover.cache.is_none()) {
        return Ok(Step::Create(Child::Claim(Box::new(claim.clone()))));
    }
    if mover.credentials.is_none() {
        return Ok(Step::Credentials(index));
    }
    let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
    let scope = Scope { namespace, name: &backup.name_any(), cluster: &world.cluster };
    let targets = destination::targets(&state.0, scope, &run.claims)?;
    holder::confirm(key, noted(backup, key), &targets)?;
    let slot = mover.slot.map(|slot| slots::label(key, namespace, slot));
    // One that is being deleted would keep the mover from its start.
    let is_going = mover.cache.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_some());
    let cache = cache.filter(|_| !is_going).map(|claim| claim.name_any());
    let job = mover_job(backup, run, world, (index, key), (state, &targets), (cache, slot.as_deref()), now);
    Ok(Step::Create(Child::Job(Box::new(job))))
}

fn mover_job(
    backup: &VolumeBackup,
    run: &Run,
    world: &World,
    (index, key): (usize, &RepositoryKey),
    ((spec, base), targets): (&(RepositorySpec, Option<String>), &[BackupTarget]),
    (cache, slot): (Option<String>, Option<&str>),
    now: Time,
) -> Job {
    let owner = owner(backup);
    let mut mounts: Vec<Mount> = run
        .claims
        .iter()
        .enumerate()
        .filter_map(|(at, claim)| {
            let target = targets.iter().find(|target| target.claim == *claim)?;
            let claim = staging(&owner, &run.id, world, at).claim_name();
            Some(Mount { claim, path: target.path.clone(), read_only: true })
        })
        .collect();
    let kept = |claim| Mount { claim, path: KEPT_CACHE_MOUNT.to_owned(), read_only: false };
    mounts.extend(cache.map(kept));
    let volume = |target: &BackupTarget| BackupVolume {
        claim: target.claim.clone(),
        host: target.host.clone(),
        path: target.path.clone(),
    };
    let task = Task::Backup(BackupTask {
        run: run.id.clone(),
        cluster: names::cluster_hash(&world.cluster),
        volumes: targets.iter().map(volume).collect(),
        create_under_base: base.clone().filter(|_| results::may_create(backup, key)),
        guards: run.claims.iter().filter_map(|claim| guard::of(backup, claim, key)).collect(),
        // A repository that is its own base says by itself what is in it; and whoever else reads it, as VolSync does,
        // might take what is stated for data.
        places: if destination::is_fixed(&spec.url) { vec![] } else { places(backup, key, targets) },
        verdicts: known::untold(backup, key),
        exclude: backup.spec.exclude.clone(),
        exclude_if_present: backup.spec.exclude_if_present.clone(),
        exclude_caches: backup.spec.exclude_caches,
        limits: rate_limits(spec),
        unlock: locks::accepted(backup.annotations().get(annotations::ACCEPT)),
        watch: destination::continues_another(spec).then(|| Box::new(others::watch(backup, key, &world.cluster))),
    });
    let left = (run.started_at + deadline(backup) - now).num_seconds();
    job::mover_job(&MoverJob {
        name: &job_name(&run.id, index),
        namespace: &world.namespace,
        owner: &owner,
        run: &run.id,
        image: &world.image,
        task: &task,
        credentials: &credentials_name(&run.id, index),
        mounts: &mounts,
        slot,
        repository_volume: spec.volume.as_ref(),
        mover: &job::merge_mover(spec.mover.as_ref(), backup.spec.mover.as_ref()),
        deadline_seconds: Some(left.max(SHORTEST_MOVER)),
    })
}

/// Where those claims are backed up of which no good snapshot is known yet: the base's catalogue is told.
fn places(backup: &VolumeBackup, key: &RepositoryKey, targets: &[BackupTarget]) -> Vec<Place> {
    let snapshots = || backup.status.iter().flat_map(|status| &status.snapshots);
    let is_new =
        |target: &&BackupTarget| !snapshots().any(|known| known.repository == *key && known.claim == target.claim);
    let place = |target: &BackupTarget| Place {
        namespace: backup.namespace().unwrap_or_default(),
        name: backup.name_any(),
        claim: target.claim.clone(),
        url: destination::public_url(&target.url),
        host: target.host.clone(),
        path: target.path.clone(),
    };
    targets.iter().filter(is_new).map(place).collect()
}

/// Where the claims' snapshots go, as it stood when the run started.
fn noted<'a>(backup: &'a VolumeBackup, key: &RepositoryKey) -> &'a [BackupTarget] {
    let known = backup.status.iter().flat_map(|status| &status.repositories).find(|known| known.repository == *key);
    known.map_or(&[], |known| &known.targets)
}

/// A repository's limits, in restic's unit.
pub(crate) fn rate_limits(spec: &RepositorySpec) -> RateLimits {
    let limits = spec.limits.clone().unwrap_or_default();
    let kib = |quantity| u64::try_from(driver::bytes(&quantity).div_ceil(1024)).unwrap_or(u64::MAX);
    RateLimits { upload: limits.upload.map(kib), download: limits.download.map(kib) }
}
