//! A Lease keeps two controllers apart.
//!
//! Every write carries the resourceVersion that was read, so that of two that want an expired Lease exactly one
//! gets it; a patch without it lets both.

use std::time::Duration;

use chrono::Utc;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};

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
const RENEW: Duration = Duration::from_secs(5);

/// Why this process must not act.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Someone else holds the Lease.
    #[error("the Lease {NAME} was lost to {0}")]
    Lost(String),
    /// It could not be renewed in time.
    #[error("the Lease {NAME} could not be renewed in {SECONDS} s: {0}")]
    Expired(Problem),
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
fn claim(spec: Option<&LeaseSpec>, identity: &str, now: Time) -> Claim {
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(time::from_micro);
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(SECONDS);
    let expired = renewed.is_none_or(|renewed| now - renewed > chrono::Duration::seconds(seconds.into()));
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
        lease_duration_seconds: Some(SECONDS),
        acquire_time: acquired.or_else(|| Some(time::to_micro(now))),
        renew_time: Some(time::to_micro(now)),
        lease_transitions: Some(if mine { transitions } else { transitions + 1 }),
        ..LeaseSpec::default()
    }))
}

/// Takes or renews the Lease once. `Ok(Some(holder))` means that someone else holds it.
async fn attempt(api: &Api<Lease>, identity: &str) -> Result<Option<String>, Problem> {
    let found = cluster::get(api, NAME).await?;
    let spec = match claim(found.as_ref().and_then(|lease| lease.spec.as_ref()), identity, Utc::now()) {
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

/// Waits until the Lease is ours.
pub(crate) async fn acquire(api: &Api<Lease>, identity: &str) {
    let mut told = None;
    loop {
        match attempt(api, identity).await {
            Ok(None) => return,
            Ok(Some(holder)) => {
                if told.as_ref() != Some(&holder) {
                    tracing::info!(holder, "waiting for the Lease");
                    told = Some(holder);
                }
            }
            Err(problem) => tracing::warn!(%problem, "cannot take the Lease; it is tried again"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Renews the Lease for as long as that works.
pub(crate) async fn keep(api: &Api<Lease>, identity: &str) -> LeaseError {
    let mut renewed = tokio::time::Instant::now();
    // Stops a second before somebody else may start.
    let longest = Duration::from_secs(u64::from(SECONDS.unsigned_abs()) - 1);
    loop {
        tokio::time::sleep(RENEW).await;
        match tokio::time::timeout(RENEW, attempt(api, identity)).await {
            Ok(Ok(None)) => renewed = tokio::time::Instant::now(),
            Ok(Ok(Some(holder))) => return LeaseError::Lost(holder),
            Ok(Err(problem)) if renewed.elapsed() + RENEW >= longest => return LeaseError::Expired(problem),
            Ok(Err(problem)) => tracing::warn!(%problem, "cannot renew the Lease; it is tried again"),
            Err(_) if renewed.elapsed() + RENEW >= longest => {
                return LeaseError::Expired(Problem::new(Reason::ClusterError, "the API server does not answer"));
            }
            Err(_) => tracing::warn!("the API server does not answer; the Lease is tried again"),
        }
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

    #[test]
    fn a_live_lease_of_another_is_left_alone() {
        let now = Utc::now();
        let held = spec("a", now - chrono::Duration::seconds(14));
        assert_eq!(claim(Some(&held), "b", now), Claim::Held("a".to_owned()));
        assert!(matches!(claim(Some(&held), "a", now), Claim::Take(spec) if spec.lease_transitions == Some(4)));
    }

    #[test]
    fn an_expired_or_released_lease_is_taken() {
        let now = Utc::now();
        let expired = spec("a", now - chrono::Duration::seconds(16));
        assert!(matches!(claim(Some(&expired), "b", now), Claim::Take(spec) if spec.lease_transitions == Some(5)));
        let released = LeaseSpec { holder_identity: None, ..spec("a", now) };
        assert!(matches!(claim(Some(&released), "b", now), Claim::Take(_)));
        assert!(matches!(claim(None, "b", now), Claim::Take(_)));
    }
}
