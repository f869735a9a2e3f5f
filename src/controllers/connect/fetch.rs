//! Items with their values: each is fetched once, however many objects need it, and forgotten soon.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures::FutureExt;

use super::{
    Reader,
    endpoint::{Endpoint, Health},
    slot::{Done, Fetch, KEEP},
};
use crate::{
    clients::connect::{Failure, FailureKind, MAX_FILE},
    core::{
        index::Found,
        item::{File, Item},
        sensitive::Sensitive,
    },
};

/// What is said after a panic.
const FAILED: &str = "the operator itself failed here; its log names the place";
/// How long an object waits for an item before it makes room for others; it is woken when the item is there.
const PATIENCE: Duration = Duration::from_secs(1);

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

    /// Whether an item is really gone, which only the server's own answer to its id tells.
    pub async fn is_gone(&self, vault: &str, item: &str) -> Result<bool, Failure> {
        if let Health::Failed(failure) = &self.lock().health {
            return Err(failure.clone());
        }
        let _permit = self.permits.acquire().await;
        match self.call("item", || self.client.item(vault, item)).await {
            Ok(answer) => Ok(answer.value.state.as_deref().is_some_and(|state| !state.is_empty())),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(true),
            Err(failure) => Err(failure),
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
        state.slots.retain(|_, slot| slot.is_of_use());
        !state.slots.is_empty()
    }
}

/// Fetches an item, notes it, and wakes those who went away meanwhile.
async fn fetch(endpoint: Arc<Endpoint>, found: Found) -> Fetch {
    let result = {
        let _permit = endpoint.permits.acquire().await;
        // A panic must not stay with everyone who asks for the item later.
        let answer = endpoint.call("item", || endpoint.client.item(&found.vault, &found.item));
        AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Server, FAILED)))
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
