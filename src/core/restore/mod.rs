//! What a `VolumeRestore` does next.
//!
//! [`next_step`] is asked again and again with what is there now, and answers with one step: one write, or a wait.
//! Everything it knows is in the object's status, in deterministic names and in marks on volumes and workloads, so a
//! controller that is killed after any write resumes by looking.
//!
//! The way of a `Swap`: resolve the snapshot ([`data`]), fill a new volume beside the app and check it ([`data`]), stop
//! the app ([`stop`]), bind the new volume under the claim's name ([`swap`], [`bind`]), start the app. Until the first
//! of the old claims is deleted, any failure leads back ([`put_back`]); from then on the way leads forward, since the
//! new data is complete and checked.

mod admit;
mod bind;
mod data;
mod put_back;
#[cfg(test)]
mod simulation;
mod stop;
mod swap;
mod words;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::Value;

use crate::{
    api::{
        backup::{RepositoryKey, VolumeBackup},
        common::{ConditionStatus, Time},
        restore::{
            DEFAULT_KEEP_PREVIOUS, DEFAULT_STOP_TIMEOUT, DEFAULT_TIMEOUT, FINALIZER, Failure, RestorePhase,
            RestoreStep, RestoreVolume, VolumeRestore, VolumeRestoreStatus, WorkloadPolicy,
        },
    },
    core::{
        conditions::{self, READY, RECONCILING, STALLED, Summary},
        job::Mount,
        mover_state::MoverState,
        names::Owner,
        problem::{Problem, Reason},
        task::{BackupVolume, RateLimits, Task},
        workload::{self, PodUse, Workload},
    },
};

pub use admit::{claims, is_before, repository};
pub use data::ended;

/// How often running work is looked at besides what wakes us.
const LOOK: Duration = Duration::from_secs(5);
/// How soon something that takes moments is looked at again, while the app is down.
const SOON: Duration = Duration::from_millis(400);
/// Steps that the status keeps.
const MAX_STEPS: usize = 60;

/// What is there now.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The restore, as owner of what it creates.
    pub owner: Owner,
    /// The run's id.
    pub run: String,
    /// The operator's namespace.
    pub namespace: String,
    /// The backup that is restored from.
    pub backup: Option<VolumeBackup>,
    /// Where its snapshots are. Looked up while the snapshot is looked for, and before a mover is started.
    pub source: Option<Result<Source, Problem>>,
    /// An older restore of the same claims that has not ended.
    pub before: Option<String>,
    /// Why there is no place for the mover now.
    pub full: Option<String>,
    /// The mover that looks for the snapshots.
    pub resolving: Mover,
    /// The mover that restores.
    pub restoring: Mover,
    /// Each claim, by name.
    pub claims: BTreeMap<String, ClaimSeen>,
    /// The workloads of the namespace.
    pub workloads: Vec<Workload>,
    /// The pods of the namespace that have claims.
    pub pods: Vec<PodUse>,
}

/// Where snapshots are.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The repository object.
    pub repository: RepositoryKey,
    /// restic's id of the repository, as far as it is known.
    pub id: Option<String>,
    /// Host and path of each claim's snapshots.
    pub targets: Vec<BackupVolume>,
    /// Limits of the repository object.
    pub limits: RateLimits,
}

/// A mover's Job.
#[derive(Clone, Debug, PartialEq)]
pub struct Mover {
    /// What became of it.
    pub state: MoverState,
    /// When it ended.
    pub ended: Option<Time>,
    /// Whether the Secret with its credentials is there although there is no Job.
    pub has_credentials: bool,
}

impl Mover {
    /// Whether anything of it is there.
    fn is_there(&self) -> bool {
        self.state != MoverState::Absent || self.has_credentials
    }
}

/// A claim and what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct ClaimSeen {
    /// The app's claim.
    pub claim: Option<PersistentVolumeClaim>,
    /// The volume that it is bound to, or asks for.
    pub bound: Option<PersistentVolume>,
    /// The claim in the operator's namespace that stages the new volume.
    pub staging: Option<PersistentVolumeClaim>,
    /// The volume that the app had, once it is in the status.
    pub previous: Option<PersistentVolume>,
    /// The new volume.
    pub volume: Option<PersistentVolume>,
    /// Nodes to which the volume that the app had is attached.
    pub attached: Vec<String>,
}

