//! Is a repository there?

use std::time::Duration;

use crate::{
    clients::restic::Restic,
    core::{
        restic::{arguments, messages::Config},
        task::{Answer, Failure, Outcome},
    },
};

/// Whoever asks is waiting, and asks again.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run(restic: &Restic) -> Result<Answer, Failure> {
    let config: Config = restic.with_patience(PATIENCE).json(&arguments::config()).await?;
    Ok(Answer::new(Some(config.id), Outcome::Found))
}
