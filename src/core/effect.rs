//! What each reason does to an object of a kind: the page of messages is made from it, and the tests of the kinds hold
//! the code to it.

use crate::{
    api::external_secret::ExternalSecretPhase,
    core::{
        problem::{Class, Problem, Reason},
        secret,
    },
};

/// The kinds whose conditions a reason can stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// `SecretStore` and `ClusterSecretStore`.
    Store,
    /// `ExternalSecret`.
    ExternalSecret,
    /// `ResticRepository` and `ClusterResticRepository`.
    Repository,
    /// `VolumeBackup`.
    VolumeBackup,
    /// `VolumeRestore`.
    VolumeRestore,
}

impl On {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 5] =
        [Self::Store, Self::ExternalSecret, Self::Repository, Self::VolumeBackup, Self::VolumeRestore];

    /// Their names.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Store => "SecretStore, ClusterSecretStore",
            Self::ExternalSecret => "ExternalSecret",
            Self::Repository => "ResticRepository, ClusterResticRepository",
            Self::VolumeBackup => "VolumeBackup",
            Self::VolumeRestore => "VolumeRestore",
        }
    }
}

/// What an object shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Its phase, or that it stays as it was.
    pub phase: &'static str,
    /// Its condition `Ready`.
    pub ready: &'static str,
    /// Whether `Stalled` is True.
    pub stalled: bool,
}

/// Where the phase stays as it was.
pub const WAITS: &str = "as it was: it waits";
/// How a run of a `VolumeBackup` ended: its declaration stays as good as it was.
pub const AFTER_A_RUN: Effect = Effect { phase: "Idle", ready: "True, and LastRunSucceeded False", stalled: false };
/// While another program writes what a `VolumeBackup` writes.
pub const BESIDE_ANOTHER: Effect = Effect { phase: "Idle", ready: "True, and OtherWriter True", stalled: false };
/// A restore has ended with it, and everything was put back.
pub const FAILED: Effect = Effect { phase: "Failed", ready: "False", stalled: true };

/// What to do about a reason in that effect, for the documents: a restore that has ended is not tried again.
pub fn remedy(effect: Effect, reason: Reason) -> String {
    match reason {
        Reason::Interrupted if effect == FAILED => {
            "Create the VolumeRestore anew: it was deleted while it worked.".to_owned()
        }
        _ if effect == FAILED && reason.class() != Class::Terminal => {
            format!("{} Then create the VolumeRestore anew.", reason.remedy())
        }
        _ => reason.remedy().to_owned(),
    }
}

/// The kinds whose objects show a reason. A new reason does not compile before it is said here.
pub fn kinds(reason: Reason) -> &'static [On] {
    use On::{ExternalSecret, Repository, Store, VolumeBackup, VolumeRestore};
    match reason {
        Reason::NotSupported | Reason::Foreign => &[ExternalSecret, Repository, VolumeBackup, VolumeRestore],
        Reason::InvalidSpec | Reason::ClusterError | Reason::InternalError => &On::ALL,
        Reason::TokenMissing => &[Store],
        // Where a store can be used and an item of it cannot.
        Reason::TokenRejected
        | Reason::VaultNotInScope
        | Reason::VaultNotFound
        | Reason::ConnectUnreachable
        | Reason::ConnectNotReady
        | Reason::NotAConnectServer => &[Store, ExternalSecret, Repository],
        Reason::StoreNotFound
        | Reason::StoreNotReady
        | Reason::StoreNotAllowed
        | Reason::ItemNotFound
        | Reason::ItemAmbiguous
        | Reason::FieldAmbiguous
        | Reason::InvalidData => &[ExternalSecret, Repository],
        Reason::FieldNotFound
        | Reason::FileUnusable
        | Reason::TemplateError
        | Reason::TemplateNotFound
        | Reason::SecretMissing
        | Reason::NoMatch => &[ExternalSecret],
        Reason::DefaultTaken => &[Repository],
        Reason::BaseMissing => &[Repository, VolumeBackup],
        // Of a store: its CA certificates.
        Reason::CredentialsMissing => &[Store, Repository, VolumeBackup, VolumeRestore],
        Reason::RepositoryUnreachable | Reason::WrongPassword | Reason::RepositoryChanged | Reason::ClaimNotFound => {
            &[Repository, VolumeBackup, VolumeRestore]
        }
        Reason::RepositoryNotFound
        | Reason::RepositoryNotReady
        | Reason::RepositoryNotAllowed
        | Reason::HistoryTaken
        | Reason::ClaimPending
        | Reason::VolumeUnsupported
        | Reason::StagingFailed
        | Reason::Interrupted
        | Reason::OutOfMemory
        | Reason::DeadlineExceeded
        | Reason::ResticFailed => &[VolumeBackup, VolumeRestore],
        // Nothing but a backup and maintenance takes a lock, or minds one.
        Reason::RepositoryLocked | Reason::SnapshotClassMissing | Reason::VolumeEmpty | Reason::HookFailed => {
            &[VolumeBackup]
        }
        Reason::InvalidSchedule => &[ExternalSecret, Repository, VolumeBackup],
        Reason::BackupNotFound
        | Reason::SnapshotNotFound
        | Reason::WorkloadUnsupported
        | Reason::ClaimInUse
        | Reason::StopTimeout
        | Reason::CheckFailed
        | Reason::RestoreTimeout
        | Reason::VolumeTooSmall
        | Reason::ManagedByGitOps => &[VolumeRestore],
    }
}

