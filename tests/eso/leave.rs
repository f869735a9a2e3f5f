//! How to leave External Secrets Operator so that no Secret vanishes, as docs/eso.md says it: the store becomes ours,
//! each ExternalSecret gets one of our kind in its place, and then its chart is uninstalled, definitions and all.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    apps::{self, App, BOTH, PLACES, STORE},
    eso::Eso,
    support::{SOON, apply, connect, eventually, get, kubectl, ready},
    takeover::{KIND, behind, everything, none, not_ready, patch_store, put, seen},
};

const OURS: &str = "externalsecrets.strongroom.dev";
const FAULTS: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin/faults";
const LIMIT: Duration = Duration::from_mins(3);

/// What of the Secrets stays when their owner is another one.
fn kept(apps: &[&App]) -> BTreeMap<String, Value> {
    let mut seen = seen();
    seen.retain(|path, _| apps.iter().any(|app| app.secret() == *path));
    for secret in seen.values_mut().filter_map(Value::as_object_mut) {
        secret.remove("owners");
    }
    seen
}

/// Those whose Secret still belongs to the ExternalSecret that is replaced.
fn not_passed_on(apps: &[&App]) -> Vec<String> {
    let secrets = everything("secrets");
    let is_theirs =
        |app: &App| secrets[&app.secret()]["metadata"]["ownerReferences"].to_string().contains("external-s");
    apps.iter().filter(|app| is_theirs(app)).map(|app| app.path()).collect()
}

/// The ExternalSecrets of one namespace are replaced by ours while Connect does not answer, which takes no Secret away.
fn move_over(apps: &[&App]) {
    let before = kept(apps);
    connect::post("/admin/faults", &json!({"fault": "status", "status": 500, "token": "takeover"}));
    let stores = apps::stores(crate::takeover::TOKEN).into_iter().filter(|object| object["metadata"]["name"] == STORE);
    let live = everything(KIND);
    let moved = apps.iter().map(|app| {
        let live = &live[&app.path()];
        json!({"kind": live["kind"], "metadata": {"name": app.name, "namespace": app.place}, "spec": live["spec"]})
    });
    let objects = stores.chain(moved).map(|mut object| {
        object["apiVersion"] = "strongroom.dev/v1alpha1".into();
        object
    });
    apply(&crate::list(&objects.collect::<Vec<_>>()));
    eventually("the Secrets belong to the new ExternalSecrets", SOON, none(|| not_passed_on(apps)));
    let names = apps.iter().map(|app| app.name.as_str());
    kubectl(&["-n", PLACES[0], "delete", KIND].into_iter().chain(names).collect::<Vec<_>>());
    kubectl(&["delete", "--raw", FAULTS]);
    for app in apps {
        ready(OURS, app.place, &app.name, "True", "");
    }
    assert_eq!(kept(apps), before, "a Secret has changed or is gone");
}

/// What the chart of External Secrets Operator removes when it is uninstalled.
fn uninstall(eso: Eso) {
    // What is not of our store has to go while its operator is there to let it go.
    kubectl(&["-n", PLACES[0], "delete", KIND, BOTH, "theirs", "--timeout=60s"]);
    drop(eso);
    let definitions = kubectl(&["get", "crds", "-o", "name"]);
    let definitions: Vec<&str> = definitions.lines().filter(|name| name.ends_with("external-secrets.io")).collect();
    kubectl(&[&["delete"], definitions.as_slice(), &["--timeout=120s"]].concat());
}

/// Leaves External Secrets Operator: what has moved stays and is kept up to date; what has not goes with its owner.
pub(crate) fn leave(mut eso: Eso, apps: &[App]) {
    patch_store(&json!({"op": "add", "path": "/spec/controller", "value": "strongroom"}));
    eso.eventually("the store is ours again", LIMIT, none(|| not_ready(apps, true)));
    let moved: Vec<&App> = apps.iter().filter(|app| app.place == PLACES[0]).collect();
    move_over(&moved);
    put("moves", &json!({"KEY": "four", "MORE": "more"}));
    put("stays", &json!({"KEY": "four", "MORE": "more"}));
    eventually("the Secrets follow by Strongroom", SOON, none(|| behind(moved.iter().copied(), "four")));
    let before = kept(&moved);
    uninstall(eso);
    assert_eq!(kept(&moved), before, "a Secret has gone with External Secrets Operator");
    let left = apps.iter().find(|app| app.place == PLACES[1] && app.name.starts_with("data-")).expect("there is one");
    eventually("what was not moved is gone with its owner", SOON, || {
        get("secret", left.place, left.target()).is_none().then_some(())
    });
    put("moves", &json!({"KEY": "five", "MORE": "more"}));
    put("stays", &json!({"KEY": "five", "MORE": "more"}));
    eventually("the Secrets follow without ESO's kinds", SOON, none(|| behind(moved.iter().copied(), "five")));
}