/// Which of the two movers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that looks for the snapshots.
    Resolve,
    /// The one that restores.
    Restore,
}

impl Which {
    /// The word in the names of its Job and its Secret.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Restore => "restore",
        }
    }
}

/// The one next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the status, then look again.
    Record(Box<VolumeRestoreStatus>),
    /// Write the status if it differs, and look again when something changes or after so long.
    Wait(Box<VolumeRestoreStatus>, Duration),
    /// Add or remove the finalizer.
    Finalizer(bool),
    /// Create the Secret and the Job of a mover.
    StartMover(Which, Box<Task>, Vec<Mount>),
    /// Delete the Job and the Secret of a mover.
    RemoveMover(Which),
    /// Create a claim of ours in the operator's namespace.
    Stage(Box<PersistentVolumeClaim>),
    /// Create the app's claim; where someone else was faster, look again.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Delete exactly this claim.
    DeleteClaim(Box<PersistentVolumeClaim>),
    /// Patch the volume of that name.
    PatchVolume(String, Value),
    /// Patch a workload.
    PatchWorkload(Box<Workload>, Value),
    /// Nothing is left to do.
    Done,
}

/// The one next step of a restore.
pub fn next_step(restore: &VolumeRestore, seen: &Observed, now: Time) -> Step {
    let status = restore.status.clone().unwrap_or_default();
    Plan { restore, status, seen, now }.next()
}

/// Whether a phase is the last.
pub const fn has_ended(phase: Option<RestorePhase>) -> bool {
    matches!(phase, Some(RestorePhase::Succeeded | RestorePhase::Failed))
}

struct Plan<'a> {
    restore: &'a VolumeRestore,
    status: VolumeRestoreStatus,
    seen: &'a Observed,
    now: Time,
}

