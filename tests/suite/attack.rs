//! What somebody with one namespace, and every right in it, tries to get from a store, an item, a Secret or a
//! `ConfigMap` that this namespace may not use.

mod repositories;

use serde_json::{Value, json};

use crate::{
    secrets::secret_value,
    support::{SOON, apply, beside_others, connect, eventually, get, kubectl, list, namespace, ready, try_kubectl},
};

/// The attacker's namespace.
const OWN: &str = "a-own";
/// The namespace that has what the attacker wants.
const VICTIM: &str = "a-victim";
/// What must not come into the attacker's hands: a value of the item `loot`.
const LOOT: &str = "attack-value-of-loot";

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// A store's provider; the token is in a Secret `token` of that namespace.
fn provider(vaults: &Value, token: &Value) -> Value {
    json!({"onepassword": {"connectHost": "http://connect.connect.svc", "vaults": vaults,
        "auth": {"secretRef": {"connectTokenSecretRef": token}}}})
}

fn secret(namespace: &str, name: &str, data: &Value) {
    apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": data})
        .to_string(),
    );
}

/// A `ClusterSecretStore` with the victim's token.
fn guarded(name: &str, conditions: &Value, vaults: &Value) {
    let token = json!({"name": "token", "namespace": VICTIM, "key": "token"});
    let spec = json!({"conditions": conditions, "provider": provider(vaults, &token)});
    apply(&object("ClusterSecretStore", "", name, &spec).to_string());
    ready("clustersecretstore", "", name, "True", "");
}

/// Two vaults; the victim's token reads both, the attacker's only its own. The id of the item `loot`.
fn furnish() -> String {
    namespace(VICTIM);
    namespace(OWN);
    let item =
        |title: &str, value: &str| json!({"title": title, "category": "API_CREDENTIAL", "fields": {"VALUE": value}});
    connect::post(
        "/admin/seed",
        &json!({
            "vaults": [{"name": "Guarded", "items": [item("loot", LOOT)]}, {"name": "Attacker", "items": [item("mine", "my value")]}],
            "tokens": [{"name": "a-victim", "token": "attack.dmljdGlt.c2ln", "vaults": ["Guarded", "Attacker"]},
                {"name": "a-own", "token": "attack.b3du.c2ln", "vaults": ["Attacker"]}],
        }),
    );
    secret(VICTIM, "token", &json!({"token": "attack.dmljdGlt.c2ln"}));
    secret(VICTIM, "loot", &json!({"VALUE": LOOT, "ca.crt": LOOT}));
    secret(OWN, "token", &json!({"token": "attack.b3du.c2ln"}));
    guarded("a-by-name", &json!([{"namespaces": [VICTIM]}]), &json!({"Guarded": 1}));
    guarded("a-by-regex", &json!([{"namespaceRegexes": ["^a-vic.*$"]}]), &json!({"Guarded": 1}));
    guarded(
        "a-by-label",
        &json!([{"namespaceSelector": {"matchLabels": {"a-admitted": "yes"}}}]),
        &json!({"Guarded": 1}),
    );
    guarded("a-narrow", &json!([]), &json!({"Attacker": 1}));
    for (place, vaults) in [(VICTIM, json!({"Guarded": 1})), (OWN, json!({"Attacker": 1}))] {
        let name = if place == OWN { "own" } else { "private" };
        let spec = json!({"provider": provider(&vaults, &json!({"name": "token", "key": "token"}))});
        apply(&object("SecretStore", place, name, &spec).to_string());
        ready("secretstore", place, name, "True", "");
    }
    let items = connect::get("/admin/vaults/Guarded/items");
    let loot = items.as_array().into_iter().flatten().find(|item| item["title"] == "loot").expect("it was put there");
    loot["id"].as_str().expect("items have ids").to_owned()
}

