//! What an ExternalSecret can declare: who else writes to its Secret, what happens when an item is gone, where
//! templates come from, when it is refreshed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    metrics::page,
    secrets::{put_item, secret_value},
    support::{SOON, apply, beside_others, connect, eventually, get, kubectl, namespace, ready, try_kubectl},
};

const ITEMS: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin/vaults/Kubernetes/items";

fn item_id(title: &str) -> String {
    let items = connect::get("/admin/vaults/Kubernetes/items");
    let item = items.as_array().into_iter().flatten().find(|item| item["title"] == title).expect("the item is there");
    item["id"].as_str().expect("items have ids").to_owned()
}

fn delete_item(title: &str) {
    kubectl(&["delete", "--raw", &format!("{ITEMS}/{}", item_id(title))]);
}

/// Deletes what an earlier run of a test left.
fn delete_items(prefix: &str) {
    for item in connect::get("/admin/vaults/Kubernetes/items").as_array().into_iter().flatten() {
        if let (Some(id), true) = (item["id"].as_str(), item["title"].as_str().is_some_and(|t| t.starts_with(prefix))) {
            kubectl(&["delete", "--raw", &format!("{ITEMS}/{id}")]);
        }
    }
}

const POLICIES: [&str; 3] = ["Delete", "Merge", "Retain"];

/// How often it was found since the operator's start that nothing matches, for the object that is named like a policy.
fn nothing_found(place: &str, policy: &str) -> u32 {
    let name = policy.to_lowercase();
    let labels = [format!("namespace=\"{place}\""), format!("name=\"{name}\""), "reason=\"NoMatch\"".to_owned()];
    let page = page();
    let mut series = page.lines().filter(|line| line.starts_with("strongroom_external_secret_failures_total{"));
    let found = series.find(|line| labels.iter().all(|label| line.contains(label)));
    found.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// An ExternalSecret with more than an item in its spec, as JSON.
pub fn declare(namespace: &str, name: &str, more: &Value) {
    let mut spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "onepassword"}});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    apply(
        &json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec})
        .to_string(),
    );
}

