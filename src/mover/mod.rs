//! What runs inside a Job, as PID 1 around restic.
//!
//! It reads its task and restic's variables from the environment, does it, tells how far it is on standard output,
//! and writes what came of it where Kubernetes keeps it. It has no API token. When it is told to stop, it tells
//! restic, waits until that has removed its lock, and answers `interrupted`. restic, with the backends that are
//! admitted, starts no further processes, so nothing else has to be reaped.

mod backup;
mod catalogue;
mod check;
mod create;
mod lock;
mod maintain;
mod probe;
mod report;
mod resolve;
mod restore;
mod volume;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    clients::restic::Restic,
    core::{
        answer,
        sensitive::{Sensitive, SensitiveMap},
        task::{
            ANSWER_ENV, ANSWER_PATH, Answer, BASE_URL_ENV, CACHE_MOUNT, Failure, FailureKind, Outcome, RESTIC_ENV,
            TASK_ENV, Task,
        },
    },
};

/// Does the task in the environment. The exit status is 0 where it was done in full.
pub async fn run() -> ExitCode {
    let failed = |failure| Answer::new(None, Outcome::Failed(failure));
    let (restic, mut answer) = match prepare() {
        Ok((restic, base, task)) => {
            let mut answer = perform(&restic, base.as_ref(), &task).await.unwrap_or_else(failed);
            if task.locks() && !restic.is_stopped() {
                see_to_locks(&restic, &task, &mut answer).await;
            }
            (Some(restic), answer)
        }
        Err(failure) => (None, failed(failure)),
    };
    if let Some(restic) = &restic {
        for failure in answer::failures(&mut answer.outcome) {
            failure.message = restic.clean(&failure.message);
        }
    }
    let text = answer::render(&answer);
    let path = env::var_os(ANSWER_ENV).map_or_else(|| PathBuf::from(ANSWER_PATH), PathBuf::from);
    let written = std::fs::write(&path, &text);
    let good = answer::is_good(&answer.outcome);
    if good {
        tracing::info!(answer = %text, "done");
    } else {
        tracing::error!(answer = %text, "not done");
    }
    if let Err(error) = &written {
        tracing::error!(%error, path = %path.display(), "cannot write the answer");
    }
    if good && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the environment says: restic, the base, and the task.
fn prepare() -> Result<(Restic, Option<Restic>, Task), Failure> {
    let task = env::var(TASK_ENV).map_err(|_| fatal(format!("{TASK_ENV} is not set: the operator starts movers")))?;
    let task = serde_json::from_str(&task).map_err(|error| fatal(format!("the task is not understood: {error}")))?;
    let variables: SensitiveMap = env::vars_os()
        .filter_map(|(name, value)| {
            let value = std::os::unix::ffi::OsStringExt::into_vec(value);
            Some((name.into_string().ok()?, Sensitive::from(value)))
        })
        .collect();
    let cache = env::var_os("RESTIC_CACHE_DIR").map_or_else(|| PathBuf::from(CACHE_MOUNT), PathBuf::from);
    let scratch = env::var_os("TMPDIR").map_or_else(|| cache.clone(), PathBuf::from);
    let stop = stop_signal().map_err(|error| fatal(format!("cannot listen for signals: {error}")))?;
    let restic = Restic::new(program()?, scratch, &variables, stop)?.with_cache(cache);
    let base = variables.get(BASE_URL_ENV).map(|url| restic.at(url.clone()));
    Ok((restic, base, task))
}

/// Does the task; without a cache where that was full. What was done before that is found, not done twice.
async fn perform(restic: &Restic, base: Option<&Restic>, task: &Task) -> Result<Answer, Failure> {
    let first = attempt(restic, base, task).await;
    let good = first.as_ref().is_ok_and(|answer| answer::is_good(&answer.outcome));
    if good || !restic.cache_was_full() || restic.is_stopped() {
        return first;
    }
    tracing::warn!("restic's cache is full: it goes on without one, which is slower; raise mover.cache.size");
    attempt(&restic.without_cache(), base.map(Restic::without_cache).as_ref(), task).await
}

async fn attempt(restic: &Restic, base: Option<&Restic>, task: &Task) -> Result<Answer, Failure> {
    match task {
        Task::Probe => probe::run(restic).await,
        Task::Create => create::run(restic).await,
        Task::Backup(task) => backup::run(restic, base, task).await,
        Task::Resolve(task) => resolve::run(restic, base, task).await,
        Task::Restore(task) => restore::run(restic, task).await,
        Task::Maintain(task) => maintain::run(restic, base, task).await,
        Task::Check(task) => check::run(restic, task).await,
        Task::Unlock => lock::run(restic).await,
    }
}

/// Removes the lock of a restic that ended without a chance to do so, and tells which others there are: after
/// maintenance and checks, and where one was in the way.
async fn see_to_locks(restic: &Restic, task: &Task, answer: &mut Answer) {
    let mut failed_by = |kind| answer::failures(&mut answer.outcome).any(|failure| failure.kind == kind);
    let (killed, locked) = (failed_by(FailureKind::Interrupted), failed_by(FailureKind::Locked));
    if killed {
        lock::clear_own(restic).await;
    }
    let done = !matches!(task, Task::Backup(_)) && !matches!(answer.outcome, Outcome::Failed(_));
    if locked || done {
        answer.locks = lock::left(restic).await;
    }
}

/// Turns true when the mover is told to stop.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop; waiting for restic to remove its lock");
        sender.send_replace(true);
        sender.closed().await;
    });
    Ok(receiver)
}

/// restic's program: as told, or beside this one, or in PATH.
fn program() -> Result<PathBuf, Failure> {
    if let Some(told) = env::var_os(RESTIC_ENV) {
        return Ok(told.into());
    }
    let beside = env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = beside.into_iter().chain(env::split_paths(&path)).map(|folder| folder.join("restic"));
    candidates.find(|file| file.is_file()).ok_or_else(|| fatal("the image has no restic".to_owned()))
}

fn fatal(message: String) -> Failure {
    Failure { kind: FailureKind::Fatal, message }
}
