//! When and where retention is applied, and repositories are checked: one restic repository of a repository object
//! after the other, in Jobs of their own, never while a backup into the same one runs.

mod places;

use std::time::Duration;

use crate::{
    api::{
        annotations,
        common::Time,
        repository::{AtWork, Chore, MaintenanceResult, RepositoryPhase, RepositoryStatus, ResticRepositoryStatus},
    },
    core::{
        errand::{self, Next},
        locks,
        mover_state::MoverState,
        names, others,
        problem::{Class, Problem},
        repository::Subject,
        schedule::{self, Schedule},
        task::{Answer, CheckTask, FailureKind, MaintainTask, Outcome, Part, Task},
    },
};

pub use places::{Place, places};

/// When maintenance runs where a retention is declared but no schedule.
const DEFAULT_SCHEDULE: &str = "H 4 * * *";
/// How often is looked whether a backup that is waited for has ended, or a mover has.
const SOON: Duration = Duration::from_secs(15);
/// The longest time without a look.
const BACKSTOP: Duration = Duration::from_mins(10);
/// The longest time until its mover starts.
const START: chrono::Duration = chrono::Duration::minutes(10);
/// The longest time that maintenance of one restic repository may take, in seconds.
pub const DEADLINE: i64 = 24 * 3600;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this status.
    Write(Box<RepositoryStatus>),
    /// Go on with the mover for this (none where it only is to be cleaned up), in this run.
    Errand(Next, Option<(Chore, usize)>, String),
    /// Look again after so long.
    Wait(Duration),
}

/// The name of the mover: the same each time.
pub fn errand_name(subject: &Subject, cluster: &str) -> String {
    names::run_id(cluster, subject.name(), subject.metadata.uid.as_deref().unwrap_or_default(), "maintenance")
}

/// One chore in its turn.
struct Round {
    chore: Chore,
    schedule: Result<Option<Schedule>, Problem>,
    /// The time that it serves, where that has come.
    due: Option<Time>,
}

impl Round {
    fn of(chore: Chore, subject: &Subject, places: &[Place], now: Time) -> Self {
        Self { chore, schedule: schedule(chore, subject, places), due: due(chore, subject, now) }
    }

    /// The places that it has not come to yet.
    fn left<'a>(&'a self, subject: &'a Subject, places: &'a [Place]) -> impl Iterator<Item = usize> + 'a {
        let is_left = move |place: &Place| {
            let known = subject.status.repositories.get(&place.url);
            let done = known.and_then(|known| done_at(self.chore, known));
            has_work(self.chore, place) && self.due.is_some_and(|due| done.is_none_or(|done| done < due))
        };
        places.iter().enumerate().filter(move |(_, place)| is_left(place)).map(|(index, _)| index)
    }

    /// The id of its run for a place.
    fn run(&self, subject: &Subject, cluster: &str, place: &Place) -> Option<String> {
        let uid = subject.metadata.uid.as_deref().unwrap_or_default();
        let unique = format!("{:?} {} {}", self.chore, self.due?.to_rfc3339(), place.url);
        Some(names::run_id(cluster, subject.name(), uid, &unique))
    }
}

/// The promised time of a chore, where it has come.
fn due(chore: Chore, subject: &Subject, now: Time) -> Option<Time> {
    let promised = match chore {
        Chore::Retention => subject.status.next_maintenance,
        Chore::Check => subject.status.next_check,
    };
    promised.filter(|promised| *promised <= now)
}

fn done_at(chore: Chore, known: &ResticRepositoryStatus) -> Option<Time> {
    match chore {
        Chore::Retention => known.maintained_at,
        Chore::Check => known.checked_at,
    }
}

fn has_work(chore: Chore, place: &Place) -> bool {
    match chore {
        Chore::Retention => !place.task.histories.is_empty(),
        Chore::Check => place.is_used,
    }
}

