use insta::assert_yaml_snapshot;
use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

use super::{
    simulation::{CacheFault, Cluster, End, claim, key, repository, time, world},
    *,
};
use crate::{
    api::{
        backup::{RunResult, VolumeBackupSpec},
        common::ConditionStatus,
    },
    core::{
        conditions, confirm,
        effect::{self, On},
        problem::Reason,
        series::Page,
        task::{Answer, BackedUp, FailureKind, Others, Outcome, Written},
    },
};

fn spec(value: serde_json::Value) -> VolumeBackupSpec {
    serde_json::from_value(value).unwrap()
}

/// A cluster whose `VolumeBackup` has been looked at once.
fn cluster(value: serde_json::Value) -> Cluster {
    let mut cluster = Cluster::new(spec(value));
    cluster.settle();
    cluster
}

fn ready(cluster: &Cluster) -> (ConditionStatus, String, String) {
    let status = cluster.status();
    let ready = conditions::get(&status.conditions, conditions::READY).unwrap().clone();
    (ready.status, ready.reason, ready.message)
}

/// The ids that the object asks to accept.
fn asked(cluster: &Cluster) -> Vec<String> {
    confirm::of_backup(&cluster.backup).into_iter().map(|question| question.id).collect()
}

fn last_run(cluster: &Cluster) -> (String, String) {
    let status = cluster.status();
    let condition = conditions::get(&status.repositories[0].conditions, LAST_RUN).unwrap().clone();
    (condition.reason, condition.message)
}

#[test]
fn a_run_costs_what_was_promised() {
    let mut cluster = cluster(json!({}));
    assert_eq!(cluster.writes, 1, "the first look");
    cluster.writes = 0;
    cluster.now = time("2026-09-24T12:00:01Z");
    cluster.settle();
    assert!(cluster.is_clean());
    assert_eq!((cluster.creations, cluster.deletions, cluster.writes), (6, 6, 4));
    assert_eq!(cluster.refusals, 0, "the snapshot goes after the volume");
    let status = cluster.status();
    assert_eq!(status.last_result, Some(RunResult::Succeeded));
    assert_yaml_snapshot!(
        json!({"status": status, "notes": cluster.notes.iter().map(|note| &note.message).collect::<Vec<_>>()})
    );
    // Nothing more is written until the next time.
    cluster.now = time("2026-09-24T12:59:59Z");
    cluster.settle();
    assert_eq!(cluster.writes, 4);
}

#[test]
fn the_movers_job() {
    let mut cluster = cluster(json!({"exclude": ["*.tmp"], "claimNames": ["config", "media"]}));
    cluster.now = time("2026-09-24T12:00:01Z");
    let job = loop {
        let _ = cluster.control();
        cluster.snapshotter();
        if let Some((job, _)) = cluster.jobs.values().next() {
            break job.clone();
        }
    };
    let container = &job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    let task: serde_json::Value =
        serde_json::from_str(container.env.as_ref().unwrap()[0].value.as_ref().unwrap()).unwrap();
    assert_yaml_snapshot!(json!({"task": task, "mounts": container.volume_mounts, "name": job.metadata.name}));
}

#[test]
fn by_hand() {
    let mut cluster = Cluster::new(spec(json!({})));
    if let Ok((repository, _)) = &mut cluster.repositories[0].state {
        repository.schedule = None;
    }
    cluster.settle();
    assert_yaml_snapshot!((ready(&cluster), cluster.status().message));
    // Both annotations have to have the same value.
    cluster.force("one");
    cluster.backup.annotations_mut().insert(annotations::REQUESTED_AT.to_owned(), "other".to_owned());
    cluster.settle();
    assert!(cluster.status().runs.is_empty());
    assert_eq!(cluster.status().last_handled_reconcile_at.as_deref(), Some("other"));
    cluster.force("one");
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.status().runs.len(), 1, "once for each value");
    cluster.force("two");
    cluster.settle();
    assert_eq!(cluster.status().runs.len(), 2);
}

#[test]
fn a_selector_follows_the_labels() {
    let mut cluster = Cluster::new(spec(json!({"claimSelector": {"matchLabels": {"app": "paperless"}}})));
    cluster.claims = ["data", "media"].map(|name| (name.to_owned(), claim(name))).into();
    let backed_up = |cluster: &mut Cluster, token: &str| {
        cluster.force(token);
        cluster.settle();
        assert!(cluster.is_clean());
        let status = cluster.status();
        let newest = status.runs.iter().take_while(|run| run.id == status.runs[0].id);
        let mut claims: Vec<String> = newest.map(|run| run.claim.clone()).collect();
        claims.sort();
        assert_eq!(claim_names(&cluster.backup), claims);
        claims
    };
    assert_eq!(backed_up(&mut cluster, "one"), ["data", "media"]);
    cluster.claims.insert("cache".to_owned(), claim("cache"));
    assert_eq!(backed_up(&mut cluster, "two"), ["cache", "data", "media"]);
    cluster.claims.remove("data");
    assert_eq!(backed_up(&mut cluster, "three"), ["cache", "media"]);
}

