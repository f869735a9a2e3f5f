//! The admin side: JSON over HTTP on a port of its own, without
//! authentication. Vaults and items are named by their ID or, when only one
//! has it, by their name or title (percent-encoded in paths). Errors are
//! `{"error": "…"}` with 400, 404 or 409.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /admin/ready` | 200 as soon as both sides listen |
//! | `POST /admin/seed` | `{"reset":false,"vaults":[{"name":…,"items":[…]}],"tokens":[…],"faults":[…]}`: puts it all, in one step; `reset` forgets everything first, tokens, faults and counts too |
//! | `GET /admin/vaults` | all vaults |
//! | `POST /admin/vaults` | `{"name":…,"id"?,"description"?,"type"?}`: makes a vault |
//! | `PATCH /admin/vaults/{vault}` | `{"name"?,"description"?}`: bumps `attributeVersion` |
//! | `DELETE /admin/vaults/{vault}` | removes it with its items |
//! | `GET /admin/vaults/{vault}/items` | all items, whole |
//! | `PUT /admin/vaults/{vault}/items` | puts an item: replaces the one with its `id` or `title`, or makes it |
//! | `PATCH …/items/{item}` | changes only the `title`, `tags`, `urls`, `fields`, `files` that are given |
//! | `DELETE …/items/{item}` | deletes it (with `?silent=true` the vault does not notice; so below) |
//! | `POST …/items/{item}/archive`, `/restore` | archives it, makes it active again |
//! | `GET /admin/tokens` | all tokens, without their strings |
//! | `POST /admin/tokens` | makes a token, in the place of one with this name: see below |
//! | `POST /admin/tokens/{name}/expire`, `/revoke` | 401 from now on |
//! | `GET /admin/faults` | the faults, with how many requests each has met |
//! | `POST /admin/faults` | sets a fault: see below |
//! | `DELETE /admin/faults`, `/admin/faults/{id}` | removes all, or one |
//! | `GET /admin/counts` | requests since the start or the last reset |
//! | `DELETE /admin/counts` | answers the counts, and starts anew |
//!
//! **An item**: `{"title":…,"category":"LOGIN","fields":{"username":"u","API key":"k"},
//! "files":{"tls.key":"text","logo.png":{"base64":"…"}},"tags":[…],"urls":["https://…"]}`.
//! A label or ID of a built-in field of the category is that field (`notes`
//! too), a value `otpauth://…` makes a one-time password, everything else a
//! concealed field. `fields` may also be a list of whole fields
//! (`{"label":…,"value":…,"type":…,"section":"label of a section","id"?,"purpose"?,"generate"?}`).
//! In a `PATCH`, `"removeFields":["label"]` removes fields, and a file that
//! is `null` is removed. `"duplicate":true` makes a second item with a title.
//! `"silent":true` is a fault: the vault's `contentVersion`, `updatedAt` and
//! `items` do not notice this change.
//!
//! **A token**: `{"name":…,"vaults":["Home",{"vault":"Apps","access":"write"}],
//! "token"?,"expiresIn"?:seconds,"expiresAt"?:timestamp}`. `*` is every vault
//! that exists; `read` is the default; the scope is fixed when the token is
//! made, as in 1Password. The answer has the token string.
//!
//! **A fault**: one of the objects below, with any of the selectors `"kinds"`
//! (names as in the counts, such as `["item.get"]`), `"path"` (a prefix),
//! `"token"` (a name) and `"count"` (how many more requests). They are asked
//! in the order in which they were set; delays add up.
//!
//! | `fault` | parameters | what happens |
//! |---|---|---|
//! | `status` | `status`, `message`?, `retryAfter`? | an error of the API, worded as Connect words it |
//! | `latency` | `ms` | the answer comes later |
//! | `hang` | | the answer never comes |
//! | `reset` | `afterBytes`? | a TCP reset: before anything is done, or in the middle of the answer |
//! | `stale` | `back`?, `lagMs`?, `alternate`? | answers from the past: frozen now, so many changes ago, or lagging; on every other connection only |
//! | `body` | `status`?, `contentType`?, `body`? | something that is not JSON, by default a page of a proxy with 200 |
//! | `redirect` | `location`, `status`? | a redirect, by default with 302 |
//! | `page-not-found` | | `404 page not found`, as plain text |
//! | `slow` | `bytes`, `everyMs` | the answer comes in small pieces |
//! | `file-not-synced` | | 500 for the content of files |
//! | `not-synced` | | `/health` says `NOT_SYNCED`, with 200 |

