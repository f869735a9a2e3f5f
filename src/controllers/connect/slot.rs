//! What is kept of an item or file that was fetched, and for how long.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::Reader;
use crate::{clients::connect::Failure, core::backoff::backoff};

/// How long a value is kept after it was last used.
pub(super) const KEEP: Duration = Duration::from_secs(10);
/// How long a value is kept at most.
const KEEP_AT_MOST: Duration = Duration::from_mins(1);
/// A value that was fetched so short a time ago counts as one of now, provided that no newer one is listed. An object
/// that needs many of them gets all of them in this time.
const RECENT: Duration = KEEP;
/// A failure that is so old is asked about again, unless it is the server's.
const RECENT_FAILURE: Duration = Duration::from_secs(2);
/// How long it is remembered how often something failed, after it may be asked for again.
const REMEMBERED: Duration = Duration::from_mins(2);

/// What was asked for, or why it could not be fetched.
pub(super) type Fetch<T> = Result<Arc<T>, Failure>;
/// What is being fetched or was fetched just now, by vault and item (and file).
pub(super) type Slots<T> = HashMap<Key, Slot<T>>;
/// Vault and item (and file).
pub(super) type Key = (String, String);

/// Something that is being fetched or was fetched just now.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) flight: Option<Shared<BoxFuture<'static, Fetch<T>>>>,
    pub(super) done: Option<Done<T>>,
    /// Objects that went away while it was fetched.
    pub(super) waiters: BTreeSet<Reader>,
    /// Objects that were told of the failure, and are woken when it has passed.
    pub(super) refused: BTreeSet<Reader>,
    /// How often in a row the server failed at it.
    pub(super) failures: u32,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { flight: None, done: None, waiters: BTreeSet::new(), refused: BTreeSet::new(), failures: 0 }
    }
}

/// A fetch that ended.
#[derive(Debug)]
pub(super) struct Done<T> {
    pub(super) result: Fetch<T>,
    fetched: Instant,
    used: Instant,
    /// Until when the server is not asked about it again.
    held: Option<Instant>,
}

impl<T> Slot<T> {
    /// What was fetched, where that is good enough. `reader` is woken when a failure may have passed.
    pub(super) fn usable(&mut self, fits: impl Fn(&T) -> bool, fresh: bool, reader: &Reader) -> Option<Fetch<T>> {
        let done = self.done.as_mut()?;
        let (now, recent) = (Instant::now(), done.fetched.elapsed() < RECENT);
        let usable = match &done.result {
            Ok(value) => fits(value) && (recent || (now < done.expiry() && !fresh)),
            Err(_) => now < done.held.unwrap_or(done.fetched + RECENT_FAILURE),
        };
        if !usable {
            return None;
        }
        done.used = now;
        if done.held.is_some() {
            self.refused.insert(reader.clone());
        }
        Some(done.result.clone())
    }

    /// Notes how a fetch ended, and says whom to wake. `outage` is a failure of the server's.
    pub(super) fn end(&mut self, result: Fetch<T>, outage: bool, spread: f64) -> BTreeSet<Reader> {
        let now = Instant::now();
        let asked = result.as_ref().err().and_then(|failure| failure.retry_after);
        let held = outage.then(|| now + backoff(asked, self.failures, spread));
        self.failures = if outage { self.failures.saturating_add(1) } else { 0 };
        self.flight = None;
        self.done = Some(Done { result, fetched: now, used: now, held });
        let mut woken = std::mem::take(&mut self.waiters);
        if !outage {
            woken.append(&mut self.refused);
        }
        woken
    }

    /// Notes that a fetch was not made, and says whom to wake.
    pub(super) fn cancel(&mut self) -> BTreeSet<Reader> {
        self.flight = None;
        std::mem::take(&mut self.waiters)
    }

    /// Forgets a failure: the server is asked about it again.
    pub(super) fn forgive(&mut self) -> BTreeSet<Reader> {
        self.done.take_if(|done| done.held.is_some());
        std::mem::take(&mut self.refused)
    }

    /// Forgets what is over. When the next thing is over, and whom to wake: one, who asks for all.
    fn purge(&mut self, now: Instant) -> (Option<Instant>, Option<Reader>) {
        self.done.take_if(|done| done.expiry() <= now);
        let Some(done) = &mut self.done else { return (None, None) };
        match done.held {
            Some(until) if until > now => (Some(until), None),
            Some(_) => (Some(done.expiry()), self.refused.pop_first()),
            None => (Some(done.expiry()), None),
        }
    }
}

impl<T> Done<T> {
    /// When it is forgotten.
    fn expiry(&self) -> Instant {
        match self.held {
            Some(until) => until + REMEMBERED,
            None => (self.used + KEEP).min(self.fetched + KEEP_AT_MOST),
        }
    }
}

/// Forgets what is over. When the next thing is over, and whom to wake.
pub(super) fn purge<T>(slots: &mut Slots<T>, now: Instant) -> (Option<Instant>, Vec<Reader>) {
    let (mut next, mut woken): (Option<Instant>, _) = (None, Vec::new());
    slots.retain(|_, slot| {
        let (at, reader) = slot.purge(now);
        next = next.into_iter().chain(at).min();
        woken.extend(reader);
        slot.flight.is_some() || slot.done.is_some()
    });
    // Thousands are fetched at a start, and few after that.
    if slots.len() < slots.capacity() / 4 {
        slots.shrink_to_fit();
    }
    (next, woken)
}
