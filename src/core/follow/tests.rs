use serde_json::{Value, json};

use super::*;

const NEW: &str = "2026-09-24T12:00:00Z";

fn backup(status: &Value) -> VolumeBackup {
    let object = json!({
        "apiVersion": "strongroom.dev/v1alpha1", "kind": "VolumeBackup", "spec": {}, "status": status,
        "metadata": {"name": "radarr", "namespace": "media", "uid": "u", "generation": 1},
    });
    serde_json::from_value(object).unwrap()
}

fn run(trigger: &str, progress: &Value) -> Value {
    json!({
        "id": "radarr-1", "trigger": trigger, "startedAt": NEW, "attemptStartedAt": NEW, "attempt": 1,
        "claims": ["radarr"], "repositories": [{"kind": "ClusterResticRepository", "name": "nas"}], "progress": progress,
    })
}

fn record(id: &str, result: &str, message: &Value) -> Value {
    let mut record = json!({
        "id": id, "claim": "radarr", "repository": {"kind": "ClusterResticRepository", "name": "nas"},
        "result": result, "time": NEW, "message": message,
    });
    if result != "Failed" {
        let found =
            json!({"snapshot": "0123456789abcdef", "files": 12, "bytes": 5_000_000, "added": 2048, "seconds": 7});
        record.as_object_mut().unwrap().extend(found.as_object().unwrap().clone());
    }
    record
}

/// What is said of a status, by one who asked with `token`.
fn said(status: &Value) -> String {
    let backup = backup(status);
    match Follow::new(&backup, "token").look(&backup) {
        Look::Unseen(line) => format!("unseen: {}", line.text),
        Look::Goes(line) => format!("{} ({})", line.text, line.key),
        Look::Refused(why) => format!("refused: {why}"),
        Look::Ended(records) => {
            let (lines, good) = results(&records);
            format!("ended, {}: {}", if good { "good" } else { "not good" }, lines.join(" | "))
        }
    }
}

#[test]
fn each_state_is_said() {
    let progress = json!({
        "percent": 43, "filesDone": 120, "filesTotal": 300, "bytesDone": 1_288_490_189_i64,
        "bytesTotal": 3_650_722_201_i64, "secondsLeft": 150,
    });
    let seen = |rest: Value| {
        let mut status = json!({"lastHandledReconcileAt": "token", "lastHandledForceAt": "old"});
        status.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        status
    };
    let started = |rest: Value| {
        let mut status = json!({"lastHandledReconcileAt": "token", "lastHandledForceAt": "token"});
        status.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        status
    };
    let ended = |runs: Value| started(json!({"phase": "Idle", "runs": runs}));
    let statuses = [
        json!(null),
        json!({"phase": "Blocked", "message": "before it was asked", "lastHandledReconcileAt": "old"}),
        json!({"phase": "BackingUp", "message": "the data is read", "run": run("Schedule", &json!(null))}),
        json!({"phase": "BackingUp", "message": "43 %", "run": run("Manual", &progress), "lastHandledForceAt": "old"}),
        seen(json!({"phase": "Queued", "message": "waits for its place: 4 movers run, the cluster's limit"})),
        seen(json!({"phase": "Blocked", "message": "ClusterResticRepository nas is not ready"})),
        seen(json!({"phase": "Suspended", "message": "suspend is set: no run starts"})),
        seen(json!({"phase": "WaitingForClaim", "message": "the claim radarr does not exist"})),
        started(json!({"phase": "Snapshotting", "message": "a snapshot is made", "run": run("Manual", &json!(null))})),
        started(json!({"phase": "BackingUp", "message": "43 % of 300 files", "run": run("Manual", &progress)})),
        started(json!({
            "phase": "Cleaning", "message": "attempt 1 of 3 failed: no route; the next one starts at 12:00:30",
            "run": run("Manual", &progress),
        })),
        ended(json!([record("radarr-1", "Succeeded", &json!(null)), record("radarr-0", "Failed", &json!("older"))])),
        ended(json!([record("radarr-1", "Partial", &json!("2 files could not be read: /a\n/b"))])),
        ended(json!([
            record("radarr-1", "Succeeded", &json!(null)),
            record("radarr-1", "Failed", &json!("the password is wrong")),
        ])),
        ended(json!([])),
    ];
    insta::assert_yaml_snapshot!(statuses.map(|status| said(&status)));
}

#[test]
fn the_end_is_of_the_run_that_was_followed() {
    let first = backup(&json!({
        "phase": "Cleaning", "lastHandledForceAt": "token", "run": run("Manual", &json!(null)),
    }));
    let mut follow = Follow::new(&first, "token");
    assert!(matches!(follow.look(&first), Look::Goes(_)));
    // A scheduled one has started, and ended, before the next look.
    let runs = json!([record("radarr-2", "Failed", &json!("later")), record("radarr-1", "Succeeded", &json!(null))]);
    let then = backup(&json!({
        "phase": "BackingUp", "lastHandledForceAt": "token", "run": run("Schedule", &json!(null)), "runs": runs,
    }));
    let Look::Ended(records) = follow.look(&then) else { panic!("it has ended") };
    assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["radarr-1"]);
}

#[test]
fn what_an_earlier_attempt_has_stored_counts_too() {
    let mut second = run("Manual", &json!(null));
    second["results"] = json!([record("radarr-0", "Partial", &json!("one file"))]);
    let going = backup(&json!({"phase": "BackingUp", "lastHandledForceAt": "token", "run": second}));
    let mut follow = Follow::new(&going, "token");
    assert!(matches!(follow.look(&going), Look::Goes(_)));
    let runs = json!([
        record("radarr-1", "Succeeded", &json!(null)),
        record("radarr-0", "Partial", &json!("one file")),
        record("radarr-x", "Failed", &json!("older")),
    ]);
    let then = backup(&json!({"phase": "Idle", "lastHandledForceAt": "token", "runs": runs}));
    let Look::Ended(records) = follow.look(&then) else { panic!("it has ended") };
    assert!(!results(&records).1, "not all of it is good: {records:?}");
    assert_eq!(records.len(), 2);
}

#[test]
fn another_object_of_that_name_is_not_followed() {
    let first = backup(&json!({}));
    let mut follow = Follow::new(&first, "token");
    let mut other = first.clone();
    other.metadata.uid = Some("another".to_owned());
    assert_eq!(follow.look(&other), Look::Refused("the VolumeBackup was deleted".to_owned()));
}
