//! A cluster in maps, with everyone who acts in it: the snapshot controller, the provisioner, the kubelet and the
//! garbage collector, in any order, and a controller that may end after any step.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    api::{
        backup::{RunHooks, RunResult, VolumeBackupSpec},
        common::RepositoryKind,
        foreign::{VolumeGroupSnapshotStatus, VolumeSnapshotContentStatus, VolumeSnapshotError, VolumeSnapshotStatus},
        repository::Lock,
    },
    core::{
        problem::Reason,
        task::{Answer, BackedUp, Failure, FailureKind, Others, Outcome},
        unlock,
    },
};

pub(super) const NAMESPACE: &str = "strongroom-system";

/// How a mover ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    Unread,
    Fails(FailureKind),
    OutOfMemory,
    Evicted,
    JobDeleted,
}

/// What was done, for those who watch the order of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Did {
    /// A command was run, of that program.
    Ran(When, String, Executed),
    /// The app's volume was snapshotted.
    Snapshotted,
    /// A mover was made.
    Moved,
    /// An attempt was over, with what is known of its hooks.
    Over(Option<RunHooks>),
}

/// Where the controller ends when it next has a command run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// It was about to.
    Before,
    /// What came of it is not entered.
    After,
}

/// What is wrong with claims on which a cache is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheFault {
    /// They get no volume.
    Unbound,
    /// The API does not take them.
    Refused,
}

pub(super) struct Cluster {
    pub(super) world: World,
    pub(super) pods: Vec<Pod>,
    /// What comes of commands: the first that its program fits, else it succeeds.
    pub(super) outcomes: Vec<(String, Executed)>,
    pub(super) kill: Option<Kill>,
    pub(super) refused: Option<Problem>,
    pub(super) did: Vec<Did>,
    pub(super) now: Time,
    pub(super) backup: VolumeBackup,
    pub(super) claims: BTreeMap<String, SeenClaim>,
    pub(super) classes: Vec<VolumeSnapshotClass>,
    pub(super) repositories: Vec<SeenRepository>,
    pub(super) group_classes: GroupClasses,
    pub(super) groups: BTreeMap<String, VolumeGroupSnapshot>,
    pub(super) snapshots: BTreeMap<String, VolumeSnapshot>,
    pub(super) contents: BTreeMap<String, VolumeSnapshotContent>,
    pub(super) staged: BTreeMap<String, PersistentVolumeClaim>,
    /// Claims on which caches are kept.
    pub(super) caches: BTreeMap<String, PersistentVolumeClaim>,
    pub(super) cache_fault: Option<CacheFault>,
    pub(super) volumes: BTreeMap<String, PersistentVolume>,
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) jobs: BTreeMap<String, (Job, MoverState)>,
    /// The controller's memory, which a crash empties.
    pub(super) place: Place,
    pub(super) snapshots_work: bool,
    pub(super) volumes_are_kept: bool,
    pub(super) end: End,
    /// What movers find of other programs.
    pub(super) others: Option<Others>,
    /// Whether the base cannot be told anything.
    pub(super) untold: bool,
    pub(super) creations: usize,
    pub(super) deletions: usize,
    pub(super) writes: usize,
    pub(super) notes: Vec<Note>,
    pub(super) refusals: usize,
    /// Why the credentials cannot be had.
    pub(super) credentials_problem: Option<Problem>,
    /// How often the lock of a dead mover was removed.
    pub(super) unlocked: usize,
    counter: usize,
}

pub(super) fn time(text: &str) -> Time {
    text.parse().unwrap()
}

pub(super) fn world() -> World {
    World {
        cluster: "cluster".to_owned(),
        namespace: NAMESPACE.to_owned(),
        image: Image { name: "strongroom:1".to_owned(), pull_policy: "IfNotPresent".to_owned(), pull_secrets: vec![] },
        hooks: true,
    }
}

pub(super) fn key(name: &str) -> RepositoryKey {
    RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: name.to_owned() }
}

