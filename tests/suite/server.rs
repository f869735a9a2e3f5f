//! The API server, read by one client for all tests. They look again and again, and a kubectl for each look would be
//! most of what the machine does.

use std::{
    collections::BTreeMap,
    sync::{OnceLock, PoisonError, RwLock},
};

use kube::{
    Api, Client, Discovery,
    api::{ApiResource, DynamicObject, ListParams},
    discovery::Scope,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// What kubectl calls some kinds in short.
const SHORT: [(&str, &str); 3] =
    [("crd", "customresourcedefinitions"), ("pv", "persistentvolumes"), ("pvc", "persistentvolumeclaims")];

static SERVER: OnceLock<Server> = OnceLock::new();

struct Server {
    runtime: Runtime,
    client: Client,
    /// Each kind by its names, with and without its group.
    kinds: RwLock<BTreeMap<String, (ApiResource, Scope)>>,
}

fn server() -> &'static Server {
    SERVER.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let client = runtime.block_on(Client::try_default()).expect("KUBECONFIG says which cluster");
        Server { runtime, client, kinds: RwLock::default() }
    })
}

impl Server {
    /// The kind that kubectl calls so.
    fn kind(&self, name: &str) -> (ApiResource, Scope) {
        let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, plural)| plural).to_lowercase();
        let known = |kinds: &RwLock<BTreeMap<String, (ApiResource, Scope)>>| {
            kinds.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
        };
        known(&self.kinds)
            .or_else(|| {
                // It may have been defined since.
                *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = self.discover();
                known(&self.kinds)
            })
            .unwrap_or_else(|| panic!("the server doesn't have a resource type {name:?}"))
    }

    fn discover(&self) -> BTreeMap<String, (ApiResource, Scope)> {
        let discovery =
            self.runtime.block_on(Discovery::new(self.client.clone()).run()).expect("the server says what it has");
        let mut kinds = BTreeMap::new();
        // Of two kinds with one name kubectl takes the first one, too.
        for (resource, of) in
            discovery.groups_alphabetical().into_iter().flat_map(kube::discovery::ApiGroup::recommended_resources)
        {
            for name in [resource.plural.clone(), resource.kind.to_lowercase()] {
                kinds
                    .entry(format!("{name}.{}", resource.group))
                    .or_insert_with(|| (resource.clone(), of.scope.clone()));
                kinds.entry(name).or_insert_with(|| (resource.clone(), of.scope.clone()));
            }
        }
        kinds
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (resource, scope) = self.kind(kind);
        if scope == Scope::Cluster || namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }
}

/// An object; none where there is none.
pub fn get(kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let server = server();
    match server.runtime.block_on(server.api(kind, namespace).get(name)) {
        Ok(object) => Some(shown(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => panic!("get {kind} {namespace}/{name}: {error}"),
    }
}

/// The objects of kinds with commas in between that a selector fits, in a namespace or (with "") in all.
pub fn list(kinds: &str, namespace: &str, selector: &str) -> Vec<Value> {
    let server = server();
    let mut all = vec![];
    for kind in kinds.split(',') {
        let api = server.api(kind, namespace);
        let found = server.runtime.block_on(api.list(&ListParams::default().labels(selector)));
        let found = found.unwrap_or_else(|error| panic!("list {kind} of {namespace:?} with {selector:?}: {error}"));
        let types = found.types.clone();
        all.extend(found.items.into_iter().map(|mut object| {
            // In a list, the objects do not say what they are.
            object.types = object.types.or_else(|| {
                let kind = types.kind.strip_suffix("List").unwrap_or(&types.kind).to_owned();
                Some(kube::api::TypeMeta { kind, api_version: types.api_version.clone() })
            });
            shown(object)
        }));
    }
    all
}

/// As kubectl shows it.
fn shown(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).expect("it is JSON")
}
