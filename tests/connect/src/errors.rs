//! Errors as Connect words them. The texts are those seen in public issues
//! and in the official SDKs' tests; where none is known, the comment says so.

use crate::state::Refusal;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// An error of the API: a status and a message, `{"status":…,"message":…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    /// An error with a message of its own.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What the server is known to say with this status.
    pub(crate) fn known(status: StatusCode) -> Self {
        let message = match status {
            StatusCode::BAD_REQUEST => "Invalid Item UUID",
            StatusCode::UNAUTHORIZED => "Invalid bearer token",
            StatusCode::FORBIDDEN => "Authorization: token does not have access to vault",
            StatusCode::REQUEST_TIMEOUT => "sync did not complete within timeout, please retry the request",
            StatusCode::INTERNAL_SERVER_ERROR => "Something went wrong",
            other => other.canonical_reason().unwrap_or("unknown error"),
        };
        Self::new(status, message)
    }

    /// 400; only the two messages for IDs are known from the real server.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401 for a token that is missing, malformed, truncated or expired.
    pub(crate) fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid bearer token")
    }

    /// 401 for a well-formed token that this server did not issue.
    pub(crate) fn foreign_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid token signature")
    }

    /// 401, although it is a matter of permission.
    pub(crate) fn read_only() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized Request, token does not have write access to the Vault")
    }

    /// 403 for a vault that the token was not issued for.
    pub(crate) fn not_in_scope(vault: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("vault {vault} is not in scope"))
    }

    /// 404 for an object of a kind.
    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{kind} {id} not found"))
    }

    /// 413 for a file that is too large for `inline_files`. The beginning of
    /// the message is known, the rest is not.
    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "File is too large to inline in request, use the content endpoint")
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::VaultNotFound(id) => Self::not_found("vault", &id),
            Refusal::ItemNotFound(id) => Self::not_found("item", &id),
            Refusal::Conflict(message) => Self::new(StatusCode::CONFLICT, message),
            Refusal::Invalid(message) => Self::bad_request(message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"status": self.status.as_u16(), "message": self.message});
        (self.status, Json(body)).into_response()
    }
}

/// What Go's router says of an unknown path: plain text, no JSON.
pub(crate) fn page_not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A text that is not JSON.
pub(crate) fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = (status, text.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
