//! What Prometheus scrapes about Connect servers. Labels name servers and operations, never vaults' contents.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// A server.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EndpointLabels {
    /// Its host.
    pub endpoint: String,
}

/// A request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// The server's host.
    pub endpoint: String,
    /// What was asked for.
    pub op: &'static str,
    /// Status, or why there was none.
    pub code: &'static str,
}

/// A look for changes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PollLabels {
    /// The server's host.
    pub endpoint: String,
    /// `unchanged`, `changed` or `error`.
    pub result: &'static str,
}

/// A server's version.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct InfoLabels {
    /// The server's host.
    pub endpoint: String,
    /// The version.
    pub version: String,
}

/// The families.
#[derive(Clone, Debug)]
pub struct ConnectMetrics {
    /// Requests.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds a request took.
    pub duration: Histogram,
    /// Looks for changes.
    pub polls: Family<PollLabels, Counter>,
    /// Items fetched.
    pub fetched: Counter,
    /// Items that were wanted while they were fetched, or just after.
    pub coalesced: Counter,
    /// Requests that were tried again at once.
    pub retries: Counter,
    /// 1 while a server is only probed, because it fails.
    pub breaker: Family<EndpointLabels, Gauge>,
    /// Changes that a vault's version did not tell.
    pub missed: Family<EndpointLabels, Gauge>,
    /// Items that a list showed older than known.
    pub stale: Family<EndpointLabels, Gauge>,
    /// When a server was last asked with success.
    pub last_poll: Family<EndpointLabels, Gauge>,
    /// When a token expires.
    pub token_expiry: Family<EndpointLabels, Gauge>,
    /// Items known.
    pub items: Family<EndpointLabels, Gauge>,
    /// The servers' versions.
    pub info: Family<InfoLabels, Gauge>,
    /// Seconds from a change of an item to the write of its Secret.
    pub latency: Histogram,
}

impl Default for ConnectMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Histogram::new([0.005, 0.025, 0.1, 0.5, 2.5, 10.0]),
            polls: Family::default(),
            fetched: Counter::default(),
            coalesced: Counter::default(),
            retries: Counter::default(),
            breaker: Family::default(),
            missed: Family::default(),
            stale: Family::default(),
            last_poll: Family::default(),
            token_expiry: Family::default(),
            items: Family::default(),
            info: Family::default(),
            latency: Histogram::new([1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 3600.0]),
        }
    }
}

impl ConnectMetrics {
    /// Adds the families.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("connect_requests", "Requests to Connect servers", self.requests.clone());
        registry.register("connect_request_duration_seconds", "Seconds that a request took", self.duration.clone());
        registry.register("connect_polls", "Looks for changes", self.polls.clone());
        registry.register("connect_items_fetched", "Items fetched with their values", self.fetched.clone());
        registry.register("connect_coalesced_requests", "Items that one fetch served besides", self.coalesced.clone());
        registry.register("connect_retries", "Requests that were tried again at once", self.retries.clone());
        registry.register("connect_breaker_open", "1 while a failing server is only probed", self.breaker.clone());
        registry.register("connect_gate_missed_changes", "Changes no vault's version told", self.missed.clone());
        registry.register("connect_stale_reads", "Items shown older than known", self.stale.clone());
        let help = "When the server last answered a look for changes";
        registry.register("connect_last_successful_poll_timestamp_seconds", help, self.last_poll.clone());
        let help = "When the token expires";
        registry.register("connect_token_expiry_timestamp_seconds", help, self.token_expiry.clone());
        registry.register("connect_index_items", "Items known", self.items.clone());
        registry.register("connect_info", "Version of the server", self.info.clone());
        let help = "Seconds from a change of an item to its Secret";
        registry.register("connect_change_to_secret_seconds", help, self.latency.clone());
    }
}
