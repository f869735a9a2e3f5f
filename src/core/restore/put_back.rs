//! The way back: the app gets what it had, and everything temporary goes.

use k8s_openapi::api::core::v1::PersistentVolume;

use super::{ClaimSeen, Plan, SOON, Step, stop::name_of, words};
use crate::{
    api::restore::{Failure, RestorePhase, RestoreVolume},
    core::volumes,
};

impl Plan<'_> {
    /// Claims first, then the app, then what was only for the restore.
    pub(super) fn put_back(&self, failure: &Failure) -> Step {
        let step = self
            .park_new()
            .or_else(|| self.rebind_previous())
            .or_else(|| self.start_workloads())
            .or_else(|| self.await_start())
            .or_else(|| self.return_previous())
            .or_else(|| self.remove_movers())
            .or_else(|| self.discard_new());
        if let Some(step) = step {
            return step;
        }
        if self.has_finalizer() {
            return Step::Finalizer(false);
        }
        let mut status = self.status();
        status.phase = Some(RestorePhase::Failed);
        status.finished_at = Some(self.now);
        status.progress = None;
        let is_kept = self
            .volumes()
            .any(|(_, seen)| seen.previous.as_ref().is_some_and(|previous| volumes::is_held_by(previous, self.uid())));
        status.keep_until = status.keep_until.filter(|_| is_kept);
        let failure = Failure {
            reason: failure.reason.clone(),
            message: words::after_failure(&failure.message, &status.stopped),
        };
        self.note(&mut status, failure.message.clone());
        self.set_failed(&mut status, &failure, true);
        status.failure = Some(failure);
        Step::Record(Box::new(status))
    }

    /// The new volumes no longer wait for the names.
    fn park_new(&self) -> Option<Step> {
        self.volumes().find_map(|(volume, seen)| {
            let new = seen.volume.as_ref()?;
            let waits = volumes::is_waiting_for(new, self.namespace(), &volume.claim) && !has(seen, new);
            let patch = || volumes::park(new, &self.seen.namespace, &self.seen.run, self.uid());
            waits.then(|| Step::PatchVolume(name_of(new), patch()))
        })
    }

    /// A claim that is gone, or has another volume, gets the volume that it had.
    fn rebind_previous(&self) -> Option<Step> {
        let lost = || self.volumes().filter(|(volume, seen)| self.is_lost(volume, seen));
        if lost().any(|(_, seen)| seen.claim.is_some()) {
            let users = self.users(&self.claim_names()).unwrap_or_default();
            if let Some(step) = self.scale_down(&users) {
                return Some(step);
            }
        }
        let offer = lost().find_map(|(volume, seen)| self.offer(volume, seen, seen.previous.as_ref()?));
        offer.or_else(|| lost().find_map(|(volume, seen)| self.take(volume, seen, seen.previous.as_ref()?)))
    }

    /// Whether the volume that the app had is there and known well enough to be bound again, and has to be. A claim
    /// that someone gave a third volume while nothing was stopped is theirs.
    fn is_lost(&self, volume: &RestoreVolume, seen: &ClaimSeen) -> bool {
        let known = seen.previous.as_ref().is_some_and(|previous| volumes::saved_claim(previous).is_some());
        let Some(claim) = &seen.claim else { return known };
        let foreign = volumes::volume_of(claim).is_some_and(|name| Some(name) != volume.volume.as_deref());
        let theirs = foreign && self.status.stopped.is_empty() && claim.metadata.deletion_timestamp.is_none();
        known && !has_previous(seen) && !theirs
    }

    /// The app is waited for: until its pods are back, what its stop set off may still go on.
    fn await_start(&self) -> Option<Step> {
        Some(self.wait(SOON, format!("{} starts again", self.awaited()?.title())))
    }

    /// The volumes that the app had get their reclaim policy back; one that the app has no longer, or may still lose,
    /// is kept.
    fn return_previous(&self) -> Option<Step> {
        let until = self.status.keep_until.unwrap_or(self.now);
        let is_safe = !self.unready().any(|workload| workload.deletes_claims);
        self.volumes().find_map(|(_, seen)| {
            let previous = seen.previous.as_ref()?;
            let patch = if has_previous(seen) && is_safe {
                volumes::release(previous, self.uid(), volumes::own_policy(previous))
            } else {
                volumes::keep(previous, self.uid(), until)
            };
            Some(Step::PatchVolume(name_of(previous), patch?))
        })
    }

    /// The new volumes and their claims are deleted. One that the app's claim is bound to stays with it.
    fn discard_new(&self) -> Option<Step> {
        self.seen.claims.values().find_map(|seen| {
            if let Some(new) = &seen.volume {
                if has(seen, new) {
                    let patch = volumes::release(new, self.uid(), volumes::own_policy(new))?;
                    return Some(Step::PatchVolume(name_of(new), patch));
                }
                if let Some(patch) = volumes::discard(new) {
                    return Some(Step::PatchVolume(name_of(new), patch));
                }
            }
            let staging = seen.staging.as_ref()?;
            if staging.metadata.deletion_timestamp.is_some() {
                return Some(self.wait(SOON, "the new volume is being removed".to_owned()));
            }
            Some(Step::DeleteClaim(Box::new(staging.clone())))
        })
    }
}

/// Whether the app's claim has this volume.
fn has(seen: &ClaimSeen, volume: &PersistentVolume) -> bool {
    seen.claim.as_ref().and_then(volumes::volume_of) == volume.metadata.name.as_deref()
}

/// Whether the app has what it had.
fn has_previous(seen: &ClaimSeen) -> bool {
    let stays = seen.claim.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_none());
    stays && seen.previous.as_ref().is_some_and(|previous| has(seen, previous))
}
