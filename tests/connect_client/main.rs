//! The Connect client and the endpoints of the hub, against the development Connect server.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod outage;
mod server;
#[path = "../support/tls.rs"]
mod tls;
mod trust;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use outage::page;
use serde_json::json;
use server::{POLL, SOON, Server, TOKEN, eventually, fetched, object, reads, resolve, store, text, woken_until};
use strongroom::{
    clients::connect::{Connect, Failure, FailureKind},
    controllers::connect::{Fetched, Hub, Lookup, Wake},
    core::sensitive::Sensitive,
};

#[tokio::test]
async fn the_client_reads_vaults_items_and_files() {
    let server = Server::start().await;
    let client = server.client(&format!(" {TOKEN}\n"));
    assert!(!format!("{client:?}").contains("canary"), "{client:?}");
    let vaults = client.vaults(true).await.unwrap();
    assert!(vaults.version.is_some_and(|version| version.starts_with("1.8")));
    let home = vaults.value.iter().find(|vault| vault.name == "Home").unwrap();
    assert_eq!(home.items, 3);
    assert!(home.content_version > 0 && !home.updated_at.is_empty());
    let items = client.items(&home.id).await.unwrap().value;
    let find = |title: &str| items.iter().find(|item| item.title == title).unwrap();
    let item = client.item(&home.id, &find("radarr").id).await.unwrap().value.item().unwrap();
    assert_eq!(text(&item, "API_KEY"), "canary-one");
    assert_eq!((item.version, item.vault.id.as_str()), (find("radarr").version, home.id.as_str()));
    let tls = client.item(&home.id, &find("tls").id).await.unwrap().value.item().unwrap();
    let file = client.file(&home.id, &tls.id, &tls.files[0].id).await.unwrap();
    assert_eq!(file.expose(), b"canary-file");
    let scoped = server.client("canary-home").vaults(true).await.unwrap().value;
    assert_eq!(scoped.len(), 1);
}

