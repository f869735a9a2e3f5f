//! A restore in a cluster of maps, where everything that Kubernetes, GitOps and users do happens in any order between
//! any two writes. Whatever happens, the app ends as it was, on the new data or on the old, and no volume is lost.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{PersistentVolume, PersistentVolumeClaim},
    },
    jiff::Timestamp,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{stop::name_of, *};
use crate::{
    api::{
        backup::VolumeBackupSpec,
        common::RepositoryKind,
        restore::{RestoreSource, VolumeRestoreSpec},
    },
    core::{
        effect::{self, On},
        mover_state::MoverState,
        task::{self, Answer, FailureKind, Outcome, Resolved, Restored},
        volumes::{self, DELETE, RETAIN},
        workload::Kind,
    },
};

const APP: &str = "media";
const OWN: &str = "strongroom";
const UID: &str = "restore-uid";
const OLD: &str = "old";
const NEW: &str = "new";
const EMPTY: &str = "empty";

type Key = (String, String);

/// What may differ from one run to the next.
#[derive(Clone, Debug)]
struct Scenario {
    kind: Kind,
    replicas: i32,
    claims: usize,
    policy: &'static str,
    deletes_claims: bool,
    resolve: Fate,
    restore: Fate,
    pod_never_ends: bool,
    /// The phase in which a user deletes the VolumeRestore.
    deleted_in: Option<RestorePhase>,
    choices: Vec<u8>,
}

/// What becomes of a mover.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Good,
    /// The repository is locked at first.
    LaterGood,
    /// The repository stays locked.
    Locked,
    Bad,
}

#[derive(Clone, Debug)]
struct SimPod {
    name: String,
    ending: bool,
    /// Whether its volumes are mounted.
    running: bool,
}

#[derive(Clone)]
struct World {
    scenario: Scenario,
    now: Time,
    counter: u64,
    restore: Option<VolumeRestore>,
    claims: BTreeMap<Key, PersistentVolumeClaim>,
    volumes: BTreeMap<String, PersistentVolume>,
    data: BTreeMap<String, &'static str>,
    deleted_volumes: Vec<String>,
    app: Value,
    pods: Vec<SimPod>,
    attached: BTreeSet<String>,
    movers: BTreeMap<&'static str, MoverState>,
    attempts: BTreeMap<&'static str, u32>,
    ended: BTreeMap<&'static str, Time>,
    mischief: BTreeMap<&'static str, u32>,
    /// The controller's steps.
    trace: Vec<String>,
    /// Whether something was left to clean up after the VolumeRestore was deleted at once.
    vanished: bool,
}

