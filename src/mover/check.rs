//! Checks a repository.

use tokio::sync::mpsc;

use super::{lock, report::Report};
use crate::{
    clients::restic::Restic,
    core::{
        restic::arguments::{self, Locks},
        task::{Answer, CheckTask, Checked, Failure, Outcome},
    },
};

/// A check that finds errors has come to its end: that is an answer, and no failure.
pub(super) async fn run(restic: &Restic, task: &CheckTask) -> Result<Answer, Failure> {
    let checked = lock::past_others(restic, &task.unlock, async |locks| check(restic, task, locks).await).await?;
    Ok(Answer::new(restic.repository_id().await, Outcome::Checked(checked)))
}

async fn check(restic: &Restic, task: &CheckTask, locks: Locks) -> Result<Checked, Failure> {
    let (sender, output) = mpsc::channel(64);
    let arguments = arguments::check(task.part, locks);
    let mut report = Report::new(1);
    let (ending, summary) = tokio::join!(restic.lines(&arguments, None, sender), report.follow(output));
    let ending = ending?;
    match summary {
        // restic tells of an error in its summary whatever made it end.
        Some(summary) if ending.is_success() || ending.found_errors() => {
            Ok(Checked { errors: summary.num_errors, first: ending.wrong.unwrap_or_default() })
        }
        _ => Err(ending.failure()),
    }
}
