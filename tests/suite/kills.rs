//! SIGKILL of the controller after each write that it makes, for a backup and for a restore: every run converges
//! with the right result and nothing left over.
//!
//! In full with STRONGROOM_FULL=1; otherwise after some of the writes, chosen by a printed seed.

use std::time::Duration;

use crate::{
    backups::{app, backup, mounted_at, nothing_left, run_now, running},
    proxy::Controller,
    restores::restore_of,
    support::{SOON, SYSTEM, alone, apply, create, eventually, get, kubectl, namespace, on_node},
};

/// With the operator of the chart away, so that the controller of this test can take its Lease.
struct OperatorAway;

impl OperatorAway {
    fn new() -> Self {
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

/// After which writes the controller is killed: all, or every fourth beginning at a seed.
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
    (n + seed).is_multiple_of(4)
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

#[test]
fn a_controller_killed_after_any_write_of_a_backup_converges() {
    let _guard = alone();
    repository();
    declare("k-backup");
    let _away = OperatorAway::new();
    let controller = Controller::new();
    let mut n = 0;
    loop {
        n += 1;
        if !chosen(n) && n < 40 {
            continue;
        }
        on_node(&["sh", "-c", &format!("echo {n} > {}/file && sync", mounted_at("k-backup", "app"))]);
        let runs = |status: &serde_json::Value| status["runs"][0]["id"].clone();
        let before = get("volumebackup", "k-backup", "app").map(|backup| runs(&backup["status"])).unwrap_or_default();
        let token = format!("kill-{n}");
        kubectl(&[
            "-n",
            "k-backup",
            "annotate",
            "volumebackup",
            "app",
            "--overwrite",
            &format!("reconcile.fluxcd.io/requestedAt={token}"),
            &format!("reconcile.fluxcd.io/forceAt={token}"),
        ]);
        controller.start(n);
        let done = || {
            let status = get("volumebackup", "k-backup", "app")?["status"].clone();
            let ended = status["phase"] == "Idle" && status["run"].is_null();
            (ended && status["lastHandledForceAt"] == token.as_str() && runs(&status) != before).then_some(status)
        };
        eventually(
            &format!("the run ends or the controller is killed after write {n}"),
            Duration::from_mins(2),
            || (controller.killed() || done().is_some()).then_some(()),
        );
        let killed = controller.killed();
        let written = controller.written();
        if killed {
            controller.start(usize::MAX);
        }
        let status = eventually(
            &format!("the run converges after a kill after {:?}", written.last()),
            Duration::from_mins(3),
            done,
        );
        assert_eq!(status["lastResult"], "Succeeded", "killed after {:?}: {status:#}", written.last());
        nothing_left("k-backup");
        println!(
            "backup, write {n}: {} {}",
            if killed { "killed after" } else { "not reached;" },
            written.last().cloned().unwrap_or_default()
        );
        if !killed {
            break;
        }
    }
    controller.stop();
}

#[test]
fn a_controller_killed_after_any_write_of_a_restore_converges() {
    let _guard = alone();
    repository();
    declare("k-restore");
    on_node(&["sh", "-c", &format!("echo precious > {}/file && sync", mounted_at("k-restore", "app"))]);
    assert_eq!(run_now("k-restore", "app")["lastResult"], "Succeeded");
    let _away = OperatorAway::new();
    let controller = Controller::new();
    let mut n = 0;
    loop {
        n += 1;
        if !chosen(n) && n < 60 {
            continue;
        }
        on_node(&["sh", "-c", &format!("echo spoilt > {}/file && sync", mounted_at("k-restore", "app"))]);
        let name = create(&restore_of("k-restore", "app"));
        controller.start(n);
        let done = || {
            let status = get("volumerestore", "k-restore", &name)?["status"].clone();
            let phase = status["phase"].as_str().unwrap_or_default().to_owned();
            ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(status)
        };
        eventually(
            &format!("the restore ends or the controller is killed after write {n}"),
            Duration::from_mins(3),
            || (controller.killed() || done().is_some()).then_some(()),
        );
        let killed = controller.killed();
        let written = controller.written();
        if killed {
            controller.start(usize::MAX);
        }
        let status = eventually(
            &format!("the restore converges after a kill after {:?}", written.last()),
            Duration::from_mins(4),
            done,
        );
        assert_eq!(status["phase"], "Succeeded", "killed after {:?}: {status:#}", written.last());
        running("k-restore", "app");
        let data = on_node(&["cat", &format!("{}/file", mounted_at("k-restore", "app"))]);
        assert_eq!(data.trim(), "precious", "killed after {:?}", written.last());
        nothing_left("k-restore");
        println!(
            "restore, write {n}: {} {}",
            if killed { "killed after" } else { "not reached;" },
            written.last().cloned().unwrap_or_default()
        );
        if !killed {
            break;
        }
    }
    controller.stop();
}
