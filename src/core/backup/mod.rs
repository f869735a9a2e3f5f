//! What happens next with a `VolumeBackup`: one step at a time, decided from what is there.
//!
//! A run goes through `Snapshotting` (snapshot, its twin, the staging claim), `BackingUp` (a mover for each
//! repository) and `Cleaning` (everything temporary is deleted, in order). Its id names everything that it makes, so
//! a controller that starts anew finds what an earlier one left and goes on.

mod attempt;
mod cache;
mod clean;
mod declared;
mod executed;
mod guard;
mod holder;
mod hooks;
mod known;
mod mover;
mod others;
mod results;
mod run;
mod series;
mod steps;
mod turn;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Secret},
};
use kube::ResourceExt;

use crate::{
    api::{
        annotations,
        backup::{BackupPhase, GroupSnapshotVersion, RepositoryKey, Run, VolumeBackup, VolumeBackupStatus},
        common::Time,
        foreign::{VolumeGroupSnapshot, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent},
        repository::{AtWork, RepositorySpec},
    },
    core::{
        group::GroupClasses,
        job::Image,
        mover_state::MoverState,
        names::{self, Owner},
        problem::Problem,
        queue::Waiting,
        snapshots::Staging,
        task::Answer,
    },
};

pub use cache::{cache_of, cache_of_run, keeps};
pub use declared::{claim_names, repository_keys};
pub use executed::executed;
pub(crate) use holder::age;
pub use holder::{confirm, taken};
pub use hooks::{Exec, Executed, When, hooks_are_due, owed_hooks, owes_hooks};
pub(crate) use known::{accepted_snapshots, not_good_snapshots};
pub(crate) use mover::rate_limits;
pub(crate) use others::watch;
pub use others::{OTHER_WRITER, other_writer};
pub(crate) use results::summary;
pub use results::{FRESH, LAST_RUN, not_good};
pub use run::{has_snapshot, has_twin, makes_a_copy};
pub use series::measure;
pub use turn::with_places;

/// The longest time without a look, whatever is awaited.
const BACKSTOP: std::time::Duration = std::time::Duration::from_mins(10);
/// The kind's name, in labels.
pub const KIND: &str = "VolumeBackup";
/// What kubectl calls it.
const RESOURCE: &str = "volumebackup";

/// What is true of the whole cluster.
#[derive(Clone, Debug)]
pub struct World {
    /// The cluster's id.
    pub cluster: String,
    /// The operator's namespace.
    pub namespace: String,
    /// The movers' image.
    pub image: Image,
    /// Whether commands may be run in apps' pods.
    pub hooks: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The claims that are declared, or of the run in progress.
    pub claims: Vec<SeenClaim>,
    /// The snapshot classes of the cluster.
    pub classes: Vec<VolumeSnapshotClass>,
    /// What the cluster has for snapshots of several claims as one, where that is declared.
    pub group_classes: GroupClasses,
    /// The repository objects that are declared, or of the run in progress; or why none is.
    pub repositories: Vec<SeenRepository>,
    /// Why there is no repository object at all.
    pub no_repository: Option<Problem>,
    /// Whether the run may start.
    pub place: Place,
    /// The group snapshot of the run in progress.
    pub group: Option<VolumeGroupSnapshot>,
    /// What the run in progress has made for each of its claims.
    pub staging: Vec<SeenStaging>,
    /// What it has made for each of its repositories.
    pub movers: Vec<SeenMover>,
    /// Staged volumes that still exist although their claims may be gone.
    pub volumes: Vec<PersistentVolume>,
    /// The pods of the app's namespace, while hooks are due.
    pub pods: Vec<Pod>,
    /// Why the API does not take a snapshot for which the app is held still.
    pub refused: Option<Problem>,
}

impl Observed {
    /// What the movers of a run have answered, for each of its repositories.
    fn answers<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = (&'a RepositoryKey, &'a Answer)> {
        run.repositories.iter().zip(&self.movers).filter_map(|(key, mover)| match &mover.state {
            MoverState::Finished(answer) => Some((key, answer)),
            _ => None,
        })
    }
}

