//! What an idle operator does and needs. These run alone.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    apps::{app, backup, ended, restore_of, run_now, running, write},
    audit,
    secrets::{external_secret, put_item},
    support::{
        MADE_HERE, SOON, SYSTEM, alone, apply, connect, create, eventually, get, kubectl, list, namespace,
        nothing_leaks, ready, try_kubectl,
    },
};

/// The one place in the suite where time itself is what is looked at: a minute in which nothing happens.
const MINUTE: Duration = Duration::from_mins(1);

/// Waits until whatever earlier tests set going has come to its end.
pub fn rests() {
    let start = Instant::now();
    loop {
        let mark = audit::mark();
        thread::sleep(Duration::from_secs(10));
        if audit::writes(&audit::of_operator(&mark)).is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_mins(3), "the operator never rests");
    }
}

#[test]
fn an_idle_minute_costs_a_request_a_poll_and_no_write() {
    let _guard = alone();
    namespace("q-idle");
    put_item("q-idle", &json!({"KEY": "value"}));
    apply(&external_secret("q-idle", "app", "q-idle"));
    ready("externalsecret", "q-idle", "app", "True", "");
    rests();
    let stores = kubectl(&["get", "secretstores,clustersecretstores", "-A", "-o", "name"]).lines().count();
    let polls = || {
        let counts = connect::get("/admin/counts");
        let count = |kind: &str| counts["kinds"][kind].as_u64().unwrap_or(0);
        (count("vaults.list"), count("items.list"), counts["items"].clone())
    };
    let (mark, before) = (audit::mark(), polls());
    thread::sleep(MINUTE);
    let (requests, after) = (audit::of_operator(&mark), polls());
    let writes = audit::writes(&requests);
    assert!(writes.is_empty(), "an idle operator writes nothing but its Lease: {writes:?}");
    let vaults = after.0 - before.0;
    println!("{vaults} polls of {stores} stores in a minute; {} item lists", after.1 - before.1);
    assert!(vaults <= 6 * stores as u64, "one request a poll: {vaults} for {stores} stores");
    assert!(after.1 - before.1 <= stores as u64, "item lists: {} -> {}", before.1, after.1);
    assert_eq!(after.2, before.2, "no item is fetched");
    let leases = requests.iter().filter(|request| request.resource == "leases").count();
    assert!(leases <= 30, "the Lease costs {leases} requests a minute");
}

/// Bytes that the operator holds, as it says itself.
fn memory() -> f64 {
    let page = crate::metrics::page();
    let bytes =
        page.lines().find_map(|line| line.strip_prefix("strongroom_resident_memory_bytes ")).expect("it is measured");
    bytes.parse().expect("a number")
}

#[test]
fn it_needs_little_memory() {
    let _guard = alone();
    println!("after the tests so far the operator holds {:.1} MB", memory() / 1e6);
    // It is asked of it with the demo's objects, and the tests before have left many.
    kubectl(&["delete", "namespace", "-l", MADE_HERE, "--wait=true", "--timeout=300s"]);
    let ns = "q-demo";
    namespace(ns);
    put_item("q-demo", &json!({"KEY": "1"}));
    apply(&external_secret(ns, "app", "q-demo"));
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    write(ns, "app", "data");
    apply(&backup(ns, "app"));
    let status = run_now(ns, "app");
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    let restore = ended(ns, &create(&restore_of(ns, "app")));
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
    ready("externalsecret", ns, "app", "True", "");
    kubectl(&["-n", SYSTEM, "rollout", "restart", "deployment/strongroom"]);
    kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/strongroom", "--timeout=120s"]);
    // It has looked at everything once when the last kind is at rest.
    ready("clusterresticrepository", "", "nas", "True", "");
    rests();
    let held = memory() / 1e6;
    println!("at rest it holds {held:.1} MB");
    assert!(held <= 15.0, "the operator holds {held:.1} MB");
}

#[test]
fn of_two_controllers_one_acts() {
    let _guard = alone();
    kubectl(&["-n", SYSTEM, "scale", "deployment/strongroom", "--replicas=2"]);
    kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/strongroom", "--timeout=120s"]);
    let pods = || {
        let pods = list("pod", SYSTEM, "app.kubernetes.io/name=strongroom");
        pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    // A pod that is not there, or not yet begun, has said nothing.
    let said = |pod: &str, words: &str| {
        try_kubectl(&["-n", SYSTEM, "logs", pod, "--tail=-1"], None).is_ok_and(|log| log.contains(words))
    };
    eventually("the second waits for the Lease", SOON, || {
        pods().iter().any(|pod| said(pod, "waiting for the Lease")).then_some(())
    });
    let holder = || {
        let lease = get("lease", SYSTEM, "strongroom-controller")?;
        lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
    };
    let first = holder().expect("one of them has the Lease");
    let began = |pod: &str| said(pod, "Strongroom watches");
    let pods = pods();
    let acting: Vec<&String> = pods.iter().filter(|pod| began(pod)).collect();
    assert_eq!(acting, [&first], "one of {pods:?} acts: who has the Lease");
    // It is killed, and cannot give the Lease back.
    kubectl(&["-n", SYSTEM, "delete", "pod", &first, "--force", "--grace-period=0"]);
    let second = eventually("another one has the Lease", SOON, || holder().filter(|holder| *holder != first));
    eventually("and acts", SOON, || began(&second).then_some(()));
    kubectl(&["-n", SYSTEM, "scale", "deployment/strongroom", "--replicas=1"]);
    kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/strongroom", "--timeout=120s"]);
}

#[test]
fn nothing_secret_is_outside_of_secrets() {
    let _guard = alone();
    nothing_leaks();
}
