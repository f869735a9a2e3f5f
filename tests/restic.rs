//! What our code knows about restic, held against the real one.
#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "support/restic.rs"]
mod restic;
#[path = "support/tls.rs"]
mod tls;

use std::{fs, process::Stdio, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};
use restic::{PASSWORD, Place, wait_for};
use serde::Deserialize;
use strongroom::{
    api::common::Retention,
    clients::restic::Restic,
    core::{
        restic::{
            arguments::{self, Locks},
            messages::Snapshot,
        },
        retention,
        sensitive::{Sensitive, SensitiveMap},
        task::{CA_ENV, FailureKind, History, MaintainTask},
    },
};
use tls::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// The client on a place's repository, or another.
fn client(place: &Place, url: Option<&str>) -> (Restic, watch::Sender<bool>) {
    let url = url.map_or_else(|| place.repository().to_string_lossy().into_owned(), str::to_owned);
    client_with(place, &[("RESTIC_REPOSITORY", &url)])
}

/// The client with variables besides the password.
fn client_with(place: &Place, variables: &[(&str, &str)]) -> (Restic, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let all = variables.iter().chain(&[("RESTIC_PASSWORD", PASSWORD)]);
    let variables: SensitiveMap = all.map(|&(name, value)| (name.to_owned(), Sensitive::from(value))).collect();
    (Restic::new(place.program.clone(), place.path("cache"), &variables, stopped).unwrap(), stop)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

#[tokio::test]
async fn a_live_lock_names_its_owner() {
    let place = Place::new();
    // Reads from a pipe that stays open, with a lock that does not exclude other backups.
    let mut holder = place.command(&["backup", "--stdin"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the lock", || place.locks() == 1);
    let (client, _stop) = client(&place, None);
    let failure = client.output(&words(&["forget", "--json", &"0".repeat(64)])).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Locked);
    let owner = format!("locked by PID {} on ", holder.id());
    assert!(failure.message.contains(&owner) && failure.message.contains(" ago)"), "{failure}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    // A restart waits for it, as backups and maintenance do.
    client.output(&arguments::forget(&["0".repeat(64)], true, Locks::Wait)).await.unwrap();
}

#[tokio::test]
async fn a_kept_cache_holds_one_repository_and_tells_which_it_is_now() {
    let place = Place::new();
    fs::create_dir(place.path("kept")).unwrap();
    let (client, _stop) = client(&place, None);
    let client = client.with_cache(place.path("kept"));
    let names = || {
        let all =
            fs::read_dir(place.path("kept")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.filter(|name| name.len() == 64).collect::<Vec<_>>()
    };
    client.output(&arguments::snapshots(&[])).await.unwrap();
    let id = client.repository_id().await.unwrap();
    assert_eq!(names(), [id.clone()]);
    // What was cached of a repository that was there before.
    fs::create_dir(place.path("kept").join("a".repeat(64))).unwrap();
    assert_eq!(client.repository_id().await, Some(id.clone()));
    assert_eq!(names(), [id], "what is cached of others is no use");
    // The base has its own.
    let base = client.at(Sensitive::from(place.path("base").to_string_lossy().into_owned()));
    base.output(&arguments::init()).await.unwrap();
    base.output(&arguments::snapshots(&[])).await.unwrap();
    assert_eq!(names().len(), 1);
    assert!(base.repository_id().await.is_some_and(|of_base| !names().contains(&of_base)));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_long() {
    let place = Place::empty();
    let (client, _stop) = client(&place, Some("rest:http://user:canary@127.0.0.1:1/app"));
    let client = client.with_patience(Duration::from_secs(2));
    let failure = client.output(&arguments::config()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.message.contains("connection refused") && !failure.message.contains("canary"), "{failure}");
}

/// A server with TLS at which nothing is; its address.
async fn empty_server(authority: &Authority) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rest:https://{}/", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(authority.server()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust the certificate goes away here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 404 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
            });
        }
    });
    url
}

