//! Volumes are backed up.

use std::time::Duration;

use serde_json::Value;

use crate::{
    audit,
    support::{SOON, SYSTEM, alone, apply, beside_others, eventually, get, kubectl, list, namespace, on_node},
};

/// A claim and a pod that holds it, in a namespace of restricted Pod Security.
pub fn app(namespace: &str, name: &str, class: &str) -> String {
    let modes = if class == "ceph-filesystem" { "ReadWriteMany" } else { "ReadWriteOnce" };
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: \
         {{storageClassName: {class}, accessModes: [{modes}], resources: {{requests: {{storage: 512Mi}}}}}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         replicas: 1\n  strategy: {{type: Recreate}}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec:\n      automountServiceAccountToken: false\n      \
         terminationGracePeriodSeconds: 1\n      securityContext: {{runAsNonRoot: true, runAsUser: 1000, \
         seccompProfile: {{type: RuntimeDefault}}}}\n      containers:\n        - name: app\n          \
         image: localhost/strongroom-test:dev\n          imagePullPolicy: Never\n          \
         command: [/bin/sh, -c, \"trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done\"]\n          \
         volumeMounts: [{{name: data, mountPath: /data}}]\n          securityContext: \
         {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}\n      \
         volumes: [{{name: data, persistentVolumeClaim: {{claimName: {name}}}}}]\n"
    )
}

/// A VolumeBackup that runs by hand only.
pub fn backup(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: strongroom.dev/v1alpha1\nkind: VolumeBackup\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{schedule: '0 0 1 1 *'}}\n"
    )
}

/// Waits until a Deployment's pod runs.
pub fn running(namespace: &str, name: &str) {
    eventually(&format!("deployment {namespace}/{name} runs"), SOON, || {
        (get("deployment", namespace, name)?["status"]["readyReplicas"] == 1).then_some(())
    });
}

/// Where a claim's volume is mounted on the node, for the pod that uses it.
pub fn mounted_at(namespace: &str, app: &str) -> String {
    let pod = &list("pod", namespace, &format!("app={app}"))[0];
    let claim =
        pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"].as_str().expect("it has a claim").to_owned();
    let claim = get("pvc", namespace, &claim).expect("the claim exists");
    let volume = claim["spec"]["volumeName"].as_str().expect("the claim is bound").to_owned();
    let uid = pod["metadata"]["uid"].as_str().expect("pods have uids").to_owned();
    format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount")
}

/// Asks for a run now; what [`has_run`] knows it by.
pub fn request_run(namespace: &str, name: &str) -> String {
    let token = format!("{}", std::time::UNIX_EPOCH.elapsed().expect("the clock is right").as_nanos());
    let [requested, forced] = ["requestedAt", "forceAt"].map(|word| format!("reconcile.fluxcd.io/{word}={token}"));
    kubectl(&["-n", namespace, "annotate", "volumebackup", name, "--overwrite", &requested, &forced]);
    token
}

/// The status after a run that was asked for; none while it goes on.
pub fn has_run(namespace: &str, name: &str, token: &str) -> Option<Value> {
    let status = get("volumebackup", namespace, name)?["status"].clone();
    let ended = status["phase"] == "Idle" && status["run"].is_null();
    (ended && status["lastHandledForceAt"] == token).then_some(status)
}

/// Runs a backup now and waits for its end; the status.
pub fn run_now(namespace: &str, name: &str) -> Value {
    let token = request_run(namespace, name);
    eventually(&format!("the backup {namespace}/{name} has run"), Duration::from_mins(3), || {
        has_run(namespace, name, &token)
    })
}

/// Waits until nothing temporary of an object is left, in whichever namespace.
pub fn nothing_left(namespace: &str) {
    eventually(&format!("nothing temporary of {namespace} is left"), SOON, || {
        let selector = format!("strongroom.dev/owner-namespace={namespace},strongroom.dev/run");
        let kinds = "jobs,pods,secrets,pvc,volumesnapshots,volumesnapshotcontents";
        let left = list(kinds, "", &selector);
        left.is_empty().then_some(())
    });
}

