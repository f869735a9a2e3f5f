//! Answers to the requests of the API: who may ask, and everything that only
//! reads. What changes items is in `writes.rs`.

use crate::{
    activity::Caller,
    errors::{ApiError, page_not_found, plain},
    filter::Filter,
    ids::is_id,
    model::{File, Item, Summary, Vault},
    route::{Kind, Route},
    state::State,
    status,
    tokens::Token,
    totp,
    world::World,
    writes,
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use std::{borrow::Cow, sync::Arc};

/// A request, read.
pub(crate) struct Request<'a> {
    pub(crate) route: &'a Route,
    pub(crate) query: &'a str,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) user_agent: &'a str,
    pub(crate) ip: String,
    pub(crate) body: &'a [u8],
    pub(crate) now: DateTime<Utc>,
    /// The state to answer from; another one than the current when a fault
    /// makes this server a stale replica.
    pub(crate) view: Arc<State>,
    /// A fault: the first synchronisation is not done.
    pub(crate) not_synced: bool,
}

/// An answer, and the version of the item that it is about.
pub(crate) type Answer = Result<(Response, Option<u64>), ApiError>;

/// Answers a request.
pub(crate) fn answer(world: &mut World, request: &Request) -> Response {
    match request.route.kind {
        Kind::Unknown => page_not_found(),
        Kind::MethodNotAllowed => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
        Kind::Heartbeat => status::heartbeat(),
        Kind::Metrics => status::metrics(world.counts.in_flight()),
        Kind::Health => {
            // A bearer token on a health request initialises the server,
            // since 1.1.0 (Connect changelog).
            world.initialised |= world.tokens.check(request.authorization, request.now).is_ok();
            status::health(world.initialised && !request.not_synced)
        }
        _ => authorised(world, request).unwrap_or_else(IntoResponse::into_response),
    }
}

fn authorised(world: &mut World, request: &Request) -> Result<Response, ApiError> {
    let token = world.tokens.check(request.authorization, request.now)?.clone();
    world.initialised = true;
    let answer = respond(world, &token, request);
    if request.route.kind != Kind::ActivityList {
        let caller = Caller { token: &token, user_agent: request.user_agent, ip: request.ip.clone() };
        let allowed = !matches!(&answer, Err(error) if is_denial(error));
        let version = answer.as_ref().ok().and_then(|(_, version)| *version);
        world.activity.record(request.route, &caller, &world.identity, request.now, allowed, version);
    }
    answer.map(|(response, _)| response)
}

fn is_denial(error: &ApiError) -> bool {
    matches!(error.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn respond(world: &mut World, token: &Token, request: &Request) -> Answer {
    let state = &request.view;
    match request.route.kind {
        Kind::VaultsList => Ok((vaults(state, token, request)?, None)),
        Kind::ActivityList => Ok((activity(world, request)?, None)),
        Kind::VaultGet => Ok((Json(vault(state, token, request.route)?).into_response(), None)),
        Kind::ItemsList => Ok((items(state, token, request)?, None)),
        Kind::ItemCreate => writes::create(world, token, request),
        Kind::ItemUpdate => writes::update(world, token, request),
        Kind::ItemPatch => writes::patch(world, token, request),
        Kind::ItemDelete => writes::delete(world, token, request),
        kind => {
            let item = item(state, token, request.route)?;
            let version = Some(item.summary.version);
            let response = match kind {
                Kind::FilesList => files(item, request, world.max_inline)?,
                Kind::FileGet => {
                    let inlined = inlined(file(item, request.route)?, request, world.max_inline)?;
                    Json(inlined).into_response()
                }
                Kind::FileContent => content(file(item, request.route)?),
                _ => Json(served(item, request.now)).into_response(),
            };
            Ok((response, version))
        }
    }
}

/// An item as it is answered: with the codes that are valid now.
pub(crate) fn served(item: &Item, now: DateTime<Utc>) -> Item {
    let mut item = item.clone();
    for field in item.fields.iter_mut().filter(|field| field.kind == "OTP") {
        field.totp = totp::code(&field.value, now);
    }
    item
}

/// A value of the query, decoded: `+` and `%20` are both a space.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

fn filter(query: &str) -> Result<Option<Filter>, ApiError> {
    parameter(query, "filter").map(|text| Filter::parse(&text)).transpose().map_err(ApiError::bad_request)
}

/// The elements that match a filter, if there is one.
fn matching<'a, T>(
    all: impl Iterator<Item = &'a T>,
    filter: Option<&Filter>,
    test: impl Fn(&Filter, &T) -> Result<bool, String>,
) -> Result<Vec<&'a T>, ApiError> {
    let mut found = Vec::new();
    for element in all {
        let matches = filter.map_or(Ok(true), |filter| test(filter, element));
        if matches.map_err(ApiError::bad_request)? {
            found.push(element);
        }
    }
    Ok(found)
}

