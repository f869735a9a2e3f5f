//! The commands for people, as the program that they start, against an API server that knows a handful of objects.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::{BTreeMap, VecDeque},
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
};
use serde_json::{Value, json};

const OURS: &str = "/apis/strongroom.dev/v1alpha1";

/// What the API server knows.
#[derive(Default)]
struct Known {
    /// Objects and lists by path.
    answers: BTreeMap<String, Value>,
    /// Paths that this user may not read.
    denied: Vec<String>,
    /// What the operator makes of a wish: the status at each later look. `TOKEN` stands for the wish.
    statuses: VecDeque<Value>,
}

#[derive(Clone)]
struct Server {
    known: Arc<Mutex<Known>>,
    kubeconfig: Arc<tempfile::NamedTempFile>,
}

fn failure(code: u16, message: &str, name: &str) -> (StatusCode, String) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code,
        "reason": if code == 403 { "Forbidden" } else { "NotFound" }, "details": {"name": name},
    });
    (StatusCode::from_u16(code).unwrap(), status.to_string())
}

async fn answer(State(known): State<Arc<Mutex<Known>>>, method: Method, uri: Uri, body: Bytes) -> (StatusCode, String) {
    let mut known = known.lock().unwrap();
    let path = uri.path().to_owned();
    if known.denied.contains(&path) {
        return failure(403, "forbidden: User \"me\" cannot list this", "");
    }
    let (list, name) = path.rsplit_once('/').unwrap();
    let has_list = known.answers.contains_key(list);
    let next = if method == Method::GET && !name.ends_with('s') { known.statuses.pop_front() } else { None };
    let Some(found) = known.answers.get_mut(&path) else {
        return failure(404, "not found", if has_list { name } else { "" });
    };
    if method == Method::PATCH {
        let wish: Value = serde_json::from_slice(&body).unwrap();
        found["metadata"]["annotations"] = wish["metadata"]["annotations"].clone();
    } else if let Some(next) = next {
        let token = found["metadata"]["annotations"]["reconcile.fluxcd.io/forceAt"].as_str().unwrap_or_default();
        found["status"] = serde_json::from_str(&next.to_string().replace("TOKEN", token)).unwrap();
    }
    (StatusCode::OK, found.to_string())
}

impl Server {
    fn start(answers: impl IntoIterator<Item = (String, Value)>) -> Self {
        let known = Arc::new(Mutex::new(Known { answers: answers.into_iter().collect(), ..Known::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let kubeconfig = kubeconfig(listener.local_addr().unwrap().port());
        let app = Router::new().fallback(answer).with_state(known.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
            });
        });
        Self { known, kubeconfig: Arc::new(kubeconfig) }
    }

    fn run(&self, args: &[&str]) -> Ended {
        strongroom(&[args, &["--kubeconfig", self.kubeconfig.path().to_str().unwrap()]].concat())
    }

    fn annotations(&self, path: &str) -> Value {
        self.known.lock().unwrap().answers[path]["metadata"]["annotations"].clone()
    }
}

fn kubeconfig(port: u16) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "", "namespace": "media"}}],
    });
    std::fs::write(file.path(), config.to_string()).unwrap();
    file
}

/// How the program ended: its status, what it wrote, and what it complained about.
type Ended = (bool, String, String);

fn strongroom(args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    let output = command.args(args).env_remove("HTTPS_PROXY").stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn object(kind: &str, name: &str, spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "strongroom.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": {"name": name, "namespace": "media", "uid": name, "generation": 1},
    })
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn condition(status: &str, reason: &str, message: &str) -> Value {
    json!([{"type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-09-24T11:00:00Z"}])
}

fn record(result: &str, message: &Value) -> Value {
    json!({
        "id": "radarr-1", "claim": "radarr", "repository": {"kind": "ClusterResticRepository", "name": "nas"},
        "result": result, "time": "2026-09-24T11:00:00Z", "snapshot": "feedbeef00", "files": 12, "bytes": 2048,
        "added": 1024, "seconds": 7, "message": message,
    })
}

