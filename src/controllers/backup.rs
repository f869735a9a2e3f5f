//! VolumeBackup: observes what a plan needs to see, and does the one next step, again and again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{Api, Resource, ResourceExt, runtime::events::EventType};

use crate::{
    api::{
        backup::{BackupPhase, RepositoryKey, VolumeBackup, VolumeBackupStatus},
        common::{Condition, RepositoryKind, Time},
    },
    clients::{cluster, memo::Memo},
    controllers::{
        children,
        context::{Context, Handle, Stores},
        destination,
        runner::{Action, Reconcile},
    },
    core::{
        backup::{self, Note, Place, Step, World},
        conditions::{self, Summary},
        destination::default_repository,
        job,
        problem::Problem,
        queue::{Running, Waiting},
        slots,
    },
};

mod hooks;
mod observe;

/// More steps than one look ever needs: a plan that goes in circles ends here, and is looked at again.
const STEPS: usize = 60;
/// After so long, commands in an app's pod go on in another look: one that lasts ten minutes seems to be stuck.
const LONG: Duration = Duration::from_mins(4);

impl Reconcile for VolumeBackup {
    const KIND: &'static str = backup::KIND;

    fn handle(stores: &Stores) -> &Handle<Self> {
        &stores.backups
    }

    fn api(&self, ctx: &Context) -> Api<Self> {
        ctx.api(&self.namespace().unwrap_or_default())
    }

    async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
        stores_are_filled(&ctx).await;
        let api = object.api(&ctx);
        match cluster::get(&api, &object.name_any()).await? {
            Some(backup) => {
                let (place, problems) = (Place::Unasked, HashMap::new());
                let memo = Memo::default();
                let look = Look { ctx: &ctx, api, backup, memo, place, problems, refused: None };
                Box::pin(look.go()).await
            }
            None => Ok(Action::await_change()),
        }
    }

    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
        let mut status = self.status.clone().unwrap_or_default();
        let summary = Summary::NotReady(problem.clone());
        conditions::summarize(&mut status.conditions, &summary, self.metadata.generation, now);
        (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
    }

    fn conditions(&self) -> Vec<Condition> {
        self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
    }

    fn changed(&self, ctx: &Context) {
        let Some(status) = &self.status else { return };
        // A run that ended badly may say something about its repository; one that ended makes room for maintenance.
        if status.phase == Some(BackupPhase::Cleaning) {
            let keys = status
                .runs
                .iter()
                .map(|run| &run.repository)
                .chain(status.repositories.iter().map(|of| &of.repository));
            for key in keys.collect::<std::collections::BTreeSet<_>>() {
                wake_repository(ctx, key, self.namespace().as_deref());
            }
        }
    }

    fn deleted(&self, ctx: &Context) {
        if backup::owes_hooks(self) {
            tokio::spawn(hooks::release(ctx.client.clone(), self.clone()));
        }
        ctx.queue.release(&self.uid().unwrap_or_default());
        wake_queued(ctx);
        // What it leaves there is nobody's now.
        for of in self.status.iter().flat_map(|status| &status.repositories) {
            wake_repository(ctx, &of.repository, self.namespace().as_deref());
        }
        ctx.sweep.notify_one();
    }
}

fn wake_repository(ctx: &Context, key: &RepositoryKey, namespace: Option<&str>) {
    match key.kind {
        RepositoryKind::ResticRepository => {
            if let Some(object) = ctx.stores.repositories.by_name(namespace, &key.name) {
                ctx.stores.repositories.wake(&object);
            }
        }
        RepositoryKind::ClusterResticRepository => {
            if let Some(object) = ctx.stores.cluster_repositories.by_name(None, &key.name) {
                ctx.stores.cluster_repositories.wake(&object);
            }
        }
    }
}

/// Has those looked at that wait for a place.
pub(crate) fn wake_queued(ctx: &Context) {
    let now = ctx.now();
    ctx.stores.backups.wake_where(|backup| backup::is_queued(backup, now));
}

/// Waits until what a plan looks up in the stores is there.
pub(crate) async fn stores_are_filled(ctx: &Context) {
    ctx.stores.backups.filled().await;
    ctx.stores.repositories.filled().await;
    ctx.stores.cluster_repositories.filled().await;
    ctx.stores.secret_stores.filled().await;
    ctx.stores.cluster_secret_stores.filled().await;
}

/// The repository object that is used where none is named.
pub(crate) fn default_key(ctx: &Context) -> Option<RepositoryKey> {
    let all = ctx.stores.cluster_repositories.store.state();
    let default = default_repository(all.iter().map(|object| &**object))?;
    Some(RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: default.name_any() })
}

/// One look at an object: as many steps as can be done at once.
struct Look<'a> {
    ctx: &'a Context,
    api: Api<VolumeBackup>,
    backup: VolumeBackup,
    memo: Memo,
    place: Place,
    /// Why credentials cannot be had, by the index of the run's repository.
    problems: HashMap<usize, Problem>,
    /// Why a snapshot cannot be made for which the app is held still.
    refused: Option<Problem>,
}

/// The backups that run already.
pub(crate) fn running(ctx: &Context) -> Vec<Running> {
    backup::with_places(ctx.stores.backups.store.state().iter().map(AsRef::as_ref), ctx.now())
}

