//! What is known of External Secrets Operator in this cluster, and what is remembered of it when we start again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::pushes::{self, Pushes};
use crate::{
    api::common::ESO_GROUP,
    clients::cluster,
    controllers::{context::Context, key},
    core::{
        store::StoreKey,
        takeover::{self, Hold, Holds, Users},
    },
};

/// How often it is looked whether ESO's kinds are there.
const INTERVAL: Duration = Duration::from_secs(15);
/// ESO's kinds of store.
const STORES: [&str; 2] = ["SecretStore", "ClusterSecretStore"];
/// Its kind of ExternalSecrets.
const DECLARES: &str = "ExternalSecret";

/// What of ESO's is ours.
#[derive(Debug)]
pub struct Takeover {
    /// Which of ESO's kinds are there.
    pub(super) served: watch::Sender<BTreeSet<&'static str>>,
    /// Whether it has been seen that its ExternalSecrets are not there.
    absent: AtomicBool,
    pub(super) known: watch::Sender<Known>,
    /// The ExternalSecrets that nobody reconciles because of us, by uid.
    mixed: Mutex<HashSet<String>>,
    /// The change after which the ExternalSecrets have been listed.
    pub(super) listed: AtomicU64,
    pub(super) pushes: Pushes,
    /// Who uses the stores that are ours may have changed.
    pub(super) recount: Notify,
    /// Who uses them, as their statuses say.
    told: Mutex<HashMap<StoreKey, Users>>,
}

/// What is known of ESO's stores.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// How often they have changed hands.
    pub(super) changes: u64,
    /// Those that matter.
    pub(super) holds: Holds,
    /// Whether its ExternalSecrets are there.
    is_served: bool,
    /// The kinds of store that have been listed, or are not there.
    listed: BTreeSet<&'static str>,
    /// Whether something has been taken over, perhaps before we started.
    taken: bool,
}

impl Known {
    /// Whether all stores are known. Before, what is ours would seem to be nobody's.
    pub(super) fn is_complete(&self) -> bool {
        self.is_served && self.listed.len() == STORES.len()
    }

    /// Whether ESO's ExternalSecrets matter: while no store is ours and nothing was, none is even read.
    pub(super) fn matters(&self) -> bool {
        self.is_complete() && (self.taken || !self.holds.is_empty())
    }

    /// Whether it is to be remembered that something was taken over. `is_left` says that no ExternalSecret of ours is
    /// there any more.
    fn remembers(&self, is_absent: bool, is_left: bool) -> bool {
        !self.holds.is_empty() || (self.taken && !is_absent && !(self.is_complete() && is_left))
    }
}

impl Takeover {
    /// Nothing is known but whether something was taken over before.
    pub(crate) fn new(taken: bool) -> Self {
        Self {
            served: watch::Sender::default(),
            absent: AtomicBool::new(false),
            known: watch::Sender::new(Known { taken, ..Known::default() }),
            mixed: Mutex::default(),
            listed: AtomicU64::new(u64::MAX),
            pushes: Pushes::default(),
            recount: Notify::new(),
            told: Mutex::default(),
        }
    }

    pub(super) fn known(&self) -> watch::Ref<'_, Known> {
        self.known.borrow()
    }

    /// Notes what a store is to us.
    pub(crate) fn hold(&self, store: &StoreKey, hold: Option<Hold>) {
        self.known.send_if_modified(|known| {
            let old = match hold {
                Some(hold) => known.holds.insert(store.clone(), hold),
                None => known.holds.remove(store),
            };
            known.changes += u64::from(old != hold);
            old != hold
        });
    }

    pub(super) fn mixed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.mixed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which users the status of a store tells of; none, where it is gone.
    pub(crate) fn tell(&self, store: &StoreKey, users: Option<Users>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match users {
            Some(users) => told.insert(store.clone(), users),
            None => told.remove(store),
        };
    }

    pub(super) fn told(&self, store: &StoreKey) -> Option<Users> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get(store).cloned()
    }

    pub(crate) fn held(&self, store: &StoreKey) -> Option<Hold> {
        self.known().holds.get(store).copied()
    }

    /// The stores that are ours.
    pub(super) fn ours(&self) -> Vec<StoreKey> {
        let known = self.known();
        known.holds.iter().filter(|(_, hold)| **hold == Hold::Ours).map(|(store, _)| store.clone()).collect()
    }

    /// Whether ESO's ExternalSecrets may be in the cluster: until it is seen that they are not.
    pub(crate) fn may_be_there(&self) -> bool {
        !self.absent.load(Ordering::SeqCst)
    }

    /// Notes that all stores of a kind have been listed.
    pub(crate) fn listed_stores(&self, kind: &str) {
        // Where the kind is not there, an empty list is made up.
        let kind = self.served.borrow().get(kind).copied();
        self.change(|known| known.listed.extend(kind));
    }

    /// Changes what decides whether ESO's ExternalSecrets matter. Only then is anybody told.
    fn change(&self, change: impl FnOnce(&mut Known)) {
        self.known.send_if_modified(|known| {
            let before = known.matters();
            change(known);
            known.matters() != before
        });
    }

    /// Notes which of ESO's kinds are there. When its chart is uninstalled, they go one after the other.
    fn note(&self, is_served: impl Fn(&str) -> bool) {
        let is_there = is_served(DECLARES);
        self.absent.store(!is_there, Ordering::SeqCst);
        let served: BTreeSet<&'static str> =
            [DECLARES].into_iter().chain(STORES).filter(|kind| is_served(kind)).collect();
        if *self.served.borrow() == served && self.known().is_served == is_there {
            return;
        }
        self.known.send_if_modified(|known| {
            let before = known.matters();
            known.is_served = is_there;
            // All that are there are listed anew, and so are the ExternalSecrets.
            known.changes += 1;
            known.listed = STORES.into_iter().filter(|kind| !served.contains(kind)).collect();
            let had = !is_there && !std::mem::take(&mut known.holds).is_empty();
            had || known.matters() != before
        });
        self.served.send_replace(served);
    }

    /// Whether every ExternalSecret that concerns us is known, since the stores are what they are.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst) == self.known().changes
    }
}