/// A cluster in which two claims are snapshotted as one.
fn grouped() -> Cluster {
    let mut cluster = Cluster::new(spec(json!({"claimNames": ["data", "media"]})));
    cluster.group();
    cluster.settle();
    cluster
}

#[test]
fn several_claims_are_snapshotted_as_one() {
    let mut cluster = grouped();
    (cluster.creations, cluster.deletions, cluster.writes) = (0, 0, 0);
    cluster.force("now");
    cluster.settle();
    assert!(cluster.is_clean());
    // One group, then twin, its content and staging claim for each claim; Job and credentials.
    assert_eq!((cluster.creations, cluster.deletions, cluster.writes), (9, 9, 4));
    assert_eq!(cluster.refusals, 0, "the group goes after the volumes");
    let status = cluster.status();
    assert_eq!(status.last_result, Some(RunResult::Succeeded));
    assert_yaml_snapshot!(status.claims);
}

#[test]
fn without_a_snapshot_of_a_claim_a_group_is_no_use_and_each_is_snapshotted_by_itself() {
    let mut cluster = grouped();
    cluster.force("now");
    while cluster.groups.is_empty() {
        cluster.control();
    }
    // The labels of one are changed before the snapshots are made.
    let media = cluster.claims.remove("media").unwrap();
    cluster.snapshotter();
    cluster.claims.insert("media".to_owned(), media);
    cluster.control();
    assert_yaml_snapshot!(cluster.status().message);
    while cluster.status().run.is_some_and(|run| run.attempt == 1) {
        if let Some(wait) = cluster.step() {
            cluster.now += chrono::Duration::from_std(wait).unwrap();
        }
    }
    cluster.settle();
    assert!(cluster.is_clean());
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded), "by a retry");
    // The next run tries it again.
    cluster.force("again");
    cluster.settle();
    assert!(cluster.status().claims.iter().all(|claim| claim.reason.contains("as one")));
}

#[test]
fn a_run_whose_cache_cannot_be_had_ends_without_it() {
    for fault in [CacheFault::Refused, CacheFault::Unbound] {
        let mut cluster = cluster(json!({}));
        cluster.keep_caches();
        cluster.cache_fault = Some(fault);
        cluster.force("now");
        let begun = cluster.now;
        let mut said = vec![];
        while cluster.status().runs.is_empty() {
            let wait = cluster.step().unwrap_or_default();
            cluster.now += chrono::Duration::from_std(wait).unwrap();
            said.extend(cluster.status().message.filter(|message| message.contains("attempt 1")));
        }
        assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded), "by a retry");
        assert!(cluster.now - begun < chrono::Duration::minutes(15), "{}", cluster.now);
        assert_yaml_snapshot!(said[0]);
    }
}

#[test]
fn a_cache_is_kept_on_a_claim_of_its_own() {
    let mut cluster = cluster(json!({}));
    cluster.keep_caches();
    let run = |cluster: &mut Cluster, token: &str| {
        (cluster.creations, cluster.deletions) = (0, 0);
        cluster.force(token);
        while cluster.jobs.is_empty() {
            cluster.step();
        }
        let (job, _) = cluster.jobs.first_key_value().unwrap().1.clone();
        cluster.settle();
        assert!(cluster.is_clean());
        let pod = job.spec.unwrap().template.spec.unwrap();
        let cache: Vec<_> =
            pod.containers[0].env.clone().unwrap().into_iter().map(|env| env.value.unwrap()).skip(1).collect();
        let mounts = pod.containers[0].volume_mounts.clone().unwrap().into_iter().map(|mount| mount.mount_path);
        (cluster.creations, cluster.deletions, cache, mounts.collect::<Vec<_>>())
    };
    assert_yaml_snapshot!([run(&mut cluster, "one"), run(&mut cluster, "two")]);
    assert_eq!(cluster.caches.len(), 1);
    let name = cluster.caches.keys().next().unwrap().clone();
    let (key, spec) = (cluster.repositories[0].key.clone(), cluster.repositories[0].state.clone().unwrap().0);
    assert_yaml_snapshot!(super::cache::cache_claim(&cluster.backup, &key, &spec, "strongroom-system"));
    let mut other = cluster.backup.clone();
    assert!(keeps(&other, [(&key, &spec)], &name));
    assert!(!keeps(&other, [(&key, &RepositorySpec { mover: None, ..spec.clone() })], &name), "not declared any more");
    other.metadata.uid = Some("u-2".to_owned());
    assert!(!keeps(&other, [(&key, &spec)], &name), "another object's");
    // With a user that cannot write to it, which stands in the other object.
    cluster.backup.spec.mover = serde_json::from_value(json!({"runAs": {"user": 1000}})).unwrap();
    cluster.settle();
    assert_yaml_snapshot!(ready(&cluster));
}

