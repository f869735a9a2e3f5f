//! How a volume is read, by its CSI driver, so that nobody has to declare it.

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;

use crate::{
    api::{
        backup::{ClaimStatus, VolumeBackupSpec},
        foreign::VolumeSnapshotClass,
    },
    core::problem::{Problem, Reason},
};

/// The annotation that makes a class its driver's default.
const DEFAULT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";
/// How the names of Ceph's drivers end: what stands before is the operator's namespace, or a prefix of one's own.
const RBD: &str = "rbd.csi.ceph.com";
const CEPHFS: &str = "cephfs.csi.ceph.com";

/// How a claim is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The claim.
    pub claim: String,
    /// CSI driver of its volume.
    pub driver: String,
    /// The `VolumeSnapshotClass`.
    pub snapshot_class: String,
    /// Storage class of the staging claim.
    pub storage_class: String,
    /// Access modes of the staging claim.
    pub access_modes: Vec<String>,
    /// Size of the volume, below which no staging claim may be.
    pub capacity: Quantity,
    /// Why so.
    pub reason: String,
}

impl Reading {
    /// The same, for the status.
    pub fn status(&self) -> ClaimStatus {
        ClaimStatus {
            name: self.claim.clone(),
            driver: self.driver.clone(),
            volume_snapshot_class_name: Some(self.snapshot_class.clone()),
            access_mode: self.access_modes.join(", "),
            reason: self.reason.clone(),
        }
    }
}

/// How a bound claim is read.
///
/// Errors: `VolumeUnsupported` for what has no files or no snapshots, `SnapshotClassMissing` with the candidates.
pub fn reading(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    classes: &[VolumeSnapshotClass],
    spec: &VolumeBackupSpec,
) -> Result<Reading, Problem> {
    let name = claim.name_any();
    let unsupported =
        |what: &str| Problem::new(Reason::VolumeUnsupported, format!("the volume of claim {name} {what}"));
    let volume_spec = volume.spec.clone().unwrap_or_default();
    let Some(csi) = volume_spec.csi else {
        return Err(unsupported("is not a CSI volume, so it cannot be snapshotted: move the data to a CSI class"));
    };
    if volume_spec.volume_mode.as_deref() == Some("Block") {
        return Err(unsupported("is a block device without files: back it up from inside of the app"));
    }
    let (class, class_reason) = snapshot_class(&csi.driver, classes, spec.volume_snapshot_class_name.as_deref())?;
    let claim_spec = claim.spec.clone().unwrap_or_default();
    let storage_class = spec.storage_class_name.clone().or(claim_spec.storage_class_name).unwrap_or_default();
    if storage_class.is_empty() {
        return Err(unsupported(
            "has no storage class to stage it with: name one of the same driver in storageClassName",
        ));
    }
    let source_modes = claim_spec.access_modes.unwrap_or_default();
    let (access_modes, mode_reason) = if spec.access_modes.is_empty() {
        let (mode, reason) = access_mode(&csi.driver, &source_modes);
        (vec![mode], reason)
    } else {
        (spec.access_modes.clone(), "access modes as declared".to_owned())
    };
    let capacity = |amounts: Option<std::collections::BTreeMap<String, Quantity>>| amounts?.get("storage").cloned();
    let capacity = claim
        .status
        .as_ref()
        .and_then(|status| capacity(status.capacity.clone()))
        .or_else(|| capacity(volume_spec.capacity))
        .unwrap_or_default();
    Ok(Reading {
        claim: name,
        driver: csi.driver,
        snapshot_class: class,
        storage_class,
        access_modes,
        capacity,
        reason: format!("{mode_reason}; {class_reason}"),
    })
}

