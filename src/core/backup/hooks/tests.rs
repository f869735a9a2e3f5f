use insta::assert_yaml_snapshot;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::backup::{RunResult, VolumeBackupSpec},
    core::backup::{
        next_step,
        simulation::{Cluster, Did, Kill, time},
    },
};

/// A pod of that name and uid that uses the claim.
fn pod(name: &str, claim: &str, phase: &str, ready: bool) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("{name}-uid")},
        "spec": {
            "containers": [{"name": "app"}, {"name": "database"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    }))
    .unwrap()
}

fn spec(more: &Value) -> VolumeBackupSpec {
    let mut spec = json!({
        "claimNames": ["config", "media"],
        "hooks": {
            "before": [{"command": ["flush", "secret"]}, {"command": ["freeze"], "container": "database"}],
            "after": [{"command": ["thaw"], "timeout": "1h"}, {"command": ["tell"]}],
        },
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// A cluster with an app that runs, whose run is due.
fn cluster(more: &Value) -> Cluster {
    let mut cluster = Cluster::new(spec(more));
    cluster.settle();
    cluster.pods = vec![pod("app-0", "config", "Running", true)];
    cluster.force("now");
    (cluster.writes, cluster.did) = (0, vec![]);
    cluster
}

/// What was done, in words.
fn story(cluster: &Cluster) -> Vec<String> {
    let word = |did: &Did| match did {
        Did::Ran(_, program, Executed::Succeeded) => program.clone(),
        Did::Ran(_, program, Executed::Failed(words) | Executed::NotRun(words)) => format!("{program} {words}"),
        Did::Snapshotted => "snapshot".to_owned(),
        Did::Moved => "mover".to_owned(),
        Did::Over(_) => "over".to_owned(),
    };
    cluster.did.iter().map(word).collect()
}

/// What a run left to be read.
fn told(cluster: &Cluster) -> Value {
    let status = cluster.status();
    json!({
        "story": story(cluster),
        "writes": cluster.writes,
        "result": status.last_result,
        "message": status.message,
        "events": cluster.notes.iter().map(|note| format!("{} {}: {}", note.warning, note.reason, note.message)).collect::<Vec<_>>(),
    })
}

#[test]
fn the_app_is_held_still_for_its_snapshots_only() {
    let mut cluster = cluster(&json!({}));
    cluster.settle();
    assert!(cluster.is_clean());
    assert_yaml_snapshot!(told(&cluster));
}

#[test]
fn what_goes_wrong_is_told_and_the_app_goes_on() {
    type Change = Box<dyn Fn(&mut Cluster)>;
    let failed = || Executed::Failed("ended with exit code 1".to_owned());
    let not_run = || Executed::not_run("the API is away");
    let ends = |program: &'static str, outcome: Executed| -> Change {
        Box::new(move |cluster| cluster.outcomes = vec![(program.to_owned(), outcome.clone())])
    };
    let cases: [(&str, Change); 9] = [
        ("the second before fails", ends("freeze", failed())),
        ("a before hangs", ends("flush", Executed::late(Duration::from_secs(30)))),
        ("a before cannot be run", ends("flush", not_run())),
        ("an after fails", ends("thaw", failed())),
        ("an after cannot be run", ends("tell", not_run())),
        ("both fail", {
            Box::new(move |cluster| {
                cluster.outcomes = vec![("freeze".to_owned(), failed()), ("thaw".to_owned(), failed())];
            })
        }),
        ("the snapshot is never ready", Box::new(|cluster| cluster.snapshots_work = false)),
        ("the snapshot is refused", {
            Box::new(|cluster| {
                while cluster.status().run.and_then(|run| run.hooks).is_none_or(|hooks| hooks.succeeded < 2) {
                    let _ = cluster.control();
                }
                cluster.refused = Some(Problem::new(Reason::ClusterError, "exceeded quota"));
            })
        }),
        ("no pod runs", Box::new(|cluster| cluster.pods.clear())),
    ];
    let mut seen = vec![];
    for (what, change) in cases {
        let mut cluster = cluster(&json!({"retries": 0}));
        change(&mut cluster);
        cluster.settle();
        assert!(cluster.is_clean(), "{what}");
        seen.push((what, told(&cluster)));
    }
    assert!(!serde_json::to_string(&seen).unwrap().contains("secret"), "arguments are not shown");
    assert_yaml_snapshot!(seen);
}

#[test]
fn each_attempt_has_its_hooks() {
    let mut cluster = cluster(&json!({"retries": 1}));
    cluster.outcomes = vec![("flush".to_owned(), Executed::Failed("ended with exit code 3".to_owned()))];
    cluster.settle();
    let once = ["flush ended with exit code 3", "thaw", "tell", "over"];
    assert_eq!(story(&cluster), [once, once].concat());
}

#[test]
fn a_controller_that_ends_runs_no_before_twice_and_each_after_at_least_once() {
    for (kill, expected) in
        [(Kill::Before, vec!["thaw", "tell", "over"]), (Kill::After, vec!["flush", "thaw", "tell", "over"])]
    {
        let mut cluster = cluster(&json!({"retries": 0}));
        cluster.kill = Some(kill);
        cluster.settle();
        assert_eq!(story(&cluster), expected);
        let message = cluster.status().message.unwrap();
        assert!(message.contains("flush in pod app-0: the operator ended meanwhile"), "{message}");
    }
    let mut cluster = cluster(&json!({}));
    while !cluster.did.contains(&Did::Snapshotted) {
        let _ = cluster.control();
    }
    cluster.kill = Some(Kill::After);
    cluster.settle();
    let expected = ["flush", "freeze", "snapshot", "snapshot", "thaw", "thaw", "tell", "mover", "over"];
    assert_eq!(story(&cluster), expected);
}

#[test]
fn what_holds_an_app_still_is_undone_as_it_was_declared() {
    let mut cluster = cluster(&json!({}));
    while !cluster.did.contains(&Did::Snapshotted) {
        let _ = cluster.control();
    }
    cluster.backup.spec.hooks = None;
    // The app goes to another node meanwhile.
    cluster.pods = vec![];
    for _ in 0..10 {
        let _ = cluster.step();
    }
    assert!(owes_hooks(&cluster.backup));
    cluster.now += chrono::Duration::seconds(30);
    cluster.pods = vec![pod("app-1", "config", "Running", false)];
    cluster.settle();
    let expected = ["flush", "freeze", "snapshot", "snapshot", "thaw", "tell", "mover", "over"];
    assert_eq!(story(&cluster), expected);
    assert_eq!(cluster.status().last_result, Some(RunResult::Succeeded));
}

#[test]
fn a_snapshot_that_goes_is_not_made_anew_while_the_app_writes() {
    let mut cluster = cluster(&json!({"retries": 0}));
    while story(&cluster).last().is_none_or(|last| last != "tell") {
        let _ = cluster.control();
        cluster.snapshotter();
    }
    cluster.snapshots.clear();
    cluster.settle();
    let expected = ["flush", "freeze", "snapshot", "snapshot", "thaw", "tell", "over"];
    assert_eq!(story(&cluster), expected);
    let message = cluster.status().message.unwrap();
    assert!(message.contains("the snapshot was deleted"), "{message}");
}

#[test]
fn an_app_goes_on_when_its_backup_is_deleted() {
    let mut cluster = cluster(&json!({}));
    while !cluster.did.contains(&Did::Snapshotted) {
        let _ = cluster.control();
    }
    // As the controller does when the object is gone.
    let owed = owed_hooks(&cluster.backup, &cluster.pods);
    assert_eq!(owed.iter().map(|exec| exec.command[0].as_str()).collect::<Vec<_>>(), ["thaw", "tell"]);
    // Something else may still hold the object.
    cluster.backup.metadata.deletion_timestamp = serde_json::from_value(json!("2026-09-24T12:00:00Z")).unwrap();
    while cluster.control().is_none() {}
    assert_eq!(story(&cluster), ["flush", "freeze", "snapshot", "thaw", "tell"]);
    assert!(owed_hooks(&cluster.backup, &cluster.pods).is_empty());
}

#[test]
fn a_command() {
    let mut cluster = cluster(&json!({}));
    let mut commands = vec![];
    while commands.len() < 4 {
        cluster.snapshotter();
        if let Step::Exec(_, exec) = next_step(&cluster.backup, &cluster.world, &cluster.observe(), cluster.now) {
            commands.push(json!({
                "title": exec.title, "pod": format!("{}/{}", exec.namespace, exec.pod), "container": exec.container,
                "command": exec.command, "seconds": exec.timeout.as_secs(),
            }));
        }
        let _ = cluster.control();
    }
    assert_yaml_snapshot!(commands);
}

#[test]
fn the_pod_is_one_that_is_ready_and_uses_the_first_claim() {
    let mut ending = pod("a-ends", "config", "Running", true);
    ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-09-24T12:00:00Z")).unwrap();
    let pods = [
        ("d", "config", "Running", true),
        ("c", "config", "Running", true),
        ("b-not-ready", "config", "Running", false),
        ("a-done", "config", "Succeeded", true),
        ("a-pending", "config", "Pending", true),
        ("a-other", "media", "Running", true),
    ];
    let pods = pods.into_iter().map(|(name, claim, phase, ready)| pod(name, claim, phase, ready));
    let pods: Vec<Pod> = pods.chain([ending]).collect();
    for (some, expected) in [(&pods[..], Some("c")), (&pods[..1], Some("d")), (&pods[2..], None)] {
        let mut cluster = cluster(&json!({}));
        cluster.pods = some.to_vec();
        for _ in 0..3 {
            let _ = cluster.control();
        }
        let hooks = cluster.status().run.unwrap().hooks.unwrap();
        assert_eq!(hooks.pod.as_ref().map(|pod| pod.name.as_str()), expected, "{hooks:?}");
    }
}

#[test]
fn what_the_api_says_of_a_command() {
    let of = |status: Value| Executed::of(&serde_json::from_value(status).unwrap());
    assert_eq!(of(json!({"status": "Success"})), Executed::Succeeded);
    let code = json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with non-zero exit code",
        "details": {"causes": [{"reason": "ExitCode", "message": "137"}]}});
    assert_eq!(of(code), Executed::Failed("ended with exit code 137".to_owned()));
    let absent = json!({"status": "Failure", "reason": "InternalError", "message": "x".repeat(1000), "details": {}});
    let Executed::NotRun(words) = of(absent) else { panic!("it was not run") };
    assert!(words.starts_with("could not be run: xxx") && words.len() <= WORDS, "{words}");
    assert_eq!(Executed::late(Duration::from_millis(1500)), Executed::Failed("did not end within 1.5 s".to_owned()));
}

