//! The snapshot is looked for, and a new volume is filled from it and checked, while the app runs.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{ClaimSeen, LOOK, Mover, Plan, SOON, Source, Step, Which, words};
use crate::{
    api::{
        backup::Progress,
        common::Time,
        restore::{RestorePhase, RestoreVolume},
    },
    core::{
        backup,
        conditions::{self, READY, Summary},
        job::Mount,
        mover_state::MoverState,
        names,
        problem::{Class, Problem, Reason},
        size::size,
        task::{
            Answer, Failure, FailureKind, Outcome, ResolveTask, Resolved, RestoreTask, RestoreTaskVolume, Restored,
            Selection, Task,
        },
        volumes,
    },
};

/// The shortest and the longest time between two attempts, in seconds.
const RETRY: (i64, i64) = (15, 300);

/// What a failure means.
enum Verdict {
    /// It may clear by itself.
    Retry(Problem),
    /// It does not.
    Final(Problem),
}

impl Plan<'_> {
    /// Finds the snapshots. Nothing of the app is touched, and nothing found is a failure.
    pub(super) fn resolve(&self) -> Step {
        if let Some(before) = &self.seen.before {
            return self.queue(format!("VolumeRestore {before} of the same claims goes first; the app runs"));
        }
        let Some(backup) = &self.seen.backup else {
            let name = self.restore.spec.from.backup.as_deref().unwrap_or_default();
            let message = format!("there is no VolumeBackup {name} in namespace {}", self.namespace());
            return self.fail(&Problem::new(Reason::BackupNotFound, message));
        };
        let names = match super::claims(backup) {
            Ok(names) => names,
            Err(problem) => return self.fail(&problem),
        };
        for name in &names {
            match claim_problem(name, self.seen.claims.get(name)) {
                Some(problem) if problem.class() == Class::Terminal => return self.fail(&problem),
                Some(problem) => return self.wait_out(&problem, LOOK),
                None => {}
            }
        }
        let users = self.users(&names.iter().map(String::as_str).collect::<Vec<_>>());
        if let Err(problem) = users {
            return self.fail(&problem);
        }
        let source = match &self.seen.source {
            Some(Ok(source)) => source,
            Some(Err(problem)) if problem.class() == Class::Terminal => return self.fail(problem),
            Some(Err(problem)) => return self.wait_out(problem, LOOK),
            None => return self.wait(SOON, words::doing(&self.status)),
        };
        match &self.seen.resolving.state {
            MoverState::Absent => Step::StartMover(Which::Resolve, Box::new(self.resolve_task(source)), vec![]),
            MoverState::Waiting(why) => self.wait_for_mover(None, Some(why)),
            MoverState::Running { .. } => self.wait_for_mover(None, None),
            MoverState::Finished(Answer { repository, outcome: Outcome::Resolved(found), .. }) => {
                if let Some(problem) = changed(source, repository.as_deref()) {
                    return self.retry(Which::Resolve, &self.seen.resolving, &problem);
                }
                self.resolved(&names, source, found)
            }
            state => self.failed_mover(Which::Resolve, &self.seen.resolving, state, source.id.is_some()),
        }
    }

    /// Fills a new volume for each claim.
    pub(super) fn fill(&self) -> Step {
        if self.seen.resolving.is_there() {
            return Step::RemoveMover(Which::Resolve);
        }
        for (index, (volume, seen)) in self.volumes().enumerate() {
            if seen.staging.is_none() {
                match claim_problem(&volume.claim, Some(seen)) {
                    Some(problem) if problem.class() == Class::Terminal => return self.fail(&problem),
                    Some(problem) => return self.wait_out(&problem, LOOK),
                    None => {}
                }
                let Some(claim) = &seen.claim else { continue };
                return Step::Stage(Box::new(self.staging(index, claim)));
            }
        }
        match &self.seen.restoring.state {
            MoverState::Absent => self.start_restore(),
            MoverState::Waiting(why) => self.wait_for_mover(None, Some(why)),
            MoverState::Running { progress, .. } => self.wait_for_mover(progress.as_ref(), None),
            MoverState::Finished(Answer { outcome: Outcome::Restored(restored), .. }) => self.filled(restored),
            state => self.failed_mover(Which::Restore, &self.seen.restoring, state, true),
        }
    }

    fn queue(&self, message: String) -> Step {
        let mut status = self.status();
        status.phase = Some(RestorePhase::Queued);
        self.summarize(&mut status, &Summary::Progressing(words::phase(RestorePhase::Queued), message));
        Step::Wait(Box::new(status), LOOK)
    }

    fn resolve_task(&self, source: &Source) -> Task {
        let spec = &self.restore.spec;
        let backup = self.seen.backup.iter();
        Task::Resolve(ResolveTask {
            volumes: source.targets.clone(),
            selection: Selection { id: spec.snapshot.clone(), as_of: spec.as_of, previous: spec.previous.unwrap_or(0) },
            not_good: backup.clone().flat_map(|of| backup::not_good_snapshots(of, &source.repository)).collect(),
            accepted: backup.flat_map(|of| backup::accepted_snapshots(of, &source.repository)).collect(),
        })
    }

    fn resolved(&self, names: &[String], source: &Source, found: &[Resolved]) -> Step {
        let volume = |name: &String| {
            let resolved = found.iter().find(|resolved| resolved.claim == *name)?;
            let target = source.targets.iter().find(|target| target.claim == *name)?;
            Some(RestoreVolume {
                source: name.clone(),
                claim: name.clone(),
                snapshot: resolved.snapshot.clone(),
                time: resolved.time,
                host: target.host.clone(),
                path: target.path.clone(),
                files: resolved.files,
                bytes: resolved.bytes,
                claim_uid: None,
                previous_volume: None,
                volume: None,
                checked: None,
            })
        };
        let volumes: Vec<RestoreVolume> = names.iter().filter_map(volume).collect();
        if volumes.len() != names.len() {
            let message = "no snapshot was found for some of the claims".to_owned();
            return self.fail(&Problem::new(Reason::SnapshotNotFound, message));
        }
        self.advance(RestorePhase::Restoring, words::found(&volumes), |status| {
            status.repository = Some(source.repository.clone());
            status.snapshot_time = volumes.iter().map(|volume| volume.time).max();
            status.volumes = volumes;
        })
    }

    /// Name of the staging claim.
    fn staging_name(&self, index: usize) -> String {
        names::of_run(&self.seen.run, "data", index)
    }

    fn staging(&self, index: usize, claim: &PersistentVolumeClaim) -> PersistentVolumeClaim {
        let seen = self.seen;
        volumes::staging_claim(&self.staging_name(index), &seen.namespace, &seen.owner, &seen.run, claim)
    }

    fn start_restore(&self) -> Step {
        if let Some(full) = &self.seen.full {
            return self.queue(format!("{full}; the app runs"));
        }
        let source = match &self.seen.source {
            Some(Ok(source)) => source,
            Some(Err(problem)) => return self.wait_out(problem, LOOK),
            None => return self.wait(SOON, words::doing(&self.status)),
        };
        if self.status.phase != Some(RestorePhase::Restoring) {
            return self.advance(RestorePhase::Restoring, "its turn has come".to_owned(), |_| {});
        }
        let mount = |claim: &str| format!("/restore/{claim}");
        // Whose snapshot it has to be is declared: the status may be forged.
        let of = |volume: &RestoreVolume| source.targets.iter().find(|target| target.claim == volume.source);
        let volume = |volume: &RestoreVolume| {
            let target = of(volume)?;
            Some(RestoreTaskVolume {
                claim: volume.claim.clone(),
                snapshot: volume.snapshot.clone(),
                host: target.host.clone(),
                path: target.path.clone(),
                mount: mount(&volume.claim),
            })
        };
        let Some(volumes) = self.status.volumes.iter().map(volume).collect() else {
            let message = "the VolumeBackup no longer declares one of the claims whose snapshots were found".to_owned();
            return self.fail(&Problem::new(Reason::SnapshotNotFound, message));
        };
        let task = RestoreTask { run: self.seen.run.clone(), volumes, limits: source.limits };
        let mounts = self.status.volumes.iter().enumerate().map(|(index, volume)| Mount {
            claim: self.staging_name(index),
            path: mount(&volume.claim),
            read_only: false,
        });
        Step::StartMover(Which::Restore, Box::new(Task::Restore(task)), mounts.collect())
    }

    fn filled(&self, restored: &[Restored]) -> Step {
        let mut filled = self.status.volumes.clone();
        for volume in &mut filled {
            let answer = restored.iter().find(|answer| answer.claim == volume.claim);
            let seen = self.seen.claims.get(&volume.claim);
            let staging = seen.and_then(|seen| seen.staging.as_ref());
            let (Some(answer), Some(name)) = (answer, staging.and_then(volumes::volume_of)) else {
                let message = format!("the mover said nothing about claim {}", volume.claim);
                return self.fail(&Problem::new(Reason::CheckFailed, message));
            };
            volume.checked = Some(answer.entries);
            volume.volume = Some(name.to_owned());
        }
        let entries = restored.iter().map(|answer| answer.entries).sum();
        let bytes = restored.iter().map(|answer| answer.bytes).sum();
        self.advance(RestorePhase::Stopping, words::restored(entries, bytes), |status| {
            status.volumes = filled;
            status.progress = None;
        })
    }

    /// Waits for a mover that is so far, or cannot start; a problem that is shown stays shown until there is progress.
    fn wait_for_mover(&self, progress: Option<&Progress>, held_up: Option<&String>) -> Step {
        let advances = self.advances(progress);
        if self.now - self.last_progress() >= self.timeout() && !advances {
            let problem = Problem::new(Reason::RestoreTimeout, "the mover makes no progress");
            return self.wait_out(&problem, LOOK);
        }
        let mut status = self.status();
        if advances {
            status.progress = progress.cloned();
            status.progressed_at = Some(self.now);
        }
        let shown = conditions::get(&status.conditions, READY).map(|condition| condition.status);
        if progress.is_some() || shown != Some(crate::api::common::ConditionStatus::False) {
            let phase = status.phase.map_or("Progressing", words::phase);
            let held_up = held_up.map(|why| format!("; {why}")).unwrap_or_default();
            let doing = words::doing(&status) + &held_up;
            self.summarize(&mut status, &Summary::Progressing(phase, doing));
        }
        Step::Wait(Box::new(status), LOOK)
    }

    /// Whether progress is worth a write: each percent, and on a long way anything at all every few minutes.
    fn advances(&self, progress: Option<&Progress>) -> bool {
        match (&self.status.progress, progress) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => {
                let long_ago = self.now - self.last_progress() >= chrono::Duration::minutes(5);
                new.percent > old.percent
                    || new.bytes_done < old.bytes_done
                    || (long_ago && new.bytes_done > old.bytes_done)
            }
        }
    }

    fn failed_mover(&self, which: Which, mover: &Mover, state: &MoverState, known: bool) -> Step {
        let verdict = match state {
            MoverState::Finished(Answer { outcome: Outcome::Failed(failure), .. }) => self.verdict(failure, known),
            // With the same limits it would end in the same way.
            MoverState::Lost(problem) if problem.reason == Reason::OutOfMemory => Verdict::Final(self.lost(problem)),
            MoverState::Lost(problem) | MoverState::Vanished(problem) => Verdict::Retry(self.lost(problem)),
            _ => Verdict::Retry(Problem::new(Reason::ResticFailed, "the mover answered something else")),
        };
        match verdict {
            Verdict::Final(problem) => self.fail(&problem),
            Verdict::Retry(problem) => self.retry(which, mover, &problem),
        }
    }

    /// Shows the problem, and starts the mover again after a while that grows with the restore's age.
    fn retry(&self, which: Which, mover: &Mover, problem: &Problem) -> Step {
        let ended = mover.ended.unwrap_or(self.now);
        let age = (ended - self.last_progress()).num_seconds();
        let again = ended + chrono::Duration::seconds((age / 2).clamp(RETRY.0, RETRY.1));
        let left = (again - self.now).num_seconds();
        let shown = conditions::get(&self.status.conditions, READY);
        if left <= 0 && shown.is_some_and(|condition| condition.reason == problem.reason.as_str()) {
            return Step::RemoveMover(which);
        }
        self.wait_out(problem, Duration::from_secs(u64::try_from(left).unwrap_or_default()).clamp(SOON, LOOK))
    }

    fn verdict(&self, failure: &Failure, known: bool) -> Verdict {
        let problem = |reason| Problem::new(reason, failure.message.clone());
        let waits = |reason, remedy: &str| {
            let message = format!("{}: {}: {remedy}; the app runs meanwhile", self.repository(), failure.message);
            Verdict::Retry(Problem::new(reason, message))
        };
        let bring_back = "bring the repository back that was there";
        match failure.kind {
            // A repository that was seen and is not there now may be a file system that is not mounted.
            FailureKind::NoRepository if known => waits(Reason::RepositoryChanged, bring_back),
            FailureKind::NoRepository | FailureKind::NoSnapshot => Verdict::Final(problem(Reason::SnapshotNotFound)),
            FailureKind::BaseChanged => waits(Reason::RepositoryChanged, bring_back),
            FailureKind::Locked => waits(Reason::RepositoryLocked, "it waits for the lock to go"),
            FailureKind::WrongPassword => waits(Reason::WrongPassword, "correct RESTIC_PASSWORD in its credentials"),
            FailureKind::Unreachable => {
                waits(Reason::RepositoryUnreachable, "check its URL, its server and the network")
            }
            FailureKind::Interrupted => waits(Reason::Interrupted, "it is tried again"),
            FailureKind::NoSpace => Verdict::Final(self.too_small(failure)),
            FailureKind::CheckFailed | FailureKind::Partial => Verdict::Final(problem(Reason::CheckFailed)),
            FailureKind::Fatal | FailureKind::Empty => waits(Reason::ResticFailed, "it is tried again"),
        }
    }

    /// Why a mover ended, with what it worked on.
    fn lost(&self, problem: &Problem) -> Problem {
        Problem::new(problem.reason, format!("{}: {}", self.repository(), problem.message))
    }

    /// The repository object, for people.
    fn repository(&self) -> String {
        let looked_up = self.seen.source.iter().flatten().map(|source| &source.repository).next();
        let key = self.status.repository.as_ref().or(looked_up);
        key.map_or_else(|| "the repository".to_owned(), |key| format!("{} {}", key.kind.as_str(), key.name))
    }

    fn too_small(&self, failure: &Failure) -> Problem {
        let sizes = self.volumes().map(|(volume, seen)| {
            let asked = seen.claim.as_ref().and_then(volumes::requested).map_or("?", |size| size.0.as_str());
            let needs = volume.bytes.map_or_else(|| "an unknown size".to_owned(), size);
            format!("the snapshot of {} has {needs} and the claim asks for {asked}", volume.claim)
        });
        let sizes = sizes.collect::<Vec<_>>().join("; ");
        Problem::new(Reason::VolumeTooSmall, format!("{}: {sizes}: enlarge the claim", failure.message))
    }
}

