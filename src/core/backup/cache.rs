//! A cache that is kept: a claim of its own for each repository of a `VolumeBackup`, whose runs never overlap. A claim
//! that several shared would keep their movers on one node, or from each other.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;

use crate::{
    api::{
        backup::{RepositoryKey, Run, VolumeBackup},
        repository::RepositorySpec,
    },
    core::{job, mover_state::MoverState, names, task::KEPT_CACHE_MOUNT, volumes},
};

use super::{SeenMover, owner};

/// The claim on which the mover for this repository keeps its cache; none where that is not declared.
pub(super) fn cache_claim(
    backup: &VolumeBackup,
    key: &RepositoryKey,
    spec: &RepositorySpec,
    namespace: &str,
) -> Option<PersistentVolumeClaim> {
    let mover = job::merge_mover(spec.mover.as_ref(), backup.spec.mover.as_ref());
    let class = mover.cache.as_ref()?.storage_class_name.clone()?;
    let size = job::cache_size(&mover);
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name(backup, key, &class, &size.0)),
            namespace: Some(namespace.to_owned()),
            labels: Some(names::child_labels(&owner(backup), None)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: Some(class),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// The same for a run: whatever is wrong with the cache, another attempt does without.
pub fn cache_of_run(
    backup: &VolumeBackup,
    run: &Run,
    key: &RepositoryKey,
    spec: &RepositorySpec,
    namespace: &str,
) -> Option<PersistentVolumeClaim> {
    cache_claim(backup, key, spec, namespace).filter(|_| run.attempt == 1)
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

/// The claim on which a mover has its cache.
pub fn cache_of(job: &Job) -> Option<&str> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let mounts = pod.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    let kept = mounts.into_iter().find(|mount| mount.mount_path == KEPT_CACHE_MOUNT)?;
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == kept.name)?;
    Some(&volume.persistent_volume_claim.as_ref()?.claim_name)
}

/// Why a mover does not start with the cache that it is given.
pub(super) fn trouble(mover: &SeenMover) -> Option<String> {
    let name = cache_of(mover.job.as_ref()?)?;
    let why = match (&mover.state, &mover.cache) {
        (MoverState::Waiting(why), _) => why.clone(),
        (MoverState::Running { progress: None, .. }, None) => "the claim is gone".to_owned(),
        (MoverState::Running { progress: None, .. }, Some(claim)) if !volumes::is_bound(claim) => {
            "the claim is not bound; see its events".to_owned()
        }
        _ => return None,
    };
    Some(format!("its cache is kept on the claim {name}, and {why}"))
}

/// With another class or size it is another claim.
fn name(backup: &VolumeBackup, key: &RepositoryKey, class: &str, size: &str) -> String {
    let uid = backup.uid().unwrap_or_default();
    let hash = names::hash(&["cache", &uid, key.kind.as_str(), &key.name, class, size], 10);
    names::label(&format!("{}-cache-{hash}", backup.name_any()))
}