/// The class: the declared one, the driver's default, or its only one.
fn snapshot_class(
    driver: &str,
    classes: &[VolumeSnapshotClass],
    declared: Option<&str>,
) -> Result<(String, &'static str), Problem> {
    let missing = |message: String| Err(Problem::new(Reason::SnapshotClassMissing, message));
    let names = |classes: &[&VolumeSnapshotClass]| {
        let mut names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    };
    if let Some(declared) = declared {
        let fitting = fitting(driver, classes);
        return match classes.iter().find(|class| class.name == declared) {
            Some(class) if fitting.contains(&class) => Ok((class.name.clone(), "snapshot class as declared")),
            Some(class) if class.driver == driver => missing(format!(
                "the VolumeSnapshotClass {declared} keeps every snapshot (deletionPolicy: {}): use one with Delete",
                class.deletion_policy
            )),
            Some(class) => missing(format!(
                "the VolumeSnapshotClass {declared} is for the driver {}, but the volume's is {driver}",
                class.driver
            )),
            None if fitting.is_empty() => {
                missing(format!("the VolumeSnapshotClass {declared} does not exist: create it for the driver {driver}"))
            }
            None => missing(format!(
                "the VolumeSnapshotClass {declared} does not exist; the driver {driver} has {}",
                names(&fitting)
            )),
        };
    }
    match preferred(driver, classes, DEFAULT_CLASS) {
        Ok((class, reason)) => Ok((class.name.clone(), reason)),
        Err(none) if none.is_empty() => {
            missing(format!("no VolumeSnapshotClass with deletionPolicy Delete is for the driver {driver}: create one"))
        }
        Err(several) => missing(format!(
            "several VolumeSnapshotClasses are for the driver {driver}: name one of {} in volumeSnapshotClassName",
            names(&several)
        )),
    }
}

/// The classes of a driver. One that keeps its snapshots is none: it would leave one behind for each run.
fn fitting<'a>(driver: &str, classes: &'a [VolumeSnapshotClass]) -> Vec<&'a VolumeSnapshotClass> {
    classes.iter().filter(|class| class.driver == driver && class.deletion_policy == "Delete").collect()
}

/// The class that a driver's default annotation marks, or the driver's only one, and which it is; else those among
/// which somebody has to choose.
pub(super) fn preferred<'a>(
    driver: &str,
    classes: &'a [VolumeSnapshotClass],
    default: &str,
) -> Result<(&'a VolumeSnapshotClass, &'static str), Vec<&'a VolumeSnapshotClass>> {
    let fitting = fitting(driver, classes);
    let is_default = |class: &&&VolumeSnapshotClass| class.annotations.get(default).is_some_and(|is| is == "true");
    let defaults: Vec<&VolumeSnapshotClass> = fitting.iter().filter(is_default).copied().collect();
    match (defaults.as_slice(), fitting.as_slice()) {
        ([class], _) => Ok((class, "the driver's default snapshot class")),
        ([], [class]) => Ok((class, "the driver's only snapshot class")),
        ([], _) => Err(fitting),
        _ => Err(defaults),
    }
}

/// The access mode of a claim from a snapshot, and why.
fn access_mode(driver: &str, source: &[String]) -> (String, String) {
    let has = |mode: &str| source.iter().any(|source| source == mode);
    if driver.ends_with(CEPHFS) {
        return (
            "ReadOnlyMany".to_owned(),
            "CephFS: a shallow read-only volume, at once and without a copy".to_owned(),
        );
    }
    // A crash-consistent clone needs its journal replayed, which a read-only volume cannot.
    let single = if has("ReadWriteOncePod") { "ReadWriteOncePod" } else { "ReadWriteOnce" };
    if driver.ends_with(RBD) {
        return (single.to_owned(), "RBD: a copy-on-write clone, mounted read-only".to_owned());
    }
    let mode =
        ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"].into_iter().find(|mode| has(mode));
    (mode.unwrap_or("ReadWriteOnce").to_owned(), format!("driver {driver}: the claim's own access mode"))
}

/// The larger of two sizes, as written. A size that cannot be read counts as nothing.
pub fn larger(one: &Quantity, other: &Quantity) -> Quantity {
    if bytes(other) > bytes(one) { other.clone() } else { one.clone() }
}

