//! Apps with a volume, which are backed up and restored.

use std::time::Duration;

use serde_json::Value;

use crate::support::{SOON, eventually, get, kubectl, list, on_node};

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

/// Writes a text into `file` of the app's volume.
pub fn write(namespace: &str, app: &str, text: &str) {
    on_node(&["sh", "-c", &format!("echo {text} > {}/file && sync", mounted_at(namespace, app))]);
}

/// Asks for a run now; what [`has_run`] knows it by.
pub fn request_run(namespace: &str, name: &str) -> String {
    request("volumebackup", namespace, name)
}

/// Asks an object to do now what it does at its times; what its status then says that it has handled.
pub fn request(kind: &str, namespace: &str, name: &str) -> String {
    let token = format!("{}", std::time::UNIX_EPOCH.elapsed().expect("the clock is right").as_nanos());
    let [requested, forced] = ["requestedAt", "forceAt"].map(|word| format!("reconcile.fluxcd.io/{word}={token}"));
    kubectl(&["-n", namespace, "annotate", kind, name, "--overwrite", &requested, &forced]);
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
        let kinds = "jobs,pods,secrets,pvc,volumesnapshots,volumesnapshotcontents,volumegroupsnapshots";
        let left = list(kinds, "", &selector);
        left.is_empty().then_some(())
    });
}

/// A VolumeRestore from a VolumeBackup.
pub fn restore_of(namespace: &str, backup: &str) -> String {
    format!(
        "apiVersion: strongroom.dev/v1alpha1\nkind: VolumeRestore\nmetadata: {{generateName: {backup}-, namespace: \
         {namespace}}}\nspec: {{from: {{backup: {backup}}}}}\n"
    )
}

/// Waits until a restore has ended; the object.
pub fn ended(namespace: &str, name: &str) -> Value {
    eventually(&format!("the restore {namespace}/{name} has ended"), Duration::from_mins(5), || {
        let object = get("volumerestore", namespace, name)?;
        let phase = object["status"]["phase"].as_str()?.to_owned();
        ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(object)
    })
}
