//! Requests that change items.

use crate::{
    api::{Answer, Request, item, served, vault},
    category,
    errors::ApiError,
    input::{self, ItemInput},
    model::Item,
    patch,
    state::{Change, Refusal, State},
    tokens::Token,
    world::World,
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Makes an item, or replaces the one with this ID, from what was written.
pub(crate) fn save(
    state: &mut State,
    vault: &str,
    id: Option<&str>,
    input: ItemInput,
    change: Change,
) -> Result<Arc<Item>, Refusal> {
    let old = id.map(|id| state.item(vault, id).cloned()).transpose()?;
    let contents = input::contents(input, old.as_deref(), &mut state.minter).map_err(Refusal::Invalid)?;
    match id {
        Some(id) => state.edit_item(vault, id, contents, change),
        None => state.create_item(vault, None, contents, change),
    }
}

/// `POST` of an item: answers 200, not 201.
pub(crate) fn create(world: &mut World, token: &Token, request: &Request) -> Answer {
    vault(world.replica.current(), token, request.route)?;
    token.check_write(&request.route.vault)?;
    let input: ItemInput = body(request)?;
    check(&input, request, None)?;
    let item = change(world, request, |state, change| save(state, &request.route.vault, None, input, change))?;
    Ok((answer(&item, request), Some(item.summary.version)))
}

/// `PUT` of an item.
pub(crate) fn update(world: &mut World, token: &Token, request: &Request) -> Answer {
    let old = writable(world, token, request)?;
    let input: ItemInput = body(request)?;
    replace(world, request, &old, input)
}

/// `PATCH` of an item.
pub(crate) fn patch(world: &mut World, token: &Token, request: &Request) -> Answer {
    let old = writable(world, token, request)?;
    let operations = body(request)?;
    let mut document = serde_json::to_value(&*old).map_err(|error| malformed(&error))?;
    patch::apply(&mut document, operations).map_err(ApiError::bad_request)?;
    let input = serde_json::from_value(document).map_err(|error| malformed(&error))?;
    replace(world, request, &old, input)
}

/// `DELETE` of an item: 204, without a body.
pub(crate) fn delete(world: &mut World, token: &Token, request: &Request) -> Answer {
    writable(world, token, request)?;
    let route = request.route;
    change(world, request, |state, change| state.delete_item(&route.vault, &route.item, change))?;
    Ok((StatusCode::NO_CONTENT.into_response(), None))
}

/// The item that is to be changed, when the token may change it.
fn writable(world: &World, token: &Token, request: &Request) -> Result<Arc<Item>, ApiError> {
    let state = world.replica.current();
    vault(state, token, request.route)?;
    token.check_write(&request.route.vault)?;
    item(state, token, request.route).cloned()
}

/// Replaces an item. The answer still has the version from before, as 1Password's
/// Terraform provider found: it reads the item again until the new one shows.
fn replace(world: &mut World, request: &Request, old: &Item, input: ItemInput) -> Answer {
    check(&input, request, Some(old))?;
    let route = request.route;
    let mut item = change(world, request, |state, change| save(state, &route.vault, Some(&route.item), input, change))?;
    let version = item.summary.version;
    Arc::make_mut(&mut item).summary.version = old.summary.version;
    Ok((answer(&item, request), Some(version)))
}

fn change<T>(
    world: &mut World,
    request: &Request,
    apply: impl FnOnce(&mut State, Change) -> Result<T, Refusal>,
) -> Result<T, ApiError> {
    let by = world.identity.server.clone();
    let change = Change { now: request.now, by: &by, silent: false };
    let result = world.replica.change(request.now, |state| apply(state, change));
    result.map_err(ApiError::from)
}

fn answer(item: &Item, request: &Request) -> Response {
    Json(served(item, request.now)).into_response()
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, ApiError> {
    serde_json::from_slice(request.body).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("Invalid request body: {error}"))
}

/// What the API refuses to write (the statuses are documented, the words are
/// ours).
fn check(input: &ItemInput, request: &Request, old: Option<&Item>) -> Result<(), ApiError> {
    let route = request.route;
    let elsewhere = input.vault.as_ref().is_some_and(|vault| vault.id != route.vault);
    if elsewhere {
        return Err(ApiError::bad_request("Invalid item: vault.id is another vault"));
    }
    if input.title.is_empty() {
        return Err(ApiError::bad_request("Invalid item: title is required"));
    }
    match old {
        None if !category::is_creatable(&input.category) => {
            Err(ApiError::bad_request(format!("Invalid item category: {:?}", input.category)))
        }
        Some(old) if input.category != old.summary.category => {
            Err(ApiError::bad_request("Invalid item: the category cannot be changed"))
        }
        Some(_) if input.id.as_ref().is_some_and(|id| *id != route.item) => {
            Err(ApiError::bad_request("Invalid Item UUID"))
        }
        _ => Ok(()),
    }
}
