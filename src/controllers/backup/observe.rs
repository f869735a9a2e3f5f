//! What a `VolumeBackup`'s plan needs to see, and no more of it than the phase asks for.

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::{ParseExpressionError, Selector},
};

use crate::{
    api::backup::{BackupPhase, RepositoryKey, Run, VolumeBackup},
    clients::{cluster, groups, memo::Memo},
    controllers::{
        backup::{default_key, hooks},
        context::Context,
        destination,
    },
    core::{
        backup::{
            self, Observed, SeenClaim, SeenRepository, SeenStaging, World, cache_of, cache_of_run, claim_names,
            hooks_are_due, makes_a_copy, owner, repository_keys,
        },
        destination::{Scope, targets},
        group,
        problem::{Problem, Reason},
    },
};

mod children;

/// What a plan needs to see now. What is in the memo is not read again.
pub(super) async fn observe(
    ctx: &Context,
    backup: &VolumeBackup,
    world: &World,
    memo: &mut Memo,
) -> Result<Observed, Problem> {
    Observer { ctx, backup, world, memo, seen: Observed::default() }.observe().await
}

/// A look in progress.
struct Observer<'a> {
    ctx: &'a Context,
    backup: &'a VolumeBackup,
    world: &'a World,
    memo: &'a mut Memo,
    seen: Observed,
}