/// A claim.
#[derive(Clone, Debug, Default)]
pub struct SeenClaim {
    /// Its name.
    pub name: String,
    /// The claim, where it is.
    pub claim: Option<PersistentVolumeClaim>,
    /// Its volume, where it is bound.
    pub volume: Option<PersistentVolume>,
}

/// A repository object.
#[derive(Clone, Debug)]
pub struct SeenRepository {
    /// Its kind and name.
    pub key: RepositoryKey,
    /// What it declares and restic's id of its base; or why it cannot be used.
    pub state: Result<(RepositorySpec, Option<String>), Problem>,
    /// That another `VolumeBackup` has the history that this one would go on with.
    pub taken: Option<Problem>,
    /// The restic repository of it that maintenance works on.
    pub at_work: Option<AtWork>,
}

/// Whether a run may start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nobody asked.
    #[default]
    Unasked,
    /// It may.
    Granted,
    /// Not now, because of this.
    Full(String),
}

/// What a run has made for a claim.
#[derive(Clone, Debug, Default)]
pub struct SeenStaging {
    /// The snapshot in the app's namespace: its own, or its group's.
    pub snapshot: Option<VolumeSnapshot>,
    /// What lies behind it.
    pub snapshot_content: Option<VolumeSnapshotContent>,
    /// The twin's content.
    pub content: Option<VolumeSnapshotContent>,
    /// The twin.
    pub twin: Option<VolumeSnapshot>,
    /// The staging claim.
    pub claim: Option<PersistentVolumeClaim>,
    /// What the cluster says about a staging claim that is not bound.
    pub warning: Option<String>,
}

/// What a run has made for a repository.
#[derive(Clone, Debug)]
pub struct SeenMover {
    /// The Secret with the credentials: its metadata only.
    pub credentials: Option<Secret>,
    /// The claim on which its cache is kept, where one is declared.
    pub cache: Option<PersistentVolumeClaim>,
    /// The Job.
    pub job: Option<Job>,
    /// What became of the mover.
    pub state: MoverState,
    /// What became of the one that removes its lock.
    pub unlocking: MoverState,
    /// Why the credentials cannot be had.
    pub problem: Option<Problem>,
    /// Its slot, where a node may not have any number of movers.
    pub slot: Option<usize>,
}

impl Default for SeenMover {
    fn default() -> Self {
        let (state, unlocking) = (MoverState::Absent, MoverState::Absent);
        Self { credentials: None, cache: None, job: None, state, unlocking, problem: None, slot: None }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this status, and an Event where something is to be told.
    Write(Box<VolumeBackupStatus>, Option<Note>),
    /// Ask the queue for a place.
    Ask(Waiting),
    /// Create this object.
    Create(Child),
    /// Create the Secret with the credentials for the run's repository of this index.
    Credentials(usize),
    /// Let the volume of this name go with its claim: its class would keep it.
    Release(String),
    /// Delete exactly this object.
    Delete(Child),
    /// Write this status where there is one, and only then run this command; [`executed`] says how to go on.
    Exec(Option<Box<VolumeBackupStatus>>, Box<Exec>),
    /// Look again after so long, or when something changes.
    Wait(std::time::Duration),
}

/// An object that a run creates or deletes.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// A snapshot of several claims in the app's namespace, by this version of its API.
    Group(GroupSnapshotVersion, Box<VolumeGroupSnapshot>),
    /// A snapshot, in the app's namespace or in the operator's.
    Snapshot(Box<VolumeSnapshot>),
    /// A twin's content.
    Content(Box<VolumeSnapshotContent>),
    /// A staging claim.
    Claim(Box<PersistentVolumeClaim>),
    /// Credentials; only deleted in this way.
    Credentials(Box<Secret>),
    /// A mover.
    Job(Box<Job>),
}

