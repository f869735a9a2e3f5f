//! The children of a run, whatever their kind: created under their owner's name, deleted by their uid.

use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde_json::json;

use crate::{
    api::{backup::GroupSnapshotVersion, foreign::VolumeGroupSnapshot},
    clients::{
        cluster::{self, Object},
        groups::Groups,
    },
    controllers::context::Context,
    core::{backup::Child, names, problem::Problem},
};

/// Creates a child; one that exists already and is this owner's is as good.
pub(crate) async fn create(ctx: &Context, child: Child, owner_uid: &str) -> Result<(), Problem> {
    match child {
        Child::Group(version, object) => groups_of(ctx, version, &object).create(&object, owner_uid).await,
        Child::Snapshot(object) => cluster::create(&api_of(ctx, &*object), &*object, owner_uid).await.map(drop),
        Child::Content(object) => cluster::create(&ctx.global(), &*object, owner_uid).await.map(drop),
        Child::Claim(object) => cluster::create(&api_of(ctx, &*object), &*object, owner_uid).await.map(drop),
        Child::Credentials(object) => cluster::create(&api_of(ctx, &*object), &*object, owner_uid).await.map(drop),
        Child::Job(object) => cluster::create(&api_of(ctx, &*object), &*object, owner_uid).await.map(drop),
    }
}

/// Deletes exactly this child.
pub(crate) async fn delete(ctx: &Context, child: Child) -> Result<(), Problem> {
    match child {
        Child::Group(version, object) => groups_of(ctx, version, &object).delete(&object.metadata).await,
        Child::Snapshot(object) => cluster::delete(&api_of(ctx, &*object), &*object).await,
        Child::Content(object) => cluster::delete(&ctx.global(), &*object).await,
        Child::Claim(object) => cluster::delete(&api_of(ctx, &*object), &*object).await,
        Child::Credentials(object) => cluster::delete(&api_of(ctx, &*object), &*object).await,
        Child::Job(object) => cluster::delete(&api_of(ctx, &*object), &*object).await,
    }
}

/// An owner's Secret in the operator's namespace without its values, which nobody needs to see that only deletes it.
pub(crate) async fn secret(ctx: &Context, name: &str, owner_uid: &str) -> Result<Option<Secret>, Problem> {
    let found = ctx.own::<Secret>().get_metadata_opt(name).await;
    let found = found.map_err(|error| cluster::problem::<Secret>("read", name, &error))?;
    let found = found.filter(|found| names::belongs_to(found.metadata.labels.as_ref(), owner_uid));
    Ok(found.map(|found| Secret { metadata: found.metadata, ..Secret::default() }))
}

/// Lets a staged volume go with its claim, although its class keeps volumes.
pub(crate) async fn release(ctx: &Context, volume: &str) -> Result<(), Problem> {
    let patch = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}));
    let patched = ctx.global::<PersistentVolume>().patch(volume, &PatchParams::default(), &patch).await;
    patched.map(drop).map_err(|error| cluster::problem::<PersistentVolume>("change", volume, &error))
}

fn groups_of(ctx: &Context, version: GroupSnapshotVersion, object: &VolumeGroupSnapshot) -> Groups {
    Groups::new(&ctx.client, version, object.metadata.namespace.as_deref())
}

fn api_of<K>(ctx: &Context, object: &K) -> Api<K>
where
    K: Object + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    ctx.api(&object.namespace().unwrap_or_else(|| ctx.namespace.clone()))
}
