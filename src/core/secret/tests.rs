use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::*;
use crate::{
    api::{MANAGER, annotations, common::Time, external_secret::ExternalSecretStatus, labels},
    core::{
        sensitive::{Sensitive, SensitiveMap},
        template::Moment,
    },
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
    rendered_with(spec, fields, &[])
}

fn rendered_with(spec: &serde_json::Value, fields: &[(&str, &str)], origins: &[Origin]) -> Result<Desired, Problem> {
    let spec = external_secret(spec).spec;
    let yields = wanted(&spec)?.into_iter().map(|wanted| {
        let one = matches!(wanted.entry, Entry::Data(_));
        let values = fields.iter().take(if one { 1 } else { usize::MAX });
        (wanted, values.map(|(name, value)| ((*name).to_owned(), Sensitive::from(*value))).collect())
    });
    let ingredients = Ingredients { yields: yields.collect(), texts: texts(&spec, origins)? };
    render(&spec, ingredients, &Moment { now: now(), seed: [7; 32] })
}

fn fingerprints() -> Fingerprints {
    Fingerprints::new(Sensitive::from("key"))
}

fn notes() -> Notes {
    Notes { inputs: "inputs".into(), items: "v/i@3".into(), data: "data".into(), restarted: None }
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
        with(serde_json::json!({"dataFrom": [{"extract": {"key": "x"}}], "target": {"template": {
            "templateFrom": [{"literal": "a: b", "valuesDecodingStrategy": "Base64"}]}}})),
        with(serde_json::json!({"dataFrom": [{"extract": {"key": "x", "version": "1"}}]})),
        with(serde_json::json!({"dataFrom": [{"extract": {"key": "x"}, "sourceRef": {"generatorRef": {}}}]})),
        with(serde_json::json!({"dataFrom": [{}]})),
        with(serde_json::json!({"secretStoreRef": null})),
        target(serde_json::json!({"manifest": {}})),
        target(serde_json::json!({"template": {"templateFrom": [{"literal": "x", "target": "Spec"}]}})),
        target(
            serde_json::json!({"template": {"templateFrom": [{"configMap": {"name": "c", "items": [{"key": "k"}]}}]}}),
        ),
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
fn a_binary_value_is_passed_through_but_makes_no_label() {
    let rendered = |template: serde_json::Value| {
        let spec = serde_json::json!({"dataFrom": [{"extract": {"key": "x"}}], "target": {"template": template}});
        let spec = external_secret(&spec).spec;
        let fields = || vec![("LOGO".to_owned(), Sensitive::from(vec![0xff, 0xfe]))];
        let yields = wanted(&spec).unwrap().into_iter().map(|wanted| (wanted, fields())).collect();
        render(&spec, Ingredients { yields, texts: Vec::new() }, &Moment { now: now(), seed: [7; 32] })
    };
    let desired = rendered(serde_json::json!({"data": {"logo.png": "{{ .LOGO }}"}})).unwrap();
    assert_eq!(desired.data["logo.png"].expose(), [0xff, 0xfe]);
    let label = rendered(serde_json::json!({"metadata": {"labels": {"a": "{{ .LOGO }}"}}})).unwrap_err();
    assert_eq!(label.reason, Reason::TemplateError);
    assert!(label.message.contains("is binary"), "{}", label.message);
}

#[test]
fn says_what_of_a_secret_cannot_be_changed() {
    let owner = external_secret(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let secret = |data: &[&str], immutable: Option<bool>, type_: Option<&str>| -> Secret {
        let data: BTreeMap<&str, &str> = data.iter().map(|key| (*key, "MQ==")).collect();
        let fields = serde_json::json!({"f:immutable": {}});
        let managed = serde_json::json!([{"manager": manager(&owner), "operation": "Apply", "fieldsV1": fields}]);
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "radarr", "managedFields": managed}, "data": data, "immutable": immutable, "type": type_,
        }))
        .unwrap()
    };
    let message = |live: &Secret, wanted: &Secret| changeable(live, wanted, &owner).map_err(|problem| problem.message);
    let live = secret(&["a", "b"], Some(true), Some("Opaque"));
    assert_eq!(message(&live, &secret(&["a", "b"], Some(true), None)), Ok(()));
    let removed = message(&live, &secret(&["a"], Some(true), None)).unwrap_err();
    assert!(removed.contains("is immutable, and its keys"), "{removed}");
    let back = message(&live, &secret(&["a", "b"], None, None)).unwrap_err();
    assert!(back.contains("is immutable, which cannot be taken back"), "{back}");
    let mut theirs = live.clone();
    theirs.metadata.managed_fields = None;
    assert_eq!(message(&theirs, &secret(&["a", "b"], None, None)), Ok(()));

    let typed = secret(&["a"], None, Some("kubernetes.io/tls"));
    let mut wanted = secret(&["a"], None, None);
    keep_type(&mut wanted, &typed);
    assert_eq!(wanted.type_.as_deref(), Some("kubernetes.io/tls"));
    let other = message(&typed, &secret(&["a"], None, Some("Opaque"))).unwrap_err();
    assert!(other.contains("cannot be changed to Opaque"), "{other}");
}

