//! Who waits to move data, in the order of turns.

use kube::ResourceExt;

use crate::{
    api::{
        annotations,
        backup::{RunTrigger, VolumeBackup},
        common::Time,
        restore::{RestorePhase, VolumeRestore, VolumeRestoreStatus},
    },
    core::{
        backup, conditions,
        queue::{self, Running, Urgency, Waiting},
        time,
    },
};

use super::{QueueRow, Seen};

/// What waits: first what has a place in the queue, then the restores that wait for another one of the same claims.
///
/// The queue itself is in the controller's memory. The objects tell everything that orders it but one thing: when
/// somebody asked for a backup, unless the annotation's value is that time, as Flux writes it and so do we.
pub(super) fn queue(seen: &Seen, whole: bool, now: Time) -> Vec<QueueRow> {
    let mut waiting: Vec<(Waiting, QueueRow)> = vec![];
    for backup in seen.backups.iter().filter(|backup| backup::is_queued(backup, now)) {
        waiting.push(of_backup(backup, now));
    }
    let (mut later, mut running) = (vec![], backup::with_places(&seen.backups, now));
    for restore in &seen.restores {
        let Some(status) = &restore.status else { continue };
        match status.phase {
            Some(RestorePhase::Queued) if status.volumes.is_empty() => later.push(of_restore(restore, now).1),
            Some(RestorePhase::Queued) => waiting.push(of_restore(restore, now)),
            Some(RestorePhase::Restoring | RestorePhase::Checking) => running.push(Running {
                uid: restore.uid().unwrap_or_default(),
                namespace: restore.namespace().unwrap_or_default(),
                repositories: vec![],
            }),
            _ => {}
        }
    }
    let all: Vec<Waiting> = waiting.iter().map(|(of, _)| of.clone()).collect();
    let order = queue::order(&running, &all, now);
    let place = |uid: &str| order.iter().position(|of| of.uid == uid).unwrap_or_default() + 1;
    waiting.sort_by_key(|(of, _)| place(&of.uid));
    let placed = waiting.into_iter().map(|(of, row)| QueueRow { place: whole.then(|| place(&of.uid)), ..row });
    placed.chain(later).collect()
}

fn of_backup(backup: &VolumeBackup, now: Time) -> (Waiting, QueueRow) {
    let status = backup.status.clone().unwrap_or_default();
    let forced = backup.annotations().get(annotations::FORCE_AT);
    let is_forced = forced.is_some()
        && forced == backup.annotations().get(annotations::REQUESTED_AT)
        && forced != status.last_handled_force_at.as_ref();
    let asked_at = forced.and_then(|value| value.parse::<Time>().ok());
    let (manual, since) = match &status.run {
        // It waits for its next attempt.
        Some(run) => (run.trigger == RunTrigger::Manual, run.results.iter().map(|record| record.time).max()),
        None if is_forced => (true, asked_at),
        None => (false, status.next_run),
    };
    let since = since.filter(|since| *since <= now);
    let urgency = if manual { Urgency::Manual } else { Urgency::Scheduled };
    let message = status.message.unwrap_or_default();
    entry(backup, backup::KIND, urgency, since, message, now)
}

fn of_restore(restore: &VolumeRestore, now: Time) -> (Waiting, QueueRow) {
    let since = restore.creation_timestamp().as_ref().map(time::from_k8s);
    let ready = |status: &VolumeRestoreStatus| conditions::get(&status.conditions, conditions::READY).cloned();
    let message = restore.status.as_ref().and_then(ready);
    let message = message.map(|ready| ready.message).unwrap_or_default();
    entry(restore, "VolumeRestore", Urgency::Restore, since, message, now)
}

fn entry(
    object: &impl ResourceExt,
    kind: &'static str,
    urgency: Urgency,
    since: Option<Time>,
    message: String,
    now: Time,
) -> (Waiting, QueueRow) {
    let (uid, namespace) = (object.uid().unwrap_or_default(), object.namespace().unwrap_or_default());
    let turn = match urgency {
        Urgency::Restore => "restore",
        Urgency::Manual => "asked for",
        Urgency::Scheduled => "scheduled",
    };
    let row =
        QueueRow { place: None, kind, namespace: namespace.clone(), name: object.name_any(), turn, since, message };
    (Waiting { uid, namespace, urgency, since: since.unwrap_or(now), repositories: vec![] }, row)
}
