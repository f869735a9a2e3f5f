//! What the server tells about itself: heartbeat, health and metrics.

use crate::errors::plain;
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// The version that this server claims to be.
pub(crate) const VERSION: &str = "1.8.1";

/// Adds the header that Connect sends since 1.3.0.
pub(crate) fn versioned(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(HeaderName::from_static("1password-connect-version"), HeaderValue::from_static(VERSION));
    response
}

/// `GET /heartbeat`.
pub(crate) fn heartbeat() -> Response {
    plain(StatusCode::OK, ".")
}

/// `GET /health`: always 200. Before a valid token was shown, the server has
/// nothing it could synchronise with (texts as in the issue connect#93).
pub(crate) fn health(ready: bool) -> Response {
    let sqlite = json!({
        "service": "sqlite",
        "status": "ACTIVE",
        "message": "Connected to /home/opuser/.op/data/1password.sqlite",
    });
    let dependencies = if ready {
        json!([
            sqlite,
            {"service": "account_data", "status": "SYNCED"},
            {"service": "sync", "status": "ACTIVE"},
            {"service": "1Password", "status": "ACTIVE"},
        ])
    } else {
        json!([
            sqlite,
            {
                "service": "account_data",
                "status": "NOT_SYNCED",
                "message": "Account data is not available because synchronization has not yet started",
            },
            {"service": "sync", "status": "TOKEN_NEEDED"},
            {
                "service": "1Password",
                "status": "UNINITIALIZED",
                "message": "Make a request with a valid bearer token to initialize",
            },
        ])
    };
    Json(json!({
        "name": "1Password Connect API",
        "version": VERSION,
        "dependencies": dependencies,
    }))
    .into_response()
}

/// `GET /metrics`: only Go's own metrics are documented.
pub(crate) fn metrics(requests_in_flight: u64) -> Response {
    let goroutines = 12 + 2 * requests_in_flight;
    plain(
        StatusCode::OK,
        format!(
            "# HELP go_goroutines Number of goroutines that currently exist.\n\
             # TYPE go_goroutines gauge\n\
             go_goroutines {goroutines}\n\
             # HELP go_info Information about the Go environment.\n\
             # TYPE go_info gauge\n\
             go_info{{version=\"go1.24.1\"}} 1\n"
        ),
    )
}
