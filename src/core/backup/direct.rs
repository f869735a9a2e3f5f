//! `method: Direct`: a claim is read where it is, while its app runs. The mover then is beside the app, on its node.

use k8s_openapi::api::core::v1::{Pod, Toleration};
use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupMethod, RepositoryKey, Run, VolumeBackup, VolumeBackupSpec},
        common::{MoverSpec, RepositoryKind, RunAs},
        labels,
        repository::RepositorySpec,
    },
    core::problem::{Problem, Reason},
};

use super::{Observed, World};

/// Whether a declaration asks for it.
pub fn is_declared(spec: &VolumeBackupSpec) -> bool {
    spec.method == Some(BackupMethod::Direct)
}

/// The namespace of a run's movers and their credentials.
pub fn home<'a>(backup: &'a VolumeBackup, run: &Run, world: &'a World) -> &'a str {
    let app = backup.metadata.namespace.as_deref().filter(|_| run.direct);
    app.unwrap_or(&world.namespace)
}

/// Whether the cluster allows it, and nothing is declared that only a snapshot can give.
pub(super) fn check(spec: &VolumeBackupSpec, world: &World) -> Result<(), Problem> {
    if !is_declared(spec) {
        return Ok(());
    }
    let refused = |reason, message: &str| Err(Problem::new(reason, message));
    if !world.direct {
        let message = "method: Direct is switched off for this cluster: set direct.enabled: true in the chart's values, or remove the field";
        return refused(Reason::NotSupported, message);
    }
    if spec.hooks.as_ref().is_some_and(|of| !of.before.is_empty() || !of.after.is_empty()) {
        return refused(
            Reason::InvalidSpec,
            "spec.hooks are for a snapshot, and method: Direct makes none: remove one",
        );
    }
    Ok(())
}

/// Whether a repository can be used from an app's namespace: its credentials come there, so they have to be that
/// namespace's own, and its volume is not there.
pub(super) fn check_repository(key: &RepositoryKey, spec: &RepositorySpec) -> Result<(), Problem> {
    let name = format!("{} {}", key.kind.as_str(), key.name);
    let refused =
        |why: &str| Err(Problem::new(Reason::NotSupported, format!("method: Direct cannot use {name}: {why}")));
    if key.kind == RepositoryKind::ClusterResticRepository {
        return refused("its credentials would come into the app's namespace; make a ResticRepository there");
    }
    if spec.volume.is_some() {
        return refused("its volume is in the operator's namespace; use one that is reached over the network");
    }
    Ok(())
}

/// Where a mover runs beside an app, and as whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Beside {
    /// The node of the pods that use a claim which only one node can have.
    pub(super) node: Option<String>,
    tolerations: Vec<Toleration>,
    user: Option<RunAs>,
}

/// Beside the pods that use the run's claims.
pub(super) fn beside(run: &Run, seen: &Observed) -> Result<Beside, Problem> {
    let mut beside = Beside::default();
    let is_apps =
        |pod: &&Pod| !pod.labels().contains_key(labels::RUN) && run.claims.iter().any(|claim| uses(pod, claim));
    for pod in seen.pods.iter().filter(is_apps) {
        let Some(spec) = &pod.spec else { continue };
        beside.user = beside.user.or_else(|| user(pod));
        let single = |claim: &String| uses(pod, claim) && !is_shared(seen, claim);
        let Some(node) = spec.node_name.as_ref().filter(|_| run.claims.iter().any(single)) else { continue };
        match &beside.node {
            Some(other) if other != node => {
                let message = format!(
                    "the claims are in use on the nodes {other} and {node}: back them up by a VolumeBackup each"
                );
                return Err(Problem::new(Reason::VolumeUnsupported, message));
            }
            _ => beside.node = Some(node.clone()),
        }
        beside.tolerations.extend(spec.tolerations.iter().flatten().cloned());
    }
    Ok(beside)
}

impl Beside {
    /// The mover as it is declared; where that says nothing, as the app's user, on a node that the app is allowed on.
    pub(super) fn mover(&self, mut declared: MoverSpec) -> MoverSpec {
        declared.run_as = declared.run_as.or_else(|| self.user.clone());
        declared.tolerations.extend(self.tolerations.iter().cloned());
        declared
    }
}

/// Whether a pod that is not over uses a claim.
fn uses(pod: &Pod, claim: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_over = matches!(phase, Some("Succeeded" | "Failed"));
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    !is_over && claims.any(|used| used.claim_name == claim)
}

/// Whether pods on several nodes can have a claim.
fn is_shared(seen: &Observed, name: &str) -> bool {
    let claim = seen.claims.iter().find(|claim| claim.name == name).and_then(|claim| claim.claim.as_ref());
    let modes = claim.iter().flat_map(|claim| claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten()));
    modes.into_iter().any(|mode| mode.ends_with("Many"))
}

/// The user that a pod's first container runs as, where it is stated.
fn user(pod: &Pod) -> Option<RunAs> {
    let spec = pod.spec.as_ref()?;
    let (of_pod, of_container) = (spec.security_context.as_ref(), spec.containers.first()?.security_context.as_ref());
    let user = of_container.and_then(|of| of.run_as_user).or_else(|| of_pod?.run_as_user)?;
    let group = of_container.and_then(|of| of.run_as_group).or_else(|| of_pod?.run_as_group);
    let groups = of_pod.and_then(|of| of.supplemental_groups.clone()).unwrap_or_default();
    let fs_group = of_pod.and_then(|of| of.fs_group);
    Some(RunAs { user, group, supplemental_groups: groups.into_iter().chain(fs_group).collect() })
}

#[cfg(test)]
mod tests;
