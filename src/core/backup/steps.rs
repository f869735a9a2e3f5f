//! Steps that write the status, or wait.

use std::time::Duration;

use crate::api::backup::{VolumeBackup, VolumeBackupStatus};

use super::Step;

/// How often is looked at what the cluster is about to do, should no watch tell.
pub(super) const SOON: Duration = Duration::from_secs(2);
/// What is said while the snapshot is not ready.
pub(super) const SNAPSHOTTING: &str = "a snapshot is made";

/// Writes a change of the status.
pub(super) fn write(backup: &VolumeBackup, change: impl FnOnce(&mut VolumeBackupStatus)) -> Step {
    let mut status = backup.status.clone().unwrap_or_default();
    change(&mut status);
    Step::Write(Box::new(status), None)
}

/// Says something in the status, once, and waits.
pub(super) fn say(backup: &VolumeBackup, message: &str, wait: Duration) -> Step {
    let mut status = backup.status.clone().unwrap_or_default();
    status.message = Some(message.to_owned());
    write_or_wait(backup, status, wait)
}

/// Writes the status if it says something new, or waits.
pub(super) fn write_or_wait(backup: &VolumeBackup, status: VolumeBackupStatus, wait: Duration) -> Step {
    if backup.status.as_ref() == Some(&status) { Step::Wait(wait) } else { Step::Write(Box::new(status), None) }
}
