//! What is kept of an item that was fetched, and for how long.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, Shared};

use super::Reader;
use crate::{clients::connect::Failure, core::item::Item};

/// How long a value is kept after it was last used.
pub(super) const KEEP: Duration = Duration::from_secs(10);
/// How long a value is kept at most.
const KEEP_AT_MOST: Duration = Duration::from_mins(1);
/// A value that was fetched so short a time ago counts as one of now, and so does a failure.
const RECENT: Duration = Duration::from_secs(2);

/// An item, or why it could not be fetched.
pub(super) type Fetch = Result<Arc<Item>, Failure>;
/// Items that are being fetched or were fetched just now, by vault and item.
pub(super) type Slots = HashMap<(String, String), Slot>;

/// An item that is being fetched or was fetched just now.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) flight: Option<Shared<BoxFuture<'static, Fetch>>>,
    pub(super) done: Option<Done>,
    /// Objects that went away while the item was fetched.
    pub(super) waiters: BTreeSet<Reader>,
}

/// A fetch that ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) result: Fetch,
    pub(super) fetched: Instant,
    pub(super) used: Instant,
}

impl Slot {
    /// What was fetched, where that is good enough.
    pub(super) fn usable(&mut self, version: i64, fresh: bool) -> Option<Fetch> {
        let done = self.done.as_mut()?;
        let recent = done.fetched.elapsed() < RECENT;
        let usable = match &done.result {
            Ok(item) => item.version >= version && (recent || (done.is_kept() && !fresh)),
            Err(_) => recent,
        };
        if !usable {
            return None;
        }
        done.used = Instant::now();
        Some(done.result.clone())
    }

    /// Whether it is being fetched, or may serve someone who asks now.
    pub(super) fn is_of_use(&self) -> bool {
        self.flight.is_some() || self.done.as_ref().is_some_and(Done::is_kept)
    }
}

impl Done {
    fn is_kept(&self) -> bool {
        self.used.elapsed() < KEEP && self.fetched.elapsed() < KEEP_AT_MOST
    }
}