/// A cluster with one backup, one repository that asks for its base, and a claim more than is backed up; and another
/// backup that a lock is in the way of, for those who know its name.
fn lab() -> Server {
    let backup = object(
        "VolumeBackup",
        "radarr",
        &json!({}),
        &json!({
            "observedGeneration": 1, "phase": "Idle", "conditions": condition("True", "ByHand", ""),
            "snapshots": [{"id": "feedbeef00", "claim": "radarr", "bytes": 2048, "time": "2026-09-24T11:00:00Z",
                "repository": {"kind": "ClusterResticRepository", "name": "nas"}}],
        }),
    );
    let message = "nothing is there: `kubectl annotate clusterresticrepository nas --overwrite \
                   strongroom.dev/accept=1a2b3c4d`";
    let spec = json!({"default": true, "url": "rest:http://nas", "credentials": {"secretRef": {"name": "restic"}}});
    let mut repository = object(
        "ClusterResticRepository",
        "nas",
        &spec,
        &json!({
            "observedGeneration": 1, "phase": "BaseMissing", "conditions": condition("False", "BaseMissing", message),
        }),
    );
    repository["metadata"]["namespace"] = Value::Null;
    let message = "Locked by root on laptop: `kubectl annotate volumebackup -n media lidarr --overwrite \
                   strongroom.dev/accept=unlock-0ef4cb6f`";
    let mut last = condition("False", "RepositoryLocked", message);
    last[0]["type"] = json!("LastRunSucceeded");
    let nas = json!({"kind": "ClusterResticRepository", "name": "nas"});
    let status = json!({"repositories": [{"repository": nas, "conditions": last}]});
    let locked = object("VolumeBackup", "lidarr", &json!({}), &status);
    let claim = |name: &str| json!({"metadata": {"name": name, "namespace": "media"}, "spec": {}});
    let ours = |path: &str, answer: Value| (format!("{OURS}{path}"), answer);
    Server::start([
        ours("/volumebackups", list(std::slice::from_ref(&backup))),
        ours("/namespaces/media/volumebackups", list(std::slice::from_ref(&backup))),
        ours("/namespaces/media/volumebackups/radarr", backup),
        ours("/namespaces/media/volumebackups/lidarr", locked),
        ours("/volumerestores", list(&[])),
        ours("/namespaces/media/volumerestores", list(&[])),
        ours("/namespaces/media/resticrepositories", list(&[])),
        ours("/clusterresticrepositories", list(std::slice::from_ref(&repository))),
        ours("/clusterresticrepositories/nas", repository),
        ("/api/v1/namespaces/media/persistentvolumeclaims".to_owned(), list(&[claim("radarr"), claim("cache")])),
    ])
}

#[test]
fn status_says_what_is_protected_and_what_is_not() {
    let (good, output, error) = lab().run(&["status"]);
    assert!(good, "{error}");
    for words in ["ClusterResticRepository/nas (default)", "radarr", "cache", "1 claim that nobody backs up"] {
        assert!(output.contains(words), "{words} is missing:\n{output}");
    }
    assert!(output.contains("strongroom accept ClusterResticRepository/nas"), "{output}");
    let (good, output, error) = lab().run(&["status", "-o", "json"]);
    assert!(good, "{error}");
    let overview: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(overview["unprotected"][0]["name"], "cache");
    assert_eq!(overview["backups"][0]["byHand"], true);
}

