//! The Secrets of the cluster, as far as they matter: our own ones, of which little is remembered, and those that
//! objects refer to by name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::{Notify, watch};

use crate::{
    api::{MANAGER, annotations, common::Group, external_secret::ExternalSecret, labels},
    controllers::{context::Context, runner::Reconcile, wake::touched},
    core::secret::OriginKind,
};

/// What is remembered of a Secret of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The uid of the ExternalSecret that it belongs to.
    pub owner: Box<str>,
    /// Its resourceVersion.
    pub version: Box<str>,
    /// What it was made of: a keyed hash.
    pub inputs: Box<str>,
    /// The items that it was made of, with their versions.
    pub items: Box<str>,
}

impl Known {
    fn of(meta: &ObjectMeta) -> Self {
        let text = |map: Option<&BTreeMap<String, String>>, name: &str| {
            map.and_then(|map| map.get(name)).map(String::as_str).unwrap_or_default().into()
        };
        let (labels, annotations) = (meta.labels.as_ref(), meta.annotations.as_ref());
        Self {
            owner: text(labels, labels::OWNER_UID),
            version: meta.resource_version.as_deref().unwrap_or_default().into(),
            inputs: text(annotations, annotations::INPUTS),
            items: text(annotations, annotations::ITEMS),
        }
    }
}

/// Objects in a page of a list: pages take memory that is not given back.
const PAGE: u32 = 50;

/// Namespace and name.
type Place = (String, String);
/// An ExternalSecret: group, namespace and name.
type Referrer = (Group, String, String);

/// The Secrets that matter.
#[derive(Debug)]
pub struct Secrets {
    ours: Mutex<HashMap<Place, Known>>,
    filled: watch::Sender<bool>,
    referred: Mutex<Referred>,
    /// Something is referred to for the first time.
    asked: Notify,
}

/// Which objects refer to which.
#[derive(Debug, Default)]
struct Referred {
    by_object: HashMap<(OriginKind, String, String), BTreeSet<Referrer>>,
    by_reader: BTreeMap<Referrer, Vec<(OriginKind, String, String)>>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            ours: Mutex::default(),
            filled: watch::Sender::new(false),
            referred: Mutex::default(),
            asked: Notify::new(),
        }
    }
}

impl Secrets {
    fn ours(&self) -> MutexGuard<'_, HashMap<Place, Known>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn referred(&self) -> MutexGuard<'_, Referred> {
        self.referred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every Secret of ours is known.
    pub async fn filled(&self) {
        // An error means that the watch has ended, and the controllers with it.
        let _ = self.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// What is known of a Secret of ours. It may lag behind the cluster.
    pub fn known(&self, namespace: &str, name: &str) -> Option<Known> {
        self.ours().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Notes what was just written, so that the watch's word of it is no news.
    pub fn wrote(&self, secret: &Secret) {
        let place = (secret.namespace().unwrap_or_default(), secret.name_any());
        self.ours().insert(place, Known::of(&secret.metadata));
    }

    /// Notes which objects an ExternalSecret refers to: it is looked at when one of them changes.
    pub fn refer(&self, reader: &ExternalSecret, names: Vec<(OriginKind, String)>) {
        let namespace = reader.namespace().unwrap_or_default();
        let place = (reader.spec.group, namespace.clone(), reader.name_any());
        let mut referred = self.referred();
        for old in referred.by_reader.remove(&place).unwrap_or_default() {
            if let Some(readers) = referred.by_object.get_mut(&old) {
                readers.remove(&place);
                if readers.is_empty() {
                    referred.by_object.remove(&old);
                }
            }
        }
        if names.is_empty() {
            return;
        }
        let names: Vec<_> = names.into_iter().map(|(kind, name)| (kind, namespace.clone(), name)).collect();
        for name in &names {
            referred.by_object.entry(name.clone()).or_default().insert(place.clone());
        }
        referred.by_reader.insert(place, names);
        drop(referred);
        self.asked.notify_waiters();
    }

    fn refers_to(&self, kind: OriginKind) -> bool {
        self.referred().by_object.keys().any(|(other, _, _)| *other == kind)
    }

    fn readers(&self, kind: OriginKind, namespace: &str, name: &str) -> BTreeSet<Referrer> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        self.referred().by_object.get(&key).cloned().unwrap_or_default()
    }
}

/// Watches our Secrets, their metadata only, and has their ExternalSecret looked at when one changes.
pub(crate) async fn watch_ours(ctx: Arc<Context>) {
    let selector = format!("{}={MANAGER},{}={}", labels::MANAGED_BY, labels::OWNER_KIND, ExternalSecret::KIND);
    let api: Api<PartialObjectMeta<Secret>> = Api::all(ctx.client.clone());
    let stream = watcher(api, watcher::Config::default().labels(&selector).page_size(PAGE)).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = ctx.secrets.ours().keys().cloned().collect(),
            Ok(watcher::Event::InitApply(secret)) => {
                listed.remove(&place(&secret));
                let known = note(&ctx, &secret);
                if known && *ctx.secrets.filled.borrow() {
                    wake(&ctx, &secret);
                }
            }
            Ok(watcher::Event::InitDone) => {
                for place in std::mem::take(&mut listed) {
                    ctx.secrets.ours().remove(&place);
                    ctx.stores.external_secrets.wake_where(|object| target(object) == place);
                    ctx.stores.eso_external_secrets.wake_where(|object| object.target() == place);
                }
                ctx.secrets.filled.send_replace(true);
            }
            Ok(watcher::Event::Apply(secret)) => {
                if note(&ctx, &secret) {
                    wake(&ctx, &secret);
                }
            }
            Ok(watcher::Event::Delete(secret)) => {
                ctx.secrets.ours().remove(&place(&secret));
                wake(&ctx, &secret);
            }
            Err(error) => tracing::warn!(%error, "watch of Secrets failed; it is tried again"),
        }
    }
}

