//! When a backup is suspicious: it has much less than the last good one.

use crate::{
    api::backup::{RepositoryKey, RunRecord, RunResult, VolumeBackup},
    core::{names::short, size::size, task::Guard},
};

use super::accept_command;

/// Default of `shrinkGuard`, in percent.
const SHRINK_GUARD: i64 = 50;

/// What guards the next backup of a claim, where there is a good one.
pub(super) fn of(backup: &VolumeBackup, claim: &str, key: &RepositoryKey) -> Option<Guard> {
    let percent = backup.spec.shrink_guard.as_deref().and_then(|guard| guard.trim_end_matches('%').parse().ok());
    let runs = &backup.status.as_ref()?.runs;
    let is_good =
        |last: &&RunRecord| last.result == RunResult::Succeeded && last.claim == claim && last.repository == *key;
    let last = runs.iter().find(is_good)?;
    Some(Guard {
        claim: claim.to_owned(),
        files: last.files.unwrap_or_default(),
        bytes: last.bytes.unwrap_or_default(),
        percent: percent.unwrap_or(SHRINK_GUARD),
    })
}

/// Why a run is suspicious.
pub(super) fn shrunk(backup: &VolumeBackup, record: &RunRecord) -> Option<String> {
    let guard = of(backup, &record.claim, &record.repository)?;
    let (files, bytes) = (record.files.unwrap_or_default(), record.bytes.unwrap_or_default());
    if !guard.is_shrunk(files, bytes) {
        return None;
    }
    let id = short(record.snapshot.as_deref().unwrap_or_default());
    Some(format!(
        "claim {} had {} files ({}) and now has {files} ({}): the snapshot {id} is kept but does not count as good, and nothing is forgotten. If that is right, accept it: {}",
        record.claim,
        guard.files,
        size(guard.bytes),
        size(bytes),
        accept_command(backup, id)
    ))
}
