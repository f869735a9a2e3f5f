//! 1Password Connect: one request each, with a time limit, and what its answers mean.
//!
//! Only what the published API promises is used, and only reading. The server's filters are not used
//! (`core::index`), nor the `content_path` of files, which differs between versions.

use std::{error::Error as _, time::Duration};

use chrono::Utc;
use reqwest::{
    Certificate, Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::core::{
    backoff,
    item::{ItemSummary, Packed, Vault},
    sensitive::Sensitive,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the first answer of a server may take: longer than its own `OP_SYNC_TIMEOUT` of 10 seconds.
const FIRST: Duration = Duration::from_secs(30);
/// How long a list or an item may take.
const USUAL: Duration = Duration::from_secs(10);
/// How long a file may take.
const FILE: Duration = Duration::from_secs(30);
/// The largest list, in bytes.
const MAX_LIST: usize = 32 << 20;
/// The largest item, in bytes.
const MAX_ITEM: usize = 2 << 20;
/// The largest file, in bytes: what a Secret holds.
pub const MAX_FILE: usize = 1 << 20;
/// Characters of a server's own words that are shown.
const MAX_WORDS: usize = 200;

/// A Connect server, as one token sees it.
#[derive(Clone, Debug)]
pub struct Connect {
    http: Client,
    base: Url,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// The server's version, where it says so.
    pub version: Option<String>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// In words, without secrets.
    pub words: String,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The URL, the token or the certificates cannot be used at all.
    Unusable,
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// 401.
    Rejected,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 408, or 500 where the server says that it is not started yet.
    NotReady,
    /// 429.
    Busy,
    /// Any other status of 500 and above.
    Server,
    /// Any other status below 500.
    Refused,
    /// What answers is not a Connect server.
    Alien,
    /// The answer is larger than it may be.
    TooLarge,
}

impl FailureKind {
    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unusable => "unusable",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Rejected => "401",
            Self::Forbidden => "403",
            Self::NotFound => "404",
            Self::NotReady => "408",
            Self::Busy => "429",
            Self::Server => "5xx",
            Self::Refused => "4xx",
            Self::Alien => "alien",
            Self::TooLarge => "too-large",
        }
    }
}

impl Failure {
    /// A failure.
    pub fn new(kind: FailureKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into(), retry_after: None }
    }
}

impl Connect {
    /// A server. `ca` are PEM certificates that alone are trusted; without them those of the system are.
    pub fn new(host: &str, token: &Sensitive, ca: Option<&[u8]>) -> Result<Self, Failure> {
        let unusable = |words: String| Failure::new(FailureKind::Unusable, words);
        let mut base = Url::parse(host).map_err(|error| unusable(format!("connectHost is no URL: {error}")))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let bearer = Zeroizing::new([b"Bearer ", token.expose().trim_ascii()].concat());
        let mut bearer = HeaderValue::from_bytes(&bearer)
            .map_err(|_| Failure::new(FailureKind::Rejected, "the token holds characters that no token has"))?;
        bearer.set_sensitive(true);
        let mut builder = Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(FILE)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(90));
        if let Some(pem) = ca {
            let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(unusable("the CA certificates are not in PEM form".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| unusable(format!("TLS cannot be set up: {}", words_of(&error))))?;
        Ok(Self { http, base })
    }

    /// The vaults that the token can read. `first` is for a server that may have to start up.
    pub async fn vaults(&self, first: bool) -> Result<Answer<Vec<Vault>>, Failure> {
        let limit = if first { FIRST } else { USUAL };
        self.json(&["v1", "vaults"], limit, MAX_LIST).await
    }

    /// The items of a vault, without their fields.
    pub async fn items(&self, vault: &str) -> Result<Answer<Vec<ItemSummary>>, Failure> {
        self.json(&["v1", "vaults", vault, "items"], USUAL, MAX_LIST).await
    }

    /// An item with its fields.
    pub async fn item(&self, vault: &str, item: &str) -> Result<Answer<Packed>, Failure> {
        self.json(&["v1", "vaults", vault, "items", item], USUAL, MAX_ITEM).await
    }

    /// The content of an item's file.
    pub async fn file(&self, vault: &str, item: &str, file: &str) -> Result<Sensitive, Failure> {
        let path = ["v1", "vaults", vault, "items", item, "files", file, "content"];
        let response = self.send(&path, FILE).await?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        let body = read(response, MAX_FILE).await?;
        if status == StatusCode::OK {
            return Ok(Sensitive::from(body.to_vec()));
        }
        Err(Failure { retry_after: asked, ..refusal(status, &body) })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        path: &[&str],
        limit: Duration,
        cap: usize,
    ) -> Result<Answer<T>, Failure> {
        let response = self.send(path, limit).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = read(response, cap).await?;
        let value =
            understand(status, &body).map_err(|failure| Failure { retry_after: retry_after(&headers), ..failure })?;
        Ok(Answer { value, version: text("1password-connect-version") })
    }

    async fn send(&self, path: &[&str], limit: Duration) -> Result<Response, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.get(url).header("Content-Type", "application/json").timeout(limit);
        request.send().await.map_err(|error| broken(&error))
    }
}

/// How long a server asks to wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    backoff::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Utc::now())
}

