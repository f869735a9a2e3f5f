//! While a run is in progress: stage the volumes, let the movers work, and clean up.

use std::time::Duration;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim},
};
use kube::{Resource, ResourceExt};

use crate::{
    api::{
        backup::{
            BackupPhase, BackupTarget, DEFAULT_DEADLINE, DEFAULT_RETRIES, DEFAULT_STAGING_TIMEOUT, Progress,
            RepositoryKey, Run, RunRecord, RunResult, VolumeBackup, VolumeBackupStatus,
        },
        common::{ConditionStatus, Time},
        foreign::{VolumeSnapshot, VolumeSnapshotContent},
        repository::RepositorySpec,
    },
    core::{
        conditions, driver,
        job::{self, Mount, MoverJob},
        mover_state::MoverState,
        names,
        problem::{Class, Problem, Reason},
        task::{BackupTask, BackupVolume, RateLimits, Task},
    },
};

use super::{
    Child, Note, Observed, SeenMover, SeenStaging, Step, World, credentials_name, declared, job_name, owner, results,
    staging, write_or_wait,
};

/// How often is looked at what the cluster is about to do, should no watch tell.
const SOON: Duration = Duration::from_secs(2);
/// How often a mover's progress is read.
const PROGRESS: Duration = Duration::from_secs(5);
/// Delay before the first retry; it doubles with each.
const RETRY: u32 = 30;
/// The longest delay before a retry, in seconds.
const LONGEST_RETRY: u32 = 600;
/// The shortest time that a mover gets, in seconds, however late it starts.
const SHORTEST_MOVER: i64 = 60;

/// Snapshot, twin and staging claim for each claim, then credentials and mover for each repository.
pub(super) fn stage(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed, now: Time) -> Step {
    match staged(backup, run, world, seen) {
        Ok(None) => {}
        Ok(Some(step)) => return in_time(backup, run, seen, step, now),
        Err(problem) => return fail(backup, run, seen, &problem, now),
    }
    for (index, key) in run.repositories.iter().enumerate() {
        let mover = seen.movers.get(index).cloned().unwrap_or_default();
        if mover.job.is_some() || is_done(run, key) {
            continue;
        }
        return match start_mover(backup, run, world, seen, (index, key), &mover, now) {
            Ok(step) => step,
            Err(problem) if problem.class() == Class::Transient && !is_late(backup, run, now) => {
                say(backup, &problem.message, SOON)
            }
            Err(problem) => {
                let mut run = run.clone();
                run.results.extend(results::failed(&run, key, &problem, now));
                if run.repositories.iter().all(|key| is_done(&run, key)) {
                    return end(backup, &run, seen, now);
                }
                write(backup, |status| status.run = Some(run))
            }
        };
    }
    write(backup, |status| {
        status.phase = Some(BackupPhase::BackingUp);
        status.message = Some("the data is read".to_owned());
    })
}

/// The next step of staging; none when everything is staged.
fn staged(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed) -> Result<Option<Step>, Problem> {
    let owner = owner(backup);
    let none = SeenStaging::default();
    let of = |index: usize| seen.staging.get(index).unwrap_or(&none);
    for (index, claim) in run.claims.iter().enumerate() {
        if of(index).snapshot.is_none() {
            let reading = declared::reading_of_run(backup, seen, claim)?;
            let snapshot = staging(&owner, &run.id, world, index).snapshot(backup, &reading);
            return Ok(Some(Step::Create(Child::Snapshot(Box::new(snapshot)))));
        }
    }
    for (index, claim) in run.claims.iter().enumerate() {
        let (seen_of, staging) = (of(index), staging(&owner, &run.id, world, index));
        let Some((driver, handle)) = ready_snapshot(seen_of) else { return Ok(Some(Step::Wait(SOON))) };
        if seen_of.content.is_none() {
            return Ok(Some(Step::Create(Child::Content(Box::new(staging.content(driver, handle))))));
        }
        let Some(twin) = &seen_of.twin else {
            return Ok(Some(Step::Create(Child::Snapshot(Box::new(staging.twin())))));
        };
        if !is_ready(twin) {
            return Ok(Some(Step::Wait(SOON)));
        }
        if seen_of.claim.is_none() {
            let reading = declared::reading_of_run(backup, seen, claim)?;
            let size = seen_of.snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref()?.restore_size.as_deref());
            return Ok(Some(Step::Create(Child::Claim(Box::new(staging.claim(&reading, size))))));
        }
    }
    Ok(None)
}