pub(super) fn repository(name: &str) -> SeenRepository {
    let spec = json!({
        "url": format!("s3:https://{name}/backups/{{{{ namespace }}}}/{{{{ name }}}}"),
        "credentials": {"secretRef": {"name": "restic"}},
        "schedule": "0 * * * *", "jitter": "0s",
    });
    SeenRepository {
        key: key(name),
        state: Ok((serde_json::from_value(spec).unwrap(), Some("base-id".to_owned()))),
        taken: None,
        at_work: None,
    }
}

/// A lock of somebody else.
fn lock() -> Lock {
    Lock {
        id: "0ef4cb6f".to_owned(),
        host: "laptop".to_owned(),
        user: "root".to_owned(),
        process: 6800,
        exclusive: true,
        since: time("2026-09-24T11:58:00Z"),
    }
}

fn bind(claim: &mut PersistentVolumeClaim) {
    claim.spec.as_mut().unwrap().volume_name.get_or_insert_with(|| "pvc-cache".to_owned());
    claim.status = serde_json::from_value(json!({"phase": "Bound"})).unwrap();
}

fn is_cache(child: &Child) -> bool {
    matches!(child, Child::Claim(claim) if claim.spec.as_ref().unwrap().data_source.is_none())
}

/// The name of a group's snapshot of this claim.
fn member(group: &str, claim: &str) -> String {
    format!("member-of-{group}-{claim}")
}

pub(super) fn claim(name: &str) -> SeenClaim {
    let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "ceph-block"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    let volume = json!({"spec": {"csi": {"driver": "rook-ceph.rbd.csi.ceph.com", "volumeHandle": name}}});
    SeenClaim {
        name: name.to_owned(),
        claim: serde_json::from_value(claim).unwrap(),
        volume: serde_json::from_value(volume).unwrap(),
    }
}

impl Cluster {
    pub(super) fn new(spec: VolumeBackupSpec) -> Self {
        let mut backup = VolumeBackup::new("radarr", spec);
        backup.metadata.namespace = Some("media".to_owned());
        backup.metadata.uid = Some("u-1".to_owned());
        backup.metadata.generation = Some(1);
        let class = VolumeSnapshotClass {
            name: "csi-ceph-blockpool".to_owned(),
            annotations: BTreeMap::new(),
            driver: "rook-ceph.rbd.csi.ceph.com".to_owned(),
            deletion_policy: "Delete".to_owned(),
        };
        let claims = claim_names(&backup).into_iter().map(|name| (name.clone(), claim(&name))).collect();
        Self {
            world: world(),
            pods: vec![],
            outcomes: vec![],
            kill: None,
            refused: None,
            did: vec![],
            now: time("2026-09-24T11:50:00Z"),
            backup,
            claims,
            classes: vec![class],
            repositories: vec![repository("nas")],
            group_classes: GroupClasses::default(),
            groups: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            contents: BTreeMap::new(),
            staged: BTreeMap::new(),
            caches: BTreeMap::new(),
            cache_fault: None,
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            jobs: BTreeMap::new(),
            place: Place::Unasked,
            snapshots_work: true,
            volumes_are_kept: false,
            end: End::Good,
            others: None,
            untold: false,
            creations: 0,
            deletions: 0,
            writes: 0,
            notes: vec![],
            refusals: 0,
            credentials_problem: None,
            unlocked: 0,
            counter: 0,
        }
    }

    /// Every repository's cache is kept.
    pub(super) fn keep_caches(&mut self) {
        for of in &mut self.repositories {
            let mover = json!({"cache": {"size": "5Gi", "storageClassName": "local"}});
            of.state.as_mut().unwrap().0.mover = serde_json::from_value(mover).unwrap();
        }
    }

