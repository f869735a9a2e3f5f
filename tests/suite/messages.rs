//! What goes wrong is said in the condition, with what to do, and clears by itself when its cause is gone: what takes
//! several objects to show. `walk` shows each message of the page.

use std::time::Duration;

use serde_json::json;

use crate::{
    apps::{app, backup, run_now, running, write},
    secrets::{external_secret, put_item},
    support::{
        SOON, SYSTEM, apply, beside_others, condition, connect, eventually, get, kubectl, list, namespace, ready,
    },
};

/// Accepts the creation of a repository's base by the command that its condition names, and waits for it.
pub fn accept_base(name: &str) {
    eventually(&format!("the repository {name} was looked at"), SOON, || {
        let phase = get("clusterresticrepository", "", name)?["status"]["phase"].as_str()?.to_owned();
        ["Ready", "BaseMissing"].contains(&phase.as_str()).then_some(())
    });
    let object = get("clusterresticrepository", "", name).expect("it exists");
    if object["status"]["phase"] == "BaseMissing" {
        let (_, _, message) = condition(&object, "Ready").expect("it says why");
        let command =
            message.split('`').find(|part| part.starts_with("kubectl ")).expect("the command is in the message");
        kubectl(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    }
    ready("clusterresticrepository", "", name, "True", "");
}

fn repository(name: &str, url: &str, password: &str) {
    kubectl(&["-n", SYSTEM, "delete", "secret", name, "--ignore-not-found"]);
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: {password}}}\n---\napiVersion: strongroom.dev/v1alpha1\nkind: ClusterResticRepository\n\
         metadata: {{name: {name}}}\nspec:\n  url: '{url}'\n  volume: {{claimName: backups}}\n  \
         credentials: {{secretRef: {{name: {name}}}}}\n"
    ));
}

#[test]
fn a_wrong_connect_token_is_said_and_clears() {
    let _guard = beside_others();
    namespace("m-token");
    put_item("m-token", &json!({"KEY": "value"}));
    let store = |token: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: token, namespace: m-token}}\nstringData: {{token: {token}}}\n\
             ---\napiVersion: strongroom.dev/v1alpha1\nkind: SecretStore\nmetadata: {{name: onepassword, namespace: \
             m-token}}\nspec: {{provider: {{onepassword: {{connectHost: 'http://connect.connect.svc', vaults: \
             {{Kubernetes: 1}}, auth: {{secretRef: {{connectTokenSecretRef: {{name: token}}}}}}}}}}}}\n"
        )
    };
    apply(&store("canary-wrong-token"));
    let message = ready("secretstore", "m-token", "onepassword", "False", "TokenRejected");
    assert!(message.contains("m-token/token"), "the Secret is named: {message}");
    assert!(!message.contains("canary"), "the token is not said: {message}");
    apply(&external_secret("m-token", "app", "m-token").replace("kind: ClusterSecretStore, ", ""));
    ready("externalsecret", "m-token", "app", "False", "StoreNotReady");

    let made = connect::post("/admin/tokens", &json!({"name": "m-token", "vaults": ["Kubernetes"]}));
    apply(&store(made["token"].as_str().expect("the token is answered")));
    ready("secretstore", "m-token", "onepassword", "True", "");
    ready("externalsecret", "m-token", "app", "True", "");
}

#[test]
fn a_missing_base_and_a_wrong_password_are_said_and_clear() {
    let _guard = beside_others();
    let seed = std::process::id();
    let url = format!("/repository/m-{seed}/{{{{ namespace }}}}/{{{{ name }}}}");
    // What an earlier run left knows another base.
    kubectl(&["delete", "clusterresticrepository", "m-base", "--ignore-not-found"]);
    repository("m-base", &url, "canary-right");
    let message = ready("clusterresticrepository", "", "m-base", "False", "BaseMissing");
    assert!(message.contains("strongroom.dev/accept="), "{message}");
    namespace("m-base");
    apply(&app("m-base", "app", "ceph-block"));
    apply(&backup("m-base", "app").replace("spec: {", "spec: {repositoryRefs: [{name: m-base}], "));
    ready("volumebackup", "m-base", "app", "False", "RepositoryNotReady");
    accept_base("m-base");
    ready("volumebackup", "m-base", "app", "True", "");
    running("m-base", "app");
    write("m-base", "app", "hello");
    assert_eq!(run_now("m-base", "app")["lastResult"], "Succeeded");

    repository("m-base", &url, "canary-wrong");
    let message = ready("clusterresticrepository", "", "m-base", "False", "WrongPassword");
    assert!(message.contains(SYSTEM) && message.contains("m-base"), "the Secret is named: {message}");
    repository("m-base", &url, "canary-right");
    ready("clusterresticrepository", "", "m-base", "True", "");

    // The pod that found the base stays, with its answer, while another place is asked for.
    eventually("the other movers are gone", SOON, || {
        list("pods", SYSTEM, "strongroom.dev/owner-name=m-base").is_empty().then_some(())
    });
    let asked = r#"{"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "again"}}}"#;
    kubectl(&["patch", "clusterresticrepository", "m-base", "--type=merge", "-p", asked]);
    let pod = eventually("the mover that asks is there", SOON, || {
        let pods = list("pods", SYSTEM, "strongroom.dev/owner-name=m-base");
        pods.first()?["metadata"]["name"].as_str().map(str::to_owned)
    });
    let held = |finalizers: &str| {
        let patch = format!(r#"{{"metadata": {{"finalizers": {finalizers}}}}}"#);
        kubectl(&["-n", SYSTEM, "patch", "pod", &pod, "--type=merge", "-p", &patch]);
    };
    held(r#"["strongroom.test/held"]"#);
    eventually("its answer is entered", SOON, || {
        let status = &get("clusterresticrepository", "", "m-base")?["status"];
        (status["lastHandledReconcileAt"] == "again").then_some(())
    });
    let elsewhere = json!({"spec": {"url": format!("{url}-elsewhere")}}).to_string();
    kubectl(&["patch", "clusterresticrepository", "m-base", "--type=merge", "-p", &elsewhere]);
    ready("clusterresticrepository", "", "m-base", "False", "RepositoryChanged");
    held("null");
    repository("m-base", &url, "canary-right");
    ready("clusterresticrepository", "", "m-base", "True", "");
}

#[test]
fn the_columns_are_worth_reading() {
    let _guard = beside_others();
    let table = eventually("everything is listed", Duration::from_secs(30), || {
        let table = kubectl(&["get", "strongroom", "-A"]);
        (table.contains("clustersecretstore.strongroom.dev/onepassword") && table.contains("nas")).then_some(table)
    });
    println!("{table}");
}
