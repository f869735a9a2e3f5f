//! What the API server's audit log says that someone did.

use std::{collections::BTreeMap, fs};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::var;

/// A place in the audit log.
pub struct Mark(usize);

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Plural name, with the subresource where there is one.
    pub resource: String,
    /// Namespace of the object; empty for a cluster-wide one.
    pub namespace: String,
    /// Name of the object; of a list or watch too, if it is of one object.
    pub name: String,
    /// Of a list or watch, the labels that it asks for, as they are in the request.
    pub labels: String,
    /// When it was answered.
    pub at: DateTime<Utc>,
}

/// Where the log ends now.
pub fn mark() -> Mark {
    Mark(fs::metadata(var("AUDIT_LOG")).map_or(0, |log| usize::try_from(log.len()).unwrap_or(0)))
}

/// What the operator asked since then.
pub fn of_operator(since: &Mark) -> Vec<Request> {
    of(since, |event| event["user"]["username"] == "system:serviceaccount:strongroom-system:strongroom")
}

/// What a program asked since then, whose requests say that they come from it.
pub fn of_program(since: &Mark, user_agent: &str) -> Vec<Request> {
    of(since, |event| event["userAgent"].as_str().is_some_and(|agent| agent.starts_with(user_agent)))
}

fn of(since: &Mark, who: impl Fn(&Value) -> bool) -> Vec<Request> {
    let log = fs::read(var("AUDIT_LOG")).expect("the audit log can be read");
    let text = String::from_utf8_lossy(&log[since.0.min(log.len())..]).into_owned();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["stage"] == "ResponseComplete")
        .filter(who)
        .filter_map(|event| {
            let object = &event["objectRef"];
            let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
            Some(Request {
                verb: event["verb"].as_str()?.to_owned(),
                resource: format!("{}{subresource}", object["resource"].as_str()?),
                namespace: object["namespace"].as_str().unwrap_or_default().to_owned(),
                name: object["name"].as_str().unwrap_or_default().to_owned(),
                labels: asked(event["requestURI"].as_str()?, "labelSelector"),
                at: event["stageTimestamp"].as_str()?.parse().ok()?,
            })
        })
        .collect()
}

/// A parameter of a request.
fn asked(uri: &str, name: &str) -> String {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default().to_owned()
}

/// The writes among them, counted by verb and resource; Events and the Lease aside.
pub fn writes(requests: &[Request]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        let writes = matches!(request.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        if writes && request.resource != "events" && request.resource != "leases" {
            *counts.entry((request.verb.clone(), request.resource.clone())).or_insert(0) += 1;
        }
    }
    counts
}
