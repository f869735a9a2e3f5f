//! The log of requests behind `GET /v1/activity`: requests to this server,
//! not changes in the account.

use crate::{
    model::{Reference, Stamp},
    route::{Kind, Route},
    tokens::{Identity, Token},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::VecDeque;

/// How many requests are remembered.
const KEPT: usize = 1000;

/// One request, as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    request_id: String,
    timestamp: Stamp,
    action: &'static str,
    result: &'static str,
    actor: Actor,
    resource: Resource,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Actor {
    id: String,
    account: String,
    jti: String,
    user_agent: String,
    request_ip: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_version: Option<u64>,
}

/// Who asked, from where.
pub(crate) struct Caller<'a> {
    pub(crate) token: &'a Token,
    pub(crate) user_agent: &'a str,
    pub(crate) ip: String,
}

/// The requests, newest first.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    records: VecDeque<Record>,
    recorded: u64,
}

impl Activity {
    /// Notes a request for a vault or an item.
    pub(crate) fn record(
        &mut self,
        route: &Route,
        caller: &Caller,
        identity: &Identity,
        now: DateTime<Utc>,
        allowed: bool,
        item_version: Option<u64>,
    ) {
        self.recorded += 1;
        let record = Record {
            request_id: format!("00000000-0000-4000-8000-{:012x}", self.recorded),
            timestamp: Stamp(now),
            action: action(route.kind),
            result: if allowed { "SUCCESS" } else { "DENY" },
            actor: Actor {
                id: identity.server.clone(),
                account: identity.account.clone(),
                jti: caller.token.jti.clone(),
                user_agent: caller.user_agent.to_owned(),
                request_ip: caller.ip.clone(),
            },
            resource: Resource {
                kind: resource(route.kind),
                vault: reference(&route.vault),
                item: reference(&route.item),
                item_version,
            },
        };
        self.records.push_front(record);
        self.records.truncate(KEPT);
    }

    /// Some of the requests, with the value of `Content-Range`
    /// (`1-50/1134` in the OpenAPI document).
    pub(crate) fn page(&self, limit: usize, offset: usize) -> (Vec<&Record>, String) {
        let page: Vec<_> = self.records.iter().skip(offset).take(limit).collect();
        let first = if page.is_empty() { 0 } else { offset + 1 };
        let last = if page.is_empty() { 0 } else { offset + page.len() };
        let range = format!("{first}-{last}/{}", self.records.len());
        (page, range)
    }
}

fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::ItemCreate => "CREATE",
        Kind::ItemUpdate | Kind::ItemPatch => "UPDATE",
        Kind::ItemDelete => "DELETE",
        _ => "READ",
    }
}

fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::VaultsList | Kind::VaultGet => "VAULT",
        _ => "ITEM",
    }
}

fn reference(id: &str) -> Option<Reference> {
    (!id.is_empty()).then(|| Reference { id: id.to_owned() })
}