#[test]
fn a_content_that_is_another_ones_is_never_staged() {
    let mut cluster = cluster(json!({"retries": 0, "stagingTimeout": "1m"}));
    cluster.force("now");
    while cluster.snapshots.is_empty() {
        cluster.control();
    }
    cluster.snapshotter();
    // Whoever may write the status of the snapshot names somebody else's content in it.
    for content in cluster.contents.values_mut() {
        content.spec.volume_snapshot_ref.namespace = "bank".to_owned();
    }
    cluster.settle();
    assert!(cluster.is_clean());
    assert_yaml_snapshot!(last_run(&cluster));
}

#[test]
fn on_creation() {
    let mut cluster = cluster(json!({"runOnCreate": true}));
    assert_eq!(cluster.status().runs.len(), 1);
    cluster.settle();
    assert_eq!(cluster.status().runs.len(), 1);
}

#[test]
fn a_pause_is_caught_up_once() {
    let mut cluster = cluster(json!({}));
    cluster.now = time("2026-09-27T07:30:00Z");
    cluster.settle();
    assert_eq!(cluster.status().runs.len(), 1);
    assert!(cluster.status().next_run.unwrap() > cluster.now);
}

#[test]
fn what_blocks_is_said_and_clears_by_itself() {
    type Change = Box<dyn Fn(&mut Cluster)>;
    let problem = |reason, message: &str| Err(Problem::new(reason, message));
    let mut cases = vec![];
    let changes: Vec<Change> = vec![
        Box::new(|cluster| cluster.claims.clear()),
        Box::new(|cluster| {
            cluster.claims.get_mut("radarr").unwrap().volume = None;
        }),
        Box::new(|cluster| cluster.classes.clear()),
        Box::new(move |cluster| {
            cluster.repositories[0].state = problem(Reason::RepositoryNotReady, "the base is missing");
        }),
        Box::new(|cluster| {
            cluster.repositories[0].state.as_mut().unwrap().0.read_only = true;
        }),
        Box::new(|cluster| {
            cluster.repositories[0].state.as_mut().unwrap().0.suspend = true;
        }),
        Box::new(|cluster| {
            cluster.repositories[0].state.as_mut().unwrap().0.schedule = Some("every day".to_owned());
        }),
        Box::new(|cluster| {
            cluster.repositories[0].taken = Some(Problem::new(Reason::HistoryTaken, "media/sonarr has it"));
        }),
        Box::new(|cluster| cluster.backup.spec.suspend = true),
        Box::new(|cluster| {
            cluster.world.hooks = false;
            cluster.backup.spec.hooks = serde_json::from_value(json!({"before": [{"command": ["sync"]}]})).unwrap();
        }),
        Box::new(|cluster| cluster.backup.spec.method = Some(crate::api::backup::BackupMethod::Clone)),
        Box::new(|cluster| {
            cluster.claims.clear();
            cluster.backup.spec.claim_selector = serde_json::from_value(json!({})).unwrap();
        }),
    ];
    for change in changes {
        let mut cluster = Cluster::new(spec(json!({})));
        change(&mut cluster);
        cluster.settle();
        let stalled = conditions::get(&cluster.status().conditions, conditions::STALLED).is_some();
        cases.push((cluster.status().phase, ready(&cluster), stalled));
        let whole = Cluster::new(spec(json!({})));
        (cluster.claims, cluster.classes, cluster.repositories) = (whole.claims, whole.classes, whole.repositories);
        cluster.backup.spec = whole.backup.spec;
        cluster.settle();
        assert_eq!(cluster.status().phase, Some(BackupPhase::Idle));
        assert_eq!(ready(&cluster).0, ConditionStatus::True);
        assert!(conditions::get(&cluster.status().conditions, conditions::STALLED).is_none());
    }
    assert_yaml_snapshot!(cases);
}

#[test]
fn a_run_that_waits_says_so_once() {
    let mut cluster = cluster(json!({}));
    cluster.now = time("2026-09-24T12:00:01Z");
    cluster.place = Place::Full("4 movers run, the cluster's limit".to_owned());
    cluster.settle();
    let status = cluster.status();
    assert_eq!(status.phase, Some(BackupPhase::Queued));
    assert_eq!(status.message.as_deref(), Some("waits for its place: 4 movers run, the cluster's limit"));
    let writes = cluster.writes;
    cluster.place = Place::Full("3 backups run into nas, its limit".to_owned());
    cluster.settle();
    assert_eq!(cluster.writes, writes);
    cluster.place = Place::Granted;
    cluster.settle();
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded));
}

