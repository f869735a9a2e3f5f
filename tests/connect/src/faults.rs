//! Faults: what goes wrong on purpose, for which requests and how often.
//! `admin.rs` describes how they are set.

use crate::{
    errors::{ApiError, plain},
    replica::Replica,
    route::{Kind, Route},
    state::State,
    status::versioned,
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

const PROXY_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\
    <body><h1>Sign in to continue</h1></body></html>\n";

/// What a fault does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Effect {
    /// An error of the API.
    Status { status: u16, message: Option<String>, retry_after: Option<String> },
    /// The answer comes later.
    Latency { ms: u64 },
    /// The answer never comes.
    Hang {},
    /// The connection is reset: at once, or after so many bytes of the answer.
    Reset { after_bytes: Option<u64> },
    /// The answer comes from an older state: frozen when the fault was set,
    /// so many changes before that, or lagging behind by a time. With
    /// `alternate`, on every other connection only.
    Stale {
        back: Option<usize>,
        lag_ms: Option<u32>,
        #[serde(default)]
        alternate: bool,
    },
    /// A body that did not come from Connect: by default a page of a proxy.
    Body { status: Option<u16>, content_type: Option<String>, body: Option<String> },
    /// A redirect, as a proxy or a captive portal answers.
    Redirect { location: String, status: Option<u16> },
    /// The plain text that a wrong path gets.
    PageNotFound {},
    /// The answer comes in small pieces.
    Slow { bytes: usize, every_ms: u64 },
    /// The content of files is not there yet (500).
    FileNotSynced {},
    /// `/health` tells that the first synchronisation is not done.
    NotSynced {},
}

/// A fault that was set.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fault {
    pub(crate) id: String,
    #[serde(flatten)]
    effect: Effect,
    #[serde(flatten)]
    selector: Selector,
    /// How many requests it has met.
    met: u64,
    #[serde(skip)]
    frozen: Option<Arc<State>>,
}

/// Which requests a fault is for. What is not given matches everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Selector {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The name of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// How many more requests; unlimited when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// A request, as far as faults look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met<'a> {
    pub(crate) route: &'a Route,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    /// The number of the connection.
    pub(crate) connection: u64,
    pub(crate) now: DateTime<Utc>,
}

/// What the faults make of a request.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    /// The state to answer from, where it is not the current one.
    pub(crate) view: Option<Arc<State>>,
    pub(crate) not_synced: bool,
    /// Bytes and pause of a slow answer.
    pub(crate) slow: Option<(usize, Duration)>,
    /// Bytes after which the connection is reset.
    pub(crate) cut: Option<u64>,
    pub(crate) end: Option<End>,
    /// The names of the faults, for the log.
    pub(crate) names: Vec<&'static str>,
}

/// How a request ends that is not answered by the API.
pub(crate) enum End {
    Answer(Box<Response>),
    Hang,
    Reset,
}

/// All faults, in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
    set: u64,
}

impl Faults {
    /// Sets a fault from its JSON.
    pub(crate) fn set(&mut self, document: Value, replica: &Replica) -> Result<Fault, String> {
        let Value::Object(mut effect) = document else {
            return Err("a fault is an object".to_owned());
        };
        let mut selector = Map::new();
        for key in ["kinds", "path", "token", "count"] {
            selector.extend(effect.remove(key).map(|value| (key.to_owned(), value)));
        }
        let selector = serde_json::from_value(Value::Object(selector)).map_err(|e| e.to_string())?;
        let effect = serde_json::from_value(Value::Object(effect)).map_err(|e| e.to_string())?;
        check(&effect)?;
        let frozen = match &effect {
            Effect::Stale { back, lag_ms: None, .. } => Some(replica.back(back.unwrap_or(0))),
            _ => None,
        };
        self.set += 1;
        let fault = Fault { id: format!("f{}", self.set), effect, selector, met: 0, frozen };
        self.faults.push(fault.clone());
        Ok(fault)
    }

    /// All faults that are set.
    pub(crate) fn all(&self) -> &[Fault] {
        &self.faults
    }

    /// Removes one fault, or all; tells how many.
    pub(crate) fn clear(&mut self, id: Option<&str>) -> usize {
        let before = self.faults.len();
        self.faults.retain(|fault| id.is_some_and(|id| fault.id != id));
        before - self.faults.len()
    }

    /// What the faults make of a request. Delays add up; the first fault that
    /// ends a request ends it.
    pub(crate) fn plan(&mut self, met: Met, replica: &Replica) -> Plan {
        let mut plan = Plan::default();
        for fault in &mut self.faults {
            if plan.end.is_none() && fault.concerns(met) {
                fault.met += 1;
                if let Some(count) = &mut fault.selector.count {
                    *count -= 1;
                }
                fault.apply(met, replica, &mut plan);
            }
        }
        plan
    }
}

