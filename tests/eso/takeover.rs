//! A store of External Secrets Operator becomes ours by one line, with the ExternalSecrets that refer to it, and goes
//! back without it: their Secrets stay what they are, and follow their items before, meanwhile and after.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use base64::Engine;
use serde_json::{Value, json};

use crate::{
    SIDES,
    apps::{self, App, BOTH, PLACES, STORE, THEIRS, beside, data},
    eso::{self, Eso},
    leave,
    support::{
        SOON, SYSTEM, alone, apply, condition, connect, eventually, get, kubectl, namespace, nothing_leaks, ready,
        try_kubectl,
    },
    workload,
};

/// By their full names: ours have the same short ones.
pub(crate) const KIND: &str = "externalsecrets.external-secrets.io";
const STORES: &str = "clustersecretstores.external-secrets.io";
const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
pub(crate) const TOKEN: &str = "canary-takeover-eyJhbGciOiJFUzI1NiJ9.dGFrZW92ZXI.c2ln";
const ITEMS: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin/vaults/Takeover/items";
/// How long all together may take.
const LIMIT: Duration = Duration::from_mins(5);
/// How long one change may take.
const MINUTE: Duration = Duration::from_mins(1);

/// What must stay as it is, of each Secret.
pub(crate) type Book = BTreeMap<String, Value>;

fn item(title: &str, fields: &Value) -> Value {
    json!({"title": title, "category": "SECURE_NOTE", "fields": fields})
}

pub(crate) fn put(title: &str, fields: &Value) {
    let body = item(title, fields).to_string();
    try_kubectl(&["replace", "--raw", ITEMS, "-f", "-"], Some(&body)).expect("the item is put");
}

/// The objects of a kind in both namespaces, with their field managers.
pub(crate) fn everything(kind: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for place in PLACES {
        let text = kubectl(&["-n", place, "get", kind, "-o", "json", "--show-managed-fields"]);
        let list: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        for object in list["items"].as_array().into_iter().flatten() {
            all.insert(format!("{place}/{}", text_of(&object["metadata"]["name"])), object.clone());
        }
    }
    all
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What is to stay, of all Secrets; where the item changes all the time, the keys without the values.
pub(crate) fn seen() -> Book {
    let one = |(path, mut secret): (String, Value)| {
        if path.contains("/extract-") {
            let data = secret["data"].as_object_mut().into_iter().flatten();
            data.for_each(|(_, value)| *value = Value::Null);
        }
        let owners = secret["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owners: Vec<Value> = owners.map(|owner| json!([owner["uid"], owner["controller"]])).collect();
        let seen = json!({"uid": secret["metadata"]["uid"], "type": secret["type"], "owners": owners,
            "data": secret["data"]});
        (path, seen)
    };
    everything("secrets").into_iter().map(one).collect()
}

fn assert_same(when: &str, before: &Book) {
    let now = seen();
    let paths = before.keys().chain(now.keys().filter(|path| !before.contains_key(*path)));
    let differ = paths.map(|path| (path, before.get(path), now.get(path))).filter(|(_, was, is)| was != is);
    let changed: Vec<String> = differ.map(|(path, was, is)| format!("{path}\n  was {was:?}\n  is  {is:?}")).collect();
    assert!(changed.is_empty(), "{when} {} Secrets changed:\n{}", changed.len(), changed.join("\n"));
}

/// For waiting until nothing is missing; how much is, is printed whenever it changes.
pub(crate) fn none(missing: impl Fn() -> Vec<String>) -> impl FnMut() -> Option<()> {
    let mut before = usize::MAX;
    move || {
        let missing = missing();
        if missing.len() != before {
            before = missing.len();
            println!("{before} still missing {:?}", missing.first());
        }
        missing.is_empty().then_some(())
    }
}

/// Those whose status does not say that we, or External Secrets Operator, made them ready.
pub(crate) fn not_ready<'a>(apps: impl IntoIterator<Item = &'a App>, by_us: bool) -> Vec<String> {
    let objects = everything(KIND);
    let is_ready = |app: &App| {
        let object = objects.get(&app.path())?;
        let status = &object["status"];
        let version = text_of(&status["syncedResourceVersion"]);
        let ours = version.starts_with(&format!("{}-strongroom", object["metadata"]["generation"]));
        let by_right = if by_us { ours } else { !version.is_empty() && !version.contains("strongroom") };
        let (is, why, _) = condition(object, "Ready")?;
        let whole = status["refreshTime"].is_string() && status["binding"]["name"] == app.target();
        (by_right && whole && is == "True" && why == "SecretSynced").then_some(())
    };
    apps.into_iter().filter(|app| is_ready(app).is_none()).map(App::path).collect()
}

/// Those whose Secret has not this value yet.
pub(crate) fn behind<'a>(apps: impl IntoIterator<Item = &'a App>, value: &str) -> Vec<String> {
    let secrets = everything("secrets");
    let wanted = base64::engine::general_purpose::STANDARD.encode(value);
    let has = |app: &App| secrets.get(&app.secret()).is_some_and(|secret| secret["data"]["KEY"] == *wanted);
    apps.into_iter().filter(|app| !has(app)).map(App::path).collect()
}