/// The bytes of a quantity such as `10Gi`; part bytes are rounded up, and what cannot be read is 0.
pub fn bytes(quantity: &Quantity) -> u128 {
    let text = quantity.0.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let factor: u128 = match unit {
        "" | "m" => 1,
        "k" => 1000,
        "M" => 1000_u128.pow(2),
        "G" => 1000_u128.pow(3),
        "T" => 1000_u128.pow(4),
        "P" => 1000_u128.pow(5),
        "E" => 1000_u128.pow(6),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => match unit[1..].parse::<u32>() {
            Ok(exponent) if unit.starts_with(['e', 'E']) && exponent <= 18 => 10_u128.pow(exponent),
            _ => return 0,
        },
    };
    // Nine digits after the point are what Kubernetes itself keeps.
    let fraction = &fraction[..fraction.len().min(9)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or_default());
    let scale = if unit == "m" { scale * 1000 } else { scale };
    let digits: u128 = format!("{whole}{fraction}").parse().unwrap_or_default();
    digits.saturating_mul(factor).div_ceil(scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(modes: &[&str]) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "config"},
            "spec": {"accessModes": modes, "storageClassName": "ceph-block", "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"capacity": {"storage": "2Gi"}},
        }))
        .unwrap()
    }

    fn volume(driver: &str, mode: &str) -> PersistentVolume {
        serde_json::from_value(json!({"spec": {"volumeMode": mode, "csi": {"driver": driver, "volumeHandle": "h"}}}))
            .unwrap()
    }

    fn class(name: &str, driver: &str, default: bool) -> VolumeSnapshotClass {
        let annotations = [(DEFAULT_CLASS.to_owned(), default.to_string())].into();
        VolumeSnapshotClass {
            name: name.to_owned(),
            annotations,
            driver: driver.to_owned(),
            deletion_policy: "Delete".to_owned(),
        }
    }

    const ROOK_RBD: &str = "rook-ceph.rbd.csi.ceph.com";
    const ROOK_CEPHFS: &str = "rook-ceph.cephfs.csi.ceph.com";

    #[test]
    fn each_driver_is_read_in_its_way() {
        let classes = [class("rbd", ROOK_RBD, false), class("cephfs", ROOK_CEPHFS, true), class("zfs", "zfs", false)];
        let of = |driver: &str, modes: &[&str]| {
            let reading = reading(&claim(modes), &volume(driver, "Filesystem"), &classes, &VolumeBackupSpec::default());
            let reading = reading.unwrap();
            format!(
                "{} {} {:?}: {}",
                reading.snapshot_class,
                reading.access_modes.join(","),
                reading.capacity.0,
                reading.reason
            )
        };
        let all = [
            of(ROOK_RBD, &["ReadWriteOnce"]),
            of(ROOK_RBD, &["ReadWriteOncePod"]),
            of(ROOK_CEPHFS, &["ReadWriteMany"]),
            of("zfs", &["ReadWriteMany"]),
        ];
        insta::assert_yaml_snapshot!(all);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let classes =
            [class("one", "two-classes", false), class("two", "two-classes", false), class("rbd", ROOK_RBD, true)];
        let declared = |class: &str| VolumeBackupSpec {
            volume_snapshot_class_name: Some(class.to_owned()),
            ..VolumeBackupSpec::default()
        };
        let none = VolumeBackupSpec::default();
        let of = |volume: &PersistentVolume, spec: &VolumeBackupSpec| {
            let problem = reading(&claim(&["ReadWriteOnce"]), volume, &classes, spec).unwrap_err();
            format!("{}: {}", problem.reason, problem.message)
        };
        let rbd = volume(ROOK_RBD, "Filesystem");
        let all = [
            of(&PersistentVolume::default(), &none),
            of(&volume(ROOK_RBD, "Block"), &none),
            of(&volume("no-class", "Filesystem"), &none),
            of(&volume("two-classes", "Filesystem"), &none),
            of(&rbd, &declared("one")),
            of(&rbd, &declared("other")),
            of(&volume("no-class", "Filesystem"), &declared("other")),
        ];
        insta::assert_yaml_snapshot!(all);
    }

    #[test]
    fn sizes() {
        let of = |text: &str| bytes(&Quantity(text.to_owned()));
        for (text, expected) in [
            ("1Gi", 1 << 30),
            ("1.5Ki", 1536),
            ("5G", 5_000_000_000),
            ("1e3", 1000),
            ("12E2", 1200),
            ("1500m", 2),
            ("7", 7),
            ("x", 0),
            ("", 0),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        let (one, other) = (Quantity("1Gi".to_owned()), Quantity("1073741825".to_owned()));
        assert_eq!(larger(&one, &other), other);
        assert_eq!(larger(&one, &one), one);
    }
}
