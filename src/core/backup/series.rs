//! What Prometheus scrapes about each `VolumeBackup`: read from its status, so that it is there right after a start and
//! vanishes with the object.

use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupRepositoryStatus, RepositoryKey, RunRecord, RunResult, VolumeBackup, VolumeBackupStatus},
        common::{ConditionStatus, Time},
    },
    core::{
        conditions,
        series::{Labels, Metric, Page, with},
    },
};

use super::{FRESH, running};

const READY: Metric = Metric("volume_backup_ready", "Whether a VolumeBackup is ready, with the condition's reason");
const RUNNING: Metric = Metric("volume_backup_running", "Whether a run goes on");
const PLACE: Metric = Metric("volume_backup_queue_place", "The place of a run that waits, 0 where none does");
const NEXT: Metric = Metric("volume_backup_next_run_timestamp_seconds", "When a VolumeBackup is due");
const SUCCESS: Metric = Metric("volume_backup_last_success_timestamp_seconds", "When the last good run ended");
const IS_FRESH: Metric = Metric("volume_backup_fresh", "Whether a good backup was made when due");
const SUCCEEDED: Metric = Metric("volume_backup_last_run_succeeded", "Whether the last run was good, with its result");
const FAILURES: Metric = Metric("volume_backup_consecutive_failures", "Runs since the last good one, at most ten");
const SECONDS: Metric = Metric("volume_backup_last_run_duration_seconds", "Seconds that the last run's mover took");
const FILES: Metric = Metric("volume_backup_last_run_files", "Files in the last run's snapshot");
const BYTES: Metric = Metric("volume_backup_last_run_bytes", "Bytes in the last run's snapshot");
const ADDED: Metric = Metric("volume_backup_last_run_added_bytes", "Bytes that the last run added to the repository");

/// Adds what these objects say. `place` is the place of one that waits, from 1, by its uid.
pub fn measure(
    page: &mut Page,
    backups: &[impl AsRef<VolumeBackup>],
    place: impl Fn(&str) -> Option<usize>,
    now: Time,
) {
    for backup in backups.iter().map(AsRef::as_ref) {
        let Some(status) = &backup.status else { continue };
        let labels: Labels = vec![("namespace", backup.namespace().unwrap_or_default()), ("name", backup.name_any())];
        let (is_ready, reason) = conditions::ready(&status.conditions);
        page.add(READY, with(&labels, [("reason", reason)]), i64::from(is_ready));
        page.add(RUNNING, labels.clone(), i64::from(running(backup, now).is_some()));
        let place = backup.metadata.uid.as_deref().and_then(&place).unwrap_or_default();
        page.add(PLACE, labels.clone(), i64::try_from(place).unwrap_or(i64::MAX));
        page.add_some(NEXT, &labels, status.next_run.map(|time| time.timestamp()));
        for repository in &status.repositories {
            of_repository(page, &labels, status, repository);
        }
    }
}

fn of_repository(page: &mut Page, labels: &Labels, status: &VolumeBackupStatus, repository: &BackupRepositoryStatus) {
    let key = &repository.repository;
    let labels = with(labels, [("repository_kind", key.kind.as_str()), ("repository", &key.name)]);
    page.add_some(SUCCESS, &labels, repository.last_success.map(|time| time.timestamp()));
    if let Some(fresh) = conditions::get(&repository.conditions, FRESH) {
        let is_fresh = fresh.status == ConditionStatus::True;
        page.add(IS_FRESH, with(&labels, [("reason", &fresh.reason)]), i64::from(is_fresh));
    }
    let runs = runs(status, key);
    let failures = runs.iter().take_while(|records| worst(records) != RunResult::Succeeded).count();
    page.add(FAILURES, labels.clone(), i64::try_from(failures).unwrap_or(i64::MAX));
    let Some(last) = runs.first() else { return };
    let result = worst(last);
    page.add(SUCCEEDED, with(&labels, [("result", result.as_str())]), i64::from(result == RunResult::Succeeded));
    for record in last {
        let labels = with(&labels, [("claim", &record.claim)]);
        page.add_some(SECONDS, &labels, record.seconds);
        page.add_some(FILES, &labels, record.files);
        page.add_some(BYTES, &labels, record.bytes);
        page.add_some(ADDED, &labels, record.added);
    }
}

/// The records of each run into a repository, the newest run first.
fn runs<'a>(status: &'a VolumeBackupStatus, key: &RepositoryKey) -> Vec<Vec<&'a RunRecord>> {
    let mut runs: Vec<Vec<&RunRecord>> = vec![];
    for record in status.runs.iter().filter(|record| record.repository == *key) {
        match runs.last_mut() {
            Some(run) if run[0].id == record.id => run.push(record),
            _ => runs.push(vec![record]),
        }
    }
    runs
}

fn worst(records: &[&RunRecord]) -> RunResult {
    records.iter().map(|record| record.result).max().unwrap_or(RunResult::Failed)
}
