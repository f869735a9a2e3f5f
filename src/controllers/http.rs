//! `/metrics`, `/healthz` and `/readyz`.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::controllers::{context::Context, metrics::Metrics};

/// A look at an object that takes longer than this is stuck: every request of ours has a shorter limit.
const STUCK: Duration = Duration::from_mins(10);

/// What the pages show.
#[derive(Default)]
pub(crate) struct Pages {
    /// Set once this process works, or waits for its turn.
    pub(crate) ready: AtomicBool,
    /// Set once this process holds the Lease.
    pub(crate) context: OnceLock<Arc<Context>>,
}

/// Serves the pages for as long as the process lives.
pub(crate) async fn serve(address: SocketAddr, metrics: Arc<Metrics>, pages: Arc<Pages>) -> std::io::Result<()> {
    let health = pages.clone();
    let router = Router::new()
        .route("/metrics", get(page).with_state(metrics))
        .route("/healthz", get(healthz).with_state(health))
        .route("/readyz", get(readyz).with_state(pages));
    axum::serve(TcpListener::bind(address).await?, router).await
}

async fn page(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.page())
}

async fn healthz(State(pages): State<Arc<Pages>>) -> (StatusCode, String) {
    let longest = pages.context.get().and_then(|ctx| ctx.busy.longest());
    match longest.filter(|(_, elapsed)| *elapsed > STUCK) {
        Some((what, elapsed)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("stuck for {} s: {what}\n", elapsed.as_secs()))
        }
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn readyz(State(pages): State<Arc<Pages>>) -> (StatusCode, &'static str) {
    if pages.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}
