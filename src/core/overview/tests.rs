use serde_json::{Value, json};

use super::*;
use crate::api::repository::{ClusterResticRepository, ResticRepository};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn now() -> Time {
    time("2026-09-24T12:00:00Z")
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-09-24T11:00:00Z",
    })
}

fn key(name: &str) -> Value {
    json!({"kind": "ClusterResticRepository", "name": name})
}

/// The state in a repository.
fn into(name: &str, last: Option<&str>, conditions: &Value) -> Value {
    json!({"repository": key(name), "lastSuccess": last, "conditions": conditions})
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value, status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(status) = status.as_object_mut() {
        status.entry("observedGeneration").or_insert(json!(1));
        status.entry("conditions").or_insert(json!([condition("Ready", "True", "Scheduled", "")]));
    }
    json!({
        "apiVersion": "strongroom.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "generation": 1,
            "creationTimestamp": "2026-09-24T11:55:00Z",
        },
    })
}

fn backup(namespace: &str, name: &str, spec: &Value, status: &Value) -> VolumeBackup {
    serde_json::from_value(object("VolumeBackup", namespace, name, spec, status)).unwrap()
}

fn restore(namespace: &str, name: &str, status: &Value) -> VolumeRestore {
    let spec = json!({"from": {"backup": "radarr"}});
    serde_json::from_value(object("VolumeRestore", namespace, name, &spec, status)).unwrap()
}

fn claim(namespace: &str, name: &str, labels: &Value) -> PersistentVolumeClaim {
    let spec = json!({"storageClassName": "ceph-block", "resources": {"requests": {"storage": "10Gi"}}});
    let mut claim = object("PersistentVolumeClaim", namespace, name, &spec, &Value::Null);
    claim["metadata"]["labels"] = labels.clone();
    claim["apiVersion"] = json!("v1");
    claim.as_object_mut().unwrap().remove("status");
    serde_json::from_value(claim).unwrap()
}

fn repository(name: &str, default: bool, status: &Value) -> Subject {
    let spec = json!({"default": default, "url": "rest:http://nas", "credentials": {"secretRef": {"name": "restic"}}});
    let object = object("ClusterResticRepository", "", name, &spec, status);
    let mut object: ClusterResticRepository = serde_json::from_value(object).unwrap();
    object.metadata.namespace = None;
    Subject::from(&object)
}

fn run(trigger: &str, rest: &Value) -> Value {
    let mut run = json!({
        "id": "app-1", "trigger": trigger, "startedAt": "2026-09-24T11:50:00Z",
        "attemptStartedAt": "2026-09-24T11:50:00Z", "attempt": 1, "claims": ["app"], "repositories": [key("nas")],
    });
    run.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    run
}

