//! A run that is due waits for its place among the movers, and while maintenance has its repository for itself.

use std::time::Duration;

use chrono::SecondsFormat;
use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupPhase, RepositoryKey, RunTrigger, VolumeBackup, VolumeBackupStatus},
        common::Time,
        repository::{Chore, DEFAULT_BACKUPS},
    },
    core::queue::{Running, Urgency, Waiting},
};

use super::{Observed, Step, running, steps::write_or_wait};

/// How often a run that waits asks again, in case that nobody told it of a free place.
pub(super) const QUEUE: Duration = Duration::from_secs(15);

/// It has to wait: why is written once.
pub(super) fn queue(backup: &VolumeBackup, mut status: VolumeBackupStatus, why: &str) -> Step {
    status.phase = Some(BackupPhase::Queued);
    // Written once: why there was no place at first is enough.
    if backup.status.as_ref().and_then(|status| status.phase) != Some(BackupPhase::Queued) {
        status.message = Some(format!("waits for its place: {why}"));
    }
    write_or_wait(backup, status, QUEUE)
}

/// Why a run has to wait although there is a place: maintenance has the restic repository for itself.
pub(super) fn upkeep<'a>(
    status: &VolumeBackupStatus,
    seen: &Observed,
    mut keys: impl Iterator<Item = &'a RepositoryKey>,
) -> Option<String> {
    keys.find_map(|key| {
        let at_work = seen.repositories.iter().find(|seen| seen.key == *key)?.at_work.as_ref()?;
        let known = status.repositories.iter().find(|known| known.repository == *key)?;
        let concerned = known.targets.iter().any(|target| target.url == at_work.url);
        let what = match at_work.chore {
            Chore::Retention => "snapshots are forgotten in",
            Chore::Check => "a check runs in",
        };
        concerned.then(|| {
            format!("{what} {} since {}", at_work.url, at_work.since.to_rfc3339_opts(SecondsFormat::Secs, true))
        })
    })
}

/// Who asks for a place, in each of the repositories that the run would go to.
pub(super) fn waiting<'a>(
    backup: &VolumeBackup,
    seen: &Observed,
    trigger: RunTrigger,
    since: Time,
    repositories: impl Iterator<Item = &'a RepositoryKey>,
) -> Waiting {
    let place = |key: &RepositoryKey| {
        let spec = seen.repositories.iter().find(|seen| seen.key == *key)?.state.as_ref().ok().map(|(spec, _)| spec);
        let limit = spec.and_then(|spec| spec.limits.as_ref()?.backups).unwrap_or(DEFAULT_BACKUPS);
        Some((key.clone(), usize::try_from(limit).unwrap_or(usize::MAX)))
    };
    Waiting {
        uid: backup.uid().unwrap_or_default(),
        namespace: backup.namespace().unwrap_or_default(),
        urgency: if trigger == RunTrigger::Manual { Urgency::Manual } else { Urgency::Scheduled },
        since,
        repositories: repositories.filter_map(place).collect(),
    }
}

/// Those that have a place already, as the objects say themselves.
pub fn with_places<'a>(backups: impl IntoIterator<Item = &'a VolumeBackup>, now: Time) -> Vec<Running> {
    let running = backups.into_iter().filter_map(|backup| {
        let run = running(backup, now)?;
        Some(Running { uid: backup.uid()?, namespace: backup.namespace()?, repositories: run.repositories.clone() })
    });
    running.collect()
}
