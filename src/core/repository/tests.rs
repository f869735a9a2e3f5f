use std::sync::Arc;

use insta::assert_yaml_snapshot;
use serde_json::json;

use super::*;
use crate::{
    api::{labels, repository::Base},
    core::{
        confirm,
        mover_state::MoverState,
        series::Page,
        task::{Answer, Failure, FailureKind, Outcome},
    },
};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

#[test]
fn the_series_say_what_is_there() {
    let spec = json!({"url": "rest:http://nas", "credentials": {"secretRef": {"name": "restic"}}});
    let status = json!({
        "conditions": [{"type": "Ready", "status": "True", "reason": "BaseFound", "message": "",
            "lastTransitionTime": "2026-09-24T12:00:00Z"}],
        "lastReachableAt": "2026-09-24T12:00:00Z", "nextMaintenance": "2026-09-25T12:00:00Z",
        "lastMaintenance": {"time": "2026-09-24T12:01:00Z", "succeeded": false, "forgotten": 2, "message": ""},
        "repositories": {"media/radarr": {"id": "one", "snapshots": 7, "bytes": 1024}, "media/sonarr": {"id": "two", "orphaned": true}},
    });
    let mut of_cluster = ClusterResticRepository::new("nas", serde_json::from_value(spec.clone()).unwrap());
    of_cluster.status = serde_json::from_value(status).unwrap();
    let mut own = ResticRepository::new("own", serde_json::from_value(spec).unwrap());
    own.metadata.namespace = Some("media".to_owned());
    let page = |own: &ResticRepository| {
        let mut page = Page::default();
        measure(&mut page, &[Arc::new(own.clone())], &[Arc::new(of_cluster.clone())]);
        page.lines()
    };
    let unseen = page(&own);
    own.status = Some(RepositoryStatus::default());
    assert_eq!(page(&own)[1..], unseen, "what was not looked at says no more than that it is not ready");
    assert_yaml_snapshot!(page(&own));
}

/// A repository object in a cluster that is as small as can be.
struct Place {
    subject: Subject,
    seen: Observed,
    now: Time,
    /// What is at the URL.
    base: Option<&'static str>,
    trouble: Option<FailureKind>,
    jobs: usize,
    writes: usize,
}

impl Place {
    fn new(value: &serde_json::Value) -> Self {
        let mut spec = json!({"url": "s3:https://nas/{{ namespace }}/{{ name }}", "credentials": {"secretRef": {"name": "restic"}}});
        spec.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        let metadata = json!({"name": "nas", "uid": "u-1", "generation": 1});
        Self {
            subject: Subject {
                kind: RepositoryKind::ClusterResticRepository,
                metadata: serde_json::from_value(metadata).unwrap(),
                spec: serde_json::from_value(spec).unwrap(),
                status: RepositoryStatus { observed_generation: -1, ..RepositoryStatus::default() },
            },
            seen: Observed {
                rival: None,
                credentials: Ok(("Secret strongroom-system/restic".to_owned(), "1".to_owned())),
                volume: None,
                errand: errand::Seen::default(),
                backups: 0,
                doubt: None,
                known: vec![],
            },
            now: time("2026-09-24T12:00:00Z"),
            base: None,
            trouble: None,
            jobs: 0,
            writes: 0,
        }
    }

    fn annotate(&mut self, name: &str, value: &str) {
        self.subject.metadata.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
    }

    /// Runs until it waits for something that does not come by itself; returns how long.
    fn settle(&mut self) -> Duration {
        for _ in 0..50 {
            match next_step(&self.subject, "cluster", &self.seen, self.now) {
                Step::Write(status) => {
                    assert_ne!(*status, self.subject.status);
                    self.subject.status = *status;
                    self.writes += 1;
                }
                Step::Errand(next, task, run) => self.errand(next, &task, &run),
                Step::Wait(wait) => return wait,
            }
        }
        panic!("it does not settle: {:?}", self.subject.status);
    }

    fn errand(&mut self, next: Next, task: &Task, run: &str) {
        let object = |uid: String| json!({"metadata": {"name": "errand", "uid": uid, "labels": {labels::RUN: run}}});
        let errand = &mut self.seen.errand;
        match next {
            Next::Credentials => errand.credentials = serde_json::from_value(object("s".to_owned())).unwrap(),
            Next::Job => {
                self.jobs += 1;
                errand.job = serde_json::from_value(object(format!("job-{}", self.jobs))).unwrap();
                let fail = |kind| Outcome::Failed(Failure { kind, message: "restic's words".to_owned() });
                let outcome = match (self.trouble, task, self.base) {
                    (Some(kind), _, _) => fail(kind),
                    (None, Task::Create, None) => {
                        self.base = Some("cccccccccccc");
                        Outcome::Created
                    }
                    (None, _, None) => fail(FailureKind::NoRepository),
                    (None, _, Some(_)) => Outcome::Found,
                };
                let repository = self.base.filter(|_| self.trouble.is_none()).map(str::to_owned);
                errand.state = MoverState::Finished(Answer::new(repository, outcome));
            }
            Next::DeleteJob(_) => errand.job = None,
            Next::DeleteCredentials(_) => errand.credentials = None,
            other => panic!("{other:?}"),
        }
    }

