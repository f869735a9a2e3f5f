use kube::core::ObjectMeta;
use serde_json::json;

use super::*;
use crate::api::{
    annotations,
    common::{StoreKind, Time},
    eso::{MANAGED, STORE_FINALIZER},
    external_secret::Binding,
    store::{ChangeDetection, StoreStatus},
};
use crate::core::secret::eso_manager;

fn object(json: serde_json::Value) -> EsoExternalSecret {
    let mut object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "app", "namespace": "media", "uid": "u", "generation": 3},
        "spec": {"secretStoreRef": {"name": "one"}, "dataFrom": [{"extract": {"key": "radarr"}}]},
    });
    let serde_json::Value::Object(more) = json else { panic!("an object") };
    object.as_object_mut().unwrap().extend(more);
    serde_json::from_value(object).unwrap()
}

fn key(name: &str) -> StoreKey {
    let reference =
        StoreRef { kind: StoreKind::SecretStore, name: name.into(), api_group: Some("external-secrets.io".into()) };
    StoreKey::of(&reference, "media")
}

fn time(seconds: i64) -> Time {
    Time::from_timestamp(1_900_000_000 + seconds, 0).unwrap()
}

fn in_sync(object: &ExternalSecret) -> ExternalSecretStatus {
    let mut status = ExternalSecretStatus {
        observed_generation: 3,
        phase: Some(ExternalSecretPhase::Synced),
        refresh_time: Some(time(0)),
        binding: Some(Binding {
            name: "app".into(),
            resource_version: Some("77".into()),
            generation: Some(3),
            metadata_hash: Some("abcd".into()),
        }),
        last_handled_reconcile_at: object
            .metadata
            .annotations
            .as_ref()
            .and_then(|map| map.get(annotations::REQUESTED_AT))
            .cloned(),
        last_handled_force_at: Some(wishes(object)).filter(|text| !text.is_empty()),
        ..ExternalSecretStatus::default()
    };
    let summary = conditions::Summary::Ready("Synced", "Secret app is in sync with its item".into());
    conditions::summarize(&mut status.conditions, &summary, None, time(0));
    status
}

#[test]
fn it_is_ours_when_every_store_is() {
    let two = json!({"spec": {"secretStoreRef": {"name": "one"}, "data": [
        {"secretKey": "k", "remoteRef": {"key": "i"}, "sourceRef": {"storeRef": {"name": "two"}}}]}});
    let marked = json!({"status": {"syncedResourceVersion": "3-strongroom.1.3.."}});
    let holds = |all: &[(&str, Hold)]| all.iter().map(|(name, hold)| (key(name), *hold)).collect::<Holds>();
    for (name, object, holds, expected) in [
        ("no store is ours", object(json!({})), holds(&[]), Role::Theirs),
        ("another store is", object(json!({})), holds(&[("two", Hold::Ours)]), Role::Theirs),
        ("its store is", object(json!({})), holds(&[("one", Hold::Ours)]), Role::Ours),
        ("both are", object(two.clone()), holds(&[("one", Hold::Ours), ("two", Hold::Ours)]), Role::Ours),
        ("one of two is", object(two.clone()), holds(&[("one", Hold::Ours)]), Role::Mixed([key("two")].into())),
        (
            "one leaves",
            object(two),
            holds(&[("one", Hold::Ours), ("two", Hold::Leaving)]),
            Role::Mixed([key("two")].into()),
        ),
        ("it was ours", object(marked), holds(&[("one", Hold::Leaving)]), Role::Leaving),
        ("it never was", object(json!({})), holds(&[("one", Hold::Leaving)]), Role::Theirs),
    ] {
        assert_eq!(role(&object, &holds, false, |_| false), expected, "{name}");
    }
}

#[test]
fn what_was_ours_stays_so_when_its_store_is_gone() {
    let marked = |mut more: serde_json::Value| {
        more["status"] = json!({"syncedResourceVersion": "3-strongroom.1.3.."});
        object(more)
    };
    let two = json!({"spec": {"secretStoreRef": {"name": "one"}, "data": [
        {"secretKey": "k", "remoteRef": {"key": "i"}, "sourceRef": {"storeRef": {"name": "two"}}}]}});
    let is_gone = |store: &StoreKey| *store == key("one");
    let ours = Holds::from([(key("two"), Hold::Ours)]);
    for (name, object, holds, expected) in [
        ("it was reconciled", marked(json!({})), Holds::new(), Role::Ours),
        ("it never was", object(json!({})), Holds::new(), Role::Theirs),
        ("the other store is ours", marked(two.clone()), ours.clone(), Role::Ours),
        ("the other store is not", marked(two.clone()), Holds::new(), Role::Mixed([key("two")].into())),
        ("it never was, the other store is ours", object(two), ours, Role::Mixed([key("one")].into())),
    ] {
        assert_eq!(role(&object, &holds, false, is_gone), expected, "{name}");
    }
    assert_eq!(role(&marked(json!({})), &Holds::new(), false, |_| false), Role::Leaving, "its store is there again");
}