fn vaults(state: &State, token: &Token, request: &Request) -> Result<Response, ApiError> {
    let filter = filter(request.query)?;
    let visible = state.vaults().filter(|vault| token.vaults.contains_key(&vault.id));
    let found = matching(visible, filter.as_ref(), Filter::vault)?;
    Ok(Json(found).into_response())
}

/// The vault of a request, when it has the form of an ID, exists, and is in
/// the scope of the token.
pub(crate) fn vault<'a>(state: &'a State, token: &Token, route: &Route) -> Result<&'a Vault, ApiError> {
    if !is_id(&route.vault) {
        return Err(ApiError::bad_request("Invalid Vault UUID"));
    }
    let vault = state.vault(&route.vault)?;
    token.check_read(&vault.id)?;
    Ok(vault)
}

fn items(state: &State, token: &Token, request: &Request) -> Result<Response, ApiError> {
    let vault = vault(state, token, request.route)?;
    let filter = filter(request.query)?;
    let summaries = state.items(&vault.id).map(|item| &item.summary);
    let found: Vec<&Summary> = matching(summaries, filter.as_ref(), Filter::item)?;
    Ok(Json(found).into_response())
}

/// The item of a request.
pub(crate) fn item<'a>(state: &'a State, token: &Token, route: &Route) -> Result<&'a Arc<Item>, ApiError> {
    let vault = vault(state, token, route)?;
    if !is_id(&route.item) {
        return Err(ApiError::bad_request("Invalid Item UUID"));
    }
    Ok(state.item(&vault.id, &route.item)?)
}

fn file<'a>(item: &'a Item, route: &Route) -> Result<&'a File, ApiError> {
    item.files.iter().find(|file| file.id == route.file).ok_or_else(|| ApiError::not_found("file", &route.file))
}

fn files(item: &Item, request: &Request, max_inline: usize) -> Result<Response, ApiError> {
    let files: Result<Vec<File>, ApiError> = item.files.iter().map(|file| inlined(file, request, max_inline)).collect();
    Ok(Json(files?).into_response())
}

/// A file as it is answered: with its content where that was asked for, as
/// `inline_files` (OpenAPI document) or `inline_content` (documentation).
fn inlined(file: &File, request: &Request, max_inline: usize) -> Result<File, ApiError> {
    let mut file = file.clone();
    let asked =
        ["inline_files", "inline_content"].iter().any(|name| parameter(request.query, name).as_deref() == Some("true"));
    if asked {
        if file.size > max_inline {
            return Err(ApiError::too_large());
        }
        file.content = Some(STANDARD.encode(&file.bytes));
    }
    Ok(file)
}

fn content(file: &File) -> Response {
    let name = file.name.replace(['"', '\\', '\r', '\n'], "_");
    let disposition = format!("attachment; filename=\"{name}\"");
    let mut response = file.bytes.to_vec().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(value) = HeaderValue::from_bytes(disposition.as_bytes()) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn activity(world: &World, request: &Request) -> Result<Response, ApiError> {
    let number = |name: &str, default: usize| {
        parameter(request.query, name).map_or(Ok(default), |text| {
            text.parse().map_err(|_| ApiError::bad_request(format!("Invalid {name}: {text}")))
        })
    };
    let (records, range) = world.activity.page(number("limit", 50)?, number("offset", 0)?);
    let mut response = Json(records).into_response();
    if let Ok(value) = HeaderValue::from_str(&range) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}
