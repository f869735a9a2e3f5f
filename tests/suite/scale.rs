//! Many ExternalSecrets, of five keys each, by the real External Secrets Operator and by ours: one after the other, on the
//! same cluster and Connect server, whose every answer takes 3 ms. Both read the same items, and are asked to refresh
//! each minute.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    audit::{self, Mark, Request},
    eso::{self, Eso},
    kills::OperatorAway,
    machine::{Memory, machine, megabytes},
    support::{apply, connect, eventually, kubectl, namespace, try_kubectl},
};

const LIMIT: Duration = Duration::from_mins(15);
const KEYS: usize = 5;
const BATCH: usize = 250;
const ADMIN: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin";

/// How long idleness, and what follows a restart, is looked at.
const MINUTE: Duration = Duration::from_mins(1);

/// What one side needed for one thing.
struct Need {
    what: &'static str,
    /// Until it was done; none where a minute was looked at.
    seconds: Option<f64>,
    connect: u64,
    requests: Vec<Request>,
    /// What it had at the end.
    memory: Memory,
}

/// Who is measured.
trait Side {
    const VERSION: &str;
    const GROUP: &str;
    const PLACE: &str;

    fn start(&mut self);
    fn stop(&mut self);
    fn until_ready(&mut self, count: usize);
    fn requests(since: &Mark) -> Vec<Request>;
    fn memory(&self) -> Memory;
}

struct Theirs(Option<Eso>);

impl Side for Theirs {
    const VERSION: &str = eso::VERSION;
    const GROUP: &str = eso::GROUP;
    const PLACE: &str = "t-scale-eso";

    fn start(&mut self) {
        self.0 = Some(Eso::start(1));
    }

    fn stop(&mut self) {
        self.0 = None;
    }

    fn until_ready(&mut self, count: usize) {
        let eso = self.0.as_mut().expect("it runs");
        eso.eventually("all are ready", LIMIT, || seldom(|| are_ready(Self::GROUP, Self::PLACE, count)));
    }

    fn requests(since: &Mark) -> Vec<Request> {
        audit::of_program(since, eso::USER_AGENT)
    }

    fn memory(&self) -> Memory {
        Memory::of_child(self.0.as_ref().expect("it runs").id())
    }
}

struct Ours(Option<OperatorAway>);

impl Side for Ours {
    const VERSION: &str = "strongroom.dev/v1alpha1";
    const GROUP: &str = "strongroom.dev";
    const PLACE: &str = "t-scale-ours";

    fn start(&mut self) {
        self.0 = None;
    }

    fn stop(&mut self) {
        self.0 = Some(OperatorAway::new());
    }

    fn until_ready(&mut self, count: usize) {
        eventually("all are ready", LIMIT, || seldom(|| are_ready(Self::GROUP, Self::PLACE, count)));
    }

    fn requests(since: &Mark) -> Vec<Request> {
        audit::of_operator(since)
    }

    fn memory(&self) -> Memory {
        Memory::of_operator()
    }
}

fn item(n: usize) -> Value {
    let fields: serde_json::Map<String, Value> =
        (0..KEYS).map(|key| (format!("KEY_{key}"), format!("value {key} of {n}").into())).collect();
    json!({"title": format!("scale-{n}"), "category": "SECURE_NOTE", "fields": fields})
}

fn external_secret(version: &str, namespace: &str, n: usize) -> Value {
    let data: Vec<Value> = (0..KEYS)
        .map(|key| format!("KEY_{key}"))
        .map(|key| json!({"secretKey": key, "remoteRef": {"key": format!("scale-{n}"), "property": key}}))
        .collect();
    json!({"apiVersion": version, "kind": "ExternalSecret",
        "metadata": {"name": format!("app-{n}"), "namespace": namespace},
        "spec": {"refreshInterval": "1m", "secretStoreRef": {"kind": "ClusterSecretStore", "name": "scale"}, "data": data}})
}

