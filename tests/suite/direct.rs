//! A claim whose volume has no snapshots is read where it is, beside its app.

use serde_json::{Value, json};

use crate::{
    apps::{app, backup, nothing_left, request_run, run_now, running},
    rest,
    support::{
        SOON, SYSTEM, apply, beside_others, condition, eventually, get, kubectl, list, namespace, on_node, ready,
    },
};

const PLACE: &str = "d-direct";

/// An app on a directory of the node, and a repository of its namespace that takes little at once.
fn place() {
    namespace(PLACE);
    apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {PLACE}}}\nspec: {{storageClassName: {PLACE}, \
         accessModes: [ReadWriteOnce], capacity: {{storage: 512Mi}}, hostPath: {{path: /run/{PLACE}, type: \
         DirectoryOrCreate}}, claimRef: {{namespace: {PLACE}, name: app}}}}\n"
    ));
    apply(&app(PLACE, "app", PLACE));
    apply(&rest::server(PLACE, false));
    running(PLACE, "app");
    running(PLACE, "rest");
    on_node(&["sh", "-c", &format!("head -c 6M /dev/urandom > /run/{PLACE}/file && chown 1000 /run/{PLACE}/file")]);
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: restic, namespace: {PLACE}}}\nstringData: {{RESTIC_PASSWORD: \
         canary-direct}}\n---\napiVersion: strongroom.dev/v1alpha1\nkind: ResticRepository\nmetadata: {{name: near, \
         namespace: {PLACE}}}\nspec: {{url: 'rest:http://rest.{PLACE}.svc:8000/app', limits: {{upload: 512Ki}}, \
         credentials: {{secretRef: {{name: restic}}}}}}\n"
    ));
    let message = ready("resticrepository", PLACE, "near", "False", "BaseMissing");
    let id = message.rsplit_once("accept=").expect("it names the id").1.trim_end_matches('`').to_owned();
    kubectl(&["-n", PLACE, "annotate", "resticrepository", "near", &format!("strongroom.dev/accept={id}")]);
    ready("resticrepository", PLACE, "near", "True", "");
}

fn declare(repositories: &str) {
    let more = format!("spec: {{method: Direct, repositoryRefs: {repositories}, ");
    apply(&backup(PLACE, "app").replace("spec: {", &more));
}

/// The pod of the mover, as soon as it runs.
fn mover() -> Value {
    eventually("the mover runs beside the app", SOON, || {
        let pods = list("pod", PLACE, "strongroom.dev/run");
        pods.into_iter().find(|pod| pod["status"]["phase"] == "Running")
    })
}

#[test]
fn a_claim_without_snapshots_is_read_beside_its_app() {
    let _guard = beside_others();
    place();
    // The credentials of the cluster's repository do not come to an app.
    declare("[{kind: ClusterResticRepository, name: nas}]");
    let message = ready("volumebackup", PLACE, "app", "False", "NotSupported");
    assert!(message.contains("make a ResticRepository there"), "{message}");

    declare("[{kind: ResticRepository, name: near}]");
    ready("volumebackup", PLACE, "app", "True", "");
    request_run(PLACE, "app");
    let pod = mover();
    let node = &list("pod", PLACE, "app=app")[0]["spec"]["nodeName"];
    assert_eq!(&pod["spec"]["nodeName"], node, "on the node of the app");
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["runAsUser"], 1000, "as the app's user");
    let here =
        list("job", SYSTEM, &format!("strongroom.dev/owner-namespace={PLACE},strongroom.dev/owner-kind=VolumeBackup"));
    assert!(here.is_empty(), "nothing runs in the operator's namespace: {here:#?}");
    eventually("it says how far it is", SOON, || {
        get("volumebackup", PLACE, "app")?["status"]["run"]["progress"]["percent"].as_i64()
    });
    let status = eventually("the run has ended", SOON, || {
        let status = get("volumebackup", PLACE, "app")?["status"].clone();
        (status["phase"] == "Idle" && !status["runs"].is_null()).then_some(status)
    });
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    assert_eq!(status["runs"][0]["files"], 1, "{status:#}");
    let reason = status["claims"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("not crash-consistent"), "{reason}");
    nothing_left(PLACE);

    // What is deleted in the middle of a run leaves nothing in the app's namespace either.
    on_node(&["sh", "-c", &format!("head -c 6M /dev/urandom > /run/{PLACE}/file")]);
    request_run(PLACE, "app");
    mover();
    kubectl(&["-n", PLACE, "delete", "volumebackup", "app"]);
    nothing_left(PLACE);

    // One that is made anew goes on.
    declare("[{kind: ResticRepository, name: near}]");
    let status = run_now(PLACE, "app");
    assert_eq!(
        condition(&json!({ "status": status["repositories"][0] }), "LastRunSucceeded").expect("it ran").0,
        "True"
    );
    kubectl(&["delete", "namespace", PLACE, "--timeout=120s"]);
    kubectl(&["delete", "pv", PLACE]);
    nothing_left(PLACE);
}
