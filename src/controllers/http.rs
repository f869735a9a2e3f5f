//! `/metrics`, `/healthz` and `/readyz`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
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

use crate::controllers::{context::Busy, metrics::Metrics};

/// A look at an object that takes longer than this is stuck: every request of ours has a shorter limit.
const STUCK: Duration = Duration::from_mins(10);

/// What the pages show.
#[derive(Default)]
pub(crate) struct Pages {
    /// Set once this process works, or waits for its turn.
    pub(crate) ready: AtomicBool,
    /// What is being worked on.
    pub(crate) busy: Arc<Busy>,
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
    match pages.busy.longest().filter(|(_, elapsed)| *elapsed > STUCK) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stuck_worker_is_seen() {
        let pages = Arc::new(Pages::default());
        let health = async || healthz(State(pages.clone())).await;
        let ok = (StatusCode::OK, "ok\n".to_owned());
        assert_eq!(health().await, ok);
        let work = pages.busy.start("VolumeBackup media/radarr".to_owned());
        tokio::time::advance(STUCK).await;
        assert_eq!(health().await, ok);
        tokio::time::advance(Duration::from_secs(1)).await;
        let stuck = "stuck for 601 s: VolumeBackup media/radarr\n".to_owned();
        assert_eq!(health().await, (StatusCode::SERVICE_UNAVAILABLE, stuck));
        drop(work);
        assert_eq!(health().await, ok);
    }
}
