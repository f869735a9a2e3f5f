//! Finds the snapshots to restore.

use std::collections::BTreeSet;

use crate::{
    clients::restic::Restic,
    core::{
        restic::{arguments, messages::Snapshot},
        select,
        task::{Answer, Failure, Outcome, ResolveTask},
    },
};

pub(super) async fn run(restic: &Restic, task: &ResolveTask) -> Result<Answer, Failure> {
    let hosts: BTreeSet<&str> = task.volumes.iter().map(|volume| volume.host.as_str()).collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let snapshots: Vec<Snapshot> = restic.json(&arguments::snapshots(&hosts)).await?;
    let chosen = task.volumes.iter().map(|volume| select::choose(&snapshots, volume, &task.selection, &task.not_good));
    Ok(Answer {
        repository: restic.repository_id().await,
        outcome: Outcome::Resolved(chosen.collect::<Result<_, _>>()?),
    })
}
