//! What every controller works with.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{SubsecRound, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ClusterResourceScope, NamespaceResourceScope},
    runtime::{
        events::{Event, EventType, Recorder},
        reflector::{ObjectRef, Store, store::Writer},
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    api::{
        backup::VolumeBackup,
        common::{Group, Time},
        eso::{EsoClusterSecretStore, EsoExternalSecret, EsoSecretStore},
        external_secret::ExternalSecret,
        repository::{ClusterResticRepository, ResticRepository},
        restore::VolumeRestore,
        store::{ClusterSecretStore, SecretStore},
    },
    controllers::{
        connect::Hub, credentials::Credentials, declared_metrics::Failures, metrics::Metrics, namespaces::Namespaces,
        queue::Queue, refusals::Refusals, secrets::Secrets, takeover::Takeover,
    },
    core::{answer, fingerprint::Fingerprints, job::Image},
};

/// The longest text that the API takes in an Event, in bytes.
const MAX_NOTE: usize = 1024;

/// What every controller works with.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// The operator's own namespace: where data is moved.
    pub namespace: String,
    /// The cluster's id: the uid of its `kube-system` namespace.
    pub cluster: String,
    /// The image of the operator, which is also the mover's.
    pub image: Image,
    /// The objects of every kind, as the watches tell.
    pub stores: Stores,
    /// What of External Secrets Operator's is ours.
    pub takeover: Takeover,
    /// 1Password Connect.
    pub connect: Arc<Hub>,
    /// The Secrets that matter to ExternalSecrets.
    pub secrets: Secrets,
    /// What holds the credentials of stores and repository objects.
    pub(crate) credentials: Credentials,
    /// The labels of namespaces.
    pub(crate) namespaces: Namespaces,
    /// Why nothing came of ExternalSecrets.
    pub refusals: Refusals,
    /// How often looks at ExternalSecrets failed.
    pub(crate) failures: Failures,
    /// Hashes with a key of this cluster.
    pub fingerprints: Fingerprints,
    /// Whether workloads may be restarted for a Secret's new data.
    pub restart: bool,
    /// Whether commands may be run in apps' pods.
    pub hooks: bool,
    /// Who may move data now.
    pub queue: Arc<Queue>,
    /// Has what vanished objects left behind looked for.
    pub sweep: tokio::sync::Notify,
    /// Has what a vanished restore stopped looked for.
    pub forgotten: tokio::sync::Notify,
    /// What Prometheus scrapes.
    pub metrics: Arc<Metrics>,
    /// Writes Events.
    pub recorder: Recorder,
    /// What is being worked on, and since when.
    pub busy: Arc<Busy>,
}

impl Context {
    /// The present time, in whole seconds as Kubernetes writes it.
    pub fn now(&self) -> Time {
        Utc::now().trunc_subsecs(0)
    }

    /// The objects of a kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The objects of a kind in the operator's namespace.
    pub fn own<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.api(&self.namespace)
    }

    /// The cluster-wide objects of a kind.
    pub fn global<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Api::all(self.client.clone())
    }

    /// Writes an Event about an object, of which a long text is cut: the object's condition has all of it. That it cannot be written is logged and otherwise does not matter.
    pub async fn event(&self, object: &ObjectReference, type_: EventType, reason: &str, mut note: String) {
        answer::cut(&mut note, MAX_NOTE);
        let event =
            Event { type_, reason: reason.to_owned(), note: Some(note), action: reason.to_owned(), secondary: None };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::warn!(%error, reason, "cannot write an Event");
        }
    }
}

/// The objects of every kind.
pub struct Stores {
    /// SecretStores.
    pub secret_stores: Handle<SecretStore>,
    /// ClusterSecretStores.
    pub cluster_secret_stores: Handle<ClusterSecretStore>,
    /// ExternalSecrets.
    pub external_secrets: Handle<ExternalSecret>,
    /// SecretStores of External Secrets Operator's.
    pub eso_secret_stores: Handle<EsoSecretStore>,
    /// ClusterSecretStores of External Secrets Operator's.
    pub eso_cluster_secret_stores: Handle<EsoClusterSecretStore>,
    /// ExternalSecrets of External Secrets Operator's, as far as they concern us.
    pub eso_external_secrets: Handle<EsoExternalSecret>,
    /// ResticRepositories.
    pub repositories: Handle<ResticRepository>,
    /// ClusterResticRepositories.
    pub cluster_repositories: Handle<ClusterResticRepository>,
    /// VolumeBackups.
    pub backups: Handle<VolumeBackup>,
    /// VolumeRestores.
    pub restores: Handle<VolumeRestore>,
}

impl Stores {
    /// Whether an ExternalSecret of that uid is there, of either group.
    pub fn is_declared(&self, uid: &str) -> bool {
        self.external_secrets.by_uid(uid).is_some() || self.eso_external_secrets.by_uid(uid).is_some()
    }

    /// Has the ExternalSecret of that group, namespace and name looked at now.
    pub fn wake_declared(&self, group: Group, namespace: &str, name: &str) {
        match group {
            Group::Strongroom => self.external_secrets.wake_by_name(Some(namespace), name),
            Group::ExternalSecrets => self.eso_external_secrets.wake_by_name(Some(namespace), name),
        }
    }
}

