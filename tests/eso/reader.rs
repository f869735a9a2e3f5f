//! A workload that reads a Secret, which nothing restarts when the Secret's store changes hands.

use serde_json::{Value, json};

use crate::{
    apps::PLACES,
    support::{apply, kubectl, list},
};

/// Its pod, and how often that was restarted.
pub(crate) fn seen() -> (Value, Value) {
    let pods = list("pod", PLACES[0], "app=reader");
    let [pod] = pods.as_slice() else { panic!("one pod of the reader: {pods:#?}") };
    (pod["metadata"]["uid"].clone(), pod["status"]["containerStatuses"][0]["restartCount"].clone())
}

/// Starts it.
pub(crate) fn start() -> (Value, Value) {
    let container = json!({"name": "app", "image": "localhost/strongroom-test:dev", "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"],
        "envFrom": [{"secretRef": {"name": "data-0"}}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    let security = json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    let labels = json!({"app": "reader"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "reader", "namespace": PLACES[0]},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"securityContext": security, "containers": [container]}}}});
    apply(&deployment.to_string());
    kubectl(&["-n", PLACES[0], "rollout", "status", "deployment/reader", "--timeout=120s"]);
    seen()
}