#[test]
fn the_applied_object() {
    let spec = serde_json::json!({
        "dataFrom": [{"extract": {"key": "radarr"}}],
        "target": {"name": "radarr-secret", "template": {"type": "kubernetes.io/basic-auth",
            "metadata": {"labels": {"cnpg.io/reload": "true"}, "annotations": {"user": "{{ .USER }}"}}}}});
    let owner = external_secret(&spec);
    let desired = rendered(&spec, &FIELDS).unwrap();
    insta::assert_yaml_snapshot!(object(&owner, &desired, &notes()));
}

#[test]
fn sees_every_difference() {
    let owner = external_secret(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let desired = Desired { data: [("a".to_owned(), Sensitive::from("1"))].into(), ..Desired::default() };
    let wanted = object(&owner, &desired, &notes());
    assert!(!differs(&wanted, &wanted, &owner));
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
        assert!(differs(&live, &wanted, &owner), "{live:?}");
    }
    // What others add is theirs.
    assert!(!differs(
        &changed(&|live| drop(live.metadata.labels.as_mut().unwrap().insert("x".into(), "y".into()))),
        &wanted,
        &owner
    ));
    let foreign = changed(&|live| drop(live.data.as_mut().unwrap().insert("foreign".into(), ByteString(vec![]))));
    assert_eq!(surplus_keys(&foreign, &wanted, &owner), ["foreign"]);
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
    let mut object = external_secret(&serde_json::json!({}));
    object.metadata.uid = Some("uid-1".to_owned());
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
        match claim(meta.as_ref(), &object, |uid| uid == "alive", true) {
            Ok(found) => assert_eq!(Some(found), expected, "{meta:?}"),
            Err(problem) => {
                assert_eq!((problem.reason, None), (Reason::Foreign, expected), "{meta:?}");
                messages.push(problem.message);
            }
        }
    }
    let left = meta(vec![], &[("reconcile.external-secrets.io/managed", "true")]);
    assert_eq!(claim(Some(&left), &object, |_| false, false).unwrap(), Claim::Nobodys, "ESO is not there any more");
    let name = object.metadata.name.clone().unwrap_or_default();
    let written = ObjectMeta {
        managed_fields: serde_json::from_value(serde_json::json!([
            {"manager": format!("externalsecrets.external-secrets.io/{name}"), "operation": "Update"}]))
        .unwrap(),
        ..meta(vec![], &[])
    };
    let mut esos = object.clone();
    esos.spec.group = crate::api::common::Group::ExternalSecrets;
    assert_eq!(claim(Some(&written), &esos, |_| true, true).unwrap(), Claim::Ours, "what ESO wrote came with it");
    assert!(!owns(&written, &esos), "but is not its to delete");
    assert!(owns(&meta(vec![owner("ExternalSecret", "uid-1", "external-secrets.io")], &[]), &esos));
    assert!(owns(&meta(vec![], &ours("uid-1")), &esos) && !owns(&meta(vec![], &ours("other")), &esos));
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn inputs_change_with_the_declaration_the_items_and_the_templates() {
    let spec = |json: &serde_json::Value| external_secret(json);
    let one = spec(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let mut suspended = one.clone();
    suspended.spec.suspend = true;
    let mut labelled = one.clone();
    labelled.metadata.labels = Some([("app".to_owned(), "radarr".to_owned())].into());
    let mut reconciled = one.clone();
    reconciled.metadata.annotations = Some([(annotations::REQUESTED_AT.to_owned(), "1".to_owned())].into());
    let found = |version| Found { vault: "v".into(), item: "i".into(), title: "radarr".into(), version };
    let origin = |version: &str| Origin {
        kind: OriginKind::ConfigMap,
        name: "c".into(),
        version: Some(version.into()),
        data: SensitiveMap::new(),
    };
    let of = |object: &ExternalSecret, found: &[Found], origins: &[Origin], step| {
        inputs(object, found, origins, step, &fingerprints())
    };
    let base = of(&one, &[found(1)], &[], None);
    assert_eq!(base, of(&suspended, &[found(1)], &[], None), "what does not enter the Secret does not count");
    assert_eq!(base, of(&reconciled, &[found(1)], &[], None));
    assert_eq!(base, of(&one, &[found(1), found(1)], &[], None));
    let other = spec(&serde_json::json!({"dataFrom": [{"extract": {"key": "sonarr"}}]}));
    let all = [
        of(&one, &[found(2)], &[], None),
        of(&one, &[found(1)], &[], Some(1)),
        of(&other, &[found(1)], &[], None),
        of(&labelled, &[found(1)], &[], None),
        of(&one, &[found(1)], &[origin("1")], None),
        of(&one, &[found(1)], &[origin("2")], None),
        inputs(&one, &[found(1)], &[], None, &Fingerprints::new(Sensitive::from("other key"))),
        base,
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(items(&[found(2), found(2)]), "v/i@2");
}

#[test]
fn templates_from_elsewhere_come_in_their_order() {
    let spec = |template: serde_json::Value| serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}], "target": {"template": template}});
    let origin = |kind, name: &str, data: &[(&str, &str)]| Origin {
        kind,
        name: name.into(),
        version: Some("1".into()),
        data: data.iter().map(|(key, text)| ((*key).to_owned(), Sensitive::from(*text))).collect(),
    };
    let origins = [
        origin(OriginKind::ConfigMap, "files", &[("a.yaml", "user: {{ .USER }}"), ("b.yaml", "b")]),
        origin(OriginKind::Secret, "hidden", &[("a.yaml", "hidden {{ .PASS }}"), ("wrong", "{{ .canary")]),
    ];
    let files = serde_json::json!({"configMap": {"name": "files", "items": [{"key": "a.yaml"}, {"key": "b.yaml"}]}});
    let hidden = serde_json::json!({"secret": {"name": "hidden", "items": [{"key": "a.yaml"}]}});
    for (template, expected) in [
        (serde_json::json!({"templateFrom": [files]}), vec![("a.yaml", "user: u"), ("b.yaml", "b")]),
        (serde_json::json!({"templateFrom": [files, hidden]}), vec![("a.yaml", "hidden p"), ("b.yaml", "b")]),
        (
            serde_json::json!({"templateFrom": [hidden, files], "data": {"b.yaml": "mine"}}),
            vec![("a.yaml", "user: u"), ("b.yaml", "mine")],
        ),
        (
            serde_json::json!({"templateFrom": [{"literal": "a: {{ .USER }}\nb: '2'"}, files]}),
            vec![("a", "u"), ("a.yaml", "user: u"), ("b", "2"), ("b.yaml", "b")],
        ),
        (serde_json::json!({"engineVersion": "minijinja", "data": {"a": "{{ USER | upper }}"}}), vec![("a", "U")]),
        (
            serde_json::json!({"templateFrom": [hidden], "mergePolicy": "Merge"}),
            vec![("PASS", "p"), ("USER", "u"), ("a.yaml", "hidden p")],
        ),
    ] {
        let desired = rendered_with(&spec(template.clone()), &FIELDS, &origins).unwrap();
        assert_eq!(text(&desired), expected.into_iter().collect(), "{template}");
    }
    let labels = serde_json::json!({
        "templateFrom": [{"configMap": {"name": "files", "items": [{"key": "b.yaml"}]}, "target": "labels"}],
        "metadata": {"labels": {"more": "{{ .USER }}"}}});
    let desired = rendered_with(&spec(labels), &FIELDS, &origins).unwrap();
    assert_eq!(desired.labels, [("b.yaml".to_owned(), "b".to_owned()), ("more".to_owned(), "u".to_owned())].into());
    assert!(desired.data.is_empty(), "a template that makes labels is a template");
    let messages: Vec<(Reason, String)> = [("hidden", "wrong"), ("hidden", "none"), ("other", "x")]
        .map(|(name, key)| {
            let from = serde_json::json!({"templateFrom": [{"secret": {"name": name, "items": [{"key": key}]}}]});
            let problem = rendered_with(&spec(from), &FIELDS, &origins).unwrap_err();
            assert!(!problem.message.contains("canary"), "{problem}");
            (problem.reason, problem.message)
        })
        .into();
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn a_shared_secret_gets_nothing_but_keys() {
    let spec = serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}], "target": {"creationPolicy": "Merge"}});
    let owner = external_secret(&spec);
    let desired = rendered(&spec, &FIELDS).unwrap();
    let wanted = object(&owner, &desired, &notes());
    insta::assert_yaml_snapshot!(wanted);
    let mut live = wanted.clone();
    live.data.as_mut().unwrap().insert("FOREIGN".into(), ByteString(vec![]));
    assert!(!differs(&live, &wanted, &owner), "the keys of others stay");
    let fields = serde_json::json!({"f:data": {"f:USER": {}, "f:FOREIGN": {}}});
    live.metadata.managed_fields = Some(vec![
        serde_json::from_value(serde_json::json!(
            {"manager": "strongroom/radarr", "operation": "Apply", "fieldsV1": fields}))
        .unwrap(),
    ]);
    assert_eq!(surplus_keys(&live, &wanted, &owner), ["FOREIGN"], "a key of ours that is not declared any more goes");
    assert!(differs(&live, &wanted, &owner));
    assert_eq!(contested_key(&live, &wanted, &owner), None, "it is our own");
    live.metadata.managed_fields.as_mut().unwrap()[0].manager = Some("strongroom/other".into());
    assert_eq!(contested_key(&live, &wanted, &owner), None, "both write the same");
    live.data.as_mut().unwrap().insert("USER".into(), ByteString(b"theirs".to_vec()));
    assert_eq!(contested_key(&live, &wanted, &owner).as_deref(), Some("USER"));
    let meta = ObjectMeta { name: Some("shared".into()), ..ObjectMeta::default() };
    let controlled = |kind: &str, uid: &str| {
        let reference = OwnerReference {
            kind: kind.into(),
            uid: uid.into(),
            name: "other".into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta { owner_references: Some(vec![reference]), ..meta.clone() }
    };
    for (meta, shared) in [
        (meta.clone(), true),
        (controlled("Cluster", "x"), true),
        (controlled("ExternalSecret", "uid-1"), true),
        (controlled("ExternalSecret", "x"), false),
    ] {
        assert_eq!(share(&meta, "uid-1", |_| true).is_ok(), shared, "{meta:?}");
    }
}

