//! What the controller sees and does.

use super::*;

impl World {
    pub(super) fn observe(&self) -> Option<(VolumeRestore, Observed)> {
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
    pub(super) fn execute(&mut self, restore: &VolumeRestore, step: Step) {
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
    pub(super) fn control(&mut self, between: impl FnOnce(&mut Self)) {
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
}