/// What to do next for a repository object that is otherwise as it should be.
pub fn next_step(subject: &Subject, cluster: &str, places: &[Place], seen: &errand::Seen, now: Time) -> Step {
    let maintenance = subject.spec.maintenance.clone().unwrap_or_default();
    let idle = subject.spec.read_only
        || subject.spec.suspend
        || maintenance.suspend
        || subject.status.phase != Some(RepositoryPhase::Ready);
    let rounds = [Chore::Retention, Chore::Check].map(|chore| Round::of(chore, subject, places, now));
    let chosen = choose(&rounds, subject, cluster, places, seen, idle);
    // What is entered is not chosen any more.
    let next = errand::next(seen, chosen.as_ref().map(|chosen| chosen.run.as_str()), |_| false);
    match (next, &chosen) {
        (Next::Nothing, _) => {}
        (Next::Ended(_), Some(chosen)) => return ended(subject, chosen, places, &seen.state, now),
        (Next::Wait, Some(chosen)) if is_stuck(subject, &seen.state, now) => {
            return ended(subject, chosen, places, &seen.state, now);
        }
        (Next::Wait, _) => return Step::Wait(SOON),
        (Next::Credentials, Some(chosen)) if !is_said(subject, chosen, places) => {
            let mut status = subject.status.clone();
            let url = places[chosen.index].url.clone();
            status.at_work = Some(AtWork { url, chore: chosen.round.chore, since: now });
            return Step::Write(Box::new(status));
        }
        (next, Some(chosen)) => {
            return Step::Errand(next, Some((chosen.round.chore, chosen.index)), chosen.run.clone());
        }
        (next, None) => return Step::Errand(next, None, String::new()),
    }
    if !idle && rounds.iter().any(|round| round.left(subject, places).next().is_some()) {
        // A backup runs. Nothing of ours keeps others waiting meanwhile.
        return match subject.status.at_work {
            Some(_) => Step::Write(Box::new(RepositoryStatus { at_work: None, ..subject.status.clone() })),
            None => Step::Wait(SOON),
        };
    }
    rest(subject, &rounds, idle, now)
}

/// What is done now.
struct Chosen<'a> {
    round: &'a Round,
    index: usize,
    run: String,
}

fn choose<'a>(
    rounds: &'a [Round],
    subject: &Subject,
    cluster: &str,
    places: &[Place],
    seen: &errand::Seen,
    idle: bool,
) -> Option<Chosen<'a>> {
    let chosen = |round: &'a Round, index: usize| {
        let run = round.run(subject, cluster, &places[index])?;
        Some(Chosen { round, index, run })
    };
    // What runs already goes on, whatever has changed since, until its end is entered.
    let all = rounds.iter().flat_map(|round| round.left(subject, places).filter_map(move |index| chosen(round, index)));
    let at_work = all.into_iter().find(|of| seen.run() == Some(of.run.as_str()));
    at_work.or_else(|| {
        let mut left = rounds.iter().flat_map(|round| round.left(subject, places).map(move |index| (round, index)));
        let (round, index) = left.find(|(_, index)| !idle && !places[*index].busy)?;
        chosen(round, index)
    })
}

/// Whether the status says what is done now, so that backups into the same place wait.
fn is_said(subject: &Subject, chosen: &Chosen<'_>, places: &[Place]) -> bool {
    let said = subject.status.at_work.as_ref();
    said.is_some_and(|said| said.url == places[chosen.index].url && said.chore == chosen.round.chore)
}

/// Whether a mover has not started for so long that backups wait no more for it.
fn is_stuck(subject: &Subject, state: &MoverState, now: Time) -> bool {
    let since = subject.status.at_work.as_ref().map(|at_work| at_work.since);
    matches!(state, MoverState::Waiting(_)) && since.is_some_and(|since| now - since >= START)
}

