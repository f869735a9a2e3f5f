//! The real VolSync, as a process in the cluster's network, with its own definitions and its own script in its movers.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{eventually, get, kubectl, var};

/// How long one of its backups may take: it looks once in a minute.
const LIMIT: Duration = Duration::from_mins(5);

/// A running one; it ends with this.
pub(crate) struct Volsync(Child);

/// Its definitions lie beside the program.
fn definitions() -> String {
    let program = PathBuf::from(var("STRONGROOM_VOLSYNC"));
    let crds = program.ancestors().nth(2).expect("it lies in bin/").join("crds");
    crds.to_str().expect("a path").to_owned()
}

/// Brings its definitions into the cluster.
pub(crate) fn define() {
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &definitions()]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &definitions()]);
}

impl Volsync {
    pub(crate) fn start() -> Self {
        let log = File::create(log()).expect("the cluster has a folder for logs");
        // What enters the cluster's namespaces stays outside as a parent, without which it shall not go on.
        let child = Command::new(var("STRONGROOM_CLUSTER"))
            .args(["exec", "--name", &var("STRONGROOM_CLUSTER_NAME"), "--", "setpriv", "--pdeathsig", "KILL", "--"])
            .args([&var("STRONGROOM_VOLSYNC"), "--metrics-bind-address=0", "--health-probe-bind-address=0"])
            .arg("--restic-container-image=localhost/volsync-mover:dev")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the cluster command runs");
        Self(child)
    }

    /// Has it back the app up, and waits until it says that it has.
    pub(crate) fn backs_up(&mut self, namespace: &str, tag: &str) {
        let patch = format!("{{\"spec\":{{\"trigger\":{{\"manual\":\"{tag}\"}}}}}}");
        kubectl(&["-n", namespace, "patch", "replicationsource", "app", "--type=merge", "-p", &patch]);
        eventually(&format!("VolSync has backed {namespace} up"), LIMIT, || {
            if let Some(status) = self.0.try_wait().expect("it is a child") {
                panic!("VolSync ended with {status}:\n{}", said());
            }
            let status = get("replicationsource", namespace, "app")?["status"].clone();
            let result = &status["latestMoverStatus"];
            assert_ne!(result["result"], "Failed", "{result:#}\n{}", said());
            (status["lastManualSync"] == tag && result["result"] == "Successful").then_some(())
        });
    }
}

impl Drop for Volsync {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log() -> PathBuf {
    Path::new(&var("CLUSTER_LOGS")).join("volsync.log")
}

/// The end of what it logged.
fn said() -> String {
    let text = fs::read_to_string(log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
