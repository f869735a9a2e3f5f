//! Items with their values: each is fetched once, however many objects need it, and forgotten soon.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::{
    Reader,
    endpoint::{Endpoint, Health},
};
use crate::{
    clients::connect::{Failure, FailureKind, MAX_FILE},
    core::{
        index::Found,
        item::{File, Item},
        sensitive::Sensitive,
    },
};

/// How long a value is kept after it was last used.
const KEEP: Duration = Duration::from_secs(10);
/// How long a value is kept at most.
const KEEP_AT_MOST: Duration = Duration::from_mins(1);
/// A value that was fetched so short a time ago counts as one of now, and so does a failure.
const RECENT: Duration = Duration::from_secs(2);
/// How long an object waits for an item before it makes room for others; it is woken when the item is there.
const PATIENCE: Duration = Duration::from_secs(1);

type Fetch = Result<Arc<Item>, Failure>;
/// Items that are being fetched or were fetched just now, by vault and item.
pub(super) type Slots = HashMap<(String, String), Slot>;

/// An item that is being fetched or was fetched just now.
#[derive(Debug, Default)]
pub(super) struct Slot {
    flight: Option<Shared<BoxFuture<'static, Fetch>>>,
    done: Option<Done>,
    /// Objects that went away while the item was fetched.
    waiters: BTreeSet<Reader>,
}

#[derive(Debug)]
struct Done {
    result: Fetch,
    fetched: Instant,
    used: Instant,
}

/// What comes of asking for an item.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The item, at least as new as listed.
    Item(Arc<Item>),
    /// It takes longer: the object is woken when it is there.
    Later,
    /// It cannot be fetched.
    Failed(Failure),
}

impl Endpoint {
    /// An item with its values. `fresh` asks the server even if the item was fetched a little while ago; `reader` is
    /// woken when it takes longer.
    pub async fn item(self: &Arc<Self>, found: &Found, fresh: bool, reader: &Reader) -> Fetched {
        let key = (found.vault.clone(), found.item.clone());
        let flight = {
            let mut state = self.lock();
            let health = state.health.clone();
            let slot = state.slots.entry(key.clone()).or_default();
            if let Some(result) = slot.usable(found.version, fresh) {
                self.metrics.coalesced.inc();
                return result.map_or_else(Fetched::Failed, Fetched::Item);
            }
            match (&slot.flight, health) {
                (Some(flight), _) => {
                    self.metrics.coalesced.inc();
                    flight.clone()
                }
                (None, Health::Failed(failure)) => return Fetched::Failed(failure),
                (None, Health::Good | Health::Starting) => {
                    let flight = fetch(self.clone(), found.clone()).boxed().shared();
                    slot.flight = Some(flight.clone());
                    // It goes on when nobody waits for it any more.
                    tokio::spawn(flight.clone());
                    flight
                }
            }
        };
        if let Ok(result) = tokio::time::timeout(PATIENCE, flight).await {
            return result.map_or_else(Fetched::Failed, Fetched::Item);
        }
        let mut state = self.lock();
        match state.slots.get_mut(&key) {
            Some(slot) if slot.flight.is_some() => {
                slot.waiters.insert(reader.clone());
                Fetched::Later
            }
            // It ended in this moment.
            _ => {
                self.wakes.reader(reader.clone());
                Fetched::Later
            }
        }
    }

    /// The content of a file.
    pub async fn file(&self, found: &Found, file: &File) -> Result<Sensitive, Failure> {
        if file.size > MAX_FILE as u64 {
            let words = format!("it has {} bytes; a Kubernetes Secret holds at most 1 MiB", file.size);
            return Err(Failure::new(FailureKind::TooLarge, words));
        }
        if let Health::Failed(failure) = &self.lock().health {
            return Err(failure.clone());
        }
        let _permit = self.permits.acquire().await;
        self.call("file", || self.client.file(&found.vault, &found.item, &file.id)).await
    }

    /// Forgets values that were not used for a while. Whether any are left.
    fn purge(&self) -> bool {
        let mut state = self.lock();
        state.slots.retain(|_, slot| {
            slot.flight.is_some()
                || slot.done.as_ref().is_some_and(|d| d.used.elapsed() < KEEP && d.fetched.elapsed() < KEEP_AT_MOST)
        });
        !state.slots.is_empty()
    }
}

impl Slot {
    /// What was fetched, where that is good enough.
    fn usable(&mut self, version: i64, fresh: bool) -> Option<Fetch> {
        let done = self.done.as_mut()?;
        let recent = done.fetched.elapsed() < RECENT;
        let usable = match &done.result {
            Ok(item) => {
                let kept = done.used.elapsed() < KEEP && done.fetched.elapsed() < KEEP_AT_MOST;
                item.version >= version && (recent || (kept && !fresh))
            }
            Err(_) => recent,
        };
        if !usable {
            return None;
        }
        done.used = Instant::now();
        Some(done.result.clone())
    }
}

/// Fetches an item, notes it, and wakes those who went away meanwhile.
async fn fetch(endpoint: Arc<Endpoint>, found: Found) -> Fetch {
    let result = {
        let _permit = endpoint.permits.acquire().await;
        endpoint.call("item", || endpoint.client.item(&found.vault, &found.item)).await
    };
    let result = result.and_then(|answer| {
        let item = answer.value;
        if item.version < found.version {
            let (has, listed) = (item.version, found.version);
            let words = format!("item {:?} is served in version {has}, although {listed} is listed", found.title);
            return Err(Failure::new(FailureKind::Busy, words));
        }
        Ok(Arc::new(item))
    });
    match &result {
        Ok(_) => {
            endpoint.metrics.fetched.inc();
        }
        Err(failure) if matches!(failure.kind, FailureKind::Unreachable | FailureKind::Timeout) => endpoint.suspect(),
        Err(_) => {}
    }
    let now = Instant::now();
    let (waiters, is_first) = {
        let mut state = endpoint.lock();
        let is_first = state.slots.values().all(|slot| slot.done.is_none());
        let slot = state.slots.entry((found.vault, found.item)).or_default();
        slot.flight = None;
        slot.done = Some(Done { result: result.clone(), fetched: now, used: now });
        (std::mem::take(&mut slot.waiters), is_first)
    };
    if is_first {
        tokio::spawn(keep_clean(Arc::downgrade(&endpoint)));
    }
    for reader in waiters {
        endpoint.wakes.reader(reader);
    }
    result
}

/// Forgets values until none is left.
async fn keep_clean(endpoint: Weak<Endpoint>) {
    loop {
        tokio::time::sleep(KEEP).await;
        if !endpoint.upgrade().is_some_and(|endpoint| endpoint.purge()) {
            return;
        }
    }
}