#[test]
fn what_may_not_be_seen_is_said() {
    let server = lab();
    server.known.lock().unwrap().denied = vec![
        format!("{OURS}/volumebackups"),
        format!("{OURS}/clusterresticrepositories"),
        "/api/v1/namespaces/media/persistentvolumeclaims".to_owned(),
    ];
    let (good, output, error) = server.run(&["status"]);
    assert!(good, "{error}");
    assert!(output.contains("radarr") && output.contains("cannot list claims: access is denied"), "{output}");
    let (good, _, error) = server.run(&["status", "-A"]);
    assert!(!good && error.starts_with("error: access is denied") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_cluster_that_cannot_be_asked_is_said_in_one_line() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = kubeconfig(nobody.local_addr().unwrap().port());
    drop(nobody);
    let path = file.path().to_str().unwrap();
    for (args, words) in [
        (vec!["status", "--kubeconfig", path], "cannot reach the cluster at http://127.0.0.1"),
        (vec!["status", "--kubeconfig", path, "--context", "none"], "--context"),
        (vec!["snapshots", "radarr", "--kubeconfig", "/nowhere"], "no cluster is configured"),
    ] {
        let (good, _, error) = strongroom(&args);
        assert!(!good && error.contains(words) && error.lines().count() == 1, "{args:?}: {error}");
    }
    let (good, _, error) = Server::start([]).run(&["status"]);
    assert!(!good && error.contains("install Strongroom"), "{error}");
    let (good, _, error) = lab().run(&["backup", "now", "sonarr"]);
    assert!(!good && error.contains("VolumeBackup sonarr") && error.contains("not found"), "{error}");
}

#[test]
fn a_run_is_asked_for_and_followed() {
    let run = json!({
        "id": "radarr-1", "trigger": "Manual", "startedAt": "2026-09-24T11:00:00Z", "attempt": 1, "claims": ["radarr"],
        "attemptStartedAt": "2026-09-24T11:00:00Z", "repositories": [],
    });
    let started = |phase: &str, rest: Value| {
        let mut status =
            json!({"lastHandledForceAt": "TOKEN", "lastHandledReconcileAt": "TOKEN", "phase": phase, "message": "m"});
        status.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        status
    };
    let ended =
        |record: Value| [started("Snapshotting", json!({"run": run})), started("Idle", json!({"runs": [record]}))];
    for (statuses, good, said) in [
        (
            ended(record("Succeeded", &Value::Null)).to_vec(),
            true,
            "radarr into nas: Succeeded: snapshot feedbeef: 12 files",
        ),
        (ended(record("Partial", &json!("2 files could not be read"))).to_vec(), false, "2 files could not be read"),
        (
            vec![json!({"phase": "Blocked", "message": "nas is gone", "lastHandledReconcileAt": "TOKEN"})],
            false,
            "does not run: it is Blocked: nas is gone",
        ),
    ] {
        let server = lab();
        server.known.lock().unwrap().statuses = statuses.into();
        let (success, output, error) = server.run(&["backup", "now", "radarr"]);
        assert_eq!(success, good, "{output}{error}");
        assert!(format!("{output}{error}").contains(said), "{output}{error}");
        let set = server.annotations(&format!("{OURS}/namespaces/media/volumebackups/radarr"));
        let of = |name: &str| set[format!("reconcile.fluxcd.io/{name}")].clone();
        assert!(of("forceAt").is_string() && of("forceAt") == of("requestedAt"), "{set}");
    }
    let (good, output, error) = lab().run(&["backup", "now", "radarr", "--wait=false"]);
    assert!(good && output.lines().count() == 1, "{output}{error}");
    let (good, _, error) = lab().run(&["backup", "now", "radarr", "--timeout", "1s"]);
    assert!(!good && error.contains("not ended within 1s"), "{error}");
}

#[test]
fn snapshots_are_listed_with_how_one_is_restored() {
    let (good, output, error) = lab().run(&["snapshots", "radarr"]);
    assert!(good && output.contains("feedbeef") && output.contains("kind: VolumeRestore"), "{output}{error}");
    let (_, output, _) = lab().run(&["snapshots", "radarr", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap()["snapshots"][0]["id"], "feedbeef00");
}

#[test]
fn what_is_asked_is_accepted_when_somebody_says_so() {
    let server = lab();
    let nas = format!("{OURS}/clusterresticrepositories/nas");
    let (good, output, error) = server.run(&["accept", "nas"]);
    assert!(!good && output.contains("nothing is there") && error.contains("--yes"), "{output}{error}");
    let (good, _, error) = server.run(&["accept", "nas", "00000000", "--yes"]);
    assert!(!good && error.contains("1a2b3c4d"), "{error}");
    let (good, _, error) = server.run(&["accept", "VolumeBackup/radarr", "--yes"]);
    assert!(!good && error.contains("asks for nothing"), "{error}");
    assert!(server.annotations(&nas).is_null());
    let (good, _, error) = server.run(&["accept", "clusterresticrepository/nas", "--yes"]);
    assert!(good, "{error}");
    assert_eq!(server.annotations(&nas), json!({"strongroom.dev/accept": "1a2b3c4d"}));
}

#[test]
fn locks_are_shown_before_somebody_has_them_removed() {
    let server = lab();
    let lidarr = format!("{OURS}/namespaces/media/volumebackups/lidarr");
    let (good, output, error) = server.run(&["unlock", "lidarr"]);
    assert!(!good && output.contains("root on laptop") && error.contains("--yes"), "{output}{error}");
    let (good, _, error) = server.run(&["unlock", "ClusterResticRepository/nas", "--yes"]);
    assert!(!good && error.contains("no lock was in the way"), "{error}");
    assert!(server.annotations(&lidarr).is_null());
    let (good, output, error) = server.run(&["unlock", "VolumeBackup/lidarr", "--yes"]);
    assert!(good, "{output}{error}");
    assert_eq!(server.annotations(&lidarr), json!({"strongroom.dev/accept": "unlock-0ef4cb6f"}));
}

#[test]
fn it_is_a_plugin_of_kubectl_under_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-strongroom");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_strongroom"), &plugin).unwrap();
    let output = Command::new(&plugin).args(["status", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Usage: kubectl strongroom status"), "{text}");
}
