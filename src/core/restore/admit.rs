//! Which restores are not run, and which claims one is about.

use std::time::Duration;

use super::{Plan, Step, has_ended, words};
use crate::{
    api::{
        backup::{RepositoryKey, VolumeBackup},
        common::RepositoryRef,
        restore::{RestoreMethod, RestorePhase, VolumeRestore, VolumeRestoreSpec},
    },
    core::{
        backup,
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
    let claims = backup::claim_names(backup);
    if claims.is_empty() {
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        let message = format!("VolumeBackup {name} has found no claim with the labels of its claimSelector yet");
        return Err(Problem::new(Reason::ClaimNotFound, message));
    }
    Ok(claims)
}

/// The repository object that is restored from: the one that is named, or the only one that the backup has, or the
/// default.
pub fn repository(
    spec: &VolumeRestoreSpec,
    backup: &VolumeBackup,
    default: Option<RepositoryKey>,
) -> Result<RepositoryKey, Problem> {
    let key = |reference: &RepositoryRef| RepositoryKey { kind: reference.kind, name: reference.name.clone() };
    let declared: Vec<RepositoryKey> = match backup.spec.repository_refs.as_slice() {
        [] => default.into_iter().collect(),
        references => references.iter().map(|reference| key(&reference.repository)).collect(),
    };
    let title = format!("VolumeBackup {}", backup.metadata.name.as_deref().unwrap_or_default());
    let places = || declared.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
    match (spec.from.repository_ref.as_ref().map(key), declared.as_slice()) {
        (Some(named), all) if all.contains(&named) => Ok(named),
        (Some(named), _) => {
            let message = format!("{title} does not go to {}: it goes to {}", named.name, places());
            Err(Problem::new(Reason::InvalidSpec, message))
        }
        (None, [only]) => Ok(only.clone()),
        (None, []) => {
            let message = "no ClusterResticRepository is the default: set default: true on one".to_owned();
            Err(Problem::new(Reason::RepositoryNotFound, message))
        }
        (None, _) => {
            let message = format!("{title} goes to {}: name one of them in from.repositoryRef", places());
            Err(Problem::new(Reason::InvalidSpec, message))
        }
    }
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
            return Step::Wait(Box::new(status), Duration::from_mins(10));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::RepositoryKind;

    fn spec(text: &str) -> VolumeRestoreSpec {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_done_yet_is_named() {
        let fields = [
            ("{from: {identity: {host: a, path: /b}, repositoryRef: {name: nas}}}", "from.identity"),
            ("{from: {replicationSource: a}}", "from.replicationSource"),
            ("{from: {restore: a}}", "from.restore"),
            ("{from: {backup: a}, to: {claimName: b}}", "spec.to"),
            ("{from: {backup: a}, method: InPlace}", "method: InPlace"),
            ("{from: {backup: a}, include: [b]}", "include"),
            ("{from: {backup: a}, exclude: [b]}", "exclude"),
            ("{from: {backup: a}, delete: false}", "delete: false"),
        ];
        for (text, field) in fields {
            let problem = unsupported(&spec(text)).unwrap();
            assert!(problem.message.contains(field), "{problem}");
            assert_eq!(problem.reason, Reason::NotSupported);
        }
        assert_eq!(unsupported(&spec("{from: {backup: a}, workload: Ignore, delete: true, method: Swap}")), None);
    }

    #[test]
    fn the_repository_is_named_or_the_only_one_or_the_default() {
        let key = |name: &str| RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: name.to_owned() };
        let cases = [
            ("{from: {backup: a}}", "{}", Some("nas"), Ok("nas")),
            ("{from: {backup: a}}", "{}", None, Err(Reason::RepositoryNotFound)),
            ("{from: {backup: a}}", "{repositoryRefs: [{name: s3}]}", Some("nas"), Ok("s3")),
            ("{from: {backup: a}}", "{repositoryRefs: [{name: s3}, {name: nas}]}", None, Err(Reason::InvalidSpec)),
            (
                "{from: {backup: a, repositoryRef: {name: nas}}}",
                "{repositoryRefs: [{name: s3}, {name: nas}]}",
                None,
                Ok("nas"),
            ),
            (
                "{from: {backup: a, repositoryRef: {name: b2}}}",
                "{repositoryRefs: [{name: s3}]}",
                None,
                Err(Reason::InvalidSpec),
            ),
        ];
        for (restore, backup, default, expected) in cases {
            let backup = VolumeBackup::new("a", serde_saphyr::from_str(backup).unwrap());
            let found = repository(&spec(restore), &backup, default.map(key));
            assert_eq!(found.map_err(|problem| problem.reason), expected.map(key), "{restore}");
        }
    }
}
