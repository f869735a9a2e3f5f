//! Whose a history is, where two `VolumeBackup`s resolve to the same URL, host and path: the other's snapshots would
//! be retained, and restored, as one's own.

use std::cmp::Ordering;

use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupRepositoryStatus, BackupTarget, RepositoryKey, VolumeBackup},
        common::RepositoryKind,
        repository::RepositorySpec,
    },
    core::{
        destination::{self, Scope, public_url},
        names,
        problem::{Problem, Reason},
    },
};

use super::{accept_command, accepted, claim_names};

/// Why a `VolumeBackup` may neither write nor read where its claims' snapshots would be in a repository: another one
/// has that history. It is the one's that has a good snapshot there. Else, or where both say so, it is the older one's,
/// provided that it declares that place: a status may be forged. None where the other one's owner accepts this one.
pub fn taken<'a>(
    backup: &VolumeBackup,
    key: &RepositoryKey,
    (spec, cluster): (&RepositorySpec, &str),
    targets: &[BackupTarget],
    all: impl IntoIterator<Item = &'a VolumeBackup>,
) -> Option<Problem> {
    let begun = |of: &VolumeBackup, target: &BackupTarget| known(of, key).is_some_and(|known| has_begun(known, target));
    let holds = |other: &VolumeBackup, target: &BackupTarget| match (begun(other, target), begun(backup, target)) {
        (true, false) => true,
        (false, true) => false,
        _ => age(other, backup).is_lt() && declares(other, (spec, cluster), target),
    };
    let others = all.into_iter().filter(|other| other.uid() != backup.uid() && in_reach(backup, key, other));
    others.into_iter().find_map(|other| {
        let theirs = &known(other, key)?.targets;
        let is_theirs = |target: &&BackupTarget| theirs.iter().any(|of| is_same(of, target)) && holds(other, target);
        let target = targets.iter().find(is_theirs)?;
        let id = id(backup, target);
        (!accepted(other, &id)).then(|| problem(other, target, &id))
    })
}

/// Whether that is where a `VolumeBackup` declares to go.
fn declares(backup: &VolumeBackup, (spec, cluster): (&RepositorySpec, &str), target: &BackupTarget) -> bool {
    let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
    let scope = Scope { namespace: &namespace, name: &name, cluster };
    let declared = destination::targets(spec, scope, &claim_names(backup));
    declared.is_ok_and(|declared| declared.iter().any(|of| is_same(of, target)))
}

/// Compares where a status says that snapshots are with what is declared, which is the truth: a status that was forged
/// would lead to another's. What the status does not know yet is not compared.
///
/// Errors: `RepositoryChanged` where they differ.
pub fn confirm(key: &RepositoryKey, noted: &[BackupTarget], declared: &[BackupTarget]) -> Result<(), Problem> {
    let differs = |target: &&BackupTarget| noted.iter().any(|of| of.claim == target.claim && !is_same(of, target));
    let Some(target) = declared.iter().find(differs) else { return Ok(()) };
    let old = noted.iter().find(|of| of.claim == target.claim).map(place).unwrap_or_default();
    let message = format!(
        "the backups of {} are at {old}, and {} says {} now: correct the repository object's url and identity",
        target.claim,
        key.name,
        place(target)
    );
    Err(Problem::new(Reason::RepositoryChanged, message))
}

/// Where the snapshots of a target are, in words.
pub(super) fn place(target: &BackupTarget) -> String {
    format!("{} (host {}, path {})", public_url(&target.url), target.host, target.path)
}

fn known<'a>(backup: &'a VolumeBackup, key: &RepositoryKey) -> Option<&'a BackupRepositoryStatus> {
    backup.status.as_ref()?.repositories.iter().find(|known| known.repository == *key)
}

/// Whether a repository object of that kind is the same one for both.
fn in_reach(one: &VolumeBackup, key: &RepositoryKey, other: &VolumeBackup) -> bool {
    key.kind == RepositoryKind::ClusterResticRepository || one.namespace() == other.namespace()
}

