//! While nothing runs: what is declared, whether it can be done, and whether it is due.

use std::time::Duration;

use kube::ResourceExt;

use crate::{
    api::{
        annotations,
        backup::{
            BackupMethod, BackupPhase, BackupRepositoryRef, BackupRepositoryStatus, BackupTarget, RepositoryKey, Run,
            RunGroup, RunTrigger, VolumeBackup, VolumeBackupSpec, VolumeBackupStatus,
        },
        common::Time,
    },
    core::{
        conditions::{self, Summary},
        destination::{self, Scope, public_url},
        driver::{self, Reading},
        group, job, names,
        problem::{Problem, Reason},
        schedule::{self, Schedule, Verdict},
    },
};

use super::{
    BACKSTOP, Observed, Place, SeenRepository, Step, World, accept_command, accepted, holder, hooks, others, results,
    steps::{SNAPSHOTTING, write_or_wait},
    turn,
};

/// How often what blocks is looked at again.
const BLOCKED: Duration = Duration::from_secs(30);
/// How often a claim that is not there is looked for.
const CLAIM: Duration = Duration::from_secs(15);

/// A repository that is declared and can be used.
struct Declared {
    key: RepositoryKey,
    targets: Vec<BackupTarget>,
}

/// What is declared, where it can be done.
struct Declaration {
    readings: Vec<Reading>,
    /// By what the claims are snapshotted as one.
    group: Option<RunGroup>,
    repositories: Vec<Declared>,
    /// One for each of the repositories that have a schedule.
    schedules: Vec<Schedule>,
    /// The repository of each schedule.
    scheduled: Vec<usize>,
    /// Why some of what is declared cannot be done, although the rest can.
    problem: Option<Problem>,
}

/// Why nothing can be done.
enum Halt {
    /// Nothing is to start.
    Suspended(String),
    /// A claim is not there yet, which is no error.
    Waiting(Problem),
    /// Something has to change.
    Blocked(Problem),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Blocked(problem)
    }
}

/// The claims that are declared by their names; with a selector, those that were seen to have the labels.
pub fn claim_names(backup: &VolumeBackup) -> Vec<String> {
    if backup.spec.claim_selector.is_some() {
        let seen = backup.status.iter().flat_map(|status| &status.claims);
        return seen.map(|claim| claim.name.clone()).collect();
    }
    if backup.spec.claim_names.is_empty() { vec![backup.name_any()] } else { backup.spec.claim_names.clone() }
}

/// The repository objects that are declared: those that are named, or the default.
pub fn repository_keys(spec: &VolumeBackupSpec, default: Option<RepositoryKey>) -> Result<Vec<RepositoryKey>, Problem> {
    if !spec.repository_refs.is_empty() {
        let key = |reference: &BackupRepositoryRef| RepositoryKey {
            kind: reference.repository.kind,
            name: reference.repository.name.clone(),
        };
        return Ok(spec.repository_refs.iter().map(key).collect());
    }
    let message = "no ClusterResticRepository is the default: set default: true on one, or name one in repositoryRefs";
    default.map(|key| vec![key]).ok_or_else(|| Problem::new(Reason::RepositoryNotFound, message))
}

/// What to do while nothing runs.
pub(super) fn next_step(backup: &VolumeBackup, world: &World, seen: &Observed, now: Time) -> Step {
    let mut status = backup.status.clone().unwrap_or_default();
    status.observed_generation = backup.metadata.generation.unwrap_or_default();
    status.last_handled_reconcile_at = annotation(backup, annotations::REQUESTED_AT);
    results::accept_suspects(backup, &mut status);
    others::accept(backup, &mut status);
    match declaration(backup, world, seen) {
        Ok(declaration) => declared(backup, status, &declaration, world, seen, now),
        Err(halt) => halted(backup, status, halt, now),
    }
}

fn halted(backup: &VolumeBackup, mut status: VolumeBackupStatus, halt: Halt, now: Time) -> Step {
    let (phase, summary, message, wait) = match halt {
        Halt::Suspended(message) => {
            // What passes meanwhile is not caught up.
            status.next_run = None;
            (BackupPhase::Suspended, Summary::Ready("Suspended", message.clone()), message, BACKSTOP)
        }
        Halt::Waiting(problem) => {
            let message = problem.message;
            let summary = Summary::Ready(problem.reason.as_str(), message.clone());
            (BackupPhase::WaitingForClaim, summary, message, CLAIM)
        }
        Halt::Blocked(problem) => {
            let message = problem.message.clone();
            (BackupPhase::Blocked, Summary::NotReady(problem), message, BLOCKED)
        }
    };
    status.phase = Some(phase);
    status.message = Some(message);
    conditions::summarize(&mut status.conditions, &summary, backup.metadata.generation, now);
    write_or_wait(backup, status, wait)
}

