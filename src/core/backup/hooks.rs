//! Commands in the app's pod around the snapshots: from the first of `before` to the last of `after`, the app is held
//! still.
//!
//! That one of `before` is about to run is written before it is, so that a controller that ends in the middle runs none
//! twice in an attempt, and knows that `after` is owed. What is owed is run until it is done with, whatever else became
//! of the attempt.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::ResourceExt;

use crate::{
    api::{
        backup::{
            BackupPhase, DEFAULT_HOOK_TIMEOUT, Hook, HookPod, MAX_HOOK_TIMEOUT, Run, RunHooks, VolumeBackup,
            VolumeBackupStatus,
        },
        common::Time,
    },
    core::{
        answer,
        problem::{Problem, Reason},
        workload,
    },
};

use super::{Note, Observed, Step, results, steps::write};

/// How long one of `after` is tried again that could not be run: the pod may be on its way to another node. In seconds.
const PATIENCE: i64 = 120;
/// How often it is.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes of what the API or the container's runtime says that are shown.
const WORDS: usize = 300;
/// Bytes of a program's name that are shown.
const PROGRAM: usize = 100;
/// Reason of the Event that tells of one of `after` that failed.
const AFTER_FAILED: &str = "HookFailed";

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the snapshot.
    Before,
    /// After it.
    After,
}

/// A command in a container of the app's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// When it is to be run.
    pub when: When,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Time limit.
    pub timeout: Duration,
    /// What it is, for people: the program, without its arguments, and where it is run.
    pub title: String,
}

/// What came of a command. It never holds what the command printed, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// It ended well.
    Succeeded,
    /// It ended badly, or not in time; in which way.
    Failed(String),
    /// Whether it was run is not known, or it was not; why.
    NotRun(String),
}

impl Executed {
    /// What the API says when a command has ended.
    pub fn of(status: &Status) -> Self {
        if status.status.as_deref() == Some("Success") {
            return Self::Succeeded;
        }
        let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
        let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
        match code.and_then(|cause| cause.message.as_deref()) {
            Some(code) => Self::Failed(format!("ended with exit code {code}")),
            None => Self::not_run(status.message.as_deref().unwrap_or("nothing is said of why")),
        }
    }

    /// It did not end within its time.
    pub fn late(limit: Duration) -> Self {
        Self::Failed(format!("did not end within {} s", limit.as_secs_f64()))
    }

    /// It could not be run.
    pub fn not_run(why: &str) -> Self {
        let mut words = format!("could not be run: {why}");
        answer::cut(&mut words, WORDS);
        Self::NotRun(words)
    }
}

/// The hooks of an attempt that begins; none where none are declared.
pub(super) fn declared(backup: &VolumeBackup) -> Option<RunHooks> {
    let hooks = backup.spec.hooks.clone()?;
    let some = !hooks.before.is_empty() || !hooks.after.is_empty();
    some.then(|| RunHooks { before: hooks.before, after: hooks.after, ..RunHooks::default() })
}

/// Whether a plan needs to see the app's pods.
pub fn hooks_are_due(status: &VolumeBackupStatus) -> bool {
    let Some((run, hooks)) = status.run.as_ref().and_then(|run| Some((run, run.hooks.as_ref()?))) else {
        return false;
    };
    let unchosen = hooks.pod.is_none() && !hooks.after.is_empty();
    let waits = status.phase == Some(BackupPhase::Snapshotting) && (unchosen || hooks.succeeded < hooks.before.len());
    waits || are_owed(run)
}

/// Whether the app is held still, or may be.
pub(super) fn are_owed(run: &Run) -> bool {
    run.hooks.as_ref().is_some_and(|hooks| hooks.pod.is_some() && hooks.done < hooks.after.len())
}

/// Whether the app of an object is held still, or may be.
pub fn owes_hooks(backup: &VolumeBackup) -> bool {
    backup.status.as_ref().and_then(|status| status.run.as_ref()).is_some_and(are_owed)
}

