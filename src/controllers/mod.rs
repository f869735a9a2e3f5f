//! Observe, let `core` plan, execute: one file for each kind, and what they share.

use std::sync::Arc;

use futures::{Future, future::Shared};
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::Api;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    api::{
        backup::VolumeBackup,
        eso::{EsoClusterSecretStore, EsoExternalSecret, EsoSecretStore},
        external_secret::ExternalSecret,
        foreign::{VolumeSnapshot, VolumeSnapshotContent},
        repository::{ClusterResticRepository, ResticRepository},
        restore::VolumeRestore,
        store::{ClusterSecretStore, SecretStore},
    },
    controllers::{
        connect::Wake,
        context::{Context, Feeds},
        runner::{Reconcile, serve},
        wake::{children, forward},
    },
};

pub mod backup;
mod certificates;
mod children;
pub mod connect;
pub mod context;
mod credentials;
mod declared_metrics;
pub mod destination;
mod errand;
pub mod external_secret;
mod fate;
pub mod http;
pub mod jobs;
mod keep;
mod key;
mod later;
pub mod lease;
mod maintenance;
pub mod metrics;
mod namespaces;
pub mod queue;
pub mod refusals;
pub mod repository;
mod restart;
pub mod restore;
mod retries;
mod routine;
pub mod run;
pub mod runner;
mod secret_writer;
pub mod secrets;
mod status_metrics;
pub mod store;
mod sweep;
pub mod takeover;
mod wake;

/// Kinds that have movers, and what belongs to movers.
const MOVES_DATA: [&str; 4] =
    [VolumeBackup::KIND, VolumeRestore::KIND, ResticRepository::KIND, ClusterResticRepository::KIND];

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
            serve::<EsoSecretStore>(ctx.clone(), feeds.eso_secret_stores, shutdown.clone()),
            serve::<EsoClusterSecretStore>(ctx.clone(), feeds.eso_cluster_secret_stores, shutdown.clone()),
            serve::<EsoExternalSecret>(ctx.clone(), feeds.eso_external_secrets, shutdown.clone()),
            serve::<ResticRepository>(ctx.clone(), feeds.repositories, shutdown.clone()),
            serve::<ClusterResticRepository>(ctx.clone(), feeds.cluster_repositories, shutdown.clone()),
            serve::<VolumeBackup>(ctx.clone(), feeds.backups, shutdown.clone()),
            serve::<VolumeRestore>(ctx.clone(), feeds.restores, shutdown.clone()),
        )
    };
    let watches = async {
        tokio::join!(
            takeover::discover(ctx.clone()),
            takeover::follow(ctx.clone()),
            takeover::watch_pushes(ctx.clone()),
            takeover::recount(ctx.clone()),
            secrets::watch_ours(ctx.clone()),
            secrets::watch_referred(ctx.clone()),
            children::<Job>(ctx.clone(), ctx.own(), &MOVES_DATA),
            children::<PersistentVolumeClaim>(ctx.clone(), ctx.own(), &MOVES_DATA),
            children::<VolumeSnapshot>(ctx.clone(), Api::all(ctx.client.clone()), &[VolumeBackup::KIND]),
            children::<VolumeSnapshotContent>(ctx.clone(), ctx.global(), &[VolumeBackup::KIND]),
            forward(ctx.clone(), wakes),
            credentials::watch_credentials(ctx.clone()),
            namespaces::watch_namespaces(ctx.clone()),
            sweep::run(ctx.clone()),
            keep::run(ctx.clone()),
        )
    };
    tokio::select! {
        _ = loops => {}
        _ = watches => {}
    }
}
