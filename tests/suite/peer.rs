//! Another operator, as a process in the cluster's network, with its own definitions.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{eventually, kubectl, var};

/// One that runs; it ends with this.
pub struct Peer {
    name: &'static str,
    process: Child,
}

/// The definitions of a program that an environment variable names. They lie beside it.
pub fn definitions(program: &str) -> String {
    let program = PathBuf::from(var(program));
    let crds = program.ancestors().nth(2).expect("it lies in bin/").join("crds");
    crds.to_str().expect("a path").to_owned()
}

/// Brings the definitions of such a program into the cluster.
pub fn define(program: &str) {
    let definitions = definitions(program);
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &definitions]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &definitions]);
}

impl Peer {
    /// Starts such a program.
    pub fn start(name: &'static str, program: &str, arguments: &[&str]) -> Self {
        let log = File::create(log(name)).expect("the cluster has a folder for logs");
        // What enters the cluster's namespaces stays outside as a parent, without which it shall not go on.
        let process = Command::new(var("STRONGROOM_CLUSTER"))
            .args(["exec", "--name", &var("STRONGROOM_CLUSTER_NAME"), "--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(var(program))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the cluster command runs");
        Self { name, process }
    }

    /// Waits for something that it does.
    pub fn eventually<T>(&mut self, what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        let name = self.name;
        eventually(what, limit, || {
            if let Some(status) = self.process.try_wait().expect("it is a child") {
                panic!("{name} ended with {status}:\n{}", said(name));
            }
            look()
        })
    }

    /// The process that entered the cluster's namespaces; the program is its child.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log(name: &str) -> PathBuf {
    Path::new(&var("CLUSTER_LOGS")).join(format!("{name}.log"))
}

/// The end of what one of that name logged.
pub fn said(name: &str) -> String {
    let text = fs::read_to_string(log(name)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
