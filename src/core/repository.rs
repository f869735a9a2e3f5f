//! What happens next with a repository object: it is asked whether its base is there, and the base is created once
//! in its life, when someone accepts that.

mod answer;
mod series;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    api::{
        annotations,
        backup::{RepositoryKey, VolumeBackup},
        common::{RepositoryKind, Time},
        repository::{ClusterResticRepository, RepositoryPhase, RepositorySpec, RepositoryStatus, ResticRepository},
    },
    core::{
        conditions::{self, Summary},
        destination,
        errand::{self, Next},
        names::{self, Owner},
        problem::{Class, Problem, Reason},
        schedule::Schedule,
        task::Task,
    },
};

pub use series::measure;

/// How often a repository that is not reachable is asked.
const PERIOD: i64 = 300;
/// How often it is asked at first, and for how long: most causes are put right while someone looks on.
const EAGER_PERIOD: i64 = 20;
const EAGER_FOR: i64 = 300;
/// The longest time without a look.
const BACKSTOP: Duration = Duration::from_mins(10);
/// How often an object that is not ready is looked at: its Secret may have changed.
const PAUSE: Duration = Duration::from_secs(30);
/// How often credentials are looked at that are not watched.
const UNWATCHED: Duration = Duration::from_mins(1);
/// How often a mover is looked at, should no watch tell.
const SOON: Duration = Duration::from_secs(5);
/// The longest time that a question or a creation may take, in seconds.
pub const DEADLINE: i64 = 120;

/// A repository object of either kind.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its kind.
    pub kind: RepositoryKind,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it declares.
    pub spec: RepositorySpec,
    /// What is known about it.
    pub status: RepositoryStatus,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The older object that is the default already.
    pub rival: Option<String>,
    /// Where the credentials come from, in words, and what changes when they change; or why they cannot be had.
    pub credentials: Result<(String, String), Problem>,
    /// Why the volume that holds the repositories cannot be mounted.
    pub volume: Option<Problem>,
    /// The mover that asks or creates.
    pub errand: errand::Seen,
    /// How many `VolumeBackups` use it.
    pub backups: i64,
    /// When a backup last failed for a reason that lies in the repository.
    pub doubt: Option<Time>,
    /// restic's ids of the repositories below it by public URL, as the `VolumeBackups` know them; empty where one has
    /// not succeeded there yet.
    pub known: Vec<(String, String)>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this status.
    Write(Box<RepositoryStatus>),
    /// Go on with the mover that does this in this run.
    Errand(Next, Box<Task>, String),
    /// Look again after so long; the object is as it should be.
    Wait(Duration),
}

impl From<&ResticRepository> for Subject {
    fn from(object: &ResticRepository) -> Self {
        Self {
            kind: RepositoryKind::ResticRepository,
            metadata: object.metadata.clone(),
            spec: object.spec.repository.clone(),
            status: object.status.clone().unwrap_or_default(),
        }
    }
}

impl From<&ClusterResticRepository> for Subject {
    fn from(object: &ClusterResticRepository) -> Self {
        Self {
            kind: RepositoryKind::ClusterResticRepository,
            metadata: object.metadata.clone(),
            spec: object.spec.repository.clone(),
            status: object.status.clone().unwrap_or_default(),
        }
    }
}

