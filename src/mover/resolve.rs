//! Finds the snapshots to restore.

use std::collections::BTreeSet;

use super::catalogue;
use crate::{
    clients::restic::Restic,
    core::{
        restic::{arguments, messages::Snapshot},
        select,
        task::{Answer, Failure, Outcome, ResolveTask},
    },
};

pub(super) async fn run(restic: &Restic, base: Option<&Restic>, task: &ResolveTask) -> Result<Answer, Failure> {
    let hosts: BTreeSet<&str> = task.volumes.iter().map(|volume| volume.host.as_str()).collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let snapshots: Vec<Snapshot> = restic.json(&arguments::snapshots(&hosts)).await?;
    // Before the base is opened: it would be one of two then.
    let repository = restic.repository_id().await;
    // A snapshot that is named is taken, good or not.
    let base = base.filter(|_| task.selection.id.is_none());
    let not_good = catalogue::not_good(base, &task.not_good, &task.accepted).await?;
    let chosen = task.volumes.iter().map(|volume| select::choose(&snapshots, volume, &task.selection, &not_good));
    Ok(Answer::new(repository, Outcome::Resolved(chosen.collect::<Result<_, _>>()?)))
}