fn declared(
    backup: &VolumeBackup,
    mut status: VolumeBackupStatus,
    declaration: &Declaration,
    world: &World,
    seen: &Observed,
    now: Time,
) -> Step {
    let generation = backup.metadata.generation;
    let summary = match &declaration.problem {
        Some(problem) => Summary::NotReady(problem.clone()),
        None => ready(backup, declaration),
    };
    conditions::summarize(&mut status.conditions, &summary, generation, now);
    status.claims = declaration.readings.iter().map(Reading::status).collect();
    status.repositories = repositories(&status.repositories, declaration);
    for (index, repository) in status.repositories.iter_mut().enumerate() {
        let schedule = declaration.scheduled.iter().position(|of| *of == index).map(|at| &declaration.schedules[at]);
        results::freshness(repository, schedule, generation, now);
    }
    match due(backup, &status, declaration, now) {
        Some((trigger, time, which)) => match &seen.place {
            Place::Unasked => {
                let keys = || which.iter().map(|index| &declaration.repositories[*index].key);
                if let Some(why) = turn::upkeep(&status, seen, keys()) {
                    return turn::queue(backup, status, &why);
                }
                let keys = keys();
                Step::Ask(turn::waiting(backup, seen, trigger, time.unwrap_or(now), keys))
            }
            Place::Granted => {
                start(backup, &mut status, declaration, world, (trigger, time, &which), now);
                Step::Write(Box::new(status), None)
            }
            Place::Full(why) => turn::queue(backup, status, why),
        },
        None => idle(backup, status, declaration, now),
    }
}

fn idle(backup: &VolumeBackup, mut status: VolumeBackupStatus, declaration: &Declaration, now: Time) -> Step {
    status.phase = Some(BackupPhase::Idle);
    status.next_run = schedule::next(&declaration.schedules, now);
    let besides = others::mention(&status).map(|other| format!("{other}; ")).unwrap_or_default();
    status.message = Some(format!("{besides}{}", results::idle_message(&status)));
    let until = status.next_run.and_then(|next| (next - now).to_std().ok()).unwrap_or(BACKSTOP);
    write_or_wait(backup, status, until.clamp(Duration::from_secs(1), BACKSTOP))
}

fn ready(backup: &VolumeBackup, declaration: &Declaration) -> Summary {
    let claims = declaration.readings.iter().map(|reading| reading.claim.as_str()).collect::<Vec<_>>().join(", ");
    let places = declaration.repositories.iter().map(|repository| repository.key.name.as_str());
    let places = places.collect::<Vec<_>>().join(", ");
    if declaration.schedules.is_empty() {
        let command = format!(
            "`kubectl annotate volumebackup -n {} {} --overwrite {}=$NOW {}=$NOW`",
            backup.namespace().unwrap_or_default(),
            backup.name_any(),
            annotations::REQUESTED_AT,
            annotations::FORCE_AT
        );
        let message = format!(
            "claim {claims} is backed up into {places} by hand only, as no schedule is declared: {command} with any new value for $NOW"
        );
        return Summary::Ready("ByHand", message);
    }
    Summary::Ready("Scheduled", format!("claim {claims} is backed up into {places}"))
}

/// What makes a run due: someone asked, the object is new and wants one, or its time has come.
fn due(
    backup: &VolumeBackup,
    status: &VolumeBackupStatus,
    declaration: &Declaration,
    now: Time,
) -> Option<(RunTrigger, Option<Time>, Vec<usize>)> {
    let all = || (0..declaration.repositories.len()).collect();
    let forced = annotation(backup, annotations::FORCE_AT);
    if forced.is_some()
        && forced == annotation(backup, annotations::REQUESTED_AT)
        && forced != status.last_handled_force_at
    {
        return Some((RunTrigger::Manual, None, all()));
    }
    if backup.spec.run_on_create && status.runs.is_empty() {
        return Some((RunTrigger::Create, None, all()));
    }
    match schedule::due(&declaration.schedules, status.next_run, now) {
        Verdict::Due { time, which } => {
            let which = which.into_iter().map(|schedule| declaration.scheduled[schedule]).collect();
            Some((RunTrigger::Schedule, Some(time), which))
        }
        Verdict::Next(_) => None,
    }
}

