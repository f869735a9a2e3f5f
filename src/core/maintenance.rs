//! When and where retention is applied: one restic repository of a repository object after the other, in Jobs of
//! their own, never while a backup into the same one runs.

use std::time::Duration;

use kube::ResourceExt;

use crate::{
    api::{
        annotations,
        backup::{BackupRepositoryStatus, BackupTarget, RepositoryKey, RunResult, VolumeBackup},
        common::{Retention, Time},
        repository::{MaintenanceResult, RepositoryPhase, RepositoryStatus},
    },
    core::{
        errand::{self, Next},
        mover_state::MoverState,
        names,
        repository::Subject,
        schedule::{self, Schedule},
        task::{History, MaintainTask, Outcome, Task},
    },
};

/// When maintenance runs where a retention is declared but no schedule.
const DEFAULT_SCHEDULE: &str = "H 4 * * *";
/// How often is looked whether a backup that is waited for has ended, or a mover has.
const SOON: Duration = Duration::from_secs(15);
/// The longest time without a look.
const BACKSTOP: Duration = Duration::from_mins(10);
/// The longest time that maintenance of one restic repository may take, in seconds.
pub const DEADLINE: i64 = 24 * 3600;

/// A restic repository with something to keep in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Its URL, without credentials.
    pub url: String,
    /// Namespace and name of a `VolumeBackup` that goes there.
    pub backup: (String, String),
    /// The claims of that `VolumeBackup`.
    pub claims: Vec<String>,
    /// Whether a backup into it runs.
    pub busy: bool,
    /// What is to be done.
    pub task: MaintainTask,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this status.
    Write(Box<RepositoryStatus>),
    /// Go on with the mover for the place of this index (none where it only is to be cleaned up), in this run.
    Errand(Next, Option<usize>, String),
    /// Look again after so long.
    Wait(Duration),
}

/// The restic repositories of a repository object that have something to keep in order: the histories whose
/// retention is known. A history that no `VolumeBackup` declares, or whose last run is suspect, is left as it is.
pub fn places<'a>(
    key: &RepositoryKey,
    default: Option<&Retention>,
    backups: impl IntoIterator<Item = &'a VolumeBackup>,
) -> Vec<Place> {
    let mut places: Vec<Place> = vec![];
    for backup in backups {
        let status = backup.status.clone().unwrap_or_default();
        let Some(known) = status.repositories.iter().find(|known| known.repository == *key) else { continue };
        let Some(url) = known.targets.first().map(|target| target.url.clone()) else { continue };
        let busy = status.run.as_ref().is_some_and(|run| run.repositories.contains(key));
        let histories = histories(backup, key, known, default);
        let not_good = status.runs.iter().filter(|run| run.repository == *key && run.result != RunResult::Succeeded);
        let not_good = not_good.filter_map(|run| run.snapshot.clone());
        let place = if let Some(index) = places.iter().position(|place| place.url == url) {
            &mut places[index]
        } else {
            places.push(Place {
                url,
                backup: (backup.namespace().unwrap_or_default(), backup.name_any()),
                claims: known.targets.iter().map(|target| target.claim.clone()).collect(),
                busy: false,
                task: MaintainTask { histories: vec![], not_good: vec![] },
            });
            let last = places.len() - 1;
            &mut places[last]
        };
        place.busy |= busy;
        place.task.not_good.extend(not_good);
        place.task.histories.extend(histories);
    }
    for place in &mut places {
        // Two that write one history and disagree: neither of the two decides.
        let all = place.task.histories.clone();
        let twice = |one: &History| all.iter().filter(|of| (&of.host, &of.path) == (&one.host, &one.path)).count() > 1;
        place.task.histories.retain(|history| !twice(history));
    }
    places.retain(|place| !place.task.histories.is_empty());
    places.sort_by(|one, other| one.url.cmp(&other.url));
    places
}

fn histories(
    backup: &VolumeBackup,
    key: &RepositoryKey,
    known: &BackupRepositoryStatus,
    default: Option<&Retention>,
) -> Vec<History> {
    let of_reference = backup
        .spec
        .repository_refs
        .iter()
        .find(|reference| reference.repository.kind == key.kind && reference.repository.name == key.name);
    let retention = of_reference.and_then(|reference| reference.retention.as_ref());
    let retention = retention.or(backup.spec.retention.as_ref()).or(default);
    let Some(retention) = retention.filter(|retention| !retention.keeps_everything()) else { return vec![] };
    if known.last_success.is_none() {
        return vec![];
    }
    let is_suspect = |target: &&BackupTarget| {
        let runs = backup.status.iter().flat_map(|status| &status.runs);
        let last = runs.into_iter().find(|run| run.claim == target.claim && run.repository == *key);
        last.is_some_and(|run| run.result == RunResult::Suspect)
    };
    let history = |target: &BackupTarget| History {
        host: target.host.clone(),
        path: target.path.clone(),
        retention: retention.clone(),
    };
    known.targets.iter().filter(|target| !is_suspect(target)).map(history).collect()
}

/// The name of the mover: the same each time.
pub fn errand_name(subject: &Subject, cluster: &str) -> String {
    names::run_id(cluster, subject.name(), subject.metadata.uid.as_deref().unwrap_or_default(), "maintenance")
}

