//! What a run has made. What is made in turn is looked for in turn: without the one, the next is not there.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{Observer, volume_name};
use crate::{
    api::{
        backup::{BackupPhase, Run, VolumeBackup},
        foreign::{VolumeGroupSnapshot, VolumeSnapshot, VolumeSnapshotContent},
    },
    clients::{cluster, groups::Groups},
    controllers::{children, context::Context, jobs, runner::PAGE},
    core::{
        backup::{SeenMover, SeenStaging, credentials_name, has_snapshot, has_twin, job_name, owner, staging},
        group,
        problem::Problem,
        snapshots::Staging,
        unlock,
    },
};

/// A staging claim that is not bound after so many seconds is asked about.
const PATIENCE: i64 = 20;

impl Observer<'_> {
    /// What the run has made.
    pub(super) async fn children(&mut self, run: &Run, phase: Option<BackupPhase>) -> Result<(), Problem> {
        match phase {
            Some(BackupPhase::BackingUp) => {
                self.staging_claims(run).await?;
                self.movers(run).await
            }
            Some(BackupPhase::Cleaning) => {
                self.staging_claims(run).await?;
                self.movers(run).await?;
                self.credentials(run).await?;
                self.unlocking().await?;
                self.volumes(run).await?;
                // Those go last.
                if super::has_children(&self.seen) { Ok(()) } else { self.snapshots(run).await }
            }
            _ => {
                self.stages(run).await?;
                if self.seen.staging.iter().all(|staged| staged.claim.is_some()) {
                    self.movers(run).await?;
                    self.credentials(run).await?;
                }
                // What was not looked for is not there.
                self.seen.movers.resize_with(run.repositories.len(), SeenMover::default);
                Ok(())
            }
        }
    }

    /// Snapshots, twins and staging claims, as far as they have come.
    async fn stages(&mut self, run: &Run) -> Result<(), Problem> {
        let owner = owner(self.backup);
        self.group(run, &owner.uid).await?;
        let mut of_group = self.members().await?;
        for (index, claim) in run.claims.iter().enumerate() {
            let names = staging(&owner, &run.id, self.world, index);
            let snapshot = match run.group {
                Some(_) => of_group.remove(claim),
                None => self.snapshot(&names).await?,
            };
            let mut staged = SeenStaging { snapshot, ..SeenStaging::default() };
            let status = staged.snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref());
            if let Some(bound) = status.and_then(|status| status.bound_volume_snapshot_content_name.as_deref()) {
                let contents = self.ctx.global::<VolumeSnapshotContent>();
                staged.snapshot_content = self.memo.get(&contents, bound).await?;
            }
            if has_snapshot(&staged) {
                staged.content = self.content(&names).await?;
            }
            if staged.content.is_some() {
                staged.twin = self.twin(&names).await?;
            }
            if has_twin(&staged) {
                staged.claim = self.staging_claim(&names).await?;
            }
            staged.warning = self.warning(run, staged.claim.as_ref()).await?;
            self.seen.staging.push(staged);
        }
        Ok(())
    }

    /// The staging claims.
    async fn staging_claims(&mut self, run: &Run) -> Result<(), Problem> {
        let owner = owner(self.backup);
        for index in 0..run.claims.len() {
            let claim = self.staging_claim(&staging(&owner, &run.id, self.world, index)).await?;
            let warning = self.warning(run, claim.as_ref()).await?;
            self.seen.staging.push(SeenStaging { claim, warning, ..SeenStaging::default() });
        }
        Ok(())
    }

    /// Snapshots, contents and twins, where nothing depends on them any more.
    async fn snapshots(&mut self, run: &Run) -> Result<(), Problem> {
        let owner = owner(self.backup);
        self.group(run, &owner.uid).await?;
        for index in 0..run.claims.len() {
            let names = staging(&owner, &run.id, self.world, index);
            let snapshot = if run.group.is_none() { self.snapshot(&names).await? } else { None };
            let (content, twin) = (self.content(&names).await?, self.twin(&names).await?);
            if let Some(staged) = self.seen.staging.get_mut(index) {
                (staged.snapshot, staged.content, staged.twin) = (snapshot, content, twin);
            }
        }
        Ok(())
    }

    async fn snapshot(&mut self, names: &Staging<'_>) -> Result<Option<VolumeSnapshot>, Problem> {
        let api: Api<VolumeSnapshot> = self.ctx.api(&self.backup.namespace().unwrap_or_default());
        self.memo.get_owned(&api, &names.snapshot_name(), &names.owner.uid).await
    }

    async fn content(&mut self, names: &Staging<'_>) -> Result<Option<VolumeSnapshotContent>, Problem> {
        self.memo.get_owned(&self.ctx.global(), &names.content_name(), &names.owner.uid).await
    }

    async fn twin(&mut self, names: &Staging<'_>) -> Result<Option<VolumeSnapshot>, Problem> {
        self.memo.get_owned(&self.ctx.own(), &names.twin_name(), &names.owner.uid).await
    }

    async fn staging_claim(&mut self, names: &Staging<'_>) -> Result<Option<PersistentVolumeClaim>, Problem> {
        self.memo.get_owned(&self.ctx.own(), &names.claim_name(), &names.owner.uid).await
    }

    /// The group snapshot.
    async fn group(&mut self, run: &Run, uid: &str) -> Result<(), Problem> {
        let Some(of) = &run.group else { return Ok(()) };
        let groups = Groups::new(&self.ctx.client, of.version, self.backup.metadata.namespace.as_deref());
        let name = staging(&owner(self.backup), &run.id, self.world, 0).group_name();
        self.seen.group = self.memo.once(&name, "group snapshot", groups.get(&name, uid)).await?;
        Ok(())
    }

    /// The snapshots of the group, by the claims that they are of. Once it is made, all of them are there.
    async fn members(&mut self) -> Result<HashMap<String, VolumeSnapshot>, Problem> {
        match self.seen.group.as_ref().filter(|group| group::is_made(group)) {
            Some(group) => {
                let members = members(self.ctx, self.backup, group);
                self.memo.once(&group.name_any(), "its members", members).await
            }
            None => Ok(HashMap::new()),
        }
    }

    /// The movers' Jobs.
    async fn movers(&mut self, run: &Run) -> Result<(), Problem> {
        let uid = owner(self.backup).uid;
        for index in 0..run.repositories.len() {
            let name = job_name(&run.id, index);
            let (job, state) = self.memo.once(&name, "job", jobs::observe(self.ctx, &name, &uid)).await?;
            self.seen.movers.push(SeenMover { job, state, ..SeenMover::default() });
        }
        Ok(())
    }

    /// Their credentials: that they are there.
    async fn credentials(&mut self, run: &Run) -> Result<(), Problem> {
        let uid = owner(self.backup).uid;
        for (index, mover) in self.seen.movers.iter_mut().enumerate() {
            let name = credentials_name(&run.id, index);
            mover.credentials = self.memo.once(&name, "credentials", children::secret(self.ctx, &name, &uid)).await?;
        }
        Ok(())
    }

    /// The Jobs that remove the locks of movers.
    async fn unlocking(&mut self) -> Result<(), Problem> {
        let uid = owner(self.backup).uid;
        for mover in &mut self.seen.movers {
            let Some(job) = &mover.job else { continue };
            let look = jobs::observe_unlocking(self.ctx, job, &mover.state, &uid);
            mover.unlocking = self.memo.once(&unlock::job_name(&job.name_any()), "job", look).await?;
        }
        Ok(())
    }

    /// The staged volumes that are still there.
    async fn volumes(&mut self, run: &Run) -> Result<(), Problem> {
        let staged = self.seen.staging.iter();
        let of_claims = staged.filter_map(|seen| volume_name(seen.claim.as_ref()?).map(str::to_owned));
        let names: BTreeSet<String> = run.volumes.iter().cloned().chain(of_claims).collect();
        for name in names {
            self.seen.volumes.extend(self.memo.get(&self.ctx.global::<PersistentVolume>(), &name).await?);
        }
        Ok(())
    }

    /// The last thing that the cluster said is wrong with a staging claim that should be bound by now.
    async fn warning(&self, run: &Run, claim: Option<&PersistentVolumeClaim>) -> Result<Option<String>, Problem> {
        let is_late = (self.ctx.now() - run.attempt_started_at).num_seconds() > PATIENCE;
        let Some(claim) = claim.filter(|claim| is_late && volume_name(claim).is_none()) else { return Ok(None) };
        let uid = claim.uid().unwrap_or_default();
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
        let events = self.ctx.own::<Event>().list(&params).await;
        let events = events.map_err(|error| cluster::problem::<Event>("list", &claim.name_any(), &error))?;
        let time = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0);
        Ok(events.items.into_iter().max_by_key(time).and_then(|event| event.message))
    }
}

async fn members(
    ctx: &Context,
    backup: &VolumeBackup,
    group: &VolumeGroupSnapshot,
) -> Result<HashMap<String, VolumeSnapshot>, Problem> {
    let mut members = HashMap::new();
    let api: Api<VolumeSnapshot> = ctx.api(&backup.namespace().unwrap_or_default());
    let is_member = |object: &PartialObjectMeta<VolumeSnapshot>| {
        object.owner_references().iter().any(|owner| Some(&owner.uid) == group.metadata.uid.as_ref())
    };
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&params).await;
        let page =
            page.map_err(|error| cluster::problem::<VolumeSnapshot>("list those of", &group.name_any(), &error))?;
        for found in page.items.iter().filter(|object| is_member(object)) {
            let Some(snapshot) = cluster::get(&api, &found.name_any()).await? else { continue };
            let claim = snapshot.spec.source.persistent_volume_claim_name.clone();
            members.extend(claim.map(|claim| (claim, snapshot)));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(members),
        }
    }
}
