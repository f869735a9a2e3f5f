//! How long to wait before a server that fails is asked again, and whether it may be asked at all.

use std::{collections::BTreeSet, time::Duration};

use chrono::DateTime;

use crate::{api::common::Time, core::names};

/// How long a server that does not answer is left alone, at first and at most.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// The longest wait that a server may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
/// How long a request waits before it is tried again in place, at first and at most.
const IN_CALL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Different requests that fail one after another before the server itself is held to fail.
const SUSPECTS: usize = 3;

/// A number from 0 to 1 that differs with the texts.
pub fn spread(seed: &[&str]) -> f64 {
    f64::from(u16::from_str_radix(&names::hash(seed, 4), 16).unwrap_or_default()) / f64::from(u16::MAX)
}

/// How long a request waits before its next try, after so many; nothing where the server asks for more than a request
/// may wait for, which holds a place that others need.
pub fn in_call(attempt: u32, asked: Option<Duration>, spread: f64) -> Option<Duration> {
    let (first, most) = IN_CALL;
    let jitter = first.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(most).mul_f64(spread);
    match asked {
        Some(asked) if asked > most => None,
        asked => Some(asked.unwrap_or_default().max(jitter)),
    }
}

/// How long a failing server is left alone after so many failures before this one: never less than it asks for, as far
/// as that is reasonable.
pub fn backoff(asked: Option<Duration>, failures: u32, spread: f64) -> Duration {
    let (first, most) = BACKOFF;
    match asked {
        Some(asked) => asked.clamp(first, MAX_RETRY_AFTER).mul_f64(1.0 + 0.1 * spread),
        None => (first * (1 << failures.min(8))).min(most).mul_f64(0.8 + 0.2 * spread),
    }
}

/// What `Retry-After` asks for: seconds, or a time.
pub fn retry_after(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let until = || DateTime::parse_from_rfc2822(text).ok().map(|at| (at.to_utc() - now).to_std().unwrap_or_default());
    seconds.or_else(until)
}

/// Whether a server that answers looks for changes may be asked for its items. After failures of several, or of one for
/// a reason that is not the item's own, nothing is asked but one request after a while, as a probe.
///
/// Times are durations since some fixed moment.
#[derive(Clone, Debug)]
pub struct Breaker<K> {
    /// What failed since the last success.
    failed: BTreeSet<K>,
    /// What was refused since it opened: what best tells whether only some fail.
    refused: BTreeSet<K>,
    /// What was asked for as the last probe.
    probed: Option<K>,
    /// How often in a row it was found to fail.
    failures: u32,
    /// Until when nothing is asked.
    until: Option<Duration>,
}

impl<K> Default for Breaker<K> {
    fn default() -> Self {
        Self { failed: BTreeSet::new(), refused: BTreeSet::new(), probed: None, failures: 0, until: None }
    }
}

impl<K: Ord + Clone> Breaker<K> {
    /// Whether nothing may be asked but by probes.
    pub const fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// When the next probe is due.
    pub const fn until(&self) -> Option<Duration> {
        self.until
    }

    /// Takes a failure. `general` is one that says nothing about what was asked for. Whether the breaker opens.
    pub fn failed(&mut self, key: K, general: bool, asked: Option<Duration>, now: Duration, spread: f64) -> bool {
        self.failed.insert(key);
        if self.is_open() || (!general && self.failed.len() < SUSPECTS) {
            return false;
        }
        self.hold(asked, now, spread);
        true
    }

    /// Takes an answer. One to what was asked before it opened does not close it.
    pub fn answered(&mut self) {
        if !self.is_open() {
            self.failed.clear();
        }
    }

    /// Notes what is refused meanwhile.
    pub fn refused(&mut self, key: K) {
        if !self.failed.contains(&key) {
            self.refused.insert(key);
        }
    }