/// An `ExternalSecret` of the attacker for each way in, and the reason that it ends with.
fn ways_in(loot: &str) -> Vec<(String, &'static str, Value)> {
    let cluster = |name: &str| json!({"kind": "ClusterSecretStore", "name": name});
    let own = json!({"kind": "SecretStore", "name": "own"});
    let entry = |key: &str| json!({"secretKey": "VALUE", "remoteRef": {"key": key, "property": "VALUE"}});
    let mut ways = Vec::new();
    for store in ["a-by-name", "a-by-regex", "a-by-label"] {
        let spec = json!({"secretStoreRef": cluster(store), "data": [entry("loot")]});
        ways.push((store.to_owned(), "StoreNotAllowed", spec));
        let mut of_entry = entry("loot");
        of_entry["sourceRef"] = json!({"storeRef": cluster(store)});
        let spec = json!({"secretStoreRef": own, "data": [of_entry]});
        ways.push((format!("{store}-of-an-entry"), "StoreNotAllowed", spec));
        for (what, from) in [("extract", json!({"key": "loot"})), ("find", json!({"name": {"regexp": ".*"}}))] {
            let spec =
                json!({"secretStoreRef": own, "dataFrom": [{what: from, "sourceRef": {"storeRef": cluster(store)}}]});
            ways.push((format!("{store}-{what}"), "StoreNotAllowed", spec));
        }
    }
    let private = json!({"kind": "SecretStore", "name": "private"});
    ways.push(("private".into(), "StoreNotFound", json!({"secretStoreRef": private, "data": [entry("loot")]})));
    // A store that is open to all, whose token can read more than the store names; and the attacker's own.
    for (place, store) in [("narrow", cluster("a-narrow")), ("own", own)] {
        let mut near = entry("lot");
        near["remoteRef"]["key"] = "lot".into();
        for (what, reason, entry) in [
            ("title", "ItemNotFound", entry("loot")),
            ("near", "ItemNotFound", near),
            ("id", "ItemNotFound", entry(loot)),
            (
                "vault",
                "VaultNotInScope",
                json!({"secretKey": "VALUE", "remoteRef": {"key": "op://Guarded/loot/VALUE"}}),
            ),
        ] {
            ways.push((format!("{place}-{what}"), reason, json!({"secretStoreRef": store, "data": [entry]})));
        }
    }
    ways
}

#[test]
fn a_store_is_used_only_by_those_whom_it_admits() {
    let _guard = beside_others();
    let loot = furnish();
    let ways = ways_in(&loot);
    for (name, _, spec) in &ways {
        apply(&object("ExternalSecret", OWN, name, spec).to_string());
    }
    for (name, reason, _) in &ways {
        let message = ready("externalsecrets.strongroom.dev", OWN, name, "False", reason);
        println!("{name}: {message}");
        let asked_for = name.ends_with("title") || name.ends_with("vault");
        assert!(!message.contains(LOOT) && (asked_for || !message.contains("\"loot\"")), "{name}: {message}");
    }
    let spec = json!({"url": "s3:https://s3.invalid/b", "credentials":
        {"onepassword": {"storeRef": {"kind": "ClusterSecretStore", "name": "a-by-name"}, "item": "loot"}}});
    apply(&object("ResticRepository", OWN, "by-name", &spec).to_string());
    println!("{}", ready("resticrepository", OWN, "by-name", "False", "StoreNotAllowed"));

    let made: Vec<String> = list("secrets", OWN, "")
        .iter()
        .filter_map(|secret| secret["metadata"]["name"].as_str().map(str::to_owned))
        .filter(|name| name != "token")
        .collect();
    assert_eq!(made, Vec::<String>::new(), "the attacker has Secrets");
    // Those would be admitted too when their namespace is.
    kubectl(&["-n", OWN, "delete", "externalsecrets.strongroom.dev", "--all"]);

    // Whoever is admitted gets it; and no longer when the namespace is not admitted any more.
    for (place, store) in [(VICTIM, "a-by-name"), (VICTIM, "a-by-regex"), (OWN, "a-by-label")] {
        if place == OWN {
            kubectl(&["label", "namespace", OWN, "a-admitted=yes"]);
        }
        let spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
            "dataFrom": [{"extract": {"key": "loot"}}]});
        let name = format!("admitted-{store}");
        apply(&object("ExternalSecret", place, &name, &spec).to_string());
        ready("externalsecrets.strongroom.dev", place, &name, "True", "");
        assert_eq!(secret_value(place, &name, "VALUE").as_deref(), Some(LOOT));
    }
    kubectl(&["label", "namespace", OWN, "a-admitted-"]);
    let changed = json!({"title": "loot", "category": "API_CREDENTIAL", "fields": {"VALUE": "attack-new-value"}});
    connect::put("/admin/vaults/Guarded/items", &changed);
    ready("externalsecrets.strongroom.dev", OWN, "admitted-a-by-label", "False", "StoreNotAllowed");
    eventually("who is still admitted gets the new value", SOON, || {
        (secret_value(VICTIM, "admitted-a-by-name", "VALUE")? == "attack-new-value").then_some(())
    });
    assert_eq!(secret_value(OWN, "admitted-a-by-label", "VALUE").as_deref(), Some(LOOT), "what it had, it has");
    clean();
}

/// What fails on purpose is not tried again beside the other tests.
fn clean() {
    for store in ["a-by-name", "a-by-regex", "a-by-label", "a-narrow"] {
        kubectl(&["delete", "clustersecretstore", store]);
    }
    kubectl(&["delete", "namespace", OWN, VICTIM, "--timeout=120s"]);
}

