//! A cache that is kept: a claim of its own for each repository of a `VolumeBackup`, whose runs never overlap. A claim
//! that several shared would keep their movers on one node, or from each other.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;

use crate::{
    api::{
        backup::{RepositoryKey, VolumeBackup},
        common::MoverSpec,
        repository::RepositorySpec,
    },
    core::{
        job, names,
        problem::{Problem, Reason},
    },
};

use super::owner;

/// The claim on which the mover for this repository keeps its cache; none where that is not declared.
pub fn cache_claim(
    backup: &VolumeBackup,
    key: &RepositoryKey,
    spec: &RepositorySpec,
    namespace: &str,
) -> Option<PersistentVolumeClaim> {
    let mover = job::merge_mover(spec.mover.as_ref(), backup.spec.mover.as_ref());
    let class = mover.cache.as_ref()?.storage_class_name.clone()?;
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name(backup, key)),
            namespace: Some(namespace.to_owned()),
            labels: Some(names::child_labels(&owner(backup), None)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: Some(class),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), job::cache_size(&mover))].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// Whether this is the name of a claim on which this one still keeps a cache.
pub fn keeps<'a>(
    backup: &VolumeBackup,
    repositories: impl IntoIterator<Item = (&'a RepositoryKey, &'a RepositorySpec)>,
    claim: &str,
) -> bool {
    let mut kept = repositories.into_iter().filter_map(|(key, spec)| cache_claim(backup, key, spec, ""));
    kept.any(|kept| kept.name_any() == claim)
}

/// What cannot be: a new volume belongs to root, and to give it to another group would change the data's as well.
pub(super) fn check(mover: &MoverSpec) -> Result<(), Problem> {
    let is_kept = mover.cache.as_ref().is_some_and(|cache| cache.storage_class_name.is_some());
    if is_kept && mover.run_as.is_some() {
        let message =
            "mover.runAs cannot write to the cache that mover.cache.storageClassName keeps: remove one of the two";
        return Err(Problem::new(Reason::InvalidSpec, message));
    }
    Ok(())
}

fn name(backup: &VolumeBackup, key: &RepositoryKey) -> String {
    let uid = backup.uid().unwrap_or_default();
    let hash = names::hash(&["cache", &uid, key.kind.as_str(), &key.name], 10);
    names::label(&format!("{}-cache-{hash}", backup.name_any()))
}