/// Nothing is to be done now: the next times are promised.
fn rest(subject: &Subject, rounds: &[Round], idle: bool, now: Time) -> Step {
    if let Some(problem) = rounds.iter().find_map(|round| round.schedule.as_ref().err()) {
        return enter(subject, problem.message.clone(), now);
    }
    let mut status = subject.status.clone();
    status.at_work = None;
    let forced = subject.annotation(annotations::FORCE_AT);
    let force = !idle
        && forced.is_some()
        && forced == subject.annotation(annotations::REQUESTED_AT)
        && forced != status.last_handled_force_at.as_ref();
    if force {
        status.last_handled_force_at = forced.cloned();
    }
    for round in rounds {
        let schedules: Vec<Schedule> = round.schedule.iter().flatten().cloned().collect();
        let next = match (idle, force) {
            (true, _) => None,
            (false, true) => (!schedules.is_empty()).then_some(now),
            (false, false) => schedule::next(&schedules, now),
        };
        match round.chore {
            Chore::Retention => status.next_maintenance = next,
            Chore::Check => status.next_check = next,
        }
        if round.chore == Chore::Check && schedules.is_empty() {
            // What nobody looks at any more is not known.
            status.last_check = None;
            status.repositories.values_mut().for_each(|known| known.check_errors = None);
        }
    }
    let next = status.next_maintenance.into_iter().chain(status.next_check).min();
    let until = next.and_then(|next| (next - now).to_std().ok()).unwrap_or(BACKSTOP);
    if status == subject.status {
        Step::Wait(until.clamp(Duration::from_secs(1), BACKSTOP))
    } else {
        Step::Write(Box::new(status))
    }
}

fn schedule(chore: Chore, subject: &Subject, places: &[Place]) -> Result<Option<Schedule>, Problem> {
    let maintenance = subject.spec.maintenance.as_ref();
    let declared = match chore {
        Chore::Retention => maintenance
            .and_then(|maintenance| maintenance.schedule.as_deref())
            .or_else(|| places.iter().any(|place| has_work(chore, place)).then_some(DEFAULT_SCHEDULE)),
        Chore::Check => maintenance.and_then(|maintenance| Some(maintenance.check.as_ref()?.schedule.as_str())),
    };
    let Some(text) = declared else { return Ok(None) };
    let uid = subject.metadata.uid.as_deref().unwrap_or_default();
    Schedule::parse(text, subject.spec.time_zone.as_deref(), subject.spec.jitter, uid).map(Some)
}

/// Enters why maintenance does not work, once.
fn enter(subject: &Subject, message: String, now: Time) -> Step {
    let known = subject.status.last_maintenance.as_ref().is_some_and(|last| last.message == message);
    if known && subject.status.at_work.is_none() {
        return Step::Wait(BACKSTOP);
    }
    let mut status = subject.status.clone();
    status.at_work = None;
    status.last_maintenance = Some(MaintenanceResult { time: now, succeeded: false, forgotten: 0, message });
    Step::Write(Box::new(status))
}

fn ended(subject: &Subject, chosen: &Chosen<'_>, places: &[Place], state: &MoverState, now: Time) -> Step {
    let (chore, url) = (chosen.round.chore, &places[chosen.index].url);
    let status = match state {
        MoverState::Finished(answer) => enter_result(subject, chore, url, now, |known| {
            if answer.locks.is_some() {
                known.locks.clone_from(&answer.locks);
            }
            if let Some(id) = answer.repository.as_ref().filter(|_| !matches!(answer.outcome, Outcome::Failed(_))) {
                known.id.clone_from(id);
            }
            enter_outcome(subject, known, answer)
        }),
        MoverState::Lost(problem) | MoverState::Vanished(problem) => failed(subject, chore, url, &problem.message, now),
        MoverState::Waiting(why) => failed(subject, chore, url, why, now),
        MoverState::Absent | MoverState::Running { .. } => return Step::Wait(SOON),
    };
    Step::Write(status)
}

/// The status where a mover cannot be had: this place is done with until the next round, so that the others get their
/// turn and no backup waits for it. None while it may pass by itself.
pub fn refused(
    subject: &Subject,
    chore: Chore,
    url: &str,
    problem: &Problem,
    now: Time,
) -> Option<Box<RepositoryStatus>> {
    let since = subject.status.at_work.as_ref().map(|at_work| at_work.since);
    let may_pass = problem.class() == Class::Transient && since.is_none_or(|since| now - since < START);
    (!may_pass).then(|| failed(subject, chore, url, &problem.message, now))
}

fn failed(subject: &Subject, chore: Chore, url: &str, why: &str, now: Time) -> Box<RepositoryStatus> {
    enter_result(subject, chore, url, now, |_| (false, 0, why.to_owned()))
}

