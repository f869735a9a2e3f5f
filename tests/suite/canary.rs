//! What fails over a secret value does not say the value: not in a condition, an Event, a log, a metric or a panic.

use serde_json::{Value, json};

use crate::{
    secrets::secret_value,
    support::{apply, beside_others, connect, get, kubectl, namespace, nothing_leaks, ready},
};

const TOKEN: &str = "canary-leaks-eyJhbGciOiJFUzI1NiJ9.bGVha3M.c2ln";
const NAMESPACE: &str = "c-leaks";
const SECRETS: &str = "externalsecrets.strongroom.dev";

/// Values that each fail in something.
fn values() -> Value {
    json!({
        "TEXT": "canary-leaks text",
        "JSON": "{\"canary-leaks\": \"canary-",
        "REGEX": "canary-leaks(",
        "PEM": "-----BEGIN CERTIFICATE-----\ncanary-leaks\n-----END CERTIFICATE-----",
        "BASE64": "canary-leaks!",
        "LABEL": "canary-leaks / no label",
        "LARGE": format!("canary-leaks{}", "x".repeat(1_100_000)),
    })
}

/// What fails, and with which reason.
fn cases() -> Vec<(&'static str, &'static str, Value)> {
    let key = |property: &str| json!({"secretKey": property, "remoteRef": {"key": "leaks", "property": property}});
    let template = |text: &str| {
        json!({"data": [key("TEXT"), key("JSON"), key("REGEX"), key("PEM")],
            "target": {"template": {"data": {"OUT": text}}}})
    };
    let of_type = |type_: &str, name: &str| json!({"data": [key("JSON")], "target": {"template": {"type": type_, "data": {name: "{{ .JSON }}"}}}});
    let metadata = json!({"data": [key("LABEL")],
        "target": {"template": {"metadata": {"labels": {"x": "{{ .LABEL }}"}}, "data": {"OUT": "{{ .LABEL }}"}}}});
    let mut decoded = key("BASE64");
    decoded["remoteRef"]["decodingStrategy"] = "Base64".into();
    let source = |kind: &str| {
        json!({"data": [key("TEXT")], "target": {"template": {"templateFrom": [
            {kind: {"name": "source", "items": [{"key": "template", "templateAs": "Values"}]}}]}}})
    };
    let rewritten = |rewrite: &Value| json!({"dataFrom": [{"extract": {"key": "leaks"}, "rewrite": [rewrite]}]});
    vec![
        ("fail", "TemplateError", template("{{ fail .TEXT }}")),
        ("json", "TemplateError", template("{{ .JSON | fromJson | toJson }}")),
        ("index", "TemplateError", template("{{ index .TEXT 300 }}")),
        ("regex", "TemplateError", template("{{ mustRegexMatch .REGEX .TEXT }}")),
        ("number", "TemplateError", template("{{ repeat (.TEXT | len | mul 1000000 | int) .TEXT }}")),
        ("function", "TemplateError", template("{{ .TEXT | canary_leaks_function }}")),
        ("templated", "TemplateError", source("secret")),
        ("decoded", "InvalidData", json!({"data": [decoded]})),
        ("large", "InvalidData", json!({"data": [key("LARGE")]})),
        ("metadata", "InvalidData", metadata),
        ("merged", "InvalidData", rewritten(&json!({"merge": {"strategy": "Extract"}}))),
        ("transformed", "TemplateError", rewritten(&json!({"transform": {"template": "{{ fail .value }}"}}))),
        ("one-key", "InvalidData", rewritten(&json!({"regexp": {"source": ".*", "target": "same"}}))),
        ("nothing", "NoMatch", json!({"dataFrom": [{"find": {"name": {"regexp": "^canary_leaks_no_field$"}}}]})),
        ("docker", "InvalidData", of_type("kubernetes.io/dockerconfigjson", ".dockerconfigjson")),
        ("tls", "InvalidData", of_type("kubernetes.io/tls", "tls.crt")),
    ]
}

fn declare(name: &str, spec: &Value) {
    let mut spec = spec.clone();
    spec["secretStoreRef"] = json!({"kind": "SecretStore", "name": "leaks"});
    let object = json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
    apply(&object.to_string());
}

fn item(file: &str) -> Value {
    json!({"title": "leaks", "category": "API_CREDENTIAL", "fields": values(), "files": {"canary.txt": file}})
}