/// The next step before the snapshots; none when everything has run.
pub(super) fn before(backup: &VolumeBackup, run: &Run, seen: &Observed) -> Result<Option<Step>, Problem> {
    let Some(hooks) = run.hooks.as_ref() else { return Ok(None) };
    let failed = |words: &str| Problem::new(Reason::HookFailed, words);
    let pod = match &hooks.pod {
        None if hooks.before.is_empty() && hooks.after.is_empty() => return Ok(None),
        None => match chosen(run, &seen.pods) {
            Some(pod) => pod,
            None => return Ok(Some(skipped(backup, run))),
        },
        Some(_) if hooks.succeeded == hooks.before.len() => return Ok(None),
        Some(of) => same(of, &seen.pods)
            .ok_or_else(|| failed(&format!("pod {} no longer runs, in which hooks.before is run", of.name)))?,
    };
    if hooks.started > hooks.succeeded {
        let title = title(&hooks.before, "before", hooks.succeeded, &pod.name_any());
        return Err(failed(&format!("{title}: the operator ended meanwhile, so what came of it is not known")));
    }
    let mut status = backup.status.clone().unwrap_or_default();
    status.message = Some(format!("hooks.before is run in pod {}", pod.name_any()));
    let Some(of) = status.run.as_mut().and_then(|run| run.hooks.as_mut()) else { return Ok(None) };
    of.pod = Some(HookPod { name: pod.name_any(), uid: pod.uid().unwrap_or_default() });
    let Some(exec) = command(backup, When::Before, &hooks.before, hooks.succeeded, pod) else {
        return Ok(Some(Step::Write(Box::new(status), None)));
    };
    of.started = hooks.succeeded + 1;
    Ok(Some(Step::Exec(Some(Box::new(status)), Box::new(exec))))
}

/// How long the hooks before the snapshot may take in all, which is no time of the snapshot's.
pub(super) fn longest(run: &Run) -> chrono::Duration {
    let before = run.hooks.iter().flat_map(|hooks| &hooks.before);
    before.map(|hook| hook.timeout.unwrap_or(DEFAULT_HOOK_TIMEOUT).as_chrono()).sum()
}

/// Nothing holds an app still that does not run.
fn skipped(backup: &VolumeBackup, run: &Run) -> Step {
    let claim = run.claims.first().map(String::as_str).unwrap_or_default();
    let note = format!("no pod that is ready uses claim {claim}: no hook was run");
    write(backup, |status| {
        if let Some(run) = &mut status.run {
            run.hooks = Some(RunHooks { notes: vec![note], ..RunHooks::default() });
        }
    })
}

/// A snapshot that goes when the app has gone on is not made anew; one that the API refuses is not waited for.
pub(super) fn may_snapshot(run: &Run, seen: &Observed) -> Result<(), Problem> {
    let failed = |words: String| Err(Problem::new(Reason::StagingFailed, words));
    match (&seen.refused, &run.hooks) {
        (Some(problem), _) if are_owed(run) => failed(format!("the snapshot was refused: {}", problem.message)),
        (_, Some(hooks)) if hooks.released => failed("the snapshot was deleted when hooks.after had begun".to_owned()),
        _ => Ok(()),
    }
}

