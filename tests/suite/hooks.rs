//! Commands in the app's pod around the snapshot.

use serde_json::{Value, json};

use crate::{
    apps::{app, backup, mounted_at, nothing_left, request_run, run_now, running},
    support::{SOON, SYSTEM, alone, apply, beside_others, condition, eventually, get, kubectl, namespace, on_node},
};

/// An app whose volume anybody may write to, and its declaration with these hooks.
fn declare(ns: &str, more: &Value) {
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    on_node(&["sh", "-c", &format!("cd {} && chmod 777 . && echo data > file && sync", mounted_at(ns, "app"))]);
    let more = more.to_string();
    apply(&backup(ns, "app").replace("spec: {", &format!("spec: {}, ", &more[..more.len() - 1])));
    eventually("the declaration is ready", SOON, || {
        (get("volumebackup", ns, "app")?["status"]["phase"] == "Idle").then_some(())
    });
}

fn hooks(before: &[&str], after: &[&str]) -> Value {
    let hooks = |scripts: &[&str]| -> Vec<Value> {
        scripts.iter().map(|script| json!({"command": ["sh", "-c", script], "timeout": "20s"})).collect()
    };
    json!({"hooks": {"before": hooks(before), "after": hooks(after)}, "retries": 0})
}

/// The names of what is on the app's volume.
fn files(ns: &str) -> Vec<String> {
    let found = on_node(&["ls", &mounted_at(ns, "app")]);
    found.split_whitespace().filter(|name| *name != "lost+found").map(str::to_owned).collect()
}

/// Reason and message of how the last run went.
fn last_run(status: &Value) -> (String, String) {
    let (_, reason, message) =
        condition(&json!({ "status": status["repositories"][0] }), "LastRunSucceeded").expect("a run has ended");
    (reason, message)
}

#[test]
fn an_app_is_held_still_for_its_snapshot_only() {
    let _guard = beside_others();
    let ns = "h-freeze";
    declare(ns, &hooks(&["touch /data/frozen && sync"], &["rm /data/frozen", "touch /data/told"]));
    on_node(&["sh", "-c", &format!("head -c 200M /dev/urandom > {}/big && sync", mounted_at(ns, "app"))]);
    request_run(ns, "app");
    eventually("the mover works", SOON, || {
        (get("volumebackup", ns, "app")?["status"]["phase"] == "BackingUp").then_some(())
    });
    assert_eq!(files(ns), ["big", "file", "told"], "the app has gone on before the data is read");
    let status = eventually("the run has ended", SOON, || {
        let status = get("volumebackup", ns, "app")?["status"].clone();
        (status["phase"] == "Idle" && !status["runs"].is_null()).then_some(status)
    });
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    assert_eq!(status["runs"][0]["files"], 3, "big, file and frozen are in the snapshot, told is not: {status:#}");
    nothing_left(ns);
}

#[test]
fn a_hook_that_fails_or_hangs_ends_the_attempt_and_the_app_goes_on() {
    let _guard = beside_others();
    let pod = |ns: &str| crate::support::list("pod", ns, "app=app")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    for (ns, before, words) in [
        ("h-fails", "touch /data/frozen; echo canary\"\"-output; exit 3", "container app, ended with exit code 3"),
        ("h-hangs", "touch /data/frozen; sleep 60", "container app, did not end within 20 s"),
    ] {
        declare(ns, &hooks(&[before], &["rm /data/frozen"]));
        let status = run_now(ns, "app");
        assert_eq!(status["lastResult"], "Failed", "{status:#}");
        let (reason, message) = last_run(&status);
        assert_eq!(reason, "HookFailed");
        assert_eq!(message, format!("hooks.before[0]: sh in pod {}, {words}", pod(ns)));
        assert_eq!(files(ns), ["file"], "hooks.after has run");
        let said = kubectl(&["-n", ns, "get", "events,volumebackup", "-o", "yaml"]).replace("echo canary", "");
        assert!(!said.contains("canary"), "what it printed is not shown: {said}");
        nothing_left(ns);
    }
    declare("h-absent", &json!({"hooks": {"before": [{"command": ["absent"]}]}, "retries": 0}));
    let (reason, message) = last_run(&run_now("h-absent", "app"));
    assert_eq!(reason, "HookFailed");
    assert!(message.contains("absent in pod") && message.contains("could not be run"), "{message}");
}

#[test]
fn an_after_that_fails_is_told_and_the_backup_is_good() {
    let _guard = beside_others();
    let ns = "h-after";
    declare(ns, &hooks(&[], &["exit 4"]));
    let status = run_now(ns, "app");
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    let (reason, message) = last_run(&status);
    assert_eq!(reason, "Succeeded");
    assert!(message.contains("hooks.after[0]: sh in pod") && message.contains("exit code 4"), "{message}");
    eventually("an Event warns", SOON, || {
        let events = kubectl(&["-n", ns, "get", "events", "--field-selector", "reason=HookFailed,type=Warning"]);
        events.contains("exit code 4").then_some(())
    });
    // Nothing is held still that does not run.
    kubectl(&["-n", ns, "scale", "deployment/app", "--replicas=0"]);
    eventually("the app is gone", SOON, || crate::support::list("pod", ns, "app=app").is_empty().then_some(()));
    let status = run_now(ns, "app");
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    let (_, message) = last_run(&status);
    assert!(message.ends_with("no pod that is ready uses claim app: no hook was run"), "{message}");
    nothing_left(ns);
}

#[test]
fn an_operator_that_is_killed_leaves_no_app_held_still() {
    let _guard = alone();
    let ns = "h-killed";
    declare(ns, &hooks(&["echo >> /data/frozen; sleep 15"], &["mv /data/frozen /data/thawed"]));
    request_run(ns, "app");
    eventually("the app is held still", SOON, || files(ns).contains(&"frozen".to_owned()).then_some(()));
    kubectl(&["-n", SYSTEM, "delete", "pod", "-l", "app.kubernetes.io/name=strongroom", "--grace-period=0", "--force"]);
    let status = eventually("the run has ended", SOON, || {
        let status = get("volumebackup", ns, "app")?["status"].clone();
        (status["phase"] == "Idle" && !status["runs"].is_null()).then_some(status)
    });
    let (reason, message) = last_run(&status);
    assert_eq!(reason, "HookFailed");
    assert!(message.contains("the operator ended meanwhile"), "{message}");
    assert_eq!(files(ns), ["file", "thawed"]);
    let times = on_node(&["cat", &format!("{}/thawed", mounted_at(ns, "app"))]);
    assert_eq!(times.lines().count(), 1, "no hook is run twice in an attempt");
    nothing_left(ns);
}

#[test]
fn an_app_goes_on_when_its_backup_is_deleted() {
    let _guard = beside_others();
    let ns = "h-deleted";
    declare(ns, &hooks(&["touch /data/frozen; sleep 5"], &["rm /data/frozen"]));
    request_run(ns, "app");
    eventually("the app is held still", SOON, || files(ns).contains(&"frozen".to_owned()).then_some(()));
    kubectl(&["-n", ns, "delete", "volumebackup", "app"]);
    eventually("the app goes on", SOON, || (files(ns) == ["file"]).then_some(()));
    nothing_left(ns);
}
