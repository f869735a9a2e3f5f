//! VolSync and Strongroom, one after the other, on the same cluster, claims and repository server: `make
//! bench-backups`. No time is judged.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};

use crate::{
    apps::{mounted_at, running},
    audit::{self, Mark, Request},
    machine::{Memory, machine, megabytes},
    movers::{self, Mover},
    support::{alone, apply, condition, eventually, get, kubectl, on_node, ready, try_kubectl},
    volsync::{self, Volsync},
    watch::Watch,
};

const NAMESPACE: &str = "bench-backups";
const LIMIT: Duration = Duration::from_mins(15);
/// How often one is backed up alone.
const ROUNDS: usize = 5;
/// How many are backed up at once.
const MANY: usize = 20;

/// Who is measured.
trait Side {
    const NAME: &str;
    const KIND: &str;
    /// Where an object says that it has done what was asked for, or something that only changes then.
    const DONE: &str;
    /// The folder of its repositories on the server.
    const FOLDER: &str;
    /// What tells that the last backup was good.
    const RESULT: (&str, &str);

    /// An object of this name that backs the claim up, now if it has not been asked with this token before.
    fn object(name: &str, claim: &str, token: &str) -> String;
    fn requests(since: &Mark) -> Vec<Request>;
    fn memory(&self) -> Memory;
}

struct Theirs(Volsync);

impl Side for Theirs {
    const NAME: &str = "VolSync 0.16";
    const KIND: &str = "replicationsource";
    const DONE: &str = "{.status.lastManualSync}";
    const FOLDER: &str = "theirs";
    const RESULT: (&str, &str) = ("/status/latestMoverStatus/result", "Successful");

    fn object(name: &str, claim: &str, token: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-volsync, namespace: {NAMESPACE}}}\nstringData:\n  \
             RESTIC_REPOSITORY: 'rest:http://rest.{NAMESPACE}.svc.cluster.local:8000/theirs/{name}'\n  \
             RESTIC_PASSWORD: canary-bench\n---\napiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\n\
             metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  sourcePVC: {claim}\n  \
             trigger: {{manual: '{token}'}}\n  restic: {{copyMethod: Snapshot, repository: {name}-volsync, \
             pruneIntervalDays: 14, storageClassName: ceph-block, accessModes: [ReadWriteOnce], \
             volumeSnapshotClassName: csi-ceph-blockpool, cacheCapacity: 1Gi, cacheStorageClassName: ceph-block, \
             cacheAccessModes: [ReadWriteOnce], retain: {{last: '10'}}}}\n"
        )
    }

    fn requests(since: &Mark) -> Vec<Request> {
        audit::of_program(since, volsync::USER_AGENT)
    }

    fn memory(&self) -> Memory {
        Memory::of_child(self.0.id())
    }
}

struct Ours;

impl Side for Ours {
    const NAME: &str = "Strongroom";
    const KIND: &str = "volumebackup";
    const DONE: &str = "{.status.runs[0].id}";
    const FOLDER: &str = "ours";
    const RESULT: (&str, &str) = ("/status/lastResult", "Succeeded");

    fn object(name: &str, claim: &str, token: &str) -> String {
        format!(
            "---\napiVersion: strongroom.dev/v1alpha1\nkind: VolumeBackup\nmetadata: {{name: {name}, namespace: \
             {NAMESPACE}, annotations: {{reconcile.fluxcd.io/requestedAt: '{token}', reconcile.fluxcd.io/forceAt: \
             '{token}'}}}}\nspec: {{claimNames: [{claim}], schedule: '0 0 1 1 *', repositoryRefs: [{{kind: \
             ResticRepository, name: bench}}]}}\n"
        )
    }

    fn requests(since: &Mark) -> Vec<Request> {
        audit::of_operator(since)
    }

    fn memory(&self) -> Memory {
        Memory::of_operator()
    }
}

/// Objects, each with the claim that it backs up.
fn objects(prefix: &str, count: usize, claim: &str) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("{prefix}-{n:02}"), claim.to_owned())).collect()
}

/// One backup: seconds since it was asked for.
struct Times {
    /// Until its snapshot was asked for.
    snapshot: f64,
    /// Until its mover was made.
    mover: f64,
    /// Until its object said that it was done.
    done: f64,
}

