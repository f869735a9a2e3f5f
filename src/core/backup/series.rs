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
        series::{Family, Labels, with},
    },
};

use super::{FRESH, results, running};

/// The families of these objects. `place` is the place of one that waits, from 1, by its uid.
pub fn families(backups: &[impl AsRef<VolumeBackup>], place: impl Fn(&str) -> Option<usize>, now: Time) -> Vec<Family> {
    let mut page = Page::default();
    for backup in backups {
        page.add(backup.as_ref(), &place, now);
    }
    page.all()
}

struct Page {
    ready: Family,
    running: Family,
    place: Family,
    next: Family,
    success: Family,
    fresh: Family,
    succeeded: Family,
    failures: Family,
    seconds: Family,
    files: Family,
    bytes: Family,
    added: Family,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            ready: Family::new("volume_backup_ready", "Whether a VolumeBackup is ready, with the condition's reason"),
            running: Family::new("volume_backup_running", "Whether a run goes on"),
            place: Family::new("volume_backup_queue_place", "The place of a run that waits, 0 where none does"),
            next: Family::new("volume_backup_next_run_timestamp_seconds", "When a VolumeBackup is due"),
            success: Family::new("volume_backup_last_success_timestamp_seconds", "When the last good run ended"),
            fresh: Family::new(
                "volume_backup_fresh",
                "Whether there is a good backup of one of the last two due times",
            ),
            succeeded: Family::new(
                "volume_backup_last_run_succeeded",
                "Whether the last run was good, with its result",
            ),
            failures: Family::new("volume_backup_consecutive_failures", "Runs since the last good one, at most ten"),
            seconds: Family::new("volume_backup_last_run_duration_seconds", "Seconds that the last run's mover took"),
            files: Family::new("volume_backup_last_run_files", "Files in the last run's snapshot"),
            bytes: Family::new("volume_backup_last_run_bytes", "Bytes in the last run's snapshot"),
            added: Family::new("volume_backup_last_run_added_bytes", "Bytes that the last run added to the repository"),
        }
    }
}

impl Page {
    fn all(self) -> Vec<Family> {
        let Self { ready, running, place, next, success, fresh, succeeded, failures, seconds, files, bytes, added } =
            self;
        vec![ready, running, place, next, success, fresh, succeeded, failures, seconds, files, bytes, added]
    }

    fn add(&mut self, backup: &VolumeBackup, place: impl Fn(&str) -> Option<usize>, now: Time) {
        let Some(status) = &backup.status else { return };
        let labels: Labels = vec![("namespace", backup.namespace().unwrap_or_default()), ("name", backup.name_any())];
        let (is_ready, reason) = conditions::ready(&status.conditions);
        self.ready.add(with(&labels, [("reason", reason)]), i64::from(is_ready));
        self.running.add(labels.clone(), i64::from(running(backup, now).is_some()));
        let place = backup.metadata.uid.as_deref().and_then(place).unwrap_or_default();
        self.place.add(labels.clone(), i64::try_from(place).unwrap_or(i64::MAX));
        self.next.add_some(&labels, status.next_run.map(|time| time.timestamp()));
        for repository in &status.repositories {
            self.of_repository(&labels, status, repository);
        }
    }

    fn of_repository(&mut self, labels: &Labels, status: &VolumeBackupStatus, repository: &BackupRepositoryStatus) {
        let key = &repository.repository;
        let labels = with(labels, [("repository_kind", key.kind.as_str()), ("repository", &key.name)]);
        self.success.add_some(&labels, repository.last_success.map(|time| time.timestamp()));
        if let Some(fresh) = conditions::get(&repository.conditions, FRESH) {
            self.fresh
                .add(with(&labels, [("reason", &fresh.reason)]), i64::from(fresh.status == ConditionStatus::True));
        }
        let runs = runs(status, key);
        let failures = runs.iter().take_while(|records| worst(records) != RunResult::Succeeded).count();
        self.failures.add(labels.clone(), i64::try_from(failures).unwrap_or(i64::MAX));
        let Some(last) = runs.first() else { return };
        let result = worst(last);
        self.succeeded.add(with(&labels, [("result", result.as_str())]), i64::from(result == RunResult::Succeeded));
        for record in last {
            let labels = with(&labels, [("claim", &record.claim)]);
            self.seconds.add_some(&labels, record.seconds);
            self.files.add_some(&labels, record.files);
            self.bytes.add_some(&labels, record.bytes);
            self.added.add_some(&labels, record.added);
        }
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
    let all = records.iter().map(|record| record.result);
    all.max_by_key(|result| results::badness(*result)).unwrap_or(RunResult::Failed)
}
