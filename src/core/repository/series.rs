//! What Prometheus scrapes about each repository object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    api::{
        common::RepositoryKind,
        repository::{ClusterResticRepository, RepositoryStatus, ResticRepository},
    },
    core::{
        conditions,
        series::{Labels, Metric, Page, with},
    },
};

const READY: Metric = Metric("repository_ready", "Whether a repository is ready, with the condition's reason");
const REACHABLE: Metric = Metric("repository_last_reachable_timestamp_seconds", "When the base was last found");
const NEXT: Metric = Metric("repository_next_maintenance_timestamp_seconds", "When maintenance is due");
const MAINTAINED: Metric = Metric("repository_last_maintenance_timestamp_seconds", "When maintenance last ended");
const SUCCEEDED: Metric = Metric("repository_last_maintenance_succeeded", "Whether all of it succeeded");
const CHECKED: Metric = Metric("repository_last_check_timestamp_seconds", "When a check last ended");
const CHECK_SUCCEEDED: Metric =
    Metric("repository_last_check_succeeded", "Whether all was checked and no error was found");
const ERRORS: Metric = Metric("repository_check_errors", "Errors that the last check found");
const SNAPSHOTS: Metric = Metric("repository_snapshots", "Snapshots at the last maintenance");
const LOCKS: Metric = Metric("repository_locks", "Locks that were left after the last maintenance or check");
const ORPHANED: Metric = Metric("repository_orphaned", "Whether no VolumeBackup goes there any more");
const BYTES: Metric = Metric("repository_bytes", "Size at the last maintenance");

/// Adds what these objects say.
pub fn measure(
    page: &mut Page,
    own: &[impl AsRef<ResticRepository>],
    of_cluster: &[impl AsRef<ClusterResticRepository>],
) {
    for object in own.iter().map(AsRef::as_ref) {
        add(page, RepositoryKind::ResticRepository, &object.metadata, object.status.as_ref());
    }
    for object in of_cluster.iter().map(AsRef::as_ref) {
        add(page, RepositoryKind::ClusterResticRepository, &object.metadata, object.status.as_ref());
    }
}

fn add(page: &mut Page, kind: RepositoryKind, meta: &ObjectMeta, status: Option<&RepositoryStatus>) {
    let Some(status) = status else { return };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let labels: Labels =
        vec![("kind", kind.as_str().to_owned()), ("namespace", text(&meta.namespace)), ("name", text(&meta.name))];
    let (is_ready, reason) = conditions::ready(&status.conditions);
    page.add(READY, with(&labels, [("reason", reason)]), i64::from(is_ready));
    page.add_some(REACHABLE, &labels, status.last_reachable_at.map(|time| time.timestamp()));
    page.add_some(NEXT, &labels, status.next_maintenance.map(|time| time.timestamp()));
    let last = status.last_maintenance.as_ref();
    page.add_some(MAINTAINED, &labels, last.map(|last| last.time.timestamp()));
    page.add_some(SUCCEEDED, &labels, last.map(|last| i64::from(last.succeeded)));
    let last = status.last_check.as_ref();
    page.add_some(CHECKED, &labels, last.map(|last| last.time.timestamp()));
    page.add_some(CHECK_SUCCEEDED, &labels, last.map(|last| i64::from(last.succeeded)));
    for (path, repository) in &status.repositories {
        let labels = with(&labels, [("path", path)]);
        page.add_some(SNAPSHOTS, &labels, repository.snapshots);
        page.add_some(BYTES, &labels, repository.bytes);
        page.add_some(ERRORS, &labels, repository.check_errors);
        let locks = repository.locks.as_ref().map(|locks| i64::try_from(locks.len()).unwrap_or(i64::MAX));
        page.add_some(LOCKS, &labels, locks);
        page.add_some(ORPHANED, &labels, repository.orphaned.then_some(1));
    }
}