    fn ready(&self) -> (Option<RepositoryPhase>, String) {
        let ready = conditions::get(&self.subject.status.conditions, conditions::READY).unwrap();
        (self.subject.status.phase, format!("{:?} {}: {}", ready.status, ready.reason, ready.message))
    }

    fn accept(&mut self) {
        let [question] = &confirm::of_repository(&self.subject)[..] else { panic!("{:?}", self.ready()) };
        self.annotate(annotations::ACCEPT, &question.id);
        self.settle();
    }
}

#[test]
fn a_base_is_created_once_and_only_when_accepted() {
    let mut place = Place::new(&json!({}));
    place.settle();
    let mut said = vec![place.ready()];
    assert_eq!((place.jobs, place.writes), (1, 2), "one question, its start and its answer");
    assert!(place.seen.errand.job.is_none() && place.seen.errand.credentials.is_none());
    place.annotate(annotations::ACCEPT, "another");
    place.settle();
    assert_eq!(place.base, None);
    place.accept();
    said.push(place.ready());
    assert_eq!(place.subject.status.base, Some(Base { id: "cccccccccccc".to_owned() }));
    // It vanishes: that is never taken for "new", although the annotation is still there.
    place.base = None;
    place.seen.credentials = Ok(("Secret strongroom-system/restic".to_owned(), "2".to_owned()));
    place.settle();
    said.push(place.ready());
    assert_eq!(place.base, None);
    // Another one is there.
    place.base = Some("dddddddddddd");
    place.now += chrono::Duration::seconds(EAGER_PERIOD);
    place.settle();
    said.push(place.ready());
    place.accept();
    assert_eq!(place.subject.status.base, Some(Base { id: "dddddddddddd".to_owned() }));
    // It vanishes, and someone accepts that.
    place.base = None;
    place.seen.credentials = Ok(("Secret strongroom-system/restic".to_owned(), "3".to_owned()));
    place.settle();
    place.accept();
    assert_eq!(place.base, Some("cccccccccccc"));
    assert_yaml_snapshot!(said);
}

#[test]
fn a_new_cluster_finds_the_base() {
    let mut place = Place::new(&json!({}));
    place.base = Some("aaaaaaaaaaaa");
    assert_eq!(place.settle(), BACKSTOP);
    assert_eq!(place.ready().0, Some(RepositoryPhase::Ready));
    assert_eq!(place.jobs, 1);
    // Nothing is asked again, and nothing written, until something changes.
    place.now += chrono::Duration::days(1);
    let writes = place.writes;
    place.settle();
    assert_eq!((place.jobs, place.writes), (1, writes));
    place.annotate(annotations::REQUESTED_AT, "now");
    place.settle();
    assert_eq!(place.jobs, 2);
    place.seen.doubt = Some(place.now + chrono::Duration::seconds(1));
    place.now += chrono::Duration::seconds(2);
    place.settle();
    assert_eq!(place.jobs, 3, "a backup that fails raises doubts");
    place.settle();
    assert_eq!(place.jobs, 3);
    place.subject.metadata.generation = Some(2);
    place.settle();
    assert_eq!(place.jobs, 4);
}

#[test]
fn what_nobody_backs_up_into_any_more_is_told_and_kept() {
    let mut place = Place::new(&json!({}));
    place.base = Some("cccccccccccc");
    place.settle();
    let orphaned = |place: &Place| -> Vec<(String, bool)> {
        place.subject.status.repositories.iter().map(|(url, one)| (url.clone(), one.orphaned)).collect()
    };
    let is = |url: &str, orphaned| (url.to_owned(), orphaned);
    place.seen.known =
        vec![("s3:https://nas/a/b".to_owned(), "1".to_owned()), ("s3:https://nas/c/d".to_owned(), "2".to_owned())];
    place.settle();
    assert_eq!(orphaned(&place), [is("s3:https://nas/a/b", false), is("s3:https://nas/c/d", false)]);
    place.seen.known.pop();
    place.settle();
    assert_eq!(orphaned(&place), [is("s3:https://nas/a/b", false), is("s3:https://nas/c/d", true)]);
    // Declared again, and not run yet.
    place.seen.known.push(("s3:https://nas/c/d".to_owned(), String::new()));
    place.settle();
    assert_eq!(orphaned(&place), [is("s3:https://nas/a/b", false), is("s3:https://nas/c/d", false)]);
    assert_eq!(place.subject.status.repositories["s3:https://nas/c/d"].id, "2");
}

