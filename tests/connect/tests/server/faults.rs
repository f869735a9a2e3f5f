//! Every fault, as it is seen on the wire.

use crate::common::{Server, Wire, one_item, paths};
use serde_json::{Value, json};
use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

/// A server with one item, one fault set, and the path of the item.
fn with_fault(fault: &Value) -> (Server, String) {
    let server = Server::start(&one_item());
    server.admin("POST", "/faults", fault);
    let (_, item) = paths(&server);
    (server, item)
}

#[test]
fn statuses_are_worded_as_connect_words_them() {
    for (status, message) in [
        (401, "Invalid bearer token"),
        (403, "Authorization: token does not have access to vault"),
        (408, "sync did not complete within timeout, please retry the request"),
        (429, "Too Many Requests"),
        (500, "Something went wrong"),
    ] {
        let fault = json!({"fault": "status", "status": status, "retryAfter": "7", "count": 1});
        let (server, item) = with_fault(&fault);
        let reply = server.get(&item);
        assert_eq!(reply.json(), json!({"status": status, "message": message}));
        assert_eq!((reply.status, reply.header("retry-after")), (status, Some("7")));
        assert_eq!(reply.header("1password-connect-version"), Some("1.8.1"));
        assert_eq!(server.get(&item).status, 200, "only the next request");
    }
}

#[test]
fn selectors_choose_the_requests() {
    let server = Server::start(&one_item());
    let (vault, item) = paths(&server);
    let other = server.admin("POST", "/tokens", &json!({"name": "other"}));
    let other = other["token"].as_str().unwrap();
    let fault = json!({
        "fault": "status", "status": 500,
        "kinds": ["items.list", "item.get"], "path": item, "token": "other",
    });
    let fault = server.admin("POST", "/faults", &fault);

    let mut wire = Wire::open(&server.connect);
    let mut status = |path: &str, token: &str| wire.ask("GET", path, token, "").unwrap().status;
    assert_eq!(status(&item, other), 500);
    assert_eq!(status(&item, &server.token), 200, "another token");
    assert_eq!(status(&format!("{vault}/items"), other), 200, "another path");
    assert_eq!(status(&format!("{item}/files"), other), 200, "another kind");

    assert_eq!(server.admin("GET", "/faults", &Value::Null)[0]["met"], 1);
    server.admin("DELETE", &format!("/faults/{}", fault["id"].as_str().unwrap()), &Value::Null);
    assert_eq!(status(&item, other), 200);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let server = Server::start(&one_item());
    for fault in [
        json!({"fault": "unheard-of"}),
        json!({"fault": "status"}),
        json!({"fault": "status", "status": 99}),
        json!({"fault": "status", "status": 429, "retryAfter": "a\nb"}),
        json!({"fault": "redirect"}),
        json!({"fault": "redirect", "location": "a\nb"}),
        json!({"fault": "redirect", "location": "/", "status": 99}),
        json!({"fault": "hang", "kinds": ["item.gte"]}),
        json!({"fault": "hang", "cuont": 1}),
        json!({"fault": "slow", "bytes": 0, "everyMs": 1}),
        json!([]),
    ] {
        let reply = server.admin_reply("POST", "/faults", &fault);
        assert_eq!(reply.status, 400, "{fault}: {reply:?}");
    }
}

#[test]
fn latencies_add_up() {
    let (server, item) = with_fault(&json!({"fault": "latency", "ms": 150}));
    server.admin("POST", "/faults", &json!({"fault": "latency", "ms": 100}));
    let start = Instant::now();
    assert_eq!(server.get(&item).status, 200);
    assert!(start.elapsed() >= Duration::from_millis(250));
}

#[test]
fn a_hanging_response_never_comes_and_holds_nobody_else_up() {
    let (server, item) = with_fault(&json!({"fault": "hang", "kinds": ["item.get"]}));
    let mut wire = Wire::open(&server.connect);
    wire.patience(Duration::from_millis(300));
    let error = wire.ask("GET", &item, &server.token, "").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert_eq!(server.get("/v1/vaults").status, 200);
    let counts = server.admin("GET", "/counts", &Value::Null);
    assert_eq!(counts["inFlight"], 1);
    drop(wire);
    crate::common::eventually(|| {
        let counts = server.admin("GET", "/counts", &Value::Null);
        (counts["inFlight"] == 0).then_some(())
    });
}

#[test]
fn a_reset_connection_gives_nothing() {
    let (server, item) = with_fault(&json!({"fault": "reset", "count": 1}));
    let error = server.ask("GET", &item, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.get(&item).status, 200);
}

