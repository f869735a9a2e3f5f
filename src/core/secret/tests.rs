use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::*;
use crate::{
    api::{MANAGER, common::Time, external_secret::Binding, labels},
    core::{sensitive::Sensitive, template::Moment},
};

fn external_secret(spec: &serde_json::Value) -> ExternalSecret {
    let mut object: ExternalSecret = serde_json::from_value(serde_json::json!({
        "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
        "metadata": {"name": "radarr", "namespace": "media", "uid": "uid-1", "generation": 3},
        "spec": {"secretStoreRef": {"kind": "ClusterSecretStore", "name": "onepassword"}},
    }))
    .unwrap();
    let mut merged = serde_json::to_value(&object.spec).unwrap();
    merged.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object.spec = serde_json::from_value(merged).unwrap();
    object
}

fn now() -> Time {
    "2026-11-03T07:08:09Z".parse().unwrap()
}

/// Renders with the same fields for every reference.
fn rendered(spec: &serde_json::Value, fields: &[(&str, &str)]) -> Result<Desired, Problem> {
    let spec = external_secret(spec).spec;
    let yields = wanted(&spec)?.into_iter().map(|wanted| {
        let one = matches!(wanted.entry, Entry::Data(_));
        let values = fields.iter().take(if one { 1 } else { usize::MAX });
        (wanted, values.map(|(name, value)| ((*name).to_owned(), Sensitive::from(*value))).collect())
    });
    render(&spec, yields.collect(), &Moment { now: now(), seed: [0; 32] })
}

fn text(desired: &Desired) -> BTreeMap<&str, &str> {
    desired.data.iter().map(|(key, value)| (key.as_str(), value.expose_str().unwrap())).collect()
}

const FIELDS: [(&str, &str); 2] = [("USER", "u"), ("PASS", "p")];

#[test]
fn composes_keys() {
    let extract = serde_json::json!([{"extract": {"key": "radarr"}}]);
    let data = serde_json::json!([{"secretKey": "USER", "remoteRef": {"key": "x"}}, {"secretKey": "k", "remoteRef": {"key": "x"}}]);
    let template = serde_json::json!({"data": {"URL": "{{ .USER }}:{{ .PASS }}", "fixed": "1"}});
    let merge = serde_json::json!({"data": {"PASS": "{{ .PASS }}!"}, "mergePolicy": "Merge"});
    let rewrite = serde_json::json!([
        {"extract": {"key": "a"}, "rewrite": [{"regexp": {"source": "(.*)", "target": "A_$1"}}]}, {"extract": {"key": "b"}}]);
    for (spec, expected) in [
        (serde_json::json!({"dataFrom": extract}), vec![("PASS", "p"), ("USER", "u")]),
        (serde_json::json!({"data": data}), vec![("USER", "u"), ("k", "u")]),
        (
            serde_json::json!({"dataFrom": extract, "target": {"template": template}}),
            vec![("URL", "u:p"), ("fixed", "1")],
        ),
        (serde_json::json!({"dataFrom": extract, "target": {"template": merge}}), vec![("PASS", "p!"), ("USER", "u")]),
        (
            serde_json::json!({"dataFrom": extract, "target": {"template": {"type": "Opaque"}}}),
            vec![("PASS", "p"), ("USER", "u")],
        ),
        (
            serde_json::json!({"dataFrom": rewrite}),
            vec![("A_PASS", "p"), ("A_USER", "u"), ("PASS", "p"), ("USER", "u")],
        ),
    ] {
        let desired = rendered(&spec, &FIELDS).unwrap();
        assert_eq!(text(&desired), expected.into_iter().collect(), "{spec}");
    }
}