#[test]
fn the_series_say_how_it_went() {
    let mut cluster = cluster(json!({}));
    let page = |cluster: &Cluster, place: Option<usize>| {
        let mut page = Page::default();
        measure(&mut page, &[std::sync::Arc::new(cluster.backup.clone())], |_| place, cluster.now);
        page.lines()
    };
    let new = page(&cluster, Some(3));
    cluster.now = time("2026-09-24T12:00:01Z");
    cluster.settle();
    let good = page(&cluster, None);
    cluster.end = End::Unread;
    for token in ["one", "two"] {
        cluster.force(token);
        cluster.settle();
    }
    assert_yaml_snapshot!([new, good, page(&cluster, None)]);
}

#[test]
fn the_next_attempt_asks_for_a_place_of_its_own() {
    let mut cluster = cluster(json!({}));
    cluster.end = End::Fails(FailureKind::Unreachable);
    cluster.force("now");
    for _ in 0..50 {
        if is_between_attempts(&cluster.backup, cluster.now) {
            break;
        }
        cluster.step();
    }
    assert_eq!((running(&cluster.backup, cluster.now), &cluster.place), (None, &Place::Unasked), "others may run");
    assert!(!is_queued(&cluster.backup, cluster.now), "a free place is of no use to it yet");
    cluster.now += chrono::Duration::minutes(1);
    cluster.place = Place::Full("4 movers run, the cluster's limit".to_owned());
    let mut waits = || {
        for _ in 0..50 {
            cluster.step();
        }
        cluster.writes
    };
    assert_eq!(waits(), waits(), "it is said once");
    assert!(is_queued(&cluster.backup, cluster.now));
    let message = "attempt 2 waits for its place: 4 movers run, the cluster's limit";
    assert_eq!(cluster.status().message.as_deref(), Some(message));
    assert!(cluster.jobs.is_empty() && cluster.snapshots.is_empty());
    (cluster.place, cluster.end) = (Place::Granted, End::Good);
    cluster.settle();
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded));
}

#[test]
fn each_failure_has_its_reason_and_its_retries() {
    let mut cases = vec![];
    for end in [
        End::Fails(FailureKind::Unreachable),
        End::Fails(FailureKind::WrongPassword),
        End::Fails(FailureKind::NoRepository),
        End::Fails(FailureKind::BaseChanged),
        End::Fails(FailureKind::Locked),
        End::Fails(FailureKind::Empty),
        End::Fails(FailureKind::Fatal),
        End::OutOfMemory,
        End::Evicted,
        End::JobDeleted,
        End::Unread,
    ] {
        let mut cluster = cluster(json!({}));
        cluster.end = end;
        cluster.force("now");
        cluster.settle();
        assert!(cluster.is_clean());
        // One bad night does not make the declaration wrong.
        assert_eq!(ready(&cluster).0, ConditionStatus::True, "{end:?}");
        assert_eq!(cluster.status().phase, Some(BackupPhase::Idle), "{end:?}");
        let word = last_run(&cluster).0;
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == word);
        let told = |reason: &Reason| effect::effects(On::VolumeBackup, *reason).contains(&effect::AFTER_A_RUN);
        assert!(reason.is_some_and(told) || word == "Partial", "the page of messages says nothing of {word}");
        cases.push(json!({
            "end": format!("{end:?}"),
            "attempts": cluster.creations / 6,
            "result": cluster.status().last_result,
            "condition": last_run(&cluster),
            "message": cluster.status().message,
            "event": cluster.notes.iter().map(|note| format!("{} {}", note.warning, note.reason)).collect::<Vec<_>>(),
        }));
        assert!(cluster.status().snapshots.is_empty());
    }
    assert_yaml_snapshot!(cases);
}

#[test]
fn a_lock_in_the_way_is_removed_by_the_next_run_once_someone_accepts_that() {
    let mut cluster = cluster(json!({"retries": 0}));
    let wanted = |cluster: &mut Cluster, token: &str| {
        cluster.force(token);
        while cluster.jobs.is_empty() {
            let _ = cluster.control();
            cluster.snapshotter();
            cluster.provisioner();
        }
        let (job, _) = cluster.jobs.values().next().unwrap();
        let env = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].env.clone().unwrap();
        let task: serde_json::Value = serde_json::from_str(env[0].value.as_ref().unwrap()).unwrap();
        cluster.settle();
        task["backup"]["unlock"].clone()
    };
    cluster.end = End::Fails(FailureKind::Locked);
    assert_eq!(wanted(&mut cluster, "one"), json!(null));
    assert_eq!(asked(&cluster), ["unlock-0ef4cb6f"], "{:?}", last_run(&cluster));
    let accept = (annotations::ACCEPT.to_owned(), "unlock-0ef4cb6f".to_owned());
    cluster.backup.annotations_mut().extend([accept]);
    assert_eq!(wanted(&mut cluster, "two"), json!(["0ef4cb6f"]));
    cluster.end = End::Good;
    wanted(&mut cluster, "three");
    assert!(asked(&cluster).is_empty());
}