/// Labels, annotations and field managers of an object that are ours.
fn marks(object: &Value) -> Vec<String> {
    let metadata = &object["metadata"];
    let noted = [&metadata["labels"], &metadata["annotations"]].into_iter().filter_map(Value::as_object).flatten();
    let ours = |key: &str, value: &Value| {
        key.starts_with("strongroom.dev/") || (key == "app.kubernetes.io/managed-by" && value == "strongroom")
    };
    let noted = noted.filter(|(key, value)| ours(key, value)).map(|(key, _)| key.clone());
    let managers = metadata["managedFields"].as_array().into_iter().flatten().map(|entry| text_of(&entry["manager"]));
    noted.chain(managers.filter(|manager| manager.starts_with("strongroom")).map(str::to_owned)).collect()
}

/// What is ours on the Secrets and on the store.
fn traces() -> Vec<String> {
    let secrets = everything("secrets").into_iter().map(|(path, secret)| (path, marks(&secret)));
    let mut traces: Vec<String> =
        secrets.filter(|(_, marks)| !marks.is_empty()).map(|(path, marks)| format!("{path}: {marks:?}")).collect();
    let store = get(STORES, "default", STORE).expect("the store is there");
    traces.extend(condition(&store, "Strongroom").map(|said| format!("store {STORE}: {said:?}")));
    traces
}

pub(crate) fn patch_store(patch: &Value) {
    kubectl(&["patch", STORES, STORE, "--type=json", "-p", &json!([patch]).to_string()]);
}

/// External Secrets Operator with two stores and nothing else to do.
fn prepare() -> Eso {
    let items: Vec<Value> = ["stays", "moves", "fixed"]
        .iter()
        .map(|title| item(title, &json!({"KEY": "one", "MORE": "more", "EXTRA": "extra"})))
        .collect();
    let token = json!({"name": "takeover", "token": TOKEN, "vaults": ["Takeover"]});
    connect::post("/admin/seed", &json!({"vaults": [{"name": "Takeover", "items": items}], "tokens": [token]}));
    eso::define();
    // What an earlier run left may say whose it is.
    kubectl(&["delete", STORES, STORE, THEIRS, "--ignore-not-found", "--timeout=60s"]);
    // It runs before anything is deleted: its finalizers are its to take away.
    let eso = Eso::start(1);
    // What the other test left would keep its one worker busy.
    let others = SIDES.each_ref().map(|side| side.namespace);
    kubectl(&["delete", "namespace", others[0], others[1], "--ignore-not-found", "--timeout=600s"]);
    for place in PLACES {
        namespace(place);
    }
    apply(&crate::list(&apps::stores(TOKEN)));
    eso
}

/// All are there, made by External Secrets Operator.
fn made_by_eso(eso: &mut Eso, apps: &[App]) -> Book {
    apply(&crate::list(&apps.iter().filter(|app| app.merges()).map(App::before).collect::<Vec<_>>()));
    let beside = beside();
    let all = || apps.iter().chain(&beside);
    apply(&crate::list(&all().map(App::object).collect::<Vec<_>>()));
    eso.eventually("External Secrets Operator makes all ready", LIMIT, none(|| not_ready(all(), false)));
    assert_eq!(traces(), [""; 0], "something is ours before the store is");
    seen()
}

