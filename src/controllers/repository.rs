//! ResticRepository and ClusterResticRepository: asked whether they are there, and kept in order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt};

use crate::{
    api::{
        backup::{RepositoryKey, VolumeBackup},
        common::{Condition, RepositoryKind, Time},
        repository::{ClusterResticRepository, RepositoryPhase, RepositoryStatus, ResticRepository},
    },
    clients::cluster,
    controllers::{
        backup,
        connect::{Reader, Wake},
        context::{Context, Handle, Stores},
        credentials::{Place, Reads},
        destination,
        errand::{self, Errand},
        maintenance,
        runner::{Action, Reconcile},
    },
    core::{
        conditions::{self, Summary},
        destination::{base_url, default_repository},
        interest::Interest,
        problem::{Problem, Reason},
        repository::{self, DEADLINE, Observed, Step, Subject},
        store::StoreKey,
    },
};

/// More steps than one look ever needs: a plan that goes in circles ends here, and is looked at again.
const STEPS: usize = 20;

/// What both kinds of repository object are.
pub(crate) trait Repository: Reconcile {
    /// What both have.
    fn subject(&self) -> Subject;
    /// The same object with another status.
    fn with_status(&self, status: RepositoryStatus) -> Self;
}

macro_rules! repository {
    ($kind:ident, $handle:ident, $api:expr) => {
        impl Repository for $kind {
            fn subject(&self) -> Subject {
                Subject::from(self)
            }

            fn with_status(&self, status: RepositoryStatus) -> Self {
                Self { status: Some(status), ..self.clone() }
            }
        }

        impl Reconcile for $kind {
            const KIND: &'static str = stringify!($kind);

            fn handle(stores: &Stores) -> &Handle<Self> {
                &stores.$handle
            }

            fn api(&self, ctx: &Context) -> Api<Self> {
                $api(self, ctx)
            }

            async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
                reconcile(&*object, &ctx).await
            }

            fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
                let mut status = self.status.clone().unwrap_or_default();
                if problem.reason == Reason::ClusterError {
                    // What was found out stays true when the cluster's API fails for a moment.
                    if status.phase.is_some() {
                        return None;
                    }
                } else {
                    status.phase = Some(RepositoryPhase::Unreachable);
                }
                // Otherwise the next look would take the object for a new one, and say that it is on its way.
                status.observed_generation = self.metadata.generation.unwrap_or_default();
                let summary = Summary::NotReady(problem.clone());
                conditions::summarize(&mut status.conditions, &summary, self.metadata.generation, now);
                (self.status.as_ref() != Some(&status)).then(|| self.with_status(status))
            }

            fn conditions(&self) -> Vec<Condition> {
                self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
            }

            fn changed(&self, ctx: &Context) {
                wake_users(ctx, &self.subject());
            }

            fn deleted(&self, ctx: &Context) {
                let reader = reader(&self.subject());
                ctx.connect.forget(&reader);
                ctx.credentials.read(&Wake::Reader(reader), Reads::new());
                wake_users(ctx, &self.subject());
                ctx.stores.cluster_repositories.wake_where(|other| other.spec.repository.default);
                ctx.sweep.notify_one();
            }
        }
    };
}

repository!(ResticRepository, repositories, |object: &Self, ctx: &Context| {
    ctx.api(&object.namespace().unwrap_or_default())
});
repository!(ClusterResticRepository, cluster_repositories, |_, ctx: &Context| ctx.global());

/// Has everything looked at that waits for a repository object.
fn wake_users(ctx: &Context, subject: &Subject) {
    let key = subject.key();
    let namespace = subject.metadata.namespace.as_deref();
    let in_reach = |of: Option<String>| namespace.is_none() || of.as_deref() == namespace;
    ctx.stores.backups.wake_where(|backup| in_reach(backup.namespace()) && may_use(backup, &key));
    ctx.stores.restores.wake_where(|restore| {
        let ended = restore.status.as_ref().is_some_and(|status| status.finished_at.is_some());
        in_reach(restore.namespace()) && !ended
    });
}