/// What a side needed for some backups.
struct Need {
    times: Vec<Times>,
    requests: Vec<Request>,
    /// Requests to the repository server.
    asked: Vec<String>,
    movers: Vec<Mover>,
}

/// Has these backed up, all at once.
fn back_up<S: Side>(objects: &[(String, String)]) -> Need {
    let watch = Watch::start(NAMESPACE, S::KIND, S::DONE);
    let before: BTreeMap<String, String> = watch.now(objects.iter().map(|(name, _)| name.as_str()));
    let token = Utc::now().timestamp_millis().to_string();
    let asks: String = objects.iter().map(|(name, claim)| S::object(name, claim, &token)).collect();
    let (mark, log) = (audit::mark(), movers::log_length(NAMESPACE));
    movers::start_sampling();
    let begun = Utc::now();
    apply(asks.trim_start_matches("---\n"));
    let done = watch.changed(&before, LIMIT);
    // The rest of a run is its cleaning: what it costs belongs to it.
    eventually("everything temporary is gone", LIMIT, || is_clean(objects).then_some(()));
    for (name, _) in objects {
        let object = get(S::KIND, NAMESPACE, name).expect("it exists");
        assert_eq!(object.pointer(S::RESULT.0), Some(&S::RESULT.1.into()), "{object:#}");
    }
    let requests = S::requests(&mark);
    let of = |name: &str, resource: &str| {
        let mut all = requests.iter().filter(|of| of.verb == "create" && of.resource == resource);
        let at = all.find(|of| of.name.contains(name)).map(|of| since(begun, of.at));
        at.unwrap_or_else(|| panic!("{} made none of {resource} for {name}", S::NAME))
    };
    let times = objects.iter().map(|(name, _)| Times {
        snapshot: of(name, "volumesnapshots"),
        mover: of(name, "jobs"),
        done: since(begun, done[name]),
    });
    let times = times.collect();
    Need { times, requests, asked: movers::asked(NAMESPACE, log, S::FOLDER), movers: movers::sampled() }
}

fn since(begun: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
    (at - begun).as_seconds_f64()
}

