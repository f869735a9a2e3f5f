//! Objects of other groups: only the fields that are read or written here.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A snapshot of a claim.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    status = "VolumeSnapshotStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// Class; its driver makes the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// What it is made from.
    pub source: VolumeSnapshotSource,
}

/// What a snapshot is made from: one of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSource {
    /// A claim of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
    /// A content that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_content_name: Option<String>,
}

/// State of a snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The content it is bound to.
    pub bound_volume_snapshot_content_name: Option<String>,
    /// Whether a volume can be made from it.
    pub ready_to_use: Option<bool>,
    /// The smallest volume that can be made from it, a quantity.
    pub restore_size: Option<String>,
    /// When the storage made it.
    pub creation_time: Option<String>,
    /// What went wrong last.
    pub error: Option<VolumeSnapshotError>,
}

/// What went wrong with a snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct VolumeSnapshotError {
    /// In the driver's words.
    pub message: Option<String>,
}

/// Snapshots of several claims, made as one. Its version is the newest one of those that the cluster may serve.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[kube(
    group = "groupsnapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeGroupSnapshot",
    namespaced,
    status = "VolumeGroupSnapshotStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeGroupSnapshotSpec {
    /// Class; its driver makes the snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_group_snapshot_class_name: Option<String>,
    /// What it is made from.
    pub source: VolumeGroupSnapshotSource,
}

/// What a group snapshot is made from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeGroupSnapshotSource {
    /// The claims of the namespace. The snapshot controller looks at `matchLabels` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// State of a group snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeGroupSnapshotStatus {
    /// Whether all its snapshots were made.
    pub ready_to_use: Option<bool>,
    /// What went wrong last.
    pub error: Option<VolumeSnapshotError>,
}

/// What lies behind a snapshot.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshotContent",
    status = "VolumeSnapshotContentStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSpec {
    /// Whether the storage's snapshot goes with this object: `Delete` or `Retain`.
    pub deletion_policy: String,
    /// CSI driver.
    pub driver: String,
    /// Where the storage's snapshot comes from.
    pub source: VolumeSnapshotContentSource,
    /// The snapshot object that it belongs to.
    pub volume_snapshot_ref: VolumeSnapshotRef,
    /// Class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// `Filesystem` or `Block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_volume_mode: Option<String>,
}

/// Where the storage's snapshot comes from: one of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSource {
    /// The driver's handle of a snapshot that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_handle: Option<String>,
    /// The driver's handle of the volume to snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_handle: Option<String>,
}

/// The snapshot object that a content belongs to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct VolumeSnapshotRef {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Uid, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// State of a snapshot's content.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentStatus {
    /// The driver's handle of the snapshot.
    pub snapshot_handle: Option<String>,
    /// Whether a volume can be made from it.
    pub ready_to_use: Option<bool>,
    /// The smallest volume that can be made from it, in bytes.
    pub restore_size: Option<i64>,
    /// What went wrong last.
    pub error: Option<VolumeSnapshotError>,
}

/// How a driver makes snapshots; a `VolumeGroupSnapshotClass`, how it makes those of a group, has the same fields. They
/// stand at the top of the object, so it is not a `CustomResource` of kube's; it is read through
/// [`kube::core::DynamicObject`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotClass {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// CSI driver.
    pub driver: String,
    /// `Delete` or `Retain`.
    pub deletion_policy: String,
}
