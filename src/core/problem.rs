//! What can be wrong: one stable word for each case, and one classification that drives the condition,
//! the event, the metric label and the retry.

use std::fmt;

/// What to do about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may pass by itself: tried again, soon and then less often.
    Transient,
    /// Something outside the object has to change; it is watched or looked at again, and clears by itself.
    Blocked,
    /// The object has to be changed (or, for what runs once, created anew): `Stalled`.
    Terminal,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident: $class:ident, $remedy:literal;)+) => {
        /// A stable word for what is so. Used as condition reason, event reason and metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What kind of problem it is.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)+ }
            }

            /// What it means, for the documents.
            pub fn meaning(self) -> String {
                match self { $(Self::$name => [$($doc),+].concat().trim().to_owned(),)+ }
            }

            /// What to do about it, for the documents.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    // Any kind.
    /// A field asks for what this version does not do.
    NotSupported: Terminal, "Remove the field that the message names, or use another method.";
    /// A field is wrong in a way that validation could not see.
    InvalidSpec: Terminal, "Correct the field that the message names.";
    /// The Kubernetes API did not answer or refused.
    ClusterError: Transient, "Nothing, if it passes; otherwise see the message: a permission may be missing.";
    /// The operator failed in a way that it does not expect.
    InternalError: Transient, "Report it, with the place in the code that the operator's log names.";
    /// An object of the needed name exists and belongs to someone else.
    Foreign: Blocked, "Rename one of the two, or delete the object that the message names.";

    // Stores.
    /// The Secret or key with the Connect token is not there.
    TokenMissing: Blocked, "Create the Secret that the message names.";
    /// The Connect server refuses the token.
    TokenRejected: Blocked, "Issue a new token for this server and put it into the Secret that the message names.";
    /// The token cannot read a vault of the store.
    VaultNotInScope: Blocked, "Grant the vault to the Connect server and issue a new token: existing tokens cannot be extended.";
    /// No vault has that name or id.
    VaultNotFound: Blocked, "Correct the vault's name in the store; the message lists what the token can read.";
    /// The Connect server does not answer.
    ConnectUnreachable: Transient, "Check connectHost, the server's pods and network policies.";
    /// The Connect server answers but has not finished its first sync.
    ConnectNotReady: Transient, "Wait; for large accounts raise OP_SYNC_TIMEOUT at the server.";
    /// What answers at the URL is not a Connect server.
    NotAConnectServer: Blocked, "Check host and port, and remove any path from connectHost.";

    // ExternalSecrets.
    /// The store does not exist.
    StoreNotFound: Blocked, "Create the store, or correct secretStoreRef.";
    /// The store is not ready.
    StoreNotReady: Blocked, "See the store's condition.";
    /// The store does not admit this namespace.
    StoreNotAllowed: Blocked, "Add the namespace to the store's conditions.";
    /// No vault of the store has that item.
    ItemNotFound: Blocked, "Create the item or correct its name; the message lists what is similar.";
    /// Several items have that title.
    ItemAmbiguous: Blocked, "Use an id from the message, or rename the others.";
    /// The item has no such field.
    FieldNotFound: Blocked, "Correct the field's name; the message lists the item's fields.";
    /// Several fields of the item have that label.
    FieldAmbiguous: Blocked, "Write section/label, or a field id from the message.";
    /// The item's file cannot be used.
    FileUnusable: Blocked, "See the message: a file must be synced and fit into a Secret of 1 MiB.";
    /// A template fails.
    TemplateError: Blocked, "Correct the template; the message names the key and the place.";
    /// A key or value cannot stand in a Secret.
    InvalidData: Blocked, "Correct the key or the item's value, as the message says.";
    /// The template's source does not exist.
    TemplateNotFound: Blocked, "Create the ConfigMap, Secret or key that the message names, or correct templateFrom.";
    /// The Secret to merge into does not exist.
    SecretMissing: Blocked, "Create the Secret, or use creationPolicy CreateOrMerge.";
    /// Nothing matches, so there is nothing to write.
    NoMatch: Blocked, "Correct the names: what matches nothing is not a success.";

    // Repositories.
    /// The credentials are missing or incomplete.
    CredentialsMissing: Blocked, "Create the Secret or the item's fields that the message names.";
    /// The repository's base has not been created.
    BaseMissing: Blocked, "If the URL is right and nothing was ever there, accept the creation as the message says.";
    /// The repository does not answer.
    RepositoryUnreachable: Transient, "Check the URL, the server and the network; the message is restic's own.";
    /// The repository's password is wrong.
    WrongPassword: Blocked, "Correct RESTIC_PASSWORD; the message names where it comes from.";
    /// Another repository than the known one answers, or the known one is gone.
    RepositoryChanged: Blocked, "Bring the old repository back, or accept the new one as the message says.";
    /// Another `VolumeBackup` has the history that this one would go on with.
    HistoryTaken: Blocked, "Give one of the two VolumeBackups another name, or keep them apart in the repository's url or identity.";
    /// The repository is locked by another process.
    RepositoryLocked: Transient, "Wait for the owner that the message names.";
    /// Another repository object is already the default.
    DefaultTaken: Blocked, "Set default on one ClusterResticRepository only.";

    // VolumeBackups.
    /// The claim does not exist.
    ClaimNotFound: Blocked, "Create the claim, or correct claimNames.";
    /// The claim has no volume yet.
    ClaimPending: Blocked, "Wait for the claim to be bound, or see its events.";
    /// No repository object is named and none is the default, or the named one does not exist.
    RepositoryNotFound: Blocked, "Create the repository object, correct repositoryRefs, or set default on one.";
    /// The repository object is not ready.
    RepositoryNotReady: Blocked, "See the repository object's condition.";
    /// The repository object does not admit this namespace.
    RepositoryNotAllowed: Blocked, "Add the namespace to the repository's allowedNamespaces.";
    /// No VolumeSnapshotClass fits the volume's driver, or several do.
    SnapshotClassMissing: Blocked, "Create a VolumeSnapshotClass for the driver, or name one in volumeSnapshotClassName.";
    /// The volume cannot be backed up.
    VolumeUnsupported: Terminal, "See the message: block volumes and drivers without snapshots cannot be read.";
    /// Nothing was found on the volume.
    VolumeEmpty: Blocked, "Nothing is stored of a volume without files: see whether the app has written, or what `exclude` leaves.";
    /// A command of `hooks.before` failed or did not end in time, so nothing was snapshotted.
    HookFailed: Transient, "Run the command that the message names in that pod with kubectl exec: what it prints is kept nowhere.";
    /// The snapshot or the staging claim failed or did not get ready in time.
    StagingFailed: Transient, "See the message: it is the driver's own.";
    /// The mover was interrupted.
    Interrupted: Transient, "Nothing: it is tried again.";
    /// The mover needed more memory than its limit.
    OutOfMemory: Blocked, "Raise the memory limit in mover.resources.";
    /// The run took longer than its deadline.
    DeadlineExceeded: Transient, "Raise deadline, or see why the repository is slow.";
    /// restic failed.
    ResticFailed: Transient, "See the message: it is restic's own.";
    /// The schedule or the time zone cannot be understood.
    InvalidSchedule: Terminal, "Write five-field cron (with H) or @hourly and so on, and an IANA time zone.";

    // VolumeRestores.
    /// The VolumeBackup does not exist.
    BackupNotFound: Terminal, "Correct from.backup, or use from.repositoryRef with identity.";
    /// No good snapshot fits.
    SnapshotNotFound: Terminal, "Choose one of the snapshots that the message lists.";
    /// The claim's users cannot be stopped by the operator.
    WorkloadUnsupported: Terminal, "Stop what the message names yourself and use workload: Ignore.";
    /// The claim is in use.
    ClaimInUse: Terminal, "Stop what uses the claim, or use workload: Stop.";
    /// The workload did not stop in time; everything was put back.
    StopTimeout: Terminal, "See why the pod that the message names does not end.";
    /// The restored data does not equal the snapshot.
    CheckFailed: Terminal, "Check the repository; the app was not touched.";
    /// The data made no progress in time.
    RestoreTimeout: Terminal, "See why the repository is slow or unreachable; the app was not touched.";
    /// The volume is too small for the snapshot.
    VolumeTooSmall: Terminal, "Enlarge the claim to the size in the message.";
    /// The object carries a GitOps tool's labels and would be run again by a rebuilt cluster.
    ManagedByGitOps: Terminal, "Create the VolumeRestore by hand, outside of Git.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with an object: the reason for programs, and a message for people that says what is wrong,
/// which object, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The stable word.
    pub reason: Reason,
    /// For people. Never holds a secret.
    pub message: String,
}

impl Problem {
    /// A problem.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The same, with the place in the object that it speaks of.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// What to do about it.
    pub const fn class(&self) -> Class {
        self.reason.class()
    }
}