impl Plan<'_> {
    fn next(&self) -> Step {
        if has_ended(self.status.phase) {
            return if self.has_finalizer() { Step::Finalizer(false) } else { Step::Done };
        }
        if let Some(failure) = &self.status.failure {
            return self.put_back(failure);
        }
        if self.is_deleted() && !self.is_past_return() {
            return self.fail(&Problem::new(Reason::Interrupted, "the VolumeRestore was deleted"));
        }
        match self.status.phase {
            None => self.admit(),
            Some(RestorePhase::Resolving | RestorePhase::Queued) if self.status.volumes.is_empty() => self.resolve(),
            Some(RestorePhase::Stopping) => self.stop(),
            Some(RestorePhase::Swapping) => self.swap(),
            Some(RestorePhase::Starting) => self.start(),
            Some(_) => self.fill(),
        }
    }

    fn is_deleted(&self) -> bool {
        self.restore.metadata.deletion_timestamp.is_some()
    }

    fn has_finalizer(&self) -> bool {
        self.restore.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }

    fn namespace(&self) -> &str {
        self.restore.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        &self.seen.owner.uid
    }

    fn claim_names(&self) -> Vec<&str> {
        self.status.volumes.iter().map(|volume| volume.claim.as_str()).collect()
    }

    /// Each claim of the restore with what is seen of it.
    fn volumes(&self) -> impl Iterator<Item = (&RestoreVolume, &ClaimSeen)> {
        self.status.volumes.iter().filter_map(|volume| Some((volume, self.seen.claims.get(&volume.claim)?)))
    }

    fn stops_workloads(&self) -> bool {
        self.restore.spec.workload.unwrap_or_default() == WorkloadPolicy::Stop
    }

    /// The workloads that use the claims, or why they cannot be stopped; none where nothing is to be stopped.
    fn users(&self, claims: &[&str]) -> Result<Vec<&Workload>, Problem> {
        if self.stops_workloads() {
            return workload::users(claims, &self.seen.workloads, &self.seen.pods);
        }
        match workload::using(claims, &self.seen.pods).next() {
            None => Ok(vec![]),
            Some(pod) => Err(Problem::new(
                Reason::ClaimInUse,
                format!("pod {} holds the claim: delete it, or create the VolumeRestore with workload: Stop", pod.name),
            )),
        }
    }

    /// When anything last went forward.
    fn last_progress(&self) -> Time {
        let times = [self.status.progressed_at, self.last_step(), self.status.started_at];
        times.into_iter().flatten().max().unwrap_or(self.now)
    }

    fn last_step(&self) -> Option<Time> {
        self.status.steps.last().map(|step| step.time)
    }

    fn stop_timeout(&self) -> chrono::Duration {
        self.restore.spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT).as_chrono()
    }

    fn timeout(&self) -> chrono::Duration {
        self.restore.spec.timeout.unwrap_or(DEFAULT_TIMEOUT).as_chrono()
    }

    fn keep_previous(&self) -> chrono::Duration {
        self.restore.spec.keep_previous.unwrap_or(DEFAULT_KEEP_PREVIOUS).as_chrono()
    }

    /// The status with the present generation.
    fn status(&self) -> VolumeRestoreStatus {
        let mut status = self.status.clone();
        status.observed_generation = self.generation().unwrap_or_default();
        status
    }

    const fn generation(&self) -> Option<i64> {
        self.restore.metadata.generation
    }

    fn summarize(&self, status: &mut VolumeRestoreStatus, summary: &Summary) {
        conditions::summarize(&mut status.conditions, summary, self.generation(), self.now);
    }

    /// Goes on to a phase: the step that was done, and what happens now, both in words.
    fn advance(&self, phase: RestorePhase, done: String, change: impl FnOnce(&mut VolumeRestoreStatus)) -> Step {
        let mut status = self.status();
        status.phase = Some(phase);
        self.note(&mut status, done);
        change(&mut status);
        let doing = words::doing(&status);
        if status.failure.is_none() {
            self.summarize(&mut status, &Summary::Progressing(words::phase(phase), doing));
        }
        Step::Record(Box::new(status))
    }

    fn note(&self, status: &mut VolumeRestoreStatus, message: String) {
        status.steps.push(RestoreStep { time: self.now, message });
        if status.steps.len() > MAX_STEPS {
            status.steps.remove(0);
        }
    }

    /// Waits for what goes on by itself. While everything is put back, the failure stays shown.
    fn wait(&self, pause: Duration, message: String) -> Step {
        let mut status = self.status();
        if status.failure.is_some() {
            return Step::Wait(Box::new(status), pause);
        }
        let phase = status.phase.map_or("Progressing", words::phase);
        self.summarize(&mut status, &Summary::Progressing(phase, message));
        Step::Wait(Box::new(status), pause)
    }

    /// Waits for what may clear by itself while the app runs, at most for the restore's `timeout`.
    fn wait_out(&self, problem: &Problem, pause: Duration) -> Step {
        if self.now - self.last_progress() >= self.timeout() {
            let timeout = self.restore.spec.timeout.unwrap_or(DEFAULT_TIMEOUT);
            let message = format!("no progress for {timeout}: {problem}");
            return self.fail(&Problem::new(Reason::RestoreTimeout, message));
        }
        let mut status = self.status();
        self.summarize(&mut status, &Summary::NotReady(problem.clone()));
        Step::Wait(Box::new(status), pause)
    }

    /// Notes why it failed; from then on everything is put back.
    fn fail(&self, problem: &Problem) -> Step {
        let mut status = self.status();
        status.phase = status.phase.or(Some(RestorePhase::Resolving));
        let failure = Failure { reason: problem.reason.to_string(), message: problem.message.clone() };
        self.set_failed(&mut status, &failure, false);
        self.note(&mut status, format!("failed: {}", problem.message));
        status.failure = Some(failure);
        Step::Record(Box::new(status))
    }

    /// Sets the conditions of a failure: `Stalled` once everything is put back, `Reconciling` before.
    fn set_failed(&self, status: &mut VolumeRestoreStatus, failure: &Failure, ended: bool) {
        let (present, absent) = if ended { (STALLED, RECONCILING) } else { (RECONCILING, STALLED) };
        let conditions = &mut status.conditions;
        conditions.retain(|condition| condition.type_ != absent);
        for (type_, value) in [(READY, ConditionStatus::False), (present, ConditionStatus::True)] {
            let (reason, message) = (&failure.reason, &failure.message);
            conditions::set(conditions, type_, value, reason, message, self.generation(), self.now);
        }
    }
}
