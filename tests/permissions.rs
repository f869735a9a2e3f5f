//! The operator may do what it does and no more: the chart's roles against the audit log of a cluster in which the
//! suite has run.

#![allow(clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

const OPERATOR: &str = "system:serviceaccount:strongroom-system:strongroom";

/// What no test makes the operator do, and when it does.
const RARE: [(&str, &str); 5] = [
    ("list /events", "where a staging claim is not provisioned for a while"),
    ("create /secrets", "server-side apply, a patch, asks for it where the Secret is new"),
    ("create /pods/exec", "asked for besides get where a hook is run, and not in the log"),
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

/// What the operator asked and was allowed in its own namespace, and elsewhere; and what it was not allowed.
#[derive(Default)]
struct Asked {
    at_home: BTreeSet<String>,
    abroad: BTreeSet<String>,
    denied: BTreeSet<String>,
}

fn asked() -> Asked {
    let log = std::fs::read(std::env::var("AUDIT_LOG").expect("`make test` sets it")).expect("the audit log");
    let mut asked = Asked::default();
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
            asked.denied.insert(format!("{request} in {:?}", text("namespace")));
        } else if text("namespace") == "strongroom-system" {
            asked.at_home.insert(request);
        } else {
            asked.abroad.insert(request);
        }
    }
    assert!(asked.abroad.len() > 20, "the suite has run: {:?}", asked.abroad);
    asked
}

#[test]
fn none_is_missing() {
    let denied = asked().denied;
    assert!(denied.is_empty(), "{denied:#?}");
}

/// Only where the whole suite has run.
#[test]
fn every_one_is_used() {
    let asked = asked();
    let unused = |role: &BTreeSet<String>, used: &BTreeSet<String>| -> Vec<String> {
        let rare = |of: &&String| RARE.iter().any(|(rare, _)| of == rare);
        role.difference(used).filter(|of| !rare(of)).cloned().collect()
    };
    let abroad = role(&["clusterrole", "strongroom"]);
    let at_home = role(&["role", "-n", "strongroom-system", "strongroom"]);
    for (place, unused) in [
        ("outside of its namespace", unused(&abroad, &asked.abroad)),
        ("in its namespace", unused(&at_home, &asked.at_home)),
    ] {
        let advice = "take it out of the chart, or say in RARE when it is used";
        assert!(unused.is_empty(), "{place} no test uses {unused:#?}: {advice}");
    }
    for (rare, _) in RARE {
        assert!(abroad.contains(rare) || at_home.contains(rare), "{rare} is no longer allowed");
    }
}
