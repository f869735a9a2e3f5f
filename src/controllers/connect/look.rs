//! The looks for changes at one server, again and again, and what follows from each.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use chrono::Utc;
use futures::FutureExt;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Reader,
    call::is_outage,
    endpoint::{Endpoint, Health, State},
};
use crate::{
    api::store::DEFAULT_POLL_INTERVAL,
    clients::connect::{Failure, FailureKind},
    core::{
        backoff::{BACKOFF, backoff, spread},
        gate::Changes,
    },
};

/// How often everything is listed although nothing seems to have changed.
const FULL_INTERVAL: Duration = Duration::from_mins(10);

/// What a look found.
struct Seen {
    changes: Changes,
    result: Result<(), Failure>,
    /// Whether everything was listed.
    full: bool,
    /// Whether a change was found to have been missed, so that versions count no more.
    lost_trust: bool,
}

/// Looks again and again, until the endpoint is dropped.
pub(super) async fn run(endpoint: Weak<Endpoint>) {
    loop {
        let Some(strong) = endpoint.upgrade() else { return };
        // A panic must not end the looks unseen: the log names the place, and it is tried again.
        let wait = AssertUnwindSafe(strong.look()).catch_unwind().await.unwrap_or(BACKOFF.1);
        let (next, kick) = (Instant::now() + wait, strong.kick.clone());
        let asked = strong.lock().look.not_before;
        drop(strong);
        if let Some(asked) = asked {
            // Nobody's wish makes it earlier than the server asks for.
            sleep_until(asked.min(next)).await;
        }
        let _ = timeout_at(next, kick.notified()).await;
    }
}

impl Endpoint {
    /// One look, and how long to wait for the next.
    async fn look(self: &Arc<Self>) -> Duration {
        let (full, wanted, first, trusted) = {
            let mut state = self.lock();
            let full = state.next_full.is_none_or(|at| at <= Instant::now());
            state.look.began = Some(Instant::now());
            (full, state.demand.vaults.clone(), state.health != Health::Good, state.gate.is_trusted())
        };
        let (changes, result) = self.changes(&wanted, full, first).await;
        let lost_trust = trusted && !self.lock().gate.is_trusted();
        let wait = self.note(Seen { changes, result, full, lost_trust });
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
    fn note(self: &Arc<Self>, seen: Seen) -> Duration {
        let Seen { changes, result, full, lost_trust } = seen;
        let mut state = self.lock();
        let was = std::mem::take(&mut state.health);
        let (wait, mut woken) = self.end_look(&mut state, result, full);
        // What a first look finds is no change: nobody knows how long it has been so.
        if !changes.is_empty() && was != Health::Starting {
            state.last_change_at = Some(Utc::now());
        }
        let outcome = match &state.health {
            Health::Good if changes.is_empty() => "unchanged",
            Health::Good => "changed",
            Health::Starting | Health::Failed(_) => "error",
        };
        state.tally.poll(outcome);
        let turned = was != state.health;
        if turned {
            // What failed before was failing with the server.
            woken.extend(state.forgive());
        }
        let (stores, health) = (state.demand.stores.clone(), state.health.clone());
        drop(state);
        if turned {
            if let Health::Failed(failure) = &health {
                tracing::warn!(endpoint = self.host, "Connect fails: {failure}");
            }
            self.wakes.waiting(&stores);
        }
        if lost_trust {
            tracing::warn!(endpoint = self.host, "a vault's version missed a change: all items are listed from now on");
        }
        if turned || lost_trust || !changes.is_empty() {
            self.wakes.stores(&stores);
        }
        self.wakes.readers(woken);
        self.wakes.touched(&stores, &changes);
        wait
    }

    /// Notes the end of a look: how long to wait for the next, and who waited for this one.
    fn end_look(&self, state: &mut State, result: Result<(), Failure>, full: bool) -> (Duration, BTreeSet<Reader>) {
        let now = Instant::now();
        let took = state.look.began.take().map(|began| now - began).unwrap_or_default();
        state.look.ended += 1;
        state.look.last = Some((now, took));
        state.look.not_before = None;
        let spread = spread(&[&self.id, &state.look.ended.to_string()]);
        let interval = state.demand.interval;
        let wait = match result {
            Ok(()) => {
                state.health = Health::Good;
                state.failures = 0;
                state.look.succeeded = true;
                state.looked_at = Some(Utc::now());
                if full {
                    state.next_full = Some(now + FULL_INTERVAL.mul_f64(0.9 + 0.2 * spread));
                }
                interval.mul_f64(0.9 + 0.1 * spread)
            }
            Err(failure) => {
                // What somebody has to change is asked about at the usual interval.
                let wait = if is_outage(&failure) || failure.retry_after.is_some() {
                    backoff(failure.retry_after, state.failures, spread)
                } else {
                    interval.min(DEFAULT_POLL_INTERVAL.as_std()).mul_f64(0.9 + 0.1 * spread)
                };
                state.look.not_before = failure.retry_after.map(|_| now + wait);
                state.failures = state.failures.saturating_add(1);
                state.health = Health::Failed(failure);
                wait
            }
        };
        let ended = state.look.ended;
        let woken = state.look.waiters.extract_if(.., |_, target| *target <= ended).map(|(reader, _)| reader).collect();
        (wait, woken)
    }
}
