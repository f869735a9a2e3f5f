//! "Bind this volume under that claim's name": the one primitive of a swap, of its way back and later of its undo.
//!
//! The volume waits for the name before the old claim goes. Whoever then creates the claim, we, Flux, Helm or a
//! StatefulSet, gets that volume. A claim that takes another one all the same is replaced, and its volume is kept.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::{ClaimSeen, Plan, SOON, Step, stop::name_of};
use crate::{
    api::restore::RestoreVolume,
    core::{time, volumes},
};

/// How long a claim that someone else created may be unbound while a volume waits for it, in seconds.
const UNBOUND: i64 = 30;

impl Plan<'_> {
    /// Makes a volume wait for the claim's name. None when it does, or when a claim of that name has it.
    pub(super) fn offer(&self, volume: &RestoreVolume, seen: &ClaimSeen, target: &PersistentVolume) -> Option<Step> {
        let taken = seen.claim.as_ref().and_then(volumes::volume_of) == target.metadata.name.as_deref();
        if taken {
            return None;
        }
        if !volumes::is_waiting_for(target, self.namespace(), &volume.claim) {
            let patch = volumes::wait_for_name(target, self.namespace(), &volume.claim);
            return Some(Step::PatchVolume(name_of(target), patch));
        }
        // Only when the binder has seen it does a claim that someone else creates get this volume.
        let seen_by_binder = volumes::phase(target) == "Available";
        (!seen_by_binder).then(|| self.wait(SOON, format!("the volume {} gets ready for its name", name_of(target))))
    }

    /// Gives the name to the volume that waits for it. None when the claim is bound to it.
    pub(super) fn take(&self, volume: &RestoreVolume, seen: &ClaimSeen, target: &PersistentVolume) -> Option<Step> {
        let Some(claim) = &seen.claim else { return Some(self.create(volume, seen, target)) };
        let wait = |why: &str| Some(self.wait(SOON, format!("claim {} {why}", volume.claim)));
        if claim.metadata.deletion_timestamp.is_some() {
            return wait("is being deleted");
        }
        match volumes::volume_of(claim) {
            Some(name) if Some(name) == target.metadata.name.as_deref() => {
                if volumes::is_bound(claim) {
                    None
                } else {
                    wait("is being bound")
                }
            }
            Some(_) => Some(self.set_aside(volume, seen, claim)),
            None if self.age(claim) < UNBOUND => wait("was created by someone else and is being bound"),
            None => Some(Step::DeleteClaim(Box::new(claim.clone()))),
        }
    }

    fn create(&self, volume: &RestoreVolume, seen: &ClaimSeen, target: &PersistentVolume) -> Step {
        let saved = [Some(target), seen.previous.as_ref(), seen.volume.as_ref()];
        match saved.into_iter().flatten().find_map(volumes::saved_claim) {
            Some(saved) => Step::CreateClaim(Box::new(volumes::claim_on(&saved, &name_of(target)))),
            None => self.wait(
                SOON,
                format!(
                    "claim {} is gone and so is what was known of it: create it; {} waits",
                    volume.claim,
                    name_of(target)
                ),
            ),
        }
    }

    /// Deletes the claim that has the name, after making sure that its volume is kept.
    fn set_aside(&self, volume: &RestoreVolume, seen: &ClaimSeen, claim: &PersistentVolumeClaim) -> Step {
        if let Some(bound) = &seen.bound {
            let owner = &self.seen.owner;
            // The time of the volume that the app had is noted when it is no longer needed for the way back.
            let is_old = claim.metadata.uid == volume.claim_uid;
            let until = (!is_old).then(|| self.status.keep_until.unwrap_or(self.now));
            if let Some(patch) = volumes::hold(bound, owner, &self.seen.run, claim, until) {
                return Step::PatchVolume(name_of(bound), patch);
            }
        }
        Step::DeleteClaim(Box::new(claim.clone()))
    }

    fn age(&self, claim: &PersistentVolumeClaim) -> i64 {
        let created = claim.metadata.creation_timestamp.as_ref().map(time::from_k8s);
        created.map_or(0, |created| (self.now - created).num_seconds())
    }
}
