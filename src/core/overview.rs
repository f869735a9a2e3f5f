//! What is protected, what is stale, what waits, and what nobody backs up: read from the objects alone.

mod rows;
mod text;
mod turns;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde::Serialize;

use crate::{
    api::{
        backup::{BackupPhase, RepositoryKey, VolumeBackup},
        common::{RepositoryKind, Time},
        repository::RepositoryPhase,
        restore::{RestorePhase, VolumeRestore},
    },
    core::repository::Subject,
};

/// What was seen of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The `VolumeBackup`s: of all namespaces, where that is allowed, since places are shared by all.
    pub backups: Vec<VolumeBackup>,
    /// The `VolumeRestore`s, likewise.
    pub restores: Vec<VolumeRestore>,
    /// The repository objects of both kinds.
    pub repositories: Vec<Subject>,
    /// The claims, or none where they cannot be listed.
    pub claims: Option<Vec<PersistentVolumeClaim>>,
    /// The operator's own namespace, whose claims are nobody's data.
    pub operator_namespace: String,
    /// What could not be seen, for people.
    pub unseen: Vec<String>,
}

/// How things stand in one namespace, or in all.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The namespace that this is about; none for all.
    pub namespace: Option<String>,
    /// The repository objects.
    pub repositories: Vec<RepositoryRow>,
    /// restic repositories that no `VolumeBackup` goes to any more.
    pub orphans: Vec<OrphanRow>,
    /// The `VolumeBackup`s.
    pub backups: Vec<BackupRow>,
    /// What waits for a place, in the order of turns.
    pub queue: Vec<QueueRow>,
    /// The restores that run.
    pub restores: Vec<RestoreRow>,
    /// How many `VolumeRestore`s there are, with those that have ended.
    pub restores_in_all: usize,
    /// Claims that no `VolumeBackup` names; none where claims cannot be listed.
    pub unprotected: Option<Vec<ClaimRow>>,
    /// Claims that were not counted: those in the operator's namespace, and what runs have made.
    pub not_counted: usize,
    /// The operator's own namespace.
    pub operator_namespace: String,
    /// What could not be seen, for people.
    pub unseen: Vec<String>,
}

/// A repository object.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryRow {
    /// Its kind.
    pub kind: RepositoryKind,
    /// Its namespace; none for a cluster-wide one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether it is the default.
    pub default: bool,
    /// Its phase.
    pub phase: Option<RepositoryPhase>,
    /// How many `VolumeBackup`s use it.
    pub backups: i64,
    /// When its base was last found.
    pub last_reachable: Option<Time>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Whether it asks to accept something.
    pub asks: bool,
}

/// A restic repository that no `VolumeBackup` goes to any more.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OrphanRow {
    /// Its URL, without credentials.
    pub url: String,
    /// The repository object that it was used by.
    pub repository: RepositoryKey,
    /// Namespace of that object; none for a cluster-wide one.
    pub namespace: Option<String>,
    /// Snapshots in it at the last maintenance.
    pub snapshots: Option<i64>,
    /// Its size in bytes then.
    pub bytes: Option<i64>,
}

/// A `VolumeBackup`.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackupRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The claims that it declares.
    pub claims: Vec<String>,
    /// The repository objects that they go to, as far as is known.
    pub repositories: Vec<RepositoryKey>,
    /// Its phase.
    pub phase: Option<BackupPhase>,
    /// When the last good run ended, of the repository where that is longest ago; none where one has none.
    pub last_good: Option<Time>,
    /// When it runs next; none where it runs by hand only, or not at all.
    pub next_run: Option<Time>,
    /// Whether no schedule is declared.
    pub by_hand: bool,
    /// Whether good backups have stopped coming, or never came, into one of the repositories.
    pub stale: bool,
    /// What is wrong, the worst first.
    pub problems: Vec<String>,
    /// What happens now, where something does.
    pub doing: Option<String>,
    /// Whether it asks to accept something.
    pub asks: bool,
}

/// Something that waits to move data.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QueueRow {
    /// Its place among all of the cluster, from 1; none where not all of the cluster could be seen, or where it waits
    /// for another restore of the same claims first.
    pub place: Option<usize>,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why it goes when it goes.
    pub turn: &'static str,
    /// Since when it waits, where that can be told.
    pub since: Option<Time>,
    /// What it says itself.
    pub message: String,
}

/// A restore that runs.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it restores from.
    pub from: String,
    /// Its phase.
    pub phase: Option<RestorePhase>,
    /// Which step that is, from 1, of [`STEPS`](Self::STEPS).
    pub step: usize,
    /// How far the data is, in percent.
    pub percent: Option<i64>,
    /// When it started.
    pub started: Option<Time>,
    /// What it says.
    pub message: String,
}

/// A claim.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The size that it asks for.
    pub size: String,
    /// Its storage class.
    pub storage_class: String,
    /// When it was created.
    pub created: Option<Time>,
}

impl Overview {
    /// How things stand in one namespace, or in all. `whole` says that the objects of all namespaces were seen.
    pub fn new(seen: &Seen, namespace: Option<&str>, whole: bool, now: Time) -> Self {
        let within = |of: &str| namespace.is_none_or(|namespace| namespace == of);
        let mut queue = turns::queue(seen, whole, now);
        queue.retain(|row| within(&row.namespace));
        let (unprotected, not_counted) = rows::unprotected(seen, within);
        let of_scope = |restore: &&VolumeRestore| within(restore.metadata.namespace.as_deref().unwrap_or_default());
        let restores: Vec<&VolumeRestore> = seen.restores.iter().filter(of_scope).collect();
        Self {
            namespace: namespace.map(str::to_owned),
            repositories: rows::repositories(seen, within),
            orphans: rows::orphans(seen, within),
            backups: rows::backups(seen, within),
            queue,
            restores_in_all: restores.len(),
            restores: restores.into_iter().filter_map(rows::restore).collect(),
            unprotected,
            not_counted,
            operator_namespace: seen.operator_namespace.clone(),
            unseen: seen.unseen.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