/// Sees whether ESO's kinds are in the cluster.
pub(crate) async fn discover(ctx: Arc<Context>) {
    let version = format!("{ESO_GROUP}/v1");
    loop {
        match ctx.client.list_api_group_resources(&version).await {
            Ok(list) => ctx.takeover.note(|kind| list.resources.iter().any(|resource| resource.kind == kind)),
            Err(kube::Error::Api(status)) if cluster::is_absent(&status) => ctx.takeover.note(|_| false),
            // The API does not answer: nothing is known that was not known before.
            Err(error) => tracing::debug!(%error, "cannot see whether ESO's kinds are there"),
        }
        sleep(INTERVAL).await;
    }
}

/// Sees to what goes with stores that are ours: the PushSecrets, and that it is remembered.
pub(crate) async fn follow(ctx: Arc<Context>) {
    let mut known = ctx.takeover.known.subscribe();
    loop {
        pushes::discover(&ctx).await;
        remember(&ctx).await;
        tokio::select! {
            () = sleep(INTERVAL) => {}
            _ = known.changed() => {}
        }
    }
}

/// Remembers, where a restart does not forget it, that something was taken over. ExternalSecrets whose store is deleted
/// tell of themselves only where they are read, and they are not read without a reason.
async fn remember(ctx: &Context) {
    let of = &ctx.takeover;
    let is_left =
        of.is_listed() && !ctx.stores.eso_external_secrets.store.state().iter().any(|one| takeover::is_marked(one));
    let (taken, wanted) = {
        let known = of.known();
        (known.taken, known.remembers(!of.may_be_there(), is_left))
    };
    if taken == wanted {
        return;
    }
    match key::note_taken_over(&ctx.own(), wanted).await {
        Ok(()) => of.change(|known| known.taken = wanted),
        Err(error) => tracing::warn!(%error, "what was taken over cannot be noted; it is tried again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::Group;

    #[test]
    fn what_was_taken_over_is_remembered_until_nothing_is_left() {
        let store = StoreKey { group: Group::ExternalSecrets, namespace: None, name: "one".into() };
        let takeover = Takeover::new(true);
        let matters = |takeover: &Takeover| takeover.known().matters();
        takeover.note(|_| true);
        takeover.listed_stores("SecretStore");
        assert!(!matters(&takeover), "not all stores are known");
        takeover.listed_stores("ClusterSecretStore");
        assert!(matters(&takeover), "its store may be deleted");
        let remembers = |is_absent, is_left| takeover.known().remembers(is_absent, is_left);
        assert!(remembers(false, false) && !remembers(false, true) && !remembers(true, false));
        takeover.hold(&store, Some(Hold::Ours));
        assert!(remembers(false, true), "its store is ours");
        takeover.note(|kind| kind != "SecretStore");
        assert!(!matters(&takeover) && takeover.held(&store).is_some(), "the stores have to be listed again");
        takeover.listed_stores("SecretStore");
        takeover.listed_stores("ClusterSecretStore");
        assert!(matters(&takeover), "of a kind that is not there, there are none");
        takeover.note(|kind| kind == "ExternalSecret");
        assert!(matters(&takeover), "ESO is being uninstalled, and nobody else lets them go");
        takeover.note(|_| false);
        assert!(takeover.held(&store).is_none() && !takeover.may_be_there());
    }

    #[test]
    fn where_nothing_was_taken_over_nothing_is_read() {
        let takeover = Takeover::new(false);
        takeover.listed_stores("SecretStore");
        assert!(!takeover.known().is_complete(), "ESO is not there");
        takeover.note(|_| true);
        takeover.listed_stores("SecretStore");
        takeover.listed_stores("ClusterSecretStore");
        assert!(!takeover.known().matters() && !takeover.is_listed());
    }
}