#[test]
fn labels_and_annotations_are_copied_where_no_template_says_otherwise() {
    let mut owner = external_secret(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let map = |keys: &[&str]| Some(keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect());
    owner.metadata.labels = map(&["app.kubernetes.io/name", "kustomize.toolkit.fluxcd.io/name"]);
    owner.metadata.annotations = map(&["reloader", "kubectl.kubernetes.io/last-applied-configuration", "force-sync"]);
    let of = |owner: &ExternalSecret| {
        let secret = object(owner, &Desired::default(), &notes());
        let keys = |map: Option<BTreeMap<String, String>>| -> Vec<String> {
            map.into_iter().flatten().map(|(key, _)| key).filter(|key| !key.starts_with("strongroom.dev/")).collect()
        };
        (keys(secret.metadata.labels), keys(secret.metadata.annotations))
    };
    let managed = "app.kubernetes.io/managed-by".to_owned();
    assert_eq!(of(&owner), (vec![managed.clone(), "app.kubernetes.io/name".into()], vec!["reloader".into()]));
    owner.spec.target.template = Some(Box::default());
    assert_eq!(of(&owner), (vec![managed], vec![]));
}

#[test]
fn what_was_created_counts_as_applied_once() {
    let owner = external_secret(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    let entry = |manager: &str, operation: &str| serde_json::json!({"manager": manager, "operation": operation});
    let converted = |entries: &[serde_json::Value]| {
        let meta = ObjectMeta {
            resource_version: Some("7".into()),
            managed_fields: serde_json::from_value(entries.into()).unwrap(),
            ..ObjectMeta::default()
        };
        made_applied(&meta, &owner).map(|patch| patch["metadata"].clone())
    };
    let (created, applied) = (entry("strongroom/radarr", "Update"), entry("strongroom/radarr", "Apply"));
    let theirs = entry("kubectl-edit", "Update");
    let patch = converted(&[theirs.clone(), created.clone()]).unwrap();
    assert_eq!(patch["managedFields"], serde_json::json!([theirs, applied]));
    assert_eq!(patch["resourceVersion"], "7", "provided that it is as it was read");
    assert_eq!(converted(&[created, applied.clone()]), None);
    assert_eq!(converted(&[applied]), None);
    assert_eq!(converted(&[theirs]), None);
}

#[test]
fn of_a_shared_secret_nobody_takes_the_labels_of_another() {
    let spec = |more: serde_json::Value| {
        let mut target = serde_json::json!({"creationPolicy": "Merge"});
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}], "target": target})
    };
    let map = |pairs: &[(&str, &str)]| -> Option<BTreeMap<String, String>> {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    let live = |manager: &str| {
        let fields = serde_json::json!({"f:metadata": {"f:labels": {"f:app": {}, "f:same": {}}, "f:annotations": {"f:note": {}}}});
        let entry = serde_json::json!({"manager": manager, "operation": "Apply", "fieldsV1": fields});
        let mut live = Secret::default();
        live.metadata.labels = map(&[("app", "sonarr"), ("same", "x"), ("mine", "old")]);
        live.metadata.annotations = map(&[("note", "theirs")]);
        live.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
        live
    };
    let left = |owner: &ExternalSecret, manager: &str| {
        let mut wanted = object(owner, &Desired::default(), &Notes::default());
        wanted
            .metadata
            .labels
            .as_mut()
            .unwrap()
            .extend(map(&[("app", "radarr"), ("same", "x"), ("mine", "new")]).unwrap());
        wanted.metadata.annotations.as_mut().unwrap().extend(map(&[("note", "ours")]).unwrap());
        leave_others(&live(manager), &mut wanted, owner);
        let keys = |map: Option<BTreeMap<String, String>>| -> Vec<String> {
            map.into_iter().flatten().map(|(key, _)| key).filter(|key| !key.starts_with("strongroom.dev/")).collect()
        };
        [keys(wanted.metadata.labels), keys(wanted.metadata.annotations)].concat()
    };
    let (copies, declares) = (spec(serde_json::json!({})), spec(serde_json::json!({"template": {}})));
    let (all, some) = (["app", "mine", "same", "note"], ["mine", "same"]);
    for (spec, manager, expected) in [
        (&copies, "strongroom/radarr", &all[..]),
        (&copies, "strongroom/sonarr", &some[..]),
        (&copies, "helm", &some[..]),
        (&declares, "strongroom/sonarr", &some[..]),
        // What a template declares is put right where no ExternalSecret declares it too.
        (&declares, "kubectl-edit", &all[..]),
    ] {
        assert_eq!(left(&external_secret(spec), manager), expected, "{spec} {manager}");
    }
    let alone = external_secret(&serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}]}));
    assert!(left(&alone, "helm").contains(&"app".to_owned()), "a Secret of its own is its own");
}