/// Driver and handle of a snapshot that can be used.
fn ready_snapshot(seen: &SeenStaging) -> Option<(&str, &str)> {
    let content = seen.snapshot_content.as_ref()?;
    let handle = content.status.as_ref()?.snapshot_handle.as_deref()?;
    is_ready(seen.snapshot.as_ref()?).then_some((content.spec.driver.as_str(), handle))
}

fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot.metadata.deletion_timestamp.is_none()
        && snapshot.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true))
}

/// A step of staging, but not for ever; and where it waits, it says what is wrong.
fn in_time(backup: &VolumeBackup, run: &Run, seen: &Observed, step: Step, now: Time) -> Step {
    let trouble = trouble(seen);
    if is_late(backup, run, now) {
        // What the API refuses, a quota for example, stands in the condition.
        let refused = || {
            let status = backup.status.as_ref()?;
            let ready = conditions::get(&status.conditions, conditions::READY)?;
            (ready.status == ConditionStatus::False).then(|| ready.message.clone())
        };
        let why = trouble.or_else(refused);
        let why = why.unwrap_or_else(|| "nothing is reported; see the driver's pods".to_owned());
        let message = format!("the snapshot was not ready within {}: {why}", staging_timeout(backup));
        return fail(backup, run, seen, &Problem::new(Reason::StagingFailed, message), now);
    }
    match (trouble, step) {
        (Some(trouble), Step::Wait(wait)) => say(backup, &trouble, wait),
        (_, step) => step,
    }
}

/// What snapshots, their contents and claims say is wrong.
fn trouble(seen: &Observed) -> Option<String> {
    let words = |error: Option<&crate::api::foreign::VolumeSnapshotError>| error?.message.clone();
    let of_snapshot = |snapshot: Option<&VolumeSnapshot>| {
        let snapshot = snapshot?;
        let words = words(snapshot.status.as_ref()?.error.as_ref())?;
        Some(format!("VolumeSnapshot {}/{}: {words}", snapshot.namespace()?, snapshot.name_any()))
    };
    let of_content = |content: Option<&VolumeSnapshotContent>| {
        let content = content?;
        let words = words(content.status.as_ref()?.error.as_ref())?;
        Some(format!("VolumeSnapshotContent {}: {words}", content.name_any()))
    };
    let of_claim = |seen: &SeenStaging| {
        let name = seen.claim.as_ref()?.name_any();
        Some(format!("staging claim {name}: {}", seen.warning.as_ref()?))
    };
    seen.staging.iter().find_map(|seen| {
        of_snapshot(seen.snapshot.as_ref())
            .or_else(|| of_content(seen.snapshot_content.as_ref()))
            .or_else(|| of_content(seen.content.as_ref()))
            .or_else(|| of_snapshot(seen.twin.as_ref()))
            .or_else(|| of_claim(seen))
    })
}

fn start_mover(
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
    let (spec, base) = repository.state.as_ref().map_err(Clone::clone)?;
    if let Some(problem) = &mover.problem {
        return Err(problem.clone());
    }
    if mover.credentials.is_none() {
        return Ok(Step::Credentials(index));
    }
    let create_under_base = base.clone().filter(|_| results::may_create(backup, key));
    let job = mover_job(backup, run, world, (index, key), spec, create_under_base, now);
    Ok(Step::Create(Child::Job(Box::new(job))))
}

