//! What movers answer, as the status says it.

use crate::{
    api::{
        backup::{
            BackupRepositoryStatus, KEPT_RUNS, KEPT_SNAPSHOTS, RepositoryKey, Run, RunRecord, RunResult,
            SnapshotRecord, VolumeBackup, VolumeBackupStatus,
        },
        common::{ConditionStatus, Time},
    },
    core::{
        conditions, locks,
        mover_state::MoverState,
        names::short,
        problem::{Class, Problem, Reason},
        schedule::Schedule,
        size::size,
        task::{Answer, BackedUp, Failure, FailureKind, Outcome},
    },
};

use super::{accept_command, accepted, guard};

/// Says for each repository whether good backups keep coming.
pub const FRESH: &str = "Fresh";
/// Says for each repository whether the last run succeeded.
pub const LAST_RUN: &str = "LastRunSucceeded";
/// Reason of a run that could not read everything.
const PARTIAL: &str = "Partial";
/// Reason of a run that stored much less than the last good one.
const SUSPECT: &str = "Suspect";
/// The most records that are kept of the last runs, however many claims and repositories each of them has.
const KEPT_RECORDS: usize = 60;

/// Reason, meaning and remedy of a run that stored a snapshot which does not count as good, for the documents.
pub const fn not_good(result: RunResult) -> Option<(&'static str, &'static str, &'static str)> {
    match result {
        RunResult::Partial => Some((
            PARTIAL,
            "Some files could not be read: the snapshot is kept and does not count as good.",
            "See why the files that the message names cannot be read, or exclude them.",
        )),
        RunResult::Suspect => Some((
            SUSPECT,
            "The claim has much less than in the last good backup: the snapshot is kept and does not count as good.",
            "See where the data went; if that is right, accept it as the message says.",
        )),
        RunResult::Succeeded | RunResult::Failed => None,
    }
}

/// The records of a mover that has ended, one for each claim; none while it runs.
pub(super) fn of_mover(
    backup: &VolumeBackup,
    run: &Run,
    key: &RepositoryKey,
    state: &MoverState,
    now: Time,
) -> Option<Vec<RunRecord>> {
    let failed = |problem: &Problem| Some(failed(run, key, problem, now));
    match state {
        MoverState::Waiting(_) | MoverState::Running { .. } => None,
        MoverState::Absent => failed(&Problem::new(Reason::Interrupted, "the mover's Job was deleted")),
        MoverState::Lost(problem) | MoverState::Vanished(problem) => failed(problem),
        MoverState::Finished(answer) => {
            let known = known_id(backup, key);
            match &answer.outcome {
                Outcome::BackedUp(volumes) => {
                    if let Some(problem) = other_repository(backup, key, known, answer.repository.as_deref()) {
                        return failed(&problem);
                    }
                    let record = |claim: &String| match volumes.iter().find(|volume| volume.claim == *claim) {
                        Some(volume) => of_volume(backup, run, key, (answer, volume), now),
                        None => blank(run, key, claim, now).with(&Problem::new(
                            Reason::ResticFailed,
                            format!("the mover says nothing about claim {claim}"),
                        )),
                    };
                    Some(run.claims.iter().map(record).collect())
                }
                Outcome::Failed(failure) => failed(&problem_of(backup, answer, known, failure)),
                other => {
                    failed(&Problem::new(Reason::ResticFailed, format!("the mover answers something else: {other:?}")))
                }
            }
        }
    }
}

/// Failed records of all claims for one repository.
pub(super) fn failed(run: &Run, key: &RepositoryKey, problem: &Problem, now: Time) -> Vec<RunRecord> {
    run.claims.iter().map(|claim| blank(run, key, claim, now).with(problem)).collect()
}