use crate::{
    model::{Item, ItemState},
    seed::{EDITOR, Seed, TokenSpec, find_vault},
    server::Shared,
    specs::{ItemSpec, only},
    state::{Change, Refusal, State as Data, VaultSpec},
    tokens::Token,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use chrono::Utc;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;

/// Seeds may hold files.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The admin side.
pub(crate) fn router(shared: Shared) -> Router {
    let item = "/admin/vaults/{vault}/items/{item}";
    Router::new()
        .route("/admin/ready", get(|| async { "ready\n" }))
        .route("/admin/seed", post(seed))
        .route("/admin/vaults", get(vaults).post(create_vault))
        .route("/admin/vaults/{vault}", patch(edit_vault).delete(delete_vault))
        .route("/admin/vaults/{vault}/items", get(items).put(put_item))
        .route(item, patch(edit_item).delete(delete_item))
        .route(&format!("{item}/{{verb}}"), post(set_state))
        .route("/admin/tokens", get(tokens).post(issue_token))
        .route("/admin/tokens/{name}/{verb}", post(end_token))
        .route("/admin/faults", get(faults).post(set_fault).delete(clear_faults))
        .route("/admin/faults/{id}", delete(clear_fault))
        .route("/admin/counts", get(counts).delete(reset_counts))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

/// An error of the admin side.
struct Error(StatusCode, String);

type Answer = Result<Response, Error>;

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::VaultNotFound(id) => not_found("vault", &id),
            Refusal::ItemNotFound(id) => not_found("item", &id),
            Refusal::Conflict(message) => Self(StatusCode::CONFLICT, message),
            Refusal::Invalid(message) => Self(StatusCode::BAD_REQUEST, message),
        }
    }
}

fn not_found(kind: &str, name: &str) -> Error {
    Error(StatusCode::NOT_FOUND, format!("{kind} {name:?} not found"))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error(StatusCode::BAD_REQUEST, error.to_string()))
}

fn json_of(value: impl serde::Serialize) -> Response {
    Json(value).into_response()
}

/// A change by a user of the account.
fn by_user(silent: bool) -> Change<'static> {
    Change { now: Utc::now(), by: EDITOR, silent }
}

/// Changes the data.
fn change<T>(
    shared: &Shared,
    silent: bool,
    apply: impl FnOnce(&mut Data, Change) -> Result<T, Refusal>,
) -> Result<T, Error> {
    let by_user = by_user(silent);
    let mut world = shared.world();
    let result = world.replica.change(by_user.now, |state| apply(state, by_user));
    result.map_err(Error::from)
}

fn find_item(state: &Data, vault: &str, name: &str) -> Result<Arc<Item>, Refusal> {
    only(state, vault, name)?.ok_or_else(|| Refusal::ItemNotFound(name.to_owned()))
}

async fn seed(State(shared): State<Shared>, body: Bytes) -> Answer {
    let seed: Seed = read(&body)?;
    let world = &mut *shared.world();
    Ok(json_of(seed.apply(world, Utc::now())?))
}

async fn vaults(State(shared): State<Shared>) -> Answer {
    let state = Arc::clone(shared.world().replica.current());
    Ok(json_of(state.vaults().collect::<Vec<_>>()))
}

async fn create_vault(State(shared): State<Shared>, body: Bytes) -> Answer {
    let spec: VaultSpec = read(&body)?;
    let vault = change(&shared, false, |state, by_user| state.create_vault(spec, by_user).cloned())?;
    Ok(json_of(vault))
}

/// What can be edited of a vault.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultEdit {
    name: Option<String>,
    description: Option<String>,
}

async fn edit_vault(State(shared): State<Shared>, Path(vault): Path<String>, body: Bytes) -> Answer {
    let edit: VaultEdit = read(&body)?;
    let vault = change(&shared, false, |state, by_user| {
        let id = find_vault(state, &vault)?;
        state.edit_vault(&id, edit.name, edit.description, by_user).cloned()
    })?;
    Ok(json_of(vault))
}