#[test]
fn a_reset_in_the_middle_leaves_half_an_answer() {
    let (server, item) = with_fault(&json!({"fault": "reset", "afterBytes": 400, "count": 1}));
    let whole = server.ask("GET", &item, "");
    let kind = whole.map_err(|error: io::Error| error.kind()).unwrap_err();
    assert_eq!(kind, ErrorKind::ConnectionReset);
    assert_eq!(server.get(&item).status, 200);
}

#[test]
fn a_slow_answer_is_whole() {
    let (server, item) = with_fault(&json!({"fault": "slow", "bytes": 100, "everyMs": 20, "count": 1}));
    let start = Instant::now();
    let slow = server.get(&item);
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
    assert_eq!(slow.json(), server.get(&item).json());
}

#[test]
fn bodies_that_are_not_json() {
    let (server, item) = with_fault(&json!({"fault": "body", "count": 1}));
    let reply = server.get(&item);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(reply.text().starts_with("<!DOCTYPE html>"));
    assert_eq!(reply.header("1password-connect-version"), None, "it is not Connect that answers");

    let fault = json!({"fault": "body", "status": 502, "contentType": "text/plain", "body": "x", "count": 1});
    server.admin("POST", "/faults", &fault);
    let reply = server.get(&item);
    assert_eq!((reply.status, reply.text().as_str()), (502, "x"));

    server.admin("POST", "/faults", &json!({"fault": "page-not-found", "count": 1}));
    let reply = server.get(&item);
    assert_eq!((reply.status, reply.text().as_str()), (404, "404 page not found\n"));
    assert_eq!(server.get(&item).status, 200);
}

#[test]
fn a_stale_replica_answers_from_the_past() {
    let server = Server::start(&one_item());
    let (_, item) = paths(&server);
    let edit = |value: &str| {
        server.admin("PATCH", "/vaults/Home/items/db", &json!({"fields": {"password": value}}));
    };
    let version = || server.get(&item).json()["version"].as_u64().unwrap();
    let under = |fault: Value| {
        let fault = server.admin("POST", "/faults", &fault);
        let seen = version();
        server.admin("DELETE", &format!("/faults/{}", fault["id"].as_str().unwrap()), &Value::Null);
        seen
    };
    edit("two");
    edit("three");
    assert_eq!(version(), 3);
    assert_eq!(under(json!({"fault": "stale", "back": 2})), 1);
    assert_eq!(under(json!({"fault": "stale", "lagMs": 60_000})), 1, "nothing is older than the seed");
    assert_eq!(under(json!({"fault": "stale", "lagMs": 0})), 3);

    server.admin("POST", "/faults", &json!({"fault": "stale"}));
    edit("four");
    assert_eq!(version(), 3, "frozen when the fault was set");
    server.admin("DELETE", "/faults", &Value::Null);
    assert_eq!(version(), 4);
}

#[test]
fn a_stale_replica_can_be_every_other_connection() {
    let server = Server::start(&one_item());
    let (_, item) = paths(&server);
    server.admin("POST", "/faults", &json!({"fault": "stale", "alternate": true}));
    server.admin("PATCH", "/vaults/Home/items/db", &json!({"fields": {"password": "two"}}));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&server.connect);
        for _ in 0..2 {
            let reply = wire.ask("GET", &item, &server.token, "").unwrap();
            seen.push(reply.json()["version"].as_u64().unwrap());
        }
    }
    assert_eq!(seen, [1, 1, 2, 2, 1, 1, 2, 2]);
}

#[test]
fn a_vault_can_miss_a_change() {
    let server = Server::start(&one_item());
    let (vault, item) = paths(&server);
    let before = server.get(&vault).json();
    let edit = json!({"fields": {"password": "two"}, "silent": true});
    server.admin("PATCH", "/vaults/Home/items/db", &edit);
    assert_eq!(server.get(&vault).json(), before);
    assert_eq!(server.get(&item).json()["version"], 2);
}

#[test]
fn files_and_the_account_can_be_unsynchronised() {
    let (server, item) = with_fault(&json!({"fault": "file-not-synced", "count": 2}));
    let file = server.get(&item).json()["files"][0]["id"].as_str().unwrap().to_owned();
    let content = format!("{item}/files/{file}/content");
    let statuses: Vec<u16> = (0..3).map(|_| server.get(&content).status).collect();
    assert_eq!(statuses, [500, 500, 200]);

    let account_data = |reply: crate::common::Reply| {
        let health = reply.json();
        let all = health["dependencies"].as_array().unwrap();
        all.iter().find(|one| one["service"] == "account_data").unwrap()["status"].clone()
    };
    assert_eq!(account_data(server.get("/health")), "SYNCED");
    server.admin("POST", "/faults", &json!({"fault": "not-synced", "count": 1}));
    assert_eq!(account_data(server.get("/health")), "NOT_SYNCED");
    assert_eq!(account_data(server.get("/health")), "SYNCED");
}
