//! Snapshots of several claims as one, by a `VolumeGroupSnapshot`, where the cluster and the driver have them.

use std::collections::BTreeMap;

use crate::{
    api::{
        backup::{GroupSnapshotVersion, RunGroup, VolumeBackupSpec},
        foreign::{VolumeGroupSnapshot, VolumeSnapshotClass},
    },
    core::driver::{self, Reading},
};

/// The annotation that makes a class its driver's default.
const DEFAULT_CLASS: &str = "groupsnapshot.storage.kubernetes.io/is-default-class";

/// What the cluster has for snapshots of several claims as one.
#[derive(Clone, Debug, Default)]
pub struct GroupClasses {
    /// The newest version of the API that it serves; none where it has no such API.
    pub version: Option<GroupSnapshotVersion>,
    /// The `VolumeGroupSnapshotClass`es.
    pub classes: Vec<VolumeSnapshotClass>,
    /// Why it cannot be seen what it has.
    pub hidden: Option<String>,
}

/// The labels by which claims can be snapshotted as one, as far as the declaration says; else why not.
///
/// The snapshot controller looks at the labels of a selector and at nothing else of it: with expressions it would
/// snapshot other claims.
pub fn declared(spec: &VolumeBackupSpec) -> Result<&BTreeMap<String, String>, &'static str> {
    let Some(selector) = &spec.claim_selector else {
        return Err("a VolumeGroupSnapshot takes a claimSelector");
    };
    if spec.volume_snapshot_class_name.is_some() {
        return Err("volumeSnapshotClassName is a class for one claim");
    }
    let has_expressions = selector.match_expressions.as_ref().is_some_and(|of| !of.is_empty());
    let labels = selector.match_labels.as_ref().filter(|labels| !labels.is_empty() && !has_expressions);
    labels.ok_or("a VolumeGroupSnapshot takes a claimSelector with matchLabels alone")
}

/// Whether a group snapshot was made, and with it all its snapshots.
pub fn is_made(group: &VolumeGroupSnapshot) -> bool {
    group.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true))
}

/// By what several claims are snapshotted together. It is added to the reason of each of them, and why they are not
/// snapshotted as one.
pub fn choose(spec: &VolumeBackupSpec, readings: &mut [Reading], seen: &GroupClasses) -> Option<RunGroup> {
    if readings.len() < 2 {
        return None;
    }
    let chosen = declared(spec).map_err(str::to_owned).and_then(|labels| class(readings, labels, seen));
    let words = match &chosen {
        Ok(group) => {
            format!("snapshotted with the others as one, by the VolumeGroupSnapshotClass {}", group.class_name)
        }
        Err(why) => format!("snapshotted right after the others, not with them as one: {why}"),
    };
    for reading in readings {
        reading.reason = format!("{}; {words}", reading.reason);
    }
    chosen.ok()
}

/// The driver's default class, or its only one.
fn class(readings: &[Reading], labels: &BTreeMap<String, String>, seen: &GroupClasses) -> Result<RunGroup, String> {
    let driver = readings.first().map(|reading| reading.driver.as_str()).unwrap_or_default();
    if readings.iter().any(|reading| reading.driver != driver) {
        return Err("the claims are of several drivers".to_owned());
    }
    let absent = || seen.hidden.clone().unwrap_or_else(|| "the cluster has no VolumeGroupSnapshots".to_owned());
    let version = seen.version.ok_or_else(absent)?;
    match driver::preferred(driver, &seen.classes, DEFAULT_CLASS) {
        Ok((class, _)) => Ok(RunGroup { class_name: class.name.clone(), match_labels: labels.clone(), version }),
        Err(none) if none.is_empty() => {
            Err(format!("no VolumeGroupSnapshotClass with deletionPolicy Delete is for the driver {driver}"))
        }
        Err(_) => Err(format!("of several VolumeGroupSnapshotClasses for the driver {driver} not one is the default")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector};
    use serde_json::json;

    use super::*;

    const RBD: &str = "rook-ceph.rbd.csi.ceph.com";

    fn reading(driver: &str) -> Reading {
        Reading {
            claim: "config".to_owned(),
            driver: driver.to_owned(),
            snapshot_class: "csi-ceph-blockpool".to_owned(),
            storage_class: "ceph-block".to_owned(),
            access_modes: vec!["ReadWriteOnce".to_owned()],
            capacity: Quantity("1Gi".to_owned()),
            reason: "RBD".to_owned(),
        }
    }

    fn class(name: &str, driver: &str, policy: &str, default: bool) -> VolumeSnapshotClass {
        VolumeSnapshotClass {
            name: name.to_owned(),
            annotations: [(DEFAULT_CLASS.to_owned(), default.to_string())].into(),
            driver: driver.to_owned(),
            deletion_policy: policy.to_owned(),
        }
    }

    fn selector(value: serde_json::Value) -> VolumeBackupSpec {
        let selector: LabelSelector = serde_json::from_value(value).unwrap();
        VolumeBackupSpec { claim_selector: Some(selector), ..VolumeBackupSpec::default() }
    }

    #[test]
    fn a_group_is_taken_where_everything_fits_and_else_it_is_said_why_not() {
        let labels = selector(json!({"matchLabels": {"app": "radarr"}}));
        let expressions = selector(
            json!({"matchLabels": {"app": "radarr"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
        );
        let mut declared = labels.clone();
        declared.volume_snapshot_class_name = Some("csi-ceph-blockpool".to_owned());
        let version = Some(GroupSnapshotVersion::V1beta2);
        let classes =
            |classes: &[VolumeSnapshotClass]| GroupClasses { version, classes: classes.to_vec(), hidden: None };
        let (one, other) = (class("one", RBD, "Delete", false), class("other", RBD, "Delete", false));
        let default = class("default", RBD, "Delete", true);
        let only = classes(&[one.clone(), class("kept", RBD, "Retain", true), class("fs", "cephfs", "Delete", true)]);
        let of = |spec: &VolumeBackupSpec, drivers: &[&str], seen: &GroupClasses| {
            let mut readings: Vec<Reading> = drivers.iter().map(|driver| reading(driver)).collect();
            let group = choose(spec, &mut readings, seen);
            (group.map(|group| (group.class_name, group.version.as_str())), readings[0].reason.clone())
        };
        insta::assert_yaml_snapshot!([
            of(&labels, &[RBD, RBD], &only),
            of(&labels, &[RBD, RBD], &classes(&[one.clone(), default.clone(), other.clone()])),
            of(&labels, &[RBD], &only),
            of(&VolumeBackupSpec::default(), &[RBD, RBD], &only),
            of(&selector(json!({})), &[RBD, RBD], &only),
            of(&expressions, &[RBD, RBD], &only),
            of(&declared, &[RBD, RBD], &only),
            of(&labels, &[RBD, "cephfs"], &only),
            of(&labels, &[RBD, RBD], &GroupClasses::default()),
            of(
                &labels,
                &[RBD, RBD],
                &GroupClasses { hidden: Some("they are hidden".to_owned()), ..GroupClasses::default() }
            ),
            of(&labels, &["zfs", "zfs"], &only),
            of(&labels, &[RBD, RBD], &classes(&[one, other])),
        ]);
    }
}