#[test]
fn a_run_that_loses_what_it_needs_ends_with_that_reason() {
    type Change = fn(&mut Cluster);
    let refuse: fn(&mut Cluster, Reason) =
        |cluster, reason| cluster.repositories[0].state = Err(Problem::new(reason, "the cause"));
    // What goes, and whether the snapshot is there by then.
    let cases: [(Reason, bool, Change); 9] = [
        (Reason::ClaimNotFound, false, |cluster| cluster.claims.clear()),
        (Reason::ClaimPending, false, |cluster| cluster.claims.get_mut("radarr").unwrap().volume = None),
        (Reason::SnapshotClassMissing, false, |cluster| cluster.classes.clear()),
        (Reason::VolumeUnsupported, false, |cluster| {
            let volume = cluster.claims.get_mut("radarr").unwrap().volume.as_mut().unwrap();
            volume.spec.as_mut().unwrap().volume_mode = Some("Block".to_owned());
        }),
        (Reason::RepositoryNotFound, true, |cluster| cluster.repositories[0].key.name = "other".to_owned()),
        (Reason::CredentialsMissing, true, |cluster| {
            cluster.credentials_problem = Some(Problem::new(Reason::CredentialsMissing, "the Secret is gone"));
        }),
        (Reason::HistoryTaken, true, |cluster| {
            cluster.repositories[0].taken = Some(Problem::new(Reason::HistoryTaken, "the cause"));
        }),
        (Reason::RepositoryNotReady, true, |_| {}),
        (Reason::RepositoryNotAllowed, true, |_| {}),
    ];
    for (reason, staged, change) in cases {
        let mut cluster = cluster(json!({}));
        cluster.force("now");
        for _ in 0..50 {
            if cluster.status().run.is_none() || (staged && cluster.staged.is_empty()) {
                let _ = cluster.control();
                cluster.snapshotter();
            }
        }
        let whole = Cluster::new(spec(json!({})));
        change(&mut cluster);
        if matches!(reason, Reason::RepositoryNotReady | Reason::RepositoryNotAllowed) {
            refuse(&mut cluster, reason);
        }
        for _ in 0..50 {
            if cluster.status().phase != Some(BackupPhase::Cleaning) {
                let _ = cluster.control();
                cluster.snapshotter();
            }
        }
        (cluster.claims, cluster.classes, cluster.repositories) = (whole.claims, whole.classes, whole.repositories);
        cluster.credentials_problem = None;
        cluster.settle();
        assert!(cluster.is_clean());
        assert_eq!(last_run(&cluster).0, reason.as_str());
        assert_eq!((cluster.status().phase, ready(&cluster).0), (Some(BackupPhase::Idle), ConditionStatus::True));
        assert!(conditions::get(&cluster.status().conditions, conditions::STALLED).is_none());
        assert!(effect::effects(On::VolumeBackup, reason).contains(&effect::AFTER_A_RUN), "{reason}");
    }
}

#[test]
fn a_snapshot_that_never_gets_ready() {
    let mut cluster = cluster(json!({"retries": 1, "stagingTimeout": "2m"}));
    cluster.snapshots_work = false;
    cluster.force("now");
    cluster.settle();
    assert!(cluster.is_clean());
    assert_eq!(cluster.creations, 2, "one snapshot for each attempt");
    assert_yaml_snapshot!(last_run(&cluster));
}

#[test]
fn two_repositories_share_a_snapshot_and_one_retries_alone() {
    let mut cluster = Cluster::new(spec(json!({})));
    cluster.repositories.push(repository("s3"));
    cluster.settle();
    cluster.force("now");
    while cluster.jobs.len() < 2 {
        let _ = cluster.control();
        cluster.snapshotter();
    }
    assert_eq!(cluster.creations, 8);
    // One of the movers succeeds, the other is evicted.
    cluster.provisioner();
    let stored = BackedUp { claim: "radarr".to_owned(), snapshot: Some("a".repeat(64)), ..BackedUp::default() };
    let good = Answer::new(Some("nas-id".to_owned()), Outcome::BackedUp(vec![stored]));
    let mut ends =
        [MoverState::Finished(good), MoverState::Lost(Problem::new(Reason::Interrupted, "evicted"))].into_iter();
    for (_, state) in cluster.jobs.values_mut() {
        *state = ends.next().unwrap();
    }
    let _ = cluster.control();
    let _ = cluster.control();
    assert_eq!(cluster.status().phase, Some(BackupPhase::Cleaning));
    assert!(cluster.status().runs.is_empty(), "the run goes on");
    cluster.settle();
    let status = cluster.status();
    // What removes the lock of the one that was evicted, and the second attempt.
    assert_eq!(cluster.creations, 8 + 1 + 6);
    let results: Vec<_> = status.runs.iter().map(|run| (run.repository.name.as_str(), run.result)).collect();
    assert_eq!(results, [("nas", RunResult::Succeeded), ("s3", RunResult::Succeeded)]);
    assert!(status.repositories.iter().all(|repository| repository.last_success.is_some()));
}

