//! Movers, their restic, their pods, the kubelet and the controller are killed at random moments. Nobody has to remove
//! a lock by hand: none is left of whatever was seen terminated, the next run is good, and the repository is whole.
//!
//! In full with STRONGROOM_FULL=1: a hundred kills. STRONGROOM_SEED chooses the moments.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::{
    apps::{app, backup, has_run, mounted_at, nothing_left, request_run, running},
    messages::accept_base,
    random::Random,
    support::{SOON, SYSTEM, alone, apply, eventually_every, get, kubectl, list, namespace, on_node, try_kubectl},
};

const PASSWORD: &str = "canary-locks-1";
/// How long the mover of the run after a kill may take, in seconds: it waits for no lock.
const NEXT: i64 = 60;
/// How often each of the apps is looked at: a dozen of them at once, and a killed run lasts a minute.
const LOOK: Duration = Duration::from_secs(1);
/// Until it has come to its end: meanwhile others have the kubelet and the controller killed.
const LATEST: Duration = Duration::from_mins(4);

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Restic,
    Mover,
    Pod,
    Kubelet,
    Evicted,
    Controller,
}

const VICTIMS: [Victim; 6] =
    [Victim::Restic, Victim::Mover, Victim::Pod, Victim::Evicted, Victim::Controller, Victim::Kubelet];

/// An app whose movers are killed: its namespace, and where its volume and its restic repository are on the node.
struct App {
    namespace: String,
    data: String,
    repository: String,
}

impl App {
    fn locks(&self) -> usize {
        on_node(&["sh", "-c", &format!("ls {}/locks 2>/dev/null | grep -vc -e -tmp- ; true", self.repository)])
            .trim()
            .parse()
            .expect("a number")
    }

    /// New data: at half a MiB a second, so much takes restic twice as many seconds.
    fn write(&self, mib: usize) {
        let file = format!("{}/file", self.data);
        on_node(&["sh", "-c", &format!("dd if=/dev/urandom of={file} bs=1M count={mib} 2>/dev/null && sync")]);
    }

    fn pod(&self) -> Option<String> {
        let pods = list("pod", SYSTEM, &format!("strongroom.dev/owner-namespace={}", self.namespace));
        pods.first()?["metadata"]["name"].as_str().map(str::to_owned)
    }

    /// Kills a process of the mover: restic, or what started it. Whether there was one.
    fn kill(&self, which: &str) -> bool {
        let script = format!(
            "for process in /proc/[0-9]*; do \
             if tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -q '^/restic backup .*--host={} '; \
             then restic=${{process#/proc/}}; mover=$(awk '/^PPid/ {{print $2}}' $process/status); kill -9 ${which} && echo killed; fi; done; true",
            self.namespace
        );
        on_node(&["sh", "-c", &script]).contains("killed")
    }

    /// Whether it struck.
    fn strike(&self, victim: Victim) -> bool {
        match victim {
            Victim::Restic => self.kill("restic"),
            Victim::Mover => self.kill("mover"),
            Victim::Kubelet => {
                on_node(&["sh", "-c", "pkill -9 -x kubelet; true"]);
                self.kill("mover")
            }
            Victim::Controller => {
                // The pod: the kubelet starts a container that is killed again and again later each time.
                let of_controller = ["-l", "app.kubernetes.io/name=strongroom", "--force", "--grace-period=0"];
                kubectl(&[&["-n", SYSTEM, "delete", "pod", "--wait=false"], &of_controller[..]].concat());
                self.kill("mover")
            }
            Victim::Pod => {
                let Some(pod) = self.pod() else { return false };
                try_kubectl(&["-n", SYSTEM, "delete", "pod", &pod, "--force", "--grace-period=0"], None).is_ok()
            }
            Victim::Evicted => {
                let Some(pod) = self.pod() else { return false };
                let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/eviction");
                let eviction = format!(
                    "{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {{\"name\": \"{pod}\", \"namespace\": \"{SYSTEM}\"}}}}"
                );
                try_kubectl(&["create", "--raw", &path, "-f", "-"], Some(&eviction)).is_ok()
            }
        }
    }

