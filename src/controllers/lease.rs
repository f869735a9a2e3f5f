//! A Lease keeps two controllers apart.
//!
//! Every write carries the resourceVersion that was read, so that of two that want an expired Lease exactly one
//! gets it; a patch without it lets both.

use std::time::Duration;

use chrono::Utc;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};
use tokio::time::Instant;

use crate::{
    api::{MANAGER, labels},
    clients::cluster,
    core::{
        lease::{Attempt, Claim, REQUEST, RETRY, Verdict, Watched, claim, verdict},
        problem::Problem,
    },
};

/// Name of the Lease in the operator's namespace.
pub const NAME: &str = "strongroom-controller";

/// Why this process must not act.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Someone else holds the Lease.
    #[error("the Lease {NAME} was lost to {0}")]
    Lost(String),
    /// It could not be renewed in time.
    #[error("the Lease {NAME} could not be renewed in time: {0}")]
    Expired(String),
}

/// This controller before the Lease.
pub(crate) struct Candidate<'a> {
    api: &'a Api<Lease>,
    identity: &'a str,
    /// Where the clock of our own begins.
    started: Instant,
    watched: Watched,
    /// When the attempt began that last got the Lease: what others count from is never earlier.
    renewed: Instant,
    /// The Lease as we wrote it last: while nothing fails, it need not be read.
    written: Option<Lease>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(api: &'a Api<Lease>, identity: &'a str) -> Self {
        let now = Instant::now();
        Self { api, identity, started: now, watched: Watched::default(), renewed: now, written: None }
    }

    /// Waits until the Lease is ours.
    pub(crate) async fn acquire(&mut self) {
        let mut told = None;
        loop {
            match self.attempt(REQUEST).await {
                Attempt::Ours => return,
                Attempt::Theirs(holder) => {
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(holder, "waiting for the Lease");
                        told = Some(holder);
                    }
                }
                Attempt::Unknown(why) => tracing::warn!("cannot take the Lease; it is tried again: {why}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews the Lease for as long as that works.
    pub(crate) async fn keep(mut self) -> LeaseError {
        let mut attempt = Attempt::Ours;
        loop {
            match verdict(attempt, self.renewed.elapsed()) {
                Verdict::Lost(holder) => return LeaseError::Lost(holder),
                Verdict::Expired(why) => return LeaseError::Expired(why),
                Verdict::GoOn(pause, limit) => {
                    tokio::time::sleep(pause).await;
                    attempt = self.attempt(limit).await;
                }
            }
            if let Attempt::Unknown(why) = &attempt {
                tracing::warn!("cannot renew the Lease; it is tried again: {why}");
            }
        }
    }

    /// Takes or renews the Lease once, within so long.
    async fn attempt(&mut self, limit: Duration) -> Attempt {
        let began = Instant::now();
        let attempt = match tokio::time::timeout(limit, self.write()).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(problem)) => Attempt::Unknown(problem.message),
            Err(_) => Attempt::Unknown("the API server does not answer".to_owned()),
        };
        if attempt == Attempt::Ours {
            self.renewed = began;
        }
        attempt
    }

    async fn write(&mut self) -> Result<Attempt, Problem> {
        let found = match self.written.take() {
            Some(lease) => Some(lease),
            None => cluster::get(self.api, NAME).await?,
        };
        let record = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let unchanged = self.watched.unchanged(record, self.started.elapsed());
        let spec = match claim(record, self.identity, unchanged, Utc::now()) {
            Claim::Held(holder) => return Ok(Attempt::Theirs(holder)),
            Claim::Take(spec) => Some(*spec),
        };
        let written = if let Some(lease) = found {
            self.api.replace(NAME, &PostParams::default(), &Lease { spec, ..lease }).await
        } else {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some([(labels::MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            };
            self.api.create(&PostParams::default(), &Lease { metadata, spec }).await
        };
        match written {
            Ok(lease) => {
                self.written = Some(lease);
                Ok(Attempt::Ours)
            }
            // The next look tells who it was: it may have been an earlier write of our own that was given up.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Attempt::Unknown("somebody wrote it at the same moment".to_owned()))
            }
            Err(error) => Err(cluster::problem::<Lease>("write", NAME, &error)),
        }
    }
}

/// Gives the Lease back at a clean end, so that the next controller need not wait.
pub(crate) async fn release(api: &Api<Lease>, identity: &str) {
    let Ok(Ok(Some(mut lease))) = tokio::time::timeout(REQUEST, cluster::get(api, NAME)).await else { return };
    if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(identity)) {
        spec.holder_identity = None;
        spec.renew_time = None;
        match tokio::time::timeout(REQUEST, api.replace(NAME, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the Lease could not be released; it expires"),
            Err(_) => tracing::debug!("the Lease could not be released; it expires"),
        }
    }
}
