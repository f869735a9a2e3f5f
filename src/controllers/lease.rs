//! A Lease keeps two controllers apart.
//!
//! Every write carries the resourceVersion that was read, so that of two that want an expired Lease exactly one
//! gets it; a patch without it lets both. Whether one has expired is judged by how long it was seen unchanged here, so
//! that the clocks of two nodes may differ; and its holder stops acting well before another one may start.

use std::time::Duration;

use chrono::Utc;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use tokio::time::Instant;

use crate::{
    api::{MANAGER, common::Time, labels},
    clients::cluster,
    core::{
        problem::{Problem, Reason},
        time,
    },
};

/// Name of the Lease in the operator's namespace.
pub const NAME: &str = "strongroom-controller";
/// Seconds after which a Lease that was not renewed may be taken.
const SECONDS: i32 = 15;
/// How often it is renewed.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// How soon that is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// After so long without a renewal its holder stops. Less than `SECONDS`, for all that takes its time on the way.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why this process must not act.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Someone else holds the Lease.
    #[error("the Lease {NAME} was lost to {0}")]
    Lost(String),
    /// It could not be renewed in time.
    #[error("the Lease {NAME} could not be renewed in time: {0}")]
    Expired(Problem),
}

impl LeaseError {
    /// The API server does not answer in time.
    pub(crate) fn unanswered() -> Self {
        Self::Expired(silence())
    }
}

fn silence() -> Problem {
    Problem::new(Reason::ClusterError, "the API server does not answer")
}

/// A Lease of somebody else, and since when it was seen as it is.
#[derive(Debug, Default)]
struct Watched(Option<(LeaseSpec, Instant)>);

impl Watched {
    /// Whether its holder has had its time since it last renewed it.
    fn has_expired(&mut self, spec: &LeaseSpec, now: Instant) -> bool {
        let seconds = spec.lease_duration_seconds.unwrap_or(SECONDS).unsigned_abs();
        match &self.0 {
            Some((seen, since)) if seen == spec => now - *since > Duration::from_secs(seconds.into()),
            _ => {
                self.0 = Some((spec.clone(), now));
                false
            }
        }
    }
}

/// What a look at the Lease leads to.
#[derive(Debug, PartialEq)]
enum Claim {
    /// Write this spec over it.
    Take(Box<LeaseSpec>),
    /// Somebody else holds it.
    Held(String),
}

/// Decides whether `identity` may hold the Lease.
fn claim(spec: Option<&LeaseSpec>, identity: &str, watched: &mut Watched, (now, at): (Time, Instant)) -> Claim {
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    if let (Some(holder), Some(spec)) = (&holder, spec)
        && holder != identity
        && !watched.has_expired(spec, at)
    {
        return Claim::Held(holder.clone());
    }
    let mine = holder.as_deref() == Some(identity);
    let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    let acquired = spec.and_then(|spec| spec.acquire_time.clone()).filter(|_| mine);
    Claim::Take(Box::new(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(SECONDS),
        acquire_time: acquired.or_else(|| Some(time::to_micro(now))),
        renew_time: Some(time::to_micro(now)),
        lease_transitions: Some(if mine { transitions } else { transitions + 1 }),
        ..LeaseSpec::default()
    }))
}