    /// One run that is killed, and one after it. Most while restic holds its lock, every fourth at whatever moment.
    fn round(&self, victim: Victim, wanted: bool, random: &mut Random, locked: &AtomicUsize) {
        // Enough for the blow to come in time where the machine is busy.
        self.write(30);
        let before = self.locks();
        let token = request_run(&self.namespace, "app");
        eventually_every(LOOK, "the mover has a lock, or the run is over", SOON, || {
            let seen = if wanted { self.locks() > before } else { self.pod().is_some() };
            (seen || has_run(&self.namespace, "app", &token).is_some()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(random.of(0..2500)));
        let held = self.locks() > before;
        let struck = self.strike(victim);
        let status =
            eventually_every(LOOK, "the run that was killed ends", LATEST, || has_run(&self.namespace, "app", &token));
        // A pod that was deleted by force was not seen terminated: its lock stays until it is 30 minutes old.
        let allowed = before + usize::from(matches!(victim, Victim::Pod));
        let left = self.locks();
        let result = status["lastResult"].as_str().unwrap_or_default().to_owned();
        println!(
            "{}: {victim:?} killed {struck}, lock {held}: {result} {}",
            self.namespace, status["runs"][0]["message"]
        );
        assert!(left <= allowed, "a lock is left: {status:#}");
        locked.fetch_add(usize::from(held && struck), Ordering::Relaxed);

        self.write(1);
        let token = request_run(&self.namespace, "app");
        let next = eventually_every(LOOK, "the next run ends", LATEST, || has_run(&self.namespace, "app", &token));
        assert_eq!(next["lastResult"], "Succeeded", "after {victim:?}: {next:#}");
        let seconds = next["runs"][0]["seconds"].as_i64();
        assert!(seconds.is_some_and(|seconds| seconds < NEXT), "the run after {victim:?} took {seconds:?} s");
        assert_eq!(self.locks(), left);
    }
}

/// The repository on a volume of its own, which a pod keeps mounted so that the test can look into it.
fn repository() -> String {
    for (kind, name) in [("secret", "locks"), ("clusterresticrepository", "locks")] {
        kubectl(&["-n", SYSTEM, "delete", kind, name, "--ignore-not-found"]);
    }
    // A hundred runs of 30 MiB, of which many come to their end.
    apply(&app(SYSTEM, "locks", "ceph-filesystem").replace("512Mi", "4Gi"));
    running(SYSTEM, "locks");
    let mounted = mounted_at(SYSTEM, "locks");
    on_node(&["sh", "-c", &format!("rm -rf {mounted}/* && chmod 777 {mounted}")]);
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: locks, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: {PASSWORD}, RESTIC_PACK_SIZE: '4'}}\n---\napiVersion: strongroom.dev/v1alpha1\n\
         kind: ClusterResticRepository\nmetadata: {{name: locks}}\nspec:\n  \
         url: '/repository/{{{{ namespace }}}}/{{{{ name }}}}'\n  volume: {{claimName: locks}}\n  \
         limits: {{upload: 512Ki, backups: 12, perNode: 12}}\n  credentials: {{secretRef: {{name: locks}}}}\n"
    ));
    accept_base("locks");
    mounted
}

fn declare(index: usize, repositories: &str) -> App {
    let namespace_of = format!("locks-{index}");
    namespace(&namespace_of);
    apply(&app(&namespace_of, "app", "ceph-block"));
    running(&namespace_of, "app");
    // A kubelet that is killed between taking a volume from its pod and from its node forgets the latter, and the driver
    // does not delete what is in use: the run ends when it has waited for as long as staging may take.
    let spec = "spec: {retries: 0, shrinkGuard: 0%, stagingTimeout: 2m, repositoryRefs: [{name: locks}], ";
    apply(&backup(&namespace_of, "app").replace("spec: {", spec));
    App {
        data: mounted_at(&namespace_of, "app"),
        repository: format!("{repositories}/{namespace_of}/app"),
        namespace: namespace_of,
    }
}

/// Lets so many run at once, in the whole cluster. By Helm, whose the Deployment stays.
fn movers(count: usize) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/strongroom");
    let mut helm = Command::new("helm");
    helm.args(["upgrade", "strongroom", chart, "--namespace", SYSTEM, "--reuse-values", "--wait"]);
    let output = helm.args(["--set", &format!("movers={count}")]).output().expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn check(app: &App) {
    let restic = Command::new("sh").args(["-c", "command -v restic"]).output().expect("sh runs");
    let restic = String::from_utf8_lossy(&restic.stdout).trim().to_owned();
    let command =
        format!("RESTIC_PASSWORD={PASSWORD} {restic} -r {} check --no-lock --no-cache --read-data", app.repository);
    let said = on_node(&["sh", "-c", &command]);
    assert!(said.contains("no errors were found"), "{said}");
}

#[test]
fn whatever_is_killed_leaves_no_lock_and_the_next_run_is_good() {
    let _guard = alone();
    let (count, rounds) = if std::env::var_os("STRONGROOM_FULL").is_some() { (12, 9) } else { (6, 1) };
    let seed = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("locks: STRONGROOM_SEED={seed}");
    movers(count);
    let repositories = repository();
    let apps: Vec<App> = (0..count).map(|index| declare(index, &repositories)).collect();
    let locked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (index, app) in apps.iter().enumerate() {
            let locked = &locked;
            scope.spawn(move || {
                let mut random = Random::new(seed.wrapping_add(index as u64));
                for round in 0..rounds {
                    let victim = VICTIMS[(round + index) % VICTIMS.len()];
                    app.round(victim, round % 4 != 3, &mut random, locked);
                }
            });
        }
    });
    let (kills, locked) = (rounds * count, locked.into_inner());
    println!("{kills} kills, {locked} of them while the run's lock was in the repository");
    assert!(locked * 10 >= kills * 6, "{locked} of {kills}");
    for app in &apps {
        check(app);
        nothing_left(&app.namespace);
        kubectl(&["delete", "namespace", &app.namespace, "--wait=false"]);
    }
    movers(4);
    let repository: Value = get("clusterresticrepository", "", "locks").expect("it is there");
    assert_eq!(repository["status"]["phase"], "Ready");
    kubectl(&["delete", "clusterresticrepository", "locks"]);
    for (kind, name) in [("secret", "locks"), ("deployment", "locks"), ("pvc", "locks")] {
        kubectl(&["-n", SYSTEM, "delete", kind, name]);
    }
}
