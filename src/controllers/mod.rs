//! Observe, let `core` plan, execute: one file for each kind, and what they share.

use std::sync::Arc;

use futures::{Future, future::Shared};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    api::{
        external_secret::ExternalSecret,
        store::{ClusterSecretStore, SecretStore},
    },
    controllers::{
        connect::Wake,
        context::{Context, Feeds},
        runner::{children, serve},
    },
};

pub mod connect;
pub mod context;
pub mod external_secret;
pub mod destination;
pub mod http;
pub mod jobs;
pub mod lease;
pub mod metrics;
pub mod queue;
pub mod run;
pub mod runner;
mod secret_writer;
pub mod store;

/// Runs the loop of every kind until `shutdown`.
async fn kinds(
    ctx: Arc<Context>,
    feeds: Feeds,
    wakes: UnboundedReceiver<Wake>,
    shutdown: Shared<impl Future<Output = ()> + Send + 'static>,
) {
    let loops = async {
        tokio::join!(
            serve::<SecretStore>(ctx.clone(), feeds.secret_stores, shutdown.clone()),
            serve::<ClusterSecretStore>(ctx.clone(), feeds.cluster_secret_stores, shutdown.clone()),
            serve::<ExternalSecret>(ctx.clone(), feeds.external_secrets, shutdown.clone()),
        )
    };
    let watches = async {
        tokio::join!(
            children::<Secret, ExternalSecret>(ctx.clone(), Api::all(ctx.client.clone())),
            connect::forward(ctx.clone(), wakes),
        )
    };
    tokio::select! {
        _ = loops => {}
        _ = watches => {}
    }
}
