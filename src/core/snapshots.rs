//! The objects by which a volume's data gets into the operator's namespace: a snapshot beside the claim, its static
//! twin in the operator's namespace, and a staging claim from that.

use k8s_openapi::{
    api::core::v1::{
        PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, VolumeResourceRequirements,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
    },
};
use kube::Resource;

use crate::{
    api::{
        backup::{RunGroup, VolumeBackup},
        foreign::{
            VolumeGroupSnapshot, VolumeGroupSnapshotSource, VolumeGroupSnapshotSpec, VolumeSnapshot,
            VolumeSnapshotContent, VolumeSnapshotContentSource, VolumeSnapshotContentSpec, VolumeSnapshotRef,
            VolumeSnapshotSource, VolumeSnapshotSpec,
        },
    },
    core::{
        driver::{Reading, larger},
        names::{self, Owner},
    },
};

/// A run's objects for one claim.
#[derive(Clone, Debug)]
pub struct Staging<'a> {
    /// The object that it is for.
    pub owner: &'a Owner,
    /// The run's id.
    pub run: &'a str,
    /// Which of the run's claims.
    pub index: usize,
    /// The operator's namespace.
    pub namespace: &'a str,
}

impl Staging<'_> {
    /// Name of the snapshot in the app's namespace.
    pub fn snapshot_name(&self) -> String {
        names::of_run(self.run, "snapshot", self.index)
    }

    /// Name of the twin's content, which is cluster-wide.
    pub fn content_name(&self) -> String {
        names::of_run(self.run, "content", self.index)
    }

    /// Name of the twin in the operator's namespace.
    pub fn twin_name(&self) -> String {
        names::of_run(self.run, "twin", self.index)
    }

    /// Name of the staging claim.
    pub fn claim_name(&self) -> String {
        names::of_run(self.run, "data", self.index)
    }

    /// Name of the group snapshot of all claims.
    pub fn group_name(&self) -> String {
        names::of_run(self.run, "snapshots", 0)
    }

    /// The snapshot of all claims of the app's namespace with these labels as one. It goes with the `VolumeBackup`.
    pub fn group(&self, backup: &VolumeBackup, group: &RunGroup) -> VolumeGroupSnapshot {
        VolumeGroupSnapshot {
            metadata: self.app_metadata(self.group_name(), backup),
            spec: VolumeGroupSnapshotSpec {
                volume_group_snapshot_class_name: Some(group.class_name.clone()),
                source: VolumeGroupSnapshotSource {
                    selector: Some(LabelSelector {
                        match_labels: Some(group.match_labels.clone()),
                        match_expressions: None,
                    }),
                },
            },
            status: None,
        }
    }

    /// The snapshot of the app's claim, in the app's namespace. It goes with the `VolumeBackup`.
    pub fn snapshot(&self, backup: &VolumeBackup, reading: &Reading) -> VolumeSnapshot {
        VolumeSnapshot {
            metadata: self.app_metadata(self.snapshot_name(), backup),
            spec: VolumeSnapshotSpec {
                volume_snapshot_class_name: Some(reading.snapshot_class.clone()),
                source: VolumeSnapshotSource {
                    persistent_volume_claim_name: Some(reading.claim.clone()),
                    volume_snapshot_content_name: None,
                },
            },
            status: None,
        }
    }

    /// The same snapshot of the storage, for the operator's namespace. Deleting it leaves the storage's snapshot.
    pub fn content(&self, driver: &str, handle: &str) -> VolumeSnapshotContent {
        VolumeSnapshotContent {
            metadata: self.metadata(self.content_name()),
            spec: VolumeSnapshotContentSpec {
                deletion_policy: "Retain".to_owned(),
                driver: driver.to_owned(),
                source: VolumeSnapshotContentSource { snapshot_handle: Some(handle.to_owned()), volume_handle: None },
                volume_snapshot_ref: VolumeSnapshotRef {
                    name: self.twin_name(),
                    namespace: self.namespace.to_owned(),
                    uid: None,
                },
                volume_snapshot_class_name: None,
                source_volume_mode: Some("Filesystem".to_owned()),
            },
            status: None,
        }
    }

    /// The snapshot object in the operator's namespace.
    pub fn twin(&self) -> VolumeSnapshot {
        VolumeSnapshot {
            metadata: self.own_metadata(self.twin_name()),
            spec: VolumeSnapshotSpec {
                volume_snapshot_class_name: None,
                source: VolumeSnapshotSource {
                    persistent_volume_claim_name: None,
                    volume_snapshot_content_name: Some(self.content_name()),
                },
            },
            status: None,
        }
    }

    /// The claim that the mover mounts. Its size is the larger of the volume's and what the snapshot needs.
    pub fn claim(&self, reading: &Reading, restore_size: Option<&str>) -> PersistentVolumeClaim {
        let needed = Quantity(restore_size.unwrap_or_default().to_owned());
        let size = larger(&reading.capacity, &needed);
        PersistentVolumeClaim {
            metadata: self.own_metadata(self.claim_name()),
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(reading.access_modes.clone()),
                storage_class_name: Some(reading.storage_class.clone()),
                volume_mode: Some("Filesystem".to_owned()),
                resources: Some(VolumeResourceRequirements {
                    requests: Some([("storage".to_owned(), size)].into()),
                    ..VolumeResourceRequirements::default()
                }),
                data_source: Some(TypedLocalObjectReference {
                    api_group: Some(VolumeSnapshot::group(&()).into_owned()),
                    kind: VolumeSnapshot::kind(&()).into_owned(),
                    name: self.twin_name(),
                }),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        }
    }

    fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            labels: Some(names::child_labels(self.owner, Some(self.run))),
            ..ObjectMeta::default()
        }
    }

    fn app_metadata(&self, name: String, backup: &VolumeBackup) -> ObjectMeta {
        ObjectMeta {
            namespace: backup.metadata.namespace.clone(),
            owner_references: owner_reference(backup).map(|owner| vec![owner]),
            ..self.metadata(name)
        }
    }

    fn own_metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta { namespace: Some(self.namespace.to_owned()), ..self.metadata(name) }
    }
}

