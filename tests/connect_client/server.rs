//! The development Connect server of one test, and what the tests say about it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom::{
    api::common::Group,
    clients::connect::Connect,
    controllers::connect::{Fetched, Hub, Place, Reader, Registration, Source, Wake},
    core::{
        index::Found,
        interest::Interest,
        reference::{Part, Reference},
        sensitive::Sensitive,
        store::StoreKey,
    },
};
use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) const TOKEN: &str = "canary-token";
/// A poll in these tests.
pub(crate) const POLL: Duration = Duration::from_millis(100);
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server of one test; it ends with it.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    admin: String,
    http: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program: beside this one, as `cargo test --workspace` builds it.
pub(crate) fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("connect-dev");
    let path = std::env::var_os("CONNECT_DEV").map_or(path, PathBuf::from);
    assert!(path.is_file(), "{} is missing: build it with `cargo build -p connect-dev`", path.display());
    path
}

impl Server {
    pub(crate) async fn start() -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let child = Command::new(program())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let addresses = eventually("the server listens", async || {
            let text = std::fs::read_to_string(&ready).ok()?;
            let lines: Vec<String> = text.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
            (lines.len() >= 2).then_some(lines)
        })
        .await;
        let at =
            |address: &str| if address.starts_with("http") { address.to_owned() } else { format!("http://{address}") };
        let server = Self {
            child,
            url: at(&addresses[0]),
            admin: at(&addresses[1]),
            http: reqwest::Client::new(),
            _directory: directory,
        };
        let seed = json!({
            "vaults": [
                {"name": "Home", "items": [
                    {"title": "radarr", "category": "API_CREDENTIAL", "fields": {"API_KEY": "canary-one"}},
                    {"title": "sonarr", "category": "LOGIN", "fields": {"username": "u", "password": "canary-two"}},
                    {"title": "tls", "category": "DOCUMENT", "files": {"tls.key": "canary-file"}},
                ]},
                {"name": "Other", "items": [{"title": "radarr", "category": "LOGIN", "fields": {"password": "other"}}]},
            ],
            "tokens": [
                {"name": "all", "token": TOKEN},
                {"name": "home", "token": "canary-home", "vaults": ["Home"]},
            ],
        });
        server.post("/admin/seed", &seed).await;
        server
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(self.http.post(format!("{}{path}", self.admin)).json(body)).await
    }

    pub(crate) async fn put(&self, body: &Value) -> Value {
        self.send(self.http.put(format!("{}/admin/vaults/Home/items", self.admin)).json(body)).await
    }

    pub(crate) async fn patch(&self, title: &str, body: &Value) -> Value {
        self.send(self.http.patch(format!("{}/admin/vaults/Home/items/{title}", self.admin)).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Value {
        self.send(self.http.delete(format!("{}{path}", self.admin))).await
    }

    pub(crate) async fn fault(&self, fault: &Value) {
        self.post("/admin/faults", fault).await;
    }

    /// All requests so far.
    pub(crate) async fn total(&self) -> u64 {
        let counts = self.send(self.http.get(format!("{}/admin/counts", self.admin))).await;
        counts["total"].as_u64().unwrap_or(0)
    }

    pub(crate) async fn count(&self, kind: &str) -> u64 {
        let counts = self.send(self.http.get(format!("{}/admin/counts", self.admin))).await;
        counts["kinds"][kind].as_u64().unwrap_or(0)
    }

    pub(crate) fn client(&self, token: &str) -> Connect {
        Connect::new(&self.url, &Sensitive::from(token), None).unwrap()
    }

    pub(crate) fn registration(&self, token: &str, vaults: &[&str]) -> Registration {
        Registration {
            host: self.url.clone(),
            token: Sensitive::from(token),
            ca: None,
            order: vaults.iter().map(|&name| name.to_owned()).collect(),
            interval: POLL,
            place: Place { url: self.url.clone(), token: "Secret a/b key token".into(), expires_at: None },
        }
    }

    /// A hub with one store, whose server has answered.
    pub(crate) async fn hub(&self) -> (Arc<Hub>, UnboundedReceiver<Wake>, Source) {
        let (hub, wakes) = Hub::new();
        let source = hub.register(&store("a"), self.registration(TOKEN, &["Home", "Other"])).unwrap();
        assert!(source.endpoint.started(SOON).await);
        (hub, wakes, source)
    }
}

pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < SOON, "not seen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn store(name: &str) -> StoreKey {
    StoreKey { group: Group::default(), namespace: None, name: name.into() }
}

pub(crate) fn object(name: &str) -> Reader {
    Reader::ExternalSecret(Group::default(), "media".to_owned(), name.to_owned())
}

pub(crate) fn reads(names: &[&str], waiting: bool) -> Interest {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Interest { stores: BTreeSet::from([store("a")]), names, waiting }
}

pub(crate) fn resolve(source: &Source, item: &str) -> Result<Found, String> {
    let reference = Reference { vault: None, item: item.into(), part: Part::All };
    match source.endpoint.with_index(|index| index.resolve(&source.order, &reference)) {
        Ok(found) => found.map_err(|problem| problem.to_string()),
        Err(failure) => Err(format!("{failure:?}")),
    }
}

/// The objects that are woken until the marked one is.
pub(crate) async fn woken_until(wakes: &mut UnboundedReceiver<Wake>, last: &str) -> BTreeSet<String> {
    let mut woken = BTreeSet::new();
    loop {
        match tokio::time::timeout(SOON, wakes.recv()).await.expect("a wake").unwrap() {
            Wake::Reader(Reader::ExternalSecret(_, _, name)) if name == last => return woken,
            Wake::Reader(Reader::ExternalSecret(_, _, name)) => drop(woken.insert(name)),
            Wake::Store(_) | Wake::Reader(Reader::Repository(..)) => {}
        }
    }
}

pub(crate) fn text(item: &strongroom::core::item::Item, label: &str) -> String {
    let field = item.fields.iter().find(|field| field.label == label).unwrap();
    field.value.as_ref().unwrap().expose_str().unwrap().to_owned()
}

pub(crate) async fn fetched(source: &Source, found: &Found, fresh: bool) -> strongroom::core::item::Item {
    match source.endpoint.item(found, fresh, &object("o")).await {
        Fetched::Value(packed) => packed.item().unwrap(),
        other => panic!("{other:?}"),
    }
}