#[test]
fn one_repository_down_does_not_stop_the_other() {
    let mut cluster = Cluster::new(spec(json!({})));
    cluster.repositories.push(SeenRepository {
        key: key("s3"),
        state: Err(Problem::new(Reason::RepositoryNotReady, "s3 is down")),
        taken: None,
        at_work: None,
    });
    cluster.settle();
    assert_eq!(ready(&cluster), (ConditionStatus::False, "RepositoryNotReady".to_owned(), "s3 is down".to_owned()));
    cluster.force("now");
    cluster.settle();
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded));
}

#[test]
fn much_less_than_before_is_suspect_until_accepted() {
    let mut cluster = cluster(json!({}));
    cluster.force("one");
    cluster.settle();
    let mut status = cluster.status();
    status.runs[0].files = Some(1000);
    cluster.backup.status = Some(status);
    cluster.force("two");
    cluster.settle();
    let status = cluster.status();
    assert_eq!(status.last_result, Some(RunResult::Suspect));
    assert_eq!(status.snapshots.len(), 1, "it does not count as good");
    assert_eq!((status.phase, ready(&cluster).0), (Some(BackupPhase::Idle), ConditionStatus::True));
    assert_yaml_snapshot!(last_run(&cluster));
    let id = status.runs[0].snapshot.as_ref().unwrap()[..8].to_owned();
    assert_eq!(asked(&cluster), [id.as_str()]);
    cluster.backup.annotations_mut().insert(annotations::ACCEPT.to_owned(), id);
    cluster.settle();
    assert_eq!(asked(&cluster), [""; 0]);
    let status = cluster.status();
    assert_eq!((status.last_result, status.snapshots.len()), (Some(RunResult::Succeeded), 2));
    assert_eq!(last_run(&cluster).0, "Succeeded");
}

#[test]
fn what_the_base_does_not_know_is_told_by_the_next_run() {
    let mut cluster = cluster(json!({}));
    let run = |cluster: &mut Cluster, end: End, untold: bool, wish: &str| {
        (cluster.end, cluster.untold) = (end, untold);
        cluster.force(wish);
        cluster.settle();
        let of = &cluster.repositories[0].key;
        known::untold(&cluster.backup, of).into_iter().map(|verdict| verdict.good).collect::<Vec<_>>()
    };
    assert_eq!(run(&mut cluster, End::Unread, false, "one"), [false; 0]);
    assert_eq!(run(&mut cluster, End::Unread, true, "two"), [false]);
    // A run that tells nothing, and one that cannot, leave it to the next.
    assert_eq!(run(&mut cluster, End::Fails(FailureKind::Empty), false, "three"), [false]);
    assert_eq!(run(&mut cluster, End::Good, true, "four"), [true, false]);
    assert_eq!(run(&mut cluster, End::Good, false, "five"), [false; 0]);
    // What someone accepts is to be told too.
    let mut status = cluster.status();
    status.runs[0].files = Some(1000);
    cluster.backup.status = Some(status);
    assert_eq!(run(&mut cluster, End::Good, false, "six"), [false; 0]);
    let id = cluster.status().runs[0].snapshot.as_ref().unwrap()[..8].to_owned();
    cluster.backup.annotations_mut().insert(annotations::ACCEPT.to_owned(), id);
    cluster.settle();
    assert_eq!(accepted_snapshots(&cluster.backup, &cluster.repositories[0].key).len(), 1);
    assert_eq!(run(&mut cluster, End::Good, false, "seven"), [false; 0]);
}

#[test]
fn a_history_does_not_fork_unasked() {
    let mut cluster = cluster(json!({}));
    let change = |cluster: &mut Cluster, url: &str| {
        cluster.repositories[0].state.as_mut().unwrap().0.url = url.to_owned();
        cluster.settle();
    };
    // Before the first good backup there is no history.
    change(&mut cluster, "s3:https://nas/other/{{ name }}");
    assert_eq!(cluster.status().phase, Some(BackupPhase::Idle));
    cluster.force("one");
    cluster.settle();
    change(&mut cluster, "s3:https://key:geheim@nas/wrong/{{ name }}");
    let (status, reason, message) = ready(&cluster);
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "RepositoryChanged"));
    assert_yaml_snapshot!(message);
    let id = asked(&cluster).remove(0);
    cluster.backup.annotations_mut().insert(annotations::ACCEPT.to_owned(), id);
    cluster.settle();
    assert_eq!(cluster.status().phase, Some(BackupPhase::Idle));
    assert_eq!(cluster.status().repositories[0].targets[0].url, "s3:https://nas/wrong/radarr");
}