/// What to do next for a repository object that is otherwise as it should be.
pub fn next_step(subject: &Subject, cluster: &str, places: &[Place], seen: &errand::Seen, now: Time) -> Step {
    let maintenance = subject.spec.maintenance.clone().unwrap_or_default();
    let idle = subject.spec.read_only
        || subject.spec.suspend
        || maintenance.suspend
        || subject.status.phase != Some(RepositoryPhase::Ready);
    let schedule = match schedule(subject, places) {
        Ok(schedule) => schedule,
        Err(problem) => return enter(subject, problem.message, now),
    };
    let current = subject.status.next_maintenance.filter(|promised| *promised <= now);
    let run = |place: &Place, round: Time| {
        let uid = subject.metadata.uid.as_deref().unwrap_or_default();
        names::run_id(cluster, subject.name(), uid, &format!("maintain {} {}", round.to_rfc3339(), place.url))
    };
    // What runs already goes on, whatever has changed since.
    let at_work = current.and_then(|round| {
        let index = places.iter().position(|place| seen.run() == Some(run(place, round).as_str()))?;
        Some((index, run(&places[index], round)))
    });
    let is_left = |place: &&Place| {
        let known = subject.status.repositories.get(&place.url);
        current.is_some_and(|round| known.and_then(|known| known.maintained_at).is_none_or(|at| at < round))
    };
    let left: Vec<&Place> = places.iter().filter(is_left).collect();
    let chosen = at_work.or_else(|| {
        let place = left.iter().find(|place| !idle && !place.busy)?;
        let index = places.iter().position(|of| of.url == place.url)?;
        Some((index, run(place, current?)))
    });
    let entered = |_: &str| chosen.as_ref().is_some_and(|(index, _)| !is_left(&&places[*index]));
    match errand::next(seen, chosen.as_ref().map(|(_, run)| run.as_str()), entered) {
        Next::Nothing => {}
        Next::Wait => return Step::Wait(SOON),
        Next::Ended(_) => {
            let url = chosen.map(|(index, _)| places[index].url.clone()).unwrap_or_default();
            return ended(subject, &url, &seen.state, now);
        }
        next => {
            let (index, run) = chosen.unzip();
            return Step::Errand(next, index, run.unwrap_or_default());
        }
    }
    if !idle && !left.is_empty() {
        return Step::Wait(SOON);
    }
    rest(subject, schedule.as_ref(), idle, now)
}

/// Nothing is to be done now: the next time is promised.
fn rest(subject: &Subject, schedule: Option<&Schedule>, idle: bool, now: Time) -> Step {
    let mut status = subject.status.clone();
    let forced = subject.annotation(annotations::FORCE_AT);
    let force = forced.is_some()
        && forced == subject.annotation(annotations::REQUESTED_AT)
        && forced != status.last_handled_force_at.as_ref();
    if idle {
        status.next_maintenance = None;
    } else if force {
        status.last_handled_force_at = forced.cloned();
        status.next_maintenance = Some(now);
    } else {
        let schedules: Vec<Schedule> = schedule.cloned().into_iter().collect();
        status.next_maintenance = schedule::next(&schedules, now);
    }
    let until = status.next_maintenance.and_then(|next| (next - now).to_std().ok()).unwrap_or(BACKSTOP);
    if status == subject.status {
        Step::Wait(until.clamp(Duration::from_secs(1), BACKSTOP))
    } else {
        Step::Write(Box::new(status))
    }
}

fn schedule(subject: &Subject, places: &[Place]) -> Result<Option<Schedule>, crate::core::problem::Problem> {
    let declared = subject.spec.maintenance.as_ref().and_then(|maintenance| maintenance.schedule.as_deref());
    let Some(text) = declared.or_else(|| (!places.is_empty()).then_some(DEFAULT_SCHEDULE)) else { return Ok(None) };
    let uid = subject.metadata.uid.as_deref().unwrap_or_default();
    Schedule::parse(text, subject.spec.time_zone.as_deref(), subject.spec.jitter, uid).map(Some)
}

/// Enters why maintenance does not work, once.
fn enter(subject: &Subject, message: String, now: Time) -> Step {
    if subject.status.last_maintenance.as_ref().is_some_and(|last| last.message == message) {
        return Step::Wait(BACKSTOP);
    }
    let mut status = subject.status.clone();
    status.last_maintenance = Some(MaintenanceResult { time: now, succeeded: false, forgotten: 0, message });
    Step::Write(Box::new(status))
}

fn ended(subject: &Subject, url: &str, state: &MoverState, now: Time) -> Step {
    let mut status = subject.status.clone();
    let known = status.repositories.entry(url.to_owned()).or_default();
    known.maintained_at = Some(now);
    let failed = |words: &str| MaintenanceResult {
        time: now,
        succeeded: false,
        forgotten: 0,
        message: format!("{url}: {words}"),
    };
    let result = match state {
        MoverState::Finished(answer) => match &answer.outcome {
            Outcome::Maintained(done) => {
                if let Some(id) = &answer.repository {
                    known.id.clone_from(id);
                }
                known.snapshots = Some(done.kept);
                known.bytes = Some(done.bytes);
                let message = format!("{url}: {} snapshots forgotten, {} kept", done.forgotten, done.kept);
                MaintenanceResult { time: now, succeeded: true, forgotten: done.forgotten, message }
            }
            Outcome::Failed(failure) => failed(&failure.message),
            other => failed(&format!("the mover answers something else: {other:?}")),
        },
        MoverState::Lost(problem) => failed(&problem.message),
        MoverState::Absent | MoverState::Waiting(_) | MoverState::Running { .. } => return Step::Wait(SOON),
    };
    status.last_maintenance = Some(result);
    Step::Write(Box::new(status))
}

/// The task of a place.
pub fn task(place: &Place) -> Task {
    Task::Maintain(place.task.clone())
}

#[cfg(test)]
mod tests;