#[tokio::test]
async fn the_client_says_what_kind_of_failure_it_is() {
    let server = Server::start().await;
    let client = server.client(TOKEN);
    let home = client.vaults(true).await.unwrap().value.into_iter().find(|vault| vault.name == "Home").unwrap();
    let other = server.client(TOKEN).vaults(true).await.unwrap().value.into_iter().find(|v| v.name == "Other").unwrap();
    let kind = |result: Result<(), Failure>| {
        let failure = result.unwrap_err();
        assert!(!failure.words.contains("canary"), "{failure}");
        failure.kind
    };
    assert_eq!(kind(server.client("canary-wrong").vaults(true).await.map(drop)), FailureKind::Rejected);
    assert_eq!(kind(server.client("canary-home").items(&other.id).await.map(drop)), FailureKind::Forbidden);
    assert_eq!(kind(client.item(&home.id, &"a".repeat(26)).await.map(drop)), FailureKind::NotFound);
    assert_eq!(kind(client.item(&home.id, "x").await.map(drop)), FailureKind::Refused);
    for (fault, expected) in [
        (json!({"fault": "status", "status": 403}), FailureKind::Forbidden),
        (json!({"fault": "status", "status": 408}), FailureKind::NotReady),
        (json!({"fault": "status", "status": 429, "retryAfter": "7"}), FailureKind::Busy),
        (
            json!({"fault": "status", "status": 500, "message": "failed to initiate, review service logs for details"}),
            FailureKind::NotReady,
        ),
        (json!({"fault": "status", "status": 500}), FailureKind::Server),
        (json!({"fault": "reset"}), FailureKind::Unreachable),
        (json!({"fault": "reset", "afterBytes": 100}), FailureKind::Unreachable),
        (json!({"fault": "body"}), FailureKind::Alien),
        (json!({"fault": "body", "status": 302}), FailureKind::Alien),
        (json!({"fault": "body", "status": 502}), FailureKind::Server),
        (json!({"fault": "page-not-found"}), FailureKind::Alien),
    ] {
        server.fault(&fault).await;
        let failure = client.items(&home.id).await.unwrap_err();
        assert_eq!(failure.kind, expected, "{fault}: {failure}");
        assert_eq!(failure.retry_after.is_some(), expected == FailureKind::Busy, "{fault}");
        server.delete("/admin/faults").await;
    }
    // What it asks to wait may be a time, and is read for files too.
    let later = (chrono::Utc::now() + Duration::from_secs(90)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    server.fault(&json!({"fault": "status", "status": 503, "retryAfter": later})).await;
    let id = "a".repeat(26);
    for failure in [client.items(&home.id).await.unwrap_err(), client.file(&home.id, &id, &id).await.unwrap_err()] {
        assert!(failure.retry_after.is_some_and(|wait| (60..=90).contains(&wait.as_secs())), "{failure:?}");
    }
    server.delete("/admin/faults").await;
    let nowhere = Connect::new("http://127.0.0.1:9", &Sensitive::from("t"), None).unwrap();
    assert_eq!(kind(nowhere.vaults(false).await.map(drop)), FailureKind::Unreachable);
    assert_eq!(Connect::new(&server.url, &Sensitive::from("a\nb"), None).unwrap_err().kind, FailureKind::Rejected);
    assert_eq!(Connect::new("connect", &Sensitive::from("t"), None).unwrap_err().kind, FailureKind::Unusable);
    assert_eq!(Connect::new(&server.url, &Sensitive::from("t"), Some(b"x")).unwrap_err().kind, FailureKind::Unusable);
}

#[tokio::test]
async fn a_hundred_objects_cost_one_request_for_their_item() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = server.hub().await;
    let found = resolve(&source, "radarr").unwrap();
    let before = server.count("item.get").await;
    let all = (0..100).map(|_| fetched(&source, &found, false));
    for item in futures::future::join_all(all).await {
        assert_eq!(text(&item, "API_KEY"), "canary-one");
    }
    // Also those that come a little later, and those who ask for a fresh value at the same moment.
    fetched(&source, &found, false).await;
    fetched(&source, &found, true).await;
    assert_eq!(server.count("item.get").await - before, 1);
}

#[tokio::test]
async fn an_idle_poll_is_one_request() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = server.hub().await;
    // The lists are read once more after the first look.
    let polls = server.count("vaults.list").await;
    let settled = async || (server.count("vaults.list").await >= polls + 2).then_some(());
    eventually("two polls", settled).await;
    let (polls, lists) = (server.count("vaults.list").await, server.count("items.list").await);
    let more = async || (server.count("vaults.list").await >= polls + 10).then_some(());
    eventually("ten polls", more).await;
    assert_eq!(server.count("items.list").await, lists);
    assert_eq!(server.count("item.get").await, 0);
    drop(source);
}

#[tokio::test]
async fn a_changed_item_wakes_exactly_who_reads_it() {
    let server = Server::start().await;
    let (hub, mut wakes, source) = server.hub().await;
    let radarr = resolve(&source, "radarr").unwrap();
    hub.interest(&object("reads"), reads(&["radarr", &radarr.item], false));
    hub.interest(&object("other"), reads(&["sonarr"], false));
    hub.interest(&object("waits"), reads(&["grafana"], true));
    hub.interest(&object("z"), reads(&["last"], false));
    fetched(&source, &radarr, false).await;
    let start = Instant::now();
    server.patch("radarr", &json!({"fields": {"API_KEY": "canary-changed"}})).await;
    server.put(&json!({"title": "last", "fields": {"password": "p"}})).await;
    let woken = woken_until(&mut wakes, "z").await;
    assert_eq!(woken, BTreeSet::from(["reads".to_owned(), "waits".to_owned()]));
    assert!(start.elapsed() < POLL * 20, "{:?}", start.elapsed());
    // The value kept from before is older than the list, so it is fetched anew.
    let found = resolve(&source, "radarr").unwrap();
    assert_eq!(found.version, radarr.version + 1);
    assert_eq!(text(&fetched(&source, &found, false).await, "API_KEY"), "canary-changed");
}

