use std::sync::atomic::{AtomicU32, Ordering};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{advance, sleep},
};

use super::*;
use crate::{
    api::common::Group,
    clients::connect::Connect,
    controllers::connect::{ConnectMetrics, Hub, Wake, endpoint::Demand},
};

/// An endpoint that nobody looks at.
fn endpoint() -> (Arc<Endpoint>, UnboundedReceiver<Wake>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (hub, wakes) = Hub::new();
    let client = Connect::new("http://127.0.0.1:9", &Sensitive::from("token"), None).unwrap();
    let names = ("http://127.0.0.1:9".to_owned(), "id".to_owned());
    (Endpoint::new(client, names, Demand::default(), hub.wakes.clone(), ConnectMetrics::default()), wakes)
}

fn reader(name: &str) -> Reader {
    Reader::ExternalSecret(Group::default(), "media".to_owned(), name.to_owned())
}

/// How often it was asked for something, and what it answers.
#[derive(Default)]
struct Server {
    asked: AtomicU32,
    fails: AtomicU32,
}

impl Server {
    async fn ask(self: &Arc<Self>, endpoint: &Arc<Endpoint>, name: &str) -> Fetched<Sensitive> {
        let server = self.clone();
        let request = async move {
            server.asked.fetch_add(1, Ordering::SeqCst);
            match server.fails.load(Ordering::SeqCst) {
                0 => Ok(Sensitive::from("canary")),
                _ => Err(Failure::new(FailureKind::Server, "500")),
            }
        };
        let key = ("vault".to_owned(), "file".to_owned());
        endpoint.shared(|state| &mut state.files, key, |_| true, false, &reader(name), request).await
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn kept(endpoint: &Endpoint) -> bool {
    endpoint.lock().files.values().any(|slot| slot.done.is_some())
}

fn woken(wakes: &mut UnboundedReceiver<Wake>) -> Vec<Reader> {
    let mut woken = vec![];
    while let Ok(wake) = wakes.try_recv() {
        if let Wake::Reader(reader) = wake {
            woken.push(reader);
        }
    }
    woken
}

#[tokio::test(start_paused = true)]
async fn a_value_is_forgotten_ten_seconds_after_its_last_use() {
    let (endpoint, _wakes) = endpoint();
    let server = Arc::new(Server::default());
    assert!(matches!(server.ask(&endpoint, "a").await, Fetched::Value(_)));
    sleep(Duration::from_secs(9)).await;
    assert!(matches!(server.ask(&endpoint, "a").await, Fetched::Value(_)));
    sleep(Duration::from_millis(9900)).await;
    assert!(kept(&endpoint));
    assert_eq!(server.asked(), 1);
    sleep(Duration::from_millis(200)).await;
    assert!(!kept(&endpoint));
    assert!(endpoint.lock().files.is_empty() && !endpoint.lock().cleaned);
    // Whoever uses it again and again does not keep it for ever.
    for _ in 0..9 {
        server.ask(&endpoint, "a").await;
        sleep(Duration::from_secs(8)).await;
    }
    assert_eq!(server.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_asked_for_less_and_less_and_wakes_all_once_it_does_not() {
    let (endpoint, mut wakes) = endpoint();
    let server = Arc::new(Server::default());
    server.fails.store(1, Ordering::SeqCst);
    server.ask(&endpoint, "first").await;
    for name in ["a", "b", "c"] {
        assert!(matches!(server.ask(&endpoint, name).await, Fetched::Failed(_)));
    }
    assert_eq!(server.asked(), 1);
    advance(Duration::from_secs(3)).await;
    assert!(matches!(server.ask(&endpoint, "a").await, Fetched::Failed(_)));
    assert_eq!((server.asked(), woken(&mut wakes)), (1, vec![]));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(woken(&mut wakes), [reader("a")], "one asks for all");
    server.ask(&endpoint, "a").await;
    assert_eq!(server.asked(), 2);
    sleep(Duration::from_secs(7)).await;
    server.ask(&endpoint, "a").await;
    assert_eq!((server.asked(), woken(&mut wakes)), (2, vec![]), "it waits longer than before");
    server.fails.store(0, Ordering::SeqCst);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(woken(&mut wakes), [reader("a")]);
    assert!(matches!(server.ask(&endpoint, "a").await, Fetched::Value(_)));
    assert_eq!(woken(&mut wakes), [reader("b"), reader("c")]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_hours_keeps_no_request_waiting() {
    let (endpoint, _wakes) = endpoint();
    let start = Instant::now();
    for kind in [FailureKind::Server, FailureKind::Busy, FailureKind::Forbidden, FailureKind::Alien] {
        let failure = Failure { retry_after: Some(Duration::from_hours(1)), ..Failure::new(kind, "") };
        let answer: Result<(), _> = endpoint.call("item", || async { Err(failure.clone()) }).await;
        assert_eq!(answer.unwrap_err(), failure);
    }
    assert_eq!(endpoint.lock().tally.count(), 4);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let shortly = Failure { retry_after: Some(Duration::from_secs(2)), ..Failure::new(FailureKind::Server, "") };
    let answer: Result<(), _> = endpoint.call("item", || async { Err(shortly.clone()) }).await;
    assert!(answer.is_err());
    assert_eq!(start.elapsed().as_secs(), 4, "two more tries");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_costs_a_probe_a_minute_however_many_want_something() {
    let (endpoint, _wakes) = endpoint();
    endpoint.lock().health = Health::Good;
    let asked = Arc::new(AtomicU32::new(0));
    for second in 0..3600_u32 {
        let key = ("vault".to_owned(), format!("item{}", second % 50));
        let (endpoint, asked, of) = (endpoint.clone(), asked.clone(), key.clone());
        let request = {
            let endpoint = endpoint.clone();
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let result = Err(Failure::new(FailureKind::Unreachable, "reset"));
                endpoint.judge::<()>(&of, &result);
                result.map(|()| true)
            }
        };
        endpoint.shared(|state| &mut state.gone, key, |_| true, true, &reader("a"), request).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3, "then it was held to fail");
    // What is counted here are the probes.
    let probes = endpoint.lock().tally.count();
    assert!((60..80).contains(&probes), "{probes}");
}
