//! Items with their values: each is fetched once, however many objects need it, and forgotten soon.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures::{Future, FutureExt};

use super::{
    Reader,
    endpoint::{Endpoint, Health, State},
    slot::{Done, Fetch, KEEP, Slots},
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

/// What comes of asking for an item or a file.
#[derive(Clone, Debug)]
pub enum Fetched<T> {
    /// What was asked for.
    Value(Arc<T>),
    /// It takes longer: the object is woken when it is there.
    Later,
    /// It cannot be fetched.
    Failed(Failure),
}

/// Where what is fetched is kept.
type Place<T> = fn(&mut State) -> &mut Slots<T>;

impl Endpoint {
    /// An item with its values, at least as new as listed. `fresh` asks the server even if the item was fetched a
    /// little while ago; `reader` is woken when it takes longer.
    pub async fn item(self: &Arc<Self>, found: &Found, fresh: bool, reader: &Reader) -> Fetched<Item> {
        let key = (found.vault.clone(), found.item.clone());
        let (endpoint, found) = (self.clone(), found.clone());
        let version = found.version;
        let request = async move {
            let answer = endpoint.call("item", || endpoint.client.item(&found.vault, &found.item)).await?;
            let item = answer.value;
            if item.version < found.version {
                let (has, listed) = (item.version, found.version);
                let words = format!("item {:?} is served in version {has}, although {listed} is listed", found.title);
                return Err(Failure::new(FailureKind::Busy, words));
            }
            endpoint.metrics.fetched.inc();
            Ok(item)
        };
        self.shared(|state| &mut state.slots, key, move |item| item.version >= version, fresh, reader, request).await
    }

    /// The content of a file.
    pub async fn file(
        self: &Arc<Self>,
        found: &Found,
        file: &File,
        fresh: bool,
        reader: &Reader,
    ) -> Fetched<Sensitive> {
        if file.size > MAX_FILE as u64 {
            let words = format!("it has {} bytes; a Kubernetes Secret holds at most 1 MiB", file.size);
            return Fetched::Failed(Failure::new(FailureKind::TooLarge, words));
        }
        let key = (found.vault.clone(), format!("{}@{}/{}", found.item, found.version, file.id));
        let (endpoint, found, file) = (self.clone(), found.clone(), file.id.clone());
        let request =
            async move { endpoint.call("file", || endpoint.client.file(&found.vault, &found.item, &file)).await };
        self.shared(|state| &mut state.files, key, |_| true, fresh, reader, request).await
    }

    /// What a request yields, which is made once however many ask.
    async fn shared<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        place: Place<T>,
        key: (String, String),
        fits: impl Fn(&T) -> bool,
        fresh: bool,
        reader: &Reader,
        request: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Fetched<T> {
        let (flight, patience) = {
            let mut state = self.lock();
            let health = state.health.clone();
            // While a server is slow, nobody stands in the way of what needs another one.
            let patience = if state.slow { Duration::ZERO } else { PATIENCE };
            let slot = place(&mut state).entry(key.clone()).or_default();
            if let Some(result) = slot.usable(fits, fresh) {
                self.metrics.coalesced.inc();
                return result.map_or_else(Fetched::Failed, Fetched::Value);
            }
            let flight = match (&slot.flight, health) {
                (Some(flight), _) => {
                    self.metrics.coalesced.inc();
                    flight.clone()
                }
                (None, Health::Failed(failure)) => return Fetched::Failed(failure),
                (None, Health::Good | Health::Starting) => {
                    let flight = fetch(self.clone(), place, key.clone(), request).boxed().shared();
                    slot.flight = Some(flight.clone());
                    // It goes on when nobody waits for it any more.
                    tokio::spawn(flight.clone());
                    flight
                }
            };
            (flight, patience)
        };
        if let Ok(result) = tokio::time::timeout(patience, flight).await {
            return result.map_or_else(Fetched::Failed, Fetched::Value);
        }
        let mut state = self.lock();
        state.slow = true;
        match place(&mut state).get_mut(&key) {
            Some(slot) if slot.flight.is_some() => _ = slot.waiters.insert(reader.clone()),
            // It ended in this moment.
            _ => self.wakes.reader(reader.clone()),
        }
        Fetched::Later
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

    /// Forgets values that were not used for a while. Whether any are left.
    fn purge(&self) -> bool {
        let mut state = self.lock();
        state.slots.retain(|_, slot| slot.is_of_use());
        state.files.retain(|_, slot| slot.is_of_use());
        state.cleaned = !state.slots.is_empty() || !state.files.is_empty();
        state.cleaned
    }
}

/// Fetches something, notes it, and wakes those who went away meanwhile.
async fn fetch<T: Send + Sync + 'static>(
    endpoint: Arc<Endpoint>,
    place: Place<T>,
    key: (String, String),
    request: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Fetch<T> {
    let result = {
        let _permit = endpoint.permits.acquire().await;
        // A panic must not stay with everyone who asks for it later.
        let answer = AssertUnwindSafe(request).catch_unwind().await;
        answer.unwrap_or_else(|_| Err(Failure::new(FailureKind::Server, FAILED)))
    };
    let result = result.map(Arc::new);
    if let Err(Failure { kind: FailureKind::Unreachable | FailureKind::Timeout, .. }) = &result {
        endpoint.suspect();
    }
    let now = Instant::now();
    let (waiters, is_first) = {
        let mut state = endpoint.lock();
        state.slow &= result.is_err();
        let is_first = !std::mem::replace(&mut state.cleaned, true);
        let slot = place(&mut state).entry(key).or_default();
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
