//! `strongroom status`.

use std::io::{BufRead, Write};

use chrono::Utc;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, core::NamespaceResourceScope};

use crate::{
    api::{
        backup::VolumeBackup,
        repository::{ClusterResticRepository, ResticRepository},
        restore::VolumeRestore,
    },
    clients::cluster::Object,
    core::{
        overview::{Overview, Seen},
        repository::Subject,
    },
};

use super::{
    Console, Failure, Outcome, Output,
    cluster::{Cluster, ClusterArgs},
    json,
};

/// What `status` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// How it is written. Default: tables.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
    /// The operator's own namespace, whose claims are not counted.
    #[arg(long, env = "STRONGROOM_NAMESPACE", default_value = "strongroom-system", value_name = "NAME")]
    operator_namespace: String,
}

/// Looks, and says how things stand.
pub(super) async fn run(args: Args, console: &mut Console<impl BufRead, impl Write>) -> Result<Outcome, Failure> {
    let cluster = args.cluster.connect().await?;
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    let (seen, whole) = look(&cluster, namespace, args.operator_namespace).await?;
    let now = Utc::now();
    let overview = Overview::new(&seen, namespace, whole, now);
    if args.output == Some(Output::Json) {
        return json(&mut console.output, &overview);
    }
    write!(console.output, "{}", overview.text(console.program, now))?;
    Ok(Outcome::Good)
}

/// Everything that can be seen, and whether that is all of the cluster.
async fn look(cluster: &Cluster, namespace: Option<&str>, operator: String) -> Result<(Seen, bool), Failure> {
    let (backups, all_backups) = widely::<VolumeBackup>(cluster, namespace, "list VolumeBackups").await?;
    let (restores, all_restores) = widely::<VolumeRestore>(cluster, namespace, "list VolumeRestores").await?;
    let mut unseen = vec![];
    let whole = all_backups && all_restores;
    if !whole {
        unseen.push("Not seen: what waits in other namespaces, so no place in the queue can be told".to_owned());
    }
    let mut repositories: Vec<Subject> = vec![];
    match cluster.list::<ResticRepository>(namespace).await {
        Ok(found) => repositories.extend(found.iter().map(Subject::from)),
        Err(error) => unseen.push(not_seen(cluster, "list ResticRepositories", &error)?),
    }
    match cluster.list_all::<ClusterResticRepository>().await {
        Ok(found) => repositories.extend(found.iter().map(Subject::from)),
        Err(error) => unseen.push(not_seen(cluster, "list ClusterResticRepositories", &error)?),
    }
    let claims = match cluster.list::<PersistentVolumeClaim>(namespace).await {
        Ok(found) => Some(found),
        Err(error) => {
            unseen.push(not_seen(cluster, "list claims", &error)?);
            None
        }
    };
    Ok((Seen { backups, restores, repositories, claims, operator_namespace: operator, unseen }, whole))
}

/// The objects of all namespaces, or of the one that is asked for where only that is allowed; and whether it is all.
async fn widely<K>(cluster: &Cluster, namespace: Option<&str>, action: &str) -> Result<(Vec<K>, bool), Failure>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    match (cluster.list(None).await, namespace) {
        (Ok(found), _) => Ok((found, true)),
        (Err(error), Some(namespace)) if is_denied(&error) => {
            let found = cluster.list(Some(namespace)).await.map_err(|error| cluster.failure(action, &error))?;
            Ok((found, false))
        }
        (Err(error), _) => Err(cluster.failure(action, &error)),
    }
}

/// What may be missing from the picture, in words; other failures end it.
fn not_seen(cluster: &Cluster, action: &str, error: &kube::Error) -> Result<String, Failure> {
    let failure = cluster.failure(action, error);
    if is_denied(error) { Ok(format!("Not seen: cannot {action}: {failure}")) } else { Err(failure) }
}

fn is_denied(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}