#[test]
fn a_volume_is_backed_up_and_nothing_is_left() {
    for (driver, class) in [("rbd", "ceph-block"), ("cephfs", "ceph-filesystem")] {
        let _guard = beside_others();
        let ns = format!("b-{driver}");
        namespace(&ns);
        apply(&app(&ns, "app", class));
        running(&ns, "app");
        on_node(&["sh", "-c", &format!("echo hello > {}/file && sync", mounted_at(&ns, "app"))]);
        apply(&backup(&ns, "app"));
        eventually("the declaration is ready", SOON, || {
            (get("volumebackup", &ns, "app")?["status"]["phase"] == "Idle").then_some(())
        });
        let first = run_now(&ns, "app");
        assert_eq!(first["lastResult"], "Succeeded", "{driver}: {first:#}");
        assert_eq!(first["runs"][0]["files"], 1, "{driver}: {first:#}");
        let id = first["runs"][0]["snapshot"].as_str().expect("a snapshot is named");
        assert_eq!(id.len(), 64);
        nothing_left(&ns);

        // Nothing changed: a good run that rests on the same snapshot.
        let second = run_now(&ns, "app");
        assert_eq!(second["lastResult"], "Succeeded", "{driver}: {second:#}");
        assert_eq!(second["runs"][0]["snapshot"], id, "{driver}: unchanged data adds no snapshot");
        nothing_left(&ns);
    }
}

#[test]
fn a_run_costs_few_writes() {
    let _guard = alone();
    namespace("b-cost");
    apply(&app("b-cost", "app", "ceph-block"));
    running("b-cost", "app");
    apply(&backup("b-cost", "app"));
    eventually("the declaration is ready", SOON, || {
        (get("volumebackup", "b-cost", "app")?["status"]["phase"] == "Idle").then_some(())
    });
    on_node(&["sh", "-c", &format!("echo some > {}/file && sync", mounted_at("b-cost", "app"))]);
    run_now("b-cost", "app");
    on_node(&["sh", "-c", &format!("echo more > {}/file && sync", mounted_at("b-cost", "app"))]);
    let mark = audit::mark();
    let status = run_now("b-cost", "app");
    assert_eq!(status["lastResult"], "Succeeded");
    nothing_left("b-cost");
    // What belongs to this run: other objects of the cluster have lives of their own.
    let run = status["runs"][0]["id"].as_str().expect("the run has an id").to_owned();
    let mut requests = audit::of_operator(&mark);
    requests.retain(|request| request.namespace == "b-cost" || request.name.starts_with(&run));
    let writes = audit::writes(&requests);
    println!("writes for one run: {writes:#?}");
    let count = |verb: &str| writes.iter().filter(|((v, _), _)| v == verb).map(|(_, n)| n).sum::<usize>();
    assert!(count("create") <= 6, "objects created");
    assert!(count("delete") <= 6, "one delete for each");
    let status = count("update") + count("patch");
    assert!(status <= 4, "status updates: {status}");
}

#[test]
fn a_declaration_that_is_deleted_in_mid_run_leaves_nothing() {
    let _guard = beside_others();
    namespace("b-deleted");
    apply(&app("b-deleted", "app", "ceph-block"));
    running("b-deleted", "app");
    on_node(&["sh", "-c", &format!("head -c 200M /dev/urandom > {}/big && sync", mounted_at("b-deleted", "app"))]);
    apply(&backup("b-deleted", "app"));
    kubectl(&[
        "-n",
        "b-deleted",
        "annotate",
        "volumebackup",
        "app",
        "reconcile.fluxcd.io/requestedAt=1",
        "reconcile.fluxcd.io/forceAt=1",
    ]);
    eventually("the mover's Job exists", SOON, || {
        list("job", SYSTEM, "strongroom.dev/owner-namespace=b-deleted").first().cloned()
    });
    kubectl(&["-n", "b-deleted", "delete", "volumebackup", "app"]);
    nothing_left("b-deleted");
}