/// What an object of the kind shows for the reason: the usual first.
pub fn effects(on: On, reason: Reason) -> Vec<Effect> {
    let stalled = reason.class() == Class::Terminal;
    let not_ready = |phase| vec![Effect { phase, ready: "False", stalled }];
    match on {
        On::Store => not_ready("NotReady"),
        On::ExternalSecret => not_ready(match secret::phase(&Problem::new(reason, "")) {
            ExternalSecretPhase::Waiting => "Waiting",
            _ => "Failing",
        }),
        On::Repository => not_ready(match reason {
            Reason::BaseMissing => "BaseMissing",
            Reason::RepositoryChanged => "Changed",
            Reason::ClusterError | Reason::InternalError => WAITS,
            _ => "Unreachable",
        }),
        On::VolumeBackup => of_backup(reason, stalled),
        On::VolumeRestore => of_restore(reason, stalled),
    }
}

fn of_backup(reason: Reason, stalled: bool) -> Vec<Effect> {
    let declared = |phase, ready| Effect { phase, ready, stalled };
    match reason {
        // What was found out before stays true.
        Reason::ClusterError | Reason::InternalError | Reason::Foreign => vec![declared(WAITS, "False")],
        // Declared, or gone in the middle of a run.
        Reason::ClaimNotFound | Reason::ClaimPending => vec![declared("WaitingForClaim", "True"), AFTER_A_RUN],
        Reason::RepositoryNotFound
        | Reason::RepositoryNotReady
        | Reason::RepositoryNotAllowed
        | Reason::RepositoryChanged
        | Reason::HistoryTaken
        | Reason::SnapshotClassMissing
        | Reason::VolumeUnsupported => vec![declared("Blocked", "False"), AFTER_A_RUN],
        Reason::RepositoryUnreachable
        | Reason::RepositoryLocked
        | Reason::WrongPassword
        | Reason::BaseMissing
        | Reason::CredentialsMissing
        | Reason::HookFailed
        | Reason::StagingFailed
        | Reason::Interrupted
        | Reason::OutOfMemory
        | Reason::DeadlineExceeded
        | Reason::VolumeEmpty
        | Reason::ResticFailed => vec![AFTER_A_RUN],
        _ => vec![declared("Blocked", "False")],
    }
}

fn of_restore(reason: Reason, stalled: bool) -> Vec<Effect> {
    let waits = Effect { phase: WAITS, ready: "False", stalled: false };
    match reason {
        // It would end in the same way again.
        Reason::StagingFailed | Reason::OutOfMemory => vec![FAILED],
        // The claim goes while its data is restored; the VolumeRestore itself is deleted.
        Reason::ClaimNotFound | Reason::Interrupted => vec![waits, FAILED],
        _ if stalled => vec![FAILED],
        _ => vec![waits],
    }
}
