//! Fills volumes from snapshots and checks that they hold what the snapshots hold.

use std::{
    iter,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use tokio::sync::mpsc;

use super::{report::Report, volume};
use crate::{
    clients::restic::Restic,
    core::{
        restic::{
            arguments::{self, Root},
            messages::Snapshot,
        },
        task::{Answer, Failure, FailureKind, Outcome, ROOT_TAG, RestoreTask, RestoreTaskVolume, Restored},
        tree::{self, Comparison, Entry, Kind, Listed},
    },
};

/// A volume that was filled before, in part or in full, is filled again: what is right already stays.
pub(super) async fn run(restic: &Restic, task: &RestoreTask) -> Result<Answer, Failure> {
    let mut report = Report::new(task.volumes.len());
    let mut restored = vec![];
    are_of_their_histories(restic, task).await?;
    for volume in &task.volumes {
        let started = Instant::now();
        let bytes = fill(restic, task, volume, &mut report).await?;
        let entries = check(restic, task, volume).await?;
        let seconds = i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX);
        restored.push(Restored { claim: volume.claim.clone(), entries, bytes, seconds });
        report.next_volume();
    }
    Ok(Answer::new(restic.repository_id().await, Outcome::Restored(restored)))
}

/// Makes sure that the snapshots are of the hosts and paths that they have to be of: in a shared repository an id alone
/// may be another's.
async fn are_of_their_histories(restic: &Restic, task: &RestoreTask) -> Result<(), Failure> {
    let hosts: Vec<&str> = task.volumes.iter().map(|volume| volume.host.as_str()).collect();
    let all: Vec<Snapshot> = restic.json(&arguments::snapshots(&hosts)).await?;
    let is_there = |of: &&RestoreTaskVolume| {
        all.iter().any(|snapshot| snapshot.id == of.snapshot && snapshot.is_of(&of.host, &of.path))
    };
    let Some(RestoreTaskVolume { snapshot, host, path, .. }) = task.volumes.iter().find(|of| !is_there(of)) else {
        return Ok(());
    };
    let message = format!("no snapshot of host {host} and path {path} has the id {snapshot} any more");
    Err(Failure { kind: FailureKind::NoSnapshot, message })
}

/// Runs restic, which writes, reads and compares every content. Returns the bytes.
async fn fill(
    restic: &Restic,
    task: &RestoreTask,
    volume: &RestoreTaskVolume,
    report: &mut Report,
) -> Result<i64, Failure> {
    let (sender, output) = mpsc::channel(64);
    let arguments = arguments::restore(&volume.snapshot, &volume.mount, task.limits);
    let (ending, summary) = tokio::join!(restic.lines(&arguments, None, sender), report.follow(output));
    let ending = ending?;
    match summary {
        Some(summary) if ending.is_success() => Ok(summary.total_bytes),
        _ => {
            let mut failure = ending.failure();
            if failure.kind == FailureKind::Fatal && ending.items.count() > 0 {
                failure.kind = FailureKind::CheckFailed;
            }
            Err(failure)
        }
    }
}