/// Whether a `VolumeBackup` names a repository object, or none at all.
fn may_use(backup: &VolumeBackup, key: &RepositoryKey) -> bool {
    let refs = &backup.spec.repository_refs;
    let names = refs.iter().any(|of| of.repository.kind == key.kind && of.repository.name == key.name);
    names || (refs.is_empty() && key.kind == RepositoryKind::ClusterResticRepository)
}

/// The `VolumeBackups` that use a repository object.
fn users(ctx: &Context, subject: &Subject) -> Vec<Arc<VolumeBackup>> {
    let key = subject.key();
    let default = backup::default_key(ctx).as_ref() == Some(&key);
    let namespace = subject.metadata.namespace.as_deref();
    let uses = |backup: &VolumeBackup| {
        let in_reach = namespace.is_none() || backup.namespace().as_deref() == namespace;
        in_reach && may_use(backup, &key) && (default || !backup.spec.repository_refs.is_empty())
    };
    ctx.stores.backups.store.state().into_iter().filter(|backup| uses(backup)).collect()
}

async fn reconcile<K: Repository>(object: &K, ctx: &Context) -> Result<Action, Problem> {
    backup::stores_are_filled(ctx).await;
    let api = object.api(ctx);
    let Some(mut object) = cluster::get(&api, &object.name_any()).await? else { return Ok(Action::await_change()) };
    for _ in 0..STEPS {
        let subject = object.subject();
        let seen = observe(ctx, &subject).await?;
        match repository::next_step(&subject, &ctx.cluster, &seen, ctx.now()) {
            Step::Write(status) => {
                let Some(written) = cluster::try_write_status(&api, &object.with_status(*status)).await? else {
                    return Ok(Action::requeue(Duration::from_secs(1)));
                };
                object = written;
            }
            Step::Errand(next, task, run) => {
                let errand = Errand {
                    name: &subject.errand(&ctx.cluster),
                    owner: subject.owner(),
                    run: &run,
                    task: *task,
                    volume: subject.spec.volume.as_ref(),
                    mover: subject.spec.mover.clone().unwrap_or_default(),
                    deadline: DEADLINE,
                };
                let variables = async {
                    let found = find(ctx, &subject, &mut Reads::new()).await?;
                    let url = base_url(&subject.spec, &ctx.cluster)?;
                    found.variables(ctx, &url, &url).await
                };
                errand::step(ctx, next, errand, variables).await?;
            }
            Step::Wait(wait) => match Box::pin(maintenance::step(ctx, &subject, &users(ctx, &subject))).await {
                Ok(maintenance::Did::Wait(other)) => return Ok(Action::requeue(wait.min(other))),
                Ok(maintenance::Did::Status(status)) => {
                    let Some(written) = cluster::try_write_status(&api, &object.with_status(*status)).await? else {
                        return Ok(Action::requeue(Duration::from_secs(1)));
                    };
                    object = written;
                }
                Ok(maintenance::Did::Step) => {}
                Err(problem) => {
                    // Maintenance that cannot start does not make the repository unusable.
                    tracing::warn!(object = subject.name(), reason = %problem.reason, "maintenance: {problem}");
                    return Ok(Action::requeue(wait.min(Duration::from_mins(1))));
                }
            },
        }
    }
    Ok(Action::requeue(Duration::from_secs(1)))
}

async fn observe(ctx: &Context, subject: &Subject) -> Result<Observed, Problem> {
    let users = users(ctx, subject);
    let key = subject.key();
    let known = |backup: &Arc<VolumeBackup>| {
        let known = backup.status.as_ref()?.repositories.iter().find(|known| known.repository == key)?;
        Some((known.targets.first()?.url.clone(), known.id.clone().unwrap_or_default()))
    };
    Ok(Observed {
        rival: rival(ctx, subject),
        credentials: credentials(ctx, subject).await,
        volume: volume(ctx, subject).await?,
        errand: errand::observe(ctx, &subject.errand(&ctx.cluster), subject.uid()).await?,
        backups: i64::try_from(users.len()).unwrap_or(i64::MAX),
        doubt: users.iter().filter_map(|backup| repository::doubt(backup, &key)).max(),
        known: users.iter().filter_map(known).collect(),
    })
}

