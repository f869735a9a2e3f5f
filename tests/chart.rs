//! The chart as Helm renders it. Helm is found by the variable HELM or on the PATH.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fmt::Write;

use serde_json::Value;
use support::{documents, program, run, text};

fn helm(args: &[&str]) -> String {
    let namespace = ["template", "strongroom", "charts/strongroom", "--namespace", "strongroom-system"];
    run(&program("HELM", "helm"), &[&namespace, args].concat())
}

/// Writes values to a file and renders the chart with them.
fn with_values(values: &str, args: &[&str]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    helm(&[&["--values", file.path().to_str().unwrap()], args].concat())
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| text(document, "/kind") == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn defaults() {
    insta::assert_snapshot!(helm(&[]));
}

#[test]
fn every_value_is_used() {
    let values = "
image: {repository: registry.example.net/strongroom, tag: 1.2.3, digest: 'sha256:DIGEST', pullPolicy: Always}
imagePullSecrets: [{name: one}, {name: two}]
fullnameOverride: vault
movers: 9
hooks: {enabled: true}
log: {level: debug, format: json}
resources: {requests: {cpu: 1}}
serviceAccount: {annotations: {role: backup}}
podLabels: {team: storage}
podAnnotations: {note: hello}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: system-cluster-critical
serviceMonitor: {enabled: true, interval: 30s, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
grafanaDashboard: {enabled: true, labels: {team: storage}, annotations: {grafana_folder: Storage}}
"
    .replace("DIGEST", &"0123456789abcdef".repeat(4));
    let rendered = documents(&with_values(&values, &[]));
    let chosen = ["ServiceAccount", "Deployment", "ServiceMonitor", "PrometheusRule"].map(|kind| find(&rendered, kind));
    insta::assert_yaml_snapshot!(chosen);
    let dashboard = find(&rendered, "ConfigMap");
    insta::assert_yaml_snapshot!("dashboard", dashboard["metadata"]);
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let file = std::fs::read_to_string(support::path("charts/strongroom/dashboard.json")).unwrap();
    assert_eq!(read(text(dashboard, "/data/strongroom.json")), read(&file));
}

#[test]
fn an_image_has_the_digest_of_its_tag_or_beside_it() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (tag, other, image) in [
        ("", "", concat!("ghcr.io/strongroom/strongroom:", env!("CARGO_PKG_VERSION")).to_owned()),
        ("1.2.3", "", "ghcr.io/strongroom/strongroom:1.2.3".to_owned()),
        ("1.2.3", &*digest, format!("ghcr.io/strongroom/strongroom:1.2.3@{digest}")),
        (&format!("1.2.3@{digest}"), "", format!("ghcr.io/strongroom/strongroom:1.2.3@{digest}")),
        (
            &format!("1.2.3@{digest}"),
            &format!("sha256:{}", "b".repeat(64)),
            format!("ghcr.io/strongroom/strongroom:1.2.3@{digest}"),
        ),
    ] {
        let rendered =
            documents(&helm(&["--set-string", &format!("image.tag={tag}"), "--set", &format!("image.digest={other}")]));
        let container = find(&rendered, "Deployment").pointer("/spec/template/spec/containers/0").unwrap();
        assert_eq!(text(container, "/image"), image);
        let movers = container["env"].as_array().unwrap().iter().find(|env| env["name"] == "STRONGROOM_IMAGE");
        assert_eq!(text(movers.unwrap(), "/value"), image, "movers run another image");
    }
}

#[test]
fn values_that_do_not_exist_are_refused() {
    for values in [
        "unknown: 1",
        "image: {tga: 1.2.3}",
        "image: {tag: 1.2}",
        "image: {digest: latest}",
        "image: {pullPolicy: Sometimes}",
        "movers: 0",
        "movers: four",
        "hooks: true",
        "hooks: {enabled: 'yes'}",
        "imagePullSecrets: [registry]",
        "log: {format: xml}",
        "serviceMonitor: {enabled: 'yes'}",
        "prometheusRule: {enabled: 'yes'}",
        "grafanaDashboard: {labels: {grafana_dashboard: 1}}",
        "resources: {limit: {memory: 1Gi}}",
        "replicas: 2",
    ] {
        let rendered = std::panic::catch_unwind(|| with_values(values, &[]));
        let error = rendered.expect_err(&format!("{values} was accepted"));
        let message = error.downcast_ref::<String>().unwrap();
        assert!(message.contains("don't meet the specifications"), "{values}: {message}");
    }
}

#[test]
fn the_definitions_are_in_it() {
    let rendered = documents(&helm(&["--include-crds"]));
    let definitions = rendered.iter().filter(|document| text(document, "/kind") == "CustomResourceDefinition");
    assert_eq!(definitions.count(), strongroom::api::crds().len());
}

/// What the operator may do; each line is one that somebody agreed to.
#[test]
fn permissions() {
    let rendered = documents(&helm(&[]));
    let mut table = String::new();
    for (kind, scope) in [("ClusterRole", "everywhere"), ("Role", "strongroom-system")] {
        let mut lines = vec![];
        for rule in find(&rendered, kind)["rules"].as_array().unwrap() {
            let list = |field: &str| -> Vec<String> {
                rule[field].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
            };
            assert!(!list("verbs").contains(&"*".to_owned()), "{rule}");
            for group in list("apiGroups") {
                for resource in list("resources") {
                    let dot = if group.is_empty() { "" } else { "." };
                    let resource = format!("{resource}{dot}{group}");
                    lines.push(format!("{resource:52} {scope:18} {}", list("verbs").join(" ")));
                }
            }
        }
        lines.sort();
        for line in lines {
            writeln!(table, "{line}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// Pods and Jobs are created in the operator's own namespace only.
#[test]
fn nothing_runs_in_an_apps_namespace() {
    let rendered = documents(&helm(&[]));
    for rule in find(&rendered, "ClusterRole")["rules"].as_array().unwrap() {
        let names = |field: &str, wanted: &[&str]| {
            rule[field].as_array().unwrap().iter().any(|text| wanted.contains(&text.as_str().unwrap()))
        };
        let runs =
            ["pods", "pods/exec", "jobs", "deployments", "statefulsets", "daemonsets", "replicasets", "cronjobs"];
        assert!(!(names("resources", &runs) && names("verbs", &["create", "update", "delete"])), "{rule}");
    }
}

/// Commands in apps' pods are run only where that is switched on.
#[test]
fn commands_are_run_only_where_that_is_allowed() {
    let rules = |values: &str| {
        let rendered = documents(&with_values(values, &[]));
        let mut rules = find(&rendered, "ClusterRole")["rules"].as_array().unwrap().clone();
        rules.retain(|rule| rule["resources"].as_array().unwrap().iter().any(|text| text == "pods/exec"));
        rules
    };
    assert_eq!(rules("{}"), Vec::<Value>::new());
    let allowed = serde_json::json!([{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}]);
    assert_eq!(Value::from(rules("hooks: {enabled: true}")), allowed);
}

#[test]
fn the_operator_is_fit_for_restricted_pod_security() {
    let rendered = documents(&helm(&[]));
    let pod = find(&rendered, "Deployment").pointer("/spec/template/spec").unwrap();
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(pod.get("volumes"), None, "no hostPath, no volume at all");
}

#[test]
fn the_program_knows_every_variable() {
    let rendered = documents(&with_values("{log: {format: json}, imagePullSecrets: [{name: one}]}", &[]));
    let main = support::read("src/main.rs");
    for env in
        find(&rendered, "Deployment").pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap()
    {
        let name = text(env, "/name");
        assert!(name == "RUST_LOG" || main.contains(&format!("\"{name}\"")), "the program does not read {name}");
    }
}

#[test]
fn the_versions_are_one() {
    let chart = &documents(&support::read("charts/strongroom/Chart.yaml"))[0];
    assert_eq!(text(chart, "/version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(chart, "/appVersion"), env!("CARGO_PKG_VERSION"));
}