#[test]
fn the_finalizers_are_those_of_the_template() {
    let with = |template: serde_json::Value| {
        let spec = serde_json::json!({"dataFrom": [{"extract": {"key": "radarr"}}], "target": {"template": template}});
        let desired = rendered(&spec, &FIELDS).unwrap();
        object(&external_secret(&spec), &desired, &notes()).metadata.finalizers
    };
    let declared = serde_json::json!({"metadata": {"finalizers": ["example.net/keep"]}});
    assert_eq!(with(declared), Some(vec!["example.net/keep".to_owned()]));
    assert_eq!(with(serde_json::json!({"metadata": {"labels": {"a": "b"}}})), None);
}

#[test]
fn what_is_gone_is_told_from_what_is_not_found() {
    let found = |item: &str| Found { vault: "v".into(), item: item.into(), title: item.into(), version: 4 };
    let suspect = |is_gone| Suspect { vault: "v".into(), item: "b".into(), is_gone };
    let text = items_with(&[found("a")], &[suspect(false)]);
    assert_eq!(text, "v/a@4,v/b@gone");
    assert_eq!(suspects(&text, &[found("a")]), [suspect(true)]);
    assert_eq!(suspects("v/a@4,v/b@7", &[found("a")]), [suspect(false)]);
    assert_eq!(suspects("v/a@4", &[found("a")]), []);
    assert_eq!(items_with(&[], &[suspect(true)]), "v/b@gone");
    let problem = |reason| Problem::new(reason, "no item titled \"b\".");
    let mut messages = Vec::new();
    for policy in ["Retain", "Delete", "Merge"] {
        let owner = external_secret(&serde_json::json!({
            "data": [{"secretKey": "k", "remoteRef": {"key": "b"}}], "target": {"deletionPolicy": policy}}));
        for (reason, acts) in [
            (Reason::ItemNotFound, true),
            (Reason::NoMatch, true),
            (Reason::VaultNotInScope, false),
            (Reason::FieldNotFound, false),
        ] {
            assert_eq!(is_gone(&owner, &problem(reason)), acts && policy != "Retain", "{policy} {reason}");
        }
        messages.push(after_deletion(&owner, "radarr", &problem(Reason::ItemNotFound)).message);
        let missing: Vec<(Wanted, Problem)> =
            wanted(&owner.spec).unwrap().into_iter().map(|wanted| (wanted, problem(Reason::ItemNotFound))).collect();
        messages.push(without(&owner, &missing));
    }
    insta::assert_debug_snapshot!(messages);
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