/// The `VolumeBackup` as the owner of an object of its namespace. It does not hold up the deletion of either.
fn owner_reference(backup: &VolumeBackup) -> Option<OwnerReference> {
    let reference = backup.controller_owner_ref(&())?;
    Some(OwnerReference { block_owner_deletion: None, ..reference })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::backup::GroupSnapshotVersion;

    #[test]
    fn a_runs_objects() {
        let backup: VolumeBackup = serde_json::from_value(
            json!({"metadata": {"name": "radarr", "namespace": "media", "uid": "u-1"}, "spec": {}}),
        )
        .unwrap();
        let owner = Owner {
            kind: "VolumeBackup",
            namespace: Some("media".to_owned()),
            name: "radarr".to_owned(),
            uid: "u-1".to_owned(),
        };
        let reading = Reading {
            claim: "config".to_owned(),
            driver: "rook-ceph.cephfs.csi.ceph.com".to_owned(),
            snapshot_class: "csi-ceph-filesystem".to_owned(),
            storage_class: "ceph-filesystem".to_owned(),
            access_modes: vec!["ReadOnlyMany".to_owned()],
            capacity: Quantity("1Gi".to_owned()),
            reason: String::new(),
        };
        let group = RunGroup {
            class_name: "csi-ceph-filesystem".to_owned(),
            match_labels: [("app".to_owned(), "radarr".to_owned())].into(),
            version: GroupSnapshotVersion::V1,
        };
        let run = names::run_id("cluster", "radarr", "u-1", "2026-09-24T04:00:00Z 1");
        let staging = Staging { owner: &owner, run: &run, index: 1, namespace: "strongroom-system" };
        insta::assert_yaml_snapshot!(json!({
            "group": staging.group(&backup, &group),
            "snapshot": staging.snapshot(&backup, &reading),
            "content": staging.content(&reading.driver, "0001-handle"),
            "twin": staging.twin(),
            "claim": staging.claim(&reading, Some("2Gi")),
        }));
    }
}
