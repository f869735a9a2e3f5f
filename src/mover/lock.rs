//! restic's locks in the repository: what is done about those of others, and about those that a killed restic left.

use crate::{
    clients::restic::Restic,
    core::{
        restic::{
            arguments::{self, Locks},
            messages::Lock,
        },
        task::{Answer, Failure, FailureKind, Outcome, Told},
    },
};

use super::report;

/// Starts of `restic unlock` for one dead lock. It takes a lock for alive where a process of the same number exists on
/// the host, which may be its own: each start has another number.
const STARTS: usize = 4;

/// Does what needs a lock. Where another's is in the way, those that restic takes for dead are removed, and one that is
/// alive is waited for. So one start of restic does in the usual case.
pub(super) async fn past_others<T>(
    restic: &Restic,
    mut act: impl AsyncFnMut(Locks) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match act(Locks::Fail).await {
        Err(failure) if failure.kind == FailureKind::Locked && !restic.is_stopped() => {
            report::tell(&Told::Waits(restic.clean(&failure.message)));
            if let Err(problem) = restic.output(&arguments::unlock()).await {
                tracing::warn!(%problem, "locks that are dead cannot be removed");
            }
            act(Locks::Wait).await
        }
        done => done,
    }
}

/// Removes the lock of a mover that was killed. Its pod had this one's host name, which is a run's id, so no other's
/// lock has it.
pub(super) async fn run(restic: &Restic) -> Result<Answer, Failure> {
    let before = own(restic).await?;
    let mut left = before;
    for _ in 0..STARTS {
        if left == 0 {
            break;
        }
        restic.output(&arguments::unlock()).await?;
        left = own(restic).await?;
    }
    if left > 0 {
        return Err(super::fatal(format!("{left} locks of the mover that was killed are still there")));
    }
    Ok(Answer { repository: None, outcome: Outcome::Unlocked(before) })
}

/// Removes the lock of this mover's own restic, which was killed.
pub(super) async fn clear_own(restic: &Restic) {
    match run(restic).await {
        Ok(_) => tracing::info!("the lock of the restic that was killed is removed"),
        Err(problem) => tracing::warn!(%problem, "the lock of the restic that was killed is left"),
    }
}

/// How many locks were made on this host.
async fn own(restic: &Restic) -> Result<i64, Failure> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let list = restic.output(&arguments::locks()).await?;
    let mut count = 0;
    for id in String::from_utf8_lossy(&list).split_whitespace() {
        match restic.json::<Lock>(&arguments::lock(id)).await {
            Ok(lock) => count += i64::from(lock.hostname == host),
            // Its owner, which is alive, has removed or renewed it meanwhile.
            Err(failure) => tracing::info!(%failure, id, "a lock is gone"),
        }
    }
    Ok(count)
}
