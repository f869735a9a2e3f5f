//! The base's catalogue: told what a backup has to say, and asked which snapshots are good.

use super::lock;
use crate::{
    clients::restic::Restic,
    core::{
        catalogue::{self, Statement},
        restic::{arguments, messages::Snapshot},
        task::{Failure, FailureKind},
    },
};

/// Without the base nobody knows which snapshots are good.
const GONE: &str =
    "the base is gone, which says which snapshots are good: is the right place mounted, and the URL right?";

/// States something; whether the base was told all of it. A backup is what it is also where it was not.
pub(super) async fn tell(base: Option<&Restic>, statements: &[Statement]) -> bool {
    let Some(base) = base else { return true };
    let mut all = true;
    for statement in statements {
        let text = statement.text.as_bytes();
        let state = async |locks| base.output_with(&arguments::state(statement, locks), text).await;
        match lock::past_others(base, &[], state).await {
            Ok(_) => tracing::info!(tags = statement.tags.join(" "), "the base's catalogue is told"),
            Err(problem) => {
                tracing::warn!(%problem, tags = statement.tags.join(" "), "the base's catalogue cannot be told");
                all = false;
            }
        }
    }
    all
}

/// The snapshots that do not count as good, as the status and the catalogue have it.
pub(super) async fn not_good(
    base: Option<&Restic>,
    status: &[String],
    accepted: &[String],
) -> Result<Vec<String>, Failure> {
    let stated: Vec<Snapshot> = match base {
        Some(base) => base.json(&arguments::verdicts()).await.map_err(|failure| match failure.kind {
            FailureKind::NoRepository => Failure { kind: FailureKind::BaseChanged, message: GONE.to_owned() },
            _ => failure,
        })?,
        None => vec![],
    };
    Ok(catalogue::not_good(status, &stated, accepted))
}
