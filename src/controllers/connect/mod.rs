//! 1Password Connect for all controllers: one endpoint for each (URL, token, CA), which looks for changes, fetches each
//! item once, and wakes exactly the objects that a change concerns.

mod access;
mod call;
mod endpoint;
mod fetch;
mod hold;
mod look;
mod metrics;
mod problem;
mod slot;

pub(crate) use access::selects;
pub use access::{CredentialsItem, fetch, indexed, source};
pub use endpoint::{Endpoint, Overview};
pub use fetch::Fetched;
pub use metrics::{ConnectMetrics, register};
pub use problem::{Place, file_problem, item_problem, problem};

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    api::common::{Group, Time},
    clients::connect::{Connect, Failure},
    controllers::connect::endpoint::Demand,
    core::{
        gate::Changes,
        interest::{Interest, Interests},
        names,
        problem::Problem,
        sensitive::Sensitive,
        store::StoreKey,
    },
};

/// An object that reads items, and is woken when they change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// The ExternalSecret of this group, namespace and name.
    ExternalSecret(Group, String, String),
    /// The repository object of this name, in this namespace or cluster-wide.
    Repository(Option<String>, String),
}

/// An object that has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// What reads items.
    Reader(Reader),
    /// A store.
    Store(StoreKey),
}

/// All Connect servers, and what the stores and ExternalSecrets want of them.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    wakes: Arc<Wakes>,
    /// What Prometheus scrapes.
    pub metrics: ConnectMetrics,
}

#[derive(Debug, Default)]
struct State {
    endpoints: HashMap<String, Arc<Endpoint>>,
    stores: HashMap<StoreKey, Result<Source, Problem>>,
}

/// Where a store's secrets come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The server.
    pub endpoint: Arc<Endpoint>,
    /// The store's vaults, by name or id, in its order.
    pub order: Vec<String>,
    /// How often it wants to hear of changes.
    pub interval: Duration,
    /// Where server and token are configured.
    pub place: Place,
}

/// What a store wants.
#[derive(Clone, Debug)]
pub struct Registration {
    /// URL of the server.
    pub host: String,
    /// The token.
    pub token: Sensitive,
    /// PEM certificates that alone are trusted.
    pub ca: Option<Vec<u8>>,
    /// The store's vaults, by name or id, in its order.
    pub order: Vec<String>,
    /// How often it wants to hear of changes.
    pub interval: Duration,
    /// Where server and token are configured.
    pub place: Place,
}

/// What the hub knows about a store.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Nothing yet: its controller has not looked at it. Objects of its own are woken when it has.
    Unknown,
    /// Why its server cannot be used.
    Failed(Problem),
    /// Its server.
    Found(Source),
}

impl Hub {
    /// A hub without servers, and what it wakes.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Wake>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let wakes = Arc::new(Wakes { interests: Mutex::default(), sender });
        (Arc::new(Self { state: Mutex::default(), wakes, metrics: ConnectMetrics::default() }), receiver)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where a store's secrets come from, and starts to look there. An endpoint is never changed: another URL,
    /// token or CA is another endpoint.
    pub fn register(&self, store: &StoreKey, wanted: Registration) -> Result<Source, Failure> {
        let ca = wanted.ca.as_deref().map(|ca| String::from_utf8_lossy(ca).into_owned()).unwrap_or_default();
        let token = String::from_utf8_lossy(wanted.token.expose()).trim().to_owned();
        let key = names::hash(&[&wanted.host, &token, &ca], 64);
        let mut state = self.lock();
        let known = state.endpoints.get(&key).cloned();
        let mut demand = state.demand_of(known.as_ref(), store);
        demand.stores.insert(store.clone());
        demand.vaults.extend(wanted.order.iter().cloned());
        demand.interval = demand.interval.min(wanted.interval);
        let endpoint = if let Some(endpoint) = known {
            endpoint.serve(demand);
            endpoint
        } else {
            let client = Connect::new(&wanted.host, &wanted.token, wanted.ca.as_deref())?;
            let names = (wanted.place.url.clone(), names::hash(&[&key], 8));
            let endpoint = Endpoint::new(client, names, demand, self.wakes.clone(), self.metrics.clone());
            endpoint.start();
            state.endpoints.insert(key, endpoint.clone());
            endpoint
        };
        let source = Source { endpoint, order: wanted.order, interval: wanted.interval, place: wanted.place };
        let old = state.stores.insert(store.clone(), Ok(source.clone()));
        state.drop_unused();
        drop(state);
        let same = |old: &Source| Arc::ptr_eq(&old.endpoint, &source.endpoint) && old.order == source.order;
        if !matches!(&old, Some(Ok(old)) if same(old)) {
            self.wakes.all(&BTreeSet::from([store.clone()]));
        }
        Ok(source)
    }