fn backups() -> Vec<VolumeBackup> {
    let good =
        json!([condition("Fresh", "True", "BackedUp", ""), condition("LastRunSucceeded", "True", "Succeeded", "")]);
    let stale = json!([
        condition("Fresh", "False", "Stale", "the last good backup is of 2026-09-20T00:00:00+00:00"),
        condition("LastRunSucceeded", "False", "RepositoryUnreachable", "no route to host"),
    ]);
    let suspect = "claim tiny had 12 files and now has 1. If that is right, accept it: \
                   `kubectl annotate volumebackup -n media tiny --overwrite strongroom.dev/accept=feedbeef`";
    let ready = |reason: &str, message: &str| json!([condition("Ready", "True", reason, message)]);
    let progress = json!({
        "percent": 43, "filesDone": 120, "filesTotal": 300, "bytesDone": 1_288_490_189_i64,
        "bytesTotal": 3_650_722_201_i64, "secondsLeft": 150,
    });
    vec![
        backup(
            "media",
            "radarr",
            &json!({}),
            &json!({
                "phase": "Idle", "nextRun": "2026-09-24T12:23:00Z", "lastSuccess": "2026-09-24T11:23:00Z",
                "repositories": [into("nas", Some("2026-09-24T11:23:00Z"), &good)],
            }),
        ),
        backup(
            "media",
            "sonarr",
            &json!({"claimNames": ["sonarr-config", "sonarr-data"]}),
            &json!({
                "phase": "Idle", "nextRun": "2026-09-24T13:00:00Z", "lastSuccess": "2026-09-24T11:00:00Z",
                "repositories": [
                    into("nas", Some("2026-09-24T11:00:00Z"), &good), into("s3", Some("2026-09-20T00:00:00Z"), &stale),
                ],
            }),
        ),
        backup(
            "media",
            "tiny",
            &json!({}),
            &json!({
                "phase": "Idle", "conditions": ready("ByHand", ""), "repositories": [into("nas", None, &json!([
                    condition("LastRunSucceeded", "False", "Suspect", suspect),
                    condition("Fresh", "False", "NeverBackedUp", "no backup has succeeded yet"),
                ]))],
            }),
        ),
        backup(
            "media",
            "large",
            &json!({}),
            &json!({
                "phase": "BackingUp", "message": "43 % of 300 files", "run": run("Schedule", &json!({"progress": progress})),
                "lastSuccess": "2026-09-23T11:00:00Z", "nextRun": "2026-09-25T11:00:00Z",
            }),
        ),
        backup(
            "office",
            "blocked",
            &json!({"repositoryRefs": [{"name": "gone"}]}),
            &json!({
                "phase": "Blocked", "nextRun": "2026-09-24T11:00:00Z", "conditions": [condition("Ready", "False",
                "RepositoryNotFound", "ClusterResticRepository gone does not exist: create it, or correct repositoryRefs")],
            }),
        ),
        backup(
            "office",
            "paused",
            &json!({"suspend": true}),
            &json!({
                "phase": "Suspended", "message": "suspend is set: no run starts", "lastSuccess": "2026-09-01T00:00:00Z",
            }),
        ),
        backup(
            "office",
            "early",
            &json!({}),
            &json!({
                "phase": "WaitingForClaim", "message": "the claim early does not exist: create it, or correct claimNames",
            }),
        ),
        backup("office", "unseen", &json!({}), &Value::Null),
    ]
}

fn queued() -> (Vec<VolumeBackup>, Vec<VolumeRestore>) {
    let waits = |since: &str| json!({"phase": "Queued", "nextRun": since, "message": "waits for its place: 4 movers run, the cluster's limit"});
    let mut asked = backup("media", "asked", &json!({}), &waits("2026-09-24T13:00:00Z"));
    let annotations = asked.metadata.annotations.get_or_insert_default();
    for name in ["requestedAt", "forceAt"] {
        annotations.insert(format!("reconcile.fluxcd.io/{name}"), "2026-09-24T11:58:00.123456789Z".to_owned());
    }
    let again = json!({
        "phase": "Cleaning", "message": "attempt 1 of 3 failed: no route; the next one starts at 11:51:00",
        "run": run("Schedule", &json!({"results": [{
            "id": "app-1", "claim": "app", "repository": key("nas"), "result": "Failed", "time": "2026-09-24T11:50:30Z",
            "reason": "RepositoryUnreachable", "message": "no route",
        }]})),
    });
    let volume = json!({
        "source": "radarr", "claim": "radarr", "snapshot": "feedbeef", "time": "2026-09-24T10:00:00Z", "host": "media",
        "path": "/data/radarr",
    });
    let ready = |message: &str| json!([condition("Ready", "Unknown", "Queued", message)]);
    let backups = vec![
        backup("media", "second", &json!({}), &waits("2026-09-24T11:59:00Z")),
        backup("media", "first", &json!({}), &waits("2026-09-24T11:40:00Z")),
        backup("office", "fair", &json!({}), &waits("2026-09-24T11:59:30Z")),
        backup("office", "again", &json!({}), &again),
        asked,
    ];
    let restores = vec![
        restore(
            "media",
            "later",
            &json!({
                "phase": "Queued", "conditions": ready("VolumeRestore soon of the same claims goes first; the app runs"),
            }),
        ),
        restore(
            "media",
            "soon",
            &json!({
                "phase": "Queued", "volumes": [volume], "conditions": ready("4 movers run, the cluster's limit; the app runs"),
            }),
        ),
        restore(
            "office",
            "runs",
            &json!({
                "phase": "Restoring", "startedAt": "2026-09-24T11:57:00Z", "progress": {"percent": 7, "filesDone": 0,
                "filesTotal": 0, "bytesDone": 0, "bytesTotal": 0}, "conditions": ready("restoring into a new volume"),
            }),
        ),
        restore("office", "done", &json!({"phase": "Succeeded"})),
    ];
    (backups, restores)
}

