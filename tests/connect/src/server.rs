//! The way of a request through the Connect side: recognised, counted, given
//! to the faults, answered, logged.

use crate::{
    api,
    conn::{Connection, Limits},
    errors::ApiError,
    faults::{End, Met, Plan},
    route::Route,
    status::versioned,
    world::World,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, Request, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The largest body that is read.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// What both sides share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world; never hold it across an await.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The Connect side.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new().fallback(handle).with_state(shared)
}

async fn handle(
    State(shared): State<Shared>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request<Body>,
) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let route = Route::parse(&parts.method, parts.uri.path());
    let (plan, token) = begin(&shared, &parts, &route, &connection);
    let mut flight = Flight { shared: &shared, status: None };
    connection.limit(Limits { cut: plan.cut, slow: plan.slow });
    let faults = plan.names.join(",");
    let response = finish(&shared, &parts, body, &route, &connection, plan).await;
    flight.status = Some(response.status().as_u16());
    tracing::info!(
        method = %parts.method,
        path = parts.uri.path(),
        kind = route.kind.name(),
        status = response.status().as_u16(),
        ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        token = token.unwrap_or_default(),
        connection = connection.number,
        faults,
        "request"
    );
    response
}

/// Counts a request and asks the faults about it; tells the token's name too.
fn begin(shared: &Shared, parts: &Parts, route: &Route, connection: &Connection) -> (Plan, Option<String>) {
    let world = &mut *shared.world();
    let token = world.tokens.name_of(text(&parts.headers, header::AUTHORIZATION));
    let met = Met { route, path: parts.uri.path(), token, connection: connection.number, now: Utc::now() };
    world.counts.begin(route, token, connection.number);
    let plan = world.faults.plan(met, &world.replica);
    world.counts.faults(&plan.names);
    (plan, token.map(str::to_owned))
}

/// A request that is being answered: counted off even when the client goes.
struct Flight<'a> {
    shared: &'a Shared,
    status: Option<u16>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.shared.world().counts.end(self.status);
    }
}

async fn finish(
    shared: &Shared,
    parts: &Parts,
    body: Body,
    route: &Route,
    connection: &Connection,
    plan: Plan,
) -> Response {
    tokio::time::sleep(plan.delay).await;
    match plan.end {
        Some(End::Hang) => std::future::pending().await,
        Some(End::Reset) => {
            connection.limit(Limits { cut: Some(0), slow: None });
            StatusCode::OK.into_response()
        }
        Some(End::Answer(response)) => *response,
        None => {
            let Ok(body) = to_bytes(body, MAX_BODY).await else {
                return versioned(ApiError::bad_request("Invalid request body").into_response());
            };
            let world = &mut *shared.world();
            let view = plan.view.unwrap_or_else(|| Arc::clone(world.replica.current()));
            let request = api::Request {
                route,
                query: parts.uri.query().unwrap_or_default(),
                authorization: text(&parts.headers, header::AUTHORIZATION),
                user_agent: text(&parts.headers, header::USER_AGENT).unwrap_or_default(),
                ip: connection.peer.ip().to_string(),
                body: &body,
                now: Utc::now(),
                view,
                not_synced: plan.not_synced,
            };
            versioned(api::answer(world, &request))
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