fn mover_job(
    backup: &VolumeBackup,
    run: &Run,
    world: &World,
    (index, key): (usize, &RepositoryKey),
    spec: &RepositorySpec,
    create_under_base: Option<String>,
    now: Time,
) -> Job {
    let targets = targets(backup, key);
    let owner = owner(backup);
    let mounts: Vec<Mount> = run
        .claims
        .iter()
        .enumerate()
        .filter_map(|(at, claim)| {
            let target = targets.iter().find(|target| target.claim == *claim)?;
            let claim = staging(&owner, &run.id, world, at).claim_name();
            Some(Mount { claim, path: target.path.clone(), read_only: true })
        })
        .collect();
    let volume = |target: &BackupTarget| BackupVolume {
        claim: target.claim.clone(),
        host: target.host.clone(),
        path: target.path.clone(),
    };
    let task = Task::Backup(BackupTask {
        run: run.id.clone(),
        volumes: targets.iter().filter(|target| run.claims.contains(&target.claim)).map(volume).collect(),
        create_under_base,
        exclude: backup.spec.exclude.clone(),
        exclude_if_present: backup.spec.exclude_if_present.clone(),
        exclude_caches: backup.spec.exclude_caches,
        limits: rate_limits(spec),
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
        repository_volume: spec.volume.as_ref(),
        mover: &job::merge_mover(spec.mover.as_ref(), backup.spec.mover.as_ref()),
        deadline_seconds: Some(left.max(SHORTEST_MOVER)),
    })
}

