//! One Connect server as one token sees it: looks for changes, and knows what is there.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use chrono::Utc;
use futures::{Future, FutureExt};
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    Wakes,
    metrics::{ConnectMetrics, EndpointLabels, InfoLabels, PollLabels, RequestLabels},
    slot::Slots,
};
use crate::{
    api::{
        common::Time,
        store::{ChangeDetection, DEFAULT_POLL_INTERVAL},
    },
    clients::connect::{Connect, Failure, FailureKind},
    core::{
        gate::{Changes, Gate},
        index::Index,
        item::Item,
        names,
        sensitive::Sensitive,
        store::StoreKey,
    },
};

/// How often everything is listed although nothing seems to have changed.
const FULL_INTERVAL: Duration = Duration::from_mins(10);
/// How long a server that does not answer is left alone, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// The longest wait that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
/// Items and files that are fetched at once.
const FETCHES: usize = 4;
/// How often a request is tried where trying again may help.
const TRIES: u32 = 3;

/// A Connect server as one token sees it.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) client: Connect,
    pub(super) host: String,
    pub(super) permits: Semaphore,
    pub(super) metrics: ConnectMetrics,
    pub(super) wakes: Arc<Wakes>,
    state: Mutex<State>,
    kick: Arc<Notify>,
    /// How many looks have ended.
    looks: watch::Sender<u64>,
}

/// What is known about a server.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) gate: Gate,
    pub(super) health: Health,
    pub(super) slots: Slots<Item>,
    pub(super) files: Slots<Sensitive>,
    /// Whether a fetch took so long that its objects went away, and none has ended well since.
    pub(super) slow: bool,
    /// Whether somebody forgets what was fetched after a while.
    pub(super) cleaned: bool,
    demand: Demand,
    /// Whether a look goes on.
    looking: bool,
    version: Option<String>,
    last_change_at: Option<Time>,
    next_full: Option<Instant>,
    last_look: Option<Instant>,
    looked_at: Option<Time>,
    failures: u32,
    looks: u64,
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
    /// Starts to look at a server, until the endpoint is dropped.
    pub(super) fn start(
        client: Connect,
        host: String,
        demand: Demand,
        wakes: Arc<Wakes>,
        metrics: ConnectMetrics,
    ) -> Arc<Self> {
        let endpoint = Arc::new(Self {
            client,
            host,
            permits: Semaphore::new(FETCHES),
            metrics,
            wakes,
            state: Mutex::new(State { demand, ..State::default() }),
            kick: Arc::default(),
            looks: watch::Sender::new(0),
        });
        tokio::spawn(run(Arc::downgrade(&endpoint)));
        endpoint
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self) -> EndpointLabels {
        EndpointLabels { endpoint: self.host.clone() }
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
            Health::Failed(failure) if state.last_look.is_none() => Err(Some(failure.clone())),
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

    /// Looks for changes now, whatever the versions say, and waits for the end of that at most so long. Whether it
    /// ended in time.
    pub async fn refresh(&self, patience: Duration) -> bool {
        let target = {
            let mut state = self.lock();
            state.next_full = None;
            // A look that goes on may have read before now.
            state.looks + 1 + u64::from(state.looking)
        };
        self.kick.notify_one();
        self.looked(target, patience).await
    }

    /// Waits for the first look to end, at most so long.
    pub async fn started(&self, patience: Duration) -> bool {
        self.looked(1, patience).await
    }

    async fn looked(&self, target: u64, patience: Duration) -> bool {
        let mut looks = self.looks.subscribe();
        tokio::time::timeout(patience, looks.wait_for(|looks| *looks >= target)).await.is_ok()
    }

    /// One look, and how long to wait for the next.
    async fn look(&self) -> Duration {
        let (full, wanted, first) = {
            let mut state = self.lock();
            let full = state.next_full.is_none_or(|at| at <= Instant::now());
            state.looking = true;
            (full, state.demand.vaults.clone(), state.health != Health::Good)
        };
        let (changes, result) = self.changes(&wanted, full, first).await;
        let wait = self.note(&changes, result, full);
        self.looks.send_modify(|looks| *looks += 1);
        wait
    }

    async fn changes(&self, wanted: &BTreeSet<String>, full: bool, first: bool) -> (Changes, Result<(), Failure>) {
        let answer = match self.call("vaults", || self.client.vaults(first)).await {
            Ok(answer) => answer,
            Err(failure) => return (Changes::default(), Err(failure)),
        };
        let (list, mut changes) = {
            let mut state = self.lock();
            state.version = answer.version;
            state.gate.look(answer.value, wanted, full)
        };
        for id in list {
            match self.call("items", || self.client.items(&id)).await {
                Ok(answer) => changes.extend(self.lock().gate.listed(&id, &answer.value)),
                Err(failure) if matches!(failure.kind, FailureKind::Forbidden | FailureKind::NotFound) => {
                    changes.extend(self.lock().gate.refused(&id, failure.words));
                }
                Err(failure) => return (changes, Err(failure)),
            }
        }
        (changes, Ok(()))
    }

    /// Notes what a look found, wakes whom it concerns, and says how long to wait for the next.
    fn note(&self, changes: &Changes, result: Result<(), Failure>, full: bool) -> Duration {
        let mut state = self.lock();
        let was = std::mem::take(&mut state.health);
        state.looks += 1;
        state.looking = false;
        let seed = names::hash(&[&self.host, &state.looks.to_string()], 4);
        let spread = f64::from(u16::from_str_radix(&seed, 16).unwrap_or_default()) / f64::from(u16::MAX);
        let interval = state.demand.interval;
        let wait = match result {
            Ok(()) => {
                state.health = Health::Good;
                state.failures = 0;
                state.last_look = Some(Instant::now());
                state.looked_at = Some(Utc::now());
                if full {
                    state.next_full = Some(Instant::now() + FULL_INTERVAL.mul_f64(0.9 + 0.2 * spread));
                }
                interval.mul_f64(0.9 + 0.1 * spread)
            }
            Err(failure) => {
                let wait = backoff(&failure, state.failures, interval).mul_f64(0.9 + 0.1 * spread);
                state.failures += 1;
                state.health = Health::Failed(failure);
                wait
            }
        };
        // What a first look finds is no change: nobody knows how long it has been so.
        if !changes.is_empty() && was != Health::Starting {
            state.last_change_at = Some(Utc::now());
        }
        let turned = was != state.health;
        let (stores, health) = (state.demand.stores.clone(), state.health.clone());
        self.measure(&state, changes);
        drop(state);
        if turned {
            if let Health::Failed(failure) = &health {
                tracing::warn!(endpoint = self.host, "Connect fails: {failure}");
            }
            self.wakes.waiting(&stores);
        }
        if turned || !changes.is_empty() {
            self.wakes.stores(&stores);
        }
        self.wakes.touched(&stores, changes);
        wait
    }

    fn measure(&self, state: &State, changes: &Changes) {
        let labels = self.labels();
        let metrics = &self.metrics;
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let result = match &state.health {
            Health::Good if changes.is_empty() => "unchanged",
            Health::Good => "changed",
            Health::Starting | Health::Failed(_) => "error",
        };
        metrics.polls.get_or_create(&PollLabels { endpoint: self.host.clone(), result }).inc();
        metrics.breaker.get_or_create(&labels).set(i64::from(state.health != Health::Good));
        metrics.missed.get_or_create(&labels).set(count(state.gate.missed));
        metrics.stale.get_or_create(&labels).set(count(state.gate.stale));
        if state.health == Health::Good {
            metrics.last_poll.get_or_create(&labels).set(Utc::now().timestamp());
        }
        let items: usize = state
            .gate
            .index
            .vaults
            .values()
            .map(|vault| vault.items().map_or(0, std::collections::BTreeMap::len))
            .sum();
        metrics.items.get_or_create(&labels).set(i64::try_from(items).unwrap_or(i64::MAX));
        if let Some(version) = state.version.clone() {
            metrics.info.get_or_create(&InfoLabels { endpoint: self.host.clone(), version }).set(1);
        }
    }

    /// A request, tried again where that may help and the server did answer before.
    pub(super) async fn call<T, F>(&self, op: &'static str, request: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let health = self.lock().health.clone();
        let tries = if matches!(health, Health::Failed(_)) { 1 } else { TRIES };
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            let result = request().await;
            self.metrics.duration.observe(started.elapsed().as_secs_f64());
            let code = result.as_ref().map_or_else(|failure| failure.kind.as_str(), |_| "200");
            let labels = RequestLabels { endpoint: self.host.clone(), op, code };
            self.metrics.requests.get_or_create(&labels).inc();
            let failure = match result {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let again = attempt < tries && may_help(&failure, attempt, health == Health::Starting);
            if !again {
                return Err(failure);
            }
            self.metrics.retries.inc();
            tokio::time::sleep(failure.retry_after.unwrap_or_else(|| Duration::from_millis(150 << attempt))).await;
            attempt += 1;
        }
    }
}