fn typed<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let map = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn patched<K: Serialize + DeserializeOwned>(object: &K, patch: &Value) -> Option<Value> {
    let mut value = serde_json::to_value(object).unwrap();
    let expected = &patch["metadata"]["resourceVersion"];
    assert!(expected.is_string(), "a patch rests on what was read: {patch}");
    if value["metadata"]["resourceVersion"] != *expected {
        return None;
    }
    merge(&mut value, patch);
    Some(value)
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut world = Self {
            now: "2026-10-01T00:00:00Z".parse().unwrap(),
            counter: 0,
            restore: None,
            claims: BTreeMap::new(),
            volumes: BTreeMap::new(),
            data: BTreeMap::new(),
            deleted_volumes: vec![],
            app: Value::Null,
            pods: vec![],
            attached: BTreeSet::new(),
            movers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ended: BTreeMap::new(),
            mischief: BTreeMap::new(),
            trace: vec![],
            vanished: false,
            scenario,
        };
        for name in world.claim_names() {
            world.create_claim(Self::manifest(&name, "fast"));
            world.bind();
            let volume = world.claim(&name).unwrap().spec.unwrap().volume_name.unwrap();
            world.data.insert(volume.clone(), OLD);
            let policy = world.scenario.policy;
            world.edit_volume(&volume, &json!({"spec": {"persistentVolumeReclaimPolicy": policy}}));
        }
        let volumes: Vec<Value> = world
            .claim_names()
            .iter()
            .filter(|_| world.scenario.kind == Kind::Deployment)
            .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
            .collect();
        world.app = json!({
            "metadata": {"name": "app", "namespace": APP, "uid": "app-uid", "resourceVersion": "0", "generation": 1},
            "spec": {
                "replicas": world.scenario.replicas,
                "selector": {},
                "serviceName": "app",
                "template": {"spec": {"containers": [], "volumes": volumes}},
            },
            "status": {"observedGeneration": 1, "replicas": 0, "readyReplicas": 0},
        });
        if world.scenario.kind == Kind::StatefulSet {
            let templates: Vec<Value> = (0..world.scenario.claims)
                .map(|index| json!({"metadata": {"name": format!("data{index}")}, "spec": {}}))
                .collect();
            let retention = if world.scenario.deletes_claims { "Delete" } else { "Retain" };
            world.app["spec"]["volumeClaimTemplates"] = json!(templates);
            world.app["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": retention});
        }
        let mut restore = VolumeRestore::new(
            "app-restore",
            VolumeRestoreSpec {
                from: RestoreSource { backup: Some("app".to_owned()), ..RestoreSource::default() },
                ..serde_json::from_value(json!({"from": {}})).unwrap()
            },
        );
        restore.metadata.namespace = Some(APP.to_owned());
        restore.metadata.uid = Some(UID.to_owned());
        restore.metadata.generation = Some(1);
        world.restore = Some(restore);
        world
    }

    fn claim_names(&self) -> Vec<String> {
        (0..self.scenario.claims)
            .map(|index| match self.scenario.kind {
                Kind::Deployment => format!("claim{index}"),
                Kind::StatefulSet => format!("data{index}-app-0"),
            })
            .collect()
    }

    fn unique(&mut self) -> String {
        self.counter += 1;
        self.counter.to_string()
    }

    fn claim(&self, name: &str) -> Option<PersistentVolumeClaim> {
        self.claims.get(&key(APP, name)).cloned()
    }

    /// The claim as Git has it.
    fn manifest(name: &str, class: &str) -> PersistentVolumeClaim {
        typed(json!({
            "metadata": {"name": name, "namespace": APP, "labels": {"app": "app"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class,
                "resources": {"requests": {"storage": "1Gi"}},
                "dataSourceRef": {"apiGroup": "strongroom.dev", "kind": "VolumeBackup", "name": "app"},
            },
        }))
    }

    fn create_claim(&mut self, mut claim: PersistentVolumeClaim) -> bool {
        let key = key(claim.metadata.namespace.as_deref().unwrap(), claim.metadata.name.as_deref().unwrap());
        if self.claims.contains_key(&key) {
            return false;
        }
        claim.metadata.uid = Some(format!("claim-uid-{}", self.unique()));
        claim.metadata.resource_version = Some(self.unique());
        claim.metadata.creation_timestamp = Some(self.k8s_now());
        claim.status = Some(typed(json!({"phase": "Pending"})));
        self.claims.insert(key, claim);
        true
    }

    fn k8s_now(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(self.now.timestamp()).unwrap())
    }

    fn edit_volume(&mut self, name: &str, patch: &Value) {
        let mut value = serde_json::to_value(&self.volumes[name]).unwrap();
        merge(&mut value, patch);
        if value != serde_json::to_value(&self.volumes[name]).unwrap() {
            value["metadata"]["resourceVersion"] = json!(self.unique());
            self.volumes.insert(name.to_owned(), typed(value));
        }
    }

    fn edit_app(&mut self, edit: impl FnOnce(&mut Value)) {
        let old = self.app.clone();
        edit(&mut self.app);
        if old["spec"] != self.app["spec"] {
            self.app["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        if old != self.app {
            self.app["metadata"]["resourceVersion"] = json!(self.unique());
        }
    }

    fn workload(&self) -> Workload {
        match self.scenario.kind {
            Kind::Deployment => workload::deployment(&typed::<Deployment>(self.app.clone())),
            Kind::StatefulSet => workload::stateful_set(&typed::<StatefulSet>(self.app.clone())),
        }
    }

    // What Kubernetes does.

    fn claim_of_uid(&self, uid: &str) -> Option<&PersistentVolumeClaim> {
        self.claims.values().find(|claim| claim.metadata.uid.as_deref() == Some(uid))
    }

    /// The volume controller: binds, provisions, releases, reclaims.
    fn bind(&mut self) {
        for name in self.volumes.keys().cloned().collect::<Vec<_>>() {
            let volume = self.volumes[&name].clone();
            let reference = volumes::claim_ref(&volume).cloned().unwrap_or_default();
            let phase = match &reference.uid {
                None => "Available",
                Some(uid) if self.claim_of_uid(uid).is_some() => "Bound",
                Some(_) => "Released",
            };
            self.edit_volume(&name, &json!({"status": {"phase": phase}}));
            if phase == "Released" && volumes::policy(&volume) == DELETE {
                self.volumes.remove(&name);
                self.deleted_volumes.push(name);
            }
        }
        for key in self.claims.keys().cloned().collect::<Vec<_>>() {
            let claim = self.claims[&key].clone();
            if claim.metadata.deletion_timestamp.is_some() || volumes::is_bound(&claim) {
                continue;
            }
            let class = claim.spec.as_ref().unwrap().storage_class_name.clone();
            let wanted = volumes::volume_of(&claim);
            let waiting = self.volumes.values().find(|volume| {
                volumes::is_waiting_for(volume, &key.0, &key.1)
                    && volumes::phase(volume) == "Available"
                    && volume.spec.as_ref().unwrap().storage_class_name == class
                    && wanted.is_none_or(|wanted| volume.metadata.name.as_deref() == Some(wanted))
            });
            let waiting = waiting.and_then(|volume| volume.metadata.name.clone());
            match (waiting, wanted) {
                (Some(volume), _) => self.bind_to(&key, &volume),
                (None, None) => {
                    let volume = format!("pvc-{}", claim.metadata.uid.as_deref().unwrap());
                    let resource_version = self.unique();
                    let new: PersistentVolume = typed(json!({
                        "metadata": {"name": volume, "resourceVersion": resource_version},
                        "spec": {
                            "storageClassName": class,
                            "capacity": {"storage": "1Gi"},
                            "persistentVolumeReclaimPolicy": DELETE,
                        },
                    }));
                    self.volumes.insert(volume.clone(), new);
                    self.data.insert(volume.clone(), EMPTY);
                    self.bind_to(&key, &volume);
                }
                (None, Some(_)) => {}
            }
        }
    }

    fn bind_to(&mut self, key: &Key, volume: &str) {
        let resource_version = self.unique();
        let claim = self.claims.get_mut(key).unwrap();
        claim.spec.as_mut().unwrap().volume_name = Some(volume.to_owned());
        claim.status = Some(typed(json!({"phase": "Bound"})));
        claim.metadata.resource_version = Some(resource_version);
        let uid = claim.metadata.uid.clone();
        let reference = json!({"namespace": key.0, "name": key.1, "uid": uid});
        self.edit_volume(volume, &json!({"spec": {"claimRef": reference}, "status": {"phase": "Bound"}}));
    }

    /// Claims that are deleted go when no pod uses them.
    fn finish_deletions(&mut self) {
        let in_use: Vec<String> = if self.pods.iter().any(|pod| pod.running) { self.claim_names() } else { vec![] };
        self.claims.retain(|key, claim| {
            claim.metadata.deletion_timestamp.is_none() || (key.0 == APP && in_use.contains(&key.1))
        });
    }

    /// The workload's controller, and the kubelet.
    fn run_pods(&mut self) {
        let wanted = usize::try_from(self.workload().replicas).unwrap();
        let is_stateful = self.scenario.kind == Kind::StatefulSet;
        let alive = self.pods.iter().filter(|pod| !pod.ending).count();
        for pod in self.pods.iter_mut().filter(|pod| !pod.ending).skip(wanted) {
            pod.ending = true;
        }
        if alive < wanted && !(is_stateful && self.pods.iter().any(|pod| pod.ending)) {
            for name in self.claim_names() {
                if is_stateful {
                    self.create_claim(Self::manifest(&name, "fast"));
                }
            }
            let name = format!("app-{}", self.unique());
            self.pods.push(SimPod { name, ending: false, running: false });
        }
        let claims: Vec<_> = self.claim_names().iter().filter_map(|name| self.claim(name)).collect();
        let usable = claims.len() == self.scenario.claims
            && claims.iter().all(|claim| volumes::is_bound(claim) && claim.metadata.deletion_timestamp.is_none());
        for pod in self.pods.iter_mut().filter(|pod| !pod.running && !pod.ending && usable) {
            pod.running = true;
            self.attached.extend(claims.iter().filter_map(volumes::volume_of).map(str::to_owned));
        }
        let ready = self.pods.iter().filter(|pod| pod.running && !pod.ending).count();
        self.edit_app(|app| {
            app["status"] = json!({
                "replicas": ready,
                "readyReplicas": ready,
                "observedGeneration": app["metadata"]["generation"],
            });
        });
    }

    fn end_pods(&mut self) {
        let stuck = self.scenario.pod_never_ends;
        let had_pods = self.pods.len();
        self.pods.retain(|pod| !pod.ending || (stuck && pod.running));
        if !self.pods.iter().any(|pod| pod.running) {
            self.attached.clear();
        }
        let is_stateful = self.scenario.kind == Kind::StatefulSet;
        // A pod that a StatefulSet removes for good becomes the owner of its claims, which go with it.
        if is_stateful && self.scenario.deletes_claims && self.workload().replicas == 0 && self.pods.len() < had_pods {
            for claim in self.claim_names().iter().filter_map(|name| self.claim(name)).collect::<Vec<_>>() {
                self.delete_claim(&claim);
            }
        }
    }

    fn run_movers(&mut self) {
        for (word, state) in &mut self.movers {
            if !matches!(state, MoverState::Running { .. }) {
                continue;
            }
            let attempt = self.attempts.entry(word).or_default();
            *attempt += 1;
            let (fate, bad) = match *word {
                "resolve" => (self.scenario.resolve, FailureKind::NoSnapshot),
                _ => (self.scenario.restore, FailureKind::CheckFailed),
            };
            let failed = |kind| Outcome::Failed(task::Failure { kind, message: "what restic says".to_owned() });
            let names: Vec<String> = (0..self.scenario.claims)
                .map(|index| match self.scenario.kind {
                    Kind::Deployment => format!("claim{index}"),
                    Kind::StatefulSet => format!("data{index}-app-0"),
                })
                .collect();
            let outcome = match fate {
                Fate::Bad => failed(bad),
                Fate::LaterGood if *attempt < 3 => failed(FailureKind::Locked),
                Fate::Locked => failed(FailureKind::Locked),
                _ if *word == "resolve" => Outcome::Resolved(
                    names
                        .iter()
                        .map(|claim| Resolved {
                            claim: claim.clone(),
                            snapshot: "0123456789abcdef".repeat(4),
                            time: self.now,
                            files: Some(3),
                            bytes: Some(1 << 20),
                        })
                        .collect(),
                ),
                _ => {
                    for (_, claim) in self.claims.iter().filter(|(key, _)| key.0 == OWN) {
                        let Some(volume) = volumes::volume_of(claim) else { return };
                        self.data.insert(volume.to_owned(), NEW);
                    }
                    let answer =
                        |claim: &String| Restored { claim: claim.clone(), entries: 7, bytes: 1 << 20, seconds: 1 };
                    Outcome::Restored(names.iter().map(answer).collect())
                }
            };
            self.ended.insert(word, self.now);
            *state = MoverState::Finished(Answer::new(Some("repo".to_owned()), outcome));
        }
    }

    fn delete_claim(&mut self, claim: &PersistentVolumeClaim) {
        let key = key(claim.metadata.namespace.as_deref().unwrap(), claim.metadata.name.as_deref().unwrap());
        let now = self.k8s_now();
        if let Some(live) = self.claims.get_mut(&key)
            && live.metadata.uid == claim.metadata.uid
        {
            live.metadata.deletion_timestamp.get_or_insert(now);
        }
    }

    // What the controller sees and does.

    fn observe(&self) -> Option<(VolumeRestore, Observed)> {
        let restore = self.restore.clone()?;
        let run = "app-restore-0".to_owned();
        let status = restore.status.clone().unwrap_or_default();
        let volume = |name: Option<&str>| name.and_then(|name| self.volumes.get(name)).cloned();
        let seen = |(index, name): (usize, String)| {
            let recorded = status.volumes.iter().find(|volume| volume.claim == name);
            let staging = self.claims.get(&key(OWN, &crate::core::names::of_run(&run, "data", index))).cloned();
            let claim = self.claim(&name);
            let previous = recorded.and_then(|volume| volume.previous_volume.as_deref());
            let staged = staging.as_ref().and_then(volumes::volume_of);
            let attached = previous.filter(|name| self.attached.contains(*name)).map(|_| "node".to_owned());
            let seen = ClaimSeen {
                bound: volume(claim.as_ref().and_then(volumes::volume_of)),
                previous: volume(previous),
                volume: volume(recorded.and_then(|volume| volume.volume.as_deref()).or(staged)),
                attached: attached.into_iter().collect(),
                claim,
                staging,
            };
            (name, seen)
        };
        let mover = |which: Which| Mover {
            state: self.movers.get(which.word()).cloned().unwrap_or(MoverState::Absent),
            ended: self.ended.get(which.word()).copied(),
            has_credentials: false,
        };
        let repository = RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: "nas".to_owned() };
        let target = |claim: String| BackupVolume { claim, host: APP.to_owned(), path: "/data".to_owned() };
        let mut backup = VolumeBackup::new("app", VolumeBackupSpec::default());
        backup.spec.claim_names = self.claim_names();
        let owner = |kind: Kind| (kind.as_str().to_owned(), "app".to_owned(), "app-uid".to_owned());
        let observed = Observed {
            owner: Owner {
                kind: "VolumeRestore",
                namespace: Some(APP.to_owned()),
                name: "app-restore".to_owned(),
                uid: UID.to_owned(),
            },
            run: run.clone(),
            namespace: OWN.to_owned(),
            backup: Some(backup),
            source: Some(Ok(Source {
                repository,
                id: Some("repo".to_owned()),
                targets: self.claim_names().into_iter().map(target).collect(),
                limits: RateLimits::default(),
            })),
            before: None,
            full: None,
            resolving: mover(Which::Resolve),
            restoring: mover(Which::Restore),
            claims: self.claim_names().into_iter().enumerate().map(seen).collect(),
            workloads: vec![self.workload()],
            pods: self
                .pods
                .iter()
                .map(|pod| PodUse {
                    name: pod.name.clone(),
                    claims: self.claim_names(),
                    stays: false,
                    controller: Some(owner(self.scenario.kind)),
                })
                .collect(),
        };
        Some((restore, observed))
    }

    /// Carries a step out as the API server would: what rests on an older state is refused.
    fn execute(&mut self, restore: &VolumeRestore, step: Step) {
        match step {
            Step::Record(status) | Step::Wait(status, _) => {
                let unchanged = restore.status.as_ref() == Some(&*status);
                let current = self
                    .restore
                    .as_mut()
                    .filter(|live| live.metadata.resource_version == restore.metadata.resource_version);
                if let Some(live) = current.filter(|_| !unchanged) {
                    live.status = Some(*status);
                    self.counter += 1;
                    live.metadata.resource_version = Some(self.counter.to_string());
                }
            }
            Step::Finalizer(wanted) => {
                let Some(live) = &mut self.restore else { return };
                if live.metadata.resource_version != restore.metadata.resource_version {
                    return;
                }
                assert!(!wanted || live.metadata.deletion_timestamp.is_none(), "a finalizer on what is deleted");
                live.metadata.finalizers = wanted.then(|| vec![FINALIZER.to_owned()]);
                self.counter += 1;
                live.metadata.resource_version = Some(self.counter.to_string());
                self.restore = self.restore.take().filter(|live| wanted || live.metadata.deletion_timestamp.is_none());
            }
            Step::StartMover(which, ..) => {
                self.movers.entry(which.word()).or_insert(MoverState::Running { progress: None, waits: None });
            }
            Step::RemoveMover(which) => {
                self.movers.remove(which.word());
            }
            Step::Stage(claim) | Step::CreateClaim(claim) => {
                self.create_claim(*claim);
            }
            Step::DeleteClaim(claim) => self.delete_claim(&claim),
            Step::PatchVolume(name, patch) => {
                if let Some(value) = self.volumes.get(&name).and_then(|volume| patched(volume, &patch)) {
                    let mut value = value;
                    value["metadata"]["resourceVersion"] = json!(self.unique());
                    self.volumes.insert(name, typed(value));
                }
            }
            Step::PatchWorkload(_, patch) => {
                if let Some(value) = patched(&self.app, &patch) {
                    self.edit_app(|app| *app = value);
                }
            }
            Step::Done => {}
        }
    }

    /// One look and one step; `between` happens after the look.
    fn control(&mut self, between: impl FnOnce(&mut Self)) {
        let Some((restore, observed)) = self.observe() else { return };
        let step = next_step(&restore, &observed, self.now);
        self.trace.push(match &step {
            Step::Record(status) => format!("record {:?} {:?}", status.phase, status.steps.last().map(|s| &s.message)),
            Step::Wait(status, _) => {
                format!("wait {:?}", conditions::get(&status.conditions, READY).map(|ready| &ready.message))
            }
            Step::PatchVolume(name, patch) => format!("patch {name} {patch}"),
            Step::PatchWorkload(_, patch) => format!("patch workload {patch}"),
            other => format!("{other:?}").chars().take(80).collect(),
        });
        between(self);
        self.execute(&restore, step);
        self.never_lost();
    }

    fn kubernetes(&mut self, which: u8) {
        match which % 5 {
            0 => self.bind(),
            1 => self.finish_deletions(),
            2 => self.run_pods(),
            3 => self.end_pods(),
            _ => self.run_movers(),
        }
    }

    fn mischief(&mut self, what: &'static str, times: u32) -> bool {
        let count = self.mischief.entry(what).or_default();
        *count += 1;
        *count <= times
    }

    /// What others do.
    fn others(&mut self, which: u8) {
        let names = self.claim_names();
        match which % 6 {
            0 | 1 => {
                for name in names {
                    self.create_claim(Self::manifest(&name, "fast"));
                }
            }
            2 if self.mischief("another class", 1) => {
                self.create_claim(Self::manifest(&names[0], "slow"));
            }
            3 if self.mischief("scale", 3) => {
                let replicas = self.scenario.replicas;
                self.edit_app(|app| app["spec"]["replicas"] = json!(replicas));
            }
            4 => self.delete_restore(),
            _ => self.now += chrono::Duration::seconds(i64::from(which)),
        }
    }

    fn delete_restore(&mut self) {
        let phase = self.restore.as_ref().and_then(|restore| restore.status.as_ref()?.phase);
        if phase.is_none() || phase != self.scenario.deleted_in || !self.mischief("delete", 1) {
            return;
        }
        let now = self.k8s_now();
        self.counter += 1;
        if let Some(restore) = &mut self.restore {
            restore.metadata.deletion_timestamp = Some(now);
            restore.metadata.resource_version = Some(self.counter.to_string());
            self.vanished = restore.metadata.finalizers.is_none();
        }
        self.restore = self.restore.take().filter(|_| !self.vanished);
    }

    fn is_over(&self) -> bool {
        self.restore.as_ref().is_none_or(|restore| {
            has_ended(restore.status.as_ref().and_then(|status| status.phase)) && restore.metadata.finalizers.is_none()
        })
    }

    fn run(&mut self) {
        for _ in 0..20 {
            self.run_pods();
        }
        for choice in self.scenario.choices.clone() {
            let detail = choice / 8;
            match choice % 8 {
                0..=2 => self.control(|_| {}),
                3 => self.control(|world| world.kubernetes(detail)),
                4 => self.control(|world| world.others(detail)),
                5 | 6 => self.kubernetes(detail),
                _ => self.others(detail),
            }
            self.now += chrono::Duration::seconds(1);
        }
        let mut calm = 0;
        for round in 0..1000 {
            self.control(|_| {});
            for which in 0..5 {
                self.kubernetes(which);
            }
            self.now += chrono::Duration::seconds(if round < 100 { 1 } else { 20 });
            calm += u32::from(self.is_over());
            if calm > 20 {
                break;
            }
        }
    }

    // What must hold.

    /// A volume with the app's data is never deleted.
    fn never_lost(&self) {
        for name in &self.deleted_volumes {
            assert_ne!(self.data[name], OLD, "the volume that the app had was deleted");
        }
    }

    /// A pod that does not end still has the claims that go with it.
    fn may_still_lose_claims(&self) -> bool {
        self.scenario.kind == Kind::StatefulSet && self.scenario.deletes_claims && !self.workload().is_ready()
    }

    fn check(&self) {
        self.never_lost();
        let phase = self.restore.as_ref().map(|restore| restore.status.as_ref().unwrap().phase.unwrap());
        let last = self.trace.len().saturating_sub(30);
        assert!(self.is_over(), "it did not end: {:#?}", &self.trace[last..]);
        let workload = self.workload();
        assert_eq!(workload.replicas, self.scenario.replicas, "the app's replicas");
        assert_eq!((workload.stopped_by, workload.recorded), (None, None), "notes on the app");
        let mut contents = BTreeSet::new();
        for name in self.claim_names() {
            let claim = self.claim(&name).expect("the claim is there");
            assert!(volumes::is_bound(&claim), "the claim is bound");
            assert_eq!(claim.metadata.labels.as_ref().unwrap()["app"], "app");
            assert!(claim.spec.as_ref().unwrap().data_source_ref.is_some());
            let volume = &self.volumes[volumes::volume_of(&claim).unwrap()];
            contents.insert(self.data[&name_of(volume)]);
            match phase {
                Some(RestorePhase::Succeeded) => assert_eq!(self.data[&name_of(volume)], NEW),
                Some(RestorePhase::Failed) => assert_eq!(self.data[&name_of(volume)], OLD),
                _ => {}
            }
            if self.may_still_lose_claims() {
                continue;
            }
            assert_eq!(volumes::policy(volume), self.scenario.policy, "the policy of the volume in use");
            assert!(volume.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty), "marks on the volume in use");
            assert!(volume.metadata.annotations.as_ref().is_none_or(BTreeMap::is_empty), "notes on the volume in use");
        }
        assert_eq!(contents.len(), 1, "all claims have data of the same time: {contents:?}");
        if !self.vanished {
            assert!(self.claims.keys().all(|key| key.0 == APP), "staging claims are left: {:?}", self.claims.keys());
            assert!(self.movers.is_empty(), "movers are left: {:?}", self.movers.keys());
        }
        if contents.contains(OLD) && !self.vanished {
            assert!(self.volumes.keys().all(|name| self.data[name] != NEW), "the new volume is left");
        }
        for (name, volume) in self.volumes.iter().filter(|(_, volume)| volumes::phase(volume) == "Released") {
            if !self.vanished || self.data[name] == OLD {
                assert_eq!(volumes::policy(volume), RETAIN, "{name} is kept");
                let late = self.now + chrono::Duration::hours(169);
                assert_eq!(volumes::expire(volume, self.now + chrono::Duration::hours(100)), None);
                let last = self.trace.len().saturating_sub(60);
                let expired = volumes::expire(volume, late);
                let expired =
                    expired.unwrap_or_else(|| panic!("{name} is never given back: {:#?}", &self.trace[last..]));
                let policy = if self.data[name] == OLD { self.scenario.policy } else { DELETE };
                assert_eq!(expired["spec"]["persistentVolumeReclaimPolicy"], policy);
            }
        }
    }
}

