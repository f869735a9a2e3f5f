//! How often what was asked.

use crate::route::Route;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

type Tally = BTreeMap<String, u64>;

/// The counts since the start or the last reset; faulted requests count too.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    total: u64,
    kinds: Tally,
    /// Requests that name a vault, an item or a file, by its ID.
    vaults: Tally,
    items: Tally,
    files: Tally,
    /// For each kind of request, by the last ID in its path.
    detail: BTreeMap<&'static str, Tally>,
    /// By the name of the token; requests without a known one are left out.
    tokens: Tally,
    statuses: BTreeMap<u16, u64>,
    faults: Tally,
    /// Connections that carried a request.
    #[serde(serialize_with = "how_many")]
    connections: BTreeSet<u64>,
    in_flight: u64,
    max_in_flight: u64,
}

impl Counts {
    /// A request came.
    pub(crate) fn begin(&mut self, route: &Route, token: Option<&str>, connection: u64) {
        self.total += 1;
        add(&mut self.kinds, route.kind.name());
        let named = [(&mut self.vaults, &route.vault), (&mut self.items, &route.item), (&mut self.files, &route.file)];
        for (tally, id) in named {
            if !id.is_empty() {
                add(tally, id);
            }
        }
        let ids = [&route.file, &route.item, &route.vault];
        if let Some(id) = ids.into_iter().find(|id| !id.is_empty()) {
            add(self.detail.entry(route.kind.name()).or_default(), id);
        }
        if let Some(name) = token {
            add(&mut self.tokens, name);
        }
        self.connections.insert(connection);
        self.in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.in_flight);
    }

    /// A request met these faults.
    pub(crate) fn faults(&mut self, names: &[&str]) {
        for name in names {
            add(&mut self.faults, name);
        }
    }

    /// A request was answered, or given up when there is no status.
    pub(crate) fn end(&mut self, status: Option<u16>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(status) = status {
            *self.statuses.entry(status).or_default() += 1;
        }
    }

    /// Requests that are being answered.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Starts anew; what is in flight stays in flight.
    pub(crate) fn reset(&mut self) {
        *self = Self { in_flight: self.in_flight, max_in_flight: self.in_flight, ..Self::default() };
    }
}

fn add(tally: &mut Tally, key: &str) {
    *tally.entry(key.to_owned()).or_default() += 1;
}

fn how_many<S: Serializer>(set: &BTreeSet<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(set.len() as u64)
}
