//! Has objects looked at because of something else: a child that changed, an item in 1Password.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

use crate::{
    api::{
        MANAGER,
        backup::VolumeBackup,
        common::Group,
        labels,
        repository::{ClusterResticRepository, ResticRepository},
        restore::VolumeRestore,
    },
    controllers::{
        connect::{Reader, Wake},
        context::{Context, Stores},
        runner::Reconcile,
    },
    core::store::StoreKey,
};

/// Watches the children of these kinds (their metadata only) and has the owner looked at when one changes.
pub(crate) async fn children<C>(ctx: Arc<Context>, api: Api<PartialObjectMeta<C>>, kinds: &[&str])
where
    C: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let selector = format!("{}={MANAGER},{} in ({})", labels::MANAGED_BY, labels::OWNER_KIND, kinds.join(","));
    let config = watcher::Config::default().labels(&selector).page_size(100);
    let stream = watcher(api, config).default_backoff();
    touched(stream)
        .for_each(|child| {
            let label = |name| child.labels().get(name).map(String::as_str).unwrap_or_default();
            wake_owner(&ctx.stores, label(labels::OWNER_KIND), label(labels::OWNER_UID));
            std::future::ready(())
        })
        .await;
}

fn wake_owner(stores: &Stores, kind: &str, uid: &str) {
    match kind {
        ResticRepository::KIND => stores.repositories.wake_by_uid(uid),
        ClusterResticRepository::KIND => stores.cluster_repositories.wake_by_uid(uid),
        VolumeBackup::KIND => stores.backups.wake_by_uid(uid),
        VolumeRestore::KIND => stores.restores.wake_by_uid(uid),
        _ => {}
    }
}

/// The objects of a watch that appeared, changed or vanished.
pub(crate) fn touched<K: Clone>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
) -> impl Stream<Item = K> {
    stream.filter_map(|event| {
        std::future::ready(match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object) | watcher::Event::Delete(object)) => {
                Some(object)
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Err(error) => {
                tracing::warn!(%error, "watch of children failed; it is tried again");
                None
            }
        })
    })
}

/// Has the objects looked at that the hub wakes.
pub(crate) async fn forward(ctx: Arc<Context>, mut wakes: mpsc::UnboundedReceiver<Wake>) {
    while let Some(woken) = wakes.recv().await {
        wake(&ctx.stores, woken);
    }
}

/// Has an object looked at now.
pub(crate) fn wake(stores: &Stores, wake: Wake) {
    match wake {
        Wake::Reader(Reader::ExternalSecret(group, namespace, name)) => {
            stores.wake_declared(group, &namespace, &name);
        }
        Wake::Reader(Reader::Repository(Some(namespace), name)) => {
            stores.repositories.wake_by_name(Some(&namespace), &name);
        }
        Wake::Reader(Reader::Repository(None, name)) => {
            stores.cluster_repositories.wake_by_name(None, &name);
        }
        Wake::Store(StoreKey { group, namespace, name }) => {
            let namespace = namespace.as_deref();
            match (group, namespace) {
                (Group::Strongroom, Some(_)) => stores.secret_stores.wake_by_name(namespace, &name),
                (Group::Strongroom, None) => stores.cluster_secret_stores.wake_by_name(None, &name),
                (Group::ExternalSecrets, Some(_)) => stores.eso_secret_stores.wake_by_name(namespace, &name),
                (Group::ExternalSecrets, None) => stores.eso_cluster_secret_stores.wake_by_name(None, &name),
            }
        }
    }
}
