//! What the status says of snapshots, for whoever chooses among those of a repository.

use crate::{
    api::backup::{RepositoryKey, RunRecord, RunResult, VolumeBackup},
    core::task::Verdict,
};

/// Snapshots of the last runs that do not count as good. Where a run stored nothing new, its snapshot is an older one.
pub(crate) fn not_good_snapshots(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<String> {
    let runs = backup.status.iter().flat_map(|status| &status.runs);
    let bad = runs.filter(|run| run.repository == *key && run.result != RunResult::Succeeded);
    bad.filter_map(|run| run.snapshot.clone()).collect()
}

/// What the base's catalogue does not know yet of the snapshots of the last runs.
pub(super) fn untold(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<Verdict> {
    let runs = backup.status.iter().flat_map(|status| &status.runs).filter(|run| run.untold && run.repository == *key);
    let verdict =
        |run: &RunRecord| Some(Verdict { snapshot: run.snapshot.clone()?, good: run.result == RunResult::Succeeded });
    runs.filter_map(verdict).collect()
}

/// Snapshots that count as good, which the base's catalogue does not know yet.
pub(crate) fn accepted_snapshots(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<String> {
    untold(backup, key).into_iter().filter(|verdict| verdict.good).map(|verdict| verdict.snapshot).collect()
}
