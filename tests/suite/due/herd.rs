//! Many VolumeBackups that are due in the same minute. In full with STRONGROOM_FULL=1: a hundred.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    apps::{app, mounted_at, nothing_left, running},
    support::{SOON, SYSTEM, apply, beside_others, eventually, kubectl, list, namespace, on_node},
};

/// How many may run at once in each of the two repositories, and in all.
const LIMITS: [usize; 2] = [2, 3];
const LIMIT: usize = 4;
const PLACES: [&str; 3] = ["h-one", "h-two", "h-three"];

fn repository(index: usize) -> String {
    let limit = LIMITS[index];
    format!(
        "---\napiVersion: strongroom.dev/v1alpha1\nkind: ClusterResticRepository\nmetadata: {{name: herd-{index}}}\n\
         spec:\n  url: '/repository/herd-{index}/{{{{ namespace }}}}/{{{{ name }}}}'\n  \
         volume: {{claimName: backups}}\n  limits: {{backups: {limit}}}\n  credentials: {{secretRef: {{name: herd}}}}\n"
    )
}

/// A VolumeBackup of the app's claim into one of the two repositories.
fn backup(n: usize, minute: u32) -> String {
    let (place, index) = (PLACES[n % PLACES.len()], n % LIMITS.len());
    format!(
        "---\napiVersion: strongroom.dev/v1alpha1\nkind: VolumeBackup\nmetadata: {{name: b-{n}, namespace: {place}}}\n\
         spec: {{claimNames: [app], jitter: 0s, schedule: '{minute} * * * *', repositoryRefs: [{{name: herd-{index}}}]}}\n"
    )
}

/// All at one moment: in several lists, one that ends and one that starts would both run.
fn all() -> Vec<Value> {
    let ours = |object: &Value| PLACES.iter().any(|place| object["metadata"]["namespace"] == **place);
    list("volumebackup", "", "").into_iter().filter(ours).collect()
}

/// The values of the objects' series of one name, as Prometheus reads them.
fn series(metric: &str) -> Vec<u64> {
    let ours = |line: &&str| PLACES.iter().any(|place| line.contains(&format!("{{namespace=\"{place}\",")));
    let page = crate::metrics::page();
    let lines = page.lines().filter(|line| line.starts_with(&format!("strongroom_volume_backup_{metric}{{")));
    lines.filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

#[test]
fn what_is_due_in_one_minute_runs_within_the_limits_to_the_last_one() {
    let _guard = beside_others();
    let count = if std::env::var_os("STRONGROOM_FULL").is_some() { 100 } else { 12 };
    let credentials = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: herd, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: canary-herd-1}}\n"
    );
    apply(&(0..LIMITS.len()).map(repository).fold(credentials, |all, one| all + &one));
    for index in 0..LIMITS.len() {
        crate::messages::accept_base(&format!("herd-{index}"));
    }
    for place in PLACES {
        namespace(place);
        apply(&app(place, "app", "ceph-block"));
        running(place, "app");
        on_node(&["sh", "-c", &format!("echo {place} > {}/file && sync", mounted_at(place, "app"))]);
    }
    // The next minute but one, so that all are declared when it comes.
    let due = Utc::now() + chrono::Duration::minutes(2);
    let minute: u32 = due.format("%M").to_string().parse().expect("a number");
    let declared: String = (0..count).map(|n| backup(n, minute)).collect();
    apply(declared.trim_start_matches("---\n"));

    let (mut most, mut most_of): (usize, BTreeMap<String, usize>) = (0, BTreeMap::new());
    let (mut queued, mut places) = (false, vec![]);
    eventually("all have run", Duration::from_mins(20), || {
        let objects = all();
        let mut of: BTreeMap<String, usize> = BTreeMap::new();
        let runs = objects.iter().filter_map(|object| object["status"]["run"]["repositories"][0]["name"].as_str());
        for name in runs {
            *of.entry(name.to_owned()).or_default() += 1;
        }
        most = most.max(of.values().sum());
        for (name, count) in of {
            let known = most_of.entry(name).or_default();
            *known = count.max(*known);
        }
        if objects.iter().any(|object| object["status"]["phase"] == "Queued") {
            queued = true;
            places.extend(series("queue_place").into_iter().filter(|place| *place > 0));
        }
        let done = objects.iter().filter(|object| object["status"]["lastResult"] == "Succeeded").count();
        (done == count && objects.iter().all(|object| object["status"]["run"].is_null())).then_some(())
    });
    println!("{count} ran, at most {most} at once; by repository {most_of:?}");
    assert!(queued, "none had to wait");
    assert!(places.contains(&1) && places.contains(&2), "the places of those that wait are told: {places:?}");
    // The page is made of what the operator's own watch has seen.
    eventually("the metrics say that none waits any more and all succeeded", SOON, || {
        (series("queue_place") == vec![0; count] && series("last_run_succeeded") == vec![1; count]).then_some(())
    });
    assert!(most <= LIMIT, "{most} ran at once");
    for (index, limit) in LIMITS.iter().enumerate() {
        let seen = most_of.get(&format!("herd-{index}")).copied().unwrap_or_default();
        assert!(seen <= *limit, "{seen} ran at once into herd-{index}");
    }
    for object in all() {
        let status = &object["status"];
        let runs = status["runs"].as_array().map_or(0, Vec::len);
        assert_eq!(runs, 1, "each runs once: {status:#}");
        let next: DateTime<Utc> = status["nextRun"].as_str().and_then(|at| at.parse().ok()).expect("the next one");
        assert!(next > due, "{next}");
    }
    for place in PLACES {
        nothing_left(place);
        kubectl(&["delete", "namespace", place, "--wait=false"]);
    }
    eventually("the series go with their objects", SOON, || series("ready").is_empty().then_some(()));
    kubectl(&["delete", "clusterresticrepository", "herd-0", "herd-1"]);
    kubectl(&["-n", SYSTEM, "delete", "secret", "herd"]);
}