#[test]
fn another_repository_is_not_taken_for_the_known_one() {
    let mut cluster = cluster(json!({}));
    cluster.force("one");
    cluster.settle();
    let mut status = cluster.status();
    status.repositories[0].id = Some("0123456789".to_owned());
    cluster.backup.status = Some(status);
    cluster.force("two");
    cluster.settle();
    assert_eq!(cluster.status().last_result, Some(RunResult::Failed));
    assert_yaml_snapshot!(last_run(&cluster));
    // A repository that was known and is gone is not created anew.
    assert!(!results::may_create(&cluster.backup, &key("nas")));
    cluster.backup.annotations_mut().insert(annotations::ACCEPT.to_owned(), "repo-id".to_owned());
    cluster.force("three");
    cluster.settle();
    assert_eq!(cluster.status().repositories[0].id.as_deref(), Some("repo-id"));
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded));
}

#[test]
fn freshness_is_lost_after_two_times() {
    let mut cluster = cluster(json!({"retries": 0}));
    let fresh = |cluster: &Cluster| {
        let status = cluster.status();
        let condition = conditions::get(&status.repositories[0].conditions, FRESH).unwrap().clone();
        (condition.status, condition.reason)
    };
    assert_eq!(fresh(&cluster), (ConditionStatus::False, "NeverBackedUp".to_owned()));
    cluster.now = time("2026-09-24T12:00:01Z");
    cluster.settle();
    assert_eq!(fresh(&cluster), (ConditionStatus::True, "BackedUp".to_owned()));
    cluster.end = End::OutOfMemory;
    for (hour, expected) in [("13", ConditionStatus::True), ("14", ConditionStatus::False)] {
        cluster.now = time(&format!("2026-09-24T{hour}:00:01Z"));
        cluster.settle();
        assert_eq!(fresh(&cluster).0, expected, "at {hour}");
    }
    assert_eq!(ready(&cluster).0, ConditionStatus::True);
}

#[test]
fn a_run_waits_while_maintenance_has_its_repository() {
    let mut cluster = cluster(json!({}));
    let at_work = |url: &str| {
        serde_json::from_value(json!({"url": url, "chore": "Check", "since": "2026-09-24T11:00:00Z"})).unwrap()
    };
    let url = cluster.status().repositories[0].targets[0].url.clone();
    cluster.repositories[0].at_work = Some(at_work(&url));
    cluster.force("now");
    for _ in 0..20 {
        cluster.step();
    }
    assert_eq!(cluster.status().phase, Some(BackupPhase::Queued));
    let said = cluster.status().message.unwrap();
    assert_eq!(said, format!("waits for its place: a check runs in {url} since 2026-09-24T11:00:00Z"));
    // Another's repository is none of its business.
    cluster.repositories[0].at_work = Some(at_work("s3:https://nas/backups/media/sonarr"));
    cluster.settle();
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded));
}

#[test]
fn the_lock_of_a_dead_mover_goes_with_each_attempt() {
    for (end, expected) in
        [(End::Good, 0), (End::Fails(FailureKind::Locked), 0), (End::OutOfMemory, 1), (End::Evicted, 2)]
    {
        let mut cluster = cluster(json!({"retries": 1}));
        cluster.end = end;
        cluster.force("now");
        cluster.settle();
        assert!(cluster.is_clean());
        assert_eq!(cluster.unlocked, expected, "{end:?}");
    }
}

#[test]
fn the_lists_stay_short() {
    let mut cluster = cluster(json!({"claimNames": ["config", "media"]}));
    for number in 0..25 {
        cluster.force(&number.to_string());
        cluster.settle();
    }
    let status = cluster.status();
    assert_eq!((status.runs.len(), status.snapshots.len()), (20, 20), "ten runs of two claims");
    assert_eq!(status.runs[0].time, cluster.status().last_success.unwrap());
}

#[test]
fn progress_is_written_when_it_moves() {
    let mut cluster = cluster(json!({}));
    cluster.force("now");
    while cluster.status().phase != Some(BackupPhase::BackingUp) {
        let _ = cluster.control();
        cluster.snapshotter();
    }
    cluster.provisioner();
    for (_, state) in cluster.jobs.values_mut() {
        *state = MoverState::Waiting("the mover cannot start: ImagePullBackOff: not found".to_owned());
    }
    while cluster.control().is_none() {}
    assert_eq!(cluster.status().message.unwrap(), "the mover cannot start: ImagePullBackOff: not found");
    for (_, state) in cluster.jobs.values_mut() {
        *state = MoverState::Running { progress: None, waits: None };
    }
    while cluster.control().is_none() {}
    assert_eq!(cluster.status().message.unwrap(), "the data is read");
    let mut at = |percent| {
        let progress = crate::api::backup::Progress { percent, files_total: 100, ..Default::default() };
        for (_, state) in cluster.jobs.values_mut() {
            *state = MoverState::Running { progress: Some(progress.clone()), waits: None };
        }
        let before = cluster.writes;
        while cluster.control().is_none() {}
        cluster.writes - before
    };
    assert_eq!((at(1), at(1), at(2)), (1, 0, 1));
}