#[test]
fn without_hooks_nothing_is_written_of_them() {
    let mut cluster = Cluster::new(serde_json::from_value(json!({"hooks": {}})).unwrap());
    cluster.world.hooks = false;
    cluster.settle();
    cluster.now = time("2026-09-24T12:00:01Z");
    cluster.writes = 0;
    cluster.settle();
    assert_eq!((cluster.writes, cluster.status().last_result), (4, Some(RunResult::Succeeded)));
}

#[derive(Clone, Debug)]
enum Act {
    Control,
    Kill(Kill),
    Snapshotter,
    Others,
    Pass(i64),
    SnapshotsWork(bool),
    SnapshotsGo,
    ClaimsGo(bool),
    PodGoes,
    PodComes(bool),
    Outcome(&'static str, Executed),
    Refused(bool),
    Undeclared(bool),
    Suspend(bool),
}

fn any_act() -> impl Strategy<Value = Act> {
    let program = proptest::sample::select(vec!["flush", "freeze", "thaw", "tell"]);
    let outcome = proptest::sample::select(vec![
        Executed::Succeeded,
        Executed::Failed("ended with exit code 1".to_owned()),
        Executed::not_run("the API is away"),
    ]);
    prop_oneof![
        16 => Just(Act::Control),
        3 => proptest::sample::select(vec![Kill::Before, Kill::After]).prop_map(Act::Kill),
        4 => Just(Act::Snapshotter),
        3 => Just(Act::Others),
        2 => (1_i64..400).prop_map(Act::Pass),
        1 => any::<bool>().prop_map(Act::SnapshotsWork),
        1 => Just(Act::SnapshotsGo),
        1 => any::<bool>().prop_map(Act::ClaimsGo),
        1 => Just(Act::PodGoes),
        3 => any::<bool>().prop_map(Act::PodComes),
        3 => (program, outcome).prop_map(|(program, outcome)| Act::Outcome(program, outcome)),
        1 => any::<bool>().prop_map(Act::Refused),
        1 => any::<bool>().prop_map(Act::Undeclared),
        1 => any::<bool>().prop_map(Act::Suspend),
    ]
}

/// What is wrong with what was done, attempt by attempt.
fn complaint(did: &[Did]) -> Option<String> {
    let mut attempt = vec![];
    for one in did {
        let ran = |when: When| {
            let of = attempt.iter().filter_map(move |did: &&Did| match did {
                Did::Ran(of, program, outcome) if *of == when => Some((program.as_str(), outcome)),
                _ => None,
            });
            of.collect::<Vec<_>>()
        };
        let (before, after) = (ran(When::Before), ran(When::After));
        let frozen = before.iter().map(|(program, _)| *program).collect::<Vec<_>>();
        let wrong = match one {
            Did::Ran(When::Before, program, _) => {
                let expected = ["flush", "freeze"].get(before.len()) == Some(&program.as_str());
                (!expected)
                    .then_some("a before is run once, in order")
                    .or_else(|| (!after.is_empty()).then_some("no before is run after an after"))
            }
            Did::Snapshotted => {
                let finished =
                    frozen.is_empty() || before.iter().filter(|(_, of)| **of == Executed::Succeeded).count() == 2;
                (!finished)
                    .then_some("no snapshot before every before has succeeded")
                    .or_else(|| (!after.is_empty()).then_some("no snapshot when the app has gone on"))
            }
            Did::Ran(When::After, ..) | Did::Moved => None,
            Did::Over(None) => (!frozen.is_empty()).then_some("the hooks were forgotten"),
            Did::Over(Some(hooks)) => {
                let was_run = |program: &str| after.iter().any(|(of, _)| *of == program);
                let told =
                    |index: usize| hooks.notes.iter().any(|note| note.contains(&format!("hooks.after[{index}]")));
                let released = ["thaw", "tell"].iter().enumerate().all(|(index, of)| was_run(of) || told(index));
                let held = hooks.started > 0 || !frozen.is_empty();
                (held && !(released && hooks.done == 2))
                    .then_some("each after is run, or it is told that it could not be")
            }
        };
        if let Some(wrong) = wrong {
            return Some(format!("{wrong}: {attempt:#?} {one:#?}"));
        }
        match one {
            Did::Over(_) => attempt.clear(),
            _ => attempt.push(one),
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_an_app_goes_on(acts in proptest::collection::vec(any_act(), 1..250)) {
        let mut cluster = cluster(&json!({"jitter": "0s", "schedule": "*/5 * * * *"}));
        let (claims, hooks, app) = (cluster.claims.clone(), cluster.backup.spec.hooks.clone(), cluster.pods[0].clone());
        for act in acts {
            match act {
                Act::Control => _ = cluster.control(),
                Act::Kill(kill) => cluster.kill = Some(kill),
                Act::Snapshotter => cluster.snapshotter(),
                Act::Others => {
                    cluster.provisioner();
                    cluster.kubelet();
                }
                Act::Pass(seconds) => cluster.now += chrono::Duration::seconds(seconds),
                Act::SnapshotsWork(work) => cluster.snapshots_work = work,
                Act::SnapshotsGo => {
                    cluster.snapshots.clear();
                    cluster.contents.retain(|name, _| !name.starts_with("snapcontent-"));
                }
                Act::ClaimsGo(go) => cluster.claims = if go { std::collections::BTreeMap::new() } else { claims.clone() },
                Act::PodGoes => cluster.pods.clear(),
                Act::PodComes(ready) => {
                    let name = if ready { "app-0" } else { "app-1" };
                    cluster.pods = vec![pod(name, "config", "Running", ready)];
                }
                Act::Outcome(program, outcome) => cluster.outcomes = vec![(program.to_owned(), outcome)],
                Act::Refused(refused) => {
                    // As the controller: only while the app is held still, and forgotten with the next write.
                    let problem = Problem::new(Reason::ClusterError, "exceeded quota");
                    cluster.refused = (refused && owes_hooks(&cluster.backup)).then_some(problem);
                }
                Act::Undeclared(undeclared) => cluster.backup.spec.hooks = if undeclared { None } else { hooks.clone() },
                Act::Suspend(suspend) => cluster.backup.spec.suspend = suspend,
            }
        }
        // Every cause goes away.
        (cluster.claims, cluster.outcomes, cluster.pods) = (claims, vec![], vec![app]);
        (cluster.snapshots_work, cluster.refused, cluster.backup.spec.suspend) = (true, None, false);
        cluster.kill = None;
        cluster.settle();
        prop_assert!(cluster.is_clean());
        prop_assert!(!owes_hooks(&cluster.backup));
        let complaint = complaint(&cluster.did);
        prop_assert!(complaint.is_none(), "{}", complaint.unwrap());
    }
}
