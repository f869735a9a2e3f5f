//! What a failed request means for a store or an ExternalSecret, and what to do.

use crate::{
    api::common::Time,
    clients::connect::{Failure, FailureKind},
    core::problem::{Problem, Reason},
};

/// Where a server and its token are configured, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// URL of the server, without credentials.
    pub url: String,
    /// `Secret namespace/name key k`.
    pub token: String,
    /// When the token expires.
    pub expires_at: Option<Time>,
}

/// What a failure means. `now` tells whether the token has expired.
pub fn problem(failure: &Failure, place: &Place, now: Time) -> Problem {
    let (url, token, words) = (&place.url, &place.token, &failure.words);
    let message = match failure.kind {
        FailureKind::Unusable => format!("Connect at {url} cannot be used: {words}. Correct the store"),
        FailureKind::Rejected => {
            let expired =
                place.expires_at.filter(|at| *at < now).map(|at| format!(" It expired on {}.", at.date_naive()));
            format!(
                "Connect at {url} rejects the token from {token} ({words}).{} The token is expired, revoked, cut off or of another Connect server: issue a new one for this server and put it into the Secret",
                expired.unwrap_or_default()
            )
        }
        FailureKind::Forbidden => format!(
            "Connect at {url} refuses ({words}): grant the vault to the Connect server and issue a new token, since existing tokens cannot be extended"
        ),
        FailureKind::NotReady => format!(
            "Connect at {url} answers but has not finished its first sync ({words}): wait, and for large accounts raise OP_SYNC_TIMEOUT at the server"
        ),
        FailureKind::Alien | FailureKind::NotFound => format!(
            "what answers at {url} is not a Connect server ({words}): check host and port of connectHost, and remove any path"
        ),
        FailureKind::Unreachable | FailureKind::Timeout => format!(
            "Connect at {url} does not answer ({words}): check connectHost, the server's pods and network policies"
        ),
        FailureKind::Busy | FailureKind::Server | FailureKind::Refused => {
            format!("Connect at {url} fails ({words}): it is asked again; see the logs of connect-api")
        }
        FailureKind::TooLarge => format!("an answer of Connect at {url} is too large ({words})"),
    };
    Problem::new(reason(failure.kind), message)
}

const fn reason(kind: FailureKind) -> Reason {
    match kind {
        FailureKind::Unusable => Reason::InvalidSpec,
        FailureKind::Rejected => Reason::TokenRejected,
        FailureKind::Forbidden => Reason::VaultNotInScope,
        FailureKind::NotReady => Reason::ConnectNotReady,
        // No Connect server's list of vaults is that large.
        FailureKind::Alien | FailureKind::NotFound | FailureKind::TooLarge => Reason::NotAConnectServer,
        FailureKind::Unreachable
        | FailureKind::Timeout
        | FailureKind::Busy
        | FailureKind::Server
        | FailureKind::Refused => Reason::ConnectUnreachable,
    }
}

/// What a failure to fetch an item that was listed means.
pub fn item_problem(title: &str, failure: &Failure, place: &Place, now: Time) -> Problem {
    match failure.kind {
        FailureKind::NotFound => {
            Problem::new(Reason::ItemNotFound, format!("item {title:?} was deleted just now ({})", failure.words))
        }
        FailureKind::TooLarge => {
            Problem::new(Reason::InvalidData, format!("item {title:?} is too large ({})", failure.words))
        }
        _ => {
            let Problem { reason, message } = problem(failure, place, now);
            Problem::new(reason, format!("item {title:?}: {message}"))
        }
    }
}

/// What a failure to fetch a file means.
pub fn file_problem(title: &str, file: &str, failure: &Failure, place: &Place, now: Time) -> Problem {
    match failure.kind {
        FailureKind::TooLarge => Problem::new(
            Reason::FileTooLarge,
            format!(
                "file {file:?} of item {title:?} is too large ({}): a Secret holds at most 1 MiB, so make it smaller or split it",
                failure.words
            ),
        ),
        FailureKind::Server | FailureKind::NotFound => Problem::new(
            Reason::FileUnusable,
            format!(
                "file {file:?} of item {title:?} cannot be read ({}): Connect syncs files after items, so wait a little; if it lasts, attach the file anew",
                failure.words
            ),
        ),
        _ => problem(failure, place, now),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        FailureKind::{
            Alien, Busy, Forbidden, NotFound, NotReady, Refused, Rejected, Server, Timeout, TooLarge, Unreachable,
            Unusable,
        },
        *,
    };

    #[test]
    fn every_failure_says_what_to_do() {
        let now = "2026-11-03T07:08:09Z".parse().unwrap();
        let place = Place {
            url: "http://connect:8080".into(),
            token: "Secret external-secrets/connect key token".into(),
            expires_at: Some("2026-11-01T00:00:00Z".parse().unwrap()),
        };
        let kinds = [
            Unusable,
            Unreachable,
            Timeout,
            Rejected,
            Forbidden,
            NotFound,
            NotReady,
            Busy,
            Server,
            Refused,
            Alien,
            TooLarge,
        ];
        let mut messages: Vec<(Reason, String)> = kinds
            .into_iter()
            .map(|kind| problem(&Failure::new(kind, "its words"), &place, now))
            .map(|problem| (problem.reason, problem.message))
            .collect();
        for found in [
            item_problem("radarr", &Failure::new(NotFound, "404: item x not found"), &place, now),
            item_problem("radarr", &Failure::new(Server, "500: Something went wrong"), &place, now),
            file_problem("radarr", "tls.key", &Failure::new(Server, "500: Something went wrong"), &place, now),
            file_problem("radarr", "dump.sql", &Failure::new(TooLarge, "it has 2097152 bytes"), &place, now),
        ] {
            messages.push((found.reason, found.message));
        }
        insta::assert_debug_snapshot!(messages);
    }
}