fn declare(version: &str, namespace: &str, count: usize) {
    let all: Vec<Value> = (0..count).map(|n| external_secret(version, namespace, n)).collect();
    for batch in all.chunks(BATCH) {
        apply(&json!({"apiVersion": "v1", "kind": "List", "items": batch}).to_string());
    }
}

/// A look that costs the API server as much as many writes is not to be part of what is measured; when something was
/// done is in the audit log.
fn seldom<T>(look: impl FnOnce() -> T) -> T {
    thread::sleep(Duration::from_secs(3));
    look()
}

/// Whether that many are ready.
fn are_ready(group: &str, namespace: &str, count: usize) -> Option<()> {
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    let kind = format!("externalsecrets.{group}");
    let text = try_kubectl(&["-n", namespace, "get", &kind, "-o", path], None).ok()?;
    (text.split(' ').filter(|status| *status == "True").count() == count).then_some(())
}

/// Requests to the Connect server, but for the kubelet's probes of its pod.
fn asked_of_connect() -> u64 {
    let kinds = connect::get("/admin/counts")["kinds"].clone();
    let asked =
        kinds.as_object().into_iter().flatten().filter(|(kind, _)| !["health", "heartbeat"].contains(&kind.as_str()));
    asked.filter_map(|(_, count)| count.as_u64()).sum()
}

/// The same Secrets, whoever made them.
fn values(namespace: &str) -> BTreeSet<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.data}{\"\\n\"}{end}";
    let text = kubectl(&["-n", namespace, "get", "secrets", "-o", path]);
    text.lines().filter(|line| line.starts_with("app-")).map(str::to_owned).collect()
}

/// A key of an item's Secret.
fn value(place: &str, n: usize) -> Option<String> {
    crate::secrets::secret_value(place, &format!("app-{n}"), "KEY_0")
}

/// Does something, and says what it needed.
fn measure<S: Side>(side: &mut S, what: &'static str, done: impl FnOnce(&mut S, &Mark) -> Option<f64>) -> Need {
    let (mark, before) = (audit::mark(), asked_of_connect());
    let seconds = done(side, &mark);
    let connect = asked_of_connect() - before;
    Need { what, seconds, connect, requests: S::requests(&mark), memory: side.memory() }
}

/// All the things that one side does, one after the other.
fn all_of<S: Side>(side: &mut S, count: usize) -> Vec<Need> {
    let new = new(side, count);
    let changed = format!("changed by {}", S::GROUP);
    let follows = measure(side, "one item changes", |_, _| {
        let mut item = item(0);
        item["fields"]["KEY_0"] = changed.clone().into();
        connect::put("/admin/vaults/Scale/items", &item);
        let start = Instant::now();
        eventually("the Secret follows", LIMIT, || (value(S::PLACE, 0)? == changed).then_some(()));
        Some(start.elapsed().as_secs_f64())
    });
    let idle = idle(side);
    side.stop();
    let restarted = measure(side, "a restart, and a minute", |side, _| {
        side.start();
        thread::sleep(MINUTE);
        None
    });
    vec![new, follows, idle, restarted]
}

fn idle<S: Side>(side: &mut S) -> Need {
    measure(side, "an idle minute", |_, _| {
        thread::sleep(MINUTE);
        None
    })
}

/// From the controller's start until all of them are ready.
fn new<S: Side>(side: &mut S, count: usize) -> Need {
    namespace(S::PLACE);
    declare(S::VERSION, S::PLACE, count);
    let new = measure(side, "all are new", |side, mark| {
        side.start();
        side.until_ready(count);
        Some(seconds(&S::requests(mark)))
    });
    assert_eq!(values(S::PLACE).len(), count, "Secrets");
    new
}

/// From the first request to the last status that was written.
fn seconds(requests: &[Request]) -> f64 {
    let written = requests.iter().filter(|request| request.resource == "externalsecrets/status");
    let last = written.map(|request| request.at).max().expect("it wrote the status");
    let first = requests.iter().map(|request| request.at).min().expect("it asked for something");
    (last - first).as_seconds_f64()
}

