//! While a run is in progress: stage the volumes, let the movers work, enter what came of it.

use std::time::Duration;

use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupPhase, Progress, Run, VolumeBackup},
        common::{ConditionStatus, Time},
        foreign::{VolumeGroupSnapshot, VolumeSnapshot, VolumeSnapshotContent},
    },
    core::{
        conditions, group,
        mover_state::MoverState,
        problem::{Class, Problem, Reason},
        slots, volumes,
    },
};

use super::{
    Child, Observed, SeenStaging, Step, World,
    attempt::{end, fail, is_done, is_late, staging_timeout},
    cache, declared, hooks, mover, owner, results, staging,
    steps::{SOON, say, write},
};

/// What is said while a mover works that has not told its progress yet.
const READING: &str = "the data is read";
/// What is said where a cache that is kept cannot be had.
const WITHOUT_CACHE: &str = "the next attempt does without it";
/// How often a mover's progress is read.
const PROGRESS: Duration = Duration::from_secs(5);

/// The hooks around the snapshots, snapshot, twin and staging claim for each claim, then credentials and mover for each
/// repository.
pub(super) fn stage(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed, now: Time) -> Step {
    match hooks::before(backup, run, seen) {
        Ok(None) => {}
        Ok(Some(step)) => return in_time(backup, run, seen, step, now),
        Err(problem) => return fail(backup, run, seen, &problem, now),
    }
    if are_ready(run, seen)
        && let Some(step) = hooks::after(backup, run, seen, now)
    {
        return step;
    }
    match staged(backup, run, world, seen) {
        Ok(None) => {}
        Ok(Some(step)) => return in_time(backup, run, seen, step, now),
        Err(problem) => return fail(backup, run, seen, &problem, now),
    }
    for (index, key) in run.repositories.iter().enumerate() {
        let seen_mover = seen.movers.get(index).cloned().unwrap_or_default();
        if seen_mover.job.is_some() || is_done(run, key) {
            continue;
        }
        return match mover::start(backup, run, world, seen, (index, key), &seen_mover, now) {
            Ok(Step::Create(Child::Claim(_))) if is_late(backup, run, now) => {
                let why = refused(backup).unwrap_or_else(|| "nothing is reported".to_owned());
                let limit = staging_timeout(backup);
                let message = format!("the claim of the cache was not made within {limit}: {why}; {WITHOUT_CACHE}");
                fail(backup, run, seen, &Problem::new(Reason::StagingFailed, message), now)
            }
            Ok(step) => step,
            Err(problem) if problem.class() == Class::Transient && !is_late(backup, run, now) => {
                say(backup, &problem.message, SOON)
            }
            Err(problem) => {
                let mut run = run.clone();
                run.results.extend(results::failed(&run, key, &problem, now));
                if run.repositories.iter().all(|key| is_done(&run, key)) {
                    return end(backup, &run, seen, now);
                }
                write(backup, |status| status.run = Some(run))
            }
        };
    }
    write(backup, |status| {
        status.phase = Some(BackupPhase::BackingUp);
        status.message = Some(READING.to_owned());
    })
}

/// The next step of staging; none when everything is staged.
fn staged(backup: &VolumeBackup, run: &Run, world: &World, seen: &Observed) -> Result<Option<Step>, Problem> {
    let owner = owner(backup);
    let none = SeenStaging::default();
    let of = |index: usize| seen.staging.get(index).unwrap_or(&none);
    let mut missing = run.claims.iter().enumerate().filter(|(index, _)| of(*index).snapshot.is_none());
    if let Some((index, claim)) = missing.next() {
        if let Some(group) = &seen.group {
            return if group::is_made(group) { Err(without(group, claim)) } else { Ok(Some(Step::Wait(SOON))) };
        }
        hooks::may_snapshot(run, seen)?;
        let reading = declared::reading_of_run(backup, seen, claim)?;
        let staging = staging(&owner, &run.id, world, index);
        return Ok(Some(Step::Create(match &run.group {
            Some(group) => Child::Group(group.version, Box::new(staging.group(backup, group))),
            None => Child::Snapshot(Box::new(staging.snapshot(backup, &reading))),
        })));
    }
    if hooks::are_owed(run) {
        return Ok(Some(Step::Wait(SOON)));
    }
    for (index, claim) in run.claims.iter().enumerate() {
        let (seen_of, staging) = (of(index), staging(&owner, &run.id, world, index));
        let Some((driver, handle)) = ready_snapshot(seen_of) else { return Ok(Some(Step::Wait(SOON))) };
        if seen_of.content.is_none() {
            return Ok(Some(Step::Create(Child::Content(Box::new(staging.content(driver, handle))))));
        }
        if seen_of.twin.is_none() {
            return Ok(Some(Step::Create(Child::Snapshot(Box::new(staging.twin())))));
        }
        if !has_twin(seen_of) {
            return Ok(Some(Step::Wait(SOON)));
        }
        if seen_of.claim.is_none() {
            let reading = declared::reading_of_run(backup, seen, claim)?;
            let size = seen_of.snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref()?.restore_size.as_deref());
            return Ok(Some(Step::Create(Child::Claim(Box::new(staging.claim(&reading, size))))));
        }
    }
    Ok(None)
}