#[test]
fn push_secrets_name_stores_in_every_way() {
    let cluster = StoreKey { group: Group::ExternalSecrets, namespace: None, name: "one".into() };
    let labels = BTreeMap::from([("vault".to_owned(), "home".to_owned())]);
    let home = json!({"labelSelector": {"matchLabels": {"vault": "home"}}});
    let with_kind = |mut of: serde_json::Value| {
        of["kind"] = "ClusterSecretStore".into();
        of
    };
    for (name, spec, namespace, store, expected) in [
        ("by name", json!({"secretStoreRefs": [{"name": "one"}]}), "media", key("one"), true),
        ("another", json!({"secretStoreRefs": [{"name": "two"}]}), "media", key("one"), false),
        ("of another namespace", json!({"secretStoreRefs": [{"name": "one"}]}), "other", key("one"), false),
        ("of another kind", json!({"secretStoreRefs": [{"name": "one"}]}), "media", cluster.clone(), false),
        ("by labels", json!({"secretStoreRefs": [home]}), "media", key("one"), true),
        ("by labels, cluster-wide", json!({"secretStoreRefs": [with_kind(home.clone())]}), "x", cluster.clone(), true),
        ("a part", json!({"dataTo": [{"storeRef": with_kind(json!({"name": "one"}))}]}), "x", cluster, true),
        ("a part by labels", json!({"dataTo": [{"storeRef": home}]}), "media", key("one"), true),
        ("none", json!({"dataTo": [{}], "secretStoreRefs": [{}]}), "media", key("one"), false),
    ] {
        let spec = serde_json::from_value(spec).unwrap();
        assert_eq!(pushes_to(&spec, namespace, &store, Some(&labels)), expected, "{name}");
    }
    let other = serde_json::from_value(json!({"secretStoreRefs": [home]})).unwrap();
    assert!(!pushes_to(&other, "media", &key("one"), None), "a store without labels");
}

#[test]
fn a_store_says_what_one_would_not_know() {
    let told = |meta: &ObjectMeta, detection, pushed: Option<BTreeSet<String>>| {
        let ours = StoreStatus { change_detection: Some(detection), ..StoreStatus::default() };
        let users = Users { ours: 1, pushed, ..Users::default() };
        store_status(meta, None, &ours, Some(&users), time(0)).conditions[0].message.clone()
    };
    let mut meta = ObjectMeta { finalizers: Some(vec![STORE_FINALIZER.to_owned()]), ..ObjectMeta::default() };
    let quiet = told(&meta, ChangeDetection::VaultVersion, Some(BTreeSet::new()));
    meta.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let loud = told(&meta, ChangeDetection::ItemList, None);
    insta::assert_yaml_snapshot!((quiet, loud));
}

#[test]
fn a_status_is_the_same_after_a_way_through_esos_terms() {
    for annotations in [json!({}), json!({"force-sync": "1 2", "reconcile.fluxcd.io/requestedAt": "x"})] {
        let mut theirs = object(json!({}));
        theirs.metadata.annotations = serde_json::from_value(annotations).unwrap();
        let ours = declared(&theirs).unwrap();
        let before = in_sync(&ours);
        theirs.status = Some(status(&ours, &before));
        let after = declared(&theirs).unwrap();
        assert_eq!(after.status.as_ref(), Some(&before));
        assert!(!crate::core::secret::request(&after).look, "what was handled stays so");
        theirs.metadata.annotations.get_or_insert_default().insert("force-sync".into(), "new".into());
        assert!(crate::core::secret::request(&declared(&theirs).unwrap()).force, "a new wish is one");
    }
}

#[test]
fn statuses_are_in_esos_shape() {
    let theirs = object(json!({}));
    let ours = declared(&theirs).unwrap();
    let good = in_sync(&ours);
    let mut bad = good.clone();
    let problem = crate::core::problem::Problem::new(Reason::ItemNotFound, "no vault of the store has item \"radar\"");
    conditions::summarize(&mut bad.conditions, &conditions::Summary::NotReady(problem), None, time(5));
    let users =
        Users { ours: 12, mixed: ["media/both".to_owned()].into(), pushed: Some(["media/push".to_owned()].into()) };
    let mut store = StoreStatus::default();
    let ready = conditions::Summary::Ready("Ready", "Connect answers; vaults: Kubernetes".into());
    conditions::summarize(&mut store.conditions, &ready, None, time(1));
    let held = store_status(&ObjectMeta::default(), None, &store, Some(&users), time(1));
    assert!(is_taken_over(Some(&held)) && !is_taken_over(Some(&left_status(&held))));
    insta::assert_yaml_snapshot!((status(&ours, &good), status(&ours, &bad), held));
}