/// What both read.
fn furnish(count: usize) {
    let items: Vec<Value> = (0..count).map(item).collect();
    let token = "canary-scale-eyJhbGciOiJFUzI1NiJ9.c2NhbGU.c2ln";
    connect::post(
        "/admin/seed",
        &json!({"vaults": [{"name": "Scale", "items": items}], "tokens": [{"name": "scale", "token": token, "vaults": ["Scale"]}]}),
    );
    connect::post("/admin/faults", &json!({"fault": "latency", "ms": 3}));
    apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "peers-token", "namespace": "connect"},
            "stringData": {"token": token}})
        .to_string(),
    );
    eso::define();
    eso::stores(None, "scale", &json!({"Scale": 1}));
}

fn clear() {
    kubectl(&["delete", "--raw", &format!("{ADMIN}/faults")]);
    kubectl(&["delete", "clustersecretstores.strongroom.dev", "scale"]);
    kubectl(&["delete", "namespace", Ours::PLACE, "--wait=true", "--timeout=600s"]);
}

/// Measures both, and prints a table.
pub fn beside_eso(count: usize) {
    furnish(count);
    let (mut ours, mut theirs) = (Ours(Some(OperatorAway::new())), Theirs(None));
    let needed_by_them = all_of(&mut theirs, count);
    theirs.stop();
    let needed_by_us = all_of(&mut ours, count);

    head(count);
    for (theirs, ours) in needed_by_them.iter().zip(&needed_by_us) {
        theirs.print("ESO 0.20.4");
        ours.print("Strongroom");
    }
    within(&needed_by_us, count, 20.0);

    // Its finalizers are its to take away.
    let _eso = Eso::start(10);
    kubectl(&["delete", "namespace", Theirs::PLACE, "--wait=true", "--timeout=600s"]);
    eso::undefine();
    clear();
}

/// Measures ours alone.
pub fn alone(count: usize) {
    furnish(count);
    let mut ours = Ours(Some(OperatorAway::new()));
    let needed = [new(&mut ours, count), idle(&mut ours)];
    head(count);
    for needed in &needed {
        needed.print("Strongroom");
    }
    within(&needed, count, 60.0);
    eso::undefine();
    clear();
}

/// What is counted is held to, whatever the machine: one request for each item and a few more, with two for each poll
/// that there is time for; and so much memory once all is in sync.
fn within(needed: &[Need], count: usize, most: f64) {
    let asked = needed[0].connect;
    let polls = needed[0].seconds.unwrap_or_default() / 15.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some polls, rounded down")]
    let polls = polls as u64;
    assert!(asked <= count as u64 + 10 + 2 * polls, "{asked} requests to Connect for {count} items");
    for Need { what, memory, .. } in &needed[1..] {
        let memory = megabytes(memory.resident);
        assert!(memory <= most, "{what}: {memory:.1} MB with {count} ExternalSecrets, at most {most} are to be");
    }
}

fn head(count: usize) {
    println!("\n{count} ExternalSecrets x {KEYS} keys of {count} items, Connect at 3 ms, refreshInterval 1m");
    println!("{}", machine());
    println!(
        "{:<26} {:<12} {:>8} {:>10} {:>8} {:>8} {:>7} {:>7}",
        "", "", "seconds", "Connect", "reads", "writes", "MB", "most"
    );
}

impl Need {
    fn count(&self, verbs: &[&str]) -> usize {
        self.requests.iter().filter(|request| verbs.contains(&request.verb.as_str())).count()
    }

    fn print(&self, who: &str) {
        let seconds = self.seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default();
        let (reads, writes) =
            (self.count(&["get", "list", "watch"]), self.count(&["create", "update", "patch", "delete"]));
        let [memory, most] = [self.memory.resident, self.memory.peak].map(|kib| format!("{:.1}", megabytes(kib)));
        println!(
            "{:<26} {who:<12} {seconds:>8} {:>10} {reads:>8} {writes:>8} {memory:>7} {most:>7}",
            self.what, self.connect
        );
    }
}