#[test]
fn a_full_node_is_waited_for_as_long_as_it_takes() {
    let mut cluster = cluster(json!({}));
    cluster.force("now");
    while cluster.status().phase != Some(BackupPhase::BackingUp) {
        let _ = cluster.control();
        cluster.snapshotter();
    }
    let labels = |job: &Job| job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.clone().unwrap();
    assert!(cluster.jobs.values().all(|(job, _)| labels(job)["strongroom.dev/slot"].ends_with("-0")));
    // The class of the staging claim may wait for the mover.
    let full = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.";
    for (_, state) in cluster.jobs.values_mut() {
        *state = MoverState::Waiting(full.to_owned());
    }
    cluster.now += chrono::Duration::hours(5);
    while cluster.control().is_none() {}
    let status = cluster.status();
    assert_eq!(status.phase, Some(BackupPhase::BackingUp));
    assert_eq!(status.message.unwrap(), "limits.perNode of its repository: the mover waits for others to end");
}

#[test]
fn an_object_that_is_being_deleted_starts_nothing() {
    let mut backup = VolumeBackup::new("radarr", spec(json!({})));
    backup.metadata.deletion_timestamp = serde_json::from_value(json!("2026-09-24T12:00:00Z")).unwrap();
    let step = next_step(&backup, &world(), &Observed::default(), time("2026-09-24T12:00:00Z"));
    assert!(matches!(step, Step::Wait(_)));
}

#[test]
fn another_writer_is_told_until_it_is_accepted_or_gone() {
    let mut cluster = cluster(json!({}));
    let identity = json!({"host": "volsync", "path": "/data"});
    let Ok((spec, _)) = &mut cluster.repositories[0].state else { panic!("it is usable") };
    spec.identity = serde_json::from_value(identity).unwrap();
    cluster.settle();
    let wrote = |time_of: &str| {
        Some(Others::Wrote(Written { snapshot: "0a1b2c3d".to_owned(), time: time(time_of), cluster: false }))
    };
    let told = |cluster: &Cluster| {
        conditions::get(&cluster.status().repositories[0].conditions, OTHER_WRITER).map(|told| told.message.clone())
    };
    let run = |cluster: &mut Cluster, others, wish: &str| {
        cluster.others = others;
        cluster.notes.clear();
        cluster.force(wish);
        cluster.settle();
        cluster.notes.iter().map(|note| note.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(&mut cluster, Some(Others::None), "one"), ["BackedUp"]);
    assert_eq!(told(&cluster), None);
    assert_eq!(run(&mut cluster, wrote("2026-09-24T11:00:00.5Z"), "two"), ["OtherWriter"]);
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded), "the backup itself is good");
    assert_eq!(ready(&cluster).0, ConditionStatus::True);
    assert_yaml_snapshot!([told(&cluster), cluster.status().message]);
    // It is told once, and stays where a run could not look.
    assert_eq!(run(&mut cluster, wrote("2026-09-24T12:00:00Z"), "three"), ["BackedUp"]);
    run(&mut cluster, None, "four");
    let message = told(&cluster).unwrap();
    let [id] = asked(&cluster).try_into().unwrap();
    assert!(message.contains("2026-09-24T12:00:00Z") && id == "written-until-2026-09-24T12:00:00Z", "{message}");
    cluster.backup.annotations_mut().insert(annotations::ACCEPT.to_owned(), id);
    cluster.settle();
    assert_eq!((told(&cluster), asked(&cluster)), (None, vec![]));
    let watch = watch(&cluster.backup, &cluster.repositories[0].key, "cluster");
    assert_eq!(watch.accepted, Some(time("2026-09-24T12:00:00Z")));
    assert!(watch.since.is_some_and(|since| since <= cluster.now));
    // A run that sees that it has stopped says no more of it.
    run(&mut cluster, wrote("2026-09-24T13:00:00Z"), "five");
    assert!(told(&cluster).is_some());
    run(&mut cluster, Some(Others::None), "six");
    assert_eq!(told(&cluster), None);
}

#[test]
fn only_where_another_program_may_write_is_one_looked_for() {
    for (identity, looks) in [
        (json!(null), false),
        (json!({"host": "volsync", "path": "/data"}), true),
        (json!({"host": "volsync"}), false),
        (json!({"host": "volsync", "path": "/data/{{ claim }}"}), false),
    ] {
        let mut cluster = cluster(json!({}));
        let Ok((spec, _)) = &mut cluster.repositories[0].state else { panic!("it is usable") };
        spec.identity = serde_json::from_value(identity.clone()).unwrap();
        cluster.settle();
        cluster.force("now");
        let job = loop {
            let _ = cluster.control();
            cluster.snapshotter();
            if let Some((job, _)) = cluster.jobs.values().next() {
                break serde_json::to_string(job).unwrap();
            }
        };
        assert_eq!(job.contains("watch"), looks, "{identity}");
    }
}
