//! What happens by itself: runs at their times, the retention that maintenance applies, and checks.

use std::time::Duration;

use serde_json::Value;

use crate::{
    apps::{app, mounted_at, nothing_left, running},
    messages::accept_base,
    support::{SOON, SYSTEM, apply, beside_others, eventually, get, kubectl, list, namespace, on_node},
};

/// A minute for each of a few runs, and time to wait for a place in the queue.
const LIMIT: Duration = Duration::from_mins(6);

fn status(kind: &str, ns: &str, name: &str) -> Value {
    get(kind, ns, name).expect("it is there")["status"].clone()
}

/// The ids of the snapshots that good runs made, newest first.
fn made(ns: &str) -> Vec<String> {
    let runs = status("volumebackup", ns, "app")["runs"].as_array().cloned().unwrap_or_default();
    let good = runs.into_iter().filter(|run| run["result"] == "Succeeded");
    let mut ids: Vec<String> = good.filter_map(|run| run["snapshot"].as_str().map(str::to_owned)).collect();
    ids.dedup();
    ids
}

#[test]
fn runs_come_at_their_times_and_maintenance_keeps_what_is_to_be_kept() {
    let _guard = beside_others();
    let ns = "b-scheduled";
    namespace(ns);
    kubectl(&["delete", "clusterresticrepository", "scheduled", "--ignore-not-found"]);
    kubectl(&["-n", SYSTEM, "delete", "secret", "scheduled", "--ignore-not-found"]);
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: scheduled, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: canary-scheduled-1}}\n---\napiVersion: strongroom.dev/v1alpha1\nkind: ClusterResticRepository\n\
         metadata: {{name: scheduled}}\nspec:\n  url: '/repository/scheduled/{{{{ namespace }}}}/{{{{ name }}}}'\n  \
         volume: {{claimName: backups}}\n  credentials: {{secretRef: {{name: scheduled}}}}\n  \
         schedule: '* * * * *'\n  jitter: 0s\n  retention: {{last: 1}}\n  maintenance: {{schedule: '0 0 1 1 *'}}\n"
    ));
    accept_base("scheduled");
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    let change = |text: &str| on_node(&["sh", "-c", &format!("echo {text} > {}/file && sync", mounted_at(ns, "app"))]);
    change("first");
    apply(&format!(
        "apiVersion: strongroom.dev/v1alpha1\nkind: VolumeBackup\nmetadata: {{name: app, namespace: {ns}}}\n\
         spec: {{repositoryRefs: [{{name: scheduled}}]}}\n"
    ));
    let next = eventually("the next run is told", SOON, || {
        status("volumebackup", ns, "app")["nextRun"].as_str().map(str::to_owned)
    });
    // Each run after a change, so that each makes a snapshot.
    for n in 1..=2 {
        eventually(&format!("{n} snapshots were made, the first due at {next}"), LIMIT, || {
            (made(ns).len() >= n).then_some(())
        });
        change(&format!("after run {n}"));
    }
    let times: Vec<Value> = status("volumebackup", ns, "app")["runs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|run| run["time"].clone())
        .collect();
    println!("due at {next}; runs at {times:?}");
    assert!(times.iter().all(|time| time.as_str() >= Some(next.as_str())), "a run before its time");

    // Nothing more is made; then maintenance, by the schedule that it has from now on.
    kubectl(&["-n", ns, "patch", "volumebackup", "app", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    eventually("no run goes on", LIMIT, || {
        let status = status("volumebackup", ns, "app");
        (status["phase"] == "Suspended" && status["run"].is_null()).then_some(())
    });
    let before = made(ns);
    kubectl(&[
        "patch",
        "clusterresticrepository",
        "scheduled",
        "--type=merge",
        "-p",
        r#"{"spec":{"maintenance":{"schedule":"* * * * *"}}}"#,
    ]);
    let kept = eventually("maintenance has kept the newest alone", LIMIT, || {
        let status = status("clusterresticrepository", "", "scheduled");
        let kept = status["repositories"].as_object()?.values().any(|place| place["snapshots"] == 1);
        kept.then(|| status["lastMaintenance"].clone())
    });
    println!("{} snapshots before; {kept}", before.len());
    assert_eq!(kept["succeeded"], true, "{kept}");
    let page = crate::metrics::page();
    let says = |metric: &str| {
        let series = format!(
            "strongroom_repository_{metric}{{kind=\"ClusterResticRepository\",namespace=\"\",name=\"scheduled\""
        );
        page.lines()
            .filter(|line| line.starts_with(&series))
            .filter_map(|line| line.rsplit(' ').next())
            .collect::<Vec<_>>()
    };
    assert_eq!((says("snapshots"), says("last_maintenance_succeeded")), (vec!["1"], vec!["1"]));
    // A check, by its schedule: the first of two parts of the data.
    let check =
        r#"{"spec":{"maintenance":{"schedule":"0 0 1 1 *","check":{"schedule":"* * * * *","readData":"50%"}}}}"#;
    kubectl(&["patch", "clusterresticrepository", "scheduled", "--type=merge", "-p", check]);
    let checked = eventually("the repository is checked", LIMIT, || {
        let last = status("clusterresticrepository", "", "scheduled")["lastCheck"].clone();
        last.is_object().then_some(last)
    });
    assert_eq!(checked["succeeded"], true, "{checked}");
    let message = checked["message"].as_str().unwrap_or_default();
    assert!(message.ends_with(": no errors, part 1 of 2 of the data read"), "{message}");
    let never = r#"{"spec":{"maintenance":{"check":null}}}"#;
    kubectl(&["patch", "clusterresticrepository", "scheduled", "--type=merge", "-p", never]);
    nothing_left(ns);
    eventually("the maintenance leaves nothing", SOON, || {
        list("jobs,pods", SYSTEM, "strongroom.dev/owner-name=scheduled").is_empty().then_some(())
    });
    kubectl(&["delete", "namespace", ns, "--timeout=120s"]);
    kubectl(&["delete", "clusterresticrepository", "scheduled"]);
}
