//! Each object as a row.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt};

use crate::{
    api::{
        backup::{BackupPhase, RepositoryKey, VolumeBackup, VolumeBackupStatus},
        common::{Condition, ConditionStatus, Time},
        labels,
        restore::{RestorePhase, RestoreSource, VolumeRestore},
    },
    core::{
        backup::{self, FRESH, LAST_RUN, OTHER_WRITER},
        conditions, confirm,
        follow::how_far,
        repository::Subject,
        time,
    },
};

use super::{BackupRow, ClaimRow, OrphanRow, RepositoryRow, RestoreRow, Seen};

/// What is said of an object that the operator has not looked at since it was written.
const UNSEEN: &str = "the operator has not looked at it yet";

/// The repository objects: those of the namespaces that are asked for, and the cluster's.
pub(super) fn repositories(seen: &Seen, within: impl Fn(&str) -> bool) -> Vec<RepositoryRow> {
    let is_asked = |subject: &&Subject| subject.metadata.namespace.as_deref().is_none_or(&within);
    let mut rows: Vec<RepositoryRow> = seen.repositories.iter().filter(is_asked).map(repository).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    rows
}

fn repository(subject: &Subject) -> RepositoryRow {
    let status = &subject.status;
    RepositoryRow {
        kind: subject.kind,
        namespace: subject.metadata.namespace.clone(),
        name: subject.name().to_owned(),
        default: subject.spec.default,
        phase: status.phase,
        backups: status.backups.unwrap_or_default(),
        last_reachable: status.last_reachable_at,
        problem: not_ready(&status.conditions, subject.metadata.generation, status.observed_generation),
        asks: !confirm::of_repository(subject).is_empty(),
    }
}

/// What was left by `VolumeBackup`s that are gone.
pub(super) fn orphans(seen: &Seen, within: impl Fn(&str) -> bool) -> Vec<OrphanRow> {
    let is_asked = |subject: &&Subject| subject.metadata.namespace.as_deref().is_none_or(&within);
    let of = |subject: &Subject| {
        let repositories = subject.status.repositories.clone().into_iter().filter(|(_, one)| one.orphaned);
        let (repository, namespace) = (subject.key(), subject.metadata.namespace.clone());
        repositories.map(move |(url, one)| OrphanRow {
            url,
            repository: repository.clone(),
            namespace: namespace.clone(),
            snapshots: one.snapshots,
            bytes: one.bytes,
        })
    };
    let mut rows: Vec<OrphanRow> = seen.repositories.iter().filter(is_asked).flat_map(of).collect();
    rows.sort_by(|a, b| a.url.cmp(&b.url));
    rows
}

/// Why an object is not ready, where it is not.
fn not_ready(of: &[Condition], generation: Option<i64>, observed: i64) -> Option<String> {
    if generation.is_some_and(|generation| generation != observed) {
        return Some(UNSEEN.to_owned());
    }
    match conditions::get(of, conditions::READY) {
        None => Some(UNSEEN.to_owned()),
        Some(ready) if ready.status == ConditionStatus::True => None,
        Some(ready) => Some(format!("{}: {}", ready.reason, ready.message)),
    }
}

/// The `VolumeBackup`s.
pub(super) fn backups(seen: &Seen, within: impl Fn(&str) -> bool) -> Vec<BackupRow> {
    let is_asked = |backup: &&VolumeBackup| within(&backup.namespace().unwrap_or_default());
    let mut rows: Vec<BackupRow> = seen.backups.iter().filter(is_asked).map(backup_row).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    rows
}

fn backup_row(backup: &VolumeBackup) -> BackupRow {
    let status = backup.status.clone().unwrap_or_default();
    let ready = conditions::get(&status.conditions, conditions::READY);
    let works = !matches!(status.phase, None | Some(BackupPhase::Blocked | BackupPhase::Suspended));
    BackupRow {
        namespace: backup.namespace().unwrap_or_default(),
        name: backup.name_any(),
        claims: claims(backup).into_iter().collect(),
        repositories: repository_keys(backup, &status),
        phase: status.phase,
        last_good: last_good(&status),
        next_run: status.next_run.filter(|_| works),
        by_hand: works && status.next_run.is_none() && ready.is_some_and(|ready| ready.reason == "ByHand"),
        stale: status.repositories.iter().any(|of| is_false(&of.conditions, FRESH).is_some()),
        problems: problems(backup, &status),
        doing: doing(&status),
        asks: !confirm::of_backup(backup).is_empty(),
    }
}

/// The claims that a `VolumeBackup` declares, and those that it reads.
fn claims(backup: &VolumeBackup) -> BTreeSet<String> {
    let read = backup.status.iter().flat_map(|status| &status.claims).map(|claim| claim.name.clone());
    let declared = backup::claim_names(backup);
    declared.into_iter().chain(read).collect()
}

fn repository_keys(backup: &VolumeBackup, status: &VolumeBackupStatus) -> Vec<RepositoryKey> {
    let known = status.repositories.iter().map(|of| of.repository.clone()).collect();
    backup::repository_keys(&backup.spec, None).unwrap_or(known)
}