/// Takes or renews the Lease once. `Ok(Some(holder))` means that someone else holds it.
async fn attempt(api: &Api<Lease>, identity: &str, watched: &mut Watched) -> Result<Option<String>, Problem> {
    let found = cluster::get(api, NAME).await?;
    let now = (Utc::now(), Instant::now());
    let spec = match claim(found.as_ref().and_then(|lease| lease.spec.as_ref()), identity, watched, now) {
        Claim::Held(holder) => return Ok(Some(holder)),
        Claim::Take(spec) => Some(*spec),
    };
    let written = if let Some(lease) = found {
        api.replace(NAME, &PostParams::default(), &Lease { spec, ..lease }).await
    } else {
        let metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some([(labels::MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        };
        api.create(&PostParams::default(), &Lease { metadata, spec }).await
    };
    match written {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(Some("another controller that was quicker".to_owned()))
        }
        Err(error) => Err(cluster::problem::<Lease>("write", NAME, &error)),
    }
}

/// Waits until the Lease is ours; since when it is.
pub(crate) async fn acquire(api: &Api<Lease>, identity: &str) -> Instant {
    let (mut told, mut watched) = (None, Watched::default());
    loop {
        let since = Instant::now();
        match tokio::time::timeout(RENEW, attempt(api, identity, &mut watched)).await {
            Ok(Ok(None)) => return since,
            Ok(Ok(Some(holder))) => {
                if told.as_ref() != Some(&holder) {
                    tracing::info!(holder, "waiting for the Lease");
                    told = Some(holder);
                }
            }
            Ok(Err(problem)) => tracing::warn!(%problem, "cannot take the Lease; it is tried again"),
            Err(_) => tracing::warn!("{}; the Lease is tried again", silence()),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Renews the Lease, which is ours since then, for as long as that works.
pub(crate) async fn keep(api: &Api<Lease>, identity: &str, since: Instant) -> LeaseError {
    renew(since, async || attempt(api, identity, &mut Watched::default()).await).await
}

/// Renews again and again; what is renewed holds from the moment in which that began.
async fn renew(mut since: Instant, attempt: impl AsyncFn() -> Result<Option<String>, Problem>) -> LeaseError {
    let mut next = since + RENEW;
    loop {
        tokio::time::sleep_until(next.min(since + DEADLINE)).await;
        let now = Instant::now();
        let problem = match tokio::time::timeout_at(since + DEADLINE, attempt()).await {
            Ok(Ok(None)) => {
                (since, next) = (now, now + RENEW);
                continue;
            }
            Ok(Ok(Some(holder))) => return LeaseError::Lost(holder),
            Ok(Err(problem)) => problem,
            Err(_) => silence(),
        };
        if since.elapsed() >= DEADLINE {
            return LeaseError::Expired(problem);
        }
        tracing::warn!(%problem, "cannot renew the Lease; it is tried again");
        next = Instant::now() + RETRY;
    }
}

/// Gives the Lease back at a clean end, so that the next controller need not wait.
pub(crate) async fn release(api: &Api<Lease>, identity: &str) {
    let Ok(Some(mut lease)) = cluster::get(api, NAME).await else { return };
    if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(identity)) {
        spec.holder_identity = None;
        spec.renew_time = None;
        if let Err(error) = api.replace(NAME, &PostParams::default(), &lease).await {
            tracing::debug!(%error, "the Lease could not be released; it expires");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str, renewed: Time) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(time::to_micro(renewed)),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    /// What a look at that moment leads to, for `b`.
    fn look(spec: Option<&LeaseSpec>, watched: &mut Watched, start: Instant, second: u64) -> Claim {
        claim(spec, "b", watched, (Utc::now(), start + Duration::from_secs(second)))
    }

    #[test]
    fn a_lease_of_another_is_taken_when_it_was_seen_unchanged_for_its_time() {
        let (start, mut watched) = (Instant::now(), Watched::default());
        // By its holder's clock it is long over, or far from it: that tells nothing.
        for hours in [-5, 5] {
            let held = spec("a", Utc::now() + chrono::Duration::hours(hours));
            let mut watched = Watched::default();
            for second in [0, 7, 15] {
                assert_eq!(look(Some(&held), &mut watched, start, second), Claim::Held("a".to_owned()));
            }
            let taken = look(Some(&held), &mut watched, start, 16);
            assert!(matches!(taken, Claim::Take(spec) if spec.lease_transitions == Some(5)));
        }
        // Each renewal gives it its time anew.
        for second in [0, 10, 20, 30, 40] {
            let renewed = spec("a", Utc::now() + chrono::Duration::seconds(second));
            let second = second.unsigned_abs();
            assert_eq!(look(Some(&renewed), &mut watched, start, second), Claim::Held("a".to_owned()));
        }
    }

    #[test]
    fn ones_own_a_released_or_no_lease_is_taken_at_once() {
        let (start, mut watched) = (Instant::now(), Watched::default());
        let mine = spec("b", Utc::now());
        let taken = look(Some(&mine), &mut watched, start, 0);
        assert!(matches!(taken, Claim::Take(spec) if spec.lease_transitions == Some(4)));
        let released = LeaseSpec { holder_identity: None, ..spec("a", Utc::now()) };
        assert!(matches!(look(Some(&released), &mut watched, start, 0), Claim::Take(_)));
        assert!(matches!(look(None, &mut watched, start, 0), Claim::Take(_)));
    }

    /// Whatever fails, and however long that takes: it ends before another one may begin.
    #[tokio::test(start_paused = true)]
    async fn a_holder_that_cannot_renew_ends_before_another_may_start() {
        let failed = || Err(Problem::new(Reason::ClusterError, "no"));
        for takes in [0, 1, 4, 9, 100] {
            let start = Instant::now();
            let error = renew(start, async || {
                tokio::time::sleep(Duration::from_secs(takes)).await;
                failed()
            });
            assert!(matches!(error.await, LeaseError::Expired(_)));
            assert_eq!(start.elapsed(), DEADLINE, "with attempts of {takes} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_goes_on_while_it_can_renew_and_ends_when_another_has_it() {
        let (start, tries) = (Instant::now(), std::cell::Cell::new(0));
        let error = renew(start, async || {
            tries.set(tries.get() + 1);
            match tries.get() {
                // Two in three fail.
                100 => Ok(Some("a".to_owned())),
                n if n % 3 == 0 => Ok(None),
                _ => Err(Problem::new(Reason::ClusterError, "no")),
            }
        });
        assert!(matches!(error.await, LeaseError::Lost(holder) if holder == "a"));
        assert!(start.elapsed() > Duration::from_mins(3));
    }
}