/// What keeps a claim from being restored.
fn claim_problem(name: &str, seen: Option<&ClaimSeen>) -> Option<Problem> {
    let Some(claim) = seen.and_then(|seen| seen.claim.as_ref()) else {
        return Some(Problem::new(Reason::ClaimNotFound, format!("there is no claim {name}: create it")));
    };
    if claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        let message = format!("claim {name} is a block volume, which has no files to restore");
        return Some(Problem::new(Reason::VolumeUnsupported, message));
    }
    // A claim whose volume is lost has one to be replaced all the same.
    if claim.metadata.deletion_timestamp.is_some() || volumes::volume_of(claim).is_none() {
        return Some(Problem::new(Reason::ClaimPending, format!("claim {name} is not bound: see its events")));
    }
    None
}

/// Another repository than the known one answers.
fn changed(source: &Source, answered: Option<&str>) -> Option<Problem> {
    let (known, answered) = (source.id.as_deref()?, answered?);
    (known != answered).then(|| {
        let (known, answered) = (names::short(known), names::short(answered));
        let message = format!("the repository was {known} and is {answered} now: bring the old one back");
        Problem::new(Reason::RepositoryChanged, message)
    })
}

/// When a Job ended.
pub fn ended(job: &k8s_openapi::api::batch::v1::Job) -> Option<Time> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed"));
    end?.last_transition_time.as_ref().map(crate::core::time::from_k8s)
}
