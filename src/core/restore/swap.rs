//! The new volume takes the claim's name, and the app is started on it.

use super::{ClaimSeen, Plan, SOON, Step, stop::name_of, words};
use crate::{
    api::restore::{RestorePhase, RestoreVolume, StoppedWorkload},
    core::{
        conditions::Summary,
        problem::{Problem, Reason},
        volumes::{self, DELETE, RETAIN},
        workload::Workload,
    },
};

/// What a swap may take beyond `stopTimeout` before its point of no return, in minutes.
const SWAP_MINUTES: i64 = 2;
/// How long the app's start is waited for, in minutes. The restore has succeeded whatever comes of it.
const START_MINUTES: i64 = 10;

impl Plan<'_> {
    /// Whether the first of the old claims is gone or going: from here on the way leads forward.
    pub(super) fn is_past_return(&self) -> bool {
        match self.status.phase {
            Some(RestorePhase::Starting) => true,
            Some(RestorePhase::Swapping) => self.volumes().any(|(volume, seen)| {
                has_old_claim(volume, seen).is_none_or(|claim| claim.metadata.deletion_timestamp.is_some())
            }),
            _ => false,
        }
    }

    /// The new volumes wait for the names, the old claims go, the claims are created anew.
    pub(super) fn swap(&self) -> Step {
        if let Some(step) = if self.is_past_return() { self.keep_still() } else { self.before_return() } {
            return step;
        }
        let mut targets = Vec::new();
        for (volume, seen) in self.volumes() {
            let Some(new) = &seen.volume else {
                let message = format!("the new volume for claim {} is gone", volume.claim);
                return self.fail(&Problem::new(Reason::StagingFailed, message));
            };
            targets.push((volume, seen, new));
        }
        if let Some(step) = self.unstage() {
            return step;
        }
        let offer = targets.iter().find_map(|(volume, seen, new)| self.offer(volume, seen, new));
        let take = || targets.iter().find_map(|(volume, seen, new)| self.take(volume, seen, new));
        if let Some(step) = offer.or_else(take) {
            return step;
        }
        let done = format!("the new volume is bound to {}", words::claims(&self.status.volumes));
        self.advance(RestorePhase::Starting, done, |_| {})
    }

    /// The last looks before the point of no return.
    fn before_return(&self) -> Option<Step> {
        let since = self.status.stopped_at.or_else(|| self.last_step()).unwrap_or(self.now);
        if self.now - since >= self.stop_timeout() + chrono::Duration::minutes(SWAP_MINUTES) {
            let message = "the new volume did not get ready to be swapped in".to_owned();
            return Some(self.fail(&Problem::new(Reason::StagingFailed, message)));
        }
        self.hold().or_else(|| self.still())
    }

    /// The claim that staged a new volume goes; its volume stays and is free for its name.
    fn unstage(&self) -> Option<Step> {
        let (staging, new) =
            self.volumes().find_map(|(_, seen)| Some((seen.staging.as_ref()?, seen.volume.as_ref()?)))?;
        if staging.metadata.deletion_timestamp.is_some() {
            return Some(self.wait(SOON, "the new volume is being detached".to_owned()));
        }
        let patch = volumes::saved_claim(new)
            .and_then(|saved| volumes::hold(new, &self.seen.owner, &self.seen.run, &saved, None))
            .map(|patch| Step::PatchVolume(name_of(new), patch));
        patch.or_else(|| Some(Step::DeleteClaim(Box::new(staging.clone()))))
    }

    /// While a claim is on its way out, or has another volume than it shall have, nothing may start to use it.
    fn keep_still(&self) -> Option<Step> {
        let is_going =
            self.seen.claims.values().filter_map(|seen| Some((seen.claim.as_ref()?, seen))).any(|(claim, seen)| {
                let target = seen.volume.as_ref().and_then(|new| new.metadata.name.as_deref());
                claim.metadata.deletion_timestamp.is_some() || volumes::volume_of(claim) != target
            });
        let users = self.users(&self.claim_names()).unwrap_or_default();
        if is_going { self.scale_down(&users) } else { None }
    }

    /// The volume in use gets its reclaim policy back, and the replaced one is kept for a while.
    fn settle_policies(&self) -> Option<Step> {
        let until = self.status.keep_until.unwrap_or(self.now);
        let is_safe = !self.unready().any(|workload| workload.deletes_claims);
        self.volumes().find_map(|(_, seen)| {
            let new = seen.volume.as_ref()?;
            let own = seen.previous.as_ref().map(volumes::own_policy);
            // Where either volume was to outlive its claim, the one in use still is.
            let retain = own == Some(RETAIN) || volumes::own_policy(new) == RETAIN;
            let kept = seen.previous.as_ref().and_then(|previous| {
                Some(Step::PatchVolume(name_of(previous), volumes::keep(previous, self.uid(), until)?))
            });
            let policy = if retain { RETAIN } else { DELETE };
            let released =
                if is_safe { volumes::release(new, self.uid(), policy) } else { volumes::keep(new, self.uid(), until) };
            kept.or_else(|| Some(Step::PatchVolume(name_of(new), released?)))
        })
    }

    /// What was stopped gets its replicas back.
    pub(super) fn start_workloads(&self) -> Option<Step> {
        let stopped = self.seen.workloads.iter().find(|workload| workload.is_stopped_by(self.uid()))?;
        Some(Step::PatchWorkload(Box::new(stopped.clone()), stopped.start()))
    }

    /// The app is started, and the restore ends. Until its pods are back, what its stop set off may still go on: a
    /// StatefulSet can delete its claims with the pods that it removes.
    pub(super) fn start(&self) -> Step {
        if let Some((volume, _)) = self.volumes().find(|(_, seen)| self.has_lost_new(seen)) {
            let done = format!("claim {} was taken away again", volume.claim);
            return self.advance(RestorePhase::Swapping, done, |_| {});
        }
        if let Some(step) = self.start_workloads() {
            return step;
        }
        let unready: Vec<&Workload> = self.unready().collect();
        if let Some(workload) = self.awaited() {
            let (title, ready, replicas) = (workload.title(), workload.ready, workload.replicas);
            return self.wait(SOON, format!("starting the app: {ready} of {replicas} replicas of {title} are ready"));
        }
        if let Some(step) = self.settle_policies() {
            return step;
        }
        if self.has_finalizer() {
            return Step::Finalizer(false);
        }
        let mut status = self.status();
        status.phase = Some(RestorePhase::Succeeded);
        status.finished_at = Some(self.now);
        let down = status.stopped_at.map(|stopped| words::elapsed(self.now - stopped));
        status.downtime = down.filter(|_| unready.is_empty());
        self.note(&mut status, if unready.is_empty() { "the app runs" } else { "the app is not ready yet" }.to_owned());
        let message = words::succeeded(&status, &unready);
        self.summarize(&mut status, &Summary::Ready(words::phase(RestorePhase::Succeeded), message));
        Step::Record(Box::new(status))
    }

    /// Whether the claim no longer has the new volume although that is still held.
    fn has_lost_new(&self, seen: &ClaimSeen) -> bool {
        let Some(new) = seen.volume.as_ref().filter(|new| volumes::is_held_by(new, self.uid())) else { return false };
        let stays = seen.claim.as_ref().filter(|claim| claim.metadata.deletion_timestamp.is_none());
        stays.and_then(volumes::volume_of) != new.metadata.name.as_deref()
    }

    /// The workloads that were stopped and are not ready again.
    pub(super) fn unready(&self) -> impl Iterator<Item = &Workload> {
        let was_stopped = |workload: &Workload| {
            let is =
                |stopped: &StoppedWorkload| stopped.kind == workload.kind.as_str() && stopped.name == workload.name;
            self.status.stopped.iter().any(is)
        };
        self.seen.workloads.iter().filter(move |workload| was_stopped(workload) && !workload.is_ready())
    }

    /// The workload whose start is waited for. Who deletes a VolumeRestore waits only where a claim may still be lost.
    pub(super) fn awaited(&self) -> Option<&Workload> {
        let waited = self.now - self.last_step().unwrap_or(self.now);
        let waits = |workload: &&Workload| !self.is_deleted() || workload.deletes_claims;
        self.unready().find(waits).filter(|_| waited < chrono::Duration::minutes(START_MINUTES))
    }
}

/// The claim as it was before the swap, if it is still there.
fn has_old_claim<'a>(
    volume: &RestoreVolume,
    seen: &'a ClaimSeen,
) -> Option<&'a k8s_openapi::api::core::v1::PersistentVolumeClaim> {
    seen.claim.as_ref().filter(|claim| claim.metadata.uid == volume.claim_uid)
}
