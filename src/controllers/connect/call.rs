//! One request to a server, tried again at once where that may help.

use std::time::Duration;

use futures::Future;
use tokio::time::{Instant, sleep};

use super::{
    endpoint::{Endpoint, Health},
    metrics::{OpLabels, RetryLabels},
};
use crate::{
    clients::connect::{Failure, FailureKind},
    core::backoff::{in_call, spread},
};

/// How often a request is tried where trying again may help.
const TRIES: u32 = 3;

impl Endpoint {
    /// A request, tried again where that may help and the server did answer before.
    pub(super) async fn call<T, F>(&self, op: &'static str, request: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (tries, starting) = {
            let state = self.lock();
            // A server that is known to fail is only probed.
            let probed = matches!(state.health, Health::Failed(_)) || state.hold.is_open();
            (if probed { 1 } else { TRIES }, state.health == Health::Starting)
        };
        let mut attempt = 1;
        loop {
            let failure = match self.once(op, request()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let wait = self.wait(&failure, attempt, starting).filter(|_| attempt < tries);
            let Some(wait) = wait else { return Err(failure) };
            self.metrics.retries.get_or_create(&RetryLabels { class: failure.kind.as_str() }).inc();
            sleep(wait).await;
            attempt += 1;
        }
    }

    /// A request, once.
    async fn once<T>(&self, op: &'static str, request: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let started = Instant::now();
        let result = request.await;
        self.metrics.duration.get_or_create(&OpLabels { op }).observe(started.elapsed().as_secs_f64());
        let code = result.as_ref().map_or_else(|failure| failure.kind.as_str(), |_| "200");
        self.lock().tally.request(op, code);
        result
    }

    /// How long to wait before a request is tried again; nothing where that does not help.
    fn wait(&self, failure: &Failure, attempt: u32, starting: bool) -> Option<Duration> {
        if !may_help(failure.kind, attempt, starting) {
            return None;
        }
        let count = self.lock().tally.count();
        in_call(attempt, failure.retry_after, spread(&[&self.id, &count.to_string()]))
    }
}

/// Whether to try a request again at once.
const fn may_help(kind: FailureKind, attempt: u32, starting: bool) -> bool {
    match kind {
        FailureKind::Unreachable | FailureKind::Server | FailureKind::Busy => true,
        // Connect 1.7.1 answers it at times without a reason, and a proxy may answer while the server starts.
        FailureKind::Forbidden | FailureKind::Alien => attempt == 1,
        // The first request after a start of Connect before 1.7.2.
        FailureKind::Rejected => starting && attempt == 1,
        _ => false,
    }
}

/// Whether a failure is the server's: it passes by itself, and until then every request is in vain.
pub(super) const fn is_outage(failure: &Failure) -> bool {
    matches!(
        failure.kind,
        FailureKind::Unreachable
            | FailureKind::Timeout
            | FailureKind::Busy
            | FailureKind::Server
            | FailureKind::NotReady
    )
}
