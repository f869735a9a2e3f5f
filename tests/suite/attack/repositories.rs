//! What somebody with one namespace, and every right in it, tries to get of the backups of another one.

use serde_json::{Value, json};

use super::{object, secret};
use crate::{
    apps::{app, ended, mounted_at, request, run_now, running},
    messages::accept_base,
    support::{
        SOON, SYSTEM, apply, beside_others, condition, eventually, get, kubectl, list, namespace, on_node, ready,
    },
};

/// What must not come into the attacker's hands.
const LOOT: &str = "attack-value-of-a-file";

/// A repository object with a password of its own, whose base is accepted.
fn repository(name: &str, spec: &Value) {
    secret(SYSTEM, name, &json!({"RESTIC_PASSWORD": "attack-password"}));
    let mut spec = spec.clone();
    spec["volume"] = json!({"claimName": "backups"});
    spec["credentials"] = json!({"secretRef": {"name": name}});
    apply(&object("ClusterResticRepository", "", name, &spec).to_string());
    accept_base(name);
}

fn volume_backup(namespace: &str, name: &str, repository: &str) {
    let spec = json!({"claimNames": ["app"], "schedule": "0 0 1 1 *", "repositoryRefs": [{"name": repository}]});
    apply(&object("VolumeBackup", namespace, name, &spec).to_string());
}

fn restore(namespace: &str, name: &str, spec: &Value) {
    apply(&object("VolumeRestore", namespace, name, spec).to_string());
}

/// Two apps, of which one has what the other wants.
fn furnish(victim: &str, own: &str) {
    for place in [victim, own] {
        namespace(place);
        apply(&app(place, "app", "ceph-block"));
    }
    for place in [victim, own] {
        running(place, "app");
    }
    on_node(&["sh", "-c", &format!("echo {LOOT} > {}/loot && sync", mounted_at(victim, "app"))]);
    on_node(&["sh", "-c", &format!("echo mine > {}/mine && sync", mounted_at(own, "app"))]);
}

/// The attacker's volume still has what it had, and nothing else.
fn nothing_came(own: &str) {
    let script = "find . -path ./lost+found -prune -o -type f -print -exec cat {} \\;";
    let files = on_node(&["sh", "-c", &format!("cd {} && {script}", mounted_at(own, "app"))]);
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["./mine", "mine"], "{files}");
}

fn good_run(namespace: &str, name: &str) -> String {
    let status = run_now(namespace, name);
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    status["runs"][0]["snapshot"].as_str().expect("it names its snapshot").to_owned()
}

fn clean(namespaces: &[&str], repositories: &[&str]) {
    for name in namespaces {
        kubectl(&["-n", name, "delete", "volumerestores,volumebackups,resticrepositories", "--all"]);
    }
    for name in repositories {
        kubectl(&["delete", "clusterresticrepository", name]);
    }
    kubectl(&[&["delete", "namespace", "--timeout=120s"], namespaces].concat());
}

