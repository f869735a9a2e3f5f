//! Whether this controller may act: the Lease that keeps two apart, as client-go decides it.
//!
//! Whether another's Lease has expired is told by how long its record has not changed before our own eyes: the clocks
//! of two nodes may differ. Who holds it ends well before anybody else may begin.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

use crate::{api::common::Time, core::time};

/// How long a record has to stay unchanged before another takes the Lease.
pub const DURATION: Duration = Duration::from_secs(15);
/// Who could not renew it for so long ends.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often is tried to take or to renew it.
pub const RETRY: Duration = Duration::from_secs(2);
/// How long a request may take.
pub const REQUEST: Duration = Duration::from_secs(4);

/// The record that was seen last, and since when it has been so, by a clock of our own that only goes forward.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    record: Option<LeaseSpec>,
    since: Duration,
}

impl Watched {
    /// How long the record has been as it is.
    pub fn unchanged(&mut self, record: Option<&LeaseSpec>, at: Duration) -> Duration {
        if self.record.as_ref() != record {
            self.record = record.cloned();
            self.since = at;
        }
        at.saturating_sub(self.since)
    }
}

/// What a look at the Lease leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Write this spec over it.
    Take(Box<LeaseSpec>),
    /// Somebody else holds it.
    Held(String),
}

/// Decides whether `identity` may hold the Lease, whose record has been as it is for so long.
pub fn claim(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration, now: Time) -> Claim {
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let declared = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let expired = unchanged >= declared.map_or(DURATION, Duration::from_secs);
    if let Some(holder) = &holder
        && holder != identity
        && !expired
    {
        return Claim::Held(holder.clone());
    }
    let mine = holder.as_deref() == Some(identity);
    let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    let acquired = spec.and_then(|spec| spec.acquire_time.clone()).filter(|_| mine);
    Claim::Take(Box::new(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: acquired.or_else(|| Some(time::to_micro(now))),
        renew_time: Some(time::to_micro(now)),
        lease_transitions: Some(if mine { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    }))
}

/// What came of an attempt to take or to renew the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is ours.
    Ours,
    /// Somebody else holds it.
    Theirs(String),
    /// It is not known: somebody wrote at the same moment, or the API did not answer.
    Unknown(String),
}

/// What the holder does after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It acts, and tries again after this pause, with so much time for the request.
    GoOn(Duration, Duration),
    /// Another holds the Lease.
    Lost(String),
    /// It could not be renewed in time.
    Expired(String),
}

/// What the holder does, so long after it began the attempt that last renewed the Lease.
pub fn verdict(attempt: Attempt, since_renewed: Duration) -> Verdict {
    let left = RENEW_DEADLINE.saturating_sub(since_renewed);
    match attempt {
        Attempt::Theirs(holder) => Verdict::Lost(holder),
        Attempt::Unknown(why) if left.is_zero() => Verdict::Expired(why),
        Attempt::Ours if left.is_zero() => Verdict::Expired("its last renewal took too long".to_owned()),
        Attempt::Ours | Attempt::Unknown(_) => {
            let pause = RETRY.min(left);
            // At the deadline nothing is under way any more.
            Verdict::GoOn(pause, REQUEST.min(left.saturating_sub(pause)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn now() -> Time {
        "2026-09-24T12:00:00Z".parse().unwrap()
    }

    fn spec(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(time::to_micro(now())),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn who_may_hold_it() {
        let longer = LeaseSpec { lease_duration_seconds: Some(60), ..spec("a") };
        let nonsense = LeaseSpec { lease_duration_seconds: Some(-1), ..spec("a") };
        let released = LeaseSpec { holder_identity: None, ..spec("a") };
        // The record, who asks, for how long it has been so, and the transitions where it is taken.
        let cases = [
            (Some(spec("a")), "b", 14, None),
            (Some(spec("a")), "b", 15, Some(5)),
            (Some(spec("a")), "a", 0, Some(4)),
            (Some(longer), "b", 59, None),
            (Some(nonsense), "b", 14, None),
            (Some(released), "b", 0, Some(5)),
            (None, "b", 0, Some(1)),
        ];
        for (record, identity, unchanged, taken) in cases {
            // The time that another node wrote says nothing.
            for clock in [-3600, 0, 3600] {
                let now = now() + chrono::Duration::seconds(clock);
                let transitions = match claim(record.as_ref(), identity, seconds(unchanged), now) {
                    Claim::Take(spec) => spec.lease_transitions,
                    Claim::Held(holder) => {
                        assert_eq!(holder, "a");
                        None
                    }
                };
                assert_eq!(transitions, taken, "{record:?} {identity} {unchanged}");
            }
        }
    }

    #[test]
    fn a_record_is_as_old_as_it_was_seen_unchanged() {
        let mut watched = Watched::default();
        let renewed = LeaseSpec { renew_time: Some(time::to_micro(now() + chrono::Duration::seconds(5))), ..spec("a") };
        let looks = [(Some(spec("a")), 100, 0), (Some(spec("a")), 114, 14), (Some(renewed.clone()), 115, 0)];
        for (record, at, unchanged) in looks.into_iter().chain([(Some(renewed), 131, 16), (None, 140, 0)]) {
            assert_eq!(watched.unchanged(record.as_ref(), seconds(at)), seconds(unchanged), "{at}");
        }
    }

    #[test]
    fn the_holder_ends_before_another_begins() {
        let unknown = || Attempt::Unknown("no answer".to_owned());
        let go_on = |pause, request| Verdict::GoOn(seconds(pause), seconds(request));
        let expired = || Verdict::Expired("no answer".to_owned());
        let cases = [
            (Attempt::Ours, 0, go_on(2, 4)),
            (unknown(), 4, go_on(2, 4)),
            (unknown(), 6, go_on(2, 2)),
            (unknown(), 9, go_on(1, 0)),
            (unknown(), 10, expired()),
            (unknown(), 30, expired()),
            (Attempt::Theirs("b".to_owned()), 1, Verdict::Lost("b".to_owned())),
            (Attempt::Ours, 11, Verdict::Expired("its last renewal took too long".to_owned())),
        ];
        for (attempt, since, wanted) in cases {
            let verdict = verdict(attempt.clone(), seconds(since));
            assert_eq!(verdict, wanted, "{attempt:?} after {since} s");
            if let Verdict::GoOn(pause, request) = verdict {
                assert!(seconds(since) + pause + request <= RENEW_DEADLINE);
            }
        }
        assert!(RENEW_DEADLINE < DURATION);
    }
}
