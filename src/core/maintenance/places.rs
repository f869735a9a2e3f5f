//! The restic repositories of a repository object, and what is kept in each.

use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupRepositoryStatus, BackupTarget, RepositoryKey, RunResult, VolumeBackup},
        common::{Retention, Time},
        repository::RepositorySpec,
    },
    core::{
        backup,
        destination::{self, Scope, public_url},
        task::{History, MaintainTask},
    },
};

/// A restic repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Its URL, without credentials.
    pub url: String,
    /// Namespace and name of a `VolumeBackup` that goes there.
    pub backup: (String, String),
    /// The claims of that `VolumeBackup`.
    pub claims: Vec<String>,
    /// Whether a backup into it runs.
    pub busy: bool,
    /// What is kept in it.
    pub task: MaintainTask,
    /// Whether there is something in it.
    pub is_used: bool,
}

/// The restic repositories of a repository object, with the histories in them whose retention is known, those of the
/// older `VolumeBackup` first. A history that no `VolumeBackup` declares, or whose last run is suspect, is left as it is.
pub fn places<'a>(
    key: &RepositoryKey,
    cluster: &str,
    default: Option<&Retention>,
    backups: impl IntoIterator<Item = &'a VolumeBackup>,
    now: Time,
) -> Vec<Place> {
    let mut places: Vec<Place> = vec![];
    let mut backups: Vec<_> = backups.into_iter().collect();
    backups.sort_by(|one, other| backup::age(one, other));
    for object in backups {
        let status = object.status.clone().unwrap_or_default();
        let Some(known) = status.repositories.iter().find(|known| known.repository == *key) else { continue };
        let Some(url) = known.targets.first().map(|target| target.url.clone()) else { continue };
        // One that waits for its next attempt has no mover.
        let busy = backup::running(object, now).is_some_and(|run| run.repositories.contains(key));
        let histories = histories(object, (key, cluster), known, default);
        let place = if let Some(index) = places.iter().position(|place| place.url == url) {
            &mut places[index]
        } else {
            places.push(Place {
                url,
                backup: (object.namespace().unwrap_or_default(), object.name_any()),
                claims: known.targets.iter().map(|target| target.claim.clone()).collect(),
                busy: false,
                task: MaintainTask::default(),
                is_used: false,
            });
            let last = places.len() - 1;
            &mut places[last]
        };
        place.busy |= busy;
        place.is_used |= known.last_success.is_some() || known.id.is_some();
        place.task.not_good.extend(backup::not_good_snapshots(object, key));
        place.task.accepted.extend(backup::accepted_snapshots(object, key));
        place.task.histories.extend(histories);
    }
    places.sort_by(|one, other| one.url.cmp(&other.url));
    places
}

/// The histories in a place that are where their `VolumeBackup`s and the repository object declare them: a status may
/// be forged, or tell of an earlier place. Of two that are the same, the older `VolumeBackup`'s.
pub(super) fn declared(place: &Place, spec: &RepositorySpec, cluster: &str) -> Vec<History> {
    let mut declared: Vec<History> = vec![];
    for history in &place.task.histories {
        let (namespace, name) = history.backup.split_once('/').unwrap_or_default();
        let scope = Scope { namespace, name, cluster };
        let targets = destination::targets(spec, scope, std::slice::from_ref(&history.claim)).unwrap_or_default();
        let is_here = |target: &BackupTarget| {
            let (url, host, path) = (public_url(&target.url), &target.host, &target.path);
            (&url, host, path) == (&place.url, &history.host, &history.path)
        };
        let is_new = declared.iter().all(|of| (&of.host, &of.path) != (&history.host, &history.path));
        if is_new && targets.iter().any(is_here) {
            declared.push(history.clone());
        }
    }
    declared
}

fn histories(
    object: &VolumeBackup,
    (key, cluster): (&RepositoryKey, &str),
    known: &BackupRepositoryStatus,
    default: Option<&Retention>,
) -> Vec<History> {
    let of_reference = object
        .spec
        .repository_refs
        .iter()
        .find(|reference| reference.repository.kind == key.kind && reference.repository.name == key.name);
    let retention = of_reference.and_then(|reference| reference.retention.as_ref());
    let retention = retention.or(object.spec.retention.as_ref()).or(default);
    let Some(retention) = retention.filter(|retention| !retention.keeps_everything()) else { return vec![] };
    if known.last_success.is_none() {
        return vec![];
    }
    let is_suspect = |target: &&BackupTarget| {
        let runs = object.status.iter().flat_map(|status| &status.runs);
        let last = runs.into_iter().find(|run| run.claim == target.claim && run.repository == *key);
        last.is_some_and(|run| run.result == RunResult::Suspect)
    };
    let history = |target: &BackupTarget| History {
        host: target.host.clone(),
        path: target.path.clone(),
        backup: format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
        claim: target.claim.clone(),
        retention: retention.clone(),
        watch: backup::watch(object, key, cluster),
    };
    known.targets.iter().filter(|target| !is_suspect(target)).map(history).collect()
}
