//! SIGKILL of the controller after each write that it makes, for a backup and for a restore: every run converges
//! with the right result and nothing left over.
//!
//! In full with STRONGROOM_FULL=1; otherwise after some of the writes, chosen by a printed seed.

use std::time::Duration;

use serde_json::Value;

use crate::{
    apps::restore_of,
    apps::{app, backup, has_run, mounted_at, nothing_left, request_run, run_now, running, write},
    proxy::Controller,
    support::{SOON, SYSTEM, alone, apply, create, eventually, get, kubectl, namespace, on_node},
};

/// With the operator of the chart away, so that the controller of this test can take its Lease.
pub struct OperatorAway;

impl OperatorAway {
    /// Sends it away; it comes back when this is dropped.
    pub fn new() -> Self {
        kubectl(&["-n", SYSTEM, "scale", "deployment/strongroom", "--replicas=0"]);
        eventually("the operator is away", SOON, || {
            crate::support::list("pod", SYSTEM, "app.kubernetes.io/name=strongroom").is_empty().then_some(())
        });
        Self
    }
}

impl Drop for OperatorAway {
    fn drop(&mut self) {
        kubectl(&["-n", SYSTEM, "scale", "deployment/strongroom", "--replicas=1"]);
        kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/strongroom", "--timeout=120s"]);
    }
}

/// After which writes the controller is killed: all, or every sixth beginning at a seed.
fn chosen(n: usize) -> bool {
    static SEED: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    if std::env::var_os("STRONGROOM_FULL").is_some() {
        return true;
    }
    let seed = *SEED.get_or_init(|| {
        let seed = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| std::process::id() as usize);
        println!("kills: STRONGROOM_SEED={seed}");
        seed
    });
    (n + seed).is_multiple_of(6)
}

fn repository() {
    kubectl(&["-n", SYSTEM, "delete", "secret", "kills", "--ignore-not-found"]);
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: kills, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: canary-kills-1}}\n---\napiVersion: strongroom.dev/v1alpha1\nkind: ClusterResticRepository\n\
         metadata: {{name: kills}}\nspec:\n  url: '/repository/kills/{{{{ namespace }}}}/{{{{ name }}}}'\n  \
         volume: {{claimName: backups}}\n  credentials: {{secretRef: {{name: kills}}}}\n"
    ));
    crate::messages::accept_base("kills");
}

fn declare(ns: &str) {
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    apply(&backup(ns, "app").replace("spec: {", "spec: {repositoryRefs: [{name: kills}], "));
}

/// Has the controller killed after each chosen write of a run. `start` sets the run going and says what `ended` knows
/// it by; `ended` has the status of a run that came to its end; `check` looks at what the run was to bring about.
fn matrix(
    what: &str,
    most: usize,
    start: impl Fn(usize) -> String,
    ended: impl Fn(&str) -> Option<Value>,
    check: impl Fn(usize, &Value),
) {
    let _away = OperatorAway::new();
    let controller = Controller::new();
    for n in (1..=most).filter(|n| chosen(*n)).chain([usize::MAX]) {
        let run = start(n);
        controller.start(n);
        let limit = Duration::from_mins(4);
        eventually(&format!("the {what} ends, or the controller is killed after write {n}"), limit, || {
            (controller.killed() || ended(&run).is_some()).then_some(())
        });
        let (killed, last) = (controller.killed(), controller.written().last().cloned().unwrap_or_default());
        if killed {
            controller.start(usize::MAX);
        }
        let status = eventually(&format!("the {what} converges after a kill after {last}"), limit, || ended(&run));
        println!("{what}, write {n}: {} {last}", if killed { "killed after" } else { "not reached;" });
        check(n, &status);
        if !killed {
            break;
        }
    }
    controller.stop();
}

#[test]
fn a_controller_killed_after_any_write_of_a_backup_converges() {
    let _guard = alone();
    repository();
    declare("k-backup");
    let start = |n: usize| {
        write("k-backup", "app", &n.to_string());
        request_run("k-backup", "app")
    };
    let ended = |token: &str| has_run("k-backup", "app", token);
    matrix("backup", 40, start, ended, |n, status| {
        assert_eq!(status["lastResult"], "Succeeded", "killed after write {n}: {status:#}");
        nothing_left("k-backup");
    });
}

#[test]
fn a_controller_killed_after_any_write_of_a_restore_converges() {
    let _guard = alone();
    repository();
    declare("k-restore");
    write("k-restore", "app", "precious");
    assert_eq!(run_now("k-restore", "app")["lastResult"], "Succeeded");
    let start = |_| {
        write("k-restore", "app", "spoilt");
        create(&restore_of("k-restore", "app"))
    };
    let ended = |name: &str| {
        let status = get("volumerestore", "k-restore", name)?["status"].clone();
        ["Succeeded", "Failed"].contains(&status["phase"].as_str()?).then_some(status)
    };
    matrix("restore", 60, start, ended, |n, status| {
        assert_eq!(status["phase"], "Succeeded", "killed after write {n}: {status:#}");
        running("k-restore", "app");
        let data = on_node(&["cat", &format!("{}/file", mounted_at("k-restore", "app"))]);
        assert_eq!(data.trim(), "precious", "killed after write {n}");
        nothing_left("k-restore");
    });
}