impl Child {
    /// The object's name.
    pub fn name(&self) -> String {
        match self {
            Self::Group(_, object) => object.name_any(),
            Self::Snapshot(object) => object.name_any(),
            Self::Content(object) => object.name_any(),
            Self::Claim(object) => object.name_any(),
            Self::Credentials(object) => object.name_any(),
            Self::Job(object) => object.name_any(),
        }
    }
}

/// Something to tell in an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is bad news.
    pub warning: bool,
    /// A stable word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What to do next with a `VolumeBackup`.
pub fn next_step(backup: &VolumeBackup, world: &World, seen: &Observed, now: Time) -> Step {
    if backup.metadata.deletion_timestamp.is_some() {
        let run = backup.status.as_ref().and_then(|status| status.run.as_ref());
        return run.and_then(|run| hooks::after(backup, run, seen, now)).unwrap_or(Step::Wait(BACKSTOP));
    }
    let (run, phase) = backup.status.as_ref().map_or((None, None), |status| (status.run.as_ref(), status.phase));
    match (run, phase) {
        (Some(run), Some(BackupPhase::BackingUp)) => run::back_up(backup, run, seen, now),
        (Some(run), Some(BackupPhase::Cleaning)) => clean::clean(backup, run, world, seen, now),
        (Some(run), _) => run::stage(backup, run, world, seen, now),
        (None, _) => declared::next_step(backup, world, seen, now),
    }
}

/// The run that has a place among the movers: not one that waits for its next attempt.
pub fn running(backup: &VolumeBackup, now: Time) -> Option<&Run> {
    let run = backup.status.as_ref()?.run.as_ref()?;
    (!is_between_attempts(backup, now)).then_some(run)
}

/// Whether a run has failed and will be tried again.
pub fn is_between_attempts(backup: &VolumeBackup, now: Time) -> bool {
    next_attempt_at(backup, now).is_some()
}

/// Whether a run waits for its place: the first attempt, or a later one whose time has come.
pub fn is_queued(backup: &VolumeBackup, now: Time) -> bool {
    let phase = backup.status.as_ref().and_then(|status| status.phase);
    phase == Some(BackupPhase::Queued) || next_attempt_at(backup, now).is_some_and(|at| at <= now)
}

fn next_attempt_at(backup: &VolumeBackup, now: Time) -> Option<Time> {
    let status = backup.status.as_ref().filter(|status| status.phase == Some(BackupPhase::Cleaning))?;
    attempt::retry_at(backup, status.run.as_ref()?, now)
}

/// The object as the owner of a run's children.
pub fn owner(backup: &VolumeBackup) -> Owner {
    Owner { kind: KIND, namespace: backup.namespace(), name: backup.name_any(), uid: backup.uid().unwrap_or_default() }
}

/// The names of what a run makes for the claim of this index.
pub fn staging<'a>(owner: &'a Owner, run: &'a str, world: &'a World, index: usize) -> Staging<'a> {
    Staging { owner, run, index, namespace: &world.namespace }
}

/// Name of a run's Job for the repository of this index.
pub fn job_name(run: &str, index: usize) -> String {
    names::of_run(run, "mover", index)
}

/// Name of a run's credentials for the repository of this index.
pub fn credentials_name(run: &str, index: usize) -> String {
    names::of_run(run, "credentials", index)
}

/// Whether someone accepted what a condition asked to confirm.
fn accepted(backup: &VolumeBackup, id: &str) -> bool {
    backup.annotations().get(annotations::ACCEPT).is_some_and(|value| value == id)
}

/// The command that accepts it.
fn accept_command(backup: &VolumeBackup, id: &str) -> String {
    names::accept_command(RESOURCE, backup.metadata.namespace.as_deref(), &backup.name_any(), id)
}

/// The id that a message of its status asks to accept.
pub fn asked_to_accept<'a>(backup: &VolumeBackup, message: &'a str) -> Option<&'a str> {
    names::asked_to_accept(message, RESOURCE, backup.metadata.namespace.as_deref(), &backup.name_any())
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
