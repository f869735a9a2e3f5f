//! One Connect server as one token sees it: looks for changes, and knows what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use super::{
    Reader, Wakes,
    hold::Hold,
    look,
    metrics::{ConnectMetrics, Tally},
    slot::Slots,
};
use crate::{
    api::{common::Time, store::ChangeDetection},
    clients::connect::{Connect, Failure},
    core::{
        gate::Gate,
        index::Index,
        item::Packed,
        sensitive::Sensitive,
        store::StoreKey,
        wishes::{Looks, Wishes},
    },
};

/// Items and files that are fetched at once.
const FETCHES: usize = 4;

/// A Connect server as one token sees it.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) client: Connect,
    pub(super) host: String,
    /// What differs between endpoints and holds no secret, for what is spread by chance.
    pub(super) id: String,
    /// What times are counted from.
    pub(super) born: Instant,
    pub(super) permits: Semaphore,
    pub(super) metrics: ConnectMetrics,
    pub(super) wakes: Arc<Wakes>,
    state: Mutex<State>,
    pub(super) kick: Arc<Notify>,
    /// Something has to be forgotten, or somebody woken, earlier than known.
    pub(super) sooner: Arc<Notify>,
    /// How many looks have ended.
    pub(super) looks: watch::Sender<u64>,
}

/// What is known about a server.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) gate: Gate,
    pub(super) health: Health,
    pub(super) slots: Slots<Packed>,
    pub(super) files: Slots<Sensitive>,
    /// Whether items are really gone.
    pub(super) gone: Slots<bool>,
    /// Whether items may be asked for, while the server answers looks.
    pub(super) hold: Hold,
    /// Whether a fetch took so long that its objects went away, and none has ended well since.
    pub(super) slow: bool,
    /// Whether somebody forgets what was fetched after a while.
    pub(super) cleaned: bool,
    pub(super) tally: Tally,
    pub(super) demand: Demand,
    pub(super) look: LookState,
    pub(super) version: Option<String>,
    pub(super) last_change_at: Option<Time>,
    pub(super) next_full: Option<Instant>,
    pub(super) looked_at: Option<Time>,
    pub(super) failures: u32,
}

/// How the looks for changes go.
#[derive(Debug, Default)]
pub(super) struct LookState {
    /// How many have ended.
    pub(super) ended: u64,
    /// When the present one began.
    pub(super) began: Option<Instant>,
    /// When the last one ended, and how long it took.
    pub(super) last: Option<(Instant, Duration)>,
    /// Whether one has ended well.
    pub(super) succeeded: bool,
    /// Before when the server asks not to be asked.
    pub(super) not_before: Option<Instant>,
    pub(super) wishes: Wishes,
    /// Objects that went away, with the look that they wait for.
    pub(super) waiters: BTreeMap<Reader, u64>,
}

/// What is wanted of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// The stores that it serves.
    pub(super) stores: BTreeSet<StoreKey>,
    /// The vaults that they want, by name or id.
    pub(super) vaults: BTreeSet<String>,
    /// How often to look.
    pub(super) interval: Duration,
}

/// Whether a server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    /// Not asked yet.
    #[default]
    Starting,
    /// It answered the last look.
    Good,
    /// It did not.
    Failed(Failure),
}

/// What is to be known of a server, for a store's status.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Version of the server.
    pub version: Option<String>,
    /// How changes are noticed.
    pub detection: ChangeDetection,
    /// When the last change was noticed.
    pub last_change_at: Option<Time>,
}

