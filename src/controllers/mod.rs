//! Observe, let `core` plan, execute: one file for each kind, and what they share.

use std::sync::Arc;

use futures::{Future, future::Shared};

use crate::controllers::context::{Context, Feeds};

pub mod context;
pub mod destination;
pub mod http;
pub mod jobs;
pub mod lease;
pub mod metrics;
pub mod queue;
pub mod run;
pub mod runner;

/// Runs the loop of every kind until `shutdown`.
async fn kinds(ctx: Arc<Context>, feeds: Feeds, shutdown: Shared<impl Future<Output = ()> + Send + 'static>) {
    let _ = (ctx, feeds);
    shutdown.await;
}
