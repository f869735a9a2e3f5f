//! A server that lists its items and fails to hand them out is left alone, but for one probe at a time.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};

use futures::FutureExt;
use tokio::time::sleep_until;

use super::{
    Reader,
    call::is_outage,
    endpoint::{Endpoint, Health, State},
    slot::Key,
};
use crate::{
    clients::connect::{Failure, FailureKind},
    core::backoff::{Breaker, spread},
};

/// Whether a server may be asked for its items.
#[derive(Debug, Default)]
pub(super) struct Hold {
    breaker: Breaker<Key>,
    /// Why it may not.
    failure: Option<Failure>,
    /// Objects that were told so, and are woken when it has passed.
    refused: BTreeSet<Reader>,
    /// Whether somebody sends the probes.
    probed: bool,
}

impl Hold {
    pub(super) const fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Why nothing may be asked for now.
    pub(super) fn refusal(&self) -> Option<Failure> {
        self.failure.clone().filter(|_| self.is_open())
    }

    /// Notes that an item (or a file of it) was wanted meanwhile.
    pub(super) fn refused(&mut self, (vault, item): Key, reader: &Reader) {
        self.refused.insert(reader.clone());
        let item = item.split('@').next().unwrap_or_default().to_owned();
        self.breaker.refused((vault, item));
    }
}

impl State {
    /// Forgets what failed, and says who was told of it.
    pub(super) fn forgive(&mut self) -> BTreeSet<Reader> {
        self.hold.breaker = Breaker::default();
        self.hold.failure = None;
        let mut woken = std::mem::take(&mut self.hold.refused);
        self.slots.values_mut().for_each(|slot| woken.extend(slot.forgive()));
        self.files.values_mut().for_each(|slot| woken.extend(slot.forgive()));
        self.gone.values_mut().for_each(|slot| woken.extend(slot.forgive()));
        woken
    }
}

impl Endpoint {
    /// Notes how a request for an item ended, which tells of the server.
    pub(super) fn judge<T>(self: &Arc<Self>, key: &Key, result: &Result<T, Failure>) {
        let mut state = self.lock();
        let Some(failure) = result.as_ref().err().filter(|failure| is_outage(failure)) else {
            return state.hold.breaker.answered();
        };
        let spread = spread(&[&self.id, "hold", &state.tally.count().to_string()]);
        // What a server says of its own load is no matter of one item.
        let general = failure.kind == FailureKind::Busy || failure.retry_after.is_some();
        let (asked, now) = (failure.retry_after, self.born.elapsed());
        if !state.hold.breaker.failed(key.clone(), general, asked, now, spread) {
            return;
        }
        state.hold.failure = Some(failure.clone());
        let is_first = !std::mem::replace(&mut state.hold.probed, true);
        drop(state);
        tracing::warn!(endpoint = self.host, "Connect fails to hand out items: {failure}");
        if is_first {
            tokio::spawn(probe(Arc::downgrade(self)));
        }
    }

    /// Asks for one item, and goes on as usual if there is any answer.
    async fn probe(&self) {
        let key = {
            let mut state = self.lock();
            // A server that fails altogether is probed by the looks.
            let fails = matches!(state.health, Health::Failed(_));
            state.hold.breaker.probe().filter(|_| !fails)
        };
        let failure = match key {
            Some((vault, item)) => {
                let request = self.call("item", || self.client.item(&vault, &item));
                AssertUnwindSafe(request).catch_unwind().await.ok().and_then(Result::err).filter(is_outage)
            }
            None => None,
        };
        let mut state = self.lock();
        // A look may have ended it meanwhile.
        if !state.hold.is_open() {
            return;
        }
        if let Some(failure) = failure {
            let spread = spread(&[&self.id, "probe", &state.tally.count().to_string()]);
            state.hold.breaker.hold(failure.retry_after, self.born.elapsed(), spread);
            state.hold.failure = Some(failure);
            return;
        }
        let woken = state.forgive();
        drop(state);
        self.wakes.readers(woken);
    }
}

/// Sends probes until one is answered.
async fn probe(endpoint: Weak<Endpoint>) {
    loop {
        let due = {
            let Some(endpoint) = endpoint.upgrade() else { return };
            let mut state = endpoint.lock();
            let Some(until) = state.hold.breaker.until() else {
                state.hold.probed = false;
                return;
            };
            endpoint.born + until
        };
        sleep_until(due).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        // It may have been closed and opened again meanwhile.
        let is_due = endpoint.lock().hold.breaker.until().is_some_and(|until| until <= endpoint.born.elapsed());
        if is_due {
            endpoint.probe().await;
        }
    }
}
