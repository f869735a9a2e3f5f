//! The labels of namespaces, by which a store may admit them: watched, their metadata only, as soon as a store needs
//! them, so that a look at an ExternalSecret reads none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    api::{common::StoreRef, external_secret::ExternalSecret},
    controllers::{connect::selects, context::Context},
    core::{
        problem::{Problem, Reason},
        secret,
        store::StoreKey,
        takeover,
    },
};

type Labels = BTreeMap<String, String>;

/// How long the first list of namespaces is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects in a page of a list.
const PAGE: u32 = 50;

/// The labels of all namespaces, where a store needs them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    needed: watch::Sender<bool>,
    filled: watch::Sender<bool>,
    labels: Mutex<HashMap<String, Labels>>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { needed: watch::Sender::new(false), filled: watch::Sender::new(false), labels: Mutex::default() }
    }
}

impl Namespaces {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Labels>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The labels of a namespace. Nothing while the watch has not told of it: its objects are woken when it has.
    pub(crate) async fn labels(&self, namespace: &str) -> Result<Option<Labels>, Problem> {
        self.needed.send_if_modified(|needed| !std::mem::replace(needed, true));
        let mut filled = self.filled.subscribe();
        // Never decided on what is not complete: a namespace without labels would be one that is not known yet.
        if timeout(PATIENCE, filled.wait_for(|filled| *filled)).await.is_err() {
            let message = "the namespaces of the cluster cannot be listed: see the operator's log";
            return Err(Problem::new(Reason::ClusterError, message));
        }
        Ok(self.all().get(namespace).cloned())
    }

    /// Notes a namespace's labels. Whether they are news.
    fn note(&self, namespace: &PartialObjectMeta<Namespace>) -> bool {
        let labels = namespace.labels().clone();
        let old = self.all().insert(namespace.name_any(), labels.clone());
        old.as_ref() != Some(&labels) && *self.filled.borrow()
    }
}

/// Watches the namespaces as soon as a store needs their labels, and has the objects of one looked at whose labels
/// change, where a store of theirs goes by them.
pub(crate) async fn watch_namespaces(ctx: Arc<Context>) {
    let of = &ctx.namespaces;
    if of.needed.subscribe().wait_for(|needed| *needed).await.is_err() {
        return;
    }
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
    let stream = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(namespace)) => {
                listed.insert(namespace.name_any());
                if of.note(&namespace) {
                    wake(&ctx, &namespace.name_any());
                }
            }
            Ok(watcher::Event::InitDone) => {
                of.all().retain(|name, _| listed.contains(name));
                of.filled.send_replace(true);
            }
            Ok(watcher::Event::Apply(namespace)) => {
                if of.note(&namespace) {
                    wake(&ctx, &namespace.name_any());
                }
            }
            Ok(watcher::Event::Delete(namespace)) => drop(of.all().remove(&namespace.name_any())),
            Err(error) => tracing::warn!(%error, "watch of namespaces failed; it is tried again"),
        }
    }
}

/// Has the objects of a namespace looked at that refer to a store which admits by labels.
fn wake(ctx: &Context, namespace: &str) {
    let here = |of: Option<String>| of.as_deref() == Some(namespace);
    let goes_by_labels = |store: &StoreRef| selects(ctx, &StoreKey::of(store, namespace));
    let declares = |object: &ExternalSecret| {
        secret::wanted(&object.spec).unwrap_or_default().iter().any(|wanted| goes_by_labels(&wanted.store))
    };
    ctx.stores.external_secrets.wake_where(|object| here(object.namespace()) && declares(object));
    ctx.stores.eso_external_secrets.wake_where(|object| {
        here(object.namespace()) && takeover::declared(object).is_ok_and(|object| declares(&object))
    });
    ctx.stores.repositories.wake_where(|object| {
        let item = object.spec.repository.credentials.onepassword.as_ref();
        here(object.namespace()) && item.is_some_and(|item| goes_by_labels(&item.store_ref))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, label: &str) -> PartialObjectMeta<Namespace> {
        let metadata = serde_json::json!({"name": name, "labels": {"secrets": label}});
        serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_told_before_all_is_known() {
        let namespaces = Namespaces::default();
        assert!(!*namespaces.needed.borrow(), "no store needs them");
        assert!(!namespaces.note(&namespace("media", "yes")), "at first nobody has to look again");
        let problem = namespaces.labels("media").await.unwrap_err();
        assert_eq!(problem.reason, Reason::ClusterError);
        assert!(*namespaces.needed.borrow());
        namespaces.filled.send_replace(true);
        assert_eq!(namespaces.labels("media").await.unwrap().unwrap()["secrets"], "yes");
        assert_eq!(namespaces.labels("new").await.unwrap(), None);
        assert!(namespaces.note(&namespace("new", "yes")), "a new one is told of");
        assert!(!namespaces.note(&namespace("media", "yes")));
        assert!(namespaces.note(&namespace("media", "no")), "so is a change");
    }
}
