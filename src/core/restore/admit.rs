//! Which restores are not run, and which claims one is about.

use super::{Plan, Step, has_ended, words};
use crate::{
    api::{
        backup::VolumeBackup,
        restore::{RestoreMethod, RestorePhase, VolumeRestore, VolumeRestoreSpec},
    },
    core::{
        conditions::Summary,
        problem::{Problem, Reason},
    },
};

/// Labels by which a GitOps tool says that an object is its own.
const GITOPS_LABELS: [&str; 3] =
    ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name", "argocd.argoproj.io/instance"];
/// The annotation by which Argo CD says so.
const GITOPS_ANNOTATION: &str = "argocd.argoproj.io/tracking-id";

/// The claims that a backup is about.
pub fn claims(backup: &VolumeBackup) -> Result<Vec<String>, Problem> {
    if backup.spec.claim_selector.is_some() {
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        return Err(not_supported(&format!("claimSelector of VolumeBackup {name}")));
    }
    if backup.spec.claim_names.is_empty() {
        return Ok(backup.metadata.name.iter().cloned().collect());
    }
    Ok(backup.spec.claim_names.clone())
}

/// Whether `other` restores the same claims, was created earlier and has not ended.
pub fn is_before(other: &VolumeRestore, restore: &VolumeRestore) -> bool {
    let created =
        |restore: &VolumeRestore| restore.metadata.creation_timestamp.as_ref().map(crate::core::time::from_k8s);
    let status = other.status.as_ref();
    let never_starts = other.spec.suspend && status.and_then(|status| status.started_at).is_none();
    other.metadata.uid != restore.metadata.uid
        && other.metadata.namespace == restore.metadata.namespace
        && other.spec.from.backup == restore.spec.from.backup
        && (created(other), &other.metadata.uid) < (created(restore), &restore.metadata.uid)
        && !never_starts
        && !has_ended(status.and_then(|status| status.phase))
}

impl Plan<'_> {
    /// Takes a new restore on, or refuses it.
    pub(super) fn admit(&self) -> Step {
        if let Some(problem) = self.managed_by_gitops().or_else(|| unsupported(&self.restore.spec)) {
            return self.fail(&problem);
        }
        if self.restore.spec.suspend {
            let mut status = self.status();
            let message = "spec.suspend is true: it starts when that is removed".to_owned();
            self.summarize(&mut status, &Summary::Progressing("Suspended", message));
            return Step::Wait(Box::new(status), 600);
        }
        let mut status = self.status();
        status.phase = Some(RestorePhase::Resolving);
        status.started_at = Some(self.now);
        let doing = words::doing(&status);
        self.summarize(&mut status, &Summary::Progressing(words::phase(RestorePhase::Resolving), doing));
        Step::Record(Box::new(status))
    }

    fn managed_by_gitops(&self) -> Option<Problem> {
        let meta = &self.restore.metadata;
        let label =
            GITOPS_LABELS.into_iter().find(|label| meta.labels.as_ref().is_some_and(|map| map.contains_key(*label)));
        let annotation = || meta.annotations.as_ref()?.contains_key(GITOPS_ANNOTATION).then_some(GITOPS_ANNOTATION);
        let mark = label.or_else(annotation)?;
        let message = format!(
            "the VolumeRestore is managed by GitOps ({mark}), so a rebuilt cluster would run it again: \
             take it out of Git and create it by hand"
        );
        Some(Problem::new(Reason::ManagedByGitOps, message))
    }
}

/// What this version does not do yet.
fn unsupported(spec: &VolumeRestoreSpec) -> Option<Problem> {
    let asked = [
        (spec.from.identity.is_some(), "from.identity"),
        (spec.from.replication_source.is_some(), "from.replicationSource"),
        (spec.from.restore.is_some(), "from.restore"),
        (spec.to.is_some(), "to"),
        (spec.method == Some(RestoreMethod::InPlace), "method: InPlace"),
        (!spec.include.is_empty(), "include"),
        (!spec.exclude.is_empty(), "exclude"),
        (spec.delete == Some(false), "delete: false"),
    ];
    let (_, field) = asked.into_iter().find(|(asked, _)| *asked)?;
    Some(not_supported(&format!("spec.{field}")))
}

fn not_supported(what: &str) -> Problem {
    Problem::new(Reason::NotSupported, format!("this version cannot restore with {what}"))
}