impl Fault {
    fn concerns(&self, met: Met) -> bool {
        let by_effect = match self.effect {
            Effect::FileNotSynced {} => met.route.kind == Kind::FileContent,
            Effect::NotSynced {} => met.route.kind == Kind::Health,
            Effect::Stale { alternate, .. } => !alternate || met.connection % 2 == 1,
            _ => true,
        };
        let selector = &self.selector;
        by_effect
            && selector.count != Some(0)
            && (selector.kinds.is_empty() || selector.kinds.contains(&met.route.kind))
            && selector.path.as_ref().is_none_or(|prefix| met.path.starts_with(prefix))
            && selector.token.as_deref().is_none_or(|name| met.token == Some(name))
    }

    fn apply(&self, met: Met, replica: &Replica, plan: &mut Plan) {
        plan.names.push(self.effect.name());
        match &self.effect {
            Effect::Latency { ms } => plan.delay += Duration::from_millis(*ms),
            Effect::Slow { bytes, every_ms } => {
                plan.slow = Some((*bytes, Duration::from_millis(*every_ms)));
            }
            Effect::NotSynced {} => plan.not_synced = true,
            Effect::Stale { lag_ms, .. } => {
                let lag = TimeDelta::milliseconds(i64::from(lag_ms.unwrap_or(0)));
                let lagging = || replica.ago(met.now, lag);
                plan.view = Some(self.frozen.clone().unwrap_or_else(lagging));
            }
            Effect::Reset { after_bytes: Some(bytes) } => plan.cut = Some(*bytes),
            Effect::Reset { after_bytes: None } => plan.end = Some(End::Reset),
            Effect::Hang {} => plan.end = Some(End::Hang),
            answer => plan.end = Some(End::Answer(Box::new(answer.response()))),
        }
    }
}

impl Effect {
    fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Latency { .. } => "latency",
            Self::Hang {} => "hang",
            Self::Reset { .. } => "reset",
            Self::Stale { .. } => "stale",
            Self::Body { .. } => "body",
            Self::Redirect { .. } => "redirect",
            Self::PageNotFound {} => "page-not-found",
            Self::Slow { .. } => "slow",
            Self::FileNotSynced {} => "file-not-synced",
            Self::NotSynced {} => "not-synced",
        }
    }

    /// The answer of a fault that has one.
    fn response(&self) -> Response {
        match self {
            Self::Status { status, message, retry_after } => {
                let mut error = ApiError::known(code(*status));
                if let Some(message) = message {
                    error.message.clone_from(message);
                }
                let mut response = error.into_response();
                if let Some(value) = retry_after.as_deref().and_then(header_value) {
                    response.headers_mut().insert(header::RETRY_AFTER, value);
                }
                versioned(response)
            }
            Self::Body { status, content_type, body } => {
                let text = body.clone().unwrap_or_else(|| PROXY_PAGE.to_owned());
                let mut response = plain(code(status.unwrap_or(200)), text);
                let kind = content_type.as_deref().unwrap_or("text/html; charset=utf-8");
                if let Some(value) = header_value(kind) {
                    response.headers_mut().insert(header::CONTENT_TYPE, value);
                }
                response
            }
            Self::Redirect { location, status } => {
                let mut response = plain(code(status.unwrap_or(302)), String::new());
                if let Some(value) = header_value(location) {
                    response.headers_mut().insert(header::LOCATION, value);
                }
                response
            }
            Self::PageNotFound {} => crate::errors::page_not_found(),
            _ => versioned(ApiError::known(StatusCode::INTERNAL_SERVER_ERROR).into_response()),
        }
    }
}

/// Refuses what could not be sent.
fn check(effect: &Effect) -> Result<(), String> {
    let (status, texts) = match effect {
        Effect::Status { status, retry_after, .. } => (Some(*status), retry_after.as_deref()),
        Effect::Body { status, content_type, .. } => (*status, content_type.as_deref()),
        Effect::Redirect { location, status } => (*status, Some(location.as_str())),
        Effect::Slow { bytes: 0, .. } => return Err("bytes must be at least 1".to_owned()),
        _ => return Ok(()),
    };
    let bad_status = status.filter(|status| !(200..=599).contains(status));
    if let Some(status) = bad_status {
        return Err(format!("not a status: {status}"));
    }
    match texts {
        Some(text) if header_value(text).is_none() => Err(format!("not a header: {text:?}")),
        _ => Ok(()),
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}