impl Endpoint {
    /// A server that nobody looks at yet.
    pub(super) fn new(
        client: Connect,
        (host, id): (String, String),
        demand: Demand,
        wakes: Arc<Wakes>,
        metrics: ConnectMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            host,
            id,
            born: Instant::now(),
            permits: Semaphore::new(FETCHES),
            metrics,
            wakes,
            state: Mutex::new(State { demand, ..State::default() }),
            kick: Arc::default(),
            sooner: Arc::default(),
            looks: watch::Sender::new(0),
        })
    }

    /// Starts to look at the server, until the endpoint is dropped.
    pub(super) fn start(self: &Arc<Self>) {
        tokio::spawn(look::run(Arc::downgrade(self)));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what is wanted of the server.
    pub(super) fn serve(&self, demand: Demand) {
        let mut state = self.lock();
        let more = !demand.vaults.is_subset(&state.demand.vaults);
        let sooner = demand.interval < state.demand.interval;
        state.demand = demand;
        if more {
            state.next_full = None;
        }
        drop(state);
        if more || sooner {
            self.kick.notify_one();
        }
    }

    /// Has the server asked now, because a request to it failed.
    pub(super) fn suspect(&self) {
        self.kick.notify_one();
    }

    /// Has the loop see that nobody needs the server any more.
    pub(super) fn stop(&self) {
        self.kick.notify_one();
    }

    /// What the server's items are, or why that is not known.
    pub fn with_index<T>(&self, read: impl FnOnce(&Index) -> T) -> Result<T, Option<Failure>> {
        let state = self.lock();
        match &state.health {
            Health::Starting => Err(None),
            Health::Failed(failure) if !state.look.succeeded => Err(Some(failure.clone())),
            Health::Good | Health::Failed(_) => Ok(read(&state.gate.index)),
        }
    }

    /// What is known of the server; why it does not answer, where it does not; nothing while it is asked first.
    pub fn overview(&self) -> Option<Result<Overview, Failure>> {
        let state = self.lock();
        let trusted = state.gate.is_trusted();
        match &state.health {
            Health::Starting => None,
            Health::Failed(failure) => Some(Err(failure.clone())),
            Health::Good => Some(Ok(Overview {
                version: state.version.clone(),
                detection: if trusted { ChangeDetection::VaultVersion } else { ChangeDetection::ItemList },
                last_change_at: state.last_change_at,
            })),
        }
    }

    /// When the server last told all that has changed.
    pub(super) fn looked_at(&self) -> Option<Time> {
        self.lock().looked_at
    }

    /// Looks for changes now, whatever the versions say, because somebody wishes it in these words; waits for the end
    /// of that at most so long. Whether it ended in time: if not, `reader` is woken when it ends. A server that fails is
    /// asked once for a wish, and not before it may be.
    pub async fn refresh(&self, words: &str, patience: Duration, reader: Option<&Reader>) -> bool {
        let (target, patience) = {
            let mut state = self.lock();
            let state = &mut *state;
            let looks = self.situation(state);
            let (target, kick) = state.look.wishes.ask(words, &looks, self.born.elapsed());
            if kick {
                state.next_full = None;
                self.kick.notify_one();
            }
            // While a server is slow, nobody stands in the way of what needs another one.
            let slow = state.look.began.is_some_and(|began| began.elapsed() > patience)
                || state.look.last.is_some_and(|(_, took)| took > patience);
            (target, if slow { Duration::ZERO } else { patience })
        };
        if self.looked(target, patience).await {
            return true;
        }
        let mut state = self.lock();
        let ended = state.look.ended >= target;
        if let Some(reader) = reader.filter(|_| !ended) {
            state.look.waiters.insert(reader.clone(), target);
        }
        ended
    }

    fn situation(&self, state: &State) -> Looks {
        let since = |at: Instant| at.saturating_duration_since(self.born);
        Looks {
            ended: state.look.ended,
            looking: state.look.began.is_some(),
            failing: matches!(state.health, Health::Failed(_)),
            ended_at: state.look.last.map(|(at, _)| since(at)).unwrap_or_default(),
            not_before: state.look.not_before.map(since),
        }
    }

    /// Waits for the first look to end, at most so long.
    pub async fn started(&self, patience: Duration) -> bool {
        self.looked(1, patience).await
    }

    async fn looked(&self, target: u64, patience: Duration) -> bool {
        let mut looks = self.looks.subscribe();
        tokio::time::timeout(patience, looks.wait_for(|looks| *looks >= target)).await.is_ok()
    }
}