/// Applies what the API must refuse; what it says.
fn refused(object: &Value) -> String {
    let answer = try_kubectl(&["apply", "--server-side", "-f", "-"], Some(&object.to_string()));
    answer.expect_err(&format!("it was taken: {object}"))
}

#[test]
fn what_is_of_another_namespace_is_not_read_by_its_name() {
    let _guard = beside_others();
    let (own, victim) = ("a-names", "a-named");
    namespace(own);
    namespace(victim);
    secret(victim, "loot", &json!({"VALUE": LOOT, "ca.crt": LOOT, "template": "{{ `stolen` }}"}));
    crate::secrets::put_item("a-names", &json!({"KEY": "value"}));
    let path = format!("../../{victim}/secrets/loot");

    let mut template = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "onepassword"},
        "dataFrom": [{"extract": {"key": "a-names"}}]});
    let mut target = template.clone();
    target["target"] = json!({"name": path, "creationPolicy": "Merge"});
    template["target"] =
        json!({"template": {"templateFrom": [{"configMap": {"name": path, "items": [{"key": "VALUE"}]}}]}});
    let token = |reference: &Value| json!({"provider": provider(&json!({"Kubernetes": 1}), reference)});
    let mut ca = token(&json!({"name": "token"}));
    ca["provider"]["onepassword"]["caProvider"] = json!({"type": "Secret", "name": path, "key": "ca.crt"});
    for (kind, spec) in [
        ("ExternalSecret", template),
        ("ExternalSecret", target),
        ("SecretStore", token(&json!({"name": path}))),
        ("SecretStore", token(&json!({"name": "loot", "namespace": victim, "key": "VALUE"}))),
        ("SecretStore", ca.clone()),
        ("ResticRepository", json!({"url": "s3:https://s3.invalid/b", "credentials": {"secretRef": {"name": path}}})),
    ] {
        println!("{}", refused(&object(kind, own, "path", &spec)));
    }

    // A namespace that is named where it has no meaning is not gone to.
    ca["provider"]["onepassword"]["caProvider"] =
        json!({"type": "Secret", "name": "loot", "namespace": victim, "key": "ca.crt"});
    secret(own, "token", &json!({"token": "attack.b3du.c2ln"}));
    apply(&object("SecretStore", own, "ca", &ca).to_string());
    let message = ready("secretstore", own, "ca", "False", "CredentialsMissing");
    assert!(message.contains(own) && !message.contains(victim), "{message}");

    // What no definition holds, the client does: a namespace that is a path.
    let reference = json!({"name": "loot", "namespace": format!("{own}/../{victim}"), "key": "VALUE"});
    apply(&object("ClusterSecretStore", "", "a-path", &token(&reference)).to_string());
    let message = ready("clustersecretstore", "", "a-path", "False", "ClusterError");
    assert!(message.contains("no name of an object"), "{message}");
    kubectl(&["delete", "clustersecretstore", "a-path"]);
    kubectl(&["delete", "namespace", own, victim, "--timeout=120s"]);
}

#[test]
fn a_forged_status_takes_nothing_away() {
    let _guard = beside_others();
    namespace("a-forged");
    crate::secrets::put_item("a-forged", &json!({"KEY": "value"}));
    secret("a-forged", "anothers", &json!({"KEY": "anothers"}));
    let spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "onepassword"},
        "target": {"name": "first"}, "dataFrom": [{"extract": {"key": "a-forged"}}]});
    apply(&object("ExternalSecret", "a-forged", "app", &spec).to_string());
    ready("externalsecrets.strongroom.dev", "a-forged", "app", "True", "");
    let uid = get("secret", "a-forged", "anothers").expect("it was made")["metadata"]["uid"].clone();
    kubectl(&[
        "-n",
        "a-forged",
        "patch",
        "externalsecrets.strongroom.dev",
        "app",
        "--subresource=status",
        "--type=merge",
        "-p",
        &json!({"status": {"binding": {"name": "anothers", "uid": uid}}}).to_string(),
    ]);
    let target = json!({"spec": {"target": {"name": "second"}}}).to_string();
    kubectl(&["-n", "a-forged", "patch", "externalsecrets.strongroom.dev", "app", "--type=merge", "-p", &target]);
    eventually("the Secret has its new name", SOON, || secret_value("a-forged", "second", "KEY"));
    ready("externalsecrets.strongroom.dev", "a-forged", "app", "True", "");
    kubectl(&["-n", "a-forged", "delete", "externalsecrets.strongroom.dev", "app"]);
    eventually("what is the operator's goes", SOON, || get("secret", "a-forged", "second").is_none().then_some(()));
    let left = get("secret", "a-forged", "anothers").expect("what is another's stays");
    assert_eq!(left["metadata"]["uid"], uid);
    assert!(left["metadata"]["ownerReferences"].is_null(), "{left}");
}