    /// Notes why a store's server cannot be used.
    pub fn refuse(&self, store: &StoreKey, problem: &Problem) {
        let mut state = self.lock();
        let old = state.stores.insert(store.clone(), Err(problem.clone()));
        state.drop_unused();
        drop(state);
        if !matches!(&old, Some(Err(old)) if old == problem) {
            self.wakes.all(&BTreeSet::from([store.clone()]));
        }
    }

    /// Forgets a store that is gone.
    pub fn forget_store(&self, store: &StoreKey) {
        let mut state = self.lock();
        state.stores.remove(store);
        state.drop_unused();
        drop(state);
        self.wakes.all(&BTreeSet::from([store.clone()]));
    }

    /// What is known about a store.
    pub fn lookup(&self, store: &StoreKey) -> Lookup {
        match self.lock().stores.get(store) {
            None => Lookup::Unknown,
            Some(Err(problem)) => Lookup::Failed(problem.clone()),
            Some(Ok(source)) => Lookup::Found(source.clone()),
        }
    }

    /// When the server behind a store last told all that has changed.
    pub fn looked_at(&self, store: &StoreKey) -> Option<Time> {
        match self.lookup(store) {
            Lookup::Found(source) => source.endpoint.looked_at(),
            Lookup::Unknown | Lookup::Failed(_) => None,
        }
    }

    /// What there is to measure of each server, with the first of its stores.
    fn measures(&self) -> Vec<(StoreKey, Source)> {
        let mut first: HashMap<*const Endpoint, (StoreKey, Source)> = HashMap::new();
        let state = self.lock();
        for (store, source) in &state.stores {
            let Ok(source) = source else { continue };
            let entry = first.entry(Arc::as_ptr(&source.endpoint));
            let known = entry.or_insert_with(|| (store.clone(), source.clone()));
            if *store < known.0 {
                known.0 = store.clone();
            }
        }
        drop(state);
        let mut all: Vec<_> = first.into_values().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Sets what an object needs to know about.
    pub fn interest(&self, reader: &Reader, interest: Interest) {
        self.wakes.interests().set(reader, interest);
    }

    /// Forgets an object that is gone, or reads items no more.
    pub fn forget(&self, reader: &Reader) {
        self.wakes.interests().remove(reader);
    }
}

impl State {
    /// What the other stores want of an endpoint.
    fn demand_of(&self, endpoint: Option<&Arc<Endpoint>>, except: &StoreKey) -> Demand {
        let mut demand = Demand { interval: Duration::MAX, ..Demand::default() };
        let Some(endpoint) = endpoint else { return demand };
        for (store, source) in &self.stores {
            if let Ok(source) = source
                && store != except
                && Arc::ptr_eq(&source.endpoint, endpoint)
            {
                demand.stores.insert(store.clone());
                demand.vaults.extend(source.order.iter().cloned());
                demand.interval = demand.interval.min(source.interval);
            }
        }
        demand
    }

    /// Ends the endpoints that no store uses any more.
    fn drop_unused(&mut self) {
        let stores = &self.stores;
        self.endpoints.retain(|_, endpoint| {
            let used = stores.values().flatten().any(|source| Arc::ptr_eq(&source.endpoint, endpoint));
            if !used {
                endpoint.stop();
            }
            used
        });
    }
}

/// Whom a change concerns, and how they are woken.
#[derive(Debug)]
pub struct Wakes {
    interests: Mutex<Interests<Reader>>,
    sender: mpsc::UnboundedSender<Wake>,
}

impl Wakes {
    fn interests(&self) -> MutexGuard<'_, Interests<Reader>> {
        self.interests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self, reader: Reader) {
        // The receiver lives as long as the controllers do.
        let _ = self.sender.send(Wake::Reader(reader));
    }

    fn readers(&self, readers: impl IntoIterator<Item = Reader>) {
        for reader in readers {
            self.reader(reader);
        }
    }

    fn stores(&self, stores: &BTreeSet<StoreKey>) {
        for store in stores {
            let _ = self.sender.send(Wake::Store(store.clone()));
        }
    }

    fn touched(&self, stores: &BTreeSet<StoreKey>, changes: &Changes) {
        let readers = self.interests().touched(stores, changes);
        self.readers(readers);
    }

    fn waiting(&self, stores: &BTreeSet<StoreKey>) {
        let readers = self.interests().waiting(stores);
        self.readers(readers);
    }

    fn all(&self, stores: &BTreeSet<StoreKey>) {
        let readers = self.interests().of_stores(stores);
        self.readers(readers);
    }
}