/// The keys of a Secret, without those of the category's own fields.
fn keys(namespace: &str, name: &str) -> Option<Vec<String>> {
    let secret = get("secret", namespace, name)?;
    Some(
        secret["data"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .filter(|key| !key.starts_with(char::is_lowercase))
            .collect(),
    )
}

fn has_keys(what: &str, namespace: &str, name: &str, wanted: &[&str]) {
    eventually(what, SOON, || (keys(namespace, name)? == wanted).then_some(()));
}

#[test]
fn two_merge_into_one_secret_and_keep_to_their_own_keys() {
    let _guard = beside_others();
    let place = "s-merge";
    namespace(place);
    put_item("s-merge-a", &json!({"A1": "a1", "A2": "a2"}));
    put_item("s-merge-b", &json!({"B1": "b1"}));
    // Not the category's own fields, which both items have.
    let own = |item: &str| json!([{"find": {"path": item, "name": {"regexp": "^[A-Z]"}}}]);
    let merge = |item: &str| json!({"target": {"name": "shared", "creationPolicy": "Merge"}, "dataFrom": own(item)});
    declare(place, "a", &merge("s-merge-a"));
    let message = ready("externalsecret", place, "a", "False", "SecretMissing");
    assert!(message.contains("Secret shared"), "{message}");
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: shared, namespace: {place}}}\nstringData: {{OWN: own}}\n"
    ));
    has_keys("what waits is woken by the Secret", place, "shared", &["A1", "A2", "OWN"]);
    declare(place, "b", &merge("s-merge-b"));
    has_keys("the second merges too", place, "shared", &["A1", "A2", "B1", "OWN"]);
    put_item("s-merge-a", &json!({"A1": "new"}));
    has_keys("a key that left its item goes, and no other", place, "shared", &["A1", "B1", "OWN"]);
    kubectl(&["-n", place, "patch", "secret", "shared", "-p", r#"{"data":{"B1":"eA=="}}"#]);
    eventually("what was changed by hand comes back", SOON, || {
        (secret_value(place, "shared", "B1")? == "b1").then_some(())
    });
    assert_eq!(secret_value(place, "shared", "OWN").as_deref(), Some("own"));
    assert_eq!(get("secret", place, "shared").expect("it is there")["metadata"]["ownerReferences"], Value::Null);
    // A third that declares a key of the first.
    put_item("s-merge-c", &json!({"A1": "mine"}));
    declare(place, "c", &merge("s-merge-c"));
    let message = ready("externalsecret", place, "c", "False", "Foreign");
    assert!(message.contains("A1"), "{message}");
    assert_eq!(secret_value(place, "shared", "A1").as_deref(), Some("new"));
    put_item("s-merge-a", &json!({"A3": "a3"}));
    eventually("what was contested is taken when it is free", SOON, || {
        (secret_value(place, "shared", "A1")? == "mine").then_some(())
    });
    // And again: it stays so, and costs nothing while the rest of the suite runs.
    put_item("s-merge-c", &json!({"A3": "mine"}));
    ready("externalsecret", place, "c", "False", "Foreign");
    let create = json!({"target": {"creationPolicy": "CreateOrMerge"}, "dataFrom": own("s-merge-b")});
    declare(place, "made", &create);
    has_keys("CreateOrMerge creates", place, "made", &["B1"]);
    kubectl(&["-n", place, "patch", "secret", "made", "-p", r#"{"data":{"X":"eA=="}}"#]);
    put_item("s-merge-b", &json!({"B2": "b2"}));
    has_keys("and keeps what others add", place, "made", &["B2", "X"]);
}

#[test]
fn what_is_gone_is_taken_away_as_declared() {
    let _guard = beside_others();
    let place = "s-gone";
    namespace(place);
    delete_items("s-gone-");
    for item in ["s-gone-a", "s-gone-b", "s-gone-only", "s-gone-name"] {
        put_item(item, &json!({item.to_uppercase(): "x"}));
    }
    let both = |policy: &str| json!({"target": {"deletionPolicy": policy}, "dataFrom": [{"extract": {"key": "s-gone-a"}}, {"extract": {"key": "s-gone-b"}}]});
    let only =
        |policy: &str| json!({"target": {"deletionPolicy": policy}, "dataFrom": [{"extract": {"key": "s-gone-only"}}]});
    declare(place, "retain", &both("Retain"));
    declare(place, "merge", &both("Merge"));
    declare(place, "delete", &both("Delete"));
    declare(place, "all-retain", &only("Retain"));
    declare(place, "all-merge", &only("Merge"));
    declare(place, "all-delete", &only("Delete"));
    for name in ["retain", "merge", "delete", "all-retain", "all-merge", "all-delete"] {
        ready("externalsecret", place, name, "True", "Synced");
    }
    // An item that is there under another title is not gone.
    declare(
        place,
        "renamed",
        &json!({"target": {"deletionPolicy": "Delete"}, "dataFrom": [{"extract": {"key": "s-gone-name"}}]}),
    );
    ready("externalsecret", place, "renamed", "True", "Synced");
    let renamed = json!({"id": item_id("s-gone-name"), "title": "s-gone-other", "category": "API_CREDENTIAL", "fields": {"X": "x"}});
    try_kubectl(&["replace", "--raw", ITEMS, "-f", "-"], Some(&renamed.to_string())).expect("the item is put");
    let message = ready("externalsecret", place, "renamed", "False", "ItemNotFound");
    assert!(message.contains("with the title \"s-gone-other\""), "{message}");
    has_keys("its Secret stays", place, "renamed", &["S-GONE-NAME"]);
    // A name that was never right takes nothing away, and makes nothing.
    declare(
        place,
        "never",
        &json!({"target": {"deletionPolicy": "Delete"}, "dataFrom": [{"extract": {"key": "s-gone-never"}}]}),
    );
    ready("externalsecret", place, "never", "False", "ItemNotFound");
    delete_item("s-gone-b");
    delete_item("s-gone-only");
    has_keys("Merge takes its keys out", place, "merge", &["S-GONE-A"]);
    has_keys("Delete too, where more is left", place, "delete", &["S-GONE-A"]);
    let message = ready("externalsecret", place, "merge", "True", "Synced");
    assert!(message.contains("without item \"s-gone-b\""), "{message}");
    ready("externalsecret", place, "retain", "False", "ItemNotFound");
    has_keys("Retain retains", place, "retain", &["S-GONE-A", "S-GONE-B"]);
    eventually("Delete deletes", SOON, || get("secret", place, "all-delete").is_none().then_some(()));
    let message = ready("externalsecret", place, "all-delete", "False", "ItemNotFound");
    assert!(message.contains("is not there either (deletionPolicy Delete)"), "{message}");
    has_keys("Merge leaves a Secret without them", place, "all-merge", &[]);
    ready("externalsecret", place, "all-merge", "False", "ItemNotFound");
    has_keys("Retain retains", place, "all-retain", &["S-GONE-ONLY"]);
    put_item("s-gone-only", &json!({"BACK": "x"}));
    for name in ["all-retain", "all-merge", "all-delete"] {
        has_keys("it comes back with its item", place, name, &["BACK"]);
        ready("externalsecret", place, name, "True", "Synced");
    }
}

#[test]
fn a_template_elsewhere_is_rendered_again_when_it_changes() {
    let _guard = beside_others();
    let place = "s-from";
    namespace(place);
    put_item("s-from", &json!({"USER": "wendy"}));
    let map = |text: &str| {
        apply(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: files, namespace: {place}}}\ndata: {{app.yaml: '{text}'}}\n"
        ));
    };
    declare(
        place,
        "app",
        &json!({"dataFrom": [{"extract": {"key": "s-from"}}],
            "target": {"template": {"templateFrom": [{"configMap": {"name": "files", "items": [{"key": "app.yaml"}]}}]}}}),
    );
    ready("externalsecret", place, "app", "False", "TemplateNotFound");
    map("user: {{ .USER }}");
    eventually("the ConfigMap appears", SOON, || {
        (secret_value(place, "app", "app.yaml")? == "user: wendy").then_some(())
    });
    map("name: {{ .USER }}");
    eventually("the ConfigMap changes", SOON, || {
        (secret_value(place, "app", "app.yaml")? == "name: wendy").then_some(())
    });
}