/// Where the claims' snapshots go, as it stood when the run started.
fn targets(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<BackupTarget> {
    let known = backup.status.iter().flat_map(|status| &status.repositories).find(|known| known.repository == *key);
    known.map(|known| known.targets.clone()).unwrap_or_default()
}

/// A repository's limits, in restic's unit.
pub(crate) fn rate_limits(spec: &RepositorySpec) -> RateLimits {
    let limits = spec.limits.clone().unwrap_or_default();
    let kib = |quantity| u64::try_from(driver::bytes(&quantity).div_ceil(1024)).unwrap_or(u64::MAX);
    RateLimits { upload: limits.upload.map(kib), download: limits.download.map(kib) }
}

/// The movers work.
pub(super) fn back_up(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Step {
    let mut ended = run.clone();
    let mut progress = None;
    for (index, key) in run.repositories.iter().enumerate().filter(|(_, key)| !is_done(run, key)) {
        let state = seen.movers.get(index).map_or(&MoverState::Absent, |mover| &mover.state);
        match (results::of_mover(backup, run, key, state, now), state) {
            (Some(records), _) => ended.results.extend(records),
            (None, MoverState::Running { progress: Some(of) }) => _ = progress.get_or_insert_with(|| of.clone()),
            (None, _) => {}
        }
    }
    if run.repositories.iter().all(|key| is_done(&ended, key)) {
        return end(backup, &ended, seen, now);
    }
    let staged = |seen: &SeenStaging| seen.claim.as_ref().is_some_and(is_bound);
    if !seen.staging.iter().all(staged) {
        // A class that waits for the first consumer binds only now.
        if is_late(backup, run, now) {
            let why = trouble(seen).unwrap_or_else(|| "the staging claim is not bound; see its events".to_owned());
            let message = format!("the volume was not staged within {}: {why}", staging_timeout(backup));
            return fail(backup, &ended, seen, &Problem::new(Reason::StagingFailed, message), now);
        }
        return trouble(seen).map_or(Step::Wait(SOON), |trouble| say(backup, &trouble, SOON));
    }
    if let Some(progress) = progress.filter(|new| is_news(run.progress.as_ref(), new)) {
        return write(backup, |status| {
            status.message = Some(format!("{} % of {} files", progress.percent, progress.files_total));
            if let Some(run) = &mut status.run {
                run.progress = Some(progress);
            }
        });
    }
    Step::Wait(PROGRESS)
}

fn is_news(old: Option<&Progress>, new: &Progress) -> bool {
    old.is_none_or(|old| old.percent != new.percent)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

/// The attempt ends for every repository that has no result yet.
fn fail(backup: &VolumeBackup, run: &Run, seen: &Observed, problem: &Problem, now: Time) -> Step {
    let mut run = run.clone();
    for key in run.repositories.clone() {
        if !is_done(&run, &key) {
            run.results.extend(results::failed(&run, &key, problem, now));
        }
    }
    end(backup, &run, seen, now)
}

/// The attempt has ended: its results are entered, or it is said that it will be tried again.
fn end(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Step {
    let mut run = run.clone();
    run.progress = None;
    run.volumes =
        seen.staging.iter().filter_map(|seen| seen.claim.as_ref()?.spec.as_ref()?.volume_name.clone()).collect();
    let mut status = backup.status.clone().unwrap_or_default();
    status.phase = Some(BackupPhase::Cleaning);
    let worst = worst(&run);
    let note;
    if let Some(at) = retry_at(backup, &run, now) {
        let message = worst.and_then(|worst| worst.message.clone()).unwrap_or_default();
        status.message = Some(format!(
            "attempt {} of {} failed: {message}; the next one starts at {}",
            run.attempt,
            retries(backup) + 1,
            at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        ));
        note = None;
    } else {
        results::record(&mut status, &run, backup.metadata.generation, now);
        learn_ids(&mut status, &run, seen);
        status.message = Some("what the run needed is deleted".to_owned());
        note = worst.map(note_of);
    }
    status.run = Some(run);
    Step::Write(Box::new(status), note)
}

/// The volumes of the staging claims.
fn staged_volumes(seen: &Observed) -> Vec<String> {
    seen.staging.iter().filter_map(|seen| seen.claim.as_ref()?.spec.as_ref()?.volume_name.clone()).collect()
}

/// What a run's end is worth telling.
fn note_of(worst: &RunRecord) -> Note {
    let good = worst.result == RunResult::Succeeded;
    let reason = if good { "BackedUp" } else { worst.reason.as_deref().unwrap_or("Failed") };
    Note {
        warning: !good,
        reason: reason.to_owned(),
        message: worst.message.clone().unwrap_or_else(|| results::summary(worst)),
    }
}

/// restic's ids of the repositories that a good run was stored in.
fn learn_ids(status: &mut VolumeBackupStatus, run: &Run, seen: &Observed) {
    for (index, key) in run.repositories.iter().enumerate() {
        let stored = run.results.iter().any(|record| record.repository == *key && record.snapshot.is_some());
        let Some(MoverState::Finished(answer)) = seen.movers.get(index).map(|mover| &mover.state) else { continue };
        let known = status.repositories.iter_mut().find(|known| known.repository == *key);
        if let (true, Some(id), Some(known)) = (stored, &answer.repository, known) {
            known.id = Some(id.clone());
        }
    }
}

fn worst(run: &Run) -> Option<&RunRecord> {
    let failed = run.results.iter().find(|record| record.result == RunResult::Failed);
    failed
        .or_else(|| run.results.iter().find(|record| record.result != RunResult::Succeeded))
        .or_else(|| run.results.first())
}

/// When the run is tried again; none if it is not.
fn retry_at(backup: &VolumeBackup, run: &Run, now: Time) -> Option<Time> {
    let ended = run.results.iter().map(|record| record.time).max()?;
    let delay = RETRY.saturating_mul(1 << (run.attempt - 1).min(10)).min(LONGEST_RETRY);
    let at = ended + chrono::Duration::seconds(delay.into());
    let in_time = at.max(now) < run.started_at + deadline(backup);
    let worth = run.results.iter().any(results::is_worth_a_retry);
    (worth && run.attempt <= retries(backup) && in_time && !backup.spec.suspend).then_some(at)
}

/// Everything temporary is deleted in the order in which it depends on each other, then the run ends.
pub(super) fn clean(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed, now: Time) -> Step {
    if let Some(volume) = staged_volumes(seen).into_iter().find(|volume| !run.volumes.contains(volume)) {
        // A claim was bound after the end. Its volume has to be known once the claim is gone.
        return write(backup, |status| _ = status.run.as_mut().map(|run| run.volumes.push(volume)));
    }
    if let Some(step) = leftover(backup, run, seen, now) {
        return step;
    }
    match retry_at(backup, run, now) {
        Some(at) if at > now => Step::Wait((at - now).to_std().unwrap_or(SOON)),
        Some(_) => write(backup, |status| {
            status.phase = Some(BackupPhase::Snapshotting);
            status.message = Some("a snapshot is made".to_owned());
            status.run = Some(next_attempt(backup, run, world, now));
        }),
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

/// The next attempt: a fresh snapshot, for what failed.
fn next_attempt(backup: &VolumeBackup, run: &Run, world: &World, now: Time) -> Run {
    let uid = backup.uid().unwrap_or_default();
    let unique = format!("{} attempt {}", run.id, run.attempt + 1);
    let again: Vec<&RunRecord> = run.results.iter().filter(|record| results::is_worth_a_retry(record)).collect();
    let repositories = run.repositories.iter().filter(|key| again.iter().any(|record| record.repository == **key));
    Run {
        id: names::run_id(&world.cluster, &backup.name_any(), &uid, &unique),
        attempt: run.attempt + 1,
        attempt_started_at: now,
        results: run.results.iter().filter(|record| !results::is_worth_a_retry(record)).cloned().collect(),
        repositories: repositories.cloned().collect(),
        volumes: vec![],
        progress: None,
        ..run.clone()
    }
}

/// What is left of the run: deleted, or waited for. A volume may depend on the snapshot (a shallow one does), so the
/// snapshot goes last.
fn leftover(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Option<Step> {
    let jobs = seen.movers.iter().filter_map(|mover| mover.job.as_ref());
    let jobs = jobs.map(|job| gone(job, |job| Child::Job(Box::new(job))));
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
    let snapshots = seen.staging.iter().filter_map(|seen| seen.snapshot.as_ref()).map(snapshot_gone);
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

/// Whether every claim has a result of this attempt for that repository.
fn is_done(run: &Run, key: &RepositoryKey) -> bool {
    run.results.iter().any(|record| record.id == run.id && record.repository == *key)
}

fn is_late(backup: &VolumeBackup, run: &Run, now: Time) -> bool {
    now >= run.attempt_started_at + timeout(backup)
}

fn staging_timeout(backup: &VolumeBackup) -> crate::api::common::Duration {
    backup.spec.staging_timeout.unwrap_or(DEFAULT_STAGING_TIMEOUT)
}

fn timeout(backup: &VolumeBackup) -> chrono::Duration {
    staging_timeout(backup).as_chrono()
}

fn deadline(backup: &VolumeBackup) -> chrono::Duration {
    backup.spec.deadline.unwrap_or(DEFAULT_DEADLINE).as_chrono()
}

fn retries(backup: &VolumeBackup) -> u32 {
    backup.spec.retries.unwrap_or(DEFAULT_RETRIES)
}

fn write(backup: &VolumeBackup, change: impl FnOnce(&mut VolumeBackupStatus)) -> Step {
    let mut status = backup.status.clone().unwrap_or_default();
    change(&mut status);
    Step::Write(Box::new(status), None)
}

/// Says something in the status, once, and waits.
fn say(backup: &VolumeBackup, message: &str, wait: Duration) -> Step {
    let mut status = backup.status.clone().unwrap_or_default();
    status.message = Some(message.to_owned());
    write_or_wait(backup, status, wait)
}
