//! What a start costs where everything is in sync, and what a change costs those whom it does not concern. Runs alone.

use serde_json::{Value, json};

use crate::{
    audit::{self, Request},
    kills::OperatorAway,
    metrics::page,
    quiet::rests,
    secrets::external_secret,
    support::{SOON, alone, apply, connect, eventually, get, kubectl, namespace},
};

const PLACE: &str = "s-start";
/// More than one page of a list.
const COUNT: usize = 120;

fn item(n: usize, value: &str) -> Value {
    json!({"title": format!("s-start-{n}"), "category": "API_CREDENTIAL", "fields": {"KEY": value}})
}

/// How often each item with a name like these was fetched, in all.
fn fetched() -> u64 {
    let items = connect::get("/admin/vaults/Kubernetes/items");
    let counts = connect::get("/admin/counts")["items"].clone();
    let ours = items.as_array().into_iter().flatten();
    let ours = ours.filter(|item| item["title"].as_str().is_some_and(|title| title.starts_with("s-start-")));
    ours.filter_map(|item| counts[item["id"].as_str()?].as_u64()).sum()
}

fn are_synced() -> Option<()> {
    let phases =
        kubectl(&["-n", PLACE, "get", "externalsecrets.strongroom.dev", "-o", "jsonpath={.items[*].status.phase}"]);
    (phases.split(' ').filter(|phase| *phase == "Synced").count() == COUNT).then_some(())
}

/// Looks at ExternalSecrets since the operator's start.
fn looks() -> usize {
    let series = "strongroom_reconciles_total{kind=\"ExternalSecret\"} ";
    page().lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0)
}

/// What concerns the namespace, and what was listed of everything.
fn of_place(requests: &[Request]) -> Vec<String> {
    let here = requests.iter().filter(|request| request.namespace == PLACE);
    here.map(|Request { verb, resource, name, .. }| format!("{verb} {resource} {name}")).collect()
}

/// Pages of lists of all objects, or of those that have certain labels; what is watched because it is referred to by name
/// is not one.
fn lists(requests: &[Request], resource: &str, labels: &str) -> usize {
    let lists = requests.iter().filter(|request| request.verb == "list" && request.resource == resource);
    lists.filter(|request| request.name.is_empty() && request.labels == labels).count()
}

#[test]
fn a_start_costs_lists_and_a_change_only_those_who_read_it() {
    let _guard = alone();
    namespace(PLACE);
    let items: Vec<Value> = (0..COUNT).map(|n| item(n, "one")).collect();
    connect::post("/admin/seed", &json!({"vaults": [{"name": "Kubernetes", "items": items}]}));
    let before = fetched();
    let all: Vec<String> =
        (0..COUNT).map(|n| external_secret(PLACE, &format!("app-{n}"), &format!("s-start-{n}"))).collect();
    apply(&all.join("---\n"));
    eventually("all are synced", SOON, are_synced);
    assert_eq!(fetched() - before, COUNT as u64, "each item is fetched once");
    rests();

    let (mark, before) = (audit::mark(), fetched());
    drop(OperatorAway::new());
    let every = kubectl(&["get", "externalsecrets.strongroom.dev", "-A", "-o", "name"]).lines().count();
    eventually("everything was looked at", SOON, || (looks() >= every).then_some(()));
    rests();
    let requests = audit::of_operator(&mark);
    assert_eq!(of_place(&requests), Vec::<String>::new(), "a start reads and writes nothing of what is in sync");
    assert_eq!(fetched(), before, "items that are as they were rendered");
    let labels = "app.kubernetes.io%2Fmanaged-by%3Dstrongroom%2Cstrongroom.dev%2Fowner-kind%3DExternalSecret";
    let (ours, all) = (lists(&requests, "secrets", labels), lists(&requests, "secrets", ""));
    let objects = lists(&requests, "externalsecrets", "");
    println!("{every} ExternalSecrets: {objects} pages of them, {ours} of their Secrets, {all} of all Secrets");
    // In pages of 50. All Secrets are looked at only where a template of some ExternalSecret is in one.
    let pages = every / 50 + 2;
    assert!(objects <= pages, "{objects} pages of {every} ExternalSecrets");
    assert!((1..=pages).contains(&ours), "{ours} pages of our Secrets");
    assert!(all <= pages, "{all} pages of all Secrets");

    let (mark, before) = (audit::mark(), fetched());
    connect::put("/admin/vaults/Kubernetes/items", &item(7, "two"));
    eventually("the Secret follows", SOON, || {
        (crate::secrets::secret_value(PLACE, "app-7", "KEY")? == "two").then_some(())
    });
    rests();
    let requests = of_place(&audit::of_operator(&mark));
    assert!(requests.contains(&"patch secrets app-7".to_owned()), "{requests:?}");
    let others: Vec<_> = requests.iter().filter(|request| !request.ends_with(" app-7")).collect();
    // Events have names of their own.
    assert!(others.iter().all(|request| request.starts_with("create events")), "{others:?}");
    assert_eq!(fetched() - before, 1, "the item that changed");
    assert!(get("secret", PLACE, "app-8").is_some());
    kubectl(&["delete", "namespace", PLACE, "--timeout=120s"]);
}
