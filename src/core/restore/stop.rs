//! The app is stopped: first what a crash or a deletion could cost is made safe, then it is scaled down.

use super::{Plan, SOON, Step, Which, words};
use crate::{
    api::restore::{RestorePhase, VolumeRestoreStatus},
    core::{
        driver,
        problem::{Problem, Reason},
        volumes,
        workload::{self, Workload},
    },
};

impl Plan<'_> {
    /// Both volumes are made to outlive their claims, then the app is stopped.
    pub(super) fn stop(&self) -> Step {
        if let Some(step) = self.remove_movers() {
            return step;
        }
        if !self.has_finalizer() {
            return Step::Finalizer(true);
        }
        if let Some(step) = self.remember().or_else(|| self.hold()) {
            return step;
        }
        if let Some(step) = self.still() {
            return step;
        }
        let done = if self.status.stopped.is_empty() { "nothing uses the claim" } else { "the app is stopped" };
        self.advance(RestorePhase::Swapping, done.to_owned(), |_| {})
    }

    pub(super) fn remove_movers(&self) -> Option<Step> {
        let movers = [(Which::Restore, &self.seen.restoring), (Which::Resolve, &self.seen.resolving)];
        movers.into_iter().find(|(_, mover)| mover.is_there()).map(|(which, _)| Step::RemoveMover(which))
    }

    /// Notes which claim and which volume are about to be replaced, and until when what is replaced is kept.
    fn remember(&self) -> Option<Step> {
        if self.status.volumes.iter().all(|volume| volume.claim_uid.is_some()) {
            return None;
        }
        let mut status = self.status();
        for volume in &mut status.volumes {
            let claim = self.seen.claims.get(&volume.claim).and_then(|seen| seen.claim.as_ref());
            let Some((claim, previous)) = claim.and_then(|claim| Some((claim, volumes::volume_of(claim)?))) else {
                return Some(self.gone(&volume.claim));
            };
            volume.claim_uid.clone_from(&claim.metadata.uid);
            volume.previous_volume = Some(previous.to_owned());
        }
        status.keep_until = Some(self.now + self.keep_previous());
        Some(Step::Record(Box::new(status)))
    }

    fn gone(&self, claim: &str) -> Step {
        let message = format!("claim {claim} was deleted or replaced while its data was restored");
        self.fail(&Problem::new(Reason::ClaimNotFound, message))
    }

    /// Makes sure that the new volume fits, and that both volumes outlive their claims.
    pub(super) fn hold(&self) -> Option<Step> {
        let (owner, run) = (&self.seen.owner, &self.seen.run);
        for (volume, seen) in self.volumes() {
            let is_held = |held| volumes::is_held_by(held, &owner.uid) && volumes::policy(held) == volumes::RETAIN;
            if seen.previous.as_ref().is_none_or(is_held) && seen.volume.as_ref().is_some_and(is_held) {
                continue;
            }
            let claim = seen.claim.as_ref().filter(|claim| claim.metadata.uid == volume.claim_uid);
            let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) else {
                return Some(self.gone(&volume.claim));
            };
            let Some(new) = &seen.volume else {
                let message = format!("the new volume for claim {} is gone", volume.claim);
                return Some(self.fail(&Problem::new(Reason::StagingFailed, message)));
            };
            let (has, needs) = (volumes::capacity(new), volumes::requested(claim));
            if has.map(driver::bytes) < needs.map(driver::bytes) {
                let sizes = [has, needs].map(|size| size.map_or("?", |size| size.0.as_str()));
                let message = format!(
                    "claim {} was enlarged to {} while its data was restored into a volume of {}: create another \
                     VolumeRestore",
                    volume.claim, sizes[1], sizes[0]
                );
                return Some(self.fail(&Problem::new(Reason::VolumeTooSmall, message)));
            }
            for held in [Some(new), seen.previous.as_ref()].into_iter().flatten() {
                if let Some(patch) = volumes::hold(held, owner, run, claim, None) {
                    return Some(Step::PatchVolume(name_of(held), patch));
                }
            }
        }
        None
    }

    /// Scales down what uses the claims and waits until nothing does. None when nothing does.
    pub(super) fn still(&self) -> Option<Step> {
        let names = self.claim_names();
        let users = match self.users(&names) {
            Ok(users) => users,
            Err(problem) => return Some(self.fail(&problem)),
        };
        let stopped_at = self.status.stopped_at.or_else(|| self.last_step()).unwrap_or(self.now);
        let overdue = self.now - stopped_at >= self.stop_timeout();
        if let Some(other) = users.iter().find(|user| user.stopped_by.as_deref().is_some_and(|by| by != self.uid())) {
            let message = format!("{} is stopped by another VolumeRestore", other.title());
            if overdue {
                return Some(self.fail(&Problem::new(Reason::StopTimeout, message)));
            }
            return Some(self.wait(SOON, format!("{message}; waiting for it")));
        }
        if let Some(step) = self.scale_down(&users) {
            return Some(step);
        }
        let pod = workload::using(&names, &self.seen.pods).next();
        let attached = self.volumes().find_map(|(volume, seen)| Some((volume, seen.attached.first()?)));
        let what = match (pod, attached) {
            (Some(pod), _) => format!("pod {} still uses the claim", pod.name),
            (None, Some((volume, node))) => format!("the volume of {} is still attached to node {node}", volume.claim),
            (None, None) => return None,
        };
        if overdue {
            let timeout = self.restore.spec.stop_timeout.unwrap_or(super::DEFAULT_STOP_TIMEOUT);
            let message = format!("the app did not stop within {timeout}: {what}");
            return Some(self.fail(&Problem::new(Reason::StopTimeout, message)));
        }
        Some(self.wait(SOON, format!("stopping the app: {what}")))
    }

    /// Scales down those of the workloads that are not, after noting them in the status.
    pub(super) fn scale_down(&self, users: &[&Workload]) -> Option<Step> {
        let running: Vec<&Workload> = users.iter().copied().filter(|user| user.replicas > 0).collect();
        let first = *running.first()?;
        let noted = |user: &&&Workload| {
            self.status.stopped.iter().any(|stopped| stopped.kind == user.kind.as_str() && stopped.name == user.name)
        };
        let new: Vec<&Workload> = running.iter().filter(|user| !noted(user)).copied().collect();
        if new.is_empty() {
            return Some(Step::PatchWorkload(Box::new(first.clone()), first.stop(self.uid())));
        }
        let phase = self.status.phase.unwrap_or(RestorePhase::Stopping);
        Some(self.advance(phase, words::stopping(&new), |status: &mut VolumeRestoreStatus| {
            status.stopped.extend(new.iter().map(|user| user.record()));
            status.stopped_at.get_or_insert(self.now);
        }))
    }
}

/// The name of a volume.
pub(super) fn name_of(volume: &k8s_openapi::api::core::v1::PersistentVolume) -> String {
    volume.metadata.name.clone().unwrap_or_default()
}
