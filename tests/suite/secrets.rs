//! 1Password items become Secrets.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{SOON, SYSTEM, apply, beside_others, connect, eventually, get, kubectl, list, namespace, ready};

/// Puts an item with fields into the vault that the store reads.
pub fn put_item(title: &str, fields: &serde_json::Value) {
    let body = json!({"title": title, "category": "API_CREDENTIAL", "fields": fields});
    connect::put("/admin/vaults/Kubernetes/items", &body);
}

/// An ExternalSecret that takes a whole item.
pub fn external_secret(namespace: &str, name: &str, item: &str) -> String {
    format!(
        "apiVersion: strongroom.dev/v1alpha1\nkind: ExternalSecret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  secretStoreRef: {{kind: ClusterSecretStore, name: onepassword}}\n  \
         dataFrom: [{{extract: {{key: {item}}}}}]\n"
    )
}

/// A value of a Secret, decoded.
pub fn secret_value(namespace: &str, name: &str, key: &str) -> Option<String> {
    use base64::Engine;
    let secret = get("secret", namespace, name)?;
    let encoded = secret["data"][key].as_str()?.to_owned();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn an_item_becomes_a_secret_and_a_changed_item_changes_it() {
    let _guard = beside_others();
    namespace("s-change");
    put_item("s-change", &json!({"API_KEY": "one"}));
    apply(&external_secret("s-change", "app", "s-change"));
    ready("externalsecret", "s-change", "app", "True", "");
    assert_eq!(secret_value("s-change", "app", "API_KEY").as_deref(), Some("one"));

    put_item("s-change", &json!({"API_KEY": "two", "OTHER": "new"}));
    let start = Instant::now();
    eventually("the Secret follows its item", Duration::from_secs(40), || {
        (secret_value("s-change", "app", "API_KEY")? == "two").then_some(())
    });
    println!("the Secret followed after {} ms", start.elapsed().as_millis());
    assert_eq!(secret_value("s-change", "app", "OTHER").as_deref(), Some("new"));
}

#[test]
fn a_key_that_is_not_declared_does_not_stay() {
    let _guard = beside_others();
    namespace("s-keys");
    put_item("s-keys", &json!({"KEEP": "a", "GOES": "b"}));
    apply(&external_secret("s-keys", "app", "s-keys"));
    ready("externalsecret", "s-keys", "app", "True", "");
    assert!(secret_value("s-keys", "app", "GOES").is_some());
    // By hand, as another controller or a person might.
    kubectl(&["-n", "s-keys", "patch", "secret", "app", "-p", r#"{"data":{"FOREIGN":"eA==","KEEP":"eA=="}}"#]);
    eventually("what was added by hand goes, what was changed comes back", SOON, || {
        let secret = get("secret", "s-keys", "app")?;
        (secret["data"]["FOREIGN"].is_null() && secret_value("s-keys", "app", "KEEP")? == "a").then_some(())
    });
    put_item("s-keys", &json!({"KEEP": "a"}));
    eventually("a field that left the item leaves the Secret", SOON, || {
        get("secret", "s-keys", "app")?["data"]["GOES"].is_null().then_some(())
    });
    kubectl(&["-n", "s-keys", "delete", "secret", "app"]);
    eventually("a Secret that was deleted comes back", SOON, || secret_value("s-keys", "app", "KEEP"));
}

#[test]
fn a_label_and_an_owner_that_are_not_declared_any_more_do_not_stay() {
    let _guard = beside_others();
    namespace("s-labels");
    put_item("s-labels", &json!({"KEY": "a"}));
    let declare = |target: &str| {
        apply(&format!(
            "apiVersion: strongroom.dev/v1alpha1\nkind: ExternalSecret\nmetadata: {{name: app, namespace: s-labels}}\n\
             spec:\n  secretStoreRef: {{kind: ClusterSecretStore, name: onepassword}}\n  target: {target}\n  \
             dataFrom: [{{extract: {{key: s-labels}}}}]\n"
        ));
    };
    let metadata = || get("secret", "s-labels", "app").map(|secret| secret["metadata"].clone());
    declare("{template: {metadata: {labels: {team: a, tier: b}, annotations: {note: c}}}}");
    let made = eventually("it is made", SOON, metadata);
    assert_eq!((&made["labels"]["team"], &made["annotations"]["note"]), (&json!("a"), &json!("c")));
    assert_eq!(made["ownerReferences"][0]["kind"], "ExternalSecret");
    declare("{creationPolicy: Orphan, template: {metadata: {labels: {tier: b}}}}");
    eventually("label, annotation and owner are gone", SOON, || {
        let now = metadata()?;
        let gone = [&now["labels"]["team"], &now["annotations"]["note"], &now["ownerReferences"]];
        gone.iter().all(|value| value.is_null()).then_some(())
    });
    let now = metadata().expect("it is there");
    assert_eq!((&now["uid"], &now["labels"]["tier"]), (&made["uid"], &json!("b")), "and nothing else");
}

#[test]
fn a_secret_of_somebody_else_is_left_alone() {
    let _guard = beside_others();
    namespace("s-foreign");
    put_item("s-foreign", &json!({"KEY": "ours"}));
    apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owner, namespace: s-foreign}\n");
    let uid = get("configmap", "s-foreign", "owner").expect("it was made")["metadata"]["uid"].clone();
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\n  namespace: s-foreign\n  ownerReferences: \
         [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}, controller: true}}]\nstringData: {{KEY: theirs}}\n"
    ));
    apply(&external_secret("s-foreign", "app", "s-foreign"));
    let message = ready("externalsecret", "s-foreign", "app", "False", "Foreign");
    assert!(message.contains("owner"), "the owner is named: {message}");
    assert_eq!(secret_value("s-foreign", "app", "KEY").as_deref(), Some("theirs"));
}

