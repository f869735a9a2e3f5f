//! What the status says of snapshots, for whoever chooses among those of a repository.

use crate::api::backup::{RepositoryKey, RunResult, VolumeBackup};

/// Snapshots of the last runs that do not count as good. Where a run stored nothing new, its snapshot is an older one.
pub(crate) fn not_good_snapshots(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<String> {
    let runs = backup.status.iter().flat_map(|status| &status.runs);
    let bad = runs.filter(|run| run.repository == *key && run.result != RunResult::Succeeded);
    bad.filter_map(|run| run.snapshot.clone()).collect()
}

/// Snapshots that were accepted as good, which the base's catalogue does not know yet.
pub(crate) fn accepted_snapshots(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<String> {
    let runs = backup.status.iter().flat_map(|status| &status.runs);
    runs.filter(|run| run.accepted && run.repository == *key).filter_map(|run| run.snapshot.clone()).collect()
}