#[test]
fn says_what_cannot_be_composed() {
    let with = |more: serde_json::Value| {
        let mut spec = serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rendered(&spec, &[("USER", "u"), ("größe", "hunter2")]).unwrap_err()
    };
    let target = |target: serde_json::Value| with(serde_json::json!({ "target": target }));
    let big = "x".repeat(1_100_000);
    let mut messages: Vec<(Reason, String)> = [
        with(serde_json::json!({})),
        with(serde_json::json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}}]})),
        with(serde_json::json!({"dataFrom": [{"extract": {"key": "x", "metadataPolicy": "Fetch"}}]})),
        with(serde_json::json!({"syncWindows": {"kind": "allow", "windows": []}})),
        with(serde_json::json!({"secretStoreRef": null})),
        target(serde_json::json!({"creationPolicy": "Merge"})),
        target(serde_json::json!({"deletionPolicy": "Delete"})),
        target(serde_json::json!({"immutable": true})),
        target(serde_json::json!({"restart": true})),
        target(serde_json::json!({"template": {"engineVersion": "minijinja"}})),
        target(serde_json::json!({"template": {"templateFrom": [{"literal": "x"}]}})),
        target(serde_json::json!({"template": {"metadata": {"finalizers": ["x"]}}})),
        target(serde_json::json!({"template": {"type": "kubernetes.io/service-account-token"}})),
        target(serde_json::json!({"template": {"data": {"a b": "x"}}})),
        target(serde_json::json!({"template": {"data": {"a": "{{ .USR }}"}}})),
        target(serde_json::json!({"template": {"data": {"a": big}}})),
    ]
    .into_iter()
    .map(|problem| (problem.reason, problem.message))
    .collect();
    let nothing = rendered(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}), &[]).unwrap_err();
    messages.push((nothing.reason, nothing.message));
    assert!(messages.iter().all(|(_, message)| !message.contains("hunter2")));
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn the_applied_object() {
    let spec = serde_json::json!({
        "dataFrom": [{"extract": {"key": "radarr"}}],
        "target": {"name": "radarr-secret", "template": {"type": "kubernetes.io/basic-auth",
            "metadata": {"labels": {"cnpg.io/reload": "true"}, "annotations": {"user": "{{ .USER }}"}}}}});
    let owner = external_secret(&spec);
    let desired = rendered(&spec, &FIELDS).unwrap();
    insta::assert_yaml_snapshot!(object(&owner, &desired, "inputs", "v/i@3"));
}

