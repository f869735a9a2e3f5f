//! What Prometheus scrapes about Connect servers. Labels name servers, stores and operations, never vaults' contents.
//!
//! What belongs to one server is read from it as it is then: its series vanish with it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use super::{
    Hub, Source,
    endpoint::{Endpoint, Health},
};
use crate::{api::common::Time, core::store::StoreKey};

/// A server as one token sees it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndpointLabels {
    /// Its URL.
    endpoint: String,
    /// Group of the first store that it serves.
    group: &'static str,
    /// That store: `namespace/name`, or `name` of a cluster-wide one. Servers of one URL differ by it.
    store: String,
}

/// A request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    #[prometheus(flatten)]
    of: EndpointLabels,
    /// What was asked for.
    op: &'static str,
    /// Status, or why there was none.
    code: &'static str,
}

/// A look for changes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PollLabels {
    #[prometheus(flatten)]
    of: EndpointLabels,
    /// `unchanged`, `changed` or `error`.
    result: &'static str,
}

/// A server's version.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InfoLabels {
    #[prometheus(flatten)]
    of: EndpointLabels,
    /// The version.
    version: String,
}

/// What a request to any server asks for.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OpLabels {
    /// What was asked for.
    pub op: &'static str,
}

/// Why a request was tried again.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RetryLabels {
    /// Kind of the failure.
    pub class: &'static str,
}

/// What is counted over all servers.
#[derive(Clone, Debug)]
pub struct ConnectMetrics {
    /// Seconds a request took.
    pub duration: Family<OpLabels, Histogram>,
    /// Items fetched.
    pub fetched: Counter,
    /// Items that were wanted while they were fetched, or just after.
    pub coalesced: Counter,
    /// Requests that were tried again at once.
    pub retries: Family<RetryLabels, Counter>,
    /// Seconds from a change of an item to the write of its Secret.
    pub latency: Histogram,
}

impl Default for ConnectMetrics {
    fn default() -> Self {
        Self {
            duration: Family::new_with_constructor(|| Histogram::new([0.005, 0.025, 0.1, 0.5, 2.5, 10.0])),
            fetched: Counter::default(),
            coalesced: Counter::default(),
            retries: Family::default(),
            latency: Histogram::new([1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 3600.0]),
        }
    }
}

/// Adds everything about the servers of a hub.
pub fn register(hub: &Arc<Hub>, registry: &mut Registry) {
    let metrics = &hub.metrics;
    registry.register("connect_request_duration_seconds", "Seconds that a request took", metrics.duration.clone());
    registry.register("connect_items_fetched", "Items fetched with their values", metrics.fetched.clone());
    registry.register("connect_coalesced_requests", "Items that one fetch served besides", metrics.coalesced.clone());
    registry.register("connect_retries", "Requests that were tried again at once", metrics.retries.clone());
    let help = "Seconds from a change of an item to its Secret";
    registry.register("connect_change_to_secret_seconds", help, metrics.latency.clone());
    registry.register_collector(Box::new(Servers(hub.clone())));
}

/// What is counted of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    requests: BTreeMap<(&'static str, &'static str), u64>,
    polls: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn request(&mut self, op: &'static str, code: &'static str) {
        *self.requests.entry((op, code)).or_default() += 1;
    }

    pub(super) fn poll(&mut self, result: &'static str) {
        *self.polls.entry(result).or_default() += 1;
    }

    /// Requests so far.
    pub(super) fn count(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// One server, as it is now.
struct Measure {
    labels: EndpointLabels,
    tally: Tally,
    /// Whether it fails and is only probed.
    breaker: bool,
    missed: u64,
    stale: u64,
    looked_at: Option<Time>,
    expires_at: Option<Time>,
    items: usize,
    version: Option<String>,
}

impl Measure {
    fn of(store: &StoreKey, source: &Source) -> Self {
        let name = &store.name;
        let labels = EndpointLabels {
            endpoint: source.place.url.clone(),
            group: store.group.as_str(),
            store: store.namespace.as_ref().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}")),
        };
        let endpoint: &Endpoint = &source.endpoint;
        let state = endpoint.lock();
        let vaults = state.gate.index.vaults.values();
        Self {
            labels,
            tally: state.tally.clone(),
            breaker: matches!(state.health, Health::Failed(_)) || state.hold.is_open(),
            missed: state.gate.missed,
            stale: state.gate.stale,
            looked_at: state.looked_at,
            expires_at: source.place.expires_at,
            items: vaults.map(|vault| vault.items().map_or(0, BTreeMap::len)).sum(),
            version: state.version.clone(),
        }
    }

    fn times(time: Option<Time>) -> Option<i64> {
        time.map(|time| time.timestamp())
    }
}

/// Reads what there is to measure from the servers of a hub.
struct Servers(Arc<Hub>);

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers")
    }
}

impl Collector for Servers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let all: Vec<Measure> = self.0.measures().iter().map(|(store, source)| Measure::of(store, source)).collect();
        let mut page = Page { encoder: &mut encoder, all: &all };
        page.counters("connect_requests", "Requests to Connect servers", |one| {
            let of = |(op, code)| RequestLabels { of: one.labels.clone(), op, code };
            one.tally.requests.iter().map(|(key, count)| (of(*key), *count)).collect()
        })?;
        page.counters("connect_polls", "Looks for changes", |one| {
            let of = |result| PollLabels { of: one.labels.clone(), result };
            one.tally.polls.iter().map(|(result, count)| (of(*result), *count)).collect()
        })?;
        page.counters("connect_gate_missed_changes", "Changes no vault's version told", |one| {
            vec![(one.labels.clone(), one.missed)]
        })?;
        page.counters("connect_stale_reads", "Items shown older than known", |one| {
            vec![(one.labels.clone(), one.stale)]
        })?;
        let plain = |one: &Measure| one.labels.clone();
        page.gauges("connect_breaker_open", "1 while a failing server is only probed", plain, |one| {
            Some(i64::from(one.breaker))
        })?;
        page.gauges("connect_index_items", "Items known", plain, |one| i64::try_from(one.items).ok())?;
        let (name, help) = ("connect_last_successful_poll_timestamp_seconds", "When the server last answered a look");
        page.gauges(name, help, plain, |one| Measure::times(one.looked_at))?;
        let (name, help) = ("connect_token_expiry_timestamp_seconds", "When the token expires");
        page.gauges(name, help, plain, |one| Measure::times(one.expires_at))?;
        let version =
            |one: &Measure| InfoLabels { of: one.labels.clone(), version: one.version.clone().unwrap_or_default() };
        page.gauges("connect_info", "Version of the server", version, |one| one.version.as_ref().map(|_| 1))
    }
}

/// Where the families of all servers are written.
struct Page<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
    all: &'a [Measure],
}

impl Page<'_, '_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&Measure) -> Vec<(L, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in self.all.iter().flat_map(of) {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        labels: impl Fn(&Measure) -> L,
        value: impl Fn(&Measure) -> Option<i64>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in self.all {
            if let Some(value) = value(one) {
                ConstGauge::new(value).encode(family.encode_family(&labels(one))?)?;
            }
        }
        Ok(())
    }
}