fn blank(run: &Run, key: &RepositoryKey, claim: &str, now: Time) -> RunRecord {
    RunRecord {
        id: run.id.clone(),
        claim: claim.to_owned(),
        repository: key.clone(),
        result: RunResult::Failed,
        time: now,
        snapshot: None,
        files: None,
        bytes: None,
        added: None,
        seconds: None,
        untold: false,
        reason: None,
        message: None,
    }
}

impl RunRecord {
    fn with(mut self, problem: &Problem) -> Self {
        self.reason = Some(problem.reason.as_str().to_owned());
        self.message = Some(problem.message.clone());
        self
    }
}

fn of_volume(
    backup: &VolumeBackup,
    run: &Run,
    key: &RepositoryKey,
    (answer, volume): (&Answer, &BackedUp),
    now: Time,
) -> RunRecord {
    let mut record = blank(run, key, &volume.claim, now);
    record.seconds = Some(volume.seconds);
    let Some(snapshot) = &volume.snapshot else {
        let problem = match &volume.failure {
            Some(failure) => problem_of(backup, answer, known_id(backup, key), failure),
            None => Problem::new(Reason::ResticFailed, "the mover stored no snapshot and does not say why"),
        };
        return record.with(&problem);
    };
    record.snapshot = Some(snapshot.clone());
    record.untold = volume.untold;
    (record.files, record.bytes, record.added) = (Some(volume.files), Some(volume.bytes), Some(volume.added));
    if volume.unread > 0 || volume.failure.is_some() {
        record.result = RunResult::Partial;
        let paths = volume.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
        record.reason = Some(PARTIAL.to_owned());
        record.message = Some(format!("{} files could not be read: {paths}", volume.unread));
        return record;
    }
    record.result = RunResult::Succeeded;
    if let Some(message) = guard::shrunk(backup, &record) {
        record.result = RunResult::Suspect;
        record.reason = Some(SUSPECT.to_owned());
        record.message = Some(message);
    }
    record
}

/// restic's id of the repository, as it was when a run first succeeded there.
fn known_id<'a>(backup: &'a VolumeBackup, key: &RepositoryKey) -> Option<&'a str> {
    let repositories = backup.status.iter().flat_map(|status| &status.repositories);
    repositories.into_iter().find(|known| known.repository == *key)?.id.as_deref()
}

/// Whether the run may create the repository: under a known base, if none was ever seen there, or if someone accepts
/// that the known one is gone.
pub(super) fn may_create(backup: &VolumeBackup, key: &RepositoryKey) -> bool {
    known_id(backup, key).is_none_or(|id| accepted(backup, short(id)))
}

fn other_repository(
    backup: &VolumeBackup,
    key: &RepositoryKey,
    known: Option<&str>,
    found: Option<&str>,
) -> Option<Problem> {
    let (known, found) = (known?, found?);
    if known == found || accepted(backup, short(found)) || accepted(backup, short(known)) {
        return None;
    }
    let message = format!(
        "another repository answers for {}: {} instead of {}, so the history is not there. Bring the old one back, or accept the new one: {}",
        key.name,
        short(found),
        short(known),
        accept_command(backup, short(found))
    );
    Some(Problem::new(Reason::RepositoryChanged, message))
}

fn problem_of(backup: &VolumeBackup, answer: &Answer, known: Option<&str>, failure: &Failure) -> Problem {
    let words = &failure.message;
    let (reason, message) = match (failure.kind, known) {
        (FailureKind::NoRepository, Some(id)) => {
            let command = accept_command(backup, short(id));
            let message =
                format!("the repository {} is gone: {words}. Bring it back, or begin a new one: {command}", short(id));
            (Reason::RepositoryChanged, message)
        }
        (FailureKind::NoRepository, None) => (Reason::BaseMissing, words.clone()),
        (FailureKind::BaseChanged, _) => (Reason::RepositoryChanged, words.clone()),
        (FailureKind::Locked, _) => {
            let ask = locks::ask(answer.locks.as_deref().unwrap_or_default(), |id| accept_command(backup, id));
            (Reason::RepositoryLocked, ask.unwrap_or_else(|| words.clone()))
        }
        (FailureKind::WrongPassword, _) => (Reason::WrongPassword, words.clone()),
        (FailureKind::Unreachable, _) => (Reason::RepositoryUnreachable, words.clone()),
        (FailureKind::Empty, _) => (Reason::VolumeEmpty, words.clone()),
        (FailureKind::Interrupted, _) => (Reason::Interrupted, words.clone()),
        _ => (Reason::ResticFailed, words.clone()),
    };
    Problem::new(reason, message)
}

