//! The commands for people, against the cluster.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{
    apps::{app, backup, mounted_at, running},
    support::{SOON, SYSTEM, apply, beside_others, eventually, get, kubectl, namespace, on_node, ready},
};

/// Runs the program as somebody at a command line does; whether it was content, and all that it wrote.
fn strongroom(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// The same, of which JSON is expected.
fn json(args: &[&str]) -> Value {
    let (good, text) = strongroom(&[args, &["-o", "json"]].concat());
    assert!(good, "{text}");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn a_backup_is_run_seen_and_listed() {
    let _guard = beside_others();
    let ns = "cli-backup";
    namespace(ns);
    for name in ["app", "forgotten"] {
        apply(&app(ns, name, "ceph-block"));
        running(ns, name);
    }
    on_node(&["sh", "-c", &format!("echo hello > {}/file && sync", mounted_at(ns, "app"))]);
    apply(&backup(ns, "app"));
    eventually("the declaration is ready", SOON, || {
        (get("volumebackup", ns, "app")?["status"]["phase"] == "Idle").then_some(())
    });
    let before = json(&["status", "-n", ns]);
    assert_eq!(before["backups"][0]["lastGood"], Value::Null, "{before:#}");
    assert_eq!(before["unprotected"][0]["name"], "forgotten", "{before:#}");
    assert_eq!(before["unprotected"].as_array().map(Vec::len), Some(1), "{before:#}");

    let (good, text) = strongroom(&["backup", "now", "app", "-n", ns]);
    assert!(good && text.contains("app into nas: Succeeded: snapshot "), "{text}");
    let id = get("volumebackup", ns, "app").expect("it is there")["status"]["snapshots"][0]["id"].clone();
    let after = json(&["status", "-n", ns]);
    assert!(after["backups"][0]["lastGood"].is_string(), "{after:#}");
    assert_eq!(after["backups"][0]["problems"], Value::Array(vec![]), "{after:#}");
    assert_eq!(json(&["snapshots", "app", "-n", ns])["snapshots"][0]["id"], id);
    let (good, text) = strongroom(&["status", "-A"]);
    assert!(good && text.contains("forgotten") && text.contains("ClusterResticRepository/nas"), "{text}");

    // What cannot run is told, not waited for.
    kubectl(&["-n", ns, "patch", "volumebackup", "app", "--type=merge", "-p", r#"{"spec": {"suspend": true}}"#]);
    let (good, text) = strongroom(&["backup", "now", "app", "-n", ns]);
    assert!(!good && text.contains("Suspended"), "{text}");
    let gone = r#"{"spec": {"suspend": false, "repositoryRefs": [{"name": "cli-nowhere"}]}}"#;
    kubectl(&["-n", ns, "patch", "volumebackup", "app", "--type=merge", "-p", gone]);
    let (good, text) = strongroom(&["backup", "now", "app", "-n", ns]);
    assert!(!good && text.contains("Blocked") && text.contains("cli-nowhere"), "{text}");
}

#[test]
fn a_base_is_accepted() {
    let _guard = beside_others();
    let name = "cli-base";
    kubectl(&["delete", "clusterresticrepository", name, "--ignore-not-found"]);
    let url = format!("/repository/cli-{}/{{{{ namespace }}}}/{{{{ name }}}}", std::process::id());
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: canary-cli}}\n---\napiVersion: strongroom.dev/v1alpha1\nkind: ClusterResticRepository\n\
         metadata: {{name: {name}}}\nspec:\n  url: '{url}'\n  volume: {{claimName: backups}}\n  \
         credentials: {{secretRef: {{name: {name}}}}}\n"
    ));
    ready("clusterresticrepository", "", name, "False", "BaseMissing");
    let (good, text) = strongroom(&["accept", name]);
    assert!(!good && text.contains("If this is the right place") && text.contains("--yes"), "{text}");
    let (good, text) = strongroom(&["accept", &format!("ClusterResticRepository/{name}"), "--yes"]);
    assert!(good && text.contains("is accepted"), "{text}");
    ready("clusterresticrepository", "", name, "True", "");
    let (good, text) = strongroom(&["accept", name, "--yes"]);
    assert!(!good && text.contains("asks for nothing"), "{text}");
    kubectl(&["delete", "clusterresticrepository", name]);
    kubectl(&["-n", SYSTEM, "delete", "secret", name]);
}