/// Whether to try a request again at once.
fn may_help(failure: &Failure, attempt: u32, starting: bool) -> bool {
    match failure.kind {
        FailureKind::Unreachable | FailureKind::Server => true,
        FailureKind::Busy => failure.retry_after.is_none_or(|wait| wait <= Duration::from_secs(2)),
        // Connect 1.7.1 answers it at times without a reason, and a proxy may answer while the server starts.
        FailureKind::Forbidden | FailureKind::Alien => attempt == 1,
        // The first request after a start of Connect before 1.7.2.
        FailureKind::Rejected => starting && attempt == 1,
        _ => false,
    }
}

/// How long a failing server is left alone. What somebody has to change is asked about at the usual interval.
fn backoff(failure: &Failure, failures: u32, interval: Duration) -> Duration {
    let (first, most) = BACKOFF;
    if let Some(wait) = failure.retry_after {
        return wait.clamp(first, MAX_RETRY_AFTER);
    }
    match failure.kind {
        FailureKind::Unreachable
        | FailureKind::Timeout
        | FailureKind::Busy
        | FailureKind::Server
        | FailureKind::NotReady => (first * (1 << failures.min(8))).min(most),
        _ => interval.min(DEFAULT_POLL_INTERVAL.as_std()),
    }
}

/// Looks again and again, until the endpoint is dropped.
async fn run(endpoint: Weak<Endpoint>) {
    loop {
        let Some(strong) = endpoint.upgrade() else { return };
        // A panic must not end the looks unseen: the log names the place, and it is tried again.
        let wait = AssertUnwindSafe(strong.look()).catch_unwind().await.unwrap_or(BACKOFF.1);
        let kick = strong.kick.clone();
        drop(strong);
        let _ = tokio::time::timeout(wait, kick.notified()).await;
    }
}