#[test]
fn find_takes_the_items_of_a_tag_and_sees_new_ones() {
    let _guard = beside_others();
    let place = "s-find";
    namespace(place);
    delete_items("s-find-");
    let put = |title: &str, fields: Value| {
        let body =
            json!({"title": title, "category": "API_CREDENTIAL", "fields": fields, "tags": ["s-find"]}).to_string();
        try_kubectl(&["replace", "--raw", ITEMS, "-f", "-"], Some(&body)).expect("the item is put");
    };
    declare(place, "app", &json!({"dataFrom": [{"find": {"tags": {"s-find": ""}, "name": {"regexp": "^KEY"}}}]}));
    let message = ready("externalsecret", place, "app", "False", "NoMatch");
    assert!(message.contains("s-find"), "{message}");
    put("s-find-1", json!({"KEY_1": "one", "OTHER": "x"}));
    has_keys("an item appears", place, "app", &["KEY_1"]);
    put("s-find-2", json!({"KEY_2": "two"}));
    has_keys("another one", place, "app", &["KEY_1", "KEY_2"]);
    // What others have of what is searched does not count: the one that had it is gone.
    for policy in POLICIES {
        let find = json!({"find": {"tags": {"s-find": ""}, "name": {"regexp": "^OTHER"}}});
        declare(place, &policy.to_lowercase(), &json!({"target": {"deletionPolicy": policy}, "dataFrom": [find]}));
        has_keys("one of them has it", place, &policy.to_lowercase(), &["OTHER"]);
    }
    delete_item("s-find-1");
    has_keys("one goes", place, "app", &["KEY_2"]);
    eventually("Delete deletes", SOON, || get("secret", place, "delete").is_none().then_some(()));
    has_keys("Merge leaves a Secret without it", place, "merge", &[]);
    ready("externalsecret", place, "retain", "False", "NoMatch");
    has_keys("Retain retains", place, "retain", &["OTHER"]);
    // That nothing is found is not found out again by fetching.
    let looked = |more: u32| {
        let before = POLICIES.map(|policy| nothing_found(place, policy));
        eventually("they are looked at again", Duration::from_mins(2), || {
            let after = POLICIES.map(|policy| nothing_found(place, policy));
            before.iter().zip(after).all(|(before, after)| after >= before + more).then_some(())
        });
    };
    let id = item_id("s-find-2");
    let fetched = || connect::get("/admin/counts")["items"][&id].clone();
    looked(2);
    let before = fetched();
    looked(1);
    assert_eq!(fetched(), before, "the item was fetched again to find nothing in it");
}