    /// The claims are chosen by a label, and the driver has group snapshots.
    pub(super) fn group(&mut self) {
        let selector = serde_json::from_value(json!({"matchLabels": {"app": "radarr"}})).unwrap();
        (self.backup.spec.claim_names, self.backup.spec.claim_selector) = (vec![], Some(selector));
        let class = VolumeSnapshotClass { name: "groups".to_owned(), ..self.classes[0].clone() };
        self.group_classes =
            GroupClasses { version: Some(GroupSnapshotVersion::V1beta1), classes: vec![class], hidden: None };
    }

    pub(super) fn status(&self) -> VolumeBackupStatus {
        self.backup.status.clone().unwrap_or_default()
    }

    pub(super) fn force(&mut self, token: &str) {
        let annotations = self.backup.annotations_mut();
        for name in [annotations::REQUESTED_AT, annotations::FORCE_AT] {
            annotations.insert(name.to_owned(), token.to_owned());
        }
    }

    pub(super) fn observe(&self) -> Observed {
        let status = self.status();
        let mut seen = Observed {
            classes: self.classes.clone(),
            group_classes: self.group_classes.clone(),
            repositories: self.repositories.clone(),
            place: self.place.clone(),
            refused: self.refused.clone(),
            pods: if hooks_are_due(&status) { self.pods.clone() } else { vec![] },
            ..Observed::default()
        };
        let declared = || match self.backup.spec.claim_selector {
            // All of them have the labels.
            Some(_) => self.claims.keys().cloned().collect(),
            None => claim_names(&self.backup),
        };
        let names = status.run.as_ref().map_or_else(declared, |run| run.claims.clone());
        let absent = |name: &String| SeenClaim { name: name.clone(), ..SeenClaim::default() };
        seen.claims = names.iter().map(|name| self.claims.get(name).cloned().unwrap_or_else(|| absent(name))).collect();
        let Some(run) = &status.run else { return seen };
        let (owner, world) = (owner(&self.backup), world());
        let mounted = |index: usize| {
            let (job, _) = self.jobs.get(&job_name(&run.id, index))?;
            self.caches.get(cache_of(job)?).cloned()
        };
        seen.group = self.groups.get(&staging(&owner, &run.id, &world, 0).group_name()).cloned();
        for (index, claim) in run.claims.iter().enumerate() {
            let names = staging(&owner, &run.id, &world, index);
            let snapshot = match &seen.group {
                Some(group) => self.snapshots.get(&member(&group.name_any(), claim)),
                None => self.snapshots.get(&names.snapshot_name()),
            };
            let snapshot = snapshot.cloned();
            let bound = snapshot.as_ref().and_then(|snapshot| {
                self.contents.get(snapshot.status.as_ref()?.bound_volume_snapshot_content_name.as_ref()?)
            });
            let claim = self.staged.get(&names.claim_name()).cloned();
            if let Some(volume) = claim.as_ref().and_then(|claim| claim.spec.as_ref()?.volume_name.as_ref()) {
                seen.volumes.extend(self.volumes.get(volume).cloned());
            }
            seen.staging.push(SeenStaging {
                snapshot_content: bound.cloned(),
                snapshot,
                content: self.contents.get(&names.content_name()).cloned(),
                twin: self.snapshots.get(&names.twin_name()).cloned(),
                claim,
                warning: None,
            });
        }
        for name in &run.volumes {
            if !seen.volumes.iter().any(|volume| volume.name_any() == *name) {
                seen.volumes.extend(self.volumes.get(name).cloned());
            }
        }
        for index in 0..run.repositories.len() {
            let job = self.jobs.get(&job_name(&run.id, index));
            let of = self.repositories.iter().find(|of| of.key == run.repositories[index]);
            let cache = of.and_then(|of| {
                let claim = cache_of_run(&self.backup, run, &of.key, &of.state.as_ref().ok()?.0, NAMESPACE)?;
                self.caches.get(&claim.name_any()).cloned()
            });
            seen.movers.push(SeenMover {
                cache: if status.phase == Some(BackupPhase::BackingUp) { mounted(index) } else { cache },
                credentials: self.secrets.get(&credentials_name(&run.id, index)).cloned(),
                state: job.map_or(MoverState::Absent, |(_, state)| state.clone()),
                job: job.map(|(job, _)| job.clone()),
                unlocking: self
                    .jobs
                    .get(&unlock::job_name(&job_name(&run.id, index)))
                    .map_or(MoverState::Absent, |(_, state)| state.clone()),
                problem: self.credentials_problem.clone(),
                slot: Some(0),
            });
        }
        seen
    }