impl Observer<'_> {
    async fn observe(mut self) -> Result<Observed, Problem> {
        let status = self.backup.status.clone().unwrap_or_default();
        let run = status.run.as_ref();
        if let Some(run) = run {
            Box::pin(self.children(run, status.phase)).await?;
        }
        if hooks_are_due(&status) {
            self.seen.pods = hooks::pods(&self.ctx.client, self.backup).await?;
        }
        match (run, status.phase) {
            // What is being deleted is all that counts until it is gone; then the object is idle again.
            (Some(_), Some(BackupPhase::BackingUp)) => self.mounted_caches().await?,
            (Some(_), Some(BackupPhase::Cleaning)) if has_children(&self.seen) => {}
            (Some(run), phase) if phase != Some(BackupPhase::Cleaning) => self.sources(run).await?,
            _ => self.declared().await?,
        }
        Ok(self.seen)
    }

    /// What is declared.
    async fn declared(&mut self) -> Result<(), Problem> {
        match repository_keys(&self.backup.spec, default_key(self.ctx)) {
            Ok(keys) => self.seen.repositories = self.repositories(&keys).await,
            Err(problem) => self.seen.no_repository = Some(problem),
        }
        if !self.backup.spec.suspend {
            self.seen.claims = match &self.backup.spec.claim_selector {
                Some(selector) => self.selected(selector).await?,
                None => self.claims(&claim_names(self.backup)).await?,
            };
            self.classes().await?;
            if self.seen.claims.len() > 1 && group::declared(&self.backup.spec).is_ok() {
                let classes = groups::classes(&self.ctx.client);
                self.seen.group_classes = self.memo.once("", "group classes", classes).await?;
            }
            let claims: Vec<String> = self.seen.claims.iter().map(|claim| claim.name.clone()).collect();
            self.look_whose(&claims);
        }
        Ok(())
    }

    /// What a run's copies and movers are made of, as far as one is to be made.
    async fn sources(&mut self, run: &Run) -> Result<(), Problem> {
        if self.seen.staging.iter().any(makes_a_copy) {
            self.seen.claims = self.claims(&run.claims).await?;
            self.classes().await?;
        }
        self.seen.repositories = self.repositories(&run.repositories).await;
        if self.seen.staging.iter().all(|staged| staged.claim.is_some()) {
            self.caches(run).await?;
        }
        self.look_whose(&run.claims);
        Ok(())
    }

    async fn classes(&mut self) -> Result<(), Problem> {
        let classes = groups::single_classes(&self.ctx.client);
        self.seen.classes = self.memo.once("", "snapshot classes", classes).await?;
        Ok(())
    }

    async fn repositories(&self, keys: &[RepositoryKey]) -> Vec<SeenRepository> {
        let namespace = self.backup.namespace().unwrap_or_default();
        let mut seen = vec![];
        for key in keys {
            let state = destination::usable(self.ctx, key, &namespace).await;
            let at_work = destination::subject(self.ctx, key, &namespace).and_then(|subject| subject.status.at_work);
            seen.push(SeenRepository { key: key.clone(), state, taken: None, at_work });
        }
        seen
    }

    /// The claims on which the run's movers keep their caches.
    async fn caches(&mut self, run: &Run) -> Result<(), Problem> {
        let uid = owner(self.backup).uid;
        for (mover, of) in self.seen.movers.iter_mut().zip(&self.seen.repositories) {
            let Ok((spec, _)) = &of.state else { continue };
            if let Some(claim) = cache_of_run(self.backup, run, &of.key, spec, &self.ctx.namespace) {
                mover.cache = self.memo.get_owned(&self.ctx.own(), &claim.name_any(), &uid).await?;
            }
        }
        Ok(())
    }

    /// The claims of the caches that movers have.
    async fn mounted_caches(&mut self) -> Result<(), Problem> {
        let uid = owner(self.backup).uid;
        for mover in &mut self.seen.movers {
            if let Some(name) = mover.job.as_ref().and_then(cache_of) {
                mover.cache = self.memo.get_owned(&self.ctx.own(), name, &uid).await?;
            }
        }
        Ok(())
    }

    /// Looks for each repository whether another `VolumeBackup` has the history that this one would go on with.
    fn look_whose(&mut self, claims: &[String]) {
        for of in &mut self.seen.repositories {
            of.taken = taken(self.ctx, self.backup, of, claims);
        }
    }

    async fn claims(&mut self, names: &[String]) -> Result<Vec<SeenClaim>, Problem> {
        let api: Api<PersistentVolumeClaim> = self.ctx.api(&self.backup.namespace().unwrap_or_default());
        let mut seen = vec![];
        for name in names {
            let claim = self.memo.get(&api, name).await?;
            seen.push(self.with_volume(name.clone(), claim).await?);
        }
        Ok(seen)
    }

    /// The claims that have the labels of a selector, by name. One that is being deleted is none any more.
    async fn selected(&mut self, selector: &LabelSelector) -> Result<Vec<SeenClaim>, Problem> {
        let selector: Selector = selector.clone().try_into().map_err(|error: ParseExpressionError| {
            Problem::new(Reason::InvalidSpec, format!("claimSelector: {error}"))
        })?;
        let api: Api<PersistentVolumeClaim> = self.ctx.api(&self.backup.namespace().unwrap_or_default());
        let find = async {
            let found = api.list(&ListParams::default().labels_from(&selector)).await;
            found.map_err(|error| cluster::problem::<PersistentVolumeClaim>("list", "of the namespace", &error))
        };
        let mut claims = self.memo.once("", "selected claims", find).await?.items;
        claims.retain(|claim| claim.metadata.deletion_timestamp.is_none());
        claims.sort_by_key(ResourceExt::name_any);
        let mut seen = vec![];
        for claim in claims {
            seen.push(self.with_volume(claim.name_any(), Some(claim)).await?);
        }
        Ok(seen)
    }

    /// A claim with its volume, where it is bound.
    async fn with_volume(&mut self, name: String, claim: Option<PersistentVolumeClaim>) -> Result<SeenClaim, Problem> {
        let is_bound = |claim: &&PersistentVolumeClaim| {
            claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
        };
        let volume = match claim.as_ref().filter(is_bound).and_then(volume_name) {
            Some(volume) => self.memo.get(&self.ctx.global::<PersistentVolume>(), volume).await?,
            None => None,
        };
        Ok(SeenClaim { name, claim, volume })
    }
}

fn taken(ctx: &Context, backup: &VolumeBackup, of: &SeenRepository, claims: &[String]) -> Option<Problem> {
    let (spec, _) = of.state.as_ref().ok()?;
    let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
    let scope = Scope { namespace: &namespace, name: &name, cluster: &ctx.cluster };
    let targets = targets(spec, scope, claims).ok()?;
    let all = ctx.stores.backups.store.state();
    backup::taken(backup, &of.key, (spec, &ctx.cluster), &targets, all.iter().map(|other| &**other))
}

fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref()
}

fn has_children(seen: &Observed) -> bool {
    let staged = |seen: &SeenStaging| {
        seen.snapshot.is_some() || seen.content.is_some() || seen.twin.is_some() || seen.claim.is_some()
    };
    !seen.volumes.is_empty()
        || seen.group.is_some()
        || seen.staging.iter().any(staged)
        || seen.movers.iter().any(|mover| mover.job.is_some() || mover.credentials.is_some())
}
