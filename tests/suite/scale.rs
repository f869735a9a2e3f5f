//! Many new ExternalSecrets, of five keys each, by the real External Secrets Operator and by ours: one after the other,
//! on the same cluster and Connect server, whose every answer takes 3 ms. Both read the same items.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::{
    audit::{self, Request},
    eso::{self, Eso},
    kills::OperatorAway,
    support::{apply, connect, eventually, kubectl, namespace, on_node, try_kubectl},
};

const LIMIT: Duration = Duration::from_mins(15);
const KEYS: usize = 5;
const BATCH: usize = 250;
const ADMIN: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin";

/// What one side needed.
struct Need {
    connect: u64,
    peak: u64,
    requests: Vec<Request>,
}

fn item(n: usize) -> Value {
    let fields: serde_json::Map<String, Value> =
        (0..KEYS).map(|key| (format!("KEY_{key}"), format!("value {key} of {n}").into())).collect();
    json!({"title": format!("scale-{n}"), "category": "SECURE_NOTE", "fields": fields})
}

fn external_secret(version: &str, namespace: &str, n: usize) -> Value {
    let data: Vec<Value> = (0..KEYS)
        .map(|key| format!("KEY_{key}"))
        .map(|key| json!({"secretKey": key, "remoteRef": {"key": format!("scale-{n}"), "property": key}}))
        .collect();
    json!({"apiVersion": version, "kind": "ExternalSecret",
        "metadata": {"name": format!("app-{n}"), "namespace": namespace},
        "spec": {"secretStoreRef": {"kind": "ClusterSecretStore", "name": "scale"}, "data": data}})
}

fn declare(version: &str, namespace: &str, count: usize) {
    let all: Vec<Value> = (0..count).map(|n| external_secret(version, namespace, n)).collect();
    for batch in all.chunks(BATCH) {
        apply(&json!({"apiVersion": "v1", "kind": "List", "items": batch}).to_string());
    }
}

/// Whether that many are ready.
fn are_ready(group: &str, namespace: &str, count: usize) -> Option<()> {
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    let kind = format!("externalsecrets.{group}");
    let text = try_kubectl(&["-n", namespace, "get", &kind, "-o", path], None).ok()?;
    (text.split(' ').filter(|status| *status == "True").count() == count).then_some(())
}

fn asked_of_connect() -> u64 {
    connect::get("/admin/counts")["total"].as_u64().expect("a number")
}

/// The same Secrets, whoever made them.
fn values(namespace: &str) -> BTreeSet<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.data}{\"\\n\"}{end}";
    let text = kubectl(&["-n", namespace, "get", "secrets", "-o", path]);
    text.lines().filter(|line| line.starts_with("app-")).map(str::to_owned).collect()
}

fn by_eso(count: usize) -> Need {
    let place = "t-scale-eso";
    eso::define();
    eso::stores(None, "scale", &json!({"Scale": 1}));
    namespace(place);
    declare(eso::VERSION, place, count);
    let (mark, before) = (audit::mark(), asked_of_connect());
    let mut eso = Eso::start(1);
    eso.eventually("all are ready", LIMIT, || are_ready(eso::GROUP, place, count));
    let need = Need {
        connect: asked_of_connect() - before,
        peak: eso.peak(),
        requests: audit::of_program(&mark, eso::USER_AGENT),
    };
    assert_eq!(values(place).len(), count, "Secrets of ESO");
    need
}

fn by_ours(count: usize, away: OperatorAway) -> Need {
    let place = "t-scale-ours";
    namespace(place);
    declare("strongroom.dev/v1alpha1", place, count);
    let (mark, before) = (audit::mark(), asked_of_connect());
    drop(away);
    eventually("all are ready", LIMIT, || are_ready("strongroom.dev", place, count));
    let status =
        on_node(&["sh", "-c", "cat $(grep -lx strongroom /proc/[0-9]*/comm | head -n 1 | sed s/comm/status/)"]);
    Need { connect: asked_of_connect() - before, peak: eso::peak(&status), requests: audit::of_operator(&mark) }
}

/// Measures both, and prints a table.
pub fn beside_eso(count: usize) {
    let items: Vec<Value> = (0..count).map(item).collect();
    let token = "canary-scale-eyJhbGciOiJFUzI1NiJ9.c2NhbGU.c2ln";
    connect::post(
        "/admin/seed",
        &json!({"vaults": [{"name": "Scale", "items": items}], "tokens": [{"name": "scale", "token": token, "vaults": ["Scale"]}]}),
    );
    connect::post("/admin/faults", &json!({"fault": "latency", "ms": 3}));
    apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "peers-token", "namespace": "connect"},
            "stringData": {"token": token}})
        .to_string(),
    );
    let away = OperatorAway::new();
    let theirs = by_eso(count);
    let ours = by_ours(count, away);
    kubectl(&["delete", "--raw", &format!("{ADMIN}/faults")]);
    assert_eq!(values("t-scale-eso"), values("t-scale-ours"), "both made the same");

    println!("\n{count} new ExternalSecrets x {KEYS} keys, Connect at 3 ms");
    println!("{:<40} {:>10} {:>10}", "", "ESO 0.20.4", "Strongroom");
    let row = |what: &str, of: &dyn Fn(&Need) -> String| println!("{what:<40} {:>10} {:>10}", of(&theirs), of(&ours));
    row("from its first request to the last ready, s", &|need| format!("{:.1}", need.seconds()));
    row("requests to Connect", &|need| need.connect.to_string());
    row("reads at the API server", &|need| need.count(&["get", "list"]).to_string());
    row("writes at the API server", &|need| need.count(&["create", "update", "patch", "delete"]).to_string());
    row("most memory, MiB", &|need| format!("{:.1}", need.peak_mib()));

    // Its finalizers are its to take away.
    let _eso = Eso::start(10);
    kubectl(&["delete", "namespace", "t-scale-eso", "--wait=true", "--timeout=600s"]);
    eso::undefine();
}

impl Need {
    /// From the first request to the last status that was written.
    fn seconds(&self) -> f64 {
        let written = self.requests.iter().filter(|request| request.resource == "externalsecrets/status");
        let last = written.map(|request| request.at).max().expect("it wrote the status");
        let first = self.requests.iter().map(|request| request.at).min().expect("it asked for something");
        (last - first).as_seconds_f64()
    }

    fn count(&self, verbs: &[&str]) -> usize {
        self.requests.iter().filter(|request| verbs.contains(&request.verb.as_str())).count()
    }

    #[allow(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    fn peak_mib(&self) -> f64 {
        self.peak as f64 / 1024.0
    }
}