/// Whether trying again can help.
pub(super) fn is_worth_a_retry(record: &RunRecord) -> bool {
    let reason = record.reason.as_deref();
    let reason = Reason::ALL.iter().find(|of| Some(of.as_str()) == reason);
    record.result == RunResult::Failed
        && reason.is_some_and(|reason| reason.class() == Class::Transient && *reason != Reason::DeadlineExceeded)
}

/// Enters a run's results, once, however often it is called.
pub(super) fn record(status: &mut VolumeBackupStatus, run: &Run, generation: Option<i64>, now: Time) {
    let is_known = |known: &RunRecord, new: &RunRecord| {
        (&known.id, &known.claim, &known.repository) == (&new.id, &new.claim, &new.repository)
    };
    let new: Vec<RunRecord> =
        run.results.iter().filter(|new| !status.runs.iter().any(|known| is_known(known, new))).cloned().collect();
    if new.is_empty() {
        return;
    }
    for record in new.iter().filter(|record| record.result == RunResult::Succeeded) {
        good(status, record, run.attempt_started_at);
    }
    status.last_result = new.iter().map(|record| record.result).max();
    for repository in &mut status.repositories {
        let records: Vec<&RunRecord> = new.iter().filter(|new| new.repository == repository.repository).collect();
        if let Some(worst) = records.iter().max_by_key(|record| record.result) {
            last_run(repository, worst, generation, now);
        }
    }
    for known in &mut status.runs {
        let told = |new: &RunRecord| new.repository == known.repository && new.snapshot.is_some() && !new.untold;
        known.untold &= !new.iter().any(told);
    }
    status.runs.splice(0..0, new);
    let mut ids: Vec<String> = vec![];
    status.runs.retain(|record| {
        if !ids.contains(&record.id) {
            ids.push(record.id.clone());
        }
        ids.len() <= KEPT_RUNS
    });
    status.runs.truncate(KEPT_RECORDS);
}

/// Enters a good snapshot.
fn good(status: &mut VolumeBackupStatus, record: &RunRecord, data_of: Time) {
    let Some(id) = &record.snapshot else { return };
    status.last_success = status.last_success.max(Some(record.time));
    if let Some(repository) = status.repositories.iter_mut().find(|known| known.repository == record.repository) {
        repository.last_success = repository.last_success.max(Some(record.time));
    }
    let new = SnapshotRecord {
        id: id.clone(),
        claim: record.claim.clone(),
        repository: record.repository.clone(),
        time: data_of,
        bytes: record.bytes.unwrap_or_default(),
    };
    status
        .snapshots
        .retain(|known| (&known.id, &known.claim, &known.repository) != (&new.id, &new.claim, &new.repository));
    status.snapshots.insert(0, new);
    status.snapshots.truncate(KEPT_SNAPSHOTS);
}

fn last_run(repository: &mut BackupRepositoryStatus, worst: &RunRecord, generation: Option<i64>, now: Time) {
    let (status, reason) = match worst.result {
        RunResult::Succeeded => (ConditionStatus::True, "Succeeded"),
        _ => (ConditionStatus::False, worst.reason.as_deref().unwrap_or("Failed")),
    };
    let message = worst.message.clone().unwrap_or_else(|| summary(worst));
    conditions::set(&mut repository.conditions, LAST_RUN, status, reason, &message, generation, now);
}