fn last_good(status: &VolumeBackupStatus) -> Option<Time> {
    // None, where one repository has no good backup, is the least of all.
    status.repositories.iter().map(|of| of.last_success).min().unwrap_or(status.last_success)
}

fn is_false<'a>(of: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions::get(of, type_).filter(|condition| condition.status == ConditionStatus::False)
}

/// What is wrong, each thing once.
fn problems(backup: &VolumeBackup, status: &VolumeBackupStatus) -> Vec<String> {
    let mut problems: Vec<String> =
        not_ready(&status.conditions, backup.metadata.generation, status.observed_generation).into_iter().collect();
    let several = status.repositories.len() > 1;
    for of in &status.repositories {
        let place = if several { format!(" into {}", of.repository.name) } else { String::new() };
        if let Some(run) = is_false(&of.conditions, LAST_RUN) {
            problems.push(format!("the last run{place} was not good: {}: {}", run.reason, run.message));
        }
        if let Some(fresh) = is_false(&of.conditions, FRESH) {
            problems.push(format!("{}{place}: {}", fresh.reason, fresh.message));
        }
        if let Some(other) = conditions::get(&of.conditions, OTHER_WRITER) {
            problems.push(format!("{OTHER_WRITER}: {}", other.message));
        }
    }
    problems
}

/// What happens now; nothing where nothing does.
fn doing(status: &VolumeBackupStatus) -> Option<String> {
    match status.phase? {
        BackupPhase::Idle | BackupPhase::Blocked => None,
        BackupPhase::BackingUp => {
            let progress = status.run.as_ref().and_then(|run| run.progress.as_ref());
            progress.map(how_far).or_else(|| status.message.clone())
        }
        _ => status.message.clone(),
    }
}

/// A restore, unless it waits or has ended.
pub(super) fn restore(restore: &VolumeRestore) -> Option<RestoreRow> {
    let status = restore.status.clone().unwrap_or_default();
    let step = match status.phase {
        None | Some(RestorePhase::Resolving) => 1,
        Some(RestorePhase::Restoring) => 2,
        Some(RestorePhase::Checking) => 3,
        Some(RestorePhase::Stopping) => 4,
        Some(RestorePhase::Swapping) => 5,
        Some(RestorePhase::Starting) => RestoreRow::STEPS,
        Some(RestorePhase::Queued | RestorePhase::Succeeded | RestorePhase::Failed) => return None,
    };
    let ready = conditions::get(&status.conditions, conditions::READY);
    Some(RestoreRow {
        namespace: restore.namespace().unwrap_or_default(),
        name: restore.name_any(),
        from: source(&restore.spec.from),
        phase: status.phase,
        step,
        percent: status.progress.map(|progress| progress.percent),
        started: status.started_at,
        message: ready.map_or_else(|| UNSEEN.to_owned(), |ready| ready.message.clone()),
    })
}

impl RestoreRow {
    /// Steps that a restore has, from looking for the snapshot to starting the app.
    pub const STEPS: usize = 6;
}

fn source(from: &RestoreSource) -> String {
    let identity = from.identity.as_ref().map(|identity| format!("{}:{}", identity.host, identity.path));
    let names = [&from.backup, &identity, &from.replication_source, &from.restore];
    names.into_iter().flatten().next().cloned().unwrap_or_default()
}

/// The claims that no `VolumeBackup` names, and how many were not counted.
pub(super) fn unprotected(seen: &Seen, within: impl Fn(&str) -> bool) -> (Option<Vec<ClaimRow>>, usize) {
    let protected: BTreeSet<(String, String)> = seen
        .backups
        .iter()
        .flat_map(|backup| claims(backup).into_iter().map(|claim| (backup.namespace().unwrap_or_default(), claim)))
        .collect();
    let Some(claims) = &seen.claims else { return (None, 0) };
    let (mut rows, mut not_counted) = (vec![], 0);
    for claim in claims.iter().filter(|claim| within(&claim.namespace().unwrap_or_default())) {
        let namespace = claim.namespace().unwrap_or_default();
        if namespace == seen.operator_namespace || claim.labels().contains_key(labels::RUN) {
            not_counted += 1;
        } else if claim.meta().deletion_timestamp.is_none() && !protected.contains(&(namespace, claim.name_any())) {
            rows.push(claim_row(claim));
        }
    }
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    (Some(rows), not_counted)
}

fn claim_row(claim: &PersistentVolumeClaim) -> ClaimRow {
    let spec = claim.spec.clone().unwrap_or_default();
    let size = spec.resources.and_then(|resources| resources.requests?.remove("storage"));
    ClaimRow {
        namespace: claim.namespace().unwrap_or_default(),
        name: claim.name_any(),
        size: size.map(|size| size.0).unwrap_or_default(),
        storage_class: spec.storage_class_name.unwrap_or_default(),
        created: claim.creation_timestamp().as_ref().map(time::from_k8s),
    }
}