#[test]
fn what_is_wrong_is_named_and_clears_by_itself() {
    type Change = Box<dyn Fn(&mut Place)>;
    let problem = |reason| Problem::new(reason, "what is wrong");
    let cases: Vec<Change> = vec![
        Box::new(|place| place.trouble = Some(FailureKind::Unreachable)),
        Box::new(|place| place.trouble = Some(FailureKind::WrongPassword)),
        Box::new(|place| place.trouble = Some(FailureKind::Locked)),
        Box::new(move |place| place.seen.credentials = Err(problem(Reason::CredentialsMissing))),
        Box::new(move |place| place.seen.volume = Some(problem(Reason::ClaimNotFound))),
        Box::new(|place| place.seen.rival = Some("old".to_owned())),
        Box::new(|place| place.subject.spec.suspend = true),
        Box::new(|place| place.subject.spec.url = "sftp:nas:/backups".to_owned()),
        Box::new(|place| place.subject.spec.time_zone = Some("Mars/Olympus".to_owned())),
        Box::new(|place| {
            place.subject.spec.maintenance = serde_json::from_value(json!({"schedule": "61 * * * *"})).unwrap();
        }),
        Box::new(|place| {
            place.subject.spec.populate = serde_json::from_value(json!({"onMissing": "Fail"})).unwrap();
        }),
    ];
    let mut said = vec![];
    for change in cases {
        let mut place = Place::new(&json!({}));
        place.base = Some("aaaaaaaaaaaa");
        change(&mut place);
        let wait = place.settle();
        said.push(place.ready());
        assert!(wait <= Duration::from_secs(30) || place.subject.spec.suspend, "{wait:?}");
        let whole = Place::new(&json!({}));
        (place.trouble, place.subject.spec, place.seen) = (None, whole.subject.spec, whole.seen);
        place.now += chrono::Duration::seconds(wait.as_secs().try_into().unwrap());
        place.settle();
        assert_eq!(place.ready().0, Some(RepositoryPhase::Ready));
    }
    assert_yaml_snapshot!(said);
}

#[test]
fn questions_get_rare() {
    let mut place = Place::new(&json!({}));
    place.trouble = Some(FailureKind::Unreachable);
    while place.jobs < 100 {
        let wait = place.settle();
        assert!(wait <= PAUSE, "a corrected Secret is seen soon");
        place.now += chrono::Duration::from_std(wait).unwrap();
    }
    assert_eq!((place.now - time("2026-09-24T12:00:00Z")).num_hours(), 7);
}

#[test]
fn a_store_that_does_not_answer_says_nothing_about_the_repository() {
    let mut place = Place::new(&json!({}));
    place.base = Some("aaaaaaaaaaaa");
    place.settle();
    place.seen.credentials = Err(Problem::new(Reason::ConnectUnreachable, "Connect is down"));
    let writes = place.writes;
    assert_eq!(place.settle(), PAUSE);
    assert_eq!((place.writes, place.ready().0), (writes, Some(RepositoryPhase::Ready)));
}

#[test]
fn read_only_creates_nothing() {
    let mut place = Place::new(&json!({"readOnly": true}));
    place.settle();
    assert_yaml_snapshot!(place.ready());
    let id = place.subject.creation_id("s3:https://nas/strongroom/base");
    place.annotate(annotations::ACCEPT, &id);
    place.settle();
    assert_eq!(place.base, None);
}

#[test]
fn who_can_use_it() {
    let labels = std::collections::BTreeMap::new();
    let mut place = Place::new(&json!({"allowedNamespaces": {"names": ["media"]}}));
    let key = place.subject.key();
    let say = |subject: Option<&Subject>, namespace: &str| match usable(&key, subject, namespace, &labels) {
        Ok((_, base)) => format!("{base:?}"),
        Err(problem) => format!("{}: {}", problem.reason, problem.message),
    };
    let mut said = vec![say(None, "media"), say(Some(&place.subject), "media")];
    place.settle();
    said.push(say(Some(&place.subject), "media"));
    place.accept();
    said.push(say(Some(&place.subject), "media"));
    said.push(say(Some(&place.subject), "games"));
    place.subject.metadata.generation = Some(2);
    said.push(say(Some(&place.subject), "media"));
    assert_yaml_snapshot!(said);
}
