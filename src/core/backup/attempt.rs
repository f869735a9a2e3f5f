//! How an attempt ends, and whether there is another one.

use crate::{
    api::{
        backup::{
            BackupPhase, DEFAULT_DEADLINE, DEFAULT_RETRIES, DEFAULT_STAGING_TIMEOUT, RepositoryKey, Run, RunRecord,
            RunResult, VolumeBackup, VolumeBackupStatus,
        },
        common::Time,
    },
    core::problem::Problem,
};

use super::{Note, Observed, Step, hooks, others, results};

/// Delay before the first retry; it doubles with each.
const RETRY: u32 = 30;
/// The longest delay before a retry, in seconds.
const LONGEST_RETRY: u32 = 600;

/// The attempt ends for every repository that has no result yet.
pub(super) fn fail(backup: &VolumeBackup, run: &Run, seen: &Observed, problem: &Problem, now: Time) -> Step {
    let mut run = run.clone();
    for key in run.repositories.clone() {
        if !is_done(&run, &key) {
            run.results.extend(results::failed(&run, &key, problem, now));
        }
    }
    end(backup, &run, seen, now)
}

/// The attempt has ended: its results are entered, or it is said that it will be tried again.
pub(super) fn end(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Step {
    let mut run = run.clone();
    run.progress = None;
    hooks::tell(&mut run);
    run.volumes = staged_volumes(seen);
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
        let other = others::learn(backup, &mut status, &run, seen, now);
        status.message = Some("what the run needed is deleted".to_owned());
        let good = worst.is_some_and(|worst| worst.result == RunResult::Succeeded);
        note = other.filter(|_| good).or_else(|| worst.map(note_of));
    }
    status.run = Some(run);
    Step::Write(Box::new(status), note)
}

/// The volumes of the staging claims.
pub(super) fn staged_volumes(seen: &Observed) -> Vec<String> {
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
    for (key, answer) in seen.answers(run) {
        let stored = run.results.iter().any(|record| record.repository == *key && record.snapshot.is_some());
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
pub(super) fn retry_at(backup: &VolumeBackup, run: &Run, now: Time) -> Option<Time> {
    let ended = run.results.iter().map(|record| record.time).max()?;
    let delay = RETRY.saturating_mul(1 << (run.attempt - 1).min(10)).min(LONGEST_RETRY);
    let at = ended + chrono::Duration::seconds(delay.into());
    let in_time = at.max(now) < run.started_at + deadline(backup);
    let worth = run.results.iter().any(results::is_worth_a_retry);
    (worth && run.attempt <= retries(backup) && in_time && !backup.spec.suspend).then_some(at)
}

/// Whether every claim has a result of this attempt for that repository.
pub(super) fn is_done(run: &Run, key: &RepositoryKey) -> bool {
    run.results.iter().any(|record| record.id == run.id && record.repository == *key)
}

pub(super) fn is_late(backup: &VolumeBackup, run: &Run, now: Time) -> bool {
    now >= run.attempt_started_at + hooks::longest(run) + timeout(backup)
}

pub(super) fn staging_timeout(backup: &VolumeBackup) -> crate::api::common::Duration {
    backup.spec.staging_timeout.unwrap_or(DEFAULT_STAGING_TIMEOUT)
}

pub(super) fn timeout(backup: &VolumeBackup) -> chrono::Duration {
    staging_timeout(backup).as_chrono()
}

pub(super) fn deadline(backup: &VolumeBackup) -> chrono::Duration {
    backup.spec.deadline.unwrap_or(DEFAULT_DEADLINE).as_chrono()
}

fn retries(backup: &VolumeBackup) -> u32 {
    backup.spec.retries.unwrap_or(DEFAULT_RETRIES)
}
