//! The controller's process: its parts, from start to end.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering};

use axum::http::Uri;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Config,
    runtime::events::{Recorder, Reporter},
};

use crate::{
    api::MANAGER,
    clients::paths,
    controllers::{
        connect::{Hub, register},
        context::{Context, stores},
        credentials::Credentials,
        declared_metrics::{DeclaredMetrics, Failures},
        http::{self, Pages},
        key,
        lease::{self, LeaseError},
        metrics::Metrics,
        namespaces::Namespaces,
        queue::Queue,
        refusals::Refusals,
        secrets::Secrets,
        status_metrics::StatusMetrics,
        takeover::Takeover,
    },
    core::job::Image,
};

/// What the controller is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's own namespace.
    pub namespace: String,
    /// Name of this controller in the Lease: the pod's.
    pub identity: String,
    /// The image that movers run.
    pub image: Image,
    /// The Kubernetes API, where it is not that of the pod's own cluster.
    pub api_server: Option<Uri>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// Movers of backups and restores at once in the cluster.
    pub movers: usize,
    /// Whether workloads may be restarted for a Secret's new data.
    pub restart: bool,
    /// Whether commands may be run in apps' pods.
    pub hooks: bool,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The Kubernetes API cannot be used.
    #[error("cannot use the Kubernetes API: {0}")]
    Cluster(#[from] kube::Error),
    /// This is no pod of a cluster.
    #[error("no configuration for the Kubernetes API: {0}; outside of a cluster, --api-server says where it is")]
    Config(#[from] kube::config::InClusterError),
    /// The pages cannot be served.
    #[error("cannot serve /metrics: {0}")]
    Http(#[from] std::io::Error),
    /// Another controller acts now.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// Runs the controller until SIGTERM, or until it must not go on.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    // A kubeconfig is for people: reading one would be a tenth of the program.
    let config = settings.api_server.clone().map_or_else(Config::incluster, |server| Ok(Config::new(server)))?;
    let client = paths::client(config)?;
    let cluster = Api::<Namespace>::all(client.clone()).get("kube-system").await?.metadata.uid.unwrap_or_default();
    let metrics = Arc::new(Metrics::default());
    let pages = Arc::new(Pages::default());
    let server = tokio::spawn(http::serve(settings.listen, metrics.clone(), pages.clone()));
    pages.ready.store(true, Ordering::Relaxed);
    let leases = Api::namespaced(client.clone(), &settings.namespace);
    let shutdown = terminated().shared();
    let since = tokio::select! {
        () = shutdown.clone() => return Ok(()),
        since = lease::acquire(&leases, &settings.identity) => since,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = settings.namespace,
        cluster,
        image = settings.image.name,
        "Strongroom watches SecretStores, ExternalSecrets, ResticRepositories, VolumeBackups and VolumeRestores \
         in all namespaces; movers run in its own"
    );
    // Nobody renews the Lease meanwhile.
    let secrets = Api::namespaced(client.clone(), &settings.namespace);
    let read = tokio::time::timeout(lease::RENEW, key::read(&secrets)).await;
    let (fingerprints, taken) = read.map_err(|_| LeaseError::unanswered())??;
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(settings.identity.clone()) };
    let (stores, feeds) = stores();
    let (connect, wakes) = Hub::new();
    let (failures, queue) = (Failures::default(), Arc::new(Queue::new(settings.movers)));
    metrics.register(|registry| {
        register(&connect, registry);
        failures.register(registry);
        registry.register_collector(Box::new(DeclaredMetrics {
            connect: connect.clone(),
            ours: stores.external_secrets.store.clone(),
            esos: stores.eso_external_secrets.store.clone(),
        }));
        registry.register_collector(Box::new(StatusMetrics {
            backups: stores.backups.store.clone(),
            repositories: stores.repositories.store.clone(),
            cluster_repositories: stores.cluster_repositories.store.clone(),
            queue: queue.clone(),
        }));
    });
    let ctx = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        namespace: settings.namespace,
        cluster,
        image: settings.image,
        stores,
        connect,
        secrets: Secrets::default(),
        credentials: Credentials::default(),
        namespaces: Namespaces::default(),
        refusals: Refusals::default(),
        failures,
        takeover: Takeover::new(taken),
        fingerprints,
        restart: settings.restart,
        hooks: settings.hooks,
        queue,
        sweep: tokio::sync::Notify::new(),
        forgotten: tokio::sync::Notify::new(),
        metrics,
        busy: pages.busy.clone(),
    });
    let kinds = super::kinds(ctx, feeds, wakes, shutdown.clone());
    tokio::select! {
        () = kinds => {}
        lost = lease::keep(&leases, &settings.identity, since) => return Err(lost.into()),
        ended = server => {
            if let Ok(Err(error)) = ended {
                return Err(error.into());
            }
        }
    }
    lease::release(&leases, &settings.identity).await;
    Ok(())
}

/// Ends with SIGTERM or SIGINT.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot wait for signals");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}