fn put_item(file: &str) {
    connect::put("/admin/vaults/Leaks/items", &item(file));
}

/// The items, a token of its own, a store that uses it, and a template that is a secret itself.
fn furnish() {
    namespace(NAMESPACE);
    let item = item("canary-leaks file");
    connect::post(
        "/admin/seed",
        &json!({"vaults": [{"name": "Leaks", "items": [item]}],
        "tokens": [{"name": "leaks", "token": TOKEN, "vaults": ["Leaks"]}]}),
    );
    for (name, data) in
        [("token", json!({"token": TOKEN})), ("source", json!({"template": "canary-leaks: {{ fail .TEXT }}"}))]
    {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": data});
        apply(&secret.to_string());
    }
    let reference = json!({"name": "token", "key": "token"});
    let store = json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "SecretStore",
        "metadata": {"name": "leaks", "namespace": NAMESPACE},
        "spec": {"provider": {"onepassword": {"connectHost": "http://connect.connect.svc", "vaults": {"Leaks": 1}, "pollInterval": "2s",
            "auth": {"secretRef": {"connectTokenSecretRef": reference}}}}}});
    apply(&store.to_string());
}

/// The server, or what stands before it, says more than it should: to each kind of request.
fn answer_with_values(good: &str) {
    let status = |status: u16, message: &str| json!({"fault": "status", "status": status, "message": message});
    let body = |kind: &str, body: &str| json!({"fault": "body", "status": 200, "contentType": kind, "body": body});
    let every = [
        status(500, &format!("canary-leaks: cannot store {TOKEN}")),
        body("application/json", "{\"id\": \"canary-leaks\""),
        status(401, &format!("the token {TOKEN} is not valid")),
        status(403, &format!("canary-leaks: {TOKEN}")),
        body("text/html", "<html>canary-leaks</html>"),
    ];
    for (kind, faults) in [("vaults.list", 5), ("items.list", 2), ("item.get", 5), ("file.content", 2)] {
        // Any body is a file.
        let faults = every[..faults].iter().filter(|fault| kind != "file.content" || fault["fault"] == "status");
        for (at, fault) in faults.enumerate() {
            let mut fault = fault.clone();
            fault["token"] = "leaks".into();
            fault["kinds"] = json!([kind]);
            let fault = connect::post("/admin/faults", &fault);
            let id = fault["id"].as_str().expect("faults have ids");
            let force = |what: &str| {
                let wish = format!("force-sync={what}-{kind}-{at}");
                kubectl(&["-n", NAMESPACE, "annotate", SECRETS, good, "--overwrite", &wish]);
            };
            // What is as it was is not fetched again.
            put_item(&format!("canary-leaks {kind} {at}"));
            force("fails");
            // While the server is away a Secret that is there stays in sync: the store says what is wrong.
            let (what, name) = if kind.ends_with("list") { ("secretstore", "leaks") } else { (SECRETS, good) };
            ready(what, NAMESPACE, name, "False", "");
            connect::try_delete(&format!("/admin/faults/{id}")).expect("the fault is there");
            force("works");
            ready("secretstore", NAMESPACE, "leaks", "True", "");
            ready(SECRETS, NAMESPACE, good, "True", "");
        }
    }
}

#[test]
fn what_fails_over_a_value_does_not_say_it() {
    let _guard = beside_others();
    furnish();
    let of = |name: &str| json!({"secretKey": name, "remoteRef": {"key": "leaks", "property": name}});
    declare("good", &json!({"data": [of("TEXT"), of("canary.txt")]}));
    ready("externalsecret", NAMESPACE, "good", "True", "");
    assert_eq!(secret_value(NAMESPACE, "good", "TEXT").as_deref(), Some("canary-leaks text"));
    assert_eq!(secret_value(NAMESPACE, "good", "canary.txt").as_deref(), Some("canary-leaks file"));
    let cases = cases();
    for (name, _, spec) in &cases {
        declare(name, spec);
    }
    for (name, reason, _) in &cases {
        let message = ready("externalsecret", NAMESPACE, name, "False", reason);
        println!("{name}: {message}");
        assert!(get("secret", NAMESPACE, name).is_none(), "{name} has a Secret");
    }
    answer_with_values("good");
    nothing_leaks();
    // What fails is tried again and again, and its item is large: the idle are looked at without it.
    kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"]);
}
