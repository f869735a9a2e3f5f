//! One object brings an app back.

use crate::{
    apps::{app, backup, ended, mounted_at, nothing_left, restore_of, run_now, running, write},
    support::{SOON, apply, beside_others, condition, create, eventually, get, kubectl, list, namespace, on_node, var},
};

fn round_trip(ns: &str, class: &str) {
    namespace(ns);
    apply(&format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: tight, namespace: {ns}}}\nspec: {{hard: {{pods: '1', \
         persistentvolumeclaims: '1', count/jobs.batch: '0', count/secrets: '0'}}}}\n"
    ));
    apply(&app(ns, "app", class));
    running(ns, "app");
    // A copy with all that belongs to the files, outside of the volume, to compare with afterwards.
    let copy = format!("/run/tree-{ns}");
    let tree = || format!("{}/tree", mounted_at(ns, "app"));
    on_node(&[&var("STRONGROOM_TREE"), "create", &tree()]);
    on_node(&["sh", "-c", &format!("rm -rf {copy} && cp -a --sparse=always {} {copy} && sync", tree())]);
    on_node(&[&var("STRONGROOM_TREE"), "compare", &copy, &tree()]);
    apply(&backup(ns, "app"));
    eventually("the declaration is ready", SOON, || {
        (get("volumebackup", ns, "app")?["status"]["phase"] == "Idle").then_some(())
    });
    let run = run_now(ns, "app");
    assert_eq!(run["lastResult"], "Succeeded", "{run:#}");
    assert!(run["runs"][0]["files"].as_i64().unwrap_or(0) > 10_000, "the tree has many files: {run:#}");

    let labels = get("pvc", ns, "app").expect("the claim exists")["metadata"]["labels"].clone();
    on_node(&[
        "sh",
        "-c",
        &format!("rm -rf {0}/* && mkdir {0}/tree && echo garbage > {0}/tree/garbage", mounted_at(ns, "app")),
    ]);
    let name = create(&restore_of(ns, "app"));
    let restore = ended(ns, &name);
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
    running(ns, "app");
    on_node(&[&var("STRONGROOM_TREE"), "compare", &copy, &tree()]);
    on_node(&["rm", "-rf", &copy]);
    let claim = get("pvc", ns, "app").expect("the claim exists");
    assert_eq!(claim["metadata"]["labels"], labels);
    let volume = get("pv", "", claim["spec"]["volumeName"].as_str().expect("it is bound")).expect("its volume exists");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete", "the volume in use has its policy back");
    let kept = restore["status"]["volumes"][0]["previousVolume"].as_str().expect("the old volume is named").to_owned();
    let kept = get("pv", "", &kept).expect("the old volume is kept");
    assert_eq!(kept["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(get("deployment", ns, "app").expect("it exists")["spec"]["replicas"], 1);
    nothing_left(ns);
}

#[test]
fn a_tree_with_everything_in_it_comes_back_equal_on_rbd() {
    let _guard = beside_others();
    round_trip("r-rbd", "ceph-block");
}

#[test]
fn a_tree_with_everything_in_it_comes_back_equal_on_cephfs() {
    let _guard = beside_others();
    round_trip("r-cephfs", "ceph-filesystem");
}

#[test]
fn a_statefulset_comes_back() {
    let _guard = beside_others();
    let ns = "r-sts";
    namespace(ns);
    let text = app(ns, "app", "ceph-block");
    let claim = text.split("---\n").next().expect("the claim comes first").replace("name: app,", "name: data-app-0,");
    apply(&claim);
    apply(&format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: app, namespace: {ns}}}\nspec:\n  replicas: 1\n  \
         serviceName: app\n  selector: {{matchLabels: {{app: app}}}}\n  volumeClaimTemplates:\n    \
         - metadata: {{name: data}}\n      spec: {{storageClassName: ceph-block, accessModes: [ReadWriteOnce], \
         resources: {{requests: {{storage: 512Mi}}}}}}\n  template:\n    metadata: {{labels: {{app: app}}}}\n    \
         spec:\n      terminationGracePeriodSeconds: 1\n      securityContext: {{runAsNonRoot: true, runAsUser: 1000, \
         seccompProfile: {{type: RuntimeDefault}}}}\n      containers:\n        - name: app\n          \
         image: localhost/strongroom-test:dev\n          imagePullPolicy: Never\n          \
         command: [/bin/sh, -c, \"trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done\"]\n          \
         volumeMounts: [{{name: data, mountPath: /data}}]\n          securityContext: \
         {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}\n"
    ));
    let ready = || {
        eventually("the stateful set runs", SOON, || {
            (get("statefulset", ns, "app")?["status"]["readyReplicas"] == 1).then_some(())
        });
    };
    ready();
    write(ns, "app", "precious");
    apply(&backup(ns, "app").replace("spec: {", "spec: {claimNames: [data-app-0], "));
    assert_eq!(run_now(ns, "app")["lastResult"], "Succeeded");
    on_node(&["sh", "-c", &format!("rm {}/file", mounted_at(ns, "app"))]);
    let name = create(&restore_of(ns, "app"));
    let restore = ended(ns, &name);
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
    ready();
    assert_eq!(on_node(&["cat", &format!("{}/file", mounted_at(ns, "app"))]).trim(), "precious");
    nothing_left(ns);
}

