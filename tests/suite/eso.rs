//! The real External Secrets Operator, as a process in the cluster's network, with its own definitions.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    peer::{self, Peer},
    support::{apply, kubectl},
};

/// The group of its kinds, which have the names of ours.
pub const GROUP: &str = "external-secrets.io";
/// Its version.
pub const VERSION: &str = "external-secrets.io/v1";
/// What its requests say that they come from.
pub const USER_AGENT: &str = "external-secrets/";

/// Its program.
const PROGRAM: &str = "STRONGROOM_ESO";
/// What its log is called.
const NAME: &str = "external-secrets";

/// A running one; it ends with this.
pub struct Eso(Peer);

/// Brings its definitions into the cluster.
pub fn define() {
    peer::define(PROGRAM);
}

/// Takes them out again, with all objects.
pub fn undefine() {
    kubectl(&["delete", "--wait=true", "--timeout=120s", "-f", &peer::definitions(PROGRAM)]);
}

impl Eso {
    /// Starts it, with so many reconciles at a time.
    pub fn start(concurrent: usize) -> Self {
        let concurrent = format!("--concurrent={concurrent}");
        // A look at one store disturbs what is just read from another one.
        let rare = "--store-requeue-interval=1h";
        Self(Peer::start(NAME, PROGRAM, &["--metrics-addr=0", "--live-addr=0", rare, &concurrent]))
    }

    /// Waits for something that it does.
    pub fn eventually<T>(&mut self, what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
        self.0.eventually(what, limit, look)
    }

    /// The process whose child it is.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
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