#[test]
fn a_shared_repository_gives_each_namespace_its_own_history() {
    let _guard = beside_others();
    let (victim, own) = ("x-victim", "x-own");
    furnish(victim, own);
    repository("x-shared", &json!({"url": "/repository/x-shared", "maintenance": {"schedule": "0 0 1 1 *"}}));
    for place in [victim, own] {
        volume_backup(place, "app", "x-shared");
    }
    let loot = good_run(victim, "app");
    good_run(own, "app");

    // By its id.
    restore(own, "by-id", &json!({"from": {"backup": "app"}, "snapshot": loot}));
    let message = ready("volumerestore", own, "by-id", "False", "SnapshotNotFound");
    let (_, there) = message.split_once("the repository has").expect("it says what there is");
    assert!(!message.contains(victim) && !there.contains(&loot[..8]), "{message}");

    // By a restore whose status says that this is the snapshot that was found.
    restore(own, "found", &json!({"from": {"backup": "app"}, "suspend": true}));
    let found = json!({"status": {"phase": "Restoring", "startedAt": chrono::Utc::now().to_rfc3339(), "volumes": [{
        "source": "app", "claim": "app", "snapshot": loot, "time": "2026-01-01T00:00:00Z", "host": own, "path": "/data/app",
    }]}});
    let (found, go) = (found.to_string(), json!({"spec": {"suspend": false}}).to_string());
    kubectl(&["-n", own, "patch", "volumerestore", "found", "--subresource=status", "--type=merge", "-p", &found]);
    kubectl(&["-n", own, "patch", "volumerestore", "found", "--type=merge", "-p", &go]);
    let refused = ended(own, "found");
    assert_eq!(refused["status"]["phase"], "Failed", "{refused:#}");
    println!("{}", ready("volumerestore", own, "found", "False", "SnapshotNotFound"));
    nothing_came(own);

    // By a status that says that its snapshots are there.
    on_node(&["sh", "-c", &format!("echo more > {}/more && sync", mounted_at(victim, "app"))]);
    good_run(victim, "app");
    let forged = json!({"status": {"repositories": [{
        "repository": {"kind": "ClusterResticRepository", "name": "x-shared"}, "lastSuccess": "2030-01-01T00:00:00Z",
        "targets": [{"claim": "app", "url": "/repository/x-shared", "host": victim, "path": "/data/app"}],
    }]}});
    let patch = |text: &Value| {
        let text = text.to_string();
        kubectl(&["-n", own, "patch", "volumebackup", "app", "--subresource=status", "--type=merge", "-p", &text]);
    };
    patch(&forged);
    restore(own, "forged", &json!({"from": {"backup": "app"}}));
    println!("{}", ready("volumerestore", own, "forged", "False", "RepositoryChanged"));
    let retention = json!({"spec": {"retention": {"last": 1}}}).to_string();
    kubectl(&["-n", own, "patch", "volumebackup", "app", "--type=merge", "-p", &retention]);
    println!("{}", ready("volumebackup", own, "app", "False", "RepositoryChanged"));
    let token = request("clusterresticrepository", "", "x-shared");
    let kept = eventually("maintenance has run", SOON, || {
        let status = get("clusterresticrepository", "", "x-shared")?["status"].clone();
        let ended = status["lastHandledForceAt"] == token.as_str() && status["atWork"].is_null();
        let last = status["lastMaintenance"]["message"].as_str()?.to_owned();
        (ended && status["repositories"]["/repository/x-shared"]["snapshots"].is_number()).then_some((status, last))
    });
    assert!(kept.1.contains("0 snapshots forgotten"), "{kept:?}");
    nothing_came(own);
    let status = run_now(victim, "app");
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    clean(&[own, victim], &["x-shared"]);
}

#[test]
fn a_name_that_leads_to_anothers_history_is_of_no_use() {
    let _guard = beside_others();
    // Which of namespace and name is what, the URL does not tell.
    let (victim, own) = ("y-a-b", "y-a");
    furnish(victim, own);
    let url = "/repository/y-mixed/{{ namespace }}-{{ name }}";
    repository("y-mixed", &json!({"url": url, "identity": {"host": "all", "path": "/data"}}));
    volume_backup(victim, "c", "y-mixed");
    good_run(victim, "c");
    volume_backup(own, "b-c", "y-mixed");
    let message = ready("volumebackup", own, "b-c", "False", "HistoryTaken");
    assert!(message.contains("y-a-b/c"), "{message}");
    restore(own, "taken", &json!({"from": {"backup": "b-c"}}));
    ready("volumerestore", own, "taken", "False", "HistoryTaken");
    // To accept it at one's own object is of no use either; the other one's owner can.
    let (_, id) = message.trim_end_matches('`').rsplit_once('=').expect("it ends with the command");
    let accept = format!("strongroom.dev/accept={id}");
    kubectl(&["-n", own, "annotate", "volumebackup", "b-c", &accept]);
    let moment = request("volumebackup", own, "b-c");
    eventually("it is looked at", SOON, || {
        let status = get("volumebackup", own, "b-c")?["status"].clone();
        (status["lastHandledReconcileAt"] == moment.as_str()).then_some(())
    });
    let object = get("volumebackup", own, "b-c").expect("it exists");
    assert_eq!(
        condition(&object, "Ready").map(|(status, reason, _)| (status, reason)),
        Some(("False".into(), "HistoryTaken".into()))
    );
    nothing_came(own);
    kubectl(&["-n", victim, "annotate", "volumebackup", "c", &accept]);
    ready("volumebackup", own, "b-c", "True", "");
    clean(&[own, victim], &["y-mixed"]);
}

