//! The real VolSync, with its own definitions, and its own script in its movers.

use std::time::Duration;

use crate::{
    peer::{self, Peer},
    support::{get, kubectl},
};

/// How long one of its backups may take: it looks once in a minute.
const LIMIT: Duration = Duration::from_mins(5);
/// Its program.
const PROGRAM: &str = "STRONGROOM_VOLSYNC";
/// What its requests say that they come from.
pub(crate) const USER_AGENT: &str = "volsync/";
/// What its log is called.
const NAME: &str = "volsync";

/// A running one; it ends with this.
pub(crate) struct Volsync(Peer);

/// Brings its definitions into the cluster.
pub(crate) fn define() {
    peer::define(PROGRAM);
}

impl Volsync {
    pub(crate) fn start() -> Self {
        let image = "--restic-container-image=localhost/volsync-mover:dev";
        Self(Peer::start(NAME, PROGRAM, &["--metrics-bind-address=0", "--health-probe-bind-address=0", image]))
    }

    /// The process whose child it is.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Has it back the app up, and waits until it says that it has.
    pub(crate) fn backs_up(&mut self, namespace: &str, tag: &str) {
        let patch = format!("{{\"spec\":{{\"trigger\":{{\"manual\":\"{tag}\"}}}}}}");
        kubectl(&["-n", namespace, "patch", "replicationsource", "app", "--type=merge", "-p", &patch]);
        self.0.eventually(&format!("VolSync has backed {namespace} up"), LIMIT, || {
            let status = get("replicationsource", namespace, "app")?["status"].clone();
            let result = &status["latestMoverStatus"];
            assert_ne!(result["result"], "Failed", "{result:#}\n{}", peer::said(NAME));
            (status["lastManualSync"] == tag && result["result"] == "Successful").then_some(())
        });
    }
}