/// The store becomes ours while an item changes.
fn take_over(apps: &[App], before: &Book) {
    let (going_on, ended) = mpsc::channel::<()>();
    let load = thread::spawn(move || {
        let mut changes = 0;
        // It ends with the sender, also when this test fails.
        loop {
            changes += 1;
            put("moves", &json!({"KEY": format!("load {changes}"), "MORE": "more", "EXTRA": "extra"}));
            if ended.recv_timeout(Duration::from_millis(500)) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        changes
    });
    patch_store(&json!({"op": "add", "path": "/spec/controller", "value": "strongroom"}));
    let ours = || {
        // At every look: what vanishes and comes back has been away for those who read it.
        assert_same("while the store became ours", before);
        not_ready(apps, true)
    };
    eventually("all ExternalSecrets of the store are reconciled by Strongroom", LIMIT, none(ours));
    drop(going_on);
    println!("the item changed {} times meanwhile", load.join().expect("the items could be changed"));
    put("moves", &json!({"KEY": "last", "MORE": "more", "EXTRA": "extra"}));
    let moving = || apps.iter().filter(|app| app.name.starts_with("extract-"));
    eventually("the Secrets follow the item that changed all the time", MINUTE, none(|| behind(moving(), "last")));
    assert_same("after the store became ours", before);
    assert!(traces().len() > apps.len(), "not all Secrets bear our marks: {:?}", traces());
    ready(STORES, "default", STORE, "True", "Valid");
}

/// Items change, and a key is not declared any more.
fn keep_up(apps: &[App]) {
    put("stays", &json!({"KEY": "two", "MORE": "more"}));
    put("moves", &json!({"KEY": "two", "MORE": "more"}));
    eventually("all Secrets follow their items by Strongroom", MINUTE, none(|| behind(apps, "two")));
    for app in apps.iter().filter(|app| app.name.starts_with("extract-")) {
        eventually(&format!("the key that left its item leaves Secret {}", app.path()), MINUTE, || {
            get("secret", app.place, app.target())?["data"]["EXTRA"].is_null().then_some(())
        });
    }
    declare_less(apps, PLACES[0], "Strongroom");
}

/// A key that is not declared any more leaves the Secret that it was merged into, and no other key does.
fn declare_less(apps: &[App], place: &str, who: &str) {
    for app in apps.iter().filter(|app| app.merges() && app.place == place) {
        let mut object = app.object();
        object["spec"]["data"] = data("stays", &["KEY"]);
        apply(&object.to_string());
        let keys = || -> Option<Vec<String>> {
            Some(get("secret", place, app.target())?["data"].as_object()?.keys().cloned().collect())
        };
        eventually(&format!("{who} removes the key that {} declares no more", app.path()), MINUTE, || {
            (!keys()?.contains(&"MORE".to_owned())).then_some(())
        });
        assert_eq!(keys().unwrap_or_default(), ["FOREIGN", "KEY"], "{}: {who} removed another key too", app.path());
    }
}

/// What refers to another store too is left alone, and the store and an Event say so.
fn leave_what_is_mixed(count: usize) {
    eventually(&format!("store {STORE} counts {count} and names {BOTH}"), SOON, || {
        let (status, _, message) = condition(&get(STORES, "default", STORE)?, "Strongroom")?;
        let says = message.contains(&format!(": {count};")) && message.contains(BOTH);
        (status == "True" && says).then_some(())
    });
    let event = eventually(&format!("an Event of Strongroom on {BOTH}"), SOON, || {
        everything("events").into_values().find(|event| {
            event["involvedObject"]["name"] == BOTH && text_of(&event["reportingComponent"]).contains("strongroom")
        })
    });
    assert!(text_of(&event["message"]).contains("store"), "the Event does not say that it is the store: {event:#}");
    let status = get(KIND, PLACES[0], BOTH).expect("it is there")["status"].to_string();
    assert!(!status.contains("strongroom"), "the status of {BOTH} is not left alone: {status}");
}

/// A PushSecret of the store stays behind, and the store says so.
fn count_what_is_pushed() {
    kubectl(&["label", STORES, STORE, "tier=pushed-to", "--overwrite"]);
    let by_labels = json!({"kind": "ClusterSecretStore", "labelSelector": {"matchLabels": {"tier": "pushed-to"}}});
    for (name, store) in [("pushed", json!({"kind": "ClusterSecretStore", "name": STORE})), ("by-labels", by_labels)] {
        let pushed = json!({"apiVersion": "external-secrets.io/v1alpha1", "kind": "PushSecret",
            "metadata": {"name": name, "namespace": PLACES[0]},
            "spec": {"refreshInterval": "1h", "secretStoreRefs": [store],
                "selector": {"secret": {"name": "data-0"}},
                "data": [{"match": {"secretKey": "KEY", "remoteRef": {"remoteKey": "pushed"}}}]}});
        apply(&pushed.to_string());
    }
    let says = |name: &str| {
        let (_, _, message) = condition(&get(STORES, "default", STORE)?, "Strongroom")?;
        Some(message.contains(&format!("{}/{name}", PLACES[0])))
    };
    eventually(&format!("store {STORE} names both PushSecrets"), SOON, || {
        (says("pushed")? && says("by-labels")?).then_some(())
    });
    kubectl(&["-n", PLACES[0], "delete", "pushsecret", "pushed", "by-labels", "--timeout=60s"]);
    eventually(&format!("store {STORE} names none any more"), SOON, || {
        (!says("pushed")? && !says("by-labels")?).then_some(())
    });
}

/// A store of a namespace with its token, ours from its first moment, and an ExternalSecret of it.
fn in_a_namespace(name: &str) -> (App, [Value; 3]) {
    let [mut secret, mut store, _] = apps::stores(TOKEN);
    secret["metadata"]["namespace"] = PLACES[1].into();
    store["kind"] = "SecretStore".into();
    store["metadata"]["namespace"] = PLACES[1].into();
    store["spec"]["controller"] = "strongroom".into();
    let token = "/spec/provider/onepassword/auth/secretRef/connectTokenSecretRef";
    store.pointer_mut(token).and_then(Value::as_object_mut).expect("it is there").remove("namespace");
    let app = App::new(PLACES[1], name, json!({"data": data("fixed", &["KEY"])}));
    let mut object = app.object();
    object["spec"]["secretStoreRef"] = json!({"kind": "SecretStore", "name": STORE});
    (app, [secret, store, object])
}

/// A store of a namespace that is ours from its first moment, and its ExternalSecret.
fn store_of_a_namespace() {
    let (app, [secret, store, object]) = in_a_namespace("of-namespace");
    apply(&crate::list(&[secret, store, object]));
    eventually("the store of a namespace is ours", SOON, none(|| not_ready([&app], true)));
    ready("secretstores.external-secrets.io", PLACES[1], STORE, "True", "Valid");
    kubectl(&["-n", PLACES[1], "delete", KIND, &app.name, "--timeout=60s"]);
    kubectl(&["-n", PLACES[1], "delete", "secretstores.external-secrets.io", STORE, "--timeout=60s"]);
    kubectl(&["-n", PLACES[1], "delete", "secret", "takeover-token"]);
}

/// An item that is not there is said in their shape with our words.
fn say_what_is_wrong() {
    let wrong = App::new(PLACES[0], "wrong-item", json!({"data": data("not-there", &["KEY"])}));
    apply(&wrong.object().to_string());
    let message = ready(KIND, wrong.place, &wrong.name, "False", "SecretSyncedError");
    assert!(message.starts_with("ItemNotFound"), "the message does not begin with our reason: {message}");
    kubectl(&["-n", wrong.place, "delete", KIND, &wrong.name, "--timeout=60s"]);
    put("loud", &json!({"KEY": "canary-takeover value"}));
    let template =
        |text: &str| json!({"data": data("loud", &["KEY"]), "target": {"template": {"data": {"OUT": text}}}});
    let loud = ["{{ fail .KEY }}", "{{ .KEY | fromJson | toJson }}"].map(template);
    let loud = [0, 1].map(|n| App::new(PLACES[0], &format!("loud-{n}"), loud[n].clone()));
    apply(&crate::list(&loud.each_ref().map(App::object)));
    for app in &loud {
        // The item is new: it is found at the next poll.
        eventually(&format!("{} says that its template fails", app.path()), SOON, || {
            let (is, _, message) = condition(&get(KIND, app.place, &app.name)?, "Ready")?;
            (is == "False" && message.starts_with("TemplateError")).then_some(())
        });
    }
    nothing_leaks();
    kubectl(&["-n", PLACES[0], "delete", KIND, "loud-0", "loud-1", "--timeout=60s"]);
}

/// Without External Secrets Operator nobody else takes its finalizer away.
fn delete_without_eso(apps: &mut Vec<App>) {
    let last = apps.iter().rposition(|app| app.name.starts_with("delete-")).expect("one has that policy");
    let app = apps.remove(last);
    let object = get(KIND, app.place, &app.name).expect("it is there");
    let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    assert!(finalizers.contains(&FINALIZER.into()), "{} has not the finalizer: {finalizers:?}", app.path());
    kubectl(&["-n", app.place, "delete", KIND, &app.name, "--wait=false"]);
    for (kind, name) in [(KIND, app.name.as_str()), ("secret", app.target())] {
        eventually(&format!("{kind} {}/{name} goes without External Secrets Operator", app.place), MINUTE, || {
            get(kind, app.place, name).is_none().then_some(())
        });
    }
}

/// The store is deleted, then we start again, then its ExternalSecret is deleted: nobody else lets it go.
fn delete_after_a_restart() {
    let (app, [secret, store, mut object]) = in_a_namespace("outlives-its-store");
    // As External Secrets Operator would have left it.
    object["metadata"]["finalizers"] = json!([FINALIZER]);
    apply(&crate::list(&[secret, store, object]));
    eventually("the ExternalSecret is ours", SOON, none(|| not_ready([&app], true)));
    kubectl(&["-n", PLACES[1], "delete", "secretstores.external-secrets.io", STORE, "--timeout=60s"]);
    kubectl(&["-n", SYSTEM, "rollout", "restart", "deployment/strongroom"]);
    kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/strongroom", "--timeout=120s"]);
    kubectl(&["-n", PLACES[1], "delete", KIND, &app.name, "--timeout=60s"]);
    kubectl(&["-n", PLACES[1], "delete", "secret", "takeover-token"]);
}

/// When External Secrets Operator last refreshed one.
fn refreshed(name: &str) -> Value {
    get(KIND, PLACES[0], name).expect("it is there")["status"]["refreshTime"].clone()
}

/// Waits until External Secrets Operator has looked at all after its start: what it then does, it was told to.
fn at_work(eso: &mut Eso) {
    // The first time may be before the others were looked at; the second is ten seconds later.
    for _ in 0..2 {
        let before = refreshed("theirs");
        eso.eventually("External Secrets Operator is at work", SOON, || (refreshed("theirs") != before).then_some(()));
    }
}

/// The store goes back.
fn give_back(eso: &mut Eso, apps: &[App]) {
    let (before, mixed) = (seen(), refreshed(BOTH));
    patch_store(&json!({"op": "remove", "path": "/spec/controller"}));
    let left = || {
        assert_same("while the store went back", &before);
        traces()
    };
    eso.eventually("nothing of Strongroom is left on the Secrets and on the store", SOON, none(left));
    eso.eventually("External Secrets Operator resumes all by itself", SOON, none(|| not_ready(apps, false)));
    eso.eventually("what was mixed is refreshed too", SOON, || (refreshed(BOTH) != mixed).then_some(()));
    assert_same("after the store went back", &before);
    put("stays", &json!({"KEY": "three", "MORE": "more"}));
    put("moves", &json!({"KEY": "three", "MORE": "more"}));
    eso.eventually("all Secrets follow by External Secrets Operator", MINUTE, none(|| behind(apps, "three")));
    declare_less(apps, PLACES[1], "External Secrets Operator");
    assert_eq!(traces(), [""; 0], "something of Strongroom came back");
}

#[test]
fn takes_over_and_gives_back() {
    // The other test has an External Secrets Operator of its own.
    let _guard = alone();
    let mut eso = prepare();
    let mut apps = apps::all();
    let before = made_by_eso(&mut eso, &apps);
    let reads = &apps::all()[0];
    let runs = workload::start(reads);
    take_over(&apps, &before);
    assert_eq!(workload::pods(reads), runs, "a workload was restarted when the store became ours");
    leave_what_is_mixed(apps.len());
    count_what_is_pushed();
    keep_up(&apps);
    say_what_is_wrong();
    store_of_a_namespace();
    drop(eso);
    delete_without_eso(&mut apps);
    delete_after_a_restart();
    let mut eso = Eso::start(1);
    at_work(&mut eso);
    give_back(&mut eso, &apps);
    assert_eq!(workload::pods(reads), runs, "a workload was restarted when the store went back");
    let theirs = &everything(KIND)[&format!("{}/theirs", PLACES[0])];
    assert_eq!(marks(theirs), [""; 0], "an ExternalSecret of another store was touched");
    leave::leave(eso, &apps);
    kubectl(&["delete", "namespace", PLACES[0], PLACES[1], "--timeout=300s"]);
    kubectl(&["delete", "clustersecretstores.strongroom.dev", STORE, "--timeout=60s"]);
}
