//! The same ExternalSecrets, given to the real External Secrets Operator and to ours, become the same Secrets. Where
//! they do not, `differences.yaml` says why, and so does docs/eso.md.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "these are tests")]

mod apps;
#[path = "../suite/eso.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod eso;
mod leave;
mod outcome;
#[path = "../suite/peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod peer;
mod shapes;
#[path = "../suite/support.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod support;
mod takeover;
mod workload;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use eso::Eso;
use outcome::{Outcome, Verdict};
use shapes::Shape;
use support::{SOON, apply, beside_others, connect, namespace, try_kubectl};

/// Each side has a namespace.
const SIDES: [Side; 2] = [
    Side { namespace: "peers-eso", version: eso::VERSION, group: eso::GROUP },
    Side { namespace: "peers-ours", version: "strongroom.dev/v1alpha1", group: "strongroom.dev" },
];
/// How long both may take for all.
const LIMIT: Duration = Duration::from_mins(10);
/// How long what is not as expected may still become so.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many shapes are written at once.
const BATCH: usize = 100;

struct Side {
    namespace: &'static str,
    version: &'static str,
    group: &'static str,
}

/// A difference that is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// The shapes with one of these parts have it.
    parts: Vec<String>,
    /// Only those that have one of these parts too, where there are any.
    #[serde(default)]
    with: Vec<String>,
    is: Verdict,
    /// What docs/eso.md says.
    #[allow(dead_code, reason = "another test compares it with the page")]
    why: String,
}

impl Difference {
    fn is_of(&self, shape: &Shape) -> bool {
        let has = |parts: &[String]| parts.iter().any(|part| shape.parts.contains(part));
        has(&self.parts) && (self.with.is_empty() || has(&self.with))
    }
}

/// A file beside this one.
fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

impl Side {
    /// What every shape refers to.
    fn furnish(&self) {
        namespace(self.namespace);
        let documents: Vec<Value> = serde_saphyr::from_multiple(include_str!("place.yaml")).expect("it is YAML");
        for mut document in documents {
            document["metadata"]["namespace"] = self.namespace.into();
            apply(&document.to_string());
        }
        apply(&token(self.namespace));
    }

    /// Writes the shapes, and the Secrets that are there before them. What the API server refuses is seen later.
    fn declare(&self, shapes: &[Shape]) {
        let before: Vec<Value> = shapes.iter().filter_map(|shape| shape.before(self.namespace)).collect();
        apply(&list(&before));
        for batch in shapes.chunks(BATCH) {
            let objects: Vec<Value> = batch.iter().map(|shape| shape.object(self.version, self.namespace)).collect();
            let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
            if let Err(refusals) = try_kubectl(&args, Some(&list(&objects))) {
                println!("{}: {refusals}", self.namespace);
            }
        }
    }

    fn outcomes(&self, shapes: &[Shape]) -> Option<BTreeMap<String, Outcome>> {
        let of = |kind: &str| -> Vec<Value> {
            let text = try_kubectl(&["-n", self.namespace, "get", kind, "-o", "json"], None).expect("it can be listed");
            let mut list: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
            list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
        };
        let objects = of(&format!("externalsecrets.{}", self.group));
        outcome::of(shapes, &objects, &of("secrets"))
    }
}

/// What became of all shapes on both sides; none while one is still to come.
fn of_both(shapes: &[Shape]) -> Option<[BTreeMap<String, Outcome>; 2]> {
    let [theirs, ours] = SIDES.each_ref().map(|side| side.outcomes(shapes));
    Some([theirs?, ours?])
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The token of the seed, in a Secret.
fn token(namespace: &str) -> String {
    let seed: Value = yaml(include_str!("items.yaml"));
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "peers-token", "namespace": namespace},
        "stringData": {"token": seed["tokens"][0]["token"]}})
    .to_string()
}

/// Waits until both stores of a name are ready.
fn stores_ready(eso: &mut Eso, namespace: Option<&str>, name: &str) {
    for group in SIDES.map(|side| side.group) {
        let kind = if namespace.is_some() { "secretstores" } else { "clustersecretstores" };
        let (kind, namespace) = (format!("{kind}.{group}"), namespace.unwrap_or("default"));
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        eso.eventually(&format!("{kind} {name} is ready"), SOON, || {
            let status = try_kubectl(&["-n", namespace, "get", &kind, name, "-o", path], None).ok()?;
            (status == "True").then_some(())
        });
    }
}

/// What is not as expected, in words.
fn surprises(shapes: &[Shape], [theirs, ours]: &[BTreeMap<String, Outcome>; 2]) -> Vec<String> {
    let listed: Vec<Difference> = yaml(include_str!("differences.yaml"));
    let mut surprises = vec![];
    for difference in &listed {
        for part in difference.parts.iter().chain(&difference.with) {
            if !shapes.iter().any(|shape| shape.parts.contains(part)) {
                surprises.push(format!("differences.yaml: there is no part {part}"));
            }
        }
    }
    for shape in shapes {
        let (theirs, ours) = (&theirs[&shape.name], &ours[&shape.name]);
        let mut expected: Vec<Verdict> = listed.iter().filter(|one| one.is_of(shape)).map(|one| one.is).collect();
        expected.dedup();
        let verdict = outcome::compare(theirs, ours);
        let wanted = expected.first().copied().unwrap_or(Verdict::Same);
        if expected.len() > 1 {
            surprises.push(format!("{}: differences.yaml says several things: {expected:?}", shape.name));
        } else if verdict != wanted {
            let details = outcome::details(theirs, ours);
            surprises.push(format!("{}: {verdict:?}, expected {wanted:?}\n{details}", shape.name));
        }
    }
    surprises
}

#[test]
fn both_make_the_same_secrets() {
    let _guard = beside_others();
    let shapes = shapes::all();
    connect::post("/admin/seed", &yaml(include_str!("items.yaml")));
    eso::define();
    apply(&token("connect"));
    eso::stores(None, "peers", &json!({"Peers-A": 1, "Peers-B": 2}));
    eso::stores(None, "peers-find", &json!({"Peers-Find-1": 1, "Peers-Find-2": 2}));
    eso::stores(None, "peers-files", &json!({"Peers-Find-3": 1}));
    // It runs before anything of an earlier time is deleted: its finalizers are its to take away. More than one
    // reconcile at a time would read from each other's stores.
    let mut eso = Eso::start(1);
    for side in &SIDES {
        side.furnish();
        eso::stores(Some(side.namespace), "own", &json!({"Peers-B": 1}));
    }
    for (namespace, name) in [(None, "peers"), (None, "peers-find"), (None, "peers-files")]
        .into_iter()
        .chain(SIDES.iter().map(|side| (Some(side.namespace), "own")))
    {
        stores_ready(&mut eso, namespace, name);
    }
    for side in &SIDES {
        side.declare(&shapes);
    }
    let mut outcomes = eso.eventually("both have looked at all", LIMIT, || of_both(&shapes));
    let mut surprising = surprises(&shapes, &outcomes);
    // What is still on its way, such as a second attempt, may come yet.
    let start = Instant::now();
    while !surprising.is_empty() && start.elapsed() < PATIENCE {
        if let Some(later) = of_both(&shapes) {
            outcomes = later;
            surprising = surprises(&shapes, &outcomes);
        }
    }
    let tally = outcome::tally(&outcomes);
    println!("{} shapes: {tally}", shapes.len());
    assert!(surprising.is_empty(), "{} of {} shapes:\n{}", surprising.len(), shapes.len(), surprising.join("\n"));
    assert!(shapes.len() > 300, "there are {} shapes", shapes.len());
}
