//! Creates a repository, once.

use crate::{
    clients::restic::Restic,
    core::{
        restic::{
            arguments,
            messages::{Config, Line},
        },
        task::{Answer, Failure, FailureKind, Outcome},
    },
};

/// A repository that is there is left as it is: a mover that was lost after it had created one is repeated.
pub(super) async fn run(restic: &Restic) -> Result<Answer, Failure> {
    let (id, outcome) = match restic.json::<Config>(&arguments::config()).await {
        Ok(config) => (config.id, Outcome::Found),
        Err(failure) if failure.kind == FailureKind::NoRepository => (init(restic).await?, Outcome::Created),
        Err(failure) => return Err(failure),
    };
    Ok(Answer::new(Some(id), outcome))
}

/// Creates the repository and returns its id.
pub(super) async fn init(restic: &Restic) -> Result<String, Failure> {
    let output = restic.output(&arguments::init()).await?;
    let mut lines = output.split(|byte| *byte == b'\n').filter_map(Line::parse);
    lines
        .find_map(|line| if let Line::Initialized { id } = line { Some(id) } else { None })
        .ok_or_else(|| super::fatal("restic created a repository and did not tell its id".to_owned()))
}