/// What feeds the [`Stores`]: taken by each kind's loop.
pub struct Feeds {
    /// SecretStores.
    pub secret_stores: Feed<SecretStore>,
    /// ClusterSecretStores.
    pub cluster_secret_stores: Feed<ClusterSecretStore>,
    /// ExternalSecrets.
    pub external_secrets: Feed<ExternalSecret>,
    /// SecretStores of External Secrets Operator's.
    pub eso_secret_stores: Feed<EsoSecretStore>,
    /// ClusterSecretStores of External Secrets Operator's.
    pub eso_cluster_secret_stores: Feed<EsoClusterSecretStore>,
    /// ExternalSecrets of External Secrets Operator's.
    pub eso_external_secrets: Feed<EsoExternalSecret>,
    /// ResticRepositories.
    pub repositories: Feed<ResticRepository>,
    /// ClusterResticRepositories.
    pub cluster_repositories: Feed<ClusterResticRepository>,
    /// VolumeBackups.
    pub backups: Feed<VolumeBackup>,
    /// VolumeRestores.
    pub restores: Feed<VolumeRestore>,
}

/// Empty stores, and what feeds them.
pub fn stores() -> (Stores, Feeds) {
    let (secret_stores, secret_stores_feed) = kind();
    let (cluster_secret_stores, cluster_secret_stores_feed) = kind();
    let (external_secrets, external_secrets_feed) = kind();
    let (eso_secret_stores, eso_secret_stores_feed) = kind();
    let (eso_cluster_secret_stores, eso_cluster_secret_stores_feed) = kind();
    let (eso_external_secrets, eso_external_secrets_feed) = kind();
    let (repositories, repositories_feed) = kind();
    let (cluster_repositories, cluster_repositories_feed) = kind();
    let (backups, backups_feed) = kind();
    let (restores, restores_feed) = kind();
    (
        Stores {
            secret_stores,
            cluster_secret_stores,
            external_secrets,
            eso_secret_stores,
            eso_cluster_secret_stores,
            eso_external_secrets,
            repositories,
            cluster_repositories,
            backups,
            restores,
        },
        Feeds {
            secret_stores: secret_stores_feed,
            cluster_secret_stores: cluster_secret_stores_feed,
            external_secrets: external_secrets_feed,
            eso_secret_stores: eso_secret_stores_feed,
            eso_cluster_secret_stores: eso_cluster_secret_stores_feed,
            eso_external_secrets: eso_external_secrets_feed,
            repositories: repositories_feed,
            cluster_repositories: cluster_repositories_feed,
            backups: backups_feed,
            restores: restores_feed,
        },
    )
}

/// The objects of one kind, and a way to have one looked at.
pub struct Handle<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// The objects, as the watch tells.
    pub store: Store<K>,
    wake: mpsc::UnboundedSender<ObjectRef<K>>,
    filled: watch::Receiver<bool>,
}

/// What feeds a [`Handle`].
pub struct Feed<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(super) writer: Writer<K>,
    pub(super) wake: mpsc::UnboundedReceiver<ObjectRef<K>>,
    pub(super) filled: watch::Sender<bool>,
}

fn kind<K>() -> (Handle<K>, Feed<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, writer) = kube::runtime::reflector::store();
    let (wake, woken) = mpsc::unbounded_channel();
    let (fill, filled) = watch::channel(false);
    (Handle { store, wake, filled }, Feed { writer, wake: woken, filled: fill })
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Handle<K> {
    /// Has an object looked at now.
    pub fn wake(&self, object: &K) {
        self.wake_named(ObjectRef::from_obj(object));
    }

    /// Has an object looked at now that is known by its name.
    pub(super) fn wake_named(&self, object: ObjectRef<K>) {
        // The receiver lives as long as the controllers do.
        let _ = self.wake.send(object);
    }

    /// Has the object of that namespace and name looked at now.
    pub fn wake_by_name(&self, namespace: Option<&str>, name: &str) {
        if let Some(object) = self.by_name(namespace, name) {
            self.wake(&object);
        }
    }

    /// Has the object of that uid looked at now.
    pub fn wake_by_uid(&self, uid: &str) {
        if let Some(object) = self.by_uid(uid) {
            self.wake(&object);
        }
    }

    /// Has every object that fits looked at now.
    pub fn wake_where(&self, fits: impl Fn(&K) -> bool) {
        for object in self.store.state() {
            if fits(&object) {
                self.wake(&object);
            }
        }
    }

    /// Waits until the store has every object: after a start, nothing may seem to be missing.
    ///
    /// Not the store's own `wait_until_ready`: of several who wait there, kube 5.0 wakes the last one only, and the
    /// controller of the kind is one of them.
    pub async fn filled(&self) {
        // An error means that the watch has ended, and the controllers with it.
        let _ = self.filled.clone().wait_for(|filled| *filled).await;
    }

    /// The object of that uid.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<K>> {
        self.store.find(|object| object.uid().as_deref() == Some(uid))
    }

    /// The object of that namespace and name.
    pub fn by_name(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        let mut key = ObjectRef::new(name);
        if let Some(namespace) = namespace {
            key = key.within(namespace);
        }
        self.store.get(&key)
    }
}

/// What is being worked on, and since when: a worker that is stuck shows here.
#[derive(Debug, Default)]
pub struct Busy(Mutex<HashMap<String, Instant>>);

impl Busy {
    /// Notes that work on something starts; it ends when the returned guard is dropped.
    pub fn start(&self, what: String) -> BusyGuard<'_> {
        self.lock().insert(what.clone(), Instant::now());
        BusyGuard { busy: self, what }
    }

    /// What has been worked on for longest.
    pub fn longest(&self) -> Option<(String, std::time::Duration)> {
        let map = self.lock();
        map.iter().map(|(what, since)| (what.clone(), since.elapsed())).max_by_key(|(_, elapsed)| *elapsed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that goes on until this is dropped.
#[derive(Debug)]
pub struct BusyGuard<'a> {
    busy: &'a Busy,
    what: String,
}

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.what);
    }
}
