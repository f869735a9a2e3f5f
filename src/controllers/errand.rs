//! Carries out what [`crate::core::errand`] decides: one Secret, one Job.

use crate::{
    api::{common::MoverSpec, repository::RepositoryVolume},
    controllers::{children, context::Context, jobs},
    core::{
        backup::Child,
        errand::{Next, Seen},
        job::{self, MoverJob},
        mover_state::MoverState,
        names::Owner,
        problem::Problem,
        sensitive::SensitiveMap,
        task::Task,
    },
};

/// What a mover's errand is made of.
pub(crate) struct Errand<'a> {
    /// Name of the Job, and of the Secret with it.
    pub(crate) name: &'a str,
    /// The object that it is for.
    pub(crate) owner: Owner,
    /// Its run.
    pub(crate) run: &'a str,
    /// What to do.
    pub(crate) task: Task,
    /// The volume that holds the repositories.
    pub(crate) volume: Option<&'a RepositoryVolume>,
    /// How movers run.
    pub(crate) mover: MoverSpec,
    /// The longest time it may take, in seconds.
    pub(crate) deadline: i64,
}

/// What is there of an owner's errand.
pub(crate) async fn observe(ctx: &Context, name: &str, owner_uid: &str) -> Result<Seen, Problem> {
    let (job, state) = jobs::observe(ctx, name, owner_uid).await?;
    let unlocking = match &job {
        Some(job) => jobs::observe_unlocking(ctx, job, &state, owner_uid).await?,
        None => MoverState::Absent,
    };
    Ok(Seen { credentials: children::secret(ctx, name, owner_uid).await?, job, state, unlocking })
}

/// Does the next step of an errand. The variables are asked for only where the Secret is created.
pub(crate) async fn step<F>(ctx: &Context, next: Next, errand: Errand<'_>, variables: F) -> Result<(), Problem>
where
    F: Future<Output = Result<SensitiveMap, Problem>> + Send,
{
    let uid = errand.owner.uid.clone();
    match next {
        Next::Nothing | Next::Wait | Next::Ended(_) => Ok(()),
        Next::Unlock(job) => children::create(ctx, Child::Job(job), &uid).await,
        Next::DeleteJob(job) => children::delete(ctx, Child::Job(job)).await,
        Next::DeleteCredentials(secret) => children::delete(ctx, Child::Credentials(secret)).await,
        Next::Credentials => {
            let variables = variables.await?;
            let secret = job::credentials_secret(errand.name, &ctx.namespace, &errand.owner, errand.run, &variables);
            children::create(ctx, Child::Credentials(Box::new(secret)), &uid).await
        }
        Next::Job => {
            let job = job::mover_job(&MoverJob {
                name: errand.name,
                namespace: &ctx.namespace,
                owner: &errand.owner,
                run: errand.run,
                image: &ctx.image,
                task: &errand.task,
                credentials: errand.name,
                mounts: &[],
                slot: None,
                repository_volume: errand.volume,
                mover: &errand.mover,
                deadline_seconds: Some(errand.deadline),
            });
            children::create(ctx, Child::Job(Box::new(job)), &uid).await
        }
    }
}
