//! Another program that writes what this `VolumeBackup` writes: it is told in a condition of the repository's state,
//! until it has stopped or someone accepts what it wrote.

use kube::ResourceExt;

use crate::{
    api::{
        annotations,
        backup::{BackupRepositoryStatus, RepositoryKey, Run, VolumeBackup, VolumeBackupStatus},
        common::{ConditionStatus, Time},
    },
    core::{
        conditions, names, others,
        task::{Others, Outcome, Watch, Written},
    },
};

use super::{Note, Observed, accepted, asked_to_accept};

/// True while another program writes the same history; absent otherwise.
pub const OTHER_WRITER: &str = "OtherWriter";
/// Its reason.
const REASON: &str = "HistoryIsShared";

/// Reason, meaning and remedy, for the documents.
pub const fn other_writer() -> (&'static str, &'static str, &'static str) {
    (
        REASON,
        "Another program, such as VolSync, writes snapshots of the same host and path: nothing is forgotten meanwhile.",
        "Stop one of the two, and then accept what was written, as the message says.",
    )
}

/// By what the snapshots of another program are told from what came before us.
pub(crate) fn watch(backup: &VolumeBackup, key: &RepositoryKey, cluster: &str) -> Watch {
    let known = backup.status.iter().flat_map(|status| &status.snapshots);
    Watch {
        cluster: names::cluster_hash(cluster),
        since: known.filter(|snapshot| snapshot.repository == *key).map(|snapshot| snapshot.time).min(),
        accepted: backup.annotations().get(annotations::ACCEPT).and_then(|value| others::accepted(value)),
    }
}

/// Enters what the movers of a run found out. What has begun is worth telling.
pub(super) fn learn(
    backup: &VolumeBackup,
    status: &mut VolumeBackupStatus,
    run: &Run,
    seen: &Observed,
    now: Time,
) -> Option<Note> {
    let mut note = None;
    for (key, answer) in seen.answers(run) {
        let Outcome::BackedUp(volumes) = &answer.outcome else { continue };
        let Some(known) = status.repositories.iter_mut().find(|known| known.repository == *key) else { continue };
        for volume in volumes {
            match &volume.others {
                None => {}
                Some(Others::None) => known.conditions.retain(|condition| condition.type_ != OTHER_WRITER),
                Some(Others::Wrote(written)) => {
                    let begins = conditions::get(&known.conditions, OTHER_WRITER).is_none();
                    let message = tell(backup, known, &volume.claim, written, now);
                    if begins {
                        note = message.map(|message| Note { warning: true, reason: OTHER_WRITER.to_owned(), message });
                    }
                }
            }
        }
    }
    note
}

fn tell(
    backup: &VolumeBackup,
    known: &mut BackupRepositoryStatus,
    claim: &str,
    written: &Written,
    now: Time,
) -> Option<String> {
    let target = known.targets.iter().find(|target| target.claim == claim)?;
    let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
    let message = others::words(&target.url, (&target.host, &target.path), (&namespace, &name), written);
    let generation = backup.metadata.generation;
    conditions::set(&mut known.conditions, OTHER_WRITER, ConditionStatus::True, REASON, &message, generation, now);
    Some(message)
}

/// What someone accepted is past.
pub(super) fn accept(backup: &VolumeBackup, status: &mut VolumeBackupStatus) {
    for known in &mut status.repositories {
        known.conditions.retain(|condition| {
            let asked = asked_to_accept(backup, &condition.message).filter(|_| condition.type_ == OTHER_WRITER);
            asked.is_none_or(|id| !accepted(backup, id))
        });
    }
}

/// What an idle object says besides.
pub(super) fn mention(status: &VolumeBackupStatus) -> Option<String> {
    let known = status.repositories.iter().find(|known| conditions::get(&known.conditions, OTHER_WRITER).is_some())?;
    Some(format!(
        "another program writes the same history in {}, see its condition {OTHER_WRITER}",
        known.repository.name
    ))
}
