//! Carries out what [`crate::core::maintenance`] decides.

use std::{sync::Arc, time::Duration};

use crate::{
    api::{backup::VolumeBackup, repository::RepositoryStatus},
    controllers::{
        context::Context,
        destination,
        errand::{self, Errand},
    },
    core::{
        errand::Next,
        maintenance::{self, DEADLINE, Step},
        problem::{Problem, Reason},
        repository::Subject,
        task::Task,
    },
};

/// What was done.
pub(crate) enum Did {
    /// This status is to be written.
    Status(Box<RepositoryStatus>),
    /// A step: look again.
    Step,
    /// Nothing: look again after so long.
    Wait(Duration),
}

/// The next step for a repository object that is otherwise as it should be, and that these use.
pub(crate) async fn step(ctx: &Context, subject: &Subject, users: &[Arc<VolumeBackup>]) -> Result<Did, Problem> {
    let key = subject.key();
    let users = users.iter().map(|backup| &**backup);
    let places = maintenance::places(&key, &ctx.cluster, subject.spec.retention.as_ref(), users, ctx.now());
    let name = maintenance::errand_name(subject, &ctx.cluster);
    let seen = errand::observe(ctx, &name, subject.uid()).await?;
    match maintenance::next_step(subject, &ctx.cluster, &places, &seen, ctx.now()) {
        Step::Write(status) => Ok(Did::Status(status)),
        Step::Wait(wait) => Ok(Did::Wait(wait)),
        Step::Errand(next, chosen, run) => {
            let place = chosen.and_then(|(_, index)| places.get(index));
            let task =
                chosen.zip(place).map(|((chore, _), place)| maintenance::task(subject, &ctx.cluster, chore, place));
            let errand = Errand {
                name: &name,
                owner: subject.owner(),
                run: &run,
                task: task.unwrap_or(Task::Probe),
                volume: subject.spec.volume.as_ref(),
                mover: subject.spec.mover.clone().unwrap_or_default(),
                deadline: DEADLINE,
            };
            let variables = async {
                let nothing =
                    || Problem::new(Reason::RepositoryNotFound, "no VolumeBackup uses the repository any more");
                let place = place.ok_or_else(nothing)?;
                let backup = (place.backup.0.as_str(), place.backup.1.as_str());
                let opened = destination::open_for_maintenance(ctx, &key, backup, &place.claims).await?;
                if opened.url != place.url {
                    let message = format!(
                        "{} is now at {}: its history is not kept in order until that is accepted",
                        place.url, opened.url
                    );
                    return Err(Problem::new(Reason::RepositoryChanged, message));
                }
                Ok(opened.variables)
            };
            let starts = matches!(next, Next::Credentials | Next::Job);
            match Box::pin(errand::step(ctx, next, errand, variables)).await {
                Ok(()) => Ok(Did::Step),
                Err(problem) => {
                    let of = chosen.zip(place).filter(|_| starts);
                    let status = of.and_then(|((chore, _), place)| {
                        maintenance::refused(subject, chore, &place.url, &problem, ctx.now())
                    });
                    status.map_or(Err(problem), |status| Ok(Did::Status(status)))
                }
            }
        }
    }
}
