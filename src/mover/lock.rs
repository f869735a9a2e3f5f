//! restic's locks in the repository: what is done about those of others, and about those that a killed restic left.

use crate::{
    api::repository::Lock,
    clients::restic::Restic,
    core::{
        locks,
        restic::{
            arguments::{self, Locks},
            messages,
        },
        task::{Answer, Failure, FailureKind, Outcome, Told},
    },
};

use super::report;

/// Starts of `restic unlock` for one dead lock. It takes a lock for alive where a process of the same number exists on
/// the host, which may be its own: each start has another number.
const STARTS: usize = 4;

/// Does what needs a lock. Where another's is in the way, those that restic takes for dead are removed, and those that
/// someone wants removed; one that is alive is waited for. So one start of restic does in the usual case.
pub(super) async fn past_others<T>(
    restic: &Restic,
    unwanted: &[String],
    mut act: impl AsyncFnMut(Locks) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match act(Locks::Fail).await {
        Err(failure) if failure.kind == FailureKind::Locked && !restic.is_stopped() => {
            report::tell(&Told::Waits(restic.clean(&failure.message)));
            if let Err(problem) = remove(restic, unwanted).await {
                tracing::warn!(%problem, "locks that are dead cannot be removed");
            }
            act(Locks::Wait).await
        }
        done => done,
    }
}

/// Removes the locks that restic takes for dead, and those that someone wants removed. restic removes one lock or all:
/// so those are all that there are, or none is removed.
async fn remove(restic: &Restic, unwanted: &[String]) -> Result<(), Failure> {
    restic.output(&arguments::unlock()).await?;
    let ids = if unwanted.is_empty() { vec![] } else { ids(restic).await? };
    if locks::may_go(&ids, unwanted) {
        tracing::warn!(locks = ids.join(" "), "locks of others are removed, as was accepted");
        restic.output(&arguments::unlock_all()).await?;
    }
    Ok(())
}

/// The locks that are left; none where that cannot be found out.
pub(super) async fn left(restic: &Restic) -> Option<Vec<Lock>> {
    let left = all(restic).await.map(|all| all.into_iter().take(locks::TOLD));
    left.inspect_err(|problem| tracing::warn!(%problem, "it cannot be found out which locks are left"))
        .ok()
        .map(|all| all.map(|(id, lock)| locks::of(&id, lock)).collect())
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
    Ok(Answer::new(None, Outcome::Unlocked(before)))
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
    let own = all(restic).await?.into_iter().filter(|(_, lock)| lock.hostname == host).count();
    Ok(i64::try_from(own).unwrap_or(i64::MAX))
}

/// All locks, with their ids.
async fn all(restic: &Restic) -> Result<Vec<(String, messages::Lock)>, Failure> {
    let mut all = vec![];
    for id in ids(restic).await? {
        match restic.json(&arguments::lock(&id)).await {
            Ok(lock) => all.push((id, lock)),
            // Its owner, which is alive, has removed or renewed it meanwhile.
            Err(failure) => tracing::info!(%failure, id, "a lock is gone"),
        }
    }
    Ok(all)
}

async fn ids(restic: &Restic) -> Result<Vec<String>, Failure> {
    let list = restic.output(&arguments::locks()).await?;
    Ok(String::from_utf8_lossy(&list).split_whitespace().map(str::to_owned).collect())
}
