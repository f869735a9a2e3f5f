//! Opens a repository object for a mover: may it be used, where is it, and with which credentials.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt;

use crate::{
    api::{
        backup::{BackupTarget, RepositoryKey},
        common::RepositoryKind,
        repository::{CaRef, Credentials, RepositorySpec},
    },
    clients::cluster,
    controllers::{
        certificates,
        connect::{CredentialsItem, Reader},
        context::Context,
        credentials::{Place, Reads},
    },
    core::{
        destination::{self, Scope},
        problem::{Problem, Reason},
        repository::{self, Subject},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// A repository object that a mover can be given.
#[derive(Debug)]
pub struct Destination {
    /// Its kind and name.
    pub key: RepositoryKey,
    /// What it declares.
    pub spec: RepositorySpec,
    /// restic's id of its base.
    pub base_id: Option<String>,
    /// What the mover's environment gets: restic's variables and the URL of the base.
    pub variables: SensitiveMap,
    /// URL of the restic repository, without credentials.
    pub url: String,
    /// Where the snapshots of each claim are.
    pub targets: Vec<BackupTarget>,
}

/// Opens a repository object for the `VolumeBackup` of this namespace and name.
///
/// Errors: that it does not exist, is not ready or not allowed; that its templates or its credentials are wrong.
pub async fn open(
    ctx: &Context,
    key: &RepositoryKey,
    namespace: &str,
    name: &str,
    claims: &[String],
) -> Result<Destination, Problem> {
    open_with(ctx, key, (namespace, name), claims, |spec| &spec.credentials).await
}

/// The same, with the credentials for forget and prune.
pub(crate) async fn open_for_maintenance(
    ctx: &Context,
    key: &RepositoryKey,
    backup: (&str, &str),
    claims: &[String],
) -> Result<Destination, Problem> {
    open_with(ctx, key, backup, claims, |spec| spec.maintenance_credentials.as_ref().unwrap_or(&spec.credentials)).await
}

async fn open_with(
    ctx: &Context,
    key: &RepositoryKey,
    (namespace, name): (&str, &str),
    claims: &[String],
    which: impl Fn(&RepositorySpec) -> &Credentials + Send,
) -> Result<Destination, Problem> {
    let (spec, base_id) = usable(ctx, key, namespace).await?;
    let scope = Scope { namespace, name, cluster: &ctx.cluster };
    let targets = destination::targets(&spec, scope, claims)?;
    let url = targets
        .first()
        .map(|target| target.url.clone())
        .ok_or_else(|| Problem::new(Reason::InvalidSpec, format!("{namespace}/{name} names no claim")))?;
    let home = (key.kind == RepositoryKind::ResticRepository).then_some(namespace);
    let found = find(ctx, home, &key.name, &spec, which(&spec), &mut Reads::new()).await?;
    let base_url = destination::base_url(&spec, &ctx.cluster)?;
    let variables = found.variables(ctx, &url, &base_url).await?;
    Ok(Destination { key: key.clone(), base_id, variables, url: destination::public_url(&url), targets, spec })
}

/// Whether a namespace can use a repository object: what it declares, and restic's id of its base.
pub(crate) async fn usable(
    ctx: &Context,
    key: &RepositoryKey,
    namespace: &str,
) -> Result<(RepositorySpec, Option<String>), Problem> {
    let found = subject(ctx, key, namespace);
    let selects =
        |subject: &Subject| subject.spec.allowed_namespaces.as_ref().is_some_and(|allowed| allowed.selector.is_some());
    let mut labels = BTreeMap::new();
    if found.as_ref().is_some_and(selects)
        && let Some(of) = cluster::get(&ctx.global::<Namespace>(), namespace).await?
    {
        labels.clone_from(of.labels());
    }
    repository::usable(key, found.as_ref(), namespace, &labels)
}

/// A repository object as a namespace sees it.
pub(crate) fn subject(ctx: &Context, key: &RepositoryKey, namespace: &str) -> Option<Subject> {
    match key.kind {
        RepositoryKind::ResticRepository => {
            ctx.stores.repositories.by_name(Some(namespace), &key.name).map(|object| Subject::from(&*object))
        }
        RepositoryKind::ClusterResticRepository => {
            ctx.stores.cluster_repositories.by_name(None, &key.name).map(|object| Subject::from(&*object))
        }
    }
}

/// Where credentials are, in which version. An item is not read before its fields are needed.
pub(crate) struct Found {
    /// Where they come from, in words.
    pub(crate) source: String,
    /// What changes when they change.
    pub(crate) version: String,
    /// Ids and titles of the items whose changes concern them.
    pub(crate) names: Vec<String>,
    fields: Fields,
    reader: Reader,
    ca: Option<Sensitive>,
}

enum Fields {
    Of(SensitiveMap),
    In(Box<CredentialsItem>),
}

impl Found {
    /// The mover's variables for a repository.
    pub(crate) async fn variables(&self, ctx: &Context, url: &str, base_url: &str) -> Result<SensitiveMap, Problem> {
        let read;
        let fields = match &self.fields {
            Fields::Of(fields) => fields,
            Fields::In(item) => {
                read = Box::pin(item.fields(ctx, &self.reader)).await?;
                &read
            }
        };
        let (variables, refused) = destination::variables(fields, &self.source, self.ca.as_ref(), url, base_url)?;
        if !refused.is_empty() {
            tracing::debug!(source = self.source, refused = refused.join(", "), "not given to restic");
        }
        Ok(variables)
    }
}

/// Finds the credentials of the repository object of this name, and the certificates beside them: in the operator's
/// namespace for a cluster-wide one, in its own for another. What is read for that is noted in `reads`, also where it
/// is not there.
pub(crate) async fn find(
    ctx: &Context,
    namespace: Option<&str>,
    name: &str,
    spec: &RepositorySpec,
    credentials: &Credentials,
    reads: &mut Reads,
) -> Result<Found, Problem> {
    let reader = Reader::Repository(namespace.map(str::to_owned), name.to_owned());
    let home = namespace.unwrap_or(&ctx.namespace);
    let mut found = match (&credentials.secret_ref, &credentials.onepassword) {
        (Some(reference), _) => in_secret(ctx, reader, home, &reference.name, reads).await?,
        (None, Some(item)) => {
            let found = CredentialsItem::find(ctx, &item.store_ref, namespace, &item.item).await?;
            Found {
                source: format!("1Password item {}", item.item),
                version: found.version(),
                names: found.names().into(),
                fields: Fields::In(Box::new(found)),
                reader,
                ca: None,
            }
        }
        (None, None) => {
            return Err(Problem::new(Reason::InvalidSpec, "credentials names neither a Secret nor an item"));
        }
    };
    if let Some(reference) = &spec.ca {
        let (ca, version) = ca(ctx, home, reference, reads).await?;
        found.ca = Some(ca);
        found.version = format!("{} {version}", found.version);
    }
    Ok(found)
}

/// The certificates that a repository object names, and what changes when they change.
async fn ca(ctx: &Context, home: &str, reference: &CaRef, reads: &mut Reads) -> Result<(Sensitive, String), Problem> {
    let place = match (&reference.secret_name, &reference.config_map_name) {
        (Some(name), _) => Place::Secret(home.to_owned(), name.clone()),
        (None, Some(name)) => Place::ConfigMap(home.to_owned(), name.clone()),
        (None, None) => return Err(Problem::new(Reason::InvalidSpec, "ca names neither a Secret nor a ConfigMap")),
    };
    let pem = Sensitive::from(certificates::read(ctx, place, reference.key.as_deref(), "ca", reads).await?);
    let version = reads.last().and_then(|(_, version)| version.clone()).unwrap_or_default();
    Ok((pem, version))
}

async fn in_secret(
    ctx: &Context,
    reader: Reader,
    namespace: &str,
    name: &str,
    reads: &mut Reads,
) -> Result<Found, Problem> {
    let place = Place::Secret(namespace.to_owned(), name.to_owned());
    let source = place.to_string();
    let secret = cluster::get(&ctx.api::<Secret>(namespace), name).await?;
    reads.push((place, secret.as_ref().and_then(ResourceExt::resource_version)));
    let secret = secret.ok_or_else(|| {
        Problem::new(Reason::CredentialsMissing, format!("{source} does not exist: create it with RESTIC_PASSWORD"))
    })?;
    let version = secret.resource_version().unwrap_or_default();
    let data = secret.data.unwrap_or_default().into_iter();
    let fields = data.map(|(key, value)| (key, Sensitive::from(value.0))).collect();
    Ok(Found { source, version, names: Vec::new(), fields: Fields::Of(fields), reader, ca: None })
}