#[test]
fn nothing_found_is_a_failure_and_the_app_never_noticed() {
    let _guard = beside_others();
    let ns = "r-none";
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    write(ns, "app", "hello");
    apply(&backup(ns, "app"));
    assert_eq!(run_now(ns, "app")["lastResult"], "Succeeded");
    let pod = list("pod", ns, "app=app")[0]["metadata"]["uid"].clone();
    let name = create(&restore_of(ns, "app").replace("spec: {", "spec: {asOf: '2020-01-01T00:00:00Z', "));
    let restore = ended(ns, &name);
    assert_eq!(restore["status"]["phase"], "Failed");
    let (status, reason, message) = condition(&restore, "Stalled").expect("it is stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "SnapshotNotFound"), "{message}");
    assert_eq!(list("pod", ns, "app=app")[0]["metadata"]["uid"], pod, "the pod was not touched");
    nothing_left(ns);

    let name = create(&restore_of(ns, "absent"));
    let restore = ended(ns, &name);
    assert_eq!(condition(&restore, "Stalled").expect("it is stalled").1, "BackupNotFound");
}

#[test]
fn a_cluster_that_has_forgotten_takes_no_snapshot_that_was_not_good() {
    let _guard = beside_others();
    let ns = "r-forgot";
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    let sh = |script: &str| on_node(&["sh", "-c", &format!("cd {} && {script} && sync", mounted_at(ns, "app"))]);
    sh("for file in 1 2 3 4; do echo precious > $file; done");
    apply(&backup(ns, "app"));
    assert_eq!(run_now(ns, "app")["lastResult"], "Succeeded");
    sh("rm 1 2 3 && echo spoilt > 4");
    assert_eq!(run_now(ns, "app")["lastResult"], "Suspect");

    // All that is known of it here goes. What is there is told, and stays.
    kubectl(&["-n", ns, "delete", "volumebackup", "app", "--timeout=60s"]);
    eventually("the repository is an orphan", SOON, || {
        let repositories = get("clusterresticrepository", "", "nas")?["status"]["repositories"].clone();
        let mut all = repositories.as_object()?.iter();
        all.any(|(url, one)| url.ends_with("/r-forgot/app") && one["orphaned"] == true).then_some(())
    });
    apply(&backup(ns, "app"));
    let restore = ended(ns, &create(&restore_of(ns, "app")));
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
    running(ns, "app");
    assert_eq!(sh("cat 1 2 3 4"), "precious\n".repeat(4));
    nothing_left(ns);
}

#[test]
fn a_restore_from_git_is_not_run() {
    let _guard = beside_others();
    let ns = "r-git";
    namespace(ns);
    let text =
        restore_of(ns, "app").replace("metadata: {", "metadata: {labels: {kustomize.toolkit.fluxcd.io/name: apps}, ");
    let name = create(&text);
    crate::support::ready("volumerestore", ns, &name, "False", "ManagedByGitOps");
    kubectl(&["-n", ns, "delete", "volumerestore", &name, "--timeout=30s"]);
}