    /// One look of the controller. Returns how long it would wait, if it does.
    pub(super) fn control(&mut self) -> Option<std::time::Duration> {
        let step = next_step(&self.backup, &self.world, &self.observe(), self.now);
        self.take(step)
    }

    fn take(&mut self, step: Step) -> Option<std::time::Duration> {
        match step {
            Step::Write(status, note) => self.write(*status, note),
            Step::Exec(intent, exec) => {
                if let Some(status) = intent {
                    self.write(*status, None);
                }
                return self.exec(&exec);
            }
            Step::Ask(_) => self.place = Place::Granted,
            Step::Create(child) if self.cache_fault == Some(CacheFault::Refused) && is_cache(&child) => {
                // The API says no, and the controller tries again.
                return Some(std::time::Duration::from_secs(20));
            }
            Step::Create(child) => self.create(child),
            Step::Credentials(index) => {
                let run = self.status().run.unwrap();
                let name = credentials_name(&run.id, index);
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                assert!(self.secrets.insert(name, Secret { metadata, ..Secret::default() }).is_none());
                self.creations += 1;
            }
            Step::Release(name) => {
                let spec = self.volumes.get_mut(&name).unwrap().spec.as_mut().unwrap();
                spec.persistent_volume_reclaim_policy = Some("Delete".to_owned());
            }
            Step::Delete(child) => self.delete(&child),
            Step::Wait(wait) => return Some(wait),
        }
        None
    }

    fn write(&mut self, status: VolumeBackupStatus, note: Option<Note>) {
        assert_ne!(self.backup.status.as_ref(), Some(&status), "nothing is written when nothing changed");
        let held = super::running(&self.backup, self.now).is_some();
        let before = self.backup.status.replace(status).and_then(|status| status.run);
        let now = self.status().run;
        if let Some(before) = before.filter(|before| now.is_none_or(|now| now.id != before.id)) {
            self.did.push(Did::Over(before.hooks));
        }
        if held && super::running(&self.backup, self.now).is_none() {
            self.place = Place::Unasked;
        }
        self.notes.extend(note);
        self.writes += 1;
    }

    /// A command in the app's pod.
    fn exec(&mut self, exec: &Exec) -> Option<std::time::Duration> {
        if self.kill == Some(Kill::Before) {
            self.kill = None;
            return None;
        }
        let program = exec.command[0].clone();
        let outcome = self.outcomes.iter().find(|(of, _)| *of == program).map(|(_, outcome)| outcome.clone());
        let outcome = outcome.unwrap_or(Executed::Succeeded);
        self.did.push(Did::Ran(exec.when, program, outcome.clone()));
        if self.kill == Some(Kill::After) {
            self.kill = None;
            return None;
        }
        let step = executed(&self.backup, exec, &outcome, self.now);
        self.take(step)
    }

