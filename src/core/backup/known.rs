//! What the status says of snapshots, for whoever chooses among those of a repository.

use crate::api::backup::{RepositoryKey, RunResult, VolumeBackup};

/// Snapshots of the last runs that do not count as good. Where a run stored nothing new, its snapshot is an older one.
pub(crate) fn not_good_snapshots(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<String> {
    let runs = backup.status.iter().flat_map(|status| &status.runs);
    let bad = runs.filter(|run| run.repository == *key && run.result != RunResult::Succeeded);
    bad.filter_map(|run| run.snapshot.clone()).collect()
}

/// The newest good snapshots.
pub(crate) fn good_snapshots(backup: &VolumeBackup, key: &RepositoryKey) -> Vec<String> {
    let snapshots = backup.status.iter().flat_map(|status| &status.snapshots);
    snapshots.filter(|known| known.repository == *key).map(|known| known.id.clone()).collect()
}