#[test]
fn sees_every_difference() {
    let owner = external_secret(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let desired = Desired { data: [("a".to_owned(), Sensitive::from("1"))].into(), ..Desired::default() };
    let wanted = object(&owner, &desired, "inputs", "items");
    assert!(!differs(&wanted, &wanted));
    let changed = |change: &dyn Fn(&mut Secret)| {
        let mut live = wanted.clone();
        change(&mut live);
        live
    };
    for live in [
        changed(&|live| live.data = None),
        changed(&|live| drop(live.data.as_mut().unwrap().insert("foreign".into(), ByteString(vec![])))),
        changed(&|live| live.metadata.labels = None),
        changed(&|live| {
            drop(live.metadata.annotations.as_mut().unwrap().insert("strongroom.dev/inputs".into(), "x".into()));
        }),
        changed(&|live| live.metadata.owner_references = None),
    ] {
        assert!(differs(&live, &wanted), "{live:?}");
    }
    // What others add is theirs.
    assert!(!differs(
        &changed(&|live| drop(live.metadata.labels.as_mut().unwrap().insert("x".into(), "y".into()))),
        &wanted
    ));
    let foreign = changed(&|live| drop(live.data.as_mut().unwrap().insert("foreign".into(), ByteString(vec![]))));
    assert_eq!(foreign_keys(&foreign, &wanted), ["foreign"]);
}

#[test]
fn knows_whose_a_secret_is() {
    let owner = |kind: &str, uid: &str, group: &str| OwnerReference {
        kind: kind.into(),
        name: "other".into(),
        uid: uid.into(),
        api_version: format!("{group}/v1"),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let meta = |owners: Vec<OwnerReference>, map: &[(&str, &str)]| ObjectMeta {
        name: Some("s".into()),
        namespace: Some("media".into()),
        owner_references: Some(owners),
        labels: Some(map.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        ..ObjectMeta::default()
    };
    let ours = |uid| {
        [
            (labels::MANAGED_BY, MANAGER),
            (labels::OWNER_KIND, "ExternalSecret"),
            (labels::OWNER_NAME, "n"),
            (labels::OWNER_UID, uid),
        ]
    };
    let mut messages = Vec::new();
    for (meta, expected) in [
        (None, Some(Claim::Absent)),
        (Some(meta(vec![], &[])), Some(Claim::Nobodys)),
        (Some(meta(vec![], &ours("uid-1"))), Some(Claim::Ours)),
        (Some(meta(vec![owner("ExternalSecret", "uid-1", "strongroom.dev")], &[])), Some(Claim::Ours)),
        (Some(meta(vec![owner("ExternalSecret", "gone", "strongroom.dev")], &ours("gone"))), Some(Claim::Nobodys)),
        (Some(meta(vec![], &ours("gone"))), Some(Claim::Nobodys)),
        (Some(meta(vec![], &ours("alive"))), None),
        (Some(meta(vec![owner("ExternalSecret", "alive", "strongroom.dev")], &[])), None),
        (Some(meta(vec![owner("ExternalSecret", "gone", "external-secrets.io")], &[])), None),
        (Some(meta(vec![owner("Certificate", "x", "cert-manager.io")], &ours("uid-1"))), None),
        (Some(meta(vec![], &[("reconcile.external-secrets.io/managed", "true")])), None),
    ] {
        match claim(meta.as_ref(), "uid-1", |uid| uid == "alive") {
            Ok(found) => assert_eq!(Some(found), expected, "{meta:?}"),
            Err(problem) => {
                assert_eq!((problem.reason, None), (Reason::Foreign, expected), "{meta:?}");
                messages.push(problem.message);
            }
        }
    }
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn inputs_change_with_the_declaration_and_the_items() {
    let spec = |json: &serde_json::Value| external_secret(json).spec;
    let one = spec(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let mut suspended = one.clone();
    suspended.suspend = true;
    let found = |version| Found { vault: "v".into(), item: "i".into(), title: "radarr".into(), version };
    let base = inputs(&one, &[found(1)], None);
    assert_eq!(base, inputs(&suspended, &[found(1)], None), "what does not enter the Secret does not count");
    assert_eq!(base, inputs(&one, &[found(1), found(1)], None));
    for other in [
        inputs(&one, &[found(2)], None),
        inputs(&one, &[found(1)], Some(1)),
        inputs(&spec(&serde_json::json!({"dataFrom": [{"extract": {"key": "sonarr"}}]})), &[found(1)], None),
    ] {
        assert_ne!(base, other);
    }
    assert_eq!(items(&[found(2), found(2)]), "v/i@2");
}

#[test]
fn holds_only_after_the_first_sync() {
    for (spec, synced_generation, expected) in [
        (serde_json::json!({}), Some(3), false),
        (serde_json::json!({"refreshInterval": "1h"}), Some(3), false),
        (serde_json::json!({"refreshInterval": "0"}), None, false),
        (serde_json::json!({"refreshInterval": "0"}), Some(2), true),
        (serde_json::json!({"refreshPolicy": "CreatedOnce"}), None, false),
        (serde_json::json!({"refreshPolicy": "CreatedOnce"}), Some(2), true),
        (serde_json::json!({"refreshPolicy": "OnChange"}), Some(2), false),
        (serde_json::json!({"refreshPolicy": "OnChange"}), Some(3), true),
    ] {
        let mut object = external_secret(&spec);
        object.status = synced_generation.map(|observed_generation| ExternalSecretStatus {
            observed_generation,
            binding: Some(Binding { name: "radarr".into(), resource_version: None }),
            ..ExternalSecretStatus::default()
        });
        assert_eq!(holds(&object), expected, "{spec} {synced_generation:?}");
    }
}

#[test]
fn requests_are_handled_once() {
    for (requested, forced, sync, handled, expected) in [
        (None, None, None, (None, None), (false, false)),
        (Some("1"), None, None, (None, None), (true, false)),
        (Some("1"), None, None, (Some("1"), None), (false, false)),
        (Some("1"), Some("1"), None, (None, None), (true, true)),
        (Some("1"), Some("0"), None, (Some("1"), None), (false, false)),
        (None, None, Some("7"), (None, None), (true, true)),
        (None, None, Some("7"), (None, Some("7")), (false, false)),
        (Some("1"), Some("1"), Some("7"), (Some("1"), Some("1 7")), (false, false)),
        (None, None, Some("7"), (None, Some("1 7")), (false, false)),
        (None, None, Some("8"), (None, Some("1 7")), (true, true)),
    ] {
        let mut object = external_secret(&serde_json::json!({}));
        let set =
            [(annotations::REQUESTED_AT, requested), (annotations::FORCE_AT, forced), (annotations::FORCE_SYNC, sync)];
        object.metadata.annotations =
            Some(set.iter().filter_map(|(key, value)| Some(((*key).to_owned(), (*value)?.to_owned()))).collect());
        object.status = Some(ExternalSecretStatus {
            last_handled_reconcile_at: handled.0.map(str::to_owned),
            last_handled_force_at: handled.1.map(str::to_owned),
            ..ExternalSecretStatus::default()
        });
        let found = request(&object);
        assert_eq!((found.look, found.force), expected, "{requested:?} {forced:?} {sync:?} {handled:?}");
        // Once the status says so, nothing is left to do.
        let status = object.status.as_mut().unwrap();
        (status.last_handled_reconcile_at, status.last_handled_force_at) = (found.requested_at, found.force_at);
        let again = request(&object);
        assert_eq!((again.look, again.force), (false, false));
    }
}