    fn create(&mut self, child: Child) {
        let of_app = |child: &Child| match child {
            Child::Group(..) => true,
            Child::Snapshot(object) => object.spec.source.persistent_volume_claim_name.is_some(),
            _ => false,
        };
        assert!(of_app(&child) || !owes_hooks(&self.backup), "the app is held still only for its snapshots");
        match &child {
            child if of_app(child) => self.did.push(Did::Snapshotted),
            Child::Job(_) => self.did.push(Did::Moved),
            _ => {}
        }
        self.creations += 1;
        match child {
            Child::Group(_, object) => assert!(self.groups.insert(object.name_any(), *object).is_none()),
            Child::Snapshot(object) => assert!(self.snapshots.insert(object.name_any(), *object).is_none()),
            Child::Content(object) => assert!(self.contents.insert(object.name_any(), *object).is_none()),
            child if is_cache(&child) => {
                let Child::Claim(mut object) = child else { unreachable!("a cache is a claim") };
                if self.cache_fault.is_none() {
                    bind(&mut object);
                }
                assert!(self.caches.insert(object.name_any(), *object).is_none());
            }
            Child::Claim(object) => assert!(self.staged.insert(object.name_any(), *object).is_none()),
            Child::Job(mut object) => {
                let state = MoverState::Running { progress: None, waits: None };
                object.metadata.uid = Some(format!("uid of {}", object.name_any()));
                self.unlocked += usize::from(object.metadata.owner_references.is_some());
                assert!(self.jobs.insert(object.name_any(), (*object, state)).is_none());
            }
            Child::Credentials(_) => panic!("credentials are created by the controller"),
        }
    }

    /// Deletion is asynchronous for what has finalizers.
    fn delete(&mut self, child: &Child) {
        self.deletions += 1;
        let terminate = |metadata: &mut ObjectMeta| {
            assert!(metadata.deletion_timestamp.is_none(), "deleted twice");
            let time = serde_json::from_value(json!("2026-09-24T12:00:00Z")).unwrap();
            metadata.deletion_timestamp = Some(time);
        };
        match child {
            Child::Group(_, object) => terminate(&mut self.groups.get_mut(&object.name_any()).unwrap().metadata),
            Child::Snapshot(object) => terminate(&mut self.snapshots.get_mut(&object.name_any()).unwrap().metadata),
            Child::Content(object) => terminate(&mut self.contents.get_mut(&object.name_any()).unwrap().metadata),
            Child::Claim(object) => terminate(&mut self.staged.get_mut(&object.name_any()).unwrap().metadata),
            Child::Job(object) => {
                self.jobs.remove(&object.name_any()).unwrap();
                // The garbage collector.
                self.jobs.remove(&unlock::job_name(&object.name_any()));
            }
            Child::Credentials(object) => _ = self.secrets.remove(&object.name_any()).unwrap(),
        }
    }

    /// The snapshots of the groups.
    fn grouper(&mut self) {
        let mut gone = vec![];
        for (name, group) in &mut self.groups {
            let members = self.claims.keys().map(|claim| (member(name, claim), claim));
            if group.metadata.deletion_timestamp.is_some() {
                if !self.volumes.is_empty() {
                    self.refusals += 1;
                    continue;
                }
                gone.push(name.clone());
                continue;
            }
            let status = group.status.get_or_insert_default();
            if !self.snapshots_work && status.ready_to_use.is_none() {
                status.error = Some(VolumeSnapshotError { message: Some("the pool is full".to_owned()) });
                continue;
            }
            for (member, claim) in members.filter(|_| status.ready_to_use.is_none()) {
                let object = json!({"metadata": {"name": member, "namespace": "media"}, "spec": {"source": {"persistentVolumeClaimName": claim}}});
                self.snapshots.insert(member, serde_json::from_value(object).unwrap());
            }
            *status = VolumeGroupSnapshotStatus { ready_to_use: Some(true), error: None };
        }
        for name in gone {
            self.groups.remove(&name);
            let of_group = format!("member-of-{name}-");
            self.snapshots.retain(|snapshot, _| !snapshot.starts_with(&of_group));
            self.contents.retain(|content, _| !content.starts_with(&format!("snapcontent-{of_group}")));
        }
    }

