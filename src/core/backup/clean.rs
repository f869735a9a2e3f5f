//! When a run's attempt has ended: everything temporary is deleted in order, then the run is over or tried again.

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{Resource, ResourceExt};

use crate::{
    api::{
        backup::{BackupPhase, RepositoryKey, Run, VolumeBackup},
        common::Time,
        foreign::VolumeSnapshot,
    },
    core::{
        names,
        unlock::{self, Unlock},
    },
};

use super::{
    Child, Observed, Place, Step, World,
    attempt::{retry_at, staged_volumes, timeout},
    declared, hooks, results,
    steps::{SNAPSHOTTING, SOON, write},
    turn,
};

/// The hooks that are owed are run, everything temporary is deleted in the order in which it depends on each other, then
/// the run ends.
pub(super) fn clean(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed, now: Time) -> Step {
    // First of all, the app goes on.
    if let Some(step) = hooks::after(backup, run, seen, now) {
        return step;
    }
    if let Some(volume) = staged_volumes(seen).into_iter().find(|volume| !run.volumes.contains(volume)) {
        // A claim was bound after the end. Its volume has to be known once the claim is gone.
        return write(backup, |status| _ = status.run.as_mut().map(|run| run.volumes.push(volume)));
    }
    if let Some(step) = leftover(backup, run, seen, now) {
        return step;
    }
    match retry_at(backup, run, now) {
        Some(at) if at > now => Step::Wait((at - now).to_std().unwrap_or(SOON)),
        Some(at) => match &seen.place {
            Place::Unasked => {
                let known = backup.status.clone().unwrap_or_default();
                match turn::upkeep(&known, seen, again(run)) {
                    Some(why) => queued(backup, run, &why),
                    None => Step::Ask(turn::waiting(backup, seen, run.trigger, at, again(run))),
                }
            }
            Place::Granted => write(backup, |status| {
                status.phase = Some(BackupPhase::Snapshotting);
                status.message = Some(SNAPSHOTTING.to_owned());
                status.run = Some(next_attempt(backup, run, world, now));
            }),
            Place::Full(why) => queued(backup, run, why),
        },
        None => finish(backup, run, world, seen, now),
    }
}

/// The run is over: what an idle object says is written with it, at once.
fn finish(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed, now: Time) -> Step {
    let mut idle = backup.clone();
    let status = idle.status.get_or_insert_default();
    results::record(status, run, backup.metadata.generation, now);
    status.run = None;
    status.phase = Some(BackupPhase::Idle);
    match declared::next_step(&idle, world, seen, now) {
        Step::Write(status, _) if status.run.is_none() => Step::Write(status, None),
        _ => Step::Write(Box::new(idle.status.unwrap_or_default()), None),
    }
}

/// The next attempt: fresh snapshots, for what failed.
fn next_attempt(backup: &VolumeBackup, run: &Run, world: &World, now: Time) -> Run {
    let uid = backup.uid().unwrap_or_default();
    let unique = format!("{} attempt {}", run.id, run.attempt + 1);
    Run {
        id: names::run_id(&world.cluster, &backup.name_any(), &uid, &unique),
        attempt: run.attempt + 1,
        attempt_started_at: now,
        results: run.results.iter().filter(|record| !results::is_worth_a_retry(record)).cloned().collect(),
        repositories: again(run).cloned().collect(),
        // Where they could not be snapshotted as one, each is by itself.
        group: None,
        volumes: vec![],
        progress: None,
        hooks: hooks::declared(backup),
        ..run.clone()
    }
}

/// The repositories into which it is tried again.
fn again(run: &Run) -> impl Iterator<Item = &RepositoryKey> {
    let failed = |key: &RepositoryKey| {
        run.results.iter().any(|record| record.repository == *key && results::is_worth_a_retry(record))
    };
    run.repositories.iter().filter(move |key| failed(key))
}

/// The next attempt has to wait: why there was no place at first is written once.
fn queued(backup: &VolumeBackup, run: &Run, why: &str) -> Step {
    let waits = format!("attempt {} waits for its place", run.attempt + 1);
    let said = backup.status.as_ref().and_then(|status| status.message.as_deref());
    if said.is_some_and(|said| said.starts_with(&waits)) {
        return Step::Wait(turn::QUEUE);
    }
    write(backup, |status| status.message = Some(format!("{waits}: {why}")))
}

/// What is left of the run: deleted, or waited for. A volume may depend on the snapshot (a shallow one does), so the
/// snapshot goes last.
fn leftover(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Option<Step> {
    let jobs = seen.movers.iter().filter_map(|mover| {
        let job = mover.job.as_ref()?;
        Some(match unlock::next(job, &mover.state, &mover.unlocking) {
            Unlock::Create(job) => Step::Create(Child::Job(job)),
            Unlock::Wait => Step::Wait(SOON),
            Unlock::Nothing => gone(job, |job| Child::Job(Box::new(job))),
        })
    });
    let credentials = seen.movers.iter().filter_map(|mover| mover.credentials.as_ref());
    let credentials = credentials.map(|secret| gone(secret, |secret| Child::Credentials(Box::new(secret))));
    let claims = seen.staging.iter().filter_map(|seen| seen.claim.as_ref());
    let claims = claims.map(|claim| {
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        let volume = seen.volumes.iter().find(|volume| Some(volume.name_any().as_str()) == name);
        match volume.filter(|volume| is_kept(volume)) {
            Some(volume) => Step::Release(volume.name_any()),
            None => gone(claim, |claim| Child::Claim(Box::new(claim))),
        }
    });
    // A volume that will not go is left to the driver, which keeps its snapshot as long as it must.
    let patience = run.results.iter().map(|record| record.time).max().map(|end| end + timeout(backup));
    let volumes = seen.volumes.iter().filter(|_| patience.is_some_and(|until| now < until));
    let volumes = volumes.map(|_| Step::Wait(SOON));
    let twins = seen.staging.iter().filter_map(|seen| seen.twin.as_ref()).map(snapshot_gone);
    let contents = seen.staging.iter().filter_map(|seen| seen.content.as_ref());
    let contents = contents.map(|content| gone(content, |content| Child::Content(Box::new(content))));
    // Those of a group go with it, and only with it.
    let single = seen.staging.iter().filter(|_| run.group.is_none());
    let snapshots = single.filter_map(|seen| seen.snapshot.as_ref()).map(snapshot_gone);
    let group = run.group.iter().filter_map(|of| {
        let group = seen.group.as_ref()?;
        Some(gone(group, |group| Child::Group(of.version, Box::new(group))))
    });
    let snapshots = snapshots.chain(group);
    let mut all = jobs.chain(credentials).chain(claims).chain(volumes).chain(twins).chain(contents).chain(snapshots);
    all.next()
}

fn snapshot_gone(snapshot: &VolumeSnapshot) -> Step {
    gone(snapshot, |snapshot| Child::Snapshot(Box::new(snapshot)))
}

/// Deletes an object once, then waits until it is gone.
fn gone<K: Resource + Clone>(object: &K, child: impl Fn(K) -> Child) -> Step {
    if object.meta().deletion_timestamp.is_some() { Step::Wait(SOON) } else { Step::Delete(child(object.clone())) }
}

fn is_kept(volume: &PersistentVolume) -> bool {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy != Some("Delete")
}
