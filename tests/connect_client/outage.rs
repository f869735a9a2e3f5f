//! What a server that fails is asked, by how many objects whatever.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;
use strongroom::{
    clients::connect::FailureKind,
    controllers::connect::{Fetched, Hub, Source, Wake, register},
    core::index::Found,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::server::{SOON, Server, TOKEN, eventually, fetched, object, resolve, store, woken_until};

/// Rarer than any test lasts.
const NEVER: Duration = Duration::from_hours(1);
/// What answers at once takes less.
const AT_ONCE: Duration = Duration::from_millis(900);

/// What Prometheus is told.
pub(crate) fn page(hub: &Arc<Hub>) -> String {
    let (mut registry, mut page) = (Registry::default(), String::new());
    register(hub, &mut registry);
    encode(&mut page, &registry).unwrap();
    page
}

/// A hub with one store, whose server has answered twice and is not polled any more.
async fn idle(server: &Server) -> (Arc<Hub>, UnboundedReceiver<Wake>, Source) {
    let (hub, wakes) = Hub::new();
    let wanted = || server.registration(TOKEN, &["Home", "Other"]);
    let source =
        hub.register(&store("a"), strongroom::controllers::connect::Registration { interval: NEVER, ..wanted() });
    let source = source.unwrap();
    assert!(source.endpoint.started(SOON).await);
    (hub, wakes, source)
}

fn all(source: &Source) -> Vec<Found> {
    let mut all: Vec<Found> = ["radarr", "sonarr", "tls"].map(|title| resolve(source, title).unwrap()).into();
    let other = source.endpoint.with_index(|index| {
        let vault = index.vaults.values().find(|vault| vault.vault.name == "Other").unwrap();
        let (id, entry) = vault.items().unwrap().iter().next().unwrap();
        Found {
            vault: vault.vault.id.clone(),
            item: id.clone(),
            title: entry.title.to_string(),
            version: entry.version,
        }
    });
    all.push(other.unwrap());
    all
}

/// Has a hundred objects ask for each of the items; the kinds of the failures.
async fn rush(source: &Source, found: &[Found]) -> Vec<FailureKind> {
    let asked = found.iter().flat_map(|found| (0..100).map(move |number| (found, object(&format!("r{number}")))));
    let asked = asked.map(|(found, reader)| async move {
        match source.endpoint.item(found, false, &reader).await {
            Fetched::Failed(failure) => Some(failure.kind),
            Fetched::Later | Fetched::Value(_) => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_server_that_hands_out_no_item_is_probed_by_one_request() {
    let server = Server::start().await;
    let (hub, mut wakes, source) = idle(&server).await;
    let found = all(&source);
    server.fault(&json!({"fault": "status", "status": 500, "kinds": ["item.get"]})).await;
    rush(&source, &found).await;
    let failing = async || {
        (page(&hub).contains("connect_breaker_open{") && page(&hub).contains("store=\"a\"} 1\n")).then_some(())
    };
    eventually("the server is held to fail", failing).await;
    let (start, tries) = (Instant::now(), server.count("item.get").await);
    assert!(tries <= 12, "three tries of each item at most: {tries}");
    assert_eq!(rush(&source, &found).await, [FailureKind::Server; 400]);
    let last = source.endpoint.item(&found[3], true, &object("waits")).await;
    assert!(matches!(last, Fetched::Failed(_)), "{last:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "they did not wait: {:?}", start.elapsed());
    assert_eq!(server.count("item.get").await, tries);
    // One probe finds that it is over; then those who waited are woken, and everything is there at once.
    server.delete("/admin/faults").await;
    assert_eq!(woken_until(&mut wakes, "waits").await.len(), 100);
    assert!(server.count("item.get").await <= tries + 1 + found.len() as u64);
    for found in &found {
        fetched(&source, found, false).await;
    }
    assert_eq!(server.count("item.get").await, tries + 1 + found.len() as u64);
}

#[tokio::test]
async fn broken_connections_have_the_server_looked_at_once_and_not_again_and_again() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = idle(&server).await;
    let found = all(&source);
    server.fault(&json!({"fault": "reset", "kinds": ["item.get"]})).await;
    for _ in 0..20 {
        rush(&source, &found).await;
    }
    assert!(server.count("item.get").await <= 12);
    assert!(server.count("vaults.list").await <= 1 + 4, "one for the first failure of each item at most");
}

#[tokio::test]
async fn one_item_that_cannot_be_read_stops_no_other() {
    let server = Server::start().await;
    let (_hub, mut wakes, source) = idle(&server).await;
    let [radarr, sonarr, tls] = ["radarr", "sonarr", "tls"].map(|title| resolve(&source, title).unwrap());
    let path = format!("/v1/vaults/{}/items/{}", radarr.vault, radarr.item);
    server.fault(&json!({"fault": "status", "status": 500, "path": path})).await;
    server.fault(&json!({"fault": "file-not-synced"})).await;
    for _ in 0..3 {
        assert_eq!(rush(&source, std::slice::from_ref(&radarr)).await, [FailureKind::Server; 100]);
    }
    assert_eq!(server.count("item.get").await, 3, "the tries of one object");
    let item = fetched(&source, &tls, false).await;
    for _ in 0..3 {
        let file = source.endpoint.file(&tls, &item.files[0], false, &object("f")).await;
        assert!(matches!(file, Fetched::Failed(failure) if failure.kind == FailureKind::Server));
    }
    assert_eq!(server.count("file.content").await, 3);
    fetched(&source, &sonarr, false).await;
    // One of those who were told is woken when the item may be asked for again.
    loop {
        if let Wake::Reader(_) = tokio::time::timeout(SOON, wakes.recv()).await.unwrap().unwrap() {
            break;
        }
    }
}

#[tokio::test]
async fn what_a_server_asks_to_wait_is_waited() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = idle(&server).await;
    let found = all(&source);
    let busy = |kind: &str| json!({"fault": "status", "status": 503, "retryAfter": "3600", "kinds": [kind]});
    server.fault(&busy("item.get")).await;
    let start = Instant::now();
    rush(&source, &found[..1]).await;
    for _ in 0..3 {
        assert_eq!(rush(&source, &found).await, [FailureKind::Server; 400]);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(server.count("item.get").await, 1);
    // The same for the looks, whoever wishes one.
    server.fault(&busy("vaults.list")).await;
    assert!(source.endpoint.refresh("first", SOON, None).await);
    let looks = server.count("vaults.list").await;
    for number in 0..100 {
        let words = format!("wish {number}");
        assert!(source.endpoint.refresh(&words, SOON, Some(&object("o"))).await, "it is answered at once");
    }
    assert_eq!(server.count("vaults.list").await, looks);
    assert_eq!(source.endpoint.overview().unwrap().unwrap_err().kind, FailureKind::Server);
}

#[tokio::test]
async fn a_wish_of_many_objects_is_one_look() {
    let server = Server::start().await;
    let (_hub, _wakes, source) = idle(&server).await;
    let before = server.count("vaults.list").await;
    let wish = async |words: &str| {
        let asked = (0..100).map(|number| {
            let reader = object(&format!("w{number}"));
            let endpoint = source.endpoint.clone();
            let words = words.to_owned();
            async move { endpoint.refresh(&words, SOON, Some(&reader)).await }
        });
        assert!(join_all(asked).await.into_iter().all(|ended| ended));
    };
    wish("a").await;
    wish("a").await;
    assert_eq!(server.count("vaults.list").await, before + 1);
    // While the server fails, the last answer is the answer.
    server.fault(&json!({"fault": "status", "status": 401, "kinds": ["vaults.list"]})).await;
    wish("b").await;
    for words in ["b", "c", "d", "b"] {
        wish(words).await;
    }
    assert_eq!(server.count("vaults.list").await, before + 2);
}

#[tokio::test]
async fn a_slow_look_keeps_nobody_and_wakes_who_asked_for_it() {
    let server = Server::start().await;
    let (_hub, mut wakes, source) = idle(&server).await;
    let patience = Duration::from_millis(50);
    server.fault(&json!({"fault": "latency", "ms": 2000, "kinds": ["vaults.list"]})).await;
    assert!(!source.endpoint.refresh("a", patience, Some(&object("o0"))).await);
    let start = Instant::now();
    for number in 1..100 {
        assert!(!source.endpoint.refresh("a", patience, Some(&object(&format!("o{number}")))).await);
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    let woken = woken_until(&mut wakes, "o99").await;
    assert_eq!(woken.len(), 99);
    assert!(source.endpoint.refresh("a", patience, Some(&object("o0"))).await, "it was answered");
}

#[tokio::test]
async fn whether_an_item_is_gone_is_asked_once() {
    let server = Server::start().await;
    let (_hub, mut wakes, source) = idle(&server).await;
    let [radarr, sonarr] = ["radarr", "sonarr"].map(|title| resolve(&source, title).unwrap());
    server.delete("/admin/vaults/Home/items/radarr").await;
    for _ in 0..2 {
        let readers: Vec<_> = (0..100).map(|number| object(&format!("g{number}"))).collect();
        let asked = readers.iter().map(|reader| source.endpoint.is_gone(&radarr.vault, &radarr.item, reader));
        for gone in join_all(asked).await {
            assert!(matches!(gone, Fetched::Value(gone) if *gone));
        }
    }
    assert_eq!(server.count("item.get").await, 1);
    // A slow answer keeps nobody.
    server.fault(&json!({"fault": "latency", "ms": 2500, "kinds": ["item.get"]})).await;
    let gone = source.endpoint.is_gone(&sonarr.vault, &sonarr.item, &object("o")).await;
    assert!(matches!(gone, Fetched::Later), "{gone:?}");
    assert!(woken_until(&mut wakes, "o").await.is_empty());
    let gone = source.endpoint.is_gone(&sonarr.vault, &sonarr.item, &object("o")).await;
    assert!(matches!(gone, Fetched::Value(gone) if !*gone));
    assert_eq!(server.count("item.get").await, 2);
}

#[tokio::test]
async fn two_tokens_of_one_server_are_measured_apart_and_vanish() {
    let server = Server::start().await;
    let (hub, _wakes, source) = idle(&server).await;
    let home = hub.register(&store("b"), server.registration("canary-home", &["Home"])).unwrap();
    assert!(home.endpoint.started(SOON).await);
    let series = |name: &str| -> BTreeSet<String> {
        let page = page(&hub);
        assert!(!page.contains("canary"), "{page}");
        let of = |line: &str| Some((line.split_once("store=\"")?.1).split_once('"')?.0.to_owned());
        page.lines().filter(|line| line.starts_with(name)).filter_map(of).collect()
    };
    let [a, b] = ["a", "b"].map(str::to_owned);
    for name in [
        "connect_requests_total{",
        "connect_polls_total{",
        "connect_breaker_open{",
        "connect_gate_missed_changes_total{",
        "connect_stale_reads_total{",
        "connect_index_items{",
        "connect_last_successful_poll_timestamp_seconds{",
        "connect_info{",
    ] {
        assert_eq!(series(name), BTreeSet::from([a.clone(), b.clone()]), "{name}");
    }
    let items = |store: &str| page(&hub).lines().any(|line| line.ends_with(store));
    assert!(items("store=\"a\"} 4") && items("store=\"b\"} 3"), "{}", page(&hub));
    assert!(page(&hub).contains("connect_request_duration_seconds_count{op=\"vaults\"} "), "{}", page(&hub));
    hub.forget_store(&store("a"));
    assert_eq!(series("connect_"), BTreeSet::from([b]));
    hub.forget_store(&store("b"));
    assert_eq!(series("connect_"), BTreeSet::new());
    drop(source);
}