    /// The snapshot controller and the driver's snapshotter.
    pub(super) fn snapshotter(&mut self) {
        self.grouper();
        let mut made = vec![];
        for (name, snapshot) in &mut self.snapshots {
            let content = match &snapshot.spec.source.volume_snapshot_content_name {
                Some(content) if self.contents.contains_key(content) => content.clone(),
                Some(_) => continue,
                None => format!("snapcontent-{name}"),
            };
            let dynamic = snapshot.spec.source.volume_snapshot_content_name.is_none();
            let status = snapshot.status.get_or_insert_default();
            status.bound_volume_snapshot_content_name = Some(content.clone());
            if dynamic && !self.snapshots_work {
                status.error = Some(VolumeSnapshotError { message: Some("the pool is full".to_owned()) });
                continue;
            }
            *status = VolumeSnapshotStatus {
                bound_volume_snapshot_content_name: Some(content.clone()),
                ready_to_use: Some(true),
                restore_size: Some("1Gi".to_owned()),
                ..VolumeSnapshotStatus::default()
            };
            if dynamic {
                made.push((content, name.clone()));
            }
        }
        for (content, snapshot) in made {
            let mut object = VolumeSnapshotContent::new(&content, serde_json::from_value(json!({"deletionPolicy": "Delete", "driver": "rook-ceph.rbd.csi.ceph.com", "source": {}, "volumeSnapshotRef": {"name": snapshot, "namespace": "media"}})).unwrap());
            object.status = Some(VolumeSnapshotContentStatus {
                snapshot_handle: Some(format!("handle-{snapshot}")),
                ..VolumeSnapshotContentStatus::default()
            });
            self.contents.entry(content).or_insert(object);
        }
        // A snapshot that goes takes its dynamic content with it; a static content goes by itself.
        let gone: Vec<String> = self
            .snapshots
            .iter()
            .filter(|(_, s)| s.metadata.deletion_timestamp.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if self.snapshots[&name].spec.source.volume_snapshot_content_name.is_none() {
                if !self.volumes.is_empty() {
                    // The driver keeps what a shallow volume depends on.
                    self.refusals += 1;
                    continue;
                }
                self.contents.remove(&format!("snapcontent-{name}"));
            }
            self.snapshots.remove(&name);
        }
        self.contents.retain(|_, content| content.metadata.deletion_timestamp.is_none());
    }

    /// The provisioner, and the protection of claims that a pod uses.
    pub(super) fn provisioner(&mut self) {
        let policy = if self.volumes_are_kept { "Retain" } else { "Delete" };
        for (name, claim) in &mut self.staged {
            let spec = claim.spec.as_mut().unwrap();
            let source = spec.data_source.as_ref().unwrap().name.clone();
            if spec.volume_name.is_none()
                && claim.metadata.deletion_timestamp.is_none()
                && self.snapshots.contains_key(&source)
                && !self.jobs.is_empty()
            {
                let volume = format!("pvc-{name}");
                spec.volume_name = Some(volume.clone());
                bind(claim);
                let object = json!({"metadata": {"name": volume}, "spec": {"persistentVolumeReclaimPolicy": policy}});
                self.volumes.insert(volume, serde_json::from_value(object).unwrap());
            }
        }
        let in_use = !self.jobs.is_empty();
        let gone: Vec<String> = self
            .staged
            .iter()
            .filter(|(_, c)| c.metadata.deletion_timestamp.is_some() && !in_use)
            .map(|(name, _)| name.clone())
            .collect();
        if gone.is_empty() {
            let kept: Vec<String> =
                self.staged.values().filter_map(|claim| claim.spec.as_ref()?.volume_name.clone()).collect();
            self.volumes.retain(|name, volume| {
                kept.contains(name)
                    || volume.spec.as_ref().unwrap().persistent_volume_reclaim_policy.as_deref() == Some("Retain")
            });
        }
        for name in gone {
            self.staged.remove(&name);
        }
    }

