//! What Prometheus scrapes about each repository object.

use kube::ResourceExt;

use crate::{
    api::{
        common::RepositoryKind,
        repository::{ClusterResticRepository, RepositoryStatus, ResticRepository},
    },
    core::{
        conditions,
        series::{Family, Labels, with},
    },
};

/// The families of these objects.
pub fn families(
    own: &[impl AsRef<ResticRepository>],
    of_cluster: &[impl AsRef<ClusterResticRepository>],
) -> Vec<Family> {
    let mut page = Page::default();
    for object in own.iter().map(AsRef::as_ref) {
        let kind = RepositoryKind::ResticRepository;
        page.add(kind, object.namespace(), object.name_any(), object.status.as_ref());
    }
    for object in of_cluster.iter().map(AsRef::as_ref) {
        let kind = RepositoryKind::ClusterResticRepository;
        page.add(kind, None, object.name_any(), object.status.as_ref());
    }
    let Page { ready, reachable, next, maintained, succeeded, snapshots, bytes } = page;
    vec![ready, reachable, next, maintained, succeeded, snapshots, bytes]
}

struct Page {
    ready: Family,
    reachable: Family,
    next: Family,
    maintained: Family,
    succeeded: Family,
    snapshots: Family,
    bytes: Family,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            ready: Family::new("repository_ready", "Whether a repository is ready, with the condition's reason"),
            reachable: Family::new("repository_last_reachable_timestamp_seconds", "When the base was last found"),
            next: Family::new("repository_next_maintenance_timestamp_seconds", "When maintenance is due"),
            maintained: Family::new("repository_last_maintenance_timestamp_seconds", "When maintenance last ended"),
            succeeded: Family::new("repository_last_maintenance_succeeded", "Whether all of it succeeded"),
            snapshots: Family::new("repository_snapshots", "Snapshots at the last maintenance"),
            bytes: Family::new("repository_bytes", "Size at the last maintenance"),
        }
    }
}

impl Page {
    fn add(
        &mut self,
        kind: RepositoryKind,
        namespace: Option<String>,
        name: String,
        status: Option<&RepositoryStatus>,
    ) {
        let Some(status) = status else { return };
        let labels: Labels =
            vec![("kind", kind.as_str().to_owned()), ("namespace", namespace.unwrap_or_default()), ("name", name)];
        let (is_ready, reason) = conditions::ready(&status.conditions);
        self.ready.add(with(&labels, [("reason", reason)]), i64::from(is_ready));
        self.reachable.add_some(&labels, status.last_reachable_at.map(|time| time.timestamp()));
        self.next.add_some(&labels, status.next_maintenance.map(|time| time.timestamp()));
        let last = status.last_maintenance.as_ref();
        self.maintained.add_some(&labels, last.map(|last| last.time.timestamp()));
        self.succeeded.add_some(&labels, last.map(|last| i64::from(last.succeeded)));
        for (path, repository) in &status.repositories {
            let labels = with(&labels, [("path", path)]);
            self.snapshots.add_some(&labels, repository.snapshots);
            self.bytes.add_some(&labels, repository.bytes);
        }
    }
}
