//! Who uses a store of ESO's that is ours.

use std::collections::BTreeSet;

use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use crate::{
    api::common::ESO_GROUP,
    controllers::context::Context,
    core::{
        store::StoreKey,
        takeover::{self, Role, Users},
    },
};

/// Who uses a store of ESO's.
pub(crate) async fn users(ctx: &Context, store: &StoreKey) -> Users {
    let mut users = Users::default();
    for object in ctx.stores.eso_external_secrets.store.state() {
        if !takeover::keys(&object).contains(store) {
            continue;
        }
        match ctx.takeover.role(&object) {
            Role::Ours => users.ours += 1,
            Role::Mixed(_) => {
                users.mixed.insert(format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()));
            }
            Role::Theirs | Role::Leaving => {}
        }
    }
    users.pushed = pushed(ctx, store).await.unwrap_or_default();
    users
}

/// The PushSecrets that name a store.
async fn pushed(ctx: &Context, store: &StoreKey) -> kube::Result<BTreeSet<String>> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(ESO_GROUP, "v1alpha1", "PushSecret"));
    let api: Api<DynamicObject> = match &store.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &kind),
        None => Api::all_with(ctx.client.clone(), &kind),
    };
    let wanted = if store.namespace.is_some() { "SecretStore" } else { "ClusterSecretStore" };
    let names = |object: &DynamicObject| {
        let refs = object.data.pointer("/spec/secretStoreRefs").and_then(serde_json::Value::as_array).cloned();
        refs.into_iter().flatten().any(|reference| {
            reference["name"] == *store.name && reference["kind"].as_str().unwrap_or("SecretStore") == wanted
        })
    };
    let list = api.list(&ListParams::default()).await?;
    let name = |object: DynamicObject| format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    Ok(list.items.into_iter().filter(names).map(name).collect())
}

/// Whether every ExternalSecret of a store that was ours has been given back.
pub(crate) fn is_left(ctx: &Context, store: &StoreKey) -> bool {
    let all = ctx.stores.eso_external_secrets.store.state();
    ctx.takeover.is_listed()
        && !all.iter().any(|object| takeover::is_marked(object) && takeover::keys(object).contains(store))
}