#[test]
fn a_hundred_external_secrets_on_one_item_cost_one_request() {
    let _guard = beside_others();
    namespace("s-hundred");
    put_item("s-hundred", &json!({"KEY": "value"}));
    let vaults = connect::get("/admin/vaults/Kubernetes/items");
    let items = vaults.as_array().cloned().unwrap_or_default();
    let id = items.iter().find(|item| item["title"] == "s-hundred").expect("it was put")["id"].clone();
    let id = id.as_str().expect("items have ids");
    let requests = || connect::get("/admin/counts")["items"][id].as_i64().unwrap_or(0);
    let before = requests();
    let all: Vec<String> = (0..100).map(|n| external_secret("s-hundred", &format!("app-{n}"), "s-hundred")).collect();
    apply(&all.join("---\n"));
    eventually("all 100 are synced", SOON, || {
        let ready = kubectl(&["-n", "s-hundred", "get", "externalsecret", "-o", "jsonpath={.items[*].status.phase}"]);
        (ready.split(' ').filter(|phase| *phase == "Synced").count() == 100).then_some(())
    });
    assert_eq!(list("secret", "s-hundred", "app.kubernetes.io/managed-by=strongroom").len(), 100);
    assert_eq!(requests() - before, 1, "requests for the item");
}

#[test]
fn nothing_secret_is_said() {
    let _guard = beside_others();
    namespace("s-leak");
    put_item("s-leak", &json!({"KEY": "canary-leak-77c1", "BROKEN": "canary-leak-broken"}));
    apply(
        "apiVersion: strongroom.dev/v1alpha1\nkind: ExternalSecret\nmetadata: {name: app, namespace: s-leak}\nspec:\n  \
         secretStoreRef: {kind: ClusterSecretStore, name: onepassword}\n  target: {template: {data: {\
         A: '{{ .KEY }}', B: '{{ fromJson .BROKEN }}', C: '{{ index .KEY 99999 }}'}}}\n  \
         dataFrom: [{extract: {key: s-leak}}]\n",
    );
    ready("externalsecret", "s-leak", "app", "False", "TemplateError");
    let said = [
        kubectl(&["get", "externalsecret", "-n", "s-leak", "-o", "yaml"]),
        kubectl(&["get", "events", "-A", "-o", "yaml"]),
        kubectl(&["logs", "-n", SYSTEM, "deployment/strongroom", "--tail=-1"]),
    ];
    for text in said {
        assert!(!text.contains("canary-leak"), "a value was said");
    }
}