/// The status with what came of a place, which is done with in this round.
fn enter_result(
    subject: &Subject,
    chore: Chore,
    url: &str,
    now: Time,
    outcome: impl FnOnce(&mut ResticRepositoryStatus) -> (bool, i64, String),
) -> Box<RepositoryStatus> {
    let mut status = subject.status.clone();
    status.at_work = None;
    let known = status.repositories.entry(url.to_owned()).or_default();
    match chore {
        Chore::Retention => known.maintained_at = Some(now),
        Chore::Check => (known.checked_at, known.check_errors) = (Some(now), None),
    }
    let (succeeded, forgotten, words) = outcome(known);
    let result = MaintenanceResult { time: now, succeeded, forgotten, message: format!("{url}: {words}") };
    let last = match chore {
        Chore::Retention => &mut status.last_maintenance,
        Chore::Check => &mut status.last_check,
    };
    // One place that went wrong is not hidden by another after it in the same round.
    let due = due(chore, subject, now);
    let in_this_round = |last: &&mut MaintenanceResult| due.is_some_and(|due| last.time >= due);
    match last.as_mut().filter(in_this_round) {
        Some(earlier) if !earlier.succeeded && succeeded => {}
        _ => *last = Some(result),
    }
    Box::new(status)
}

/// Enters what came of a place: whether it went well, how many snapshots were forgotten, and words for it.
fn enter_outcome(subject: &Subject, known: &mut ResticRepositoryStatus, answer: &Answer) -> (bool, i64, String) {
    match &answer.outcome {
        Outcome::Maintained(done) => {
            (known.snapshots, known.bytes) = (Some(done.kept), Some(done.bytes));
            if let Some(held) = &done.held {
                let backup = held.backup.split_once('/').unwrap_or_default();
                let words = others::words("this URL", (&held.host, &held.path), backup, &held.written);
                return (false, done.forgotten, words);
            }
            (true, done.forgotten, format!("{} snapshots forgotten, {} kept", done.forgotten, done.kept))
        }
        Outcome::Checked(done) => {
            known.check_errors = Some(done.errors);
            if done.errors > 0 {
                let words = format!(
                    "{} errors: {}. Repair it with restic: https://restic.readthedocs.io/en/stable/077_troubleshooting.html",
                    done.errors, done.first
                );
                return (false, 0, words);
            }
            let part = next_part(subject, known);
            let read = part.map(|part| format!(", part {} of {} of the data read", part.number, part.of));
            known.checked_part = part.map(|part| part.number).or(known.checked_part);
            (true, 0, format!("no errors{}", read.unwrap_or_default()))
        }
        Outcome::Failed(failure) => {
            let ask = || locks::ask(answer.locks.as_deref()?, |id| subject.accept_command(id));
            let ask = (failure.kind == FailureKind::Locked).then(ask).flatten();
            (false, 0, ask.unwrap_or_else(|| failure.message.clone()))
        }
        other => (false, 0, format!("the mover answers something else: {other:?}")),
    }
}

/// The part of the data that is read next: one after the other, so that in the end all is read.
fn next_part(subject: &Subject, known: &ResticRepositoryStatus) -> Option<Part> {
    let check = subject.spec.maintenance.as_ref()?.check.as_ref()?;
    let percent: u32 = check.read_data.as_deref()?.trim_end_matches('%').parse().ok().filter(|percent| *percent > 0)?;
    let of = 100_u32.div_ceil(percent);
    Some(Part { number: known.checked_part.unwrap_or_default() % of + 1, of })
}

/// What the mover is to do.
pub fn task(subject: &Subject, cluster: &str, chore: Chore, place: &Place) -> Task {
    let unlock = locks::accepted(subject.annotation(annotations::ACCEPT));
    match chore {
        Chore::Retention => {
            let histories = places::declared(place, &subject.spec, cluster);
            Task::Maintain(MaintainTask { histories, unlock, ..place.task.clone() })
        }
        Chore::Check => {
            let known = subject.status.repositories.get(&place.url).cloned().unwrap_or_default();
            Task::Check(CheckTask { part: next_part(subject, &known), unlock })
        }
    }
}

#[cfg(test)]
mod tests;
