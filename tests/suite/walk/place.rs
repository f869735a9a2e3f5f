//! What the cases stand on, and what makes them wrong and right again.

use std::process::Command;

use serde_json::{Value, json};
use strongroom::core::names;

use super::{Case, case};
use crate::{
    apps::{nothing_left, running},
    messages::accept_base,
    secrets::put_item,
    support::{SOON, SYSTEM, apply, connect, eventually, get, kubectl, list, on_node, ready, try_kubectl, var},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/messages");
const NAMESPACES: [&str; 4] = ["w-items", "w-rest", "w-backups", "w-restores"];
const ITEMS: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin/vaults/Kubernetes/items";
const FAULTS: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy/admin/faults";
/// What is denied in the cluster to what belongs to an object of that name.
const REFUSED: &str = "w-refused";

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{FIXTURES}/{file}")).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn apply_file(file: &str) {
    apply(&read(file));
}

/// The cases of all files.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for file in ["stores.yaml", "external-secrets.yaml", "repositories.yaml", "backups.yaml", "restores.yaml"] {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&read(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        cases.extend(objects.iter().filter_map(case));
    }
    cases
}

fn cluster(args: &[&str]) {
    let (verb, rest) = args.split_first().expect("a verb");
    let name = var("STRONGROOM_CLUSTER_NAME");
    let status = Command::new(var("STRONGROOM_CLUSTER")).arg(verb).args(["--name", &name]).args(rest).status();
    assert!(status.expect("the cluster command runs").success(), "{args:?}");
}

/// Removes everything, also what an earlier walk left.
pub fn clear_away() {
    let mine = |items: Value, key: &'static str| {
        let items = items.as_array().cloned().unwrap_or_default();
        items.into_iter().filter(move |item| item[key].as_str().is_some_and(|name| name.starts_with("w-")))
    };
    for item in mine(connect::get("/admin/vaults/Kubernetes/items"), "title") {
        kubectl(&["delete", "--raw", &format!("{ITEMS}/{}", item["id"].as_str().expect("items have ids"))]);
    }
    for fault in mine(connect::get("/admin/faults"), "token") {
        kubectl(&["delete", "--raw", &format!("{FAULTS}/{}", fault["id"].as_str().expect("faults have ids"))]);
    }
    cluster(&["fault", "clear", "w-backups/faulty"]);
    // First what would go on working, then what it works on.
    for namespace in NAMESPACES {
        let kinds = "volumerestores,volumebackups,resticrepositories,externalsecrets.strongroom.dev";
        kubectl(&["-n", namespace, "delete", kinds, "--all", "--wait=false"]);
    }
    let everywhere = "clusterresticrepositories,clustersecretstores.strongroom.dev,\
                      validatingadmissionpolicies,validatingadmissionpolicybindings,persistentvolumes";
    kubectl(&["delete", everywhere, "-l", "strongroom.test/walk", "--wait=false"]);
    kubectl(&["-n", SYSTEM, "delete", "secrets", "-l", "strongroom.test/walk"]);
    kubectl(&["-n", "w-backups", "delete", "volumesnapshots", "--all", "--timeout=120s"]);
    for namespace in ["w-backups", "w-restores"] {
        let of_run = format!("strongroom.dev/run,strongroom.dev/owner-namespace={namespace}");
        eventually("the movers have ended", SOON, || {
            // A slow one would take two minutes to end.
            kubectl(&["-n", SYSTEM, "delete", "pods", "-l", &of_run, "--grace-period=1", "--wait=false"]);
            list("jobs,pods", SYSTEM, &of_run).is_empty().then_some(())
        });
        nothing_left(namespace);
    }
    // Where several snapshots of a claim go at once, the snapshot controller may forget to free the claim.
    let free = r#"{"metadata":{"finalizers":null}}"#;
    for claim in kubectl(&["-n", "w-backups", "get", "pvc", "-o", "name"]).lines() {
        kubectl(&["-n", "w-backups", "delete", claim, "--wait=false"]);
        let patched = try_kubectl(&["-n", "w-backups", "patch", claim, "--type=merge", "-p", free], None);
        assert!(patched.as_ref().is_err_and(|e| e.contains("NotFound")) || patched.is_ok(), "{patched:?}");
    }
    kubectl(&["delete", "namespaces", "-l", "strongroom.test/walk", "--timeout=180s"]);
}