/// Reads a body, at most so many bytes.
async fn read(mut response: Response, cap: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > cap {
            return Err(Failure::new(FailureKind::TooLarge, format!("the answer is larger than {cap} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn broken(error: &reqwest::Error) -> Failure {
    let kind = if error.is_timeout() { FailureKind::Timeout } else { FailureKind::Unreachable };
    let words = if error.is_timeout() { "no answer in time".to_owned() } else { words_of(error) };
    Failure::new(kind, words)
}

/// What lies at the bottom of an error: the rest repeats the URL.
fn words_of(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut source = error.source();
    while let Some(inner) = source {
        words.push(inner.to_string());
        source = inner.source();
    }
    words.dedup();
    let last = words.len().saturating_sub(2);
    clean(&words.get(last..).map(|words| words.join(": ")).unwrap_or_default())
}

/// What a body holds.
fn understand<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Failure> {
    if status != StatusCode::OK {
        return Err(refusal(status, body));
    }
    // The error of the parser may quote the body.
    serde_json::from_slice(body).map_err(|_| alien(status, "a body that is not what a Connect server answers"))
}

/// What Connect 1.8 is known to say. Nothing else is repeated: what answers in its place may echo what it was sent, the
/// token first.
const KNOWN: [&str; 10] = [
    "Invalid Item UUID",
    "Invalid Vault UUID",
    "Invalid token signature",
    "Invalid bearer token",
    "Unauthorized Request, token does not have write access to the Vault",
    "Authorization: token does not have access to vault",
    "sync did not complete within timeout, please retry the request",
    "File is too large to inline in request",
    "failed to initiate, review service logs for details",
    "Something went wrong",
];

/// The part of an error's message that may be shown.
fn shown(message: &str) -> String {
    if let Some(known) = KNOWN.iter().find(|known| message.starts_with(**known)) {
        return (*known).to_owned();
    }
    let is_id = |id: &str| id.len() == 26 && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    match message.split(' ').collect::<Vec<_>>().as_slice() {
        ["vault" | "item" | "file", id, "not", "found"] | ["vault", id, "is", "not", "in", "scope"] if is_id(id) => {
            message.to_owned()
        }
        _ => "a message that Connect is not known for".to_owned(),
    }
}

/// An error of the API, or of something else that answers in its place.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    #[derive(serde::Deserialize)]
    struct Body {
        message: String,
    }
    // A list of texts would be read as such a body too.
    let body = Some(body).filter(|body| body.trim_ascii_start().starts_with(b"{"));
    let Some(Body { message }) = body.and_then(|body| serde_json::from_slice(body).ok()) else {
        return if status.is_server_error() {
            Failure::new(FailureKind::Server, format!("{} without an explanation", status.as_u16()))
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            Failure::new(FailureKind::Busy, "429 (too many requests)")
        } else {
            alien(status, "a body that is not JSON")
        };
    };
    let kind = match status.as_u16() {
        401 => FailureKind::Rejected,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        408 => FailureKind::NotReady,
        413 => FailureKind::TooLarge,
        429 => FailureKind::Busy,
        500 if message.contains("failed to initiate") => FailureKind::NotReady,
        500.. => FailureKind::Server,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, format!("{}: {}", status.as_u16(), shown(&message)))
}

fn alien(status: StatusCode, what: &str) -> Failure {
    Failure::new(FailureKind::Alien, format!("{} with {what}", status.as_u16()))
}

/// Somebody else's words, on one line and not too many.
fn clean(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::core::odd::{any_json, item_json, name, shown};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever answers with whatever status: it is understood, or refused in few words of which none is of the body,
        /// but for what the API calls its message.
        #[test]
        fn any_answer_is_understood_or_refused(
            body in prop_oneof![item_json(), any_json()],
            message in prop::option::of((name(), 0_usize..5000)),
            status in 100_u16..1000,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut body = body;
            if let Some(map) = body.as_object_mut() {
                map.remove("message");
                map.extend(message.map(|(text, times)| ("message".to_owned(), json!(format!("{text} ").repeat(times)))));
            }
            let text = body.to_string();
            let cut = &text.as_bytes()[..cut.index(text.len())];
            let status = StatusCode::from_u16(status).unwrap();
            for (status, text) in [(status, text.as_bytes()), (StatusCode::OK, text.as_bytes()), (status, cut)] {
                let failures = [
                    understand::<Packed>(status, text).err(),
                    understand::<Vec<ItemSummary>>(status, text).err(),
                    understand::<Vec<Vault>>(status, text).err(),
                ];
                prop_assert!(status == StatusCode::OK || failures.iter().all(Option::is_some));
                for failure in failures.into_iter().flatten() {
                    prop_assert_eq!(shown(&format!("{failure} {failure:?}")), None);
                    prop_assert!(failure.words.chars().count() < MAX_WORDS + 50, "{failure}");
                    prop_assert!(!failure.words.contains('\n'), "{failure}");
                }
            }
            prop_assert_eq!(understand::<Value>(StatusCode::OK, text.as_bytes()).ok(), Some(body));
        }
    }

    #[test]
    fn only_what_connect_says_is_repeated() {
        let said = |message: &str| {
            let body = serde_json::json!({"status": 401, "message": message}).to_string();
            refusal(StatusCode::UNAUTHORIZED, body.as_bytes()).to_string()
        };
        let id = "c7lul3htvbri2hsd42r6hmcwvv";
        for known in ["Invalid bearer token", &format!("vault {id} is not in scope"), &format!("item {id} not found")] {
            assert_eq!(said(known), format!("401: {known}"));
        }
        for echo in [
            "token canary is not valid",
            "Invalid bearer token canary",
            "item canary-1 not found",
            "vault canary is not in scope today",
        ] {
            assert!(!said(echo).contains("canary"), "{}", said(echo));
        }
        assert!(!said("item CANARY not found").contains("CANARY"));
    }
}
