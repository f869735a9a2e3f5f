//! How long things take: `make bench-secrets`, `make bench-backups`, `make bench-restores`. No time is judged; what is
//! counted beside External Secrets Operator is.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    apps::{app, backup, mounted_at, run_now, running},
    apps::{ended, restore_of},
    audit,
    machine::{Memory, machine, megabytes},
    secrets::{external_secret, put_item, secret_value},
    support::{SOON, alone, apply, create, eventually, kubectl, namespace, on_node, ready, var},
};

/// How often each thing is done.
const ROUNDS: usize = 5;

/// Does something and says how many seconds that took.
fn timed<T>(what: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = what();
    (done, start.elapsed().as_secs_f64())
}

fn row(what: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let (min, median, max) = (seconds[0], seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
    println!("{what:<58} {min:>8.2} {median:>8.2} {max:>8.2}");
}

fn head(title: &str) {
    println!("\n{title:<58} {:>8} {:>8} {:>8}", "min s", "median", "max");
}

#[test]
#[ignore = "make bench-secrets"]
fn secrets() {
    let _guard = alone();
    namespace("t-secrets");
    put_item("t-one", &json!({"KEY": "0"}));
    apply(&external_secret("t-secrets", "one", "t-one"));
    ready("externalsecret", "t-secrets", "one", "True", "");
    let follows = |n: usize| {
        put_item("t-one", &json!({"KEY": n.to_string()}));
        let changed = || (secret_value("t-secrets", "one", "KEY")? == n.to_string()).then_some(());
        timed(|| eventually("the Secret follows", Duration::from_mins(1), changed)).1
    };
    let follow = (1..=ROUNDS).map(follows).collect();
    let all: Vec<String> = (0..100).map(|n| external_secret("t-secrets", &format!("app-{n}"), "t-one")).collect();
    let synced = || {
        let phases = kubectl(&["-n", "t-secrets", "get", "externalsecret", "-o", "jsonpath={.items[*].status.phase}"]);
        (phases.split(' ').filter(|phase| *phase == "Synced").count() > 100).then_some(())
    };
    let herd = timed(|| {
        apply(&all.join("---\n"));
        eventually("all are synced", SOON, synced);
    });
    head("secrets");
    row("from the change of an item to its Secret", follow);
    row("100 new ExternalSecrets on one item, until all are synced", vec![herd.1]);
    kubectl(&["delete", "namespace", "t-secrets", "--timeout=120s"]);
}

#[test]
#[ignore = "make bench-secrets"]
fn secrets_beside_eso() {
    let _guard = alone();
    crate::scale::beside_eso(count_or(1000));
}

#[test]
#[ignore = "make bench-secrets"]
fn secrets_by_the_thousand() {
    let _guard = alone();
    crate::scale::alone(count_or(10_000));
}

/// How many ExternalSecrets: STRONGROOM_BENCH_SECRETS, or this many.
fn count_or(usual: usize) -> usize {
    std::env::var("STRONGROOM_BENCH_SECRETS").map_or(usual, |count| count.parse().expect("a number"))
}

/// An app whose volume holds many small files and a large one; the volume's place on the node.
fn many_files(ns: &str) -> String {
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    let volume = mounted_at(ns, "app");
    on_node(&[&var("STRONGROOM_TREE"), "create", &format!("{volume}/tree")]);
    on_node(&["sh", "-c", &format!("dd if=/dev/urandom of={volume}/large bs=1M count=200 2>/dev/null && sync")]);
    apply(&backup(ns, "app"));
    ready("volumebackup", ns, "app", "True", "");
    volume
}

/// restic by itself, on this node.
fn restic(command: &str) {
    on_node(&["sh", "-c", &format!("RESTIC_PASSWORD=bench restic -q --no-cache -r /run/bench-repository {command}")]);
}

/// What a thousand declarations cost while nothing is due.
#[test]
#[ignore = "make bench-backups"]
fn backups_by_the_thousand() {
    const COUNT: usize = 1000;
    let (_guard, ns) = (alone(), "t-thousand");
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    let all: Vec<String> =
        (0..COUNT).map(|n| backup(ns, &format!("app-{n}")).replace("spec: {", "spec: {claimNames: [app], ")).collect();
    let ((), seconds) = timed(|| {
        for batch in all.chunks(250) {
            apply(&batch.join("---\n"));
        }
        eventually("all are idle", Duration::from_mins(10), || {
            std::thread::sleep(Duration::from_secs(3));
            let phases = kubectl(&["-n", ns, "get", "volumebackup", "-o", "jsonpath={.items[*].status.phase}"]);
            (phases.split(' ').filter(|phase| *phase == "Idle").count() == COUNT).then_some(())
        });
    });
    let mark = audit::mark();
    std::thread::sleep(Duration::from_mins(1));
    let requests = audit::of_operator(&mark);
    let memory = Memory::of_operator();
    println!("\n{}\n{COUNT} VolumeBackups, none of them due", machine());
    println!("until all are idle, applying them included: {seconds:.1} s");
    println!("an idle minute: {} requests, of them writes: {:?}", requests.len(), audit::writes(&requests));
    let (resident, peak) = (megabytes(memory.resident), megabytes(memory.peak));
    println!("memory: {resident:.1} MB, {peak:.1} MB at most");
    assert!(audit::writes(&requests).is_empty(), "{requests:#?}");
    assert!(resident <= 40.0, "{resident:.1} MB with {COUNT} VolumeBackups, at most 40 are to be");
    kubectl(&["delete", "namespace", ns, "--wait=true", "--timeout=600s"]);
}

#[test]
#[ignore = "make bench-restores"]
fn restores() {
    let _guard = alone();
    let volume = many_files("t-restores");
    restic("init");
    restic(&format!("backup {volume}"));
    assert_eq!(run_now("t-restores", "app")["lastResult"], "Succeeded");
    let (mut alone, mut whole, mut down) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        alone.push(timed(|| restic("restore latest --target /run/bench-restored")).1);
        on_node(&["rm", "-rf", "/run/bench-restored"]);
        let (restore, seconds) = timed(|| ended("t-restores", &create(&restore_of("t-restores", "app"))));
        assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
        running("t-restores", "app");
        whole.push(seconds);
        let downtime = restore["status"]["downtime"].as_str().expect("it was down").trim_end_matches('s').to_owned();
        down.push(downtime.parse().expect("less than a minute"));
    }
    on_node(&["rm", "-rf", "/run/bench-repository"]);
    head("restores of 10,200 entries and 200 MiB");
    row("restic alone", alone);
    row("a VolumeRestore: into a new volume, checked, swapped in", whole);
    row("of which the app was down", down);
}