fn start(
    backup: &VolumeBackup,
    status: &mut VolumeBackupStatus,
    declaration: &Declaration,
    world: &World,
    (trigger, time, which): (RunTrigger, Option<Time>, &[usize]),
    now: Time,
) {
    let unique = match (trigger, time) {
        (RunTrigger::Manual, _) => format!("manual {}", annotation(backup, annotations::FORCE_AT).unwrap_or_default()),
        (_, Some(time)) => format!("at {}", time.to_rfc3339()),
        (_, None) => "create".to_owned(),
    };
    if trigger == RunTrigger::Manual {
        status.last_handled_force_at = annotation(backup, annotations::FORCE_AT);
    }
    let uid = backup.uid().unwrap_or_default();
    status.phase = Some(BackupPhase::Snapshotting);
    status.message = Some(SNAPSHOTTING.to_owned());
    status.next_run = schedule::next(&declaration.schedules, now);
    status.run = Some(Run {
        id: names::run_id(&world.cluster, &backup.name_any(), &uid, &unique),
        trigger,
        scheduled_for: time,
        started_at: now,
        attempt_started_at: now,
        attempt: 1,
        claims: declaration.readings.iter().map(|reading| reading.claim.clone()).collect(),
        group: declaration.group.clone(),
        repositories: which.iter().map(|index| declaration.repositories[*index].key.clone()).collect(),
        results: vec![],
        volumes: vec![],
        progress: None,
        hooks: hooks::declared(backup),
    });
}

/// The state in each repository: what is known of it stays.
fn repositories(known: &[BackupRepositoryStatus], declaration: &Declaration) -> Vec<BackupRepositoryStatus> {
    let state = |declared: &Declared| {
        let known = known.iter().find(|known| known.repository == declared.key).cloned();
        let mut state = known.unwrap_or_else(|| BackupRepositoryStatus {
            repository: declared.key.clone(),
            targets: vec![],
            id: None,
            last_success: None,
            conditions: vec![],
        });
        state.targets = declared.targets.iter().map(shown).collect();
        state
    };
    declaration.repositories.iter().map(state).collect()
}

/// A target as the status shows it: without credentials.
fn shown(target: &BackupTarget) -> BackupTarget {
    BackupTarget { url: public_url(&target.url), ..target.clone() }
}

fn declaration(backup: &VolumeBackup, world: &World, seen: &Observed) -> Result<Declaration, Halt> {
    let spec = &backup.spec;
    supported(spec, world)?;
    if spec.suspend {
        return Err(Halt::Suspended("suspend is set: no run starts".to_owned()));
    }
    if let Some(problem) = &seen.no_repository {
        return Err(problem.clone().into());
    }
    if seen.claims.is_empty() {
        let message = "no claim of the namespace has the labels of claimSelector: label one, or correct the selector";
        return Err(Halt::Waiting(Problem::new(Reason::ClaimNotFound, message)));
    }
    let claims: Vec<String> = seen.claims.iter().map(|claim| claim.name.clone()).collect();
    let mut declaration = Declaration {
        readings: vec![],
        group: None,
        repositories: vec![],
        schedules: vec![],
        scheduled: vec![],
        problem: None,
    };
    let mut idle = vec![];
    for seen in &seen.repositories {
        match repository(backup, world, seen, &claims) {
            Ok((declared, schedule)) => {
                if let Some(schedule) = schedule {
                    declaration.schedules.push(schedule);
                    declaration.scheduled.push(declaration.repositories.len());
                }
                declaration.repositories.push(declared);
            }
            Err(Halt::Suspended(message) | Halt::Waiting(Problem { message, .. })) => idle.push(message),
            Err(Halt::Blocked(problem)) => _ = declaration.problem.get_or_insert(problem),
        }
    }
    if declaration.repositories.is_empty() {
        return Err(match declaration.problem {
            Some(problem) => problem.into(),
            None => Halt::Suspended(idle.join("; ")),
        });
    }
    declaration.readings = readings(backup, seen)?;
    declaration.group = group::choose(spec, &mut declaration.readings, &seen.group_classes);
    Ok(declaration)
}

/// What this version does not do is refused by name, never ignored.
fn supported(spec: &VolumeBackupSpec, world: &World) -> Result<(), Problem> {
    if !world.hooks && spec.hooks.as_ref().is_some_and(|of| !of.before.is_empty() || !of.after.is_empty()) {
        let message = "spec.hooks is switched off for this cluster: set hooks.enabled: true in the chart's values, or remove the field";
        return Err(Problem::new(Reason::NotSupported, message));
    }
    if spec.method.is_some_and(|method| method != BackupMethod::Snapshot) {
        let message = "this version does not have method (other than Snapshot): remove the field";
        return Err(Problem::new(Reason::NotSupported, message));
    }
    Ok(())
}