/// Puts everything there that is not a case, with a good backup to restore from.
pub fn build() {
    connect::post("/admin/seed", &serde_json::from_str(&read("connect.json")).expect("it is JSON"));
    // More than an item may have.
    put_item("w-large", &json!({"RESTIC_PASSWORD": "canary-walk", "notes": "x".repeat(2_300_000)}));
    apply_file("place.yaml");
    running("w-rest", "rest");
    apply_file("destinations.yaml");
    for name in ["w-shared", "w-other"] {
        accept_base(name);
    }
    running("w-backups", "data");
    apply(
        "apiVersion: strongroom.dev/v1alpha1\nkind: VolumeBackup\nmetadata: {name: good, namespace: w-backups}\nspec: \
         {claimNames: [data], repositoryRefs: [{name: w-shared}], runOnCreate: true}\n",
    );
    eventually("the backup that is restored from is there", SOON, || {
        (get("volumebackup", "w-backups", "good")?["status"]["lastResult"] == "Succeeded").then_some(())
    });
    // Copies of its repository: one with damaged data, one that cannot be opened.
    let pod = list("pod", "w-rest", "app=rest")[0]["metadata"]["uid"].as_str().expect("pods have uids").to_owned();
    on_node(&[
        "sh",
        "-euc",
        &format!(
            "cd /var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~empty-dir/data\n\
             cp -a shared damaged; cp -a shared broken\n\
             for file in damaged/data/*/*; do size=$(stat -c %s $file); chmod u+w $file\n\
             [ $size -lt 1000000 ] || dd if=/dev/zero of=$file bs=1 count=100 seek=1000 conv=notrunc 2>/dev/null; done\n\
             chmod u+w broken/config; dd if=/dev/zero of=broken/config bs=1 count=20 seek=40 conv=notrunc 2>/dev/null"
        ),
    ]);
}

/// Applies those objects of a file that are wanted.
fn apply_some(file: &str, wanted: impl Fn(&str) -> bool) {
    let text = read(file);
    apply(&text.split("---\n").filter(|object| wanted(object)).collect::<Vec<_>>().join("---\n"));
}

/// What takes long, or has to begin while everything else is as it should be.
pub fn spoil_first() {
    // Before there is a queue.
    let wanted = |object: &str| object.contains("kind: VolumeBackup") && object.contains("{name: repository-changed,");
    apply_some("backups.yaml", wanted);
    eventually("a history begins", SOON, || {
        let backup = get("volumebackup", "w-backups", "repository-changed")?;
        (backup["status"]["lastResult"] == "Succeeded").then_some(())
    });
    let first = ["interrupted,", "deadline-exceeded,", "repository-unreachable,"];
    let wanted =
        |object: &str| !is_moved(object) && first.iter().any(|name| object.contains(&format!("{{name: {name}")));
    for file in ["backups.yaml", "restores.yaml"] {
        apply_some(file, wanted);
    }
}

/// A restore of what has moved, which begins when it has.
fn is_moved(object: &str) -> bool {
    object.contains("kind: VolumeRestore") && object.contains("name: repository-changed,")
}

/// Makes everything wrong.
pub fn spoil() {
    cluster(&["fault", "set", "w-backups/faulty", "-snapshot", "error: the pool is away"]);
    for file in ["stores.yaml", "external-secrets.yaml", "repositories.yaml", "backups.yaml", "restores.yaml"] {
        apply_some(file, |object| !is_moved(object));
    }
    foreign();
    // Another base, and another place for what has a history.
    ready("resticrepository", "w-items", "repository-changed", "True", "");
    let elsewhere = r#"{"spec":{"url":"rest:http://rest.w-rest.svc:8000/elsewhere"}}"#;
    kubectl(&["-n", "w-items", "patch", "resticrepository", "repository-changed", "--type=merge", "-p", elsewhere]);
    let moved = read("destinations.yaml").replace("moved/", "moved-on/");
    apply(moved.split("---\n").find(|object| object.contains("name: w-moved,")).expect("it is there"));
    apply_some("restores.yaml", is_moved);
    // Last: what it makes is seen only until it is tried again.
    interrupt();
}