    /// The mover's pod: it ends in the way that is decided.
    pub(super) fn kubelet(&mut self) {
        let mut claims =
            self.staged.values().chain(self.jobs.values().filter_map(|(job, _)| self.caches.get(cache_of(job)?)));
        let bound = claims.all(|claim| claim.status.is_some());
        let phase = self.status().phase;
        let claims = self.status().run.map(|run| run.claims).unwrap_or_default();
        let mut deleted = vec![];
        for (name, (_, state)) in &mut self.jobs {
            if !bound || !matches!(state, MoverState::Running { .. }) {
                continue;
            }
            if name.ends_with("-unlock") {
                *state = MoverState::Finished(Answer::new(None, Outcome::Unlocked(1)));
                continue;
            }
            self.counter += 1;
            let counter = self.counter;
            let volume = |claim: &String, unread| BackedUp {
                claim: claim.clone(),
                snapshot: Some(format!("{counter:064x}")),
                files: 100,
                bytes: 1 << 20,
                unread,
                others: self.others.clone(),
                untold: self.untold,
                ..BackedUp::default()
            };
            let answer = |outcome| MoverState::Finished(Answer::new(Some("repo-id".to_owned()), outcome));
            *state = match self.end {
                End::Good => answer(Outcome::BackedUp(claims.iter().map(|claim| volume(claim, 0)).collect())),
                End::Unread => answer(Outcome::BackedUp(claims.iter().map(|claim| volume(claim, 3)).collect())),
                End::Fails(kind) => {
                    let failed = Outcome::Failed(Failure { kind, message: "restic says no".to_owned() });
                    let locks = (kind == FailureKind::Locked).then(|| vec![lock()]);
                    MoverState::Finished(Answer { locks, ..Answer::new(Some("repo-id".to_owned()), failed) })
                }
                End::OutOfMemory => MoverState::Lost(Problem::new(Reason::OutOfMemory, "too little memory")),
                End::Evicted => MoverState::Lost(Problem::new(Reason::Interrupted, "evicted")),
                End::JobDeleted if phase != Some(BackupPhase::BackingUp) => continue,
                End::JobDeleted => {
                    deleted.push(name.clone());
                    continue;
                }
            };
        }
        for name in deleted {
            self.jobs.remove(&name);
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.status().run.is_none()
            && self.groups.is_empty()
            && self.snapshots.is_empty()
            && self.contents.is_empty()
            && self.staged.is_empty()
            && self.volumes.is_empty()
            && self.secrets.is_empty()
            && self.jobs.is_empty()
    }

    /// Lets everyone act once. Returns how long the controller would wait, if it does.
    pub(super) fn step(&mut self) -> Option<std::time::Duration> {
        let wait = self.control();
        self.snapshotter();
        self.provisioner();
        self.kubelet();
        wait
    }

    /// Lets everyone act until the run is over and the controller only waits for its time.
    pub(super) fn settle(&mut self) {
        for _ in 0..2000 {
            if let Some(wait) = self.step() {
                if self.status().run.is_none() {
                    return;
                }
                self.now += chrono::Duration::from_std(wait).unwrap();
            }
        }
        panic!("it does not settle: {:#?}", self.status());
    }
}

#[derive(Clone, Debug)]
enum Act {
    Control,
    Crash,
    Full,
    Snapshotter,
    Provisioner,
    Kubelet,
    Pass(i64),
    End(End),
    SnapshotsWork(bool),
    Caches(Option<CacheFault>),
    ClaimGoes,
    ClaimComes,
    RepositoryGoes,
    RepositoryComes,
    Suspend(bool),
}

fn any_end() -> impl Strategy<Value = End> {
    proptest::sample::select(vec![
        End::Good,
        End::Unread,
        End::Fails(FailureKind::Unreachable),
        End::Fails(FailureKind::WrongPassword),
        End::Fails(FailureKind::NoRepository),
        End::Fails(FailureKind::Locked),
        End::OutOfMemory,
        End::Evicted,
        End::JobDeleted,
    ])
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => Just(Act::Control),
        2 => Just(Act::Crash),
        1 => Just(Act::Full),
        4 => Just(Act::Snapshotter),
        4 => Just(Act::Provisioner),
        4 => Just(Act::Kubelet),
        2 => (1_i64..4000).prop_map(Act::Pass),
        1 => any_end().prop_map(Act::End),
        1 => any::<bool>().prop_map(Act::SnapshotsWork),
        1 => proptest::sample::select(vec![None, Some(CacheFault::Unbound), Some(CacheFault::Refused)]).prop_map(Act::Caches),
        1 => Just(Act::ClaimGoes),
        1 => Just(Act::ClaimComes),
        1 => Just(Act::RepositoryGoes),
        1 => Just(Act::RepositoryComes),
        1 => any::<bool>().prop_map(Act::Suspend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_run_ends_and_nothing_is_left(acts in proptest::collection::vec(any_act(), 1..250), several in any::<bool>(), grouped in any::<bool>(), kept in any::<bool>(), cached in any::<bool>()) {
        let spec = VolumeBackupSpec {
            claim_names: if several { vec!["config".to_owned(), "media".to_owned()] } else { vec![] },
            ..VolumeBackupSpec::default()
        };
        let mut cluster = Cluster::new(spec);
        if grouped {
            cluster.group();
        }
        cluster.volumes_are_kept = kept;
        if several {
            cluster.repositories.push(repository("s3"));
        }
        if cached {
            cluster.keep_caches();
        }
        cluster.force("first");
        let (claims, repositories) = (cluster.claims.clone(), cluster.repositories.clone());
        for act in acts {
            match act {
                Act::Control => _ = cluster.control(),
                Act::Crash => cluster.place = Place::Unasked,
                Act::Full => if super::running(&cluster.backup, cluster.now).is_none() {
                    cluster.place = Place::Full("4 movers run".to_owned());
                },
                Act::Snapshotter => cluster.snapshotter(),
                Act::Provisioner => cluster.provisioner(),
                Act::Kubelet => cluster.kubelet(),
                Act::Pass(seconds) => cluster.now += chrono::Duration::seconds(seconds),
                Act::End(end) => cluster.end = end,
                Act::SnapshotsWork(work) => cluster.snapshots_work = work,
                Act::Caches(fault) => cluster.cache_fault = fault,
                Act::ClaimGoes => cluster.claims.clear(),
                Act::ClaimComes => cluster.claims.clone_from(&claims),
                Act::RepositoryGoes => for repository in &mut cluster.repositories {
                    repository.state = Err(Problem::new(Reason::RepositoryNotReady, "the NAS sleeps"));
                },
                Act::RepositoryComes => cluster.repositories.clone_from(&repositories),
                Act::Suspend(suspend) => cluster.backup.spec.suspend = suspend,
            }
            // A backup that runs is never started a second time beside itself.
            let movers = cluster.jobs.keys().filter(|name| !name.ends_with("-unlock")).count();
            prop_assert!(movers <= repositories.len());
            prop_assert!(cluster.staged.len() <= claims.len());
        }
        // Every cause goes away.
        cluster.cache_fault = None;
        cluster.caches.values_mut().for_each(bind);
        (cluster.claims, cluster.repositories, cluster.place) = (claims, repositories, Place::Unasked);
        (cluster.end, cluster.snapshots_work, cluster.backup.spec.suspend) = (End::Good, true, false);
        cluster.settle();
        prop_assert!(cluster.is_clean(), "left over: {:#?}", cluster.observe());
        // Another run now succeeds, whatever was before.
        cluster.force("last");
        cluster.settle();
        prop_assert!(cluster.is_clean());
        let status = cluster.status();
        prop_assert_eq!(status.last_result, Some(RunResult::Succeeded));
        prop_assert_eq!(status.phase, Some(BackupPhase::Idle));
        prop_assert!(crate::core::conditions::is_ready(&status.conditions));
        prop_assert_eq!(status.last_handled_force_at.as_deref(), Some("last"));
        prop_assert!(status.snapshots.len() <= 20 && !status.snapshots.is_empty());
    }
}