fn repository(
    backup: &VolumeBackup,
    world: &World,
    seen: &SeenRepository,
    claims: &[String],
) -> Result<(Declared, Option<Schedule>), Halt> {
    let (of, _) = seen.state.as_ref().map_err(Clone::clone)?;
    let name = format!("{} {}", seen.key.kind.as_str(), seen.key.name);
    if of.suspend {
        return Err(Halt::Suspended(format!("{name} is suspended: no run starts")));
    }
    if of.read_only {
        return Err(Halt::Suspended(format!("{name} is readOnly: nothing is backed up into it")));
    }
    let spec = &backup.spec;
    let namespace = backup.namespace().unwrap_or_default();
    let scope = Scope { namespace: &namespace, name: &backup.name_any(), cluster: &world.cluster };
    job::check(&job::merge_mover(of.mover.as_ref(), spec.mover.as_ref()))?;
    let targets = destination::targets(of, scope, claims)?;
    pinned(backup, seen, &name, &targets)?;
    seen.taken.clone().map_or(Ok(()), Err)?;
    let fits = |reference: &&BackupRepositoryRef| {
        reference.repository.kind == seen.key.kind && reference.repository.name == seen.key.name
    };
    let reference = spec.repository_refs.iter().find(fits);
    let text = reference.and_then(|reference| reference.schedule.as_ref());
    let text = text.or(spec.schedule.as_ref()).or(of.schedule.as_ref());
    let zone = spec.time_zone.as_deref().or(of.time_zone.as_deref());
    let jitter = spec.jitter.or(of.jitter);
    let uid = backup.uid().unwrap_or_default();
    let schedule = text.map(|text| Schedule::parse(text, zone, jitter, &uid)).transpose()?;
    Ok((Declared { key: seen.key.clone(), targets }, schedule))
}

/// Where a history has begun, it goes on; another place is taken only when someone accepts that.
fn pinned(backup: &VolumeBackup, seen: &SeenRepository, name: &str, targets: &[BackupTarget]) -> Result<(), Problem> {
    let known = backup.status.iter().flat_map(|status| &status.repositories);
    let Some(known) = known.into_iter().find(|known| known.repository == seen.key && known.last_success.is_some())
    else {
        return Ok(());
    };
    for target in targets.iter().map(shown) {
        let Some(old) = known.targets.iter().find(|old| old.claim == target.claim) else { continue };
        let uid = backup.uid().unwrap_or_default();
        let id = names::hash(&["target", &uid, &target.url, &target.host, &target.path], 8);
        if *old != target && !accepted(backup, &id) {
            let message = format!(
                "{name} now sends claim {} to {}, but its history is at {}: put url and identity back, or begin a new history with: {}",
                target.claim,
                holder::place(&target),
                holder::place(old),
                accept_command(backup, &id)
            );
            return Err(Problem::new(Reason::RepositoryChanged, message));
        }
    }
    Ok(())
}

fn readings(backup: &VolumeBackup, seen: &Observed) -> Result<Vec<Reading>, Halt> {
    let mut readings = vec![];
    for claim in &seen.claims {
        readings.push(reading(backup, seen, &claim.name)?);
    }
    Ok(readings)
}

fn reading(backup: &VolumeBackup, seen: &Observed, name: &str) -> Result<Reading, Halt> {
    let seen_claim = seen.claims.iter().find(|claim| claim.name == name);
    let Some(claim) = seen_claim.and_then(|seen| seen.claim.as_ref()) else {
        let message = format!("the claim {name} does not exist: create it, or correct claimNames");
        return Err(Halt::Waiting(Problem::new(Reason::ClaimNotFound, message)));
    };
    let Some(volume) = seen_claim.and_then(|seen| seen.volume.as_ref()) else {
        let message = format!("the claim {name} has no volume yet: wait, or see its events");
        return Err(Halt::Waiting(Problem::new(Reason::ClaimPending, message)));
    };
    Ok(driver::reading(claim, volume, &seen.classes, &backup.spec)?)
}

/// How a claim of a run in progress is read.
pub(super) fn reading_of_run(backup: &VolumeBackup, seen: &Observed, name: &str) -> Result<Reading, Problem> {
    reading(backup, seen, name).map_err(|halt| match halt {
        Halt::Suspended(message) => Problem::new(Reason::ClaimNotFound, message),
        Halt::Waiting(problem) | Halt::Blocked(problem) => problem,
    })
}

fn annotation(backup: &VolumeBackup, name: &str) -> Option<String> {
    backup.annotations().get(name).cloned()
}
