//! The cluster that is asked: as kubectl finds it, and with words for what goes wrong.

use std::path::PathBuf;

use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde_json::json;

use crate::clients::{cluster::Object, paths};

use super::Failure;

/// How long the cluster may take to accept a connection.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

/// Which cluster, and where in it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// The kubeconfig file. Default: $KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context. Default: its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace. Default: the context's.
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
}

/// A connection.
pub(super) struct Cluster {
    client: Client,
    server: String,
    /// The namespace that is meant.
    pub(super) namespace: String,
}

impl ClusterArgs {
    /// The client for this cluster; nothing is asked yet.
    pub(super) async fn connect(&self) -> Result<Cluster, Failure> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT);
        // What does not answer is said at once.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = paths::client(config).map_err(|error| Failure::of_cluster("connect", &server, &error))?;
        Ok(Cluster { client, server, namespace })
    }

    async fn config(&self) -> Result<Config, Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let found = match &self.kubeconfig {
            Some(file) => match Kubeconfig::read_from(file) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            },
            None => Config::from_kubeconfig(&options).await,
        };
        match found {
            Ok(config) => Ok(config),
            // In a pod there is no kubeconfig.
            Err(error) if self.kubeconfig.is_none() && self.context.is_none() => {
                Config::incluster().map_err(|_| no_config(&error.to_string()))
            }
            Err(error) => Err(no_config(&error.to_string())),
        }
    }
}

fn no_config(why: &str) -> Failure {
    Failure::new(format!("no cluster is configured: {why}; set KUBECONFIG, or name --kubeconfig and --context"))
}

impl Cluster {
    /// The objects of a kind, in one namespace or in all.
    pub(super) async fn list<K>(&self, namespace: Option<&str>) -> Result<Vec<K>, kube::Error>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// The objects of a cluster-wide kind.
    pub(super) async fn list_all<K: Object>(&self) -> Result<Vec<K>, kube::Error> {
        Ok(Api::<K>::all(self.client.clone()).list(&ListParams::default()).await?.items)
    }

    /// The objects of a kind in the namespace that is meant.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of a cluster-wide kind.
    pub(super) fn api_all<K: Object>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// An object that must be there.
    pub(super) async fn get<K: Object>(&self, api: &Api<K>, name: &str) -> Result<K, Failure> {
        api.get(name).await.map_err(|error| self.failure(&format!("read {} {name}", K::kind(&())), &error))
    }

    /// Sets annotations of an object.
    pub(super) async fn annotate<K: Object>(
        &self,
        api: &Api<K>,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<K, Failure> {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let patched = api.patch(name, &PatchParams::default(), &patch).await;
        patched.map_err(|error| self.failure(&format!("annotate {} {name}", K::kind(&())), &error))
    }

    /// What the cluster answered, in words.
    pub(super) fn failure(&self, action: &str, error: &kube::Error) -> Failure {
        Failure::of_cluster(action, &self.server, error)
    }
}