#[test]
fn credentials_run_no_command_and_name_no_other_place() {
    let _guard = beside_others();
    let own = "z-own";
    namespace(own);
    let wanted = ["RESTIC_PASSWORD", "AWS_ACCESS_KEY_ID"];
    let refused = [
        "RESTIC_PASSWORD_COMMAND",
        "RESTIC_PASSWORD_FILE",
        "RESTIC_REPOSITORY_FILE",
        "RESTIC_FROM_REPOSITORY",
        "RESTIC_CACHE_DIR",
        "RESTIC_TLS_CLIENT_CERT",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "LD_PRELOAD",
        "PATH",
        "STRONGROOM_TASK",
        "STRONGROOM_RESTIC",
        "STRONGROOM_ANSWER",
        "STRONGROOM_BASE_REPOSITORY",
    ];
    let mut data = json!({"RESTIC_REPOSITORY": "/repository/attack"});
    for name in wanted.iter().chain(&refused) {
        data[*name] = json!("attack-value-of-a-variable");
    }
    secret(own, "restic", &data);
    let spec = json!({"url": "rest:http://nobody.z-own.svc:8000/", "credentials": {"secretRef": {"name": "restic"}}});
    apply(&object("ResticRepository", own, "own", &spec).to_string());
    let variables = eventually("the mover has its credentials", SOON, || {
        let secrets = list("secret", SYSTEM, &format!("strongroom.dev/owner-namespace={own}"));
        Some(secrets.first()?["data"].as_object()?.clone())
    });
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    println!("{names:?}");
    assert!(wanted.iter().all(|name| names.contains(name)), "{names:?}");
    // The place is the repository object's.
    let value = |name: &str| variables.get(name).map(ToString::to_string);
    for name in refused {
        let ours = ["STRONGROOM_BASE_REPOSITORY"].contains(&name);
        assert!(ours || !names.contains(&name), "{name} is passed on");
    }
    let of_secret = format!("\"{}\"", "YXR0YWNrLXZhbHVlLW9mLWEtdmFyaWFibGU=");
    assert_ne!(value("STRONGROOM_BASE_REPOSITORY"), Some(of_secret));
    assert_ne!(value("RESTIC_REPOSITORY"), Some("\"L3JlcG9zaXRvcnkvYXR0YWNr\"".to_owned()));
    clean(&[own], &[]);
}

#[test]
fn a_forged_restore_takes_no_volume_of_another() {
    let _guard = beside_others();
    let (victim, own) = ("v-victim", "v-own");
    furnish(victim, own);
    let claim = |place: &str| get("pvc", place, "app").expect("the claim exists");
    let volume = claim(victim)["spec"]["volumeName"].as_str().expect("it is bound").to_owned();
    let before = get("pv", "", &volume).expect("its volume exists");
    volume_backup(own, "app", "absent");
    restore(own, "forged", &json!({"from": {"backup": "app"}, "suspend": true}));
    let forged = json!({"status": {"phase": "Swapping", "volumes": [{
        "source": "app", "snapshot": "0".repeat(64), "time": "2026-01-01T00:00:00Z", "host": own, "path": "/data/app",
        "claim": "app", "claimUid": claim(own)["metadata"]["uid"], "volume": volume, "previousVolume": volume,
    }]}});
    let (forged, go) = (forged.to_string(), json!({"spec": {"suspend": false}}).to_string());
    kubectl(&["-n", own, "patch", "volumerestore", "forged", "--subresource=status", "--type=merge", "-p", &forged]);
    kubectl(&["-n", own, "patch", "volumerestore", "forged", "--type=merge", "-p", &go]);
    let ended = ended(own, "forged");
    assert_eq!(ended["status"]["phase"], "Failed", "{ended:#}");
    let after = get("pv", "", &volume).expect("its volume is there");
    for field in ["/metadata/labels", "/metadata/annotations", "/spec"] {
        assert_eq!(after.pointer(field), before.pointer(field), "{field}");
    }
    running(own, "app");
    nothing_came(own);
    clean(&[own, victim], &[]);
}