/// Compares every entry with the snapshot's own list and sets the root's mode and owner. Returns how many there are.
async fn check(restic: &Restic, task: &RestoreTask, volume: &RestoreTaskVolume) -> Result<i64, Failure> {
    let listing = arguments::list(&volume.snapshot, task.limits);
    let mount = volume.mount.clone();
    let (tags, comparison) = with_output(restic, &listing, move |lines| compare(lines, Path::new(&mount))).await?;
    let mut complaint = comparison.complaint();
    if complaint.is_none() && comparison.needs_text {
        let listing = arguments::list_long(&volume.snapshot, task.limits);
        let mount = volume.mount.clone();
        let unlisted = with_output(restic, &listing, move |lines| {
            tree::first_unlisted(lines.map(Ok), texts(Path::new(&mount))).map_err(|error| unread(&error))
        });
        complaint =
            unlisted.await?.map(|text| format!("{}: the snapshot has another target or name", tree::shown(&text)));
    }
    if let Some(complaint) = complaint {
        return Err(check_failed(volume, &complaint));
    }
    let mount = PathBuf::from(&volume.mount);
    if let Some(wanted) = tags.iter().find_map(|tag| Root::from_tag(tag.strip_prefix(ROOT_TAG)?)) {
        let got = volume::set_root(&mount, wanted)
            .map_err(|error| check_failed(volume, &format!("mode and owner of the root cannot be set: {error}")))?;
        if got != wanted {
            let what = format!("the root has {} instead of {}", got.to_tag(), wanted.to_tag());
            return Err(check_failed(volume, &what));
        }
    }
    let synced = tokio::task::spawn_blocking(move || volume::sync(&mount)).await;
    synced.map_err(|error| super::fatal(error.to_string()))?.map_err(|error| unread(&error))?;
    Ok(comparison.entries)
}

fn check_failed(volume: &RestoreTaskVolume, what: &str) -> Failure {
    let message = format!("the volume for claim {} is not as snapshot {}: {what}", volume.claim, volume.snapshot);
    Failure { kind: FailureKind::CheckFailed, message }
}

/// Lets `work` read restic's output, line by line, where it may block.
async fn with_output<T: Send + 'static>(
    restic: &Restic,
    arguments: &[String],
    work: impl FnOnce(Lines) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, mut output) = mpsc::channel::<Vec<u8>>(1024);
    let lines: Lines = Box::new(iter::from_fn(move || output.blocking_recv()));
    let work = tokio::task::spawn_blocking(move || work(lines));
    let (ending, result) = tokio::join!(restic.lines(arguments, None, sender), work);
    let ending = ending?;
    if !ending.is_success() {
        return Err(ending.failure());
    }
    result.unwrap_or_else(|error| Err(super::fatal(format!("the check broke off: {error}"))))
}

type Lines = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Compares a listing with a volume. Returns the snapshot's tags besides.
fn compare(mut lines: Lines, mount: &Path) -> Result<(Vec<String>, Comparison), Failure> {
    let parse = |line: &[u8]| {
        serde_json::from_slice::<Listed>(line).map_err(|error| super::fatal(format!("restic's list: {error}")))
    };
    let Some(Listed::Snapshot { tags }) = lines.next().as_deref().map(parse).transpose()? else {
        return Err(super::fatal("restic's list does not begin with the snapshot".to_owned()));
    };
    let listed = lines.filter_map(|line| match parse(&line) {
        Ok(Listed::Node(node)) => Some(Ok(Entry::from(node))),
        Ok(Listed::Snapshot { .. }) => None,
        Err(failure) => Some(Err(failure)),
    });
    let found = volume::walk(mount).map(|entry| entry.map(|(_, entry)| entry).map_err(|error| unread(&error)));
    Ok((tags, tree::compare(listed, found)?))
}

/// What the text listing must have: paths, and targets of links.
fn texts(mount: &Path) -> impl Iterator<Item = std::io::Result<Vec<u8>>> {
    volume::walk(mount).filter_map(move |entry| match entry {
        Ok((_, entry)) if !entry.needs_text() || tree::is_lost_and_found(&entry.path) => None,
        Ok((path, entry)) if entry.kind == Kind::Symlink => {
            let below = std::ffi::OsStr::from_bytes(path.get(1..).unwrap_or_default());
            let target = std::fs::read_link(mount.join(below));
            Some(target.map(|target| [path.as_slice(), b" -> ", target.as_os_str().as_bytes()].concat()))
        }
        Ok((path, _)) => Some(Ok(path)),
        Err(error) => Some(Err(error)),
    })
}

fn unread(error: &std::io::Error) -> Failure {
    super::fatal(format!("the restored volume cannot be read: {error}"))
}