#[test]
fn what_is_held_stays_when_its_item_is_gone() {
    let _guard = beside_others();
    let place = "s-held-gone";
    namespace(place);
    put_item("s-held-gone", &json!({"KEY": "one"}));
    for (name, policy) in [("once", "CreatedOnce"), ("change", "OnChange")] {
        declare(place, name, &json!({"refreshPolicy": policy, "dataFrom": [{"extract": {"key": "s-held-gone"}}]}));
        ready("externalsecret", place, name, "True", "Synced");
    }
    declare(place, "free", &json!({"dataFrom": [{"extract": {"key": "s-held-gone"}}]}));
    ready("externalsecret", place, "free", "True", "Synced");
    delete_item("s-held-gone");
    ready("externalsecret", place, "free", "False", "ItemNotFound");
    for name in ["once", "change"] {
        ready("externalsecret", place, name, "True", "Synced");
        assert_eq!(secret_value(place, name, "KEY").as_deref(), Some("one"), "{name}");
    }
}

#[test]
fn what_is_held_stays_as_it_was() {
    let _guard = beside_others();
    let place = "s-held";
    namespace(place);
    put_item("s-held", &json!({"KEY": "one"}));
    let with = |more: Value| {
        let mut spec = json!({"dataFrom": [{"extract": {"key": "s-held"}}]});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    declare(place, "never", &with(json!({"refreshInterval": "0"})));
    declare(place, "once", &with(json!({"refreshPolicy": "CreatedOnce"})));
    declare(
        place,
        "window",
        &with(json!({"syncWindows": {"kind": "deny", "windows": [{"schedule": "* * * * *", "duration": "1h"}]}})),
    );
    declare(place, "fixed", &with(json!({"target": {"immutable": true}})));
    declare(place, "nothing", &with(json!({"target": {"creationPolicy": "None"}})));
    declare(place, "free", &with(json!({})));
    for name in ["never", "once", "window", "fixed", "nothing", "free"] {
        ready("externalsecret", place, name, "True", "Synced");
    }
    assert_eq!(get("secret", place, "fixed").expect("it is there")["immutable"], true);
    put_item("s-held", &json!({"KEY": "two"}));
    eventually("the others follow", SOON, || (secret_value(place, "free", "KEY")? == "two").then_some(()));
    let message = ready("externalsecret", place, "fixed", "False", "InvalidData");
    assert!(message.contains("is immutable"), "{message}");
    for name in ["never", "once", "window", "fixed"] {
        assert_eq!(secret_value(place, name, "KEY").as_deref(), Some("one"), "{name}");
    }
    // A foreign label changes nothing; a changed value does.
    kubectl(&["-n", place, "label", "secret", "once", "foreign=label"]);
    kubectl(&["-n", place, "patch", "secret", "never", "-p", r#"{"data":{"KEY":"eA=="}}"#]);
    eventually("what was spoilt is made anew", SOON, || (secret_value(place, "never", "KEY")? == "two").then_some(()));
    assert_eq!(secret_value(place, "once", "KEY").as_deref(), Some("one"));
    kubectl(&["-n", place, "delete", "secret", "fixed"]);
    eventually("a deleted one is made anew", SOON, || (secret_value(place, "fixed", "KEY")? == "two").then_some(()));
    assert!(get("secret", place, "nothing").is_none());
}

#[test]
fn a_change_that_cannot_be_made_yet_is_not_forgotten() {
    let _guard = beside_others();
    let place = "s-later";
    namespace(place);
    delete_items("s-later-");
    put_item("s-later-a", &json!({"A": "a"}));
    let of = |item: &str| json!({"refreshPolicy": "OnChange", "dataFrom": [{"extract": {"key": item}}]});
    declare(place, "app", &of("s-later-a"));
    ready("externalsecret", place, "app", "True", "Synced");
    declare(place, "app", &of("s-later-b"));
    ready("externalsecret", place, "app", "False", "ItemNotFound");
    has_keys("the Secret stays as it was", place, "app", &["A"]);
    put_item("s-later-b", &json!({"B": "b"}));
    has_keys("what was declared comes with its item", place, "app", &["B"]);
    ready("externalsecret", place, "app", "True", "Synced");
}

#[test]
fn workloads_restart_once_for_new_data_and_not_for_metadata() {
    let _guard = beside_others();
    let place = "s-restart";
    namespace(place);
    put_item("s-restart", &json!({"KEY": "one"}));
    let spec = |labels: Value| {
        json!({"dataFrom": [{"extract": {"key": "s-restart"}}], "target": {"restart": true,
            "template": {"mergePolicy": "Merge", "metadata": {"labels": labels}}}})
    };
    declare(place, "app", &spec(json!({})));
    ready("externalsecret", place, "app", "True", "Synced");
    let workload = |kind: &str, name: &str, secret: &str| {
        let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": "none", "envFrom": [{"secretRef": {"name": secret}}]}]}}});
        if kind != "DaemonSet" {
            spec["replicas"] = 0.into();
        }
        apply(&json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": place}, "spec": spec}).to_string());
    };
    workload("Deployment", "uses", "app");
    workload("Deployment", "other", "other");
    workload("StatefulSet", "uses", "app");
    workload("DaemonSet", "uses", "app");
    let noted = |kind: &str, name: &str| {
        let object = get(kind, place, name).expect("it is there");
        object["spec"]["template"]["metadata"]["annotations"]["secret.strongroom.dev/app"].as_str().map(str::to_owned)
    };
    let generation = || get("deployment", place, "uses").expect("it is there")["metadata"]["generation"].clone();
    declare(place, "app", &spec(json!({"more": "metadata"})));
    eventually("the label is there", SOON, || {
        (get("secret", place, "app")?["metadata"]["labels"]["more"] == "metadata").then_some(())
    });
    ready("externalsecret", place, "app", "True", "Synced");
    assert_eq!((noted("deployment", "uses"), generation()), (None, json!(1)), "metadata restarts nothing");
    put_item("s-restart", &json!({"KEY": "two"}));
    eventually("what uses the Secret restarts", SOON, || {
        let all = [noted("deployment", "uses"), noted("statefulset", "uses"), noted("daemonset", "uses")];
        all.iter().all(Option::is_some).then_some(())
    });
    assert_eq!((noted("deployment", "other"), generation()), (None, json!(2)), "once, and nothing else");
    kubectl(&["-n", place, "annotate", "externalsecret.strongroom.dev", "app", "force-sync=1"]);
    eventually("the wish is handled", SOON, || {
        (get("externalsecret.strongroom.dev", place, "app")?["status"]["lastHandledForceAt"] == "1").then_some(())
    });
    assert_eq!(generation(), json!(2), "the same data restarts nothing");
}