/// The older object that is the default already.
fn rival(ctx: &Context, subject: &Subject) -> Option<String> {
    if subject.kind != RepositoryKind::ClusterResticRepository || !subject.spec.default {
        return None;
    }
    let all = ctx.stores.cluster_repositories.store.state();
    let default = default_repository(all.iter().map(|object| &**object))?.name_any();
    (default != subject.name()).then_some(default)
}

async fn find(ctx: &Context, subject: &Subject, reads: &mut Reads) -> Result<destination::Found, Problem> {
    let (namespace, spec) = (subject.metadata.namespace.as_deref(), &subject.spec);
    destination::find(ctx, namespace, subject.name(), spec, &spec.credentials, reads).await
}

/// Where the credentials are, and in which version. They are read where this version has not been looked at yet.
async fn credentials(ctx: &Context, subject: &Subject) -> Result<(String, String), Problem> {
    // From here on every change wakes this object, until it is known which ones concern it.
    interested(ctx, subject, None);
    let mut reads = Reads::new();
    let found = find(ctx, subject, &mut reads).await;
    interested(ctx, subject, found.as_ref().ok());
    if found.as_ref().err().is_none_or(|problem| problem.reason != Reason::ClusterError) {
        watch(ctx, subject, reads);
    }
    let found = found?;
    if !repository::was_asked(subject, &found.version) {
        found.variables(ctx, "", "").await?;
    }
    Ok((found.source, found.version))
}

/// Tells the hub which changes in 1Password concern the object: any at all, while its item is not found.
fn interested(ctx: &Context, subject: &Subject, found: Option<&destination::Found>) {
    let namespace = subject.metadata.namespace.as_deref();
    let reader = reader(subject);
    let Some(item) = &subject.spec.credentials.onepassword else { return ctx.connect.forget(&reader) };
    let mut names = BTreeSet::from([item.item.clone()]);
    names.extend(found.iter().flat_map(|found| found.names.clone()));
    let stores = BTreeSet::from([StoreKey::of(&item.store_ref, namespace.unwrap_or_default())]);
    ctx.connect.interest(&reader, Interest { stores, names, waiting: found.is_none() });
}

/// Has the object looked at when what was read changes, or the credentials for maintenance.
fn watch(ctx: &Context, subject: &Subject, mut reads: Reads) {
    let namespace = subject.metadata.namespace.as_deref().unwrap_or(&ctx.namespace);
    let maintenance = subject.spec.maintenance_credentials.as_ref().and_then(|of| of.secret_ref.as_ref());
    // Those for maintenance are read only when they are needed.
    reads.extend(maintenance.map(|of| (Place::Secret(namespace.to_owned(), of.name.clone()), None)));
    ctx.credentials.read(&Wake::Reader(reader(subject)), reads);
}

fn reader(subject: &Subject) -> Reader {
    Reader::Repository(subject.metadata.namespace.clone(), subject.name().to_owned())
}

/// Why the claim that holds the repositories cannot be mounted.
async fn volume(ctx: &Context, subject: &Subject) -> Result<Option<Problem>, Problem> {
    let Some(name) = subject.spec.volume.as_ref().and_then(|volume| volume.claim_name.as_deref()) else {
        return Ok(None);
    };
    let claim = cluster::get(&ctx.own::<PersistentVolumeClaim>(), name).await?;
    Ok(claim.is_none().then(|| {
        let message =
            format!("the claim {}/{name}, which holds the repositories, does not exist: create it", ctx.namespace);
        Problem::new(Reason::ClaimNotFound, message)
    }))
}