const PHASES: [RestorePhase; 4] =
    [RestorePhase::Restoring, RestorePhase::Stopping, RestorePhase::Swapping, RestorePhase::Starting];

fn scenarios() -> impl Strategy<Value = Scenario> {
    let fate = || prop_oneof![4 => Just(Fate::Good), 1 => Just(Fate::LaterGood), 1 => Just(Fate::Bad)];
    let kind = prop_oneof![Just(Kind::Deployment), Just(Kind::StatefulSet)];
    let policy = prop_oneof![Just(DELETE), Just(RETAIN)];
    let choices = proptest::collection::vec(any::<u8>(), 0..400);
    let deleted_in = proptest::option::of(proptest::sample::select(&PHASES[..]));
    let fates = (fate(), fate(), proptest::bool::weighted(0.15), deleted_in);
    (kind, 1..=2_usize, policy, any::<bool>(), fates, choices).prop_map(
        |(kind, claims, policy, deletes_claims, (resolve, restore, pod_never_ends, deleted_in), choices)| Scenario {
            kind,
            replicas: 1,
            claims,
            policy,
            deletes_claims,
            resolve,
            restore,
            pod_never_ends,
            deleted_in,
            choices,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_app_ends_as_it_was_on_new_data_or_old(scenario in scenarios()) {
        let mut world = World::new(scenario);
        world.run();
        world.check();
    }
}

fn calm(kind: Kind, claims: usize) -> Scenario {
    Scenario {
        kind,
        replicas: 1,
        claims,
        policy: DELETE,
        deletes_claims: false,
        resolve: Fate::Good,
        restore: Fate::Good,
        pod_never_ends: false,
        deleted_in: None,
        choices: vec![],
    }
}

#[test]
fn a_calm_restore_succeeds() {
    for kind in [Kind::Deployment, Kind::StatefulSet] {
        let mut world = World::new(calm(kind, 2));
        world.run();
        world.check();
        let status = world.restore.unwrap().status.unwrap();
        assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
        let words: Vec<String> = status.steps.into_iter().map(|step| step.message).collect();
        let message = conditions::get(&status.conditions, READY).unwrap().message.clone();
        if kind == Kind::Deployment {
            insta::assert_yaml_snapshot!((words, message));
        }
    }
}

#[test]
fn a_pod_that_does_not_end_is_named_and_everything_is_put_back() {
    let mut world = World::new(Scenario { pod_never_ends: true, ..calm(Kind::Deployment, 1) });
    world.run();
    world.check();
    let status = world.restore.unwrap().status.unwrap();
    assert_eq!(status.phase, Some(RestorePhase::Failed));
    insta::assert_yaml_snapshot!(
        status.conditions.iter().map(|c| (&c.type_, &c.reason, &c.message)).collect::<Vec<_>>()
    );
}

#[test]
fn what_may_clear_by_itself_is_waited_for_within_the_timeout_and_the_app_never_noticed() {
    for later in [true, false] {
        let resolve = if later { Fate::LaterGood } else { Fate::Locked };
        let mut world = World::new(Scenario { resolve, ..calm(Kind::Deployment, 1) });
        world.run();
        world.check();
        let shown = world.trace.iter().any(|step| step.starts_with("wait") && step.contains("waits for the lock"));
        assert!(shown, "the reason is shown meanwhile: {:#?}", world.trace);
        let status = world.restore.as_ref().unwrap().status.clone().unwrap();
        if later {
            assert_eq!(status.phase, Some(RestorePhase::Succeeded));
            continue;
        }
        let ready = conditions::get(&status.conditions, READY).unwrap();
        assert_eq!((status.phase, ready.reason.as_str()), (Some(RestorePhase::Failed), "RestoreTimeout"));
        assert!(
            status.stopped.is_empty()
                && status.finished_at.unwrap() - status.started_at.unwrap() >= DEFAULT_TIMEOUT.as_chrono()
        );
        assert!(!world.trace.iter().any(|step| step.starts_with("patch workload")), "the app was touched");
    }
}

/// Runs until something is so.
fn run_until(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    for _ in 0..500 {
        if is_so(world) {
            return;
        }
        world.control(|_| {});
        for which in 0..5 {
            world.kubernetes(which);
            if is_so(world) {
                return;
            }
        }
        world.now += chrono::Duration::seconds(1);
    }
    panic!("{what} never came: {:#?}", world.trace);
}

fn phase_of(world: &World) -> Option<RestorePhase> {
    world.restore.as_ref()?.status.as_ref()?.phase
}

#[test]
fn claims_that_a_statefulset_deletes_with_its_pods_come_back() {
    let scenario = Scenario { deletes_claims: true, ..calm(Kind::StatefulSet, 2) };
    let data = |world: &World, name: &str| {
        let claim = world.claim(name).unwrap();
        world.data[volumes::volume_of(&claim).unwrap()]
    };

    let mut world = World::new(Scenario { deleted_in: Some(RestorePhase::Stopping), ..scenario.clone() });
    run_until(&mut world, "the end of the claims", |world| {
        let is_going = |claim: PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some();
        phase_of(world) == Some(RestorePhase::Stopping) && world.claim("data0-app-0").is_some_and(is_going)
    });
    world.finish_deletions();
    world.delete_restore();
    world.run();
    world.check();
    assert_eq!(data(&world, "data1-app-0"), OLD, "the VolumeRestore was deleted before the way led forward");

    let mut world = World::new(scenario);
    run_until(&mut world, "the start", |world| phase_of(world) == Some(RestorePhase::Starting));
    let claim = world.claim("data0-app-0").unwrap();
    world.delete_claim(&claim);
    world.finish_deletions();
    world.run();
    world.check();
    assert_eq!(data(&world, "data0-app-0"), NEW);
}

#[test]
fn a_new_volume_that_is_gone_is_said() {
    let mut world = World::new(calm(Kind::Deployment, 1));
    run_until(&mut world, "the stop", |world| phase_of(world) == Some(RestorePhase::Stopping));
    let new = world.restore.as_ref().unwrap().status.as_ref().unwrap().volumes[0].volume.clone().unwrap();
    world.volumes.remove(&new);
    world.run();
    let status = world.restore.unwrap().status.unwrap();
    let ready = conditions::get(&status.conditions, READY).unwrap();
    assert_eq!((status.phase, ready.reason.as_str()), (Some(RestorePhase::Failed), "StagingFailed"));
    assert!(conditions::get(&status.conditions, STALLED).is_some());
    assert!(ready.message.contains("the new volume for claim"), "{}", ready.message);
}

/// The restore has failed with that reason, as the page of messages says it.
fn failed_with(world: &World, reason: Reason) {
    let status = world.restore.as_ref().unwrap().status.clone().unwrap();
    let ready = conditions::get(&status.conditions, READY).unwrap();
    assert_eq!((status.phase, ready.reason.as_str()), (Some(RestorePhase::Failed), reason.as_str()));
    assert_eq!(ready.status, ConditionStatus::False);
    assert!(conditions::get(&status.conditions, STALLED).is_some());
    assert!(effect::effects(On::VolumeRestore, reason).contains(&effect::FAILED));
}

#[test]
fn a_claim_that_goes_while_its_data_is_restored_ends_the_restore() {
    let mut world = World::new(Scenario { policy: RETAIN, ..calm(Kind::Deployment, 1) });
    run_until(&mut world, "the restore", |world| world.movers.contains_key("restore"));
    let name = world.claim_names()[0].clone();
    world.claims.remove(&key(APP, &name));
    world.run();
    failed_with(&world, Reason::ClaimNotFound);
}

#[test]
fn a_deleted_restore_ends_as_interrupted() {
    let mut world = World::new(Scenario { deleted_in: Some(RestorePhase::Stopping), ..calm(Kind::Deployment, 1) });
    run_until(&mut world, "the stop", |world| {
        world.restore.as_ref().is_some_and(|restore| restore.metadata.finalizers.is_some())
    });
    world.delete_restore();
    assert!(!world.vanished);
    world.run();
    world.check();
    assert!(world.trace.iter().any(|step| step.contains("the VolumeRestore was deleted")), "{:#?}", world.trace);
    let told = effect::effects(On::VolumeRestore, Reason::Interrupted);
    assert!(told.contains(&effect::FAILED));
}

#[test]
fn a_claim_that_became_a_block_volume_ends_the_restore() {
    let mut world = World::new(calm(Kind::Deployment, 1));
    run_until(&mut world, "the staging", |world| phase_of(world) == Some(RestorePhase::Restoring));
    let name = world.claim_names()[0].clone();
    world.claims.get_mut(&key(APP, &name)).unwrap().spec.as_mut().unwrap().volume_mode = Some("Block".to_owned());
    world.run();
    failed_with(&world, Reason::VolumeUnsupported);
}