async fn delete_vault(State(shared): State<Shared>, Path(vault): Path<String>) -> Answer {
    change(&shared, false, |state, _| {
        let id = find_vault(state, &vault)?;
        state.delete_vault(&id)
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn items(State(shared): State<Shared>, Path(vault): Path<String>) -> Answer {
    let state = Arc::clone(shared.world().replica.current());
    let vault = find_vault(&state, &vault)?;
    Ok(json_of(state.items(&vault).map(|item| &**item).collect::<Vec<_>>()))
}

async fn put_item(State(shared): State<Shared>, Path(vault): Path<String>, body: Bytes) -> Answer {
    let spec: ItemSpec = read(&body)?;
    let item = change(&shared, spec.silent, |state, by_user| {
        let vault = find_vault(state, &vault)?;
        spec.put(state, &vault, by_user)
    })?;
    Ok(json_of(&*item))
}

async fn edit_item(State(shared): State<Shared>, Path((vault, item)): Path<(String, String)>, body: Bytes) -> Answer {
    let spec: ItemSpec = read(&body)?;
    let item = change(&shared, spec.silent, |state, by_user| {
        let vault = find_vault(state, &vault)?;
        let old = find_item(state, &vault, &item)?;
        spec.edit(state, &vault, &old, by_user)
    })?;
    Ok(json_of(&*item))
}

async fn delete_item(
    State(shared): State<Shared>,
    Path((vault, item)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let silent = query.as_deref() == Some("silent=true");
    change(&shared, silent, |state, by_user| {
        let vault = find_vault(state, &vault)?;
        let item = find_item(state, &vault, &item)?;
        state.delete_item(&vault, &item.summary.id, by_user)
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn set_state(
    State(shared): State<Shared>,
    Path((vault, item, verb)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    _body: Bytes,
) -> Answer {
    let wanted = match verb.as_str() {
        "archive" => Some(ItemState::Archived),
        "restore" => None,
        _ => return Err(not_found("action", &verb)),
    };
    let silent = query.as_deref() == Some("silent=true");
    let item = change(&shared, silent, |state, by_user| {
        let vault = find_vault(state, &vault)?;
        let item = find_item(state, &vault, &item)?;
        state.set_state(&vault, &item.summary.id, wanted, by_user)
    })?;
    Ok(json_of(&*item))
}

/// A token without its string.
fn shown(token: &Token) -> Value {
    json!({
        "name": token.name,
        "jti": token.jti,
        "vaults": token.vaults,
        "issuedAt": token.issued,
        "expiresAt": token.expires,
        "revoked": token.revoked,
    })
}

async fn tokens(State(shared): State<Shared>) -> Answer {
    let world = shared.world();
    Ok(json_of(world.tokens.all().map(shown).collect::<Vec<_>>()))
}

async fn issue_token(State(shared): State<Shared>, body: Bytes) -> Answer {
    let spec: TokenSpec = read(&body)?;
    let world = &mut *shared.world();
    let token = spec.issue(world, Utc::now())?;
    let mut value = shown(&token);
    value["token"] = token.value.into();
    Ok(json_of(value))
}

/// The body is read although it says nothing: a connection with an unread one is closed under a client that still writes.
async fn end_token(State(shared): State<Shared>, Path((name, verb)): Path<(String, String)>, _body: Bytes) -> Answer {
    let world = &mut *shared.world();
    let token = world.tokens.get_mut(&name);
    let token = token.ok_or_else(|| not_found("token", &name))?;
    match verb.as_str() {
        "expire" => token.expires = Some(Utc::now()),
        "revoke" => token.revoked = true,
        _ => return Err(not_found("action", &verb)),
    }
    Ok(json_of(shown(token)))
}

async fn faults(State(shared): State<Shared>) -> Answer {
    Ok(json_of(shared.world().faults.all()))
}

async fn set_fault(State(shared): State<Shared>, body: Bytes) -> Answer {
    let document: Value = read(&body)?;
    let world = &mut *shared.world();
    let fault = world.faults.set(document, &world.replica);
    Ok(json_of(fault.map_err(|message| Error(StatusCode::BAD_REQUEST, message))?))
}

async fn clear_faults(State(shared): State<Shared>) -> Answer {
    let removed = shared.world().faults.clear(None);
    Ok(json_of(json!({"removed": removed})))
}

async fn clear_fault(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    match shared.world().faults.clear(Some(&id)) {
        0 => Err(not_found("fault", &id)),
        removed => Ok(json_of(json!({"removed": removed}))),
    }
}

async fn counts(State(shared): State<Shared>) -> Answer {
    Ok(json_of(&shared.world().counts))
}

async fn reset_counts(State(shared): State<Shared>) -> Answer {
    let world = &mut *shared.world();
    let counts = Ok(json_of(&world.counts));
    world.counts.reset();
    counts
}