/// Whether the snapshots of all claims can be used.
fn are_ready(run: &Run, seen: &Observed) -> bool {
    (0..run.claims.len()).all(|index| seen.staging.get(index).is_some_and(has_snapshot))
}

/// Whether the snapshot of a claim can be used: only then is a twin made of it.
pub fn has_snapshot(seen: &SeenStaging) -> bool {
    ready_snapshot(seen).is_some()
}

/// Whether its twin can be used: only then is a staging claim made of it.
pub fn has_twin(seen: &SeenStaging) -> bool {
    seen.twin.as_ref().is_some_and(is_ready)
}

/// Whether the next thing to make is a copy of the claim, its snapshot or its staging claim: that takes a look at it.
pub fn makes_a_copy(seen: &SeenStaging) -> bool {
    seen.snapshot.is_none() || (seen.claim.is_none() && has_twin(seen))
}

/// Driver and handle of a snapshot that can be used.
fn ready_snapshot(seen: &SeenStaging) -> Option<(&str, &str)> {
    let (snapshot, content) = (seen.snapshot.as_ref()?, seen.snapshot_content.as_ref()?);
    let handle = content.status.as_ref()?.snapshot_handle.as_deref()?;
    (is_ready(snapshot) && is_of(content, snapshot)).then_some((content.spec.driver.as_str(), handle))
}

/// Whether a content says itself that it belongs to that snapshot. Whoever may write the status of a snapshot can name
/// any content in it, and what is behind that would be read.
fn is_of(content: &VolumeSnapshotContent, snapshot: &VolumeSnapshot) -> bool {
    let of = &content.spec.volume_snapshot_ref;
    Some(&of.name) == snapshot.metadata.name.as_ref()
        && Some(&of.namespace) == snapshot.metadata.namespace.as_ref()
        && (of.uid.is_none() || of.uid == snapshot.metadata.uid)
}

fn strange_content(seen: &SeenStaging) -> Option<String> {
    let (snapshot, content) = (seen.snapshot.as_ref()?, seen.snapshot_content.as_ref()?);
    let (namespace, name) = (snapshot.namespace()?, snapshot.name_any());
    let is_strange = !is_of(content, snapshot);
    is_strange.then(|| {
        format!("VolumeSnapshot {namespace}/{name} names the content {}, which is another one's", content.name_any())
    })
}

fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot.metadata.deletion_timestamp.is_none()
        && snapshot.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true))
}

/// A step of staging, but not for ever; and where it waits, it says what is wrong.
fn in_time(backup: &VolumeBackup, run: &Run, seen: &Observed, step: Step, now: Time) -> Step {
    let trouble = trouble(seen);
    if is_late(backup, run, now) {
        let why = trouble.or_else(|| refused(backup));
        let why = why.unwrap_or_else(|| "nothing is reported; see the driver's pods".to_owned());
        let message = format!("the snapshot was not ready within {}: {why}", staging_timeout(backup));
        return fail(backup, run, seen, &Problem::new(Reason::StagingFailed, message), now);
    }
    match (trouble, step) {
        (Some(trouble), Step::Wait(wait)) => say(backup, &trouble, wait),
        (_, step) => step,
    }
}

/// What the API refuses, because of a quota for example: it stands in the condition.
fn refused(backup: &VolumeBackup) -> Option<String> {
    let status = backup.status.as_ref()?;
    let ready = conditions::get(&status.conditions, conditions::READY)?;
    (ready.status == ConditionStatus::False).then(|| ready.message.clone())
}

