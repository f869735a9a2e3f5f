//! The movers of a restore: a Secret and a Job of the same name.

use k8s_openapi::api::batch::v1::Job;

use crate::{
    api::restore::VolumeRestore,
    clients::cluster,
    controllers::{backup::default_key, children, context::Context, destination, jobs},
    core::{
        job::{self, Mount, MoverJob},
        mover_state::MoverState,
        names,
        problem::{Problem, Reason},
        restore::{Mover, Observed, Which, ended, repository},
        task::Task,
    },
};

/// The longest time in which snapshots are found, in seconds; then it is tried again.
const RESOLVE_DEADLINE: i64 = 15 * 60;

fn name_of(run: &str, which: Which) -> String {
    names::of_run(run, which.word(), 0)
}

/// What there is of a mover.
pub(super) async fn observe(ctx: &Context, run: &str, owner_uid: &str, which: Which) -> Result<Mover, Problem> {
    let name = name_of(run, which);
    let (found, state) = jobs::observe(ctx, &name, owner_uid).await?;
    let has_credentials = state == MoverState::Absent && children::secret(ctx, &name, owner_uid).await?.is_some();
    Ok(Mover { state, ended: found.as_ref().and_then(ended), has_credentials })
}

/// Creates the Secret and then the Job.
pub(super) async fn start(
    ctx: &Context,
    restore: &VolumeRestore,
    seen: &Observed,
    which: Which,
    task: &Task,
    mounts: &[Mount],
) -> Result<(), Problem> {
    let Some(backup) = &seen.backup else {
        return Err(Problem::new(Reason::BackupNotFound, "the VolumeBackup was deleted: create it again"));
    };
    let key = repository(&restore.spec, backup, default_key(ctx))?;
    let claims = crate::core::restore::claims(backup)?;
    let backup_name = backup.metadata.name.as_deref().unwrap_or_default();
    let namespace = seen.owner.namespace.as_deref().unwrap_or_default();
    let opened = destination::open(ctx, &key, namespace, backup_name, &claims).await?;
    let (name, owner) = (name_of(&seen.run, which), &seen.owner);
    let secret = job::credentials_secret(&name, &ctx.namespace, owner, &seen.run, &opened.variables);
    cluster::create(&ctx.own(), &secret, &owner.uid).await?;
    let job = job::mover_job(&MoverJob {
        name: &name,
        namespace: &ctx.namespace,
        owner,
        run: &seen.run,
        image: &ctx.image,
        task,
        credentials: &name,
        mounts,
        slot: None,
        repository_volume: opened.spec.volume.as_ref(),
        mover: &job::merge_mover(opened.spec.mover.as_ref(), backup.spec.mover.as_ref()),
        deadline_seconds: (which == Which::Resolve).then_some(RESOLVE_DEADLINE),
    });
    cluster::create(&ctx.own(), &job, &owner.uid).await.map(drop)
}

/// Deletes the Secret and then the Job, so that a Job never finds an older run's Secret.
pub(super) async fn remove(ctx: &Context, seen: &Observed, which: Which) -> Result<(), Problem> {
    let (name, uid) = (name_of(&seen.run, which), &seen.owner.uid);
    if let Some(secret) = children::secret(ctx, &name, uid).await? {
        cluster::delete(&ctx.own(), &secret).await?;
    }
    let jobs = ctx.own::<Job>();
    if let Some(job) = cluster::get_owned(&jobs, &name, uid).await? {
        cluster::delete(&jobs, &job).await?;
    }
    Ok(())
}