#[tokio::test]
async fn what_appears_and_what_becomes_ambiguous_is_seen() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = server.hub().await;
    assert!(resolve(&source, "grafana").unwrap_err().contains("no item titled"));
    server.put(&json!({"title": "grafana", "fields": {"password": "p"}})).await;
    let found = eventually("the new item", async || resolve(&source, "grafana").ok()).await;
    server.put(&json!({"title": "grafana", "fields": {"password": "q"}, "duplicate": true})).await;
    let ambiguous = async || resolve(&source, "grafana").err().filter(|words| words.contains("2 items"));
    assert!(eventually("the ambiguity", ambiguous).await.contains(&found.item));
    assert_eq!(resolve(&source, &found.item).unwrap().item, found.item);
}

#[tokio::test]
async fn a_rejected_token_is_seen_and_clears() {
    let server = Server::start().await;
    let (hub, _wakes, source) = server.hub().await;
    let failed = async || source.endpoint.overview()?.err();
    server.fault(&json!({"fault": "status", "status": 401, "kinds": ["vaults.list"]})).await;
    assert_eq!(eventually("the failure", failed).await.kind, FailureKind::Rejected);
    // What is known stays known, and no value is asked for meanwhile.
    let found = resolve(&source, "radarr").unwrap();
    let before = server.count("item.get").await;
    assert!(matches!(source.endpoint.item(&found, false, &object("o")).await, Fetched::Failed(_)));
    assert_eq!(server.count("item.get").await, before);
    server.delete("/admin/faults").await;
    eventually("it clears", async || source.endpoint.overview()?.ok()).await;
    // Another token is another endpoint.
    let other = hub.register(&store("a"), server.registration("canary-home", &["Home"])).unwrap();
    assert!(!Arc::ptr_eq(&other.endpoint, &source.endpoint));
    assert!(matches!(hub.lookup(&store("a")), Lookup::Found(now) if Arc::ptr_eq(&now.endpoint, &other.endpoint)));
}

#[tokio::test]
async fn a_vault_out_of_scope_is_named() {
    let server = Server::start().await;
    let (hub, _wakes) = Hub::new();
    let source = hub.register(&store("a"), server.registration("canary-home", &["Home", "Other"])).unwrap();
    assert!(source.endpoint.started(SOON).await);
    assert!(resolve(&source, "radarr").is_ok(), "the first vault has it");
    let words = resolve(&source, "grafana").unwrap_err();
    assert!(words.contains("\"Home\"") && words.contains("Vault \"Other\" is not among them"), "{words}");
}

#[tokio::test]
async fn a_server_that_hangs_slows_no_other() {
    let (slow, good) = (Server::start().await, Server::start().await);
    slow.fault(&json!({"fault": "hang"})).await;
    let (hub, _wakes) = Hub::new();
    let stuck = hub.register(&store("slow"), slow.registration(TOKEN, &["Home"])).unwrap();
    let start = Instant::now();
    let source = hub.register(&store("good"), good.registration(TOKEN, &["Home"])).unwrap();
    assert!(source.endpoint.started(SOON).await);
    fetched(&source, &resolve(&source, "radarr").unwrap(), false).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(stuck.endpoint.overview().is_none(), "it is still being asked");
}

#[tokio::test]
async fn an_item_that_takes_long_wakes_who_waited() {
    let server = Server::start().await;
    let (hub, mut wakes, source) = server.hub().await;
    hub.interest(&object("o"), reads(&[], false));
    let found = resolve(&source, "radarr").unwrap();
    server.fault(&json!({"fault": "latency", "ms": 2500, "kinds": ["item.get"]})).await;
    assert!(matches!(source.endpoint.item(&found, false, &object("o")).await, Fetched::Later));
    assert!(woken_until(&mut wakes, "o").await.is_empty());
    assert_eq!(text(&fetched(&source, &found, false).await, "API_KEY"), "canary-one");
    assert_eq!(server.count("item.get").await, 1);
}

