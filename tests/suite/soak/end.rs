//! What has to be so when the soak is over.

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    shapes::{FOREIGN, PLACE, Shape},
    watch::{data, lock},
    world::{Fields, VAULTS, World, name},
};
use crate::support::{condition, connect, diagnose, eventually, kubectl};

/// Besides two polls: a server that hung is waited for 30 seconds, a Lease for 15, and what failed is left alone for a
/// while.
const MORE: Duration = Duration::from_mins(1);

fn all(kind: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&kubectl(&["get", kind, "-n", PLACE, "-o", "json"])).expect("JSON");
    list["items"].as_array().cloned().unwrap_or_default()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// What a Secret has to hold now.
fn expected(shape: &Shape, world: &World) -> Fields {
    let part = |item: &usize| shape.part(*item, world.items[*item].newest().fields.as_ref());
    let parts = shape.items.iter().map(|item| part(item).expect("every item is what it was at first"));
    let foreign = shape.merges.then(|| (FOREIGN.0.to_owned(), FOREIGN.1.to_owned()));
    parts.flatten().chain(foreign).collect()
}

/// The names of the Secrets that do not equal their items.
fn unequal(shapes: &[Shape], world: &Mutex<World>) -> Vec<String> {
    let secrets = all("secrets");
    let world = lock(world);
    // What is made once is judged by the watch.
    let others = shapes.iter().filter(|shape| !shape.once);
    let equal = |shape: &&Shape| {
        let secret = secrets.iter().find(|secret| name_of(secret) == shape.name);
        secret.is_some_and(|secret| data(secret) == expected(shape, &world))
    };
    others.filter(|shape| !equal(shape)).map(|shape| shape.name.clone()).collect()
}

/// Waits until every Secret equals its items.
pub fn equal(shapes: &[Shape], world: &Mutex<World>) {
    let (start, poll) = (Instant::now(), lock(world).poll);
    loop {
        let left = unequal(shapes, world);
        if left.is_empty() {
            return;
        }
        if start.elapsed() > poll * 2 + MORE {
            diagnose();
            panic!("they do not equal their items: {}", left.join(", "));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until every ExternalSecret is ready.
pub fn ready(shapes: &[Shape]) {
    eventually("every ExternalSecret is ready", MORE, || {
        let objects = all("externalsecrets.strongroom.dev");
        let is = |object: &&Value| condition(object, "Ready").is_some_and(|(status, _, _)| status == "True");
        (objects.iter().filter(is).count() == shapes.len()).then_some(())
    });
}

/// Waits until Connect is asked no more than the polls need.
pub fn calm(poll: Duration) {
    let asked = || -> Vec<u64> {
        let counts = connect::get("/admin/counts");
        (0..VAULTS).map(|vault| counts["tokens"][name(vault)].as_u64().unwrap_or(0)).collect()
    };
    let stores = all("secretstores.strongroom.dev");
    // After a change that a vault's version missed, its items are listed at every poll.
    let lists = |vault: usize| {
        let store = stores.iter().find(|store| name_of(store) == name(vault)).expect("it was made");
        store["status"].to_string().contains("ItemList")
    };
    let polls = 3;
    eventually("Connect is asked once a poll", poll * 20 + MORE, || {
        let (before, start) = (asked(), Instant::now());
        std::thread::sleep(poll * polls);
        // A poll comes a little earlier than its interval.
        let polls = start.elapsed().div_duration_f64(poll.mul_f64(0.9)).ceil();
        let after = asked();
        let fits = |vault: usize| {
            let most = polls * if lists(vault) { 2.0 } else { 1.0 };
            let asked = u32::try_from(after[vault] - before[vault]).expect("few");
            println!("soak: {asked} requests of {} in {polls} polls at most", name(vault));
            f64::from(asked) <= most && asked > 0
        };
        (0..VAULTS).all(fits).then_some(())
    });
}

/// Whether anything is left over.
pub fn nothing_left(shapes: &[Shape]) {
    let secrets = all("secrets");
    let names: BTreeSet<&str> = secrets.iter().map(name_of).collect();
    let tokens: Vec<String> = (0..VAULTS).map(name).collect();
    let wanted: BTreeSet<&str> =
        shapes.iter().map(|shape| shape.name.as_str()).chain(tokens.iter().map(String::as_str)).collect();
    assert_eq!(names, wanted, "the Secrets of the namespace");
    for object in secrets.iter().chain(&all("externalsecrets.strongroom.dev")) {
        assert!(object["metadata"]["finalizers"].is_null(), "{} has finalizers", name_of(object));
    }
    let workloads = all("deployments");
    assert_eq!(workloads.len(), 2, "the workloads to restart");
    for workload in workloads {
        let name = name_of(&workload);
        let secret = secrets.iter().find(|secret| name_of(secret) == name).expect("it was compared");
        let noted = |what: &str| secret["metadata"]["annotations"][format!("strongroom.dev/{what}")].clone();
        assert_eq!(noted("data"), noted("restarted"), "a restart is owed for Secret {name}");
        let template = &workload["spec"]["template"]["metadata"]["annotations"];
        let taken_up = &template[format!("secret.strongroom.dev/{name}")];
        assert_eq!(*taken_up, noted("data"), "Deployment {name} was not restarted for its Secret");
        assert_eq!(template.as_object().map(serde_json::Map::len), Some(1), "of other Secrets: {template}");
    }
}
