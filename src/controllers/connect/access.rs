//! From a reference to a store to the server behind it, for those who may use it.

use std::collections::BTreeMap;

use super::{Fetched, Lookup, Reader, Source, item_problem, problem};
use crate::{
    api::{
        common::{Group, StoreKind, StoreRef},
        store::StoreSpec,
    },
    controllers::context::Context,
    core::{
        field::{self, Source as FieldSource},
        index::{Found, Index},
        item::Item,
        problem::{Class, Problem, Reason},
        reference::{Part, Reference},
        sensitive::SensitiveMap,
        store::{StoreKey, admit, is_ours, needs_labels, of_eso},
    },
};

/// Where the secrets of a store come from, for a namespace that may use it (none: the operator itself). Nothing while
/// the store's controller has not looked at the store, or a namespace that was just made is not known.
pub async fn source(ctx: &Context, reference: &StoreRef, namespace: Option<&str>) -> Result<Option<Source>, Problem> {
    if reference.kind == StoreKind::SecretStore && namespace.is_none() {
        let message =
            format!("SecretStore {}: a cluster-wide object can use a ClusterSecretStore only", reference.name);
        return Err(Problem::new(Reason::InvalidSpec, message));
    }
    let key = StoreKey::of(reference, namespace.unwrap_or_default());
    let spec = spec(ctx, &key).unwrap_or_else(|| {
        let message = format!("{key} does not exist: create it, or correct the reference");
        Err(Problem::new(Reason::StoreNotFound, message))
    })?;
    if !is_ours(&spec) {
        let class = spec.controller.unwrap_or_default();
        let message = format!("{key} is left to controller {class:?}: set spec.controller of the store to strongroom");
        return Err(Problem::new(Reason::StoreNotReady, message));
    }
    if let Some(namespace) = namespace {
        let labels = if needs_labels(&spec) { ctx.namespaces.labels(namespace).await? } else { Some(BTreeMap::new()) };
        let Some(labels) = labels else { return Ok(None) };
        admit(&key, &spec, namespace, &labels)?;
    }
    match ctx.connect.lookup(&key) {
        Lookup::Unknown => Ok(None),
        Lookup::Found(source) => Ok(Some(source)),
        Lookup::Failed(problem) => Err(Problem::new(Reason::StoreNotReady, format!("{key} is not ready: {problem}"))),
    }
}

fn spec(ctx: &Context, key: &StoreKey) -> Option<Result<StoreSpec, Problem>> {
    let (stores, name, namespace) = (&ctx.stores, &key.name, key.namespace.as_deref());
    match (key.group, namespace) {
        (Group::Strongroom, Some(_)) => Some(Ok(stores.secret_stores.by_name(namespace, name)?.spec.store.clone())),
        (Group::Strongroom, None) => Some(Ok(stores.cluster_secret_stores.by_name(None, name)?.spec.store.clone())),
        (Group::ExternalSecrets, Some(_)) => {
            Some(of_eso(&stores.eso_secret_stores.by_name(namespace, name)?.spec.store, key))
        }
        (Group::ExternalSecrets, None) => {
            Some(of_eso(&stores.eso_cluster_secret_stores.by_name(None, name)?.spec.store, key))
        }
    }
}

/// Whether a store of ours goes by the labels of namespaces.
pub(crate) fn selects(ctx: &Context, store: &StoreKey) -> bool {
    spec(ctx, store).and_then(Result::ok).is_some_and(|spec| is_ours(&spec) && needs_labels(&spec))
}

/// What a reference means, as the index tells it. Nothing while the server is asked for the first time.
pub fn indexed<T>(
    ctx: &Context,
    source: &Source,
    read: impl FnOnce(&Index) -> Result<T, Problem>,
) -> Result<Option<T>, Problem> {
    match source.endpoint.with_index(read) {
        Ok(found) => found.map(Some),
        Err(None) => Ok(None),
        Err(Some(failure)) => Err(not_ready(&problem(&failure, &source.place, ctx.now()))),
    }
}

fn not_ready(problem: &Problem) -> Problem {
    Problem::new(Reason::StoreNotReady, format!("the store is not ready: {problem}"))
}

/// An item with its values. Nothing while it is fetched: `reader` is woken when it is there.
pub async fn fetch(
    ctx: &Context,
    source: &Source,
    found: &Found,
    fresh: bool,
    reader: &Reader,
) -> Result<Option<Item>, Problem> {
    match source.endpoint.item(found, fresh, reader).await {
        Fetched::Value(packed) => packed.item().map(Some).ok_or_else(|| soon(&found.title, "it cannot be read")),
        Fetched::Later => Ok(None),
        Fetched::Failed(failure) => Err(item_problem(&found.title, &failure, &source.place, ctx.now())),
    }
}

/// An item whose fields are credentials that are taken straight from 1Password.
pub struct CredentialsItem {
    source: Source,
    found: Found,
}

impl CredentialsItem {
    /// Finds the item, which costs no request. `namespace` is that of the object that needs it; none for a
    /// cluster-wide one.
    pub async fn find(ctx: &Context, store: &StoreRef, namespace: Option<&str>, item: &str) -> Result<Self, Problem> {
        let remote = serde_json::from_value(serde_json::json!({ "key": item }))
            .map_err(|_| Problem::new(Reason::InvalidSpec, format!("{item:?} is no name of an item")))?;
        let reference = Reference::of_extract(&remote)?;
        let source =
            source(ctx, store, namespace).await?.ok_or_else(|| soon(item, "the store has not been looked at yet"))?;
        let found = match source.endpoint.with_index(|index| index.resolve(&source.order, &reference)) {
            Ok(found) => found?,
            Err(None) => return Err(soon(item, "Connect is being asked")),
            Err(Some(failure)) => {
                let problem = problem(&failure, &source.place, ctx.now());
                // A server that does not answer just now says nothing about who uses the item.
                return Err(if problem.class() == Class::Transient { problem } else { not_ready(&problem) });
            }
        };
        Ok(Self { source, found })
    }

    /// A text that changes with the item.
    pub fn version(&self) -> String {
        format!("{} {}", self.found.item, self.found.version)
    }

    /// What changes of the item concern its readers: its id and title.
    pub fn names(&self) -> [String; 2] {
        [self.found.item.clone(), self.found.title.clone()]
    }

    /// The item's fields by their labels. `reader` is woken when it takes longer.
    pub async fn fields(&self, ctx: &Context, reader: &Reader) -> Result<SensitiveMap, Problem> {
        let item = fetch(ctx, &self.source, &self.found, false, reader).await?;
        let item = item.ok_or_else(|| soon(&self.found.title, "Connect is slow"))?;
        let values = field::all(&item, &Part::All)?.into_iter().filter_map(|(name, source)| match source {
            FieldSource::Value(value) => Some((name, value)),
            FieldSource::File(_) => None,
        });
        Ok(values.collect())
    }
}

fn soon(item: &str, what: &str) -> Problem {
    Problem::new(Reason::ConnectNotReady, format!("item {item:?}: {what}; it is tried again"))
}
