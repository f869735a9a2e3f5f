//! What Kubernetes does: it binds claims, ends what is deleted, and runs pods and movers.

use super::*;

impl World {
    pub(super) fn kubernetes(&mut self, which: u8) {
        match which % 5 {
            0 => self.bind(),
            1 => self.finish_deletions(),
            2 => self.run_pods(),
            3 => self.end_pods(),
            _ => self.run_movers(),
        }
    }

    /// The volume controller: binds, provisions, releases, reclaims.
    pub(super) fn bind(&mut self) {
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

    pub(super) fn bind_to(&mut self, key: &Key, volume: &str) {
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
    pub(super) fn finish_deletions(&mut self) {
        let in_use: Vec<String> = if self.pods.iter().any(|pod| pod.running) { self.claim_names() } else { vec![] };
        self.claims.retain(|key, claim| {
            claim.metadata.deletion_timestamp.is_none() || (key.0 == APP && in_use.contains(&key.1))
        });
    }

    /// The workload's controller, and the kubelet.
    pub(super) fn run_pods(&mut self) {
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

    pub(super) fn end_pods(&mut self) {
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

    pub(super) fn run_movers(&mut self) {
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
}
