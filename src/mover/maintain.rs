//! Applies retention and frees space.

use chrono::Utc;

use super::{catalogue, lock};
use crate::{
    clients::restic::Restic,
    core::{
        others,
        restic::{
            arguments,
            messages::{Snapshot, Stats},
        },
        retention,
        task::{Answer, Failure, MaintainTask, Maintained, Outcome},
    },
};

/// Snapshots that are named in one start of restic.
const AT_ONCE: usize = 500;

/// Nothing to forget takes no exclusive lock.
pub(super) async fn run(restic: &Restic, base: Option<&Restic>, task: &MaintainTask) -> Result<Answer, Failure> {
    let snapshots: Vec<Snapshot> = restic.json(&arguments::snapshots(&[])).await?;
    let (task, held) = others::hold(&snapshots, task, Utc::now());
    // Before the base is opened: it would be one of two then.
    let repository = restic.repository_id().await;
    let mut expired = retention::expired(&snapshots, &task, Utc::now());
    if !expired.is_empty() {
        let not_good = catalogue::not_good(base, &task.not_good, &task.accepted).await?;
        expired = retention::expired(&snapshots, &MaintainTask { not_good, ..task.clone() }, Utc::now());
    }
    let mut batches = expired.chunks(AT_ONCE).peekable();
    while let Some(batch) = batches.next() {
        let last = batches.peek().is_none();
        let forget = lock::past_others(restic, &task.unlock, async |locks| {
            restic.output(&arguments::forget(batch, last, locks)).await
        });
        forget.await.map_err(|mut failure| {
            if failure.message.contains("failed to remove one or more snapshots") {
                failure.message += ": where the server lets these credentials only append, set maintenanceCredentials";
            }
            failure
        })?;
    }
    let stats: Stats = restic.json(&arguments::stats()).await?;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let maintained = Maintained {
        kept: count(snapshots.len() - expired.len()),
        forgotten: count(expired.len()),
        bytes: stats.total_size,
        held,
    };
    Ok(Answer::new(repository, Outcome::Maintained(maintained)))
}
