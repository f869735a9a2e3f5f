//! A restore in a cluster of maps, where everything that Kubernetes, GitOps and users do happens in any order between
//! any two writes. Whatever happens, the app ends as it was, on the new data or on the old, and no volume is lost.

mod controller;
mod kubernetes;
mod tests;

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

    fn delete_claim(&mut self, claim: &PersistentVolumeClaim) {
        let key = key(claim.metadata.namespace.as_deref().unwrap(), claim.metadata.name.as_deref().unwrap());
        let now = self.k8s_now();
        if let Some(live) = self.claims.get_mut(&key)
            && live.metadata.uid == claim.metadata.uid
        {
            live.metadata.deletion_timestamp.get_or_insert(now);
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
