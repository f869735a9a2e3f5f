//! A way to the API server that counts a controller's writes and kills it after the n-th: after the API server has
//! carried the write out, before the controller hears of it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};

/// A controller on this machine, outside of the cluster, whose requests go through this proxy.
pub struct Controller {
    shared: Arc<Shared>,
    upstream: Child,
    _runtime: tokio::runtime::Runtime,
    address: String,
    log: tempfile::NamedTempFile,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    writes: AtomicUsize,
    kill_after: AtomicUsize,
    written: Mutex<Vec<String>>,
    child: Mutex<Option<Child>>,
}

impl Controller {
    /// A proxy, with no controller yet.
    pub fn new() -> Self {
        // Another test of this process may have done so; the proxy itself speaks plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut upstream = Command::new("kubectl")
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl proxy starts");
        let mut line = String::new();
        let stdout = upstream.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit(' ').next().expect("it says where it listens").to_owned();

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let shared = Arc::new(Shared {
            upstream: format!("http://{address}"),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            writes: AtomicUsize::new(0),
            kill_after: AtomicUsize::new(usize::MAX),
            written: Mutex::default(),
            child: Mutex::default(),
        });
        let router = Router::new().fallback(forward).with_state(shared.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("it has an address").port();
        runtime.spawn(async move { axum::serve(listener, router).await });
        let log = tempfile::NamedTempFile::new().expect("a file");
        Self { shared, upstream, _runtime: runtime, address: format!("http://127.0.0.1:{port}"), log }
    }

    /// Starts a controller that is killed after so many writes.
    pub fn start(&self, kill_after: usize) {
        self.stop();
        self.shared.writes.store(0, Ordering::SeqCst);
        self.shared.kill_after.store(kill_after, Ordering::SeqCst);
        self.shared.written.lock().expect("not poisoned").clear();
        let log = std::fs::File::options().append(true).open(self.log.path()).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["controller", "--image", "ghcr.io/strongroom/strongroom:dev", "--image-pull-policy", "Never"])
            .args(["--listen", "127.0.0.1:0", "--identity", "kills", "--api-server", &self.address])
            .stderr(log)
            .spawn()
            .expect("the controller starts");
        *self.shared.child.lock().expect("not poisoned") = Some(child);
    }

    /// Whether the controller has been killed after its n-th write.
    pub fn killed(&self) -> bool {
        self.shared.child.lock().expect("not poisoned").is_none()
    }

    /// What the controller wrote, in order.
    pub fn written(&self) -> Vec<String> {
        self.shared.written.lock().expect("not poisoned").clone()
    }

    /// Kills the controller.
    pub fn stop(&self) {
        self.shared.kill();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            println!("--- the controller's log\n{}", std::fs::read_to_string(self.log.path()).unwrap_or_default());
        }
        let _ = self.upstream.kill();
        let _ = self.upstream.wait();
    }
}

impl Shared {
    fn kill(&self) {
        if let Some(mut child) = self.child.lock().expect("not poisoned").take() {
            // SIGKILL, by its handle.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let writes = parts.method != Method::GET && !path.contains("/leases/") && !path.contains("/events");
    let Ok(body) = axum::body::to_bytes(body, 4 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let mut headers = parts.headers.clone();
    headers.remove("host");
    let upstream = shared.client.request(parts.method.clone(), format!("{}{path}", shared.upstream));
    let Ok(answer) = upstream.headers(headers).body(body).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let status = answer.status();
    if writes && status.is_success() {
        shared.written.lock().expect("not poisoned").push(format!("{} {path}", parts.method));
        if shared.writes.fetch_add(1, Ordering::SeqCst) + 1 == shared.kill_after.load(Ordering::SeqCst) {
            shared.kill();
        }
    }
    let mut response = Response::builder().status(status);
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" && name != "connection" {
            response = response.header(name, value);
        }
    }
    let body = Body::from_stream(answer.bytes_stream());
    response.body(body).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}