/// Sets `Fresh`: false when two due times passed without a good backup.
pub(super) fn freshness(
    repository: &mut BackupRepositoryStatus,
    schedule: Option<&Schedule>,
    generation: Option<i64>,
    now: Time,
) {
    let (status, reason, message) = match (repository.last_success, schedule) {
        (None, _) => (ConditionStatus::False, "NeverBackedUp", "no backup has succeeded yet".to_owned()),
        (Some(_), None) => (ConditionStatus::True, "ByHand", "no schedule is declared".to_owned()),
        (Some(last), Some(schedule)) => match schedule.next(last).and_then(|first| schedule.next(first)) {
            Some(second) if second <= now => {
                (ConditionStatus::False, "Stale", format!("the last good backup is of {}", last.to_rfc3339()))
            }
            _ => (ConditionStatus::True, "BackedUp", "a good backup was made when due".to_owned()),
        },
    };
    conditions::set(&mut repository.conditions, FRESH, status, reason, &message, generation, now);
}

/// Suspect runs that someone accepted count as good.
pub(super) fn accept_suspects(backup: &VolumeBackup, status: &mut VolumeBackupStatus) {
    let suspect = |record: &&mut RunRecord| {
        record.result == RunResult::Suspect
            && record.snapshot.as_deref().is_some_and(|snapshot| accepted(backup, short(snapshot)))
    };
    let mut accepted = vec![];
    for record in status.runs.iter_mut().filter(suspect) {
        record.result = RunResult::Succeeded;
        record.untold = true;
        (record.reason, record.message) = (None, None);
        accepted.push(record.clone());
    }
    for record in accepted {
        let newest = status.runs.first().is_some_and(|newest| newest.id == record.id);
        good(status, &record, record.time);
        let repository = status.repositories.iter_mut().find(|known| known.repository == record.repository);
        if let Some(repository) = repository.filter(|_| newest) {
            last_run(repository, &record, backup.metadata.generation, record.time);
            let of_newest = status.runs.iter().filter(|run| run.id == record.id);
            status.last_result = of_newest.map(|run| run.result).max();
        }
    }
}

/// Adds to the messages of a run what is worth telling besides its results.
pub(super) fn tell(records: &mut [RunRecord], run: &str, note: &str) {
    for record in records.iter_mut().filter(|record| record.id == run) {
        let said = match (&record.message, record.result) {
            (Some(message), _) => message.clone(),
            (None, RunResult::Succeeded) => summary(record),
            (None, _) => record.result.as_str().to_owned(),
        };
        record.message = Some(format!("{said}; {note}"));
    }
}

/// What an idle object says.
pub(super) fn idle_message(status: &VolumeBackupStatus) -> String {
    let newest = status.runs.first().map(|newest| newest.id.clone());
    let of_newest = status.runs.iter().filter(|record| Some(&record.id) == newest.as_ref());
    let last = match of_newest.max_by_key(|record| record.result) {
        None => String::new(),
        Some(worst) => match (worst.result, &worst.message) {
            (RunResult::Failed, Some(message)) => format!("the last run failed: {message}; "),
            (_, Some(message)) => format!("{message}; "),
            (_, None) => format!("{}; ", summary(worst)),
        },
    };
    match status.next_run {
        Some(next) => format!("{last}next run at {}", next.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        None => format!("{last}runs by hand only, as no schedule is declared"),
    }
}

/// A good run in a few words.
pub(crate) fn summary(record: &RunRecord) -> String {
    let id = short(record.snapshot.as_deref().unwrap_or_default());
    format!(
        "snapshot {id}: {} files, {}, {} added, in {} s",
        record.files.unwrap_or_default(),
        size(record.bytes.unwrap_or_default()),
        size(record.added.unwrap_or_default()),
        record.seconds.unwrap_or_default()
    )
}
