//! What a store reads beside its server: its token, and the labels of namespaces. Both change while all goes well.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    audit,
    secrets::{put_item, secret_value},
    support::{SOON, alone, apply, beside_others, condition, connect, eventually, get, kubectl, namespace, ready},
};

/// Longer than a poll, at which a token is used.
const POLL: Duration = Duration::from_secs(40);

/// Makes a token of that name; its string.
fn issue(name: &str, expires_at: &str) -> String {
    let token =
        connect::post("/admin/tokens", &json!({"name": name, "vaults": ["Kubernetes"], "expiresAt": expires_at}));
    token["token"].as_str().expect("the answer has it").to_owned()
}

/// How often a token was used.
fn used(name: &str) -> u64 {
    connect::get("/admin/counts")["tokens"][name].as_u64().unwrap_or(0)
}

fn put_token(namespace: &str, token: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": namespace},
        "stringData": {"token": token}});
    apply(&secret.to_string());
}

/// A store that reads with the token of its namespace.
fn store(kind: &str, namespace: &str, name: &str, more: &Value) {
    let mut reference = json!({"name": "token"});
    let mut metadata = json!({"name": name});
    if kind == "SecretStore" {
        metadata["namespace"] = namespace.into();
    } else {
        reference["namespace"] = namespace.into();
    }
    let mut spec = json!({"provider": {"onepassword": {"connectHost": "http://connect.connect.svc",
        "vaults": {"Kubernetes": 1}, "auth": {"secretRef": {"connectTokenSecretRef": reference}}}}});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let store = json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    apply(&store.to_string());
}

fn declare(namespace: &str, kind: &str, store: &str, keys: &[&str]) {
    let data: Vec<Value> =
        keys.iter().map(|key| json!({"secretKey": key, "remoteRef": {"key": namespace, "property": key}})).collect();
    let object = json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {"secretStoreRef": {"kind": kind, "name": store}, "data": data}});
    apply(&object.to_string());
}

#[test]
fn a_token_is_replaced_while_the_old_one_still_works() {
    let _guard = beside_others();
    let place = "s-rotation";
    namespace(place);
    put_item(place, &json!({"KEY": "one"}));
    put_token(place, &issue("rotation-old", "2040-01-01T00:00:00Z"));
    store("SecretStore", place, "onepassword", &json!({}));
    ready("secretstore.strongroom.dev", place, "onepassword", "True", "");
    declare(place, "SecretStore", "onepassword", &["KEY"]);
    ready("externalsecret.strongroom.dev", place, "app", "True", "");
    let status = || get("secretstore.strongroom.dev", place, "onepassword").expect("it is there")["status"].clone();
    let since = || {
        let conditions = status()["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").expect("it has one");
        (ready["status"].clone(), ready["lastTransitionTime"].clone())
    };
    assert_eq!(status()["tokenExpiresAt"], "2040-01-01T00:00:00Z");
    let before = since();
    put_token(place, &issue("rotation-new", "2041-01-01T00:00:00Z"));
    eventually("the store says when the new token expires", SOON, || {
        (status()["tokenExpiresAt"] == "2041-01-01T00:00:00Z").then_some(())
    });
    let old = used("rotation-old");
    let new = used("rotation-new");
    eventually("the new token is used", POLL, || (used("rotation-new") > new).then_some(()));
    assert!(used("rotation-old") <= old + 1, "the old token is used on: {old} -> {}", used("rotation-old"));
    connect::post("/admin/tokens/rotation-old/revoke", &json!({}));
    put_item(place, &json!({"KEY": "two"}));
    eventually("the Secret follows its item", POLL, || (secret_value(place, "app", "KEY")? == "two").then_some(()));
    assert_eq!(since(), before, "the store was not ready for a while");
    kubectl(&["delete", "namespace", place, "--timeout=120s"]);
}

#[test]
fn a_token_that_is_missing_and_comes_is_noticed_at_once() {
    let _guard = beside_others();
    let place = "s-rotation-late";
    namespace(place);
    store("SecretStore", place, "onepassword", &json!({}));
    ready("secretstore.strongroom.dev", place, "onepassword", "False", "TokenMissing");
    put_token(place, &issue("rotation-late", "2040-01-01T00:00:00Z"));
    ready("secretstore.strongroom.dev", place, "onepassword", "True", "");
    kubectl(&["delete", "namespace", place, "--timeout=120s"]);
}

#[test]
fn the_labels_of_a_namespace_decide_and_are_not_read_for_each_key() {
    // What others do with namespaces would be counted.
    let _guard = alone();
    let place = "s-selected";
    namespace(place);
    put_item(place, &json!({"A": "a", "B": "b", "C": "c"}));
    put_token(place, &issue("selected", "2040-01-01T00:00:00Z"));
    let selector = json!({"conditions": [{"namespaceSelector": {"matchLabels": {"secrets": "yes"}}}]});
    store("ClusterSecretStore", place, "selected", &selector);
    ready("clustersecretstore.strongroom.dev", "", "selected", "True", "");
    declare(place, "ClusterSecretStore", "selected", &["A", "B", "C"]);
    let object = || get("externalsecret.strongroom.dev", place, "app");
    eventually("the store does not admit the namespace", SOON, || {
        (condition(&object()?, "Ready")?.1 == "StoreNotAllowed").then_some(())
    });
    let mark = audit::mark();
    kubectl(&["label", "namespace", place, "secrets=yes"]);
    ready("externalsecret.strongroom.dev", place, "app", "True", "Synced");
    kubectl(&["label", "namespace", place, "secrets=no", "--overwrite"]);
    ready("externalsecret.strongroom.dev", place, "app", "False", "StoreNotAllowed");
    let read = audit::of_operator(&mark);
    let read = read.iter().filter(|request| request.resource == "namespaces" && request.verb == "get").count();
    assert_eq!(read, 0, "namespaces are watched, not read");
    kubectl(&["delete", "clustersecretstore.strongroom.dev", "selected"]);
    kubectl(&["delete", "namespace", place, "--timeout=120s"]);
}
