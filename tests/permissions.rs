//! The operator may do what it does and no more: the chart's roles against the audit log of a cluster in which the
//! suite has run.

#![allow(clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

const OPERATOR: &str = "system:serviceaccount:strongroom-system:strongroom";

/// What no test makes the operator do, and when it does.
/// What no test makes the operator do, and when it does.
const RARE: [(&str, &str); 4] = [
    ("list /events", "where a staging claim is not provisioned for a while"),
    ("create /secrets", "server-side apply, a patch, asks for it where the Secret is new"),
    ("get apps/deployments", "at a start, where a restore was deleted by force and its workload is still stopped"),
    ("get apps/statefulsets", "the same"),
];

fn role(kind: &[&str]) -> BTreeSet<String> {
    let output = Command::new("kubectl").arg("get").args(kind).args(["-o", "json"]).output().expect("kubectl runs");
    let role: Value = serde_json::from_slice(&output.stdout).expect("the role is there");
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut allowed = BTreeSet::new();
    for rule in role["rules"].as_array().expect("it has rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                allowed.extend(texts(&rule["verbs"]).iter().map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    allowed
}

#[test]
fn every_permission_is_used_and_none_is_missing() {
    let log = std::fs::read(std::env::var("AUDIT_LOG").expect("`make test` sets it")).expect("the audit log");
    // What it did in its own namespace, and elsewhere.
    let (mut at_home, mut abroad, mut denied) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in String::from_utf8_lossy(&log).lines().filter(|line| line.contains(OPERATOR)) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        if event["user"]["username"] != OPERATOR || event["objectRef"]["resource"].is_null() {
            continue;
        }
        let text = |key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
        let sub = event["objectRef"]["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let verb = event["verb"].as_str().unwrap_or_default();
        let request = format!("{verb} {}/{}{sub}", text("apiGroup"), text("resource"));
        if event["annotations"]["authorization.k8s.io/decision"] == "forbid" {
            denied.insert(format!("{request} in {:?}: {}", text("namespace"), event["responseStatus"]["message"]));
            continue;
        }
        if text("namespace") == "strongroom-system" {
            at_home.insert(request.clone());
        } else {
            abroad.insert(request.clone());
        }
    }
    assert!(abroad.len() > 20, "the suite has run: {abroad:?}");
    assert!(denied.is_empty(), "{denied:#?}");
    let allowed = role(&["clusterrole", "strongroom"]);
    let unused = |allowed: &BTreeSet<String>, used: &BTreeSet<String>| -> Vec<String> {
        let rare = |of: &&String| RARE.iter().any(|(rare, _)| of == rare);
        allowed.difference(used).filter(|of| !rare(of)).cloned().collect()
    };
    let advice = "take it out of the chart, or say in RARE when it is used";
    let unused_abroad = unused(&allowed, &abroad);
    assert!(unused_abroad.is_empty(), "outside of its namespace no test uses {unused_abroad:#?}: {advice}");
    let allowed_at_home = role(&["role", "-n", "strongroom-system", "strongroom"]);
    let unused_at_home = unused(&allowed_at_home, &at_home);
    assert!(unused_at_home.is_empty(), "in its namespace no test uses {unused_at_home:#?}: {advice}");
    let all: BTreeSet<&String> = allowed.iter().chain(&allowed_at_home).collect();
    for (rare, _) in RARE {
        assert!(all.iter().any(|of| *of == rare), "{rare} is no longer allowed");
    }
}
