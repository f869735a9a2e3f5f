//! What is kept of an item or file that was fetched, and for how long.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, Shared};

use super::Reader;
use crate::clients::connect::Failure;

/// How long a value is kept after it was last used.
pub(super) const KEEP: Duration = Duration::from_secs(10);
/// How long a value is kept at most.
const KEEP_AT_MOST: Duration = Duration::from_mins(1);
/// A value that was fetched so short a time ago counts as one of now, provided that no newer one is listed. An object
/// that needs many of them gets all of them in this time.
const RECENT: Duration = KEEP;
/// A failure that is so old is not asked about again.
const RECENT_FAILURE: Duration = Duration::from_secs(2);

/// What was asked for, or why it could not be fetched.
pub(super) type Fetch<T> = Result<Arc<T>, Failure>;
/// What is being fetched or was fetched just now, by vault and item (and file).
pub(super) type Slots<T> = HashMap<(String, String), Slot<T>>;

/// Something that is being fetched or was fetched just now.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) flight: Option<Shared<BoxFuture<'static, Fetch<T>>>>,
    pub(super) done: Option<Done<T>>,
    /// Objects that went away while it was fetched.
    pub(super) waiters: BTreeSet<Reader>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { flight: None, done: None, waiters: BTreeSet::new() }
    }
}

/// A fetch that ended.
#[derive(Debug)]
pub(super) struct Done<T> {
    pub(super) result: Fetch<T>,
    pub(super) fetched: Instant,
    pub(super) used: Instant,
}

impl<T> Slot<T> {
    /// What was fetched, where that is good enough.
    pub(super) fn usable(&mut self, fits: impl Fn(&T) -> bool, fresh: bool) -> Option<Fetch<T>> {
        let done = self.done.as_mut()?;
        let recent = done.fetched.elapsed() < RECENT;
        let usable = match &done.result {
            Ok(value) => fits(value) && (recent || (done.is_kept() && !fresh)),
            Err(_) => done.fetched.elapsed() < RECENT_FAILURE,
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

impl<T> Done<T> {
    fn is_kept(&self) -> bool {
        self.used.elapsed() < KEEP && self.fetched.elapsed() < KEEP_AT_MOST
    }
}