    /// What to ask for as a probe, in turn: one item that can never be read does not speak for the others.
    pub fn probe(&mut self) -> Option<K> {
        let untried = self.refused.pop_first();
        self.failed.extend(untried.clone());
        let after = || self.probed.as_ref().and_then(|last| self.failed.iter().find(|key| *key > last));
        let next = untried.or_else(|| after().or_else(|| self.failed.first()).cloned());
        self.probed.clone_from(&next);
        next
    }

    /// Takes the failure of a probe.
    pub fn hold(&mut self, asked: Option<Duration>, now: Duration, spread: f64) {
        self.until = Some(now + backoff(asked, self.failures, spread));
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_request_waits_shortly_or_not_at_all() {
        for attempt in 1..40 {
            let longest = in_call(attempt, None, 1.0).unwrap();
            assert!(longest <= secs(2), "{attempt}: {longest:?}");
            assert_eq!(in_call(attempt, None, 0.0), Some(Duration::ZERO));
            assert_eq!(in_call(attempt, Some(secs(2)), 1.0), Some(secs(2)));
            assert_eq!(in_call(attempt, Some(secs(3)), 0.5), None);
        }
        assert_eq!(in_call(1, None, 1.0), Some(Duration::from_millis(200)));
        assert_eq!(in_call(2, None, 0.5), Some(Duration::from_millis(200)));
        assert_eq!(in_call(1, Some(secs(1)), 0.5), Some(secs(1)));
    }

    #[test]
    fn the_back_off_grows_and_honours_what_is_asked() {
        assert_eq!(backoff(None, 0, 1.0), secs(5));
        assert_eq!(backoff(None, 2, 1.0), secs(20));
        assert_eq!(backoff(None, 100, 1.0), secs(60));
        assert!(backoff(None, 0, 0.0) >= secs(4));
        assert_eq!(backoff(Some(secs(90)), 9, 0.0), secs(90));
        assert!(backoff(Some(secs(90)), 0, 1.0) >= secs(90));
        assert_eq!(backoff(Some(secs(3600)), 0, 0.0), MAX_RETRY_AFTER);
        assert_eq!(backoff(Some(secs(1)), 0, 0.0), secs(5));
    }

    #[test]
    fn what_a_server_asks_for_is_seconds_or_a_time() {
        let now = "2026-11-03T07:08:09Z".parse().unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(secs(120)));
        assert_eq!(retry_after("Tue, 03 Nov 2026 07:09:09 GMT", now), Some(secs(60)));
        assert_eq!(retry_after("Tue, 03 Nov 2026 07:00:00 GMT", now), Some(secs(0)));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn one_item_that_cannot_be_read_stops_no_other() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            assert!(!breaker.failed("a", false, None, secs(0), 1.0));
        }
        assert!(!breaker.failed("b", false, None, secs(0), 1.0));
        breaker.answered();
        assert!(!breaker.failed("c", false, None, secs(0), 1.0));
        assert!(!breaker.is_open());
    }

    #[test]
    fn several_that_fail_are_probed_in_turn_and_rarely() {
        let mut breaker = Breaker::default();
        breaker.failed("a", false, None, secs(0), 1.0);
        breaker.failed("b", false, None, secs(0), 1.0);
        assert!(breaker.failed("c", false, None, secs(1), 1.0));
        assert_eq!(breaker.until(), Some(secs(6)));
        // What was under way when it opened changes nothing.
        assert!(!breaker.failed("d", false, None, secs(2), 1.0));
        assert_eq!(breaker.until(), Some(secs(6)));
        breaker.refused("e");
        let mut probed = vec![];
        for _ in 0..6 {
            probed.extend(breaker.probe());
            breaker.hold(None, secs(10), 1.0);
        }
        // First what has not failed, then in turn.
        assert_eq!(probed, ["e", "a", "b", "c", "d", "e"]);
        assert_eq!(breaker.until(), Some(secs(70)));
        breaker.answered();
        assert!(breaker.is_open(), "what was asked before says nothing");
    }

    #[test]
    fn a_server_that_is_busy_is_left_alone_at_once() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed("a", true, Some(secs(90)), secs(1), 0.0));
        assert_eq!(breaker.until(), Some(secs(91)));
    }
}
