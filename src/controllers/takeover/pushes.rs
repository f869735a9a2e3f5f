//! The PushSecrets of the cluster, watched only while a store of ESO's is ours: such a store says which stay behind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use super::is_there;
use crate::{
    api::{
        common::ESO_GROUP,
        eso::{PushSecret, PushSecretSpec},
    },
    clients::{cluster, guarded::Guarded},
    controllers::{context::Context, runner::PAGE},
};

/// Namespace and name.
type Place = (String, String);

/// The PushSecrets, as far as they matter.
#[derive(Debug)]
pub(super) struct Pushes {
    /// Whether they are there, and a store is ours.
    watched: watch::Sender<bool>,
    pub(super) listed: watch::Sender<Listed>,
    all: Mutex<BTreeMap<Place, PushSecretSpec>>,
}

/// Whether the PushSecrets are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    NotYet,
    Failed,
    Done,
}

impl Default for Pushes {
    fn default() -> Self {
        Self { watched: watch::Sender::new(false), listed: watch::Sender::new(Listed::NotYet), all: Mutex::default() }
    }
}

impl Pushes {
    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<Place, PushSecretSpec>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether they are to be watched, and what that means until they are.
    fn watch(&self, watched: bool, listed: Listed) {
        if self.watched.send_if_modified(|old| std::mem::replace(old, watched) != watched) || !watched {
            self.all().clear();
            self.listed.send_replace(listed);
        }
    }

    /// What the watch tells.
    fn note(&self, event: watcher::Event<Guarded<PushSecret>>) {
        let place = |object: &PushSecret| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            watcher::Event::Init => self.all().clear(),
            watcher::Event::Apply(Guarded(Ok(object))) | watcher::Event::InitApply(Guarded(Ok(object))) => {
                let place = place(&object);
                self.all().insert(place, object.spec);
            }
            watcher::Event::Delete(Guarded(Ok(object))) => drop(self.all().remove(&place(&object))),
            watcher::Event::InitDone => drop(self.listed.send_replace(Listed::Done)),
            // Which stores such a one means is not known to ESO either.
            watcher::Event::Apply(_) | watcher::Event::InitApply(_) | watcher::Event::Delete(_) => {}
        }
    }
}

/// Sees whether PushSecrets are to be watched: while a store is ours, and where ESO has such a kind.
pub(super) async fn discover(ctx: &Context) {
    let of = &ctx.takeover.pushes;
    if !ctx.takeover.ours().iter().any(|store| is_there(ctx, store)) {
        return of.watch(false, Listed::NotYet);
    }
    if *of.watched.borrow() {
        return;
    }
    match ctx.client.list_api_group_resources(&format!("{ESO_GROUP}/v1alpha1")).await {
        Ok(list) if list.resources.iter().any(|resource| resource.kind == "PushSecret") => {
            of.watch(true, Listed::NotYet);
        }
        Ok(_) => of.watch(false, Listed::Done),
        Err(kube::Error::Api(status)) if cluster::is_absent(&status) => of.watch(false, Listed::Done),
        Err(error) => {
            tracing::warn!(%error, "cannot see whether PushSecrets are there; it is tried again");
            of.watch(false, Listed::Failed);
        }
    }
    ctx.takeover.recount.notify_one();
}

/// Watches the PushSecrets while that is wanted.
pub(crate) async fn watch_pushes(ctx: Arc<Context>) {
    let of = &ctx.takeover.pushes;
    let mut watched = of.watched.subscribe();
    loop {
        if watched.wait_for(|watched| *watched).await.is_err() {
            return;
        }
        let mut unwanted = of.watched.subscribe();
        tokio::select! {
            _ = unwanted.wait_for(|watched| !*watched) => {}
            () = follow(&ctx, of) => {}
        }
    }
}

/// Ends when the kind is gone.
async fn follow(ctx: &Context, of: &Pushes) {
    let api: Api<Guarded<PushSecret>> = Api::all(ctx.client.clone());
    let stream = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => of.note(event),
            Err(error) if is_gone(&error) => return of.watch(false, Listed::Done),
            Err(error) => {
                tracing::warn!(%error, "watch of PushSecrets failed; it is tried again");
                of.listed.send_if_modified(|listed| {
                    let is_new = *listed == Listed::NotYet;
                    if is_new {
                        *listed = Listed::Failed;
                    }
                    is_new
                });
            }
        }
        ctx.takeover.recount.notify_one();
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    let (InitialListFailed(kube::Error::Api(status))
    | WatchStartFailed(kube::Error::Api(status))
    | WatchFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    cluster::is_absent(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(name: &str) -> Guarded<PushSecret> {
        let metadata = serde_json::json!({"name": name, "namespace": "media"});
        let object = serde_json::json!({"metadata": metadata, "spec": {"secretStoreRefs": [{"name": "one"}]}});
        Guarded(Ok(serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn what_is_not_listed_is_not_known() {
        let pushes = Pushes::default();
        let listed = || *pushes.listed.borrow();
        pushes.watch(true, Listed::NotYet);
        pushes.note(watcher::Event::Init);
        pushes.note(watcher::Event::InitApply(push("a")));
        assert_eq!(listed(), Listed::NotYet);
        pushes.note(watcher::Event::InitDone);
        pushes.note(watcher::Event::Apply(push("b")));
        pushes.note(watcher::Event::Delete(push("a")));
        assert_eq!(listed(), Listed::Done);
        assert_eq!(pushes.all().keys().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["b"]);
        pushes.watch(false, Listed::NotYet);
        assert!(pushes.all().is_empty() && listed() == Listed::NotYet, "no store is ours any more");
    }
}