fn is_same(one: &BackupTarget, other: &BackupTarget) -> bool {
    (&one.host, &one.path) == (&other.host, &other.path) && public_url(&one.url) == public_url(&other.url)
}

/// Whether there is a good snapshot there.
fn has_begun(known: &BackupRepositoryStatus, target: &BackupTarget) -> bool {
    known.last_success.is_some() && known.targets.iter().any(|theirs| is_same(theirs, target))
}

/// Which of two was there first.
pub(crate) fn age(one: &VolumeBackup, other: &VolumeBackup) -> Ordering {
    let of = |backup: &VolumeBackup| {
        let created = backup.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, backup.namespace(), backup.name_any())
    };
    of(one).cmp(&of(other))
}

/// What stands at the other one where its owner accepts this one. Whoever may only write this one cannot.
fn id(backup: &VolumeBackup, target: &BackupTarget) -> String {
    names::hash(&["shared", &backup.uid().unwrap_or_default(), &target.url, &target.host, &target.path], 8)
}

fn problem(other: &VolumeBackup, target: &BackupTarget, id: &str) -> Problem {
    let message = format!(
        "claim {} would go where VolumeBackup {}/{} has its history: {}. Give one of the two another name, or keep them \
         apart in the repository object's url or identity, for example with {{{{ namespace }}}}/{{{{ name }}}}. If they \
         are to share it, accept that at the other one: {}",
        target.claim,
        other.namespace().unwrap_or_default(),
        other.name_any(),
        place(target),
        accept_command(other, id)
    );
    Problem::new(Reason::HistoryTaken, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::annotations, core::backup::RESOURCE};

    fn backup(namespace: &str, name: &str, created: &str, begun: bool) -> VolumeBackup {
        let mut repository = json!({
            "repository": {"kind": "ClusterResticRepository", "name": "nas"},
            "targets": [{"claim": "config", "url": "rest:http://nas/radarr", "host": "volsync", "path": "/data"}],
        });
        if begun {
            repository["lastSuccess"] = json!("2026-11-27T04:00:00Z");
        }
        serde_json::from_value(json!({
            "apiVersion": "strongroom.dev/v1alpha1", "kind": "VolumeBackup",
            "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}/{name}"), "creationTimestamp": created},
            "spec": {"claimNames": ["config"]},
            "status": {"repositories": [repository]},
        }))
        .unwrap()
    }

    fn key(kind: RepositoryKind) -> RepositoryKey {
        RepositoryKey { kind, name: "nas".to_owned() }
    }

    fn targets(backup: &VolumeBackup) -> Vec<BackupTarget> {
        backup.status.as_ref().unwrap().repositories[0].targets.clone()
    }

    fn spec() -> RepositorySpec {
        serde_json::from_value(json!({
            "url": "rest:http://nas/{{ name }}", "credentials": {}, "identity": {"host": "volsync", "path": "/data"},
        }))
        .unwrap()
    }

    fn why<'a>(
        one: &VolumeBackup,
        kind: RepositoryKind,
        wanted: &[BackupTarget],
        all: impl IntoIterator<Item = &'a VolumeBackup>,
    ) -> Option<Problem> {
        taken(one, &key(kind), (&spec(), "cluster"), wanted, all)
    }

    fn is_taken(one: &VolumeBackup, other: &VolumeBackup) -> bool {
        why(one, RepositoryKind::ClusterResticRepository, &targets(one), [one, other]).is_some()
    }

    const EARLY: &str = "2026-11-01T00:00:00Z";
    const LATE: &str = "2026-11-20T00:00:00Z";

    #[test]
    fn the_one_that_has_begun_holds_it_and_else_the_older_one() {
        for (one, other, expected) in [
            ((LATE, false), (EARLY, false), (true, false)),
            ((LATE, true), (EARLY, false), (false, true)),
            ((EARLY, true), (LATE, false), (false, true)),
            // Of the same second: by name.
            ((EARLY, false), (EARLY, false), (false, true)),
            ((EARLY, true), (LATE, true), (false, true)),
        ] {
            let (one, other) = (backup("a", "radarr", one.0, one.1), backup("b", "radarr", other.0, other.1));
            assert_eq!((is_taken(&one, &other), is_taken(&other, &one)), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_apart_is_not_taken() {
        let (one, other) = (backup("a", "radarr", LATE, false), backup("b", "radarr", EARLY, true));
        let changes: [fn(&mut BackupTarget); 3] = [
            |target| target.url = "rest:http://nas/other".to_owned(),
            |target| target.host = "a".to_owned(),
            |target| target.path = "/data/other".to_owned(),
        ];
        for change in changes {
            let mut apart = other.clone();
            change(&mut apart.status.as_mut().unwrap().repositories[0].targets[0]);
            assert!(!is_taken(&one, &apart));
        }
        // A repository object of a namespace is another one in each.
        let taken_in = |kind, other: &VolumeBackup| {
            let mut others = [one.clone(), other.clone()];
            for of in &mut others {
                of.status.as_mut().unwrap().repositories[0].repository.kind = kind;
            }
            why(&one, kind, &targets(&one), &others).is_some()
        };
        assert!(taken_in(RepositoryKind::ClusterResticRepository, &other));
        assert!(!taken_in(RepositoryKind::ResticRepository, &other));
        assert!(taken_in(RepositoryKind::ResticRepository, &backup("a", "sonarr", EARLY, true)));
    }

    #[test]
    fn what_the_status_says_is_only_compared() {
        let noted = targets(&backup("a", "radarr", EARLY, true));
        let mut declared = noted.clone();
        let kind = key(RepositoryKind::ClusterResticRepository);
        assert_eq!(confirm(&kind, &noted, &declared), Ok(()));
        declared[0].url = "rest:http://user:secret@nas/radarr".to_owned();
        assert_eq!(confirm(&kind, &noted, &declared), Ok(()), "credentials are not compared");
        assert_eq!(confirm(&kind, &[], &declared), Ok(()), "nothing is known yet");
        declared[0].host = "a".to_owned();
        insta::assert_snapshot!(confirm(&kind, &noted, &declared).unwrap_err().message);
    }

    #[test]
    fn a_history_that_was_begun_elsewhere_gives_no_right_to_another() {
        let (mut one, other) = (backup("a", "radarr", LATE, true), backup("b", "radarr", EARLY, false));
        let wanted = targets(&one);
        one.status.as_mut().unwrap().repositories[0].targets[0].url = "rest:http://nas/old".to_owned();
        assert!(why(&one, RepositoryKind::ClusterResticRepository, &wanted, [&other]).is_some());
    }

    #[test]
    fn a_forged_status_takes_no_history_away() {
        let one = backup("a", "radarr", LATE, true);
        assert!(is_taken(&one, &backup("b", "radarr", EARLY, true)));
        assert!(!is_taken(&one, &backup("b", "sonarr", EARLY, true)), "it declares another place");
    }

    #[test]
    fn only_the_others_owner_can_accept_it() {
        let (mut one, mut other) = (backup("a", "radarr", LATE, false), backup("b", "radarr", EARLY, true));
        let problem = why(&one, RepositoryKind::ClusterResticRepository, &targets(&one), [&other]).unwrap();
        insta::assert_snapshot!(problem.message);
        let id = names::asked_to_accept(&problem.message, RESOURCE, Some("b"), "radarr").unwrap().to_owned();
        one.annotations_mut().insert(annotations::ACCEPT.to_owned(), id.clone());
        assert!(is_taken(&one, &other));
        other.annotations_mut().insert(annotations::ACCEPT.to_owned(), id);
        assert!(!is_taken(&one, &other));
    }
}