/// The next step after the snapshots, or after what became of the attempt instead; none where nothing is owed.
pub(super) fn after(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Option<Step> {
    let hooks = run.hooks.as_ref().filter(|_| are_owed(run))?;
    let Some(exec) = owed(backup, run, &seen.pods).into_iter().next() else {
        let pod = hooks.pod.as_ref().map(|pod| pod.name.as_str()).unwrap_or_default();
        let title = title(&hooks.after, "after", hooks.done, pod);
        let words = "could not be run: the pod no longer runs, and no other uses the claim";
        return Some(missed(backup, hooks, &title, words, now));
    };
    let intent = (!hooks.released).then(|| {
        let mut status = backup.status.clone().unwrap_or_default();
        if let Some(hooks) = status.run.as_mut().and_then(|run| run.hooks.as_mut()) {
            hooks.released = true;
        }
        Box::new(status)
    });
    Some(Step::Exec(intent, Box::new(exec)))
}

/// Everything that is owed, where there is a pod for it: also when the object itself is gone.
pub fn owed_hooks(backup: &VolumeBackup, pods: &[Pod]) -> Vec<Exec> {
    let run = backup.status.as_ref().and_then(|status| status.run.as_ref());
    run.filter(|run| are_owed(run)).map(|run| owed(backup, run, pods)).unwrap_or_default()
}

fn owed(backup: &VolumeBackup, run: &Run, pods: &[Pod]) -> Vec<Exec> {
    let Some(hooks) = &run.hooks else { return vec![] };
    let pod = hooks.pod.as_ref().and_then(|of| same(of, pods)).or_else(|| chosen(run, pods)).or_else(|| {
        let mut running = using(run, pods).collect::<Vec<_>>();
        running.sort_by_key(|pod| pod.name_any());
        running.into_iter().next()
    });
    let Some(pod) = pod else { return vec![] };
    let commands = hooks.done..hooks.after.len();
    commands.filter_map(|index| command(backup, When::After, &hooks.after, index, pod)).collect()
}

/// One of `after` could not be run: tried again for a while.
pub(super) fn missed(backup: &VolumeBackup, hooks: &RunHooks, title: &str, words: &str, now: Time) -> Step {
    match hooks.try_until {
        Some(until) if now < until => Step::Wait(AGAIN),
        Some(_) => given_up(backup, &format!("{title} {words}")),
        None => write(backup, |status| {
            status.message = Some(format!("{title} {words}; it is tried again"));
            if let Some(hooks) = status.run.as_mut().and_then(|run| run.hooks.as_mut()) {
                hooks.try_until = Some(now + chrono::Duration::seconds(PATIENCE));
            }
        }),
    }
}

/// One of `after` has failed: told, and the next one's turn.
pub(super) fn given_up(backup: &VolumeBackup, note: &str) -> Step {
    let mut status = backup.status.clone().unwrap_or_default();
    let has_ended = status.phase == Some(BackupPhase::Cleaning);
    let VolumeBackupStatus { run, runs, .. } = &mut status;
    if let Some(run) = run {
        if let Some(hooks) = &mut run.hooks {
            (hooks.done, hooks.try_until) = (hooks.done + 1, None);
            hooks.notes.push(note.to_owned());
        }
        // What it came to is entered already.
        if has_ended {
            results::tell(&mut run.results, &run.id, note);
            results::tell(runs, &run.id, note);
        }
    }
    let note = Note { warning: true, reason: AFTER_FAILED.to_owned(), message: note.to_owned() };
    Step::Write(Box::new(status), Some(note))
}

/// Says in the results of an attempt that ends what is worth telling of its hooks.
pub(super) fn tell(run: &mut Run) {
    for note in run.hooks.iter().flat_map(|hooks| &hooks.notes) {
        results::tell(&mut run.results, &run.id, note);
    }
}

fn command(backup: &VolumeBackup, when: When, hooks: &[Hook], index: usize, pod: &Pod) -> Option<Exec> {
    let hook = hooks.get(index)?;
    let first = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|first| first.name.clone());
    let container = hook.container.clone().or(first).unwrap_or_default();
    let list = if when == When::Before { "before" } else { "after" };
    Some(Exec {
        when,
        namespace: backup.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        title: format!("{}, container {container},", title(hooks, list, index, &pod.name_any())),
        container,
        command: hook.command.clone(),
        timeout: hook.timeout.unwrap_or(DEFAULT_HOOK_TIMEOUT).min(MAX_HOOK_TIMEOUT).as_std(),
    })
}

/// A hook for people. Its arguments may hold a secret.
fn title(hooks: &[Hook], list: &str, index: usize, pod: &str) -> String {
    let mut program = hooks.get(index).and_then(|hook| hook.command.first()).cloned().unwrap_or_default();
    answer::cut(&mut program, PROGRAM);
    format!("hooks.{list}[{index}]: {program} in pod {pod}")
}

/// The pod in which an attempt's hooks run: one that is ready and uses the first claim.
fn chosen<'a>(run: &'a Run, pods: &'a [Pod]) -> Option<&'a Pod> {
    using(run, pods).filter(|pod| is_ready(pod)).min_by_key(|pod| pod.name_any())
}

/// The running pods that use the first claim.
fn using<'a>(run: &'a Run, pods: &'a [Pod]) -> impl Iterator<Item = &'a Pod> {
    let uses = |pod: &&Pod| run.claims.first().is_some_and(|claim| workload::claims(pod.spec.as_ref()).contains(claim));
    pods.iter().filter(|pod| is_running(pod) && pod.metadata.deletion_timestamp.is_none()).filter(uses)
}

fn same<'a>(of: &HookPod, pods: &'a [Pod]) -> Option<&'a Pod> {
    pods.iter().find(|pod| pod.uid().as_ref() == Some(&of.uid) && is_running(pod))
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests;