#[tokio::test]
async fn a_private_ca_is_trusted_where_it_is_named_and_nowhere_else() {
    let place = Place::empty();
    let (authority, other) = (Authority::new("127.0.0.1"), Authority::new("127.0.0.1").ca);
    let url = empty_server(&authority).await;
    let both = format!("{other}{}", authority.ca);
    for (ca, kind, words) in [
        (None, FailureKind::Unreachable, "certificate signed by unknown authority"),
        (Some(&other), FailureKind::Unreachable, "certificate signed by unknown authority"),
        (Some(&authority.ca), FailureKind::NoRepository, "repository does not exist"),
        (Some(&both), FailureKind::NoRepository, "repository does not exist"),
    ] {
        let mut variables = vec![("RESTIC_REPOSITORY", url.as_str())];
        variables.extend(ca.map(|ca| (CA_ENV, ca.as_str())));
        let (client, _stop) = client_with(&place, &variables);
        let client = client.with_patience(Duration::from_secs(2));
        let failure = client.output(&arguments::config()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
    assert_eq!(fs::read_dir(place.path("cache")).unwrap().count(), 0, "the certificates went with the client");
}

#[tokio::test]
async fn told_to_stop_before_it_starts_it_does_not() {
    let place = Place::empty();
    let (client, stop) = client(&place, None);
    stop.send_replace(true);
    assert_eq!(client.output(&arguments::init()).await.unwrap_err().kind, FailureKind::Interrupted);
    assert!(!place.repository().exists());
}

#[tokio::test]
async fn a_reader_that_stops_reading_does_not_stop_restic() {
    let place = Place::new();
    let (client, _stop) = client(&place, None);
    let (sender, output) = tokio::sync::mpsc::channel(1);
    drop(output);
    assert!(client.lines(&arguments::config(), None, sender).await.unwrap().is_success());
}

/// A group in the answer of `forget`.
#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    keep: Option<Vec<Snapshot>>,
}

/// What restic would keep of a repository, and what we do, for many policies.
#[test]
fn retention_is_restics() {
    let place = Place::new();
    let volume = place.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "content").unwrap();
    // Borders of hours, days, ISO weeks (2024-12-30 is in week 1 of 2025), months and years, and clusters.
    let times = [
        "2023-01-01 12:00:00",
        "2023-12-31 23:59:59",
        "2024-01-01 00:00:00",
        "2024-02-29 12:00:00",
        "2024-11-30 23:00:00",
        "2024-12-01 00:00:00",
        "2024-12-28 10:00:00",
        "2024-12-29 10:00:00",
        "2024-12-30 10:00:00",
        "2024-12-31 23:30:00",
        "2025-01-01 00:30:00",
        "2025-01-05 23:59:59",
        "2025-01-06 00:00:00",
        "2025-01-06 00:59:59",
        "2025-01-06 01:00:00",
        "2025-01-06 01:30:00",
        "2025-01-06 02:00:00",
        "2025-01-07 02:00:00",
    ];
    for (index, time) in times.iter().enumerate() {
        let tag = format!("--tag=t{}", index % 5);
        let mut command = place.command(&["backup", ".", "--host=media", "--quiet", "--time", time, &tag]);
        assert!(command.current_dir(&volume).status().unwrap().success());
    }
    let snapshots: Vec<Snapshot> = serde_json::from_str(&place.restic(&["snapshots", "--json"])).unwrap();
    assert_eq!(snapshots.len(), times.len());
    let count = || prop_oneof![2 => Just(None), 3 => (1_u32..5).prop_map(Some)];
    let policy = (
        (count(), count(), count(), count(), count(), count()),
        prop_oneof![3 => Just(None), 1 => (1_u64..10_000).prop_map(Some)],
        prop_oneof![3 => Just(None), 1 => (0..5).prop_map(Some)],
    );
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() });
    let compare = |((last, hourly, daily, weekly, monthly, yearly), hours, tag): Policy| {
        let counts = [
            ("last", last),
            ("hourly", hourly),
            ("daily", daily),
            ("weekly", weekly),
            ("monthly", monthly),
            ("yearly", yearly),
        ];
        let mut arguments = words(&["forget", "--dry-run", "--json"]);
        arguments.extend(counts.iter().filter_map(|(rule, count)| Some(format!("--keep-{rule}={}", (*count)?))));
        arguments.extend(hours.map(|hours| format!("--keep-within={hours}h")));
        arguments.extend(tag.map(|tag| format!("--keep-tag=t{tag}")));
        prop_assume!(arguments.len() > 3);
        let output = place.restic(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let groups: Vec<Group> = serde_json::from_str(&output).unwrap();
        let mut theirs: Vec<_> = groups.into_iter().flat_map(|group| group.keep.unwrap()).map(|one| one.id).collect();

        let within = hours.map(|hours| strongroom::api::common::Duration::from_secs(hours * 3600));
        let tags = tag.map(|tag| format!("t{tag}")).into_iter().collect();
        let retention = Retention { last, hourly, daily, weekly, monthly, yearly, within, tags };
        let history = History {
            host: "media".to_owned(),
            path: volume.to_str().unwrap().to_owned(),
            retention,
            ..History::default()
        };
        let task = MaintainTask { histories: vec![history], ..MaintainTask::default() };
        let gone = retention::expired(&snapshots, &task, chrono::Utc::now());
        let mut ours: Vec<_> = snapshots.iter().map(|one| one.id.clone()).filter(|id| !gone.contains(id)).collect();
        // The one thing that we do and restic does not: the newest stays, whatever its tags.
        let newest = snapshots.iter().max_by_key(|one| one.time).unwrap();
        if !theirs.contains(&newest.id) {
            theirs.push(newest.id.clone());
        }
        theirs.sort();
        ours.sort();
        prop_assert_eq!(ours, theirs, "{:?}", arguments);
        Ok(())
    };
    runner.run(&policy, compare).unwrap();
}

type Counts = (Option<u32>, Option<u32>, Option<u32>, Option<u32>, Option<u32>, Option<u32>);
type Policy = (Counts, Option<u64>, Option<i32>);