/// What has the name of something that the operator is about to make.
fn foreign() {
    let cluster = get("namespace", "", "kube-system").expect("it exists")["metadata"]["uid"].clone();
    let cluster = cluster.as_str().expect("namespaces have uids");
    let run = |kind: &str, namespace: &str, unique: &str| {
        let object = get(kind, namespace, "foreign").expect("it was made");
        names::run_id(cluster, "foreign", object["metadata"]["uid"].as_str().expect("objects have uids"), unique)
    };
    let secret = |name: &str| {
        apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {SYSTEM}, labels: \
             {{strongroom.test/walk: '', strongroom.test/foreign: ''}}}}\n"
        ));
    };
    secret(&run("resticrepository", "w-items", "base"));
    secret(&names::of_run(&run("volumerestore", "w-restores", ""), "resolve", 0));
    apply(&format!(
        "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {{name: {}, namespace: w-backups}}\n\
         spec: {{source: {{persistentVolumeClaimName: data}}}}\n",
        names::of_run(&run("volumebackup", "w-backups", "create"), "snapshot", 0)
    ));
    for (kind, namespace) in
        [("resticrepository", "w-items"), ("volumerestore", "w-restores"), ("volumebackup", "w-backups")]
    {
        let patch = r#"{"spec":{"suspend":false}}"#;
        kubectl(&["-n", namespace, "patch", kind, "foreign", "--type=merge", "-p", patch]);
    }
}

/// Ends two movers in the middle of their work.
fn interrupt() {
    let working = |namespace: &str, word: &str| {
        let selector = format!("strongroom.dev/owner-name=interrupted,strongroom.dev/owner-namespace={namespace}");
        eventually(&format!("the mover of {namespace}/interrupted works"), SOON, || {
            let pods = list("pod", SYSTEM, &selector);
            let pod = pods.iter().find(|pod| pod["metadata"]["name"].to_string().contains(word))?;
            (pod["status"]["phase"] == "Running").then(|| pod["metadata"]["name"].as_str().map(str::to_owned))?
        })
    };
    let pod = working("w-backups", "-mover");
    kubectl(&["-n", SYSTEM, "delete", "pod", &pod, "--wait=false"]);
    let pod = working("w-restores", "-restore");
    kubectl(&["-n", SYSTEM, "delete", "pod", &pod, "--wait=false"]);
}

/// Puts right what the cases lack.
pub fn put_right(cases: &[Case]) {
    apply_file("cleared.yaml");
    put_item("w-later", &json!({"KEY": "canary-later", "RESTIC_PASSWORD": "canary-walk"}));
    let items = connect::get("/admin/vaults/Kubernetes/items");
    let mut twins = items.as_array().expect("a list").iter().filter(|item| item["title"] == "w-twice");
    let id = twins.next_back().expect("there are two")["id"].as_str().expect("items have ids");
    kubectl(&["delete", "--raw", &format!("{ITEMS}/{id}")]);
    let faults = connect::get("/admin/faults");
    for fault in faults.as_array().expect("a list") {
        if fault["token"].as_str().is_some_and(|token| token.starts_with("w-")) {
            kubectl(&["delete", "--raw", &format!("{FAULTS}/{}", fault["id"].as_str().expect("faults have ids"))]);
        }
    }
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        kubectl(&["delete", kind, REFUSED]);
    }
    kubectl(&["-n", SYSTEM, "delete", "secrets", "-l", "strongroom.test/walk,strongroom.test/foreign"]);
    for case in cases {
        if let Some(patch) = &case.patch {
            let namespace = if case.namespace.is_empty() { "default" } else { &case.namespace };
            let kind = format!("{}.strongroom.dev", case.kind.to_lowercase());
            try_kubectl(&["-n", namespace, "patch", &kind, &case.name, "--type=merge", "-p", patch], None)
                .unwrap_or_else(|error| panic!("{case:?}: {error}"));
        }
    }
}
