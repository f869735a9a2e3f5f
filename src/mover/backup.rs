//! Backs volumes up, one after the other.

use std::{path::Path, time::Instant};

use chrono::Utc;
use tokio::sync::mpsc;

use super::{catalogue, create, lock, report::Report, volume};
use crate::{
    clients::restic::Restic,
    core::{
        catalogue::of_run,
        others,
        restic::{
            arguments::{self, Locks, Root},
            failure::Ending,
            messages::{Config, Snapshot, Summary},
        },
        task::{Answer, BackedUp, BackupTask, BackupVolume, Failure, FailureKind, Others, Outcome, ROOT_TAG},
    },
};

pub(super) async fn run(restic: &Restic, base: Option<&Restic>, task: &BackupTask) -> Result<Answer, Failure> {
    let mut report = Report::new(task.volumes.len());
    let (mut volumes, mut blocked) = (vec![], None);
    let mut created = None;
    for volume in &task.volumes {
        let started = Instant::now();
        let result = match &blocked {
            Some(failure) => Err(Failure::clone(failure)),
            None => Run { restic, base, task, report: &mut report, created: &mut created }.back_up(volume).await,
        };
        match result {
            Ok(mut entry) => {
                entry.seconds = i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX);
                volumes.push(entry);
            }
            // Nothing was stored, and nothing will be.
            Err(failure) if volumes.is_empty() && is_of_the_repository(failure.kind) => return Err(failure),
            Err(failure) => {
                blocked = is_of_the_repository(failure.kind).then(|| failure.clone());
                volumes.push(BackedUp { claim: volume.claim.clone(), failure: Some(failure), ..BackedUp::default() });
            }
        }
        report.next_volume();
    }
    let repository = match created {
        Some(id) => Some(id),
        None => restic.repository_id().await,
    };
    let untold = !catalogue::tell(base, &of_run(task, &volumes)).await;
    for volume in &mut volumes {
        volume.untold = untold;
    }
    Ok(Answer::new(repository, Outcome::BackedUp(volumes)))
}

/// Whether the next volume would fail in the same way.
const fn is_of_the_repository(kind: FailureKind) -> bool {
    use FailureKind::{BaseChanged, Interrupted, Locked, NoRepository, Unreachable, WrongPassword};
    matches!(kind, NoRepository | BaseChanged | Locked | WrongPassword | Unreachable | Interrupted)
}

fn last_snapshot(all: &[Snapshot], volume: &BackupVolume) -> Option<Snapshot> {
    let history = all.iter().filter(|snapshot| snapshot.is_of(&volume.host, &volume.path));
    history.max_by_key(|snapshot| snapshot.time).cloned()
}

struct Run<'a> {
    restic: &'a Restic,
    base: Option<&'a Restic>,
    task: &'a BackupTask,
    report: &'a mut Report,
    /// The id of the repository, where this run created it.
    created: &'a mut Option<String>,
}

impl Run<'_> {
    /// One start of restic in the usual case; two where nothing has changed, to find the snapshot that says so, or where
    /// another program may write the same history.
    async fn back_up(&mut self, volume: &BackupVolume) -> Result<BackedUp, Failure> {
        let root = volume::root(Path::new(&volume.path)).map_err(|error| {
            super::fatal(format!("the volume of claim {} cannot be read at {}: {error}", volume.claim, volume.path))
        })?;
        let mut stored = self.store(volume, root, true).await;
        if stored.as_ref().is_err_and(|failure| failure.kind == FailureKind::NoRepository) {
            *self.created = Some(self.create_repository().await?);
            stored = self.store(volume, root, true).await;
        }
        let (mut ending, mut summary) = stored?;
        let (mut unchanged, mut listed) = (None, None);
        if summary.snapshot_id.is_none() {
            let all = self.snapshots(volume).await?;
            unchanged = last_snapshot(&all, volume).filter(|last| last.tag(ROOT_TAG) == Some(&root.to_tag()));
            listed = Some(all);
            if unchanged.is_none() {
                // Mode or owner of the root have changed, which the tree does not show.
                (ending, summary) = self.store(volume, root, false).await?;
            }
        }
        Ok(BackedUp {
            claim: volume.claim.clone(),
            unchanged: unchanged.is_some(),
            snapshot: summary.snapshot_id.or_else(|| unchanged.map(|last| last.id)),
            files: summary.total_files_processed,
            bytes: summary.total_bytes_processed,
            added: summary.data_added_packed,
            seconds: 0,
            untold: false,
            // What vanished meanwhile is not missing.
            unread: if ending.is_success() { 0 } else { ending.items.count() },
            failure: (!ending.is_success()).then(|| ending.failure()),
            others: self.others(volume, listed).await,
        })
    }

    async fn store(&mut self, volume: &BackupVolume, root: Root, skip: bool) -> Result<(Ending, Summary), Failure> {
        let restic = self.restic;
        lock::past_others(restic, &self.task.unlock, async |locks| self.start(volume, root, skip, locks).await).await
    }

    /// Starts restic. A snapshot that lacks what could not be read (exit code 3) is a snapshot.
    async fn start(
        &mut self,
        volume: &BackupVolume,
        root: Root,
        skip: bool,
        locks: Locks,
    ) -> Result<(Ending, Summary), Failure> {
        let (sender, output) = mpsc::channel(64);
        let arguments = arguments::backup(self.task, volume, root, skip, locks);
        let lines = self.restic.lines(&arguments, Some(Path::new(&volume.path)), sender);
        let (ending, summary) = tokio::join!(lines, self.report.follow(output));
        let ending = ending?;
        match summary {
            Some(summary) if matches!(ending.code, Some(0 | 3)) => Ok((ending, summary)),
            _ => Err(ending.failure()),
        }
    }

    async fn snapshots(&self, volume: &BackupVolume) -> Result<Vec<Snapshot>, Failure> {
        self.restic.json(&arguments::snapshots(&[&volume.host])).await
    }

    /// Whether another program writes the same history, where that is to be looked for. Nothing is lost where it cannot
    /// be found out: the next run looks again.
    async fn others(&self, volume: &BackupVolume, listed: Option<Vec<Snapshot>>) -> Option<Others> {
        let watch = self.task.watch.as_deref()?;
        let all = match listed {
            Some(all) => Ok(all),
            None => self.snapshots(volume).await,
        };
        match all {
            Ok(all) => Some(others::find(&all, &volume.host, &volume.path, watch, Utc::now())),
            Err(problem) => {
                tracing::warn!(%problem, "it cannot be found out whether another program writes the same history");
                None
            }
        }
    }

    /// Creates the repository, if the base proves that this is the right place for it.
    async fn create_repository(&self) -> Result<String, Failure> {
        let failed = |kind, message: String| Err(Failure { kind, message });
        let Some(known) = &self.task.create_under_base else {
            return failed(FailureKind::NoRepository, "there is no repository at the URL".to_owned());
        };
        let Some(base) = self.base else {
            return Err(super::fatal("the URL of the base is not set".to_owned()));
        };
        match base.json::<Config>(&arguments::config()).await {
            Ok(config) if config.id == *known => create::init(self.restic).await,
            Ok(config) => failed(
                FailureKind::BaseChanged,
                format!("the base is another one, {}, than the known {known}: is this the right place?", config.id),
            ),
            Err(failure) if failure.kind == FailureKind::NoRepository => failed(
                FailureKind::BaseChanged,
                format!("the base {known} is gone: is the right place mounted, and the URL right?"),
            ),
            Err(failure) => Err(failure),
        }
    }
}