#[test]
fn a_secret_is_given_back_with_what_was_written() {
    let theirs = object(json!({}));
    let ours = declared(&theirs).unwrap();
    let secret = |name: &str, more: serde_json::Value| {
        let mut value = json!({"metadata": {"name": "app", "namespace": "media", "uid": "s", "resourceVersion": "9",
        "labels": {"app": "radarr"}, "annotations": {"reconcile.external-secrets.io/data-hash": "h"},
        "managedFields": [
            {"manager": format!("externalsecrets.external-secrets.io/{name}"), "operation": "Update", "fieldsV1": {"f:data": {"f:A": {}}}},
        ]}});
        if let Some(map) = more.as_object().filter(|map| !map.is_empty()) {
            let meta = value["metadata"].as_object_mut().unwrap();
            for (key, value) in map {
                match meta.get_mut(key) {
                    Some(serde_json::Value::Object(old)) => old.extend(value.as_object().unwrap().clone()),
                    Some(serde_json::Value::Array(old)) => old.extend(value.as_array().unwrap().clone()),
                    _ => drop(meta.insert(key.clone(), value.clone())),
                }
            }
        }
        serde_json::from_value::<k8s_openapi::api::core::v1::Secret>(value).unwrap()
    };
    assert_eq!(given_back(&secret("app", json!({})), &ours), None, "nothing of ours is on it");
    let taken = json!({
        "labels": {"app.kubernetes.io/managed-by": "strongroom", "strongroom.dev/owner-uid": "u"},
        "annotations": {"strongroom.dev/inputs": "i"},
        "managedFields": [
            {"manager": "strongroom/eso/app", "operation": "Apply", "fieldsV1": {"f:data": {"f:B": {}}}},
            {"manager": "strongroom", "operation": "Update"},
        ],
    });
    insta::assert_yaml_snapshot!(given_back(&secret("app", taken), &ours));
    let long = "an-external-secret-of-a-long-name";
    let meta = |managers: &[&str]| ObjectMeta {
        managed_fields: serde_json::from_value(managers.iter().map(|name| json!({ "manager": name })).collect())
            .unwrap(),
        ..ObjectMeta::default()
    };
    let (one, two) = ("externalsecrets.external-secrets.io/sha3/1", "externalsecrets.external-secrets.io/sha3/2");
    assert_eq!(eso_manager(&meta(&[one]), long).as_deref(), Some(one));
    assert_eq!(eso_manager(&meta(&[one, two]), long), None, "which of the two cannot be told");
}

#[test]
fn a_secret_passes_to_the_external_secret_that_replaces_esos() {
    let before = |spec: serde_json::Value| {
        declared(&object(json!({"metadata": {"name": "app", "namespace": "media", "uid": "old"}, "spec": spec})))
            .unwrap()
    };
    let after = |before: &ExternalSecret| {
        let mut after = before.clone();
        after.metadata.uid = Some("new".to_owned());
        after.spec.group = Group::Strongroom;
        after
    };
    let meta = |value: serde_json::Value| serde_json::from_value::<ObjectMeta>(value).unwrap();
    let owned = meta(json!({"name": "app", "namespace": "media", "uid": "s", "resourceVersion": "9",
    "labels": {"app": "radarr", MANAGED: "true"},
    "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "other"},
        {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "app", "uid": "old", "controller": true},
    ],
    "managedFields": [
        {"manager": "externalsecrets.external-secrets.io/app", "operation": "Update", "fieldsV1": {"f:data": {"f:A": {}}}},
        {"manager": "kubectl", "operation": "Update"},
    ]}));
    let merged = meta(json!({"name": "app", "namespace": "media", "uid": "s", "resourceVersion": "9",
    "managedFields": [
        {"manager": "externalsecrets.external-secrets.io/app", "operation": "Update", "fieldsV1": {"f:data": {"f:A": {}}}},
        {"manager": "strongroom/eso/app", "operation": "Apply", "fieldsV1": {"f:data": {"f:B": {}}}},
    ]}));
    let foreign = meta(json!({"name": "app", "ownerReferences": [
        {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "b", "uid": "b", "controller": true}]}));
    let one = before(json!({"secretStoreRef": {"name": "one"}, "dataFrom": [{"extract": {"key": "radarr"}}]}));
    let merge = before(json!({"secretStoreRef": {"name": "one"}, "dataFrom": [{"extract": {"key": "radarr"}}],
        "target": {"creationPolicy": "Merge"}}));
    assert_eq!(passed_on(&foreign, &after(&one), &one), None, "it is not its");
    let passed = passed_on(&owned, &after(&one), &one);
    insta::assert_yaml_snapshot!((passed, passed_on(&merged, &after(&merge), &merge)));
}