impl Subject {
    /// Its kind and name.
    pub fn key(&self) -> RepositoryKey {
        RepositoryKey { kind: self.kind, name: self.name().to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// As the owner of its movers.
    pub fn owner(&self) -> Owner {
        Owner {
            kind: self.kind.as_str(),
            namespace: self.metadata.namespace.clone(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
        }
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&String> {
        self.metadata.annotations.as_ref()?.get(name)
    }

    /// The name of the mover that asks or creates: the same each time.
    pub fn errand(&self, cluster: &str) -> String {
        names::run_id(cluster, self.name(), self.uid(), "base")
    }

    fn run(&self, cluster: &str, task: &Task, version: &str) -> String {
        let what = if *task == Task::Create { "create" } else { "probe" };
        names::run_id(cluster, self.name(), self.uid(), &format!("{what} {version}"))
    }

    pub(crate) fn accept_command(&self, id: &str) -> String {
        names::accept_command(&self.resource(), self.metadata.namespace.as_deref(), self.name(), id)
    }

    /// The id that a message of its status asks to accept.
    pub fn asked_to_accept<'a>(&self, message: &'a str) -> Option<&'a str> {
        names::asked_to_accept(message, &self.resource(), self.metadata.namespace.as_deref(), self.name())
    }

    /// What kubectl calls it.
    fn resource(&self) -> String {
        self.kind.as_str().to_lowercase()
    }

    fn accepted(&self, id: &str) -> bool {
        self.annotation(annotations::ACCEPT).is_some_and(|value| value == id)
    }

    /// The id that accepts the creation of the base, at this URL and after this history.
    fn creation_id(&self, base_url: &str) -> String {
        let known = self.status.base.as_ref().map_or("", |base| base.id.as_str());
        names::hash(&["base", self.uid(), base_url, known], 8)
    }
}

/// Whether a `VolumeBackup` or restore of a namespace can use a repository object: what it declares, and restic's id
/// of its base; or why not.
pub fn usable(
    key: &RepositoryKey,
    found: Option<&Subject>,
    namespace: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<(RepositorySpec, Option<String>), Problem> {
    let name = format!("{} {}", key.kind.as_str(), key.name);
    let Some(subject) = found else {
        return Err(Problem::new(
            Reason::RepositoryNotFound,
            format!("{name} does not exist: create it, or correct repositoryRefs"),
        ));
    };
    if key.kind == RepositoryKind::ClusterResticRepository && !destination::admits(&subject.spec, namespace, labels)? {
        return Err(Problem::new(
            Reason::RepositoryNotAllowed,
            format!("{name} does not admit the namespace {namespace}: add it to allowedNamespaces"),
        ));
    }
    let status = &subject.status;
    let current = subject.metadata.generation.is_none_or(|generation| generation == status.observed_generation);
    if !current || !conditions::is_ready(&status.conditions) {
        let why = conditions::get(&status.conditions, conditions::READY).filter(|_| current);
        let why = why.map_or_else(
            || "it is being asked whether it is there".to_owned(),
            |why| format!("{}: {}", why.reason, why.message),
        );
        return Err(Problem::new(Reason::RepositoryNotReady, format!("{name} is not ready: {why}")));
    }
    Ok((subject.spec.clone(), status.base.as_ref().map(|base| base.id.clone())))
}

/// When a `VolumeBackup` last failed for a reason that lies in the repository.
pub fn doubt(backup: &VolumeBackup, key: &RepositoryKey) -> Option<Time> {
    const REASONS: [Reason; 4] =
        [Reason::RepositoryUnreachable, Reason::WrongPassword, Reason::BaseMissing, Reason::RepositoryChanged];
    let newest = backup.status.as_ref()?.runs.iter().find(|run| run.repository == *key)?;
    let reason = newest.reason.as_deref()?;
    REASONS.iter().any(|of| of.as_str() == reason).then_some(newest.time)
}

/// What to do next with a repository object.
pub fn next_step(subject: &Subject, cluster: &str, seen: &Observed, now: Time) -> Step {
    if subject.metadata.deletion_timestamp.is_some() {
        return Step::Wait(BACKSTOP);
    }
    if let Err(problem) = &seen.credentials
        && problem.class() == Class::Transient
        && subject.status.phase == Some(RepositoryPhase::Ready)
        && subject.metadata.generation == Some(subject.status.observed_generation)
    {
        // Who keeps the credentials does not answer just now, which says nothing about the repository.
        return Step::Wait(PAUSE);
    }
    let version = match standing(subject, cluster, seen) {
        Ok(version) => version,
        Err((phase, summary)) => return halted(subject, seen, phase, &summary, now),
    };
    let base_url = match destination::base_url(&subject.spec, cluster) {
        Ok(url) => url,
        Err(problem) => return halted(subject, seen, None, &Summary::NotReady(problem), now),
    };
    let task = if creation_is_accepted(subject, &base_url) { Task::Create } else { Task::Probe };
    let run = subject.run(cluster, &task, &version);
    let wanted = is_wanted(subject, &task, &version, seen, now);
    if wanted && subject.status.observed_generation != subject.metadata.generation.unwrap_or_default() {
        return first_word(subject, now);
    }
    let next = errand::next(&seen.errand, wanted.then_some(run.as_str()), |uid| has_entered(subject, uid));
    match next {
        Next::Nothing => settled(subject, seen, now),
        Next::Wait => Step::Wait(SOON),
        Next::Ended(uid) => {
            let mut status = answer::answered(subject, &base_url, seen, now);
            status.probed = Some(format!("{version} {uid}"));
            status.probed_at = Some(now);
            Step::Write(Box::new(status))
        }
        next => Step::Errand(next, Box::new(task), run),
    }
}

/// What forbids to ask at all: the phase, and what the condition says.
fn standing(subject: &Subject, cluster: &str, seen: &Observed) -> Result<String, (Option<RepositoryPhase>, Summary)> {
    let wrong = |problem: Problem| (None, Summary::NotReady(problem));
    destination::validate(&subject.spec, cluster).map_err(wrong)?;
    schedules(subject).map_err(wrong)?;
    if subject.spec.suspend {
        let message = "suspend is set: nothing starts".to_owned();
        return Err((Some(RepositoryPhase::Suspended), Summary::Ready("Suspended", message)));
    }
    if let Some(rival) = &seen.rival {
        let message =
            format!("ClusterResticRepository {rival} is the default already: set default on one of the two only");
        return Err(wrong(Problem::new(Reason::DefaultTaken, message)));
    }
    if let Some(problem) = &seen.volume {
        return Err(wrong(problem.clone()));
    }
    let unreachable = |problem: Problem| (Some(RepositoryPhase::Unreachable), Summary::NotReady(problem));
    let (_, version) = seen.credentials.clone().map_err(unreachable)?;
    Ok(asked_with(subject, &version))
}

/// A schedule that cannot be understood is said where it stands: otherwise only the log would tell that maintenance
/// never runs, and each `VolumeBackup` that takes the repository's schedule.
fn schedules(subject: &Subject) -> Result<(), Problem> {
    let spec = &subject.spec;
    let maintenance = spec.maintenance.as_ref();
    let check = maintenance.and_then(|maintenance| maintenance.check.as_ref());
    let places = [
        ("schedule", spec.schedule.as_deref()),
        ("maintenance.schedule", maintenance.and_then(|maintenance| maintenance.schedule.as_deref())),
        ("maintenance.check.schedule", check.map(|check| check.schedule.as_str())),
    ];
    // A time zone is looked at also where there is no schedule of its own.
    let zone = spec.time_zone.is_some().then_some(("timeZone", Some("@daily")));
    for (place, text) in places.into_iter().chain(zone) {
        let Some(text) = text else { continue };
        Schedule::parse(text, spec.time_zone.as_deref(), spec.jitter, subject.uid())
            .map_err(|problem| Problem::new(problem.reason, format!("spec.{place}: {}", problem.message)))?;
    }
    Ok(())
}

/// What a question depends on: another one is asked when this changes.
fn asked_with(subject: &Subject, credentials: &str) -> String {
    let generation = subject.metadata.generation.unwrap_or_default().to_string();
    names::hash(&[&generation, credentials], 16)
}

/// Whether the repository has been asked with credentials of this version, so that they have been read already.
pub fn was_asked(subject: &Subject, credentials: &str) -> bool {
    has_probed(subject, &asked_with(subject, credentials))
}

fn has_probed(subject: &Subject, version: &str) -> bool {
    subject.status.probed.as_ref().is_some_and(|probed| probed.starts_with(&format!("{version} ")))
}

fn halted(subject: &Subject, seen: &Observed, phase: Option<RepositoryPhase>, summary: &Summary, now: Time) -> Step {
    match errand::next(&seen.errand, None, |_| true) {
        Next::Nothing => {}
        Next::Wait => return Step::Wait(SOON),
        next => return Step::Errand(next, Box::new(Task::Probe), String::new()),
    }
    let mut status = handled(subject, seen);
    status.phase = phase.or(Some(RepositoryPhase::Unreachable));
    conditions::summarize(&mut status.conditions, summary, subject.metadata.generation, now);
    let wait = match summary {
        Summary::NotReady(problem) if problem.class() == Class::Transient => SOON,
        Summary::NotReady(_) => PAUSE,
        Summary::Ready(..) | Summary::Progressing(..) => BACKSTOP,
    };
    write_or_wait(subject, status, wait)
}

/// The status with what every write enters.
fn handled(subject: &Subject, seen: &Observed) -> RepositoryStatus {
    let mut status = subject.status.clone();
    status.observed_generation = subject.metadata.generation.unwrap_or_default();
    status.last_handled_reconcile_at = subject.annotation(annotations::REQUESTED_AT).cloned();
    status.backups = Some(seen.backups);
    for (url, id) in seen.known.iter().filter(|(_, id)| !id.is_empty()) {
        status.repositories.entry(url.clone()).or_default().id.clone_from(id);
    }
    for (url, repository) in &mut status.repositories {
        repository.orphaned = !seen.known.iter().any(|(known, _)| known == url);
    }
    status
}

/// An object that has not been seen, or has changed, is on its way.
fn first_word(subject: &Subject, now: Time) -> Step {
    let mut status = subject.status.clone();
    status.observed_generation = subject.metadata.generation.unwrap_or_default();
    // What was found before this change is asked again.
    status.probed = None;
    let summary = Summary::Progressing("Progressing", "the repository is asked whether its base is there".to_owned());
    conditions::summarize(&mut status.conditions, &summary, subject.metadata.generation, now);
    Step::Write(Box::new(status))
}

fn has_entered(subject: &Subject, job_uid: &str) -> bool {
    subject.status.probed.as_ref().is_some_and(|probed| probed.ends_with(&format!(" {job_uid}")))
}

/// Whether someone accepted that the base is created, where nothing is.
fn creation_is_accepted(subject: &Subject, base_url: &str) -> bool {
    let phase = matches!(subject.status.phase, Some(RepositoryPhase::BaseMissing | RepositoryPhase::Changed));
    phase && !subject.spec.read_only && subject.accepted(&subject.creation_id(base_url))
}

/// Whether the repository is to be asked now (or the base to be created).
fn is_wanted(subject: &Subject, task: &Task, version: &str, seen: &Observed, now: Time) -> bool {
    let status = &subject.status;
    if !has_probed(subject, version) || *task == Task::Create {
        return true;
    }
    if status.last_handled_reconcile_at.as_ref() != subject.annotation(annotations::REQUESTED_AT) {
        return true;
    }
    // A changed base may have been accepted meanwhile.
    let found = conditions::get(&status.conditions, conditions::READY);
    let accepts = found.is_some_and(|found| {
        let accept = subject.annotation(annotations::ACCEPT);
        status.phase == Some(RepositoryPhase::Changed)
            && accept.is_some_and(|id| found.message.ends_with(&format!("={id}`")))
    });
    let asked = status.probed_at.unwrap_or_default();
    accepts || seen.doubt.is_some_and(|doubt| doubt > asked) || next_question(subject).is_some_and(|at| at <= now)
}

/// When a repository that is not ready is asked again.
fn next_question(subject: &Subject) -> Option<Time> {
    if subject.status.phase == Some(RepositoryPhase::Ready) {
        return None;
    }
    let asked = subject.status.probed_at?;
    let since = conditions::get(&subject.status.conditions, conditions::READY)?.last_transition_time;
    let period = if (asked - since).num_seconds() < EAGER_FOR { EAGER_PERIOD } else { PERIOD };
    Some(asked + chrono::Duration::seconds(period))
}

/// Nothing is to be asked: what others know of it is entered.
fn settled(subject: &Subject, seen: &Observed, now: Time) -> Step {
    let status = handled(subject, seen);
    let wait = next_question(subject).and_then(|at| (at - now).to_std().ok()).unwrap_or(BACKSTOP);
    // The operator's own namespace is watched, and 1Password.
    let watched =
        subject.kind == RepositoryKind::ClusterResticRepository || subject.spec.credentials.secret_ref.is_none();
    let longest = match status.phase {
        Some(RepositoryPhase::Ready) if watched => BACKSTOP,
        // No watch tells that a Secret elsewhere has changed.
        Some(RepositoryPhase::Ready) => UNWATCHED,
        _ => PAUSE,
    };
    write_or_wait(subject, status, wait.clamp(Duration::from_secs(1), longest))
}

fn write_or_wait(subject: &Subject, status: RepositoryStatus, wait: Duration) -> Step {
    if status == subject.status { Step::Wait(wait) } else { Step::Write(Box::new(status)) }
}

#[cfg(test)]
mod tests;
