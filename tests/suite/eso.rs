//! The real External Secrets Operator, as a process in the cluster's network, with its own definitions.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{apply, eventually, kubectl, var};

/// The group of its kinds, which have the names of ours.
pub const GROUP: &str = "external-secrets.io";
/// Its version.
pub const VERSION: &str = "external-secrets.io/v1";
/// What its requests say that they come from.
pub const USER_AGENT: &str = "external-secrets/";

/// A running one; it ends with this.
pub struct Eso(Child);

/// Its definitions lie beside the program.
fn definitions() -> String {
    let program = PathBuf::from(var("STRONGROOM_ESO"));
    let crds = program.ancestors().nth(2).expect("it lies in bin/").join("crds");
    crds.to_str().expect("a path").to_owned()
}

/// Brings its definitions into the cluster.
pub fn define() {
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &definitions()]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &definitions()]);
}

/// Takes them out again, with all objects.
pub fn undefine() {
    kubectl(&["delete", "--wait=true", "--timeout=120s", "-f", &definitions()]);
}

impl Eso {
    /// Starts it, with so many reconciles at a time.
    pub fn start(concurrent: usize) -> Self {
        let log = File::create(log()).expect("the cluster has a folder for logs");
        // What enters the cluster's namespaces stays outside as a parent, without which it shall not go on.
        let child = Command::new(var("STRONGROOM_CLUSTER"))
            .args(["exec", "--name", &var("STRONGROOM_CLUSTER_NAME"), "--", "setpriv", "--pdeathsig", "KILL", "--"])
            // A look at one store disturbs what is just read from another one.
            .args([&var("STRONGROOM_ESO"), "--metrics-addr=0", "--live-addr=0", "--store-requeue-interval=1h"])
            .arg(format!("--concurrent={concurrent}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the cluster command runs");
        Self(child)
    }

    /// Waits for something that it does.
    pub fn eventually<T>(&mut self, what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        eventually(what, limit, || {
            if let Some(status) = self.0.try_wait().expect("it is a child") {
                panic!("External Secrets Operator ended with {status}:\n{}", said());
            }
            look()
        })
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs");
        let status = fs::read_to_string(Path::new("/proc").join(children.trim()).join("status"));
        Memory::of(&status.expect("it runs"))
    }
}

impl Drop for Eso {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    /// What it has.
    pub resident: u64,
    /// The most that it had.
    pub peak: u64,
}

impl Memory {
    /// Of what the kernel says of the process.
    pub fn of(status: &str) -> Self {
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("its memory is known");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Self { resident: number("VmRSS:"), peak: number("VmHWM:") }
    }
}

fn log() -> PathBuf {
    Path::new(&var("CLUSTER_LOGS")).join("external-secrets.log")
}

/// The end of what it logged.
pub fn said() -> String {
    let text = fs::read_to_string(log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A store of its group, and one of ours that says the same: the cluster's, or a namespace's.
pub fn stores(namespace: Option<&str>, name: &str, vaults: &Value) {
    let mut reference = json!({"name": "peers-token", "key": "token"});
    if namespace.is_none() {
        reference["namespace"] = "connect".into();
    }
    let provider = json!({"onepassword": {"connectHost": "http://connect.connect.svc.cluster.local", "vaults": vaults,
        "auth": {"secretRef": {"connectTokenSecretRef": reference}}}});
    let kind = if namespace.is_some() { "SecretStore" } else { "ClusterSecretStore" };
    for version in [VERSION, "strongroom.dev/v1alpha1"] {
        let metadata = namespace.map_or_else(|| json!({"name": name}), |ns| json!({"name": name, "namespace": ns}));
        let store = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {"provider": provider}});
        apply(&store.to_string());
    }
}