/// Whether no Job, snapshot or temporary claim of these is left. VolSync keeps its caches.
fn is_clean(objects: &[(String, String)]) -> bool {
    let is_left = |line: &str| !line.contains("cache") && objects.iter().any(|(name, _)| line.contains(name.as_str()));
    let all = try_kubectl(&["get", "jobs,volumesnapshots,pvc", "-A", "-o", "name"], None);
    all.is_ok_and(|all| !all.lines().any(is_left))
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    values[index]
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn mean(count: usize, runs: usize) -> String {
    format!("{:.1}", count as f64 / runs as f64)
}

/// A row of the first table.
fn row<S: Side>(what: &str, needs: &[Need]) {
    let all = || needs.iter().flat_map(|need| &need.times);
    let of = |part: fn(&Times) -> f64| {
        let values: Vec<f64> = all().map(part).collect();
        format!("{:.1} / {:.1}", percentile(values.clone(), 0.5), percentile(values, 0.95))
    };
    let runs = all().count();
    let verbs = |verbs: &[&str]| {
        let all = needs.iter().flat_map(|need| &need.requests).filter(|of| verbs.contains(&of.verb.as_str()));
        mean(all.filter(|of| of.resource != "leases" && of.resource != "events").count(), runs)
    };
    let restic = |is_start: bool| {
        let all = needs.iter().flat_map(|need| &need.asked);
        mean(all.filter(|line| !is_start || movers::is_start(line)).count(), runs)
    };
    println!(
        "| {what} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        S::NAME,
        of(|times| times.snapshot),
        of(|times| times.mover),
        of(|times| times.done),
        verbs(&["create"]),
        verbs(&["update", "patch"]),
        verbs(&["delete", "deletecollection"]),
        verbs(&["get", "list"]),
        restic(true),
        restic(false),
    );
}

/// A row of the second table.
fn data_row<S: Side>(what: &str, need: &Need) {
    let mover = need.movers.iter().max_by_key(|mover| mover.cpu).expect("a mover was seen");
    let starts = need.asked.iter().filter(|line| movers::is_start(line)).count();
    println!(
        "| {what} | {} | {:.1} | {:.1} | {:.1} | {starts} | {} |",
        S::NAME,
        need.times[0].done,
        mover.wall.as_secs_f64(),
        mover.cpu.as_secs_f64(),
        need.asked.len(),
    );
}

/// Makes a claim with an app that holds it; where its volume is on the node.
fn claim(name: &str, size: &str) -> String {
    apply(&crate::apps::app(NAMESPACE, name, "ceph-block").replace("512Mi", size));
    running(NAMESPACE, name);
    mounted_at(NAMESPACE, name)
}

fn sh(script: &str) {
    on_node(&["sh", "-c", script]);
}

/// The server, and our repository object with its base.
fn furnish() {
    if get("namespace", "", NAMESPACE).is_some() {
        kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=180s"]);
    }
    apply(&include_str!("bench.yaml").replace("NAMESPACE", NAMESPACE));
    running(NAMESPACE, "rest");
    let message = eventually("the base is asked for", LIMIT, || {
        let object = get("resticrepository", NAMESPACE, "bench")?;
        let (status, reason, message) = condition(&object, "Ready")?;
        (status == "False" && reason == "BaseMissing").then_some(message)
    });
    let command = message.split('`').find(|part| part.starts_with("kubectl ")).expect("the message has a command");
    kubectl(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    ready("resticrepository", NAMESPACE, "bench", "True", "Ready");
}

/// One alone, then many at once.
fn small<S: Side>(side: &S, volume: &str) -> Memory {
    let objects = objects("small", MANY, "app");
    // The first one of each creates its repository.
    back_up::<S>(&objects);
    let change = |n: usize| sh(&format!("echo {} {n} > {volume}/file && sync", S::NAME));
    let single: Vec<Need> = (0..ROUNDS)
        .map(|n| {
            change(n);
            back_up::<S>(&objects[..1])
        })
        .collect();
    change(ROUNDS);
    let many = back_up::<S>(&objects);
    row::<S>("one", &single);
    row::<S>(&format!("{MANY} at once"), &[many]);
    side.memory()
}

/// Much data: all of it, then none of it.
fn data<S: Side>(claim: &str, what: &str) {
    let objects = objects(&format!("data-{claim}"), 1, claim);
    data_row::<S>(what, &back_up::<S>(&objects));
    data_row::<S>(&format!("{what}, unchanged"), &back_up::<S>(&objects));
}

#[test]
#[ignore = "make bench-backups"]
fn backups() {
    let _guard = alone();
    volsync::define();
    furnish();
    let theirs = Theirs(Volsync::start());
    let volume = claim("app", "512Mi");
    println!("\n{}", machine());
    println!(
        "\nSeconds since it was asked for (p50 / p95), and what each run needs of the API server and the repository:"
    );
    println!("| | | snapshot | mover | done | creates | updates | deletes | reads | restic starts | repository |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let memory = [small(&theirs, &volume), small(&Ours, &volume)];
    println!(
        "\nMemory of the controllers: {}",
        memory.map(|of| { format!("{:.1} MB, {:.1} at most", megabytes(of.resident), megabytes(of.peak)) }).join("; ")
    );

    let many = claim("many", "2Gi");
    sh(&format!(
        "cd {many} && for d in $(seq 100); do mkdir $d && for f in $(seq 500); do head -c 3000 /dev/urandom > $d/$f; done; done; sync"
    ));
    let large = claim("large", "3Gi");
    sh(&format!("dd if=/dev/urandom of={large}/large bs=1M count=2048 2>/dev/null; sync"));
    println!("\n| | | seconds | mover | CPU | restic starts | repository |");
    println!("|---|---|---|---|---|---|---|");
    for (claim, what) in [("many", "50,000 files of 3 kB"), ("large", "one file of 2 GiB")] {
        data::<Theirs>(claim, what);
        data::<Ours>(claim, what);
    }
    drop(theirs);
    kubectl(&["-n", NAMESPACE, "delete", "replicationsource", "--all", "--wait=false"]);
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=300s"]);
}
