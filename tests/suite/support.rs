//! What the cluster suite stands on: the real cluster, changed through kubectl as a user would, and waiting on conditions.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use serde_json::Value;

#[path = "server.rs"]
mod server;

pub use server::{get, list};

/// The operator's namespace.
pub const SYSTEM: &str = "strongroom-system";
/// How long a thing may take that takes seconds.
pub const SOON: Duration = Duration::from_mins(2);

/// Most tests run side by side; those that count what an idle operator does run alone.
static QUIET: RwLock<()> = RwLock::new(());

/// Held by a test that may run beside others.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    setup();
    QUIET.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Held by a test that must run alone.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    setup();
    QUIET.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The environment variable's value, which `tests/run` sets.
pub fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this suite by `make test`"))
}

/// Runs kubectl; its output, or its error.
pub fn try_kubectl(args: &[&str], input: Option<&str>) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is in PATH");
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).expect("kubectl reads its input");
    }
    let output = child.wait_with_output().expect("kubectl ends");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Runs kubectl, which must succeed.
pub fn kubectl(args: &[&str]) -> String {
    try_kubectl(args, None).unwrap_or_else(|error| panic!("kubectl {}: {error}", args.join(" ")))
}

/// Applies YAML.
pub fn apply(yaml: &str) {
    try_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(yaml))
        .unwrap_or_else(|error| panic!("{error}\n{yaml}"));
}

/// Creates what has a generated name; the name.
pub fn create(yaml: &str) -> String {
    let name = try_kubectl(&["create", "-f", "-", "-o", "jsonpath={.metadata.name}"], Some(yaml));
    name.unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// A condition of an object, as `status/reason: message`.
pub fn condition(object: &Value, type_: &str) -> Option<(String, String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

/// Waits until `look` finds something; prints what one needs to see when it does not.
pub fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    eventually_every(Duration::from_millis(200), what, limit, look)
}

/// The same, looking that often: where many wait at once, their looking is what keeps the machine busy.
pub fn eventually_every<T>(period: Duration, what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if start.elapsed() > limit {
            diagnose();
            panic!("not within {} s: {what}", limit.as_secs());
        }
        std::thread::sleep(period);
    }
}

/// Waits until an object's `Ready` condition has this status and reason; the message.
pub fn ready(kind: &str, namespace: &str, name: &str, status: &str, reason: &str) -> String {
    eventually(&format!("{kind} {namespace}/{name} has Ready={status} {reason}"), SOON, || {
        let (is, why, message) = condition(&get(kind, namespace, name)?, "Ready")?;
        (is == status && (reason.is_empty() || why == reason)).then_some(message)
    })
}

/// Prints what one needs to see after a failure: events, conditions, logs.
pub fn diagnose() {
    for args in [
        &["get", "strongroom", "-A", "-o", "wide"][..],
        &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        &["get", "pods,jobs,pvc,volumesnapshots", "-A"],
        &["get", "volumebackups,volumerestores,clusterresticrepositories,externalsecrets", "-A", "-o", "yaml"],
        &["logs", "-n", SYSTEM, "deployment/strongroom", "--tail=120"],
        &["logs", "-n", SYSTEM, "-l", "strongroom.dev/run", "--tail=40", "--prefix"],
    ] {
        let text = try_kubectl(args, None).unwrap_or_else(|error| error);
        let skipped = text.len().saturating_sub(60_000);
        let start = (skipped..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        println!("--- kubectl {}\n{}", args.join(" "), &text[start..]);
    }
}

/// Looks for secret values everywhere but in Secrets.
pub fn nothing_leaks() {
    let search = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/leaks"))
        .arg(var("STRONGROOM_CLUSTER_NAME"))
        .output()
        .expect("the search runs");
    assert!(search.status.success(), "{}", String::from_utf8_lossy(&search.stderr));
    println!("{}", String::from_utf8_lossy(&search.stdout));
}

/// Runs a command inside the cluster's namespaces, as root of the node.
pub fn on_node(args: &[&str]) -> String {
    let output = Command::new(var("STRONGROOM_CLUSTER"))
        .args(["exec", "--name", &var("STRONGROOM_CLUSTER_NAME"), "--"])
        .args(args)
        .output()
        .expect("the cluster command runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The label of every namespace that [`namespace`] makes.
pub const MADE_HERE: &str = "made-by=tests";

/// A namespace that enforces restricted Pod Security; what an earlier run left there is gone.
pub fn namespace(name: &str) {
    if get("namespace", "", name).is_some() {
        kubectl(&["delete", "namespace", name, "--wait=true", "--timeout=120s"]);
    }
    apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    made-by: tests\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    ));
}

/// The admin side of the development Connect server, through the API server.
pub mod connect {
    use super::{Value, kubectl, try_kubectl};

    const ADMIN: &str = "/api/v1/namespaces/connect/services/connect:admin/proxy";

    /// Reads.
    pub fn get(path: &str) -> Value {
        serde_json::from_str(&kubectl(&["get", "--raw", &format!("{ADMIN}{path}")]))
            .expect("the admin side answers JSON")
    }

    /// Puts JSON.
    pub fn put(path: &str, body: &Value) -> Value {
        let answer = try_kubectl(&["replace", "--raw", &format!("{ADMIN}{path}"), "-f", "-"], Some(&body.to_string()));
        let answer = answer.unwrap_or_else(|error| panic!("PUT {path}: {error}"));
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Deletes; what went wrong otherwise.
    pub fn try_delete(path: &str) -> Result<(), String> {
        try_kubectl(&["delete", "--raw", &format!("{ADMIN}{path}")], None).map(drop)
    }

    /// Sends JSON.
    pub fn post(path: &str, body: &Value) -> Value {
        let answer = try_kubectl(&["create", "--raw", &format!("{ADMIN}{path}"), "-f", "-"], Some(&body.to_string()));
        let answer = answer.unwrap_or_else(|error| panic!("POST {path}: {error}"));
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }
}

/// Puts the operator, Connect and a repository into the cluster, once.
fn setup() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let status = Command::new(var("STRONGROOM_SETUP")).status().expect("the set-up runs");
        assert!(status.success(), "the set-up failed");
    });
}
