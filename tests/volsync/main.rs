//! The real VolSync writes, we go on with its history, and it could go on with ours.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "these are tests")]

#[path = "../suite/apps.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod apps;
#[path = "../suite/audit.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod audit;
mod bench;
#[path = "../suite/machine.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod machine;
mod movers;
#[path = "../suite/peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod peer;
#[path = "../suite/support.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod support;
mod volsync;
mod watch;

use std::time::Duration;

use serde_json::Value;

use apps::{ended, mounted_at, nothing_left, request, restore_of, run_now, running};
use support::{SOON, alone, apply, condition, create, eventually, get, kubectl, on_node, ready, try_kubectl, var};
use volsync::Volsync;

/// A namespace with an app in it, whose volume has everything that a volume may have; a copy of it lies on the node.
struct Place(&'static str);

impl Place {
    /// A new one, with a ReplicationSource that has backed it up once.
    fn new(namespace: &'static str) -> (Self, Volsync) {
        if get("namespace", "", namespace).is_some() {
            kubectl(&["delete", "namespace", namespace, "--wait=true", "--timeout=120s"]);
        }
        volsync::define();
        let mut volsync = Volsync::start();
        let (app, source) =
            include_str!("place.yaml").split_once("# As it stands").expect("the ReplicationSource is last");
        apply(&app.replace("NAMESPACE", namespace));
        let place = Self(namespace);
        for name in ["app", "rest"] {
            running(namespace, name);
        }
        on_node(&[&var("STRONGROOM_TREE"), "create", &place.tree()]);
        // VolSync leaves out whatever has that name, wherever it is.
        on_node(&["find", &place.tree(), "-name", "lost+found", "-delete"]);
        on_node(&[
            "sh",
            "-c",
            &format!("rm -rf {0} && cp -a --sparse=always {1} {0} && sync", place.copy(), place.tree()),
        ]);
        apply(&format!("# As it stands{}", source.replace("NAMESPACE", namespace)));
        volsync.backs_up(namespace, "one");
        (place, volsync)
    }

    fn tree(&self) -> String {
        format!("{}/tree", mounted_at(self.0, "app"))
    }

    fn copy(&self) -> String {
        format!("/run/tree-{}", self.0)
    }

    fn sh(&self, script: &str) {
        on_node(&["sh", "-c", &format!("cd {} && {script} && sync", mounted_at(self.0, "app"))]);
    }

    /// restic's own word on the repository.
    fn snapshots(&self) -> Vec<Value> {
        let url = format!("RESTIC_REPOSITORY=rest:http://rest.{}.svc.cluster.local:8000/app", self.0);
        let restic = var("STRONGROOM_RESTIC");
        let command = ["env", &url, "RESTIC_PASSWORD=canary-volsync", &restic, "--no-cache", "--no-lock"];
        let text = on_node(&[&command[..], &["snapshots", "--json"]].concat());
        serde_json::from_str(&text).expect("restic prints JSON")
    }

    /// Writes what goes on with VolSync's history, and waits until both are ready.
    fn goes_on(&self) {
        apply(&include_str!("ours.yaml").replace("NAMESPACE", self.0));
        // Nothing is created, so nothing is to be accepted.
        ready("resticrepository", self.0, "app-volsync", "True", "Ready");
        eventually("the VolumeBackup is idle", SOON, || {
            (get("volumebackup", self.0, "app")?["status"]["phase"] == "Idle").then_some(())
        });
    }

    /// Has us back it up; the status.
    fn run(&self) -> Value {
        let status = run_now(self.0, "app");
        assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
        status
    }

    /// Has retention applied; what came of it.
    fn maintain(&self) -> Value {
        let before = self.maintained();
        request("resticrepository", self.0, "app-volsync");
        eventually("retention was applied", Duration::from_mins(3), || {
            let now = self.maintained();
            (now != before && now.is_object()).then_some(now)
        })
    }

    fn maintained(&self) -> Value {
        get("resticrepository", self.0, "app-volsync").expect("it exists")["status"]["lastMaintenance"].clone()
    }

    /// What is said of another writer.
    fn other_writer(&self) -> Option<String> {
        let status = get("volumebackup", self.0, "app")?["status"].clone();
        let of_repository = serde_json::json!({"status": status["repositories"][0]});
        condition(&of_repository, "OtherWriter").map(|(_, _, message)| message)
    }

    fn end(self) {
        nothing_left(self.0);
        on_node(&["rm", "-rf", &self.copy()]);
        kubectl(&["delete", "namespace", self.0, "--wait=true", "--timeout=180s"]);
    }
}

/// What restic tells in a list and later tells in the same way: nothing was rewritten or removed.
fn still_there(before: &[Value], after: &[Value]) {
    assert_eq!(before, &after[..before.len()], "what was there has changed");
}

/// The names of all fields of a definition's part that are of VolSync's own making.
fn fields(schema: &Value, inside: &[&str]) -> Vec<String> {
    let mut names = vec![];
    for (name, of) in schema["properties"].as_object().expect("it has fields") {
        names.push(name.clone());
        if inside.contains(&name.as_str()) {
            names.extend(fields(of, inside));
        }
    }
    names
}

#[test]
fn the_page_says_what_becomes_of_every_field() {
    let _guard = alone();
    volsync::define();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/volsync.md")).expect("the page");
    let definition = get("crd", "", "replicationsources.volsync.backube").expect("it is defined");
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let names = fields(spec, &["trigger", "restic", "retain", "customCA"]);
    assert!(names.len() > 30, "{names:?}");
    let (_, table) = page.split_once("## Every field").expect("there is a table");
    let words: Vec<&str> = table.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !words.contains(&name.as_str())).collect();
    assert_eq!(missing, [""; 0], "docs/volsync.md does not say what becomes of them");
    // And the one that the page shows is one.
    let (_, source) = page.split_once("```yaml\n").expect("it begins with one");
    let (source, _) = source.split_once("```").expect("it ends");
    let source = source.replace("namespace: media", "namespace: default");
    let dry = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    try_kubectl(&dry, Some(&source)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn its_history_goes_on_here_and_there() {
    let _guard = alone();
    let (place, mut volsync) = Place::new("volsync-on");
    let theirs = place.snapshots();
    assert_eq!(theirs.len(), 1);

    // Ours rests on it, adds no data, and stands in the same group.
    place.goes_on();
    let status = place.run();
    let both = place.snapshots();
    still_there(&theirs, &both);
    assert_eq!(both.len(), 2);
    assert_eq!(both[1]["parent"], theirs[0]["id"]);
    assert_eq!(both[1]["id"], status["runs"][0]["snapshot"]);
    assert_eq!(both[1]["summary"]["data_blobs"], 0, "{:#}", both[1]);
    assert_eq!(both[1]["summary"]["total_files_processed"], both[0]["summary"]["total_files_processed"]);
    assert_eq!((&both[1]["hostname"], &both[1]["paths"]), (&both[0]["hostname"], &both[0]["paths"]));
    assert_eq!(place.other_writer(), None);

    // VolSync goes on with ours. That it does is told, and nothing is forgotten meanwhile.
    place.sh("echo more > more");
    volsync.backs_up(place.0, "two");
    let three = place.snapshots();
    still_there(&both, &three);
    assert_eq!((three.len(), &three[2]["parent"]), (3, &both[1]["id"]));
    assert_eq!(three[2]["summary"]["data_blobs"], 1, "{:#}", three[2]);
    let status = place.run();
    let told = place.other_writer().expect("another writer is told");
    let short = three[2]["short_id"].as_str().expect("it has one");
    assert!(told.starts_with("VolSync writes the same history") && told.contains(short), "{told}");
    assert!(status["message"].as_str().is_some_and(|message| message.contains("OtherWriter")), "{status:#}");
    let four = place.snapshots();
    still_there(&three, &four);
    let held = place.maintain();
    assert!(
        held["succeeded"] == false && held["message"].as_str().is_some_and(|text| text.contains(short)),
        "{held:#}"
    );
    assert_eq!(place.snapshots(), four);

    // It has stopped, and someone says so: retention applies to what both wrote.
    kubectl(&["-n", place.0, "delete", "replicationsource", "app", "--wait=true", "--timeout=60s"]);
    drop(volsync);
    let command = told.rsplit_once("strongroom.dev/accept=").expect("it says how").1.trim_end_matches('`');
    kubectl(&["-n", place.0, "annotate", "volumebackup", "app", &format!("strongroom.dev/accept={command}")]);
    eventually("nothing more is told", SOON, || place.other_writer().is_none().then_some(()));
    place.run();
    assert_eq!(place.other_writer(), None);
    let all = place.snapshots().len();
    let done = place.maintain();
    assert_eq!((&done["succeeded"], &done["forgotten"]), (&true.into(), &(all - 1).into()), "{done:#}");
    assert_eq!(place.snapshots().len(), 1);
    place.end();
}

#[test]
fn what_it_wrote_comes_back_before_our_first_run() {
    let _guard = alone();
    let (place, volsync) = Place::new("volsync-back");
    drop(volsync);
    place.goes_on();
    let theirs = place.snapshots();
    place.sh("rm -rf tree && mkdir tree && echo garbage > tree/garbage");
    let id = theirs[0]["id"].as_str().expect("it has an id");
    let snapshot = format!("spec: {{snapshot: {}, ", &id[..8]);
    let name = create(&restore_of(place.0, "app").replace("spec: {", &snapshot));
    let restore = ended(place.0, &name);
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
    running(place.0, "app");
    on_node(&[&var("STRONGROOM_TREE"), "compare", &place.copy(), &place.tree()]);
    assert_eq!(place.snapshots(), theirs, "a restore writes nothing");
    let left = try_kubectl(&["-n", place.0, "delete", "replicationsource", "app", "--wait=true"], None);
    assert!(left.is_ok(), "{left:?}");
    place.end();
}
