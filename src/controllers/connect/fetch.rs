//! Items with their values: each is fetched once, however many objects need it, and forgotten soon.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{Future, FutureExt};
use tokio::time::{Instant, timeout_at};

use super::{
    Reader,
    call::is_outage,
    endpoint::{Endpoint, Health, State},
    slot::{Fetch, KEEP, Key, Slots, purge},
};
use crate::{
    clients::connect::{Failure, FailureKind, MAX_FILE},
    core::{
        backoff::{BACKOFF, spread},
        index::Found,
        item::{File, Packed},
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
    pub async fn item(self: &Arc<Self>, found: &Found, fresh: bool, reader: &Reader) -> Fetched<Packed> {
        let key = (found.vault.clone(), found.item.clone());
        let (endpoint, found) = (self.clone(), found.clone());
        let version = found.version;
        let request = async move {
            let item = endpoint.ask(&(found.vault, found.item)).await?;
            if item.version < found.version {
                let (has, listed) = (item.version, found.version);
                // The server lags behind: it will not take longer and longer.
                let words = format!("item {:?} is served in version {has}, although {listed} is listed", found.title);
                return Err(Failure { retry_after: Some(BACKOFF.0), ..Failure::new(FailureKind::Busy, words) });
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
        key: Key,
        fits: impl Fn(&T) -> bool,
        fresh: bool,
        reader: &Reader,
        request: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Fetched<T> {
        let (flight, patience) = {
            let mut state = self.lock();
            let (health, refusal) = (state.health.clone(), state.hold.refusal());
            // While a server is slow, nobody stands in the way of what needs another one.
            let patience = if state.slow { Duration::ZERO } else { PATIENCE };
            let slot = place(&mut state).entry(key.clone()).or_default();
            if let Some(result) = slot.usable(fits, fresh, reader) {
                self.metrics.coalesced.inc();
                return result.map_or_else(Fetched::Failed, Fetched::Value);
            }
            let flight = match (&slot.flight, health, refusal) {
                (Some(flight), _, _) => {
                    self.metrics.coalesced.inc();
                    flight.clone()
                }
                (None, Health::Failed(failure), _) => return Fetched::Failed(failure),
                (None, Health::Good | Health::Starting, Some(failure)) => {
                    state.hold.refused(key, reader);
                    return Fetched::Failed(failure);
                }
                (None, Health::Good | Health::Starting, None) => {
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

    /// Whether an item is really gone, which only the server's own answer to its id tells. `reader` is woken when it
    /// takes longer.
    pub async fn is_gone(self: &Arc<Self>, vault: &str, item: &str, reader: &Reader) -> Fetched<bool> {
        let key = (vault.to_owned(), item.to_owned());
        let (endpoint, asked) = (self.clone(), key.clone());
        let request = async move {
            match endpoint.ask(&asked).await {
                Ok(item) => Ok(item.state.as_deref().is_some_and(|state| !state.is_empty())),
                Err(failure) if failure.kind == FailureKind::NotFound => Ok(true),
                Err(failure) => Err(failure),
            }
        };
        self.shared(|state| &mut state.gone, key, |_| true, true, reader, request).await
    }

    /// Asks for an item, which tells of the server too.
    async fn ask(self: &Arc<Self>, key: &Key) -> Result<Packed, Failure> {
        let result = self.call("item", || self.client.item(&key.0, &key.1)).await;
        self.judge(key, &result);
        result.map(|answer| answer.value)
    }

    /// Forgets what is over. When the next thing is over; nothing where nothing is left.
    fn purge(&self) -> Option<Instant> {
        let (mut state, now) = (self.lock(), Instant::now());
        let (items, mut woken) = purge(&mut state.slots, now);
        let (files, more) = purge(&mut state.files, now);
        woken.extend(more);
        let (gone, more) = purge(&mut state.gone, now);
        woken.extend(more);
        state.cleaned = !(state.slots.is_empty() && state.files.is_empty() && state.gone.is_empty());
        let next = [items, files, gone].into_iter().flatten().min();
        let next = state.cleaned.then(|| next.unwrap_or(now + KEEP).min(now + KEEP));
        drop(state);
        self.wakes.readers(woken);
        next
    }

    /// Notes how a fetch ended, and wakes those who went away meanwhile. Nothing ended where it was refused.
    fn landed<T: Send + Sync + 'static>(self: &Arc<Self>, place: Place<T>, key: Key, result: &Fetch<T>, refused: bool) {
        let mut state = self.lock();
        state.slow &= result.is_err();
        let is_good = state.health == Health::Good;
        let spread = spread(&[&self.id, &key.1, &state.tally.count().to_string()]);
        let is_first = !std::mem::replace(&mut state.cleaned, true);
        let slot = place(&mut state).entry(key).or_default();
        let outage = result.as_ref().is_err_and(is_outage) && !refused;
        // The server may have gone away: the first failure has that looked into, not each.
        let unheard = matches!(result, Err(Failure { kind: FailureKind::Unreachable | FailureKind::Timeout, .. }));
        let suspect = unheard && outage && is_good && slot.failures == 0;
        let woken = if refused { slot.cancel() } else { slot.end(result.clone(), outage, spread) };
        drop(state);
        if suspect {
            self.suspect();
        }
        if is_first {
            tokio::spawn(keep_clean(Arc::downgrade(self)));
        } else if outage {
            self.sooner.notify_one();
        }
        self.wakes.readers(woken);
    }
}

/// Fetches something, unless the server is left alone by then.
async fn fetch<T: Send + Sync + 'static>(
    endpoint: Arc<Endpoint>,
    place: Place<T>,
    key: Key,
    request: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Fetch<T> {
    let permit = endpoint.permits.acquire().await;
    let refusal = endpoint.lock().hold.refusal();
    let refused = refusal.is_some();
    let result = if let Some(failure) = refusal {
        Err(failure)
    } else {
        // A panic must not stay with everyone who asks for it later.
        let answer = AssertUnwindSafe(request).catch_unwind().await;
        answer.unwrap_or_else(|_| Err(Failure::new(FailureKind::Server, FAILED)))
    };
    drop(permit);
    let result = result.map(Arc::new);
    endpoint.landed(place, key, &result, refused);
    result
}

/// Forgets values until none is left.
async fn keep_clean(endpoint: Weak<Endpoint>) {
    loop {
        let Some(strong) = endpoint.upgrade() else { return };
        let Some(next) = strong.purge() else { return };
        let sooner = strong.sooner.clone();
        drop(strong);
        let _ = timeout_at(next, sooner.notified()).await;
    }
}

#[cfg(test)]
mod tests;
