//! What fails over a secret value does not say the value: not in a condition, an Event, a log, a metric or a panic.

use serde_json::{Value, json};

use crate::{
    quiet::nothing_leaks,
    secrets::secret_value,
    support::{alone, apply, connect, get, kubectl, namespace, ready},
};

const TOKEN: &str = "canary-leaks-eyJhbGciOiJFUzI1NiJ9.bGVha3M.c2ln";
const NAMESPACE: &str = "c-leaks";

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

/// The items, a token of its own, a store that uses it, and a template that is a secret itself.
fn furnish() {
    namespace(NAMESPACE);
    let item = json!({"title": "leaks", "category": "API_CREDENTIAL", "fields": values()});
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
        "spec": {"provider": {"onepassword": {"connectHost": "http://connect.connect.svc", "vaults": {"Leaks": 1},
            "auth": {"secretRef": {"connectTokenSecretRef": reference}}}}}});
    apply(&store.to_string());
}

/// The server, or what stands before it, says more than it should.
fn answer_with_values(good: &str) {
    let faults = [
        json!({"fault": "status", "status": 500, "message": format!("canary-leaks: cannot store {TOKEN}")}),
        json!({"fault": "status", "status": 401, "message": format!("the token {TOKEN} is not valid")}),
        json!({"fault": "body", "status": 200, "contentType": "text/html", "body": "<html>canary-leaks</html>"}),
    ];
    for (at, mut fault) in faults.into_iter().enumerate() {
        fault["token"] = "leaks".into();
        let fault = connect::post("/admin/faults", &fault);
        let id = fault["id"].as_str().expect("faults have ids");
        let force = format!("strongroom.test/force={at}");
        kubectl(&["-n", NAMESPACE, "annotate", "externalsecrets.strongroom.dev", good, "--overwrite", &force]);
        ready("secretstore", NAMESPACE, "leaks", "False", "");
        connect::try_delete(&format!("/admin/faults/{id}")).expect("the fault is there");
        ready("secretstore", NAMESPACE, "leaks", "True", "");
    }
}

#[test]
fn what_fails_over_a_value_does_not_say_it() {
    let _guard = alone();
    furnish();
    declare("good", &json!({"data": [{"secretKey": "TEXT", "remoteRef": {"key": "leaks", "property": "TEXT"}}]}));
    ready("externalsecret", NAMESPACE, "good", "True", "");
    assert_eq!(secret_value(NAMESPACE, "good", "TEXT").as_deref(), Some("canary-leaks text"));
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
