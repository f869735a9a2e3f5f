//! A workload that reads a Secret goes on while its store changes hands.

use serde_json::{Value, json};

use crate::{
    apps::App,
    support::{SOON, apply, eventually, get, list},
};

/// Its name, and the label of its pod.
const NAME: &str = "reads-its-secret";

/// A Deployment with a variable of an ExternalSecret's Secret; its pod.
pub(crate) fn start(app: &App) -> Value {
    let variable = json!({"name": "KEY", "valueFrom": {"secretKeyRef": {"name": app.target(), "key": "KEY"}}});
    let container = json!({"name": "app", "image": "localhost/strongroom-test:dev", "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"], "env": [variable],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    let pod = json!({"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": app.place},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": pod}}});
    apply(&deployment.to_string());
    eventually("the workload runs", SOON, || {
        (get("deployment", app.place, NAME)?["status"]["readyReplicas"] == 1).then_some(())
    });
    pods(app)
}

/// The uids of its pods, how often their containers restarted, and the Deployment's generation.
pub(crate) fn pods(app: &App) -> Value {
    let one = |pod: Value| {
        let restarts: Vec<Value> = pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|container| container["restartCount"].clone())
            .collect();
        json!([pod["metadata"]["uid"], restarts])
    };
    let pods: Vec<Value> = list("pods", app.place, &format!("app={NAME}")).into_iter().map(one).collect();
    let deployment = get("deployment", app.place, NAME).expect("it is there");
    json!({"pods": pods, "generation": deployment["metadata"]["generation"]})
}