/// What snapshots, their contents and claims say is wrong.
fn trouble(seen: &Observed) -> Option<String> {
    let words = |error: Option<&crate::api::foreign::VolumeSnapshotError>| error?.message.clone();
    let of_snapshot = |snapshot: Option<&VolumeSnapshot>| {
        let snapshot = snapshot?;
        let words = words(snapshot.status.as_ref()?.error.as_ref())?;
        Some(format!("VolumeSnapshot {}/{}: {words}", snapshot.namespace()?, snapshot.name_any()))
    };
    let of_content = |content: Option<&VolumeSnapshotContent>| {
        let content = content?;
        let words = words(content.status.as_ref()?.error.as_ref())?;
        Some(format!("VolumeSnapshotContent {}: {words}", content.name_any()))
    };
    let of_claim = |seen: &SeenStaging| {
        let name = seen.claim.as_ref()?.name_any();
        Some(format!("staging claim {name}: {}", seen.warning.as_ref()?))
    };
    let of_staging = |seen: &SeenStaging| {
        of_snapshot(seen.snapshot.as_ref())
            .or_else(|| strange_content(seen))
            .or_else(|| of_content(seen.snapshot_content.as_ref()))
            .or_else(|| of_content(seen.content.as_ref()))
            .or_else(|| of_snapshot(seen.twin.as_ref()))
            .or_else(|| of_claim(seen))
    };
    let group = seen.group.as_ref().and_then(|group| {
        let words = words(group.status.as_ref()?.error.as_ref())?;
        Some(format!("VolumeGroupSnapshot {}/{}: {words}", group.namespace()?, group.name_any()))
    });
    group.or_else(|| seen.staging.iter().find_map(of_staging))
}

fn without(group: &VolumeGroupSnapshot, claim: &str) -> Problem {
    let name = format!("{}/{}", group.namespace().unwrap_or_default(), group.name_any());
    let message = format!(
        "the VolumeGroupSnapshot {name} has no snapshot of claim {claim}: the next attempt snapshots each claim by itself"
    );
    Problem::new(Reason::StagingFailed, message)
}

/// The movers work.
pub(super) fn back_up(backup: &VolumeBackup, run: &Run, seen: &Observed, now: Time) -> Step {
    let mut ended = run.clone();
    let (mut progress, mut held_up) = (None, None);
    for (index, key) in run.repositories.iter().enumerate().filter(|(_, key)| !is_done(run, key)) {
        let state = seen.movers.get(index).map_or(&MoverState::Absent, |mover| &mover.state);
        match (results::of_mover(backup, run, key, state, now), state) {
            (Some(records), _) => ended.results.extend(records),
            (None, MoverState::Running { waits: Some(what), .. }) => held_up = Some(format!("the mover waits: {what}")),
            (None, MoverState::Running { progress: Some(of), .. }) => _ = progress.get_or_insert_with(|| of.clone()),
            (None, MoverState::Waiting(why)) => held_up = Some(why.clone()),
            (None, _) => {}
        }
    }
    if run.repositories.iter().all(|key| is_done(&ended, key)) {
        return end(backup, &ended, seen, now);
    }
    let staged = |seen: &SeenStaging| seen.claim.as_ref().is_some_and(volumes::is_bound);
    let node_is_full = held_up.as_deref().is_some_and(slots::is_full);
    if !node_is_full && !seen.staging.iter().all(staged) {
        // A class that waits for the first consumer binds only now.
        if is_late(backup, run, now) {
            let why = trouble(seen).unwrap_or_else(|| "the staging claim is not bound; see its events".to_owned());
            let message = format!("the volume was not staged within {}: {why}", staging_timeout(backup));
            return fail(backup, &ended, seen, &Problem::new(Reason::StagingFailed, message), now);
        }
        return trouble(seen).map_or(Step::Wait(SOON), |trouble| say(backup, &trouble, SOON));
    }
    let cache = seen.movers.iter().find_map(cache::trouble).filter(|_| !node_is_full);
    if let Some(why) = cache.as_ref().filter(|_| is_late(backup, run, now)) {
        let limit = staging_timeout(backup);
        let message = format!("the mover did not start within {limit}: {why}; {WITHOUT_CACHE}");
        return fail(backup, &ended, seen, &Problem::new(Reason::StagingFailed, message), now);
    }
    let held_up = held_up.or(cache);
    if let Some(progress) = progress.filter(|new| is_news(run.progress.as_ref(), new)) {
        return write(backup, |status| {
            status.message = Some(how_far(&progress));
            if let Some(run) = &mut status.run {
                run.progress = Some(progress);
            }
        });
    }
    let message = match (held_up, &run.progress) {
        (Some(_), _) if node_is_full => {
            "limits.perNode of its repository: the mover waits for others to end".to_owned()
        }
        (Some(why), _) => why,
        (None, Some(progress)) => how_far(progress),
        (None, None) => READING.to_owned(),
    };
    say(backup, &message, PROGRESS)
}

fn how_far(progress: &Progress) -> String {
    format!("{} % of {} files", progress.percent, progress.files_total)
}

fn is_news(old: Option<&Progress>, new: &Progress) -> bool {
    old.is_none_or(|old| old.percent != new.percent)
}