impl Look<'_> {
    async fn go(mut self) -> Result<Action, Problem> {
        let world = World {
            cluster: self.ctx.cluster.clone(),
            namespace: self.ctx.namespace.clone(),
            image: self.ctx.image.clone(),
            hooks: self.ctx.hooks,
        };
        let begun = Instant::now();
        for who in backup::with_places([&self.backup], self.ctx.now()) {
            self.ctx.queue.resume(who);
        }
        for _ in 0..STEPS {
            let mut seen = observe::observe(self.ctx, &self.backup, &world, &mut self.memo).await?;
            seen.place.clone_from(&self.place);
            seen.refused.clone_from(&self.refused);
            for (index, problem) in &self.problems {
                if let Some(mover) = seen.movers.get_mut(*index) {
                    mover.problem = Some(problem.clone());
                }
            }
            self.choose_slots(&mut seen);
            match backup::next_step(&self.backup, &world, &seen, self.ctx.now()) {
                Step::Write(status, note) => {
                    if !self.write(*status, note).await? {
                        return Ok(Action::requeue(Duration::from_secs(1)));
                    }
                }
                Step::Ask(who) => self.place = self.ask(who),
                Step::Create(child) => {
                    self.memo.forget(&child.name());
                    match children::create(self.ctx, child, &self.uid()).await {
                        Err(problem) if backup::owes_hooks(&self.backup) => self.refused = Some(problem),
                        created => created?,
                    }
                }
                Step::Credentials(index) => self.credentials(index).await?,
                Step::Release(volume) => {
                    self.memo.forget(&volume);
                    children::release(self.ctx, &volume).await?;
                }
                Step::Delete(child) => {
                    self.memo.forget(&child.name());
                    children::delete(self.ctx, child).await?;
                }
                Step::Exec(intent, exec) => {
                    // It may take minutes.
                    self.memo.clear();
                    if let Some(wait) = self.exec(intent, &exec).await? {
                        return Ok(Action::requeue(wait));
                    }
                    if begun.elapsed() > LONG {
                        return Ok(Action::requeue(Duration::ZERO));
                    }
                }
                Step::Wait(wait) => {
                    if !self.runs() && !matches!(self.place, Place::Full(_)) {
                        self.ctx.queue.release(&self.uid());
                    }
                    return Ok(Action::requeue(wait));
                }
            }
        }
        Ok(Action::requeue(Duration::from_secs(1)))
    }

    /// Which slots the movers have that a run is about to start.
    fn choose_slots(&self, seen: &mut backup::Observed) {
        if !self.runs() {
            return;
        }
        let Some(run) = self.backup.status.as_ref().and_then(|status| status.run.as_ref()) else { return };
        for (mover, key) in seen.movers.iter_mut().zip(&run.repositories) {
            let repository = seen.repositories.iter().find(|seen| seen.key == *key);
            let count = repository.and_then(|seen| slots::count(&seen.state.as_ref().ok()?.0));
            mover.slot = count.map(|count| self.ctx.queue.slot(&self.uid(), key, count));
        }
    }

    fn status(&self) -> VolumeBackupStatus {
        self.backup.status.clone().unwrap_or_default()
    }

    /// Whether it has a place among the movers.
    fn runs(&self) -> bool {
        backup::running(&self.backup, self.ctx.now()).is_some()
    }

    fn uid(&self) -> String {
        self.backup.uid().unwrap_or_default()
    }

    /// Writes the status. False where the object has changed meanwhile.
    async fn write(&mut self, status: VolumeBackupStatus, note: Option<Note>) -> Result<bool, Problem> {
        let (held, ran, runs) = (self.runs(), self.status().run, status.run.clone());
        let wanted = VolumeBackup { status: Some(status), ..self.backup.clone() };
        let Some(written) = cluster::try_write_status(&self.api, &wanted).await? else { return Ok(false) };
        self.backup = written;
        self.problems.clear();
        self.refused = None;
        if let Some(note) = note {
            let type_ = if note.warning { EventType::Warning } else { EventType::Normal };
            self.ctx.event(&self.backup.object_ref(&()), type_, &note.reason, note.message).await;
        }
        let (name, namespace) = (self.backup.name_any(), self.backup.namespace().unwrap_or_default());
        match (ran, runs) {
            (None, Some(run)) => tracing::info!(namespace, name, run = run.id, "a backup starts"),
            (Some(run), None) => {
                tracing::info!(namespace, name, run = run.id, "a backup has ended");
            }
            _ => {}
        }
        if held && !self.runs() {
            self.ctx.queue.release(&self.uid());
            self.place = Place::Unasked;
            wake_queued(self.ctx);
        }
        Ok(true)
    }

    /// Asks for a place among the movers.
    fn ask(&self, who: Waiting) -> Place {
        match self.ctx.queue.ask(who, running(self.ctx), self.ctx.now()) {
            Ok(()) => Place::Granted,
            Err(full) => Place::Full(full.to_string()),
        }
    }

    /// Creates the Secret with the credentials for the run's repository of this index.
    async fn credentials(&mut self, index: usize) -> Result<(), Problem> {
        let Some(run) = self.status().run else { return Ok(()) };
        let Some(key) = run.repositories.get(index) else { return Ok(()) };
        let (namespace, name) = (self.backup.namespace().unwrap_or_default(), self.backup.name_any());
        match destination::open(self.ctx, key, &namespace, &name, &run.claims).await {
            Ok(opened) => {
                let owner = backup::owner(&self.backup);
                let name = backup::credentials_name(&run.id, index);
                self.memo.forget(&name);
                let secret = job::credentials_secret(&name, &self.ctx.namespace, &owner, &run.id, &opened.variables);
                children::create(self.ctx, backup::Child::Credentials(Box::new(secret)), &owner.uid).await
            }
            Err(problem) => {
                self.problems.insert(index, problem);
                Ok(())
            }
        }
    }
}