#[tokio::test]
async fn a_request_that_fails_once_is_tried_again() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = server.hub().await;
    // Each of another item, since what was fetched just now is not fetched again.
    for (title, fault) in [
        ("radarr", json!({"fault": "status", "status": 500, "kinds": ["item.get"], "count": 1})),
        ("sonarr", json!({"fault": "reset", "kinds": ["item.get"], "count": 2})),
        ("tls", json!({"fault": "body", "kinds": ["item.get"], "count": 1})),
    ] {
        let before = server.count("item.get").await;
        server.fault(&fault).await;
        let found = resolve(&source, title).unwrap();
        assert_eq!(fetched(&source, &found, false).await.title, title, "{fault}");
        let tries = 1 + fault["count"].as_u64().unwrap();
        assert_eq!(server.count("item.get").await - before, tries, "{fault}");
    }
}

#[tokio::test]
async fn a_change_that_the_vaults_version_misses_is_found_and_ends_the_trust() {
    let server = Server::start().await;
    let (hub, mut wakes, source) = server.hub().await;
    let detection = || source.endpoint.overview().unwrap().unwrap().detection;
    let settled = server.count("vaults.list").await + 3;
    eventually("it settles", async || (server.count("vaults.list").await > settled).then_some(())).await;
    assert_eq!(format!("{:?}", detection()), "VaultVersion");
    let missed = || {
        let page = page(&hub);
        let line = page.lines().find(|line| line.starts_with("connect_gate_missed_changes_total{")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(missed(), "0");
    let before = resolve(&source, "radarr").unwrap().version;
    server.patch("radarr", &json!({"fields": {"API_KEY": "x"}, "silent": true})).await;
    assert!(source.endpoint.refresh("now", SOON, None).await);
    assert_eq!(resolve(&source, "radarr").unwrap().version, before + 1);
    // The store says so, and is woken for that: by the change at first, and again when the trust is gone.
    loop {
        match tokio::time::timeout(SOON, wakes.recv()).await.expect("the store is woken").unwrap() {
            Wake::Store(_) if format!("{:?}", detection()) == "ItemList" => break,
            _ => {}
        }
    }
    assert_eq!(missed(), "1");
    server.patch("radarr", &json!({"fields": {"API_KEY": "y"}, "silent": true})).await;
    let seen = async || (resolve(&source, "radarr").unwrap().version == before + 2).then_some(());
    eventually("a missed change is seen by the next poll", seen).await;
}

#[tokio::test]
async fn a_stale_replica_takes_nothing_back() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = server.hub().await;
    let old = resolve(&source, "radarr").unwrap();
    server.fault(&json!({"fault": "stale", "count": 3})).await;
    server.delete("/admin/faults").await;
    server.patch("radarr", &json!({"fields": {"API_KEY": "new"}})).await;
    let new =
        eventually("the change", async || resolve(&source, "radarr").ok().filter(|f| f.version > old.version)).await;
    server
        .fault(&json!({"fault": "stale", "back": 1, "kinds": ["vaults.list", "items.list", "item.get"], "count": 2}))
        .await;
    let polls = server.count("vaults.list").await;
    eventually("more polls", async || {
        assert_eq!(resolve(&source, "radarr").unwrap().version, new.version);
        (server.count("vaults.list").await > polls + 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_nobody_needs_ends() {
    let server = Server::start().await;
    let (hub, _wakes, source) = server.hub().await;
    hub.forget_store(&store("a"));
    assert!(matches!(hub.lookup(&store("a")), Lookup::Unknown));
    let endpoint = Arc::downgrade(&source.endpoint);
    drop(source);
    eventually("it ends", async || endpoint.upgrade().is_none().then_some(())).await;
}