fn place(secret: &PartialObjectMeta<Secret>) -> Place {
    (secret.namespace().unwrap_or_default(), secret.name_any())
}

fn target(object: &ExternalSecret) -> Place {
    (object.namespace().unwrap_or_default(), crate::core::secret::target_name(object).to_owned())
}

/// Notes what is to be known of a Secret. Whether that is news.
fn note(ctx: &Context, secret: &PartialObjectMeta<Secret>) -> bool {
    let known = Known::of(&secret.metadata);
    ctx.secrets.ours().insert(place(secret), known.clone()) != Some(known)
}

fn wake(ctx: &Context, secret: &PartialObjectMeta<Secret>) {
    let label = |name: &str| secret.labels().get(name).map(String::as_str).unwrap_or_default();
    let (name, uid) = (label(labels::OWNER_NAME), label(labels::OWNER_UID));
    let (stores, namespace) = (&ctx.stores, secret.namespace());
    // By its name, which is found at once; where that is too long for a label, or of the other group, by its uid.
    let named = stores.external_secrets.by_name(namespace.as_deref(), name);
    if let Some(owner) = named.filter(|owner| owner.uid().as_deref() == Some(uid)) {
        return stores.external_secrets.wake(&owner);
    }
    let named = stores.eso_external_secrets.by_name(namespace.as_deref(), name);
    if let Some(owner) = named.filter(|owner| owner.uid().as_deref() == Some(uid)) {
        return stores.eso_external_secrets.wake(&owner);
    }
    stores.external_secrets.wake_by_uid(uid);
    stores.eso_external_secrets.wake_by_uid(uid);
}

/// Watches the objects of a kind, their metadata only, as soon as one of them is referred to, and has who refers to it
/// looked at when it changes.
pub(crate) async fn watch_referred(ctx: Arc<Context>) {
    tokio::join!(watch_kind::<ConfigMap>(&ctx, OriginKind::ConfigMap), watch_kind::<Secret>(&ctx, OriginKind::Secret));
}

async fn watch_kind<K>(ctx: &Context, kind: OriginKind)
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    loop {
        let asked = ctx.secrets.asked.notified();
        if ctx.secrets.refers_to(kind) {
            break;
        }
        asked.await;
    }
    let api: Api<PartialObjectMeta<K>> = Api::all(ctx.client.clone());
    let stream = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
    touched(stream)
        .for_each(|object| {
            for (group, namespace, name) in
                ctx.secrets.readers(kind, &object.namespace().unwrap_or_default(), &object.name_any())
            {
                ctx.stores.wake_declared(group, &namespace, &name);
            }
            std::future::ready(())
        })
        .await;
}
