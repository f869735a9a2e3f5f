//! The Secrets and ConfigMaps that stores and repository objects name, with tokens, certificates and credentials: each
//! is watched, its metadata only, and has who read it look again when it changes. A token that is replaced while it
//! still works is noticed by nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Debug},
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::controllers::{connect::Wake, context::Context, wake};

/// Something with credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// The Secret of that namespace and name.
    Secret(String, String),
    /// The ConfigMap of that namespace and name.
    ConfigMap(String, String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(namespace, name) => write!(f, "Secret {namespace}/{name}"),
            Self::ConfigMap(namespace, name) => write!(f, "ConfigMap {namespace}/{name}"),
        }
    }
}

/// What was read, and in which version; none where it was not there.
pub(crate) type Reads = Vec<(Place, Option<String>)>;

/// What holds credentials, and who read it.
#[derive(Debug)]
pub(crate) struct Credentials {
    readers: Mutex<Readers<Wake>>,
    /// What is watched.
    places: watch::Sender<BTreeSet<Place>>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { readers: Mutex::new(Readers(BTreeMap::new())), places: watch::Sender::default() }
    }
}

impl Credentials {
    /// Notes what an object read; nothing of one that is gone.
    pub(crate) fn read(&self, reader: &Wake, reads: Reads) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.set(reader, reads);
        let places: BTreeSet<Place> = readers.0.keys().cloned().collect();
        drop(readers);
        self.places.send_if_modified(|old| {
            let differ = *old != places;
            *old = places;
            differ
        });
    }

    fn behind(&self, place: &Place, version: Option<&str>) -> Vec<Wake> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).behind(place, version)
    }
}

/// Who read what, and in which version.
#[derive(Debug)]
struct Readers<R>(BTreeMap<Place, Vec<(R, Option<String>)>>);

impl<R: Clone + PartialEq> Readers<R> {
    fn set(&mut self, reader: &R, reads: Reads) {
        self.0.retain(|_, readers| {
            readers.retain(|(other, _)| other != reader);
            !readers.is_empty()
        });
        for (place, version) in reads {
            let readers = self.0.entry(place).or_default();
            if !readers.iter().any(|(other, _)| other == reader) {
                readers.push((reader.clone(), version));
            }
        }
    }

    /// Who read another version than the present one.
    fn behind(&self, place: &Place, version: Option<&str>) -> Vec<R> {
        let readers = self.0.get(place).into_iter().flatten();
        readers.filter(|(_, read)| read.as_deref() != version).map(|(reader, _)| reader.clone()).collect()
    }
}

/// Watches what was read, as long as somebody needs it.
pub(crate) async fn watch_credentials(ctx: Arc<Context>) {
    let mut places = ctx.credentials.places.subscribe();
    // They end with this set.
    let mut watches = JoinSet::new();
    let mut running: HashMap<Place, AbortHandle> = HashMap::new();
    loop {
        let wanted = places.borrow_and_update().clone();
        running.retain(|place, watch| {
            let is_wanted = wanted.contains(place);
            if !is_wanted {
                watch.abort();
            }
            is_wanted
        });
        for place in wanted {
            running.entry(place.clone()).or_insert_with(|| match &place {
                Place::Secret(..) => watches.spawn(watch_one::<Secret>(ctx.clone(), place)),
                Place::ConfigMap(..) => watches.spawn(watch_one::<ConfigMap>(ctx.clone(), place)),
            });
        }
        while watches.try_join_next().is_some() {}
        if places.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_one<K>(ctx: Arc<Context>, place: Place)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static,
{
    let (Place::Secret(namespace, name) | Place::ConfigMap(namespace, name)) = &place;
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(ctx.client.clone(), namespace);
    let stream = watcher(api, watcher::Config::default().fields(&format!("metadata.name={name}"))).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listed = None;
    while let Some(event) = stream.next().await {
        let version = match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed = object.resource_version();
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take(),
            Ok(watcher::Event::Apply(object)) => object.resource_version(),
            Ok(watcher::Event::Delete(_)) => None,
            Err(error) => {
                tracing::warn!(%error, ?place, "watch failed; it is tried again");
                continue;
            }
        };
        for reader in ctx.credentials.behind(&place, version.as_deref()) {
            wake::wake(&ctx.stores, reader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_read_another_version_looks_again() {
        let place = |name: &str| Place::Secret("media".into(), name.into());
        let version = |text: &str| Some(text.to_owned());
        let mut readers = Readers(BTreeMap::new());
        readers.set(&"one", vec![(place("token"), version("1")), (place("ca"), None)]);
        readers.set(&"two", vec![(place("token"), version("2"))]);
        assert_eq!(readers.behind(&place("token"), Some("2")), ["one"]);
        assert_eq!(readers.behind(&place("token"), None), ["one", "two"], "it was deleted");
        assert_eq!(readers.behind(&place("ca"), None), [""; 0], "it is missed already");
        assert_eq!(readers.behind(&place("ca"), Some("1")), ["one"], "it was made");
        assert_eq!(readers.behind(&place("other"), Some("1")), [""; 0]);
        readers.set(&"one", vec![(place("token"), version("2")), (place("token"), None)]);
        assert_eq!(readers.behind(&place("token"), Some("2")), [""; 0]);
        readers.set(&"two", vec![]);
        readers.set(&"one", vec![]);
        assert!(readers.0.is_empty(), "what nobody needs is not watched");
    }
}
