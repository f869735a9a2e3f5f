use insta::assert_yaml_snapshot;
use serde_json::json;

use super::*;
use crate::{
    api::{
        backup::{RepositoryKey, VolumeBackup},
        common::{RepositoryKind, Retention},
        labels,
        repository::{ClusterResticRepository, Lock},
    },
    core::{
        confirm,
        problem::Reason,
        task::{Answer, Checked, Failure, FailureKind, Held, Maintained, Written},
    },
};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn key() -> RepositoryKey {
    RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: "nas".to_owned() }
}

fn backup(name: &str, change: &serde_json::Value) -> VolumeBackup {
    let repository = json!({"kind": "ClusterResticRepository", "name": "nas"});
    let mut object = json!({
        "metadata": {"name": name, "namespace": "media", "creationTimestamp": null},
        "spec": {},
        "status": {
            "runs": [],
            "repositories": [{
                "repository": repository,
                "targets": [{"claim": name, "url": format!("s3:https://nas/{name}"), "host": "media", "path": format!("/data/{name}")}],
                "lastSuccess": "2026-09-24T00:00:00Z",
            }],
        },
    });
    for (pointer, value) in change.as_object().unwrap() {
        *object.pointer_mut(pointer).unwrap() = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn record(result: &str) -> serde_json::Value {
    json!([{"id": "run", "claim": "a", "repository": {"kind": "ClusterResticRepository", "name": "nas"}, "result": result, "time": "2026-09-24T00:00:00Z", "snapshot": "a".repeat(64)}])
}

fn daily() -> Retention {
    Retention { daily: Some(7), ..Retention::default() }
}

#[test]
fn what_is_kept_in_order() {
    let of = |backups: &[VolumeBackup], default: Option<&Retention>| {
        let places = places(&key(), "cluster", default, backups, time("2026-09-24T03:00:00Z"));
        let places = places.iter().filter(|place| has_work(Chore::Retention, place));
        places.map(|place| format!("{} {} {:?}", place.url, place.busy, place.task)).collect::<Vec<_>>()
    };
    let plain = backup("a", &json!({}));
    assert!(of(std::slice::from_ref(&plain), None).is_empty(), "no retention keeps everything");
    let own = backup("b", &json!({"/spec": {"retention": {"last": 3}}}));
    let never = backup("c", &json!({"/status/repositories/0/lastSuccess": null}));
    let suspect = backup("a", &json!({"/status/runs": record("Suspect")}));
    let partial = backup("a", &json!({"/status/runs": record("Partial")}));
    assert_yaml_snapshot!(json!({
        "defaults and own": of(&[plain.clone(), own, never], Some(&daily())),
        "suspect": of(&[suspect], Some(&daily())),
        "partial": of(&[partial], Some(&daily())),
    }));
}

#[test]
fn a_status_alone_has_nothing_forgotten_and_of_two_the_older_decides() {
    let round = Round::new();
    let kept = |backups: &[VolumeBackup]| -> Vec<(String, Option<u32>)> {
        let places = places(&key(), "cluster", Some(&daily()), backups, round.now);
        let [place] = &places[..] else { panic!("all of them go to one place: {places:?}") };
        match task(&round.subject, "cluster", Chore::Retention, place) {
            Task::Maintain(task) => task.histories.into_iter().map(|of| (of.path, of.retention.last)).collect(),
            other => panic!("{other:?}"),
        }
    };
    let target = "/status/repositories/0/targets/0";
    for (field, forged) in [("host", "games"), ("path", "/data/other"), ("claim", "other")] {
        let forged = backup("a", &json!({format!("{target}/{field}"): forged}));
        assert_eq!(kept(&[forged]), [], "{field}");
    }
    let older = json!({"/metadata/creationTimestamp": "2026-01-01T00:00:00Z", "/spec": {"retention": {"last": 1}}});
    let younger = json!({"/metadata/creationTimestamp": "2026-02-01T00:00:00Z", "/spec": {"retention": {"last": 2}}});
    let (older, younger) = (backup("a", &older), backup("a", &younger));
    let one = vec![("/data/a".to_owned(), Some(1))];
    assert_eq!(kept(&[older.clone(), younger.clone()]), one);
    assert_eq!(kept(&[younger, older]), one);
}

struct Round {
    subject: Subject,
    places: Vec<Place>,
    seen: errand::Seen,
    now: Time,
    outcome: Outcome,
    /// What checks answer.
    checked: Outcome,
    /// What movers find of locks.
    locks: Option<Vec<Lock>>,
    ran: Vec<String>,
    parts: Vec<Option<Part>>,
    /// What the status says is worked on when a mover starts.
    said: Vec<Option<AtWork>>,
}

impl Round {
    fn new() -> Self {
        let object: ClusterResticRepository = serde_json::from_value(json!({
            "metadata": {"name": "nas", "uid": "u-1"},
            "spec": {"url": "s3:https://nas/{{ name }}", "credentials": {}, "jitter": "0s", "maintenance": {"schedule": "0 4 * * *"}},
            "status": {"phase": "Ready"},
        }))
        .unwrap();
        let backups = [backup("a", &json!({})), backup("b", &json!({}))];
        Self {
            subject: Subject::from(&object),
            places: places(&key(), "cluster", Some(&daily()), &backups, time("2026-09-24T03:00:00Z")),
            seen: errand::Seen::default(),
            now: time("2026-09-24T03:00:00Z"),
            outcome: Outcome::Maintained(Maintained { kept: 7, forgotten: 2, bytes: 1000, held: None }),
            checked: Outcome::Checked(Checked::default()),
            locks: None,
            ran: vec![],
            parts: vec![],
            said: vec![],
        }
    }

    fn settle(&mut self) -> Duration {
        for _ in 0..50 {
            match next_step(&self.subject, "cluster", &self.places, &self.seen, self.now) {
                Step::Write(status) => {
                    assert_ne!(*status, self.subject.status);
                    self.subject.status = *status;
                }
                Step::Wait(wait) => return wait,
                Step::Errand(next, chosen, run) => {
                    let object = json!({"metadata": {"uid": "u", "labels": {labels::RUN: run}}});
                    match next {
                        Next::Credentials => self.seen.credentials = serde_json::from_value(object).unwrap(),
                        Next::Job => {
                            self.seen.job = serde_json::from_value(object).unwrap();
                            let (chore, index) = chosen.unwrap();
                            let place = &self.places[index];
                            self.ran.push(place.url.clone());
                            self.said.push(self.subject.status.at_work.clone());
                            let outcome = match task(&self.subject, "cluster", chore, place) {
                                Task::Check(check) => {
                                    self.parts.push(check.part);
                                    self.checked.clone()
                                }
                                _ => self.outcome.clone(),
                            };
                            let answer = Answer { locks: self.locks.clone(), ..Answer::new(None, outcome) };
                            self.seen.state = MoverState::Finished(answer);
                        }
                        Next::DeleteJob(_) => self.seen.job = None,
                        Next::DeleteCredentials(_) => self.seen.credentials = None,
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        panic!("it does not settle")
    }
}

#[test]
fn each_repository_once_a_round() {
    let mut round = Round::new();
    round.settle();
    assert!(round.ran.is_empty());
    assert_eq!(round.subject.status.next_maintenance, Some(time("2026-09-24T04:00:00Z")));
    round.now = time("2026-09-24T04:00:01Z");
    round.settle();
    assert_eq!(round.ran, ["s3:https://nas/a", "s3:https://nas/b"]);
    assert!(round.seen.job.is_none() && round.seen.credentials.is_none());
    assert_yaml_snapshot!(round.subject.status);
    round.now = time("2026-09-24T05:00:00Z");
    round.settle();
    assert_eq!(round.ran.len(), 2);
    // Someone asks.
    let annotations = [annotations::REQUESTED_AT, annotations::FORCE_AT].map(|name| (name.to_owned(), "x".to_owned()));
    round.subject.metadata.annotations = Some(annotations.into());
    round.settle();
    assert_eq!(round.ran.len(), 4);
    round.now = time("2026-09-24T05:00:01Z");
    round.settle();
    assert_eq!(round.ran.len(), 4);
}

#[test]
fn not_beside_a_backup_and_not_where_it_must_not() {
    let mut round = Round::new();
    round.settle();
    round.now = time("2026-09-24T04:00:01Z");
    round.places[0].busy = true;
    assert_eq!(round.settle(), SOON);
    assert_eq!(round.ran, ["s3:https://nas/b"]);
    round.places[0].busy = false;
    round.settle();
    assert_eq!(round.ran, ["s3:https://nas/b", "s3:https://nas/a"]);
    let changes: [fn(&mut Subject); 4] = [
        |subject| subject.spec.read_only = true,
        |subject| subject.spec.suspend = true,
        |subject| subject.status.phase = Some(RepositoryPhase::Unreachable),
        |subject| subject.spec.maintenance.get_or_insert_default().suspend = true,
    ];
    for change in changes {
        let mut round = Round::new();
        round.settle();
        change(&mut round.subject);
        round.now = time("2026-09-24T04:00:01Z");
        round.settle();
        assert!(round.ran.is_empty());
    }
}

#[test]
fn a_failure_is_said_and_does_not_stop_the_others() {
    let mut round = Round::new();
    round.settle();
    round.now = time("2026-09-24T04:00:01Z");
    round.outcome = Outcome::Failed(Failure { kind: FailureKind::Locked, message: "locked by radarr-1".to_owned() });
    round.settle();
    assert_eq!(round.ran.len(), 2);
    let last = round.subject.status.last_maintenance.clone().unwrap();
    assert_eq!((last.succeeded, last.message.as_str()), (false, "s3:https://nas/b: locked by radarr-1"));
    round.subject.spec.maintenance.as_mut().unwrap().schedule = Some("nightly".to_owned());
    round.settle();
    assert!(round.subject.status.last_maintenance.unwrap().message.contains("nightly"));
}

#[test]
fn locks_are_told_and_removed_by_the_next_run_once_someone_accepts_that() {
    let mut round = Round::new();
    round.locks = Some(vec![Lock {
        id: "0ef4cb6f".to_owned(),
        host: "laptop".to_owned(),
        user: "root".to_owned(),
        process: 6800,
        exclusive: false,
        since: time("2026-09-24T03:50:00Z"),
    }]);
    round.settle();
    round.at("2026-09-24T04:00:01Z");
    let known = |round: &Round| {
        let locks = &round.subject.status.repositories["s3:https://nas/a"].locks;
        locks.as_ref().map(Vec::len)
    };
    assert_eq!(known(&round), Some(1));
    assert!(confirm::of_repository(&round.subject).is_empty(), "it is in nobody's way");
    round.outcome = Outcome::Failed(Failure { kind: FailureKind::Locked, message: "locked".to_owned() });
    round.at("2026-09-25T04:00:01Z");
    let questions = confirm::of_repository(&round.subject);
    assert_eq!(questions.iter().map(|of| of.id.as_str()).collect::<Vec<_>>(), ["unlock-0ef4cb6f"]);
    let accept = (annotations::ACCEPT.to_owned(), "unlock-0ef4cb6f".to_owned());
    round.subject.metadata.annotations.get_or_insert_default().extend([accept]);
    for chore in [Chore::Retention, Chore::Check] {
        match task(&round.subject, "cluster", chore, &round.places[0]) {
            Task::Maintain(MaintainTask { unlock, .. }) | Task::Check(CheckTask { unlock, .. }) => {
                assert_eq!(unlock, ["0ef4cb6f"]);
            }
            other => panic!("{other:?}"),
        }
    }
    round.locks = None;
    round.outcome = Outcome::Failed(Failure { kind: FailureKind::Unreachable, message: "no answer".to_owned() });
    round.at("2026-09-26T04:00:01Z");
    assert_eq!(known(&round), Some(1), "nobody could look");
    round.locks = Some(vec![]);
    round.outcome = Outcome::Maintained(Maintained::default());
    round.at("2026-09-27T04:00:01Z");
    assert_eq!(known(&round), Some(0));
    assert!(confirm::of_repository(&round.subject).is_empty());
}

impl Round {
    fn checking() -> Self {
        let mut round = Self::new();
        let maintenance = json!({"schedule": "0 4 * * *", "check": {"schedule": "0 5 * * *", "readData": "40%"}});
        round.subject.spec.maintenance = serde_json::from_value(maintenance).unwrap();
        round
    }

    fn at(&mut self, time_of: &str) {
        self.now = time(time_of);
        self.settle();
    }
}

#[test]
fn all_of_the_data_is_read_in_parts() {
    let mut round = Round::checking();
    // Also where nothing is ever forgotten.
    round.places = places(&key(), "cluster", None, &[backup("a", &json!({}))], round.now);
    round.settle();
    for day in ["24", "25", "26", "27"] {
        round.at(&format!("2026-09-{day}T05:00:01Z"));
    }
    let parts: Vec<_> = round.parts.iter().map(|part| part.map(|part| (part.number, part.of))).collect();
    assert_eq!(parts, [Some((1, 3)), Some((2, 3)), Some((3, 3)), Some((1, 3))]);
    assert_eq!(round.ran, vec!["s3:https://nas/a"; 4]);
    let last = round.subject.status.last_check.clone().unwrap();
    assert_eq!(last.message, "s3:https://nas/a: no errors, part 1 of 3 of the data read");
    // A part in which errors were found is read again, and one that could not be read is.
    for outcome in [
        Outcome::Checked(Checked { errors: 2, first: "pack 0a1b: does not exist".to_owned() }),
        Outcome::Failed(Failure { kind: FailureKind::Unreachable, message: "no route to host".to_owned() }),
    ] {
        round.checked = outcome;
        round.now += chrono::Duration::days(1);
        round.settle();
        assert_eq!(round.parts.last().unwrap().unwrap().number, 2);
    }
    assert_eq!(round.subject.status.repositories["s3:https://nas/a"].check_errors, None, "it is not known");
}

#[test]
fn while_it_works_the_status_says_so_and_one_that_goes_wrong_is_not_hidden() {
    let mut round = Round::checking();
    round.settle();
    let worked = |round: &Round| {
        let said = round.said.iter().flatten().map(|said| format!("{:?} {}", said.chore, said.url));
        said.collect::<Vec<_>>()
    };
    round.checked = Outcome::Checked(Checked { errors: 2, first: "pack 0a1b: does not exist".to_owned() });
    // The first finds errors, the second none.
    round.places[1].busy = true;
    round.at("2026-09-24T05:00:01Z");
    round.checked = Outcome::Checked(Checked::default());
    round.places[1].busy = false;
    round.settle();
    assert_eq!(
        worked(&round),
        [
            "Retention s3:https://nas/a",
            "Check s3:https://nas/a",
            "Retention s3:https://nas/b",
            "Check s3:https://nas/b"
        ]
    );
    assert_eq!(round.subject.status.at_work, None);
    assert_yaml_snapshot!(round.subject.status);
}

#[test]
fn the_lock_of_a_mover_that_was_killed_is_removed() {
    let mut round = Round::new();
    round.settle();
    round.now = time("2026-09-24T04:00:01Z");
    let step = |round: &Round| next_step(&round.subject, "cluster", &round.places, &round.seen, round.now);
    let Step::Write(status) = step(&round) else { panic!("what is worked on is said first") };
    round.subject.status = *status;
    let Step::Errand(Next::Credentials, Some(chosen), run) = step(&round) else { panic!("credentials come first") };
    let task = serde_json::to_string(&task(&round.subject, "cluster", chosen.0, &round.places[chosen.1])).unwrap();
    let job = json!({
        "metadata": {"name": "m", "uid": "u", "labels": {labels::RUN: run}},
        "spec": {"template": {"spec": {"containers": [{"name": "mover", "env": [{"name": "STRONGROOM_TASK", "value": task}]}]}}},
    });
    round.seen.job = serde_json::from_value(job).unwrap();
    round.seen.state = MoverState::Lost(Problem::new(Reason::Interrupted, "killed"));
    let Step::Write(status) = step(&round) else { panic!("that it failed is entered") };
    round.subject.status = *status;
    let Step::Errand(Next::Unlock(unlock), ..) = step(&round) else { panic!("the lock goes before the Job") };
    assert_eq!(unlock.metadata.name.as_deref(), Some("m-unlock"));
    round.seen.unlocking = MoverState::Running { progress: None, waits: None };
    assert_eq!(step(&round), Step::Wait(SOON));
    round.seen.unlocking = MoverState::Finished(Answer::new(None, Outcome::Unlocked(1)));
    assert!(matches!(step(&round), Step::Errand(Next::DeleteJob(_), ..)));
}

impl Round {
    /// One step, which is carried out where it is a write.
    fn step(&mut self) -> Step {
        let step = next_step(&self.subject, "cluster", &self.places, &self.seen, self.now);
        if let Step::Write(status) = &step {
            self.subject.status = (**status).clone();
        }
        step
    }

    /// Until the status says what is worked on.
    fn begun() -> Self {
        let mut round = Self::new();
        round.settle();
        round.now = time("2026-09-24T04:00:01Z");
        assert!(matches!(round.step(), Step::Write(_)));
        assert_eq!(round.subject.status.at_work.as_ref().unwrap().url, "s3:https://nas/a");
        round
    }

    fn last(&self) -> (bool, String) {
        let last = self.subject.status.last_maintenance.clone().unwrap();
        (last.succeeded, last.message)
    }
}

#[test]
fn what_cannot_be_begun_keeps_no_backup_waiting_and_no_other_place() {
    let missing = Problem::new(Reason::CredentialsMissing, "Secret restic-maintenance does not exist");
    let away = Problem::new(Reason::ClusterError, "the API server does not answer");
    let round = Round::begun();
    let refused = |problem, now| refused(&round.subject, Chore::Retention, "s3:https://nas/a", problem, now);
    // What may pass by itself is tried again for a while.
    assert_eq!(refused(&away, round.now), None);
    for (problem, now) in [(&missing, round.now), (&away, round.now + START)] {
        let mut round = Round::begun();
        round.now = now;
        round.subject.status = *refused(problem, now).unwrap();
        assert_eq!(round.subject.status.at_work, None);
        assert_eq!(round.last(), (false, format!("s3:https://nas/a: {}", problem.message)));
        round.settle();
        assert_eq!(round.ran, ["s3:https://nas/b"]);
        assert!(!round.last().0, "the other one does not hide it");
    }
}

#[test]
fn a_mover_that_does_not_start_is_given_up() {
    let mut round = Round::begun();
    let Step::Errand(Next::Credentials, _, run) = round.step() else { panic!("credentials come next") };
    let job = json!({"metadata": {"uid": "u", "labels": {labels::RUN: run}}});
    round.seen.job = serde_json::from_value(job).unwrap();
    round.seen.state = MoverState::Waiting("the mover cannot start: 0/3 nodes".to_owned());
    assert_eq!(round.step(), Step::Wait(SOON));
    round.now += START;
    assert!(matches!(round.step(), Step::Write(_)));
    assert_eq!(round.last(), (false, "s3:https://nas/a: the mover cannot start: 0/3 nodes".to_owned()));
    assert!(matches!(round.step(), Step::Errand(Next::DeleteJob(_), ..)));
}

#[test]
fn while_a_backup_runs_or_a_schedule_is_wrong_nothing_is_said_to_be_worked_on() {
    let mut round = Round::begun();
    round.places.iter_mut().for_each(|place| place.busy = true);
    assert!(matches!(round.step(), Step::Write(_)));
    assert_eq!((round.subject.status.at_work.clone(), round.step()), (None, Step::Wait(SOON)));

    // A mover that works goes on to its end, whatever becomes of the schedule.
    let mut round = Round::begun();
    let Step::Errand(Next::Credentials, _, run) = round.step() else { panic!("credentials come next") };
    let object = json!({"metadata": {"uid": "u", "labels": {labels::RUN: run}}});
    round.seen.job = serde_json::from_value(object).unwrap();
    round.seen.state = MoverState::Running { progress: None, waits: None };
    round.subject.spec.time_zone = Some("Mars/Olympus".to_owned());
    assert_eq!(round.step(), Step::Wait(SOON));
    round.seen.state = MoverState::Finished(Answer::new(None, round.outcome.clone()));
    assert!(matches!(round.step(), Step::Write(_)));
    assert_eq!(round.last(), (true, "s3:https://nas/a: 2 snapshots forgotten, 7 kept".to_owned()));
}

#[test]
fn what_is_not_checked_any_more_is_not_known() {
    let mut round = Round::checking();
    round.checked = Outcome::Checked(Checked { errors: 2, first: "pack 0a1b: does not exist".to_owned() });
    round.settle();
    round.at("2026-09-24T05:00:01Z");
    assert!(!round.subject.status.last_check.clone().unwrap().succeeded);
    round.subject.spec.maintenance.as_mut().unwrap().check = None;
    round.settle();
    assert_eq!(round.subject.status.last_check, None);
    assert!(round.subject.status.repositories.values().all(|known| known.check_errors.is_none()));
}

#[test]
fn a_history_that_another_program_writes_is_held_and_said() {
    let mut round = Round::new();
    let written = Written { snapshot: "0a1b2c3d".to_owned(), time: time("2026-09-24T02:00:00Z"), cluster: false };
    let held = Held { host: "media".to_owned(), path: "/data/a".to_owned(), backup: "media/a".to_owned(), written };
    round.outcome = Outcome::Maintained(Maintained { kept: 7, forgotten: 0, bytes: 1000, held: Some(held) });
    round.settle();
    round.now = time("2026-09-24T04:00:00Z");
    round.settle();
    let last = round.subject.status.last_maintenance.clone().unwrap();
    assert!(!last.succeeded);
    assert_yaml_snapshot!(last.message);
}