fn seen() -> Seen {
    let missing = "nothing is at s3:https://s3/base. If this is the right place for new backups, accept that it is \
                   created: `kubectl annotate clusterresticrepository s3 --overwrite strongroom.dev/accept=1a2b3c4d`";
    Seen {
        backups: backups(),
        repositories: vec![
            repository(
                "nas",
                true,
                &json!({
                    "phase": "Ready", "backups": 12, "lastReachableAt": "2026-09-24T11:58:30Z",
                    "repositories": {
                        "rest:http://nas/media/old": {"id": "1", "orphaned": true, "snapshots": 14, "bytes": 734_003_200},
                        "rest:http://nas/media/older": {"id": "2", "orphaned": true},
                        "rest:http://nas/media/radarr": {"id": "3", "snapshots": 3, "bytes": 7},
                    },
                }),
            ),
            repository(
                "s3",
                false,
                &json!({
                    "phase": "BaseMissing", "backups": 1, "conditions": [condition("Ready", "False", "BaseMissing", missing)],
                }),
            ),
        ],
        claims: Some(vec![
            claim("media", "radarr", &json!({})),
            claim("media", "sonarr-data", &json!({})),
            claim("media", "cache", &json!({})),
            claim("games", "world", &json!({})),
            claim("games", "radarr", &json!({})),
            claim("strongroom-system", "repository", &json!({})),
            claim("media", "staged", &json!({"strongroom.dev/run": "app-1"})),
        ]),
        operator_namespace: "strongroom-system".to_owned(),
        ..Seen::default()
    }
}

fn text(seen: &Seen, namespace: Option<&str>, whole: bool) -> String {
    Overview::new(seen, namespace, whole, now()).text("kubectl strongroom", now())
}

#[test]
fn all_of_a_cluster() {
    insta::assert_snapshot!(text(&seen(), None, true));
}

#[test]
fn one_namespace() {
    insta::assert_snapshot!(text(&seen(), Some("office"), true));
}

#[test]
fn nothing_at_all() {
    insta::assert_snapshot!(text(&Seen { claims: Some(vec![]), ..Seen::default() }, Some("media"), true));
}

#[test]
fn who_waits_has_a_place_among_all() {
    let (backups, restores) = queued();
    let seen = Seen { backups, restores, ..Seen::default() };
    insta::assert_snapshot!("all", text(&seen, None, true));
    insta::assert_snapshot!("of_one", text(&seen, Some("office"), true));
    let unseen = vec!["Not seen: cannot list claims: access is denied".to_owned()];
    insta::assert_snapshot!("not_whole", text(&Seen { unseen, ..seen }, Some("office"), false));
}

#[test]
fn programs_read_the_same() {
    let overview = Overview::new(&seen(), Some("media"), true, now());
    insta::assert_yaml_snapshot!(json!(overview));
}

#[test]
fn a_repository_of_a_namespace_is_shown_there_only() {
    let spec = json!({"url": "rest:http://nas", "credentials": {"secretRef": {"name": "restic"}}});
    let own: ResticRepository =
        serde_json::from_value(object("ResticRepository", "media", "own", &spec, &json!({"phase": "Ready"}))).unwrap();
    let seen = Seen { repositories: vec![Subject::from(&own)], ..Seen::default() };
    let shown = |namespace| Overview::new(&seen, namespace, true, now()).repositories.len();
    assert_eq!((shown(None), shown(Some("media")), shown(Some("office"))), (1, 1, 0));
}
