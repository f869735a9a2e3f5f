//! Group snapshots and snapshot classes, whose kinds kube does not know when it is built: the version of the one is
//! what the cluster serves, and the other has its fields at the top.

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, ObjectMeta},
    core::{ApiResource, DynamicObject, GroupVersionKind, Object},
};

use crate::{
    api::{
        backup::GroupSnapshotVersion,
        foreign::{
            VolumeGroupSnapshot, VolumeGroupSnapshotSpec, VolumeGroupSnapshotStatus, VolumeSnapshot,
            VolumeSnapshotClass,
        },
    },
    clients::cluster::{self, problem},
    core::{group::GroupClasses, names, problem::Problem},
};

/// The group snapshots of a namespace, or of all.
pub struct Groups {
    api: Api<Group>,
    resource: ApiResource,
}

/// A group snapshot of whatever version.
type Group = Object<VolumeGroupSnapshotSpec, VolumeGroupSnapshotStatus>;

impl Groups {
    /// Those of this namespace, or of all, by this version of their API.
    pub fn new(client: &Client, version: GroupSnapshotVersion, namespace: Option<&str>) -> Self {
        let resource = ApiResource::from_gvk_with_plural(&kind(version, "VolumeGroupSnapshot"), "volumegroupsnapshots");
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        Self { api, resource }
    }

    /// Reads one of this owner's; none where there is none.
    pub async fn get(&self, name: &str, owner_uid: &str) -> Result<Option<VolumeGroupSnapshot>, Problem> {
        let found = self.api.get_opt(name).await.map_err(|error| failed("read", name, &error))?;
        let found = found.filter(|found| names::belongs_to(found.metadata.labels.as_ref(), owner_uid));
        Ok(found.map(|Object { metadata, spec, status, .. }| VolumeGroupSnapshot { metadata, spec, status }))
    }

    /// Creates one; one of that name that is this owner's is as good.
    pub async fn create(&self, object: &VolumeGroupSnapshot, owner_uid: &str) -> Result<(), Problem> {
        let mut group = Group::new(&object.name_any(), &self.resource, object.spec.clone());
        group.metadata.clone_from(&object.metadata);
        cluster::create_as(&self.api, &self.resource.kind, &group, owner_uid).await.map(drop)
    }

    /// Deletes exactly this one. Gone already is fine.
    pub async fn delete(&self, metadata: &ObjectMeta) -> Result<(), Problem> {
        cluster::delete_as(&self.api, &self.resource.kind, metadata).await
    }
}

/// The metadata of every group snapshot that fits, and the version by which it can be had.
pub async fn find(client: &Client, params: &ListParams) -> Result<Vec<(GroupSnapshotVersion, ObjectMeta)>, Problem> {
    for version in GroupSnapshotVersion::ALL {
        match Groups::new(client, version, None).api.list_metadata(params).await {
            Ok(list) => return Ok(list.items.into_iter().map(|object| (version, object.metadata)).collect()),
            Err(kube::Error::Api(status)) if cluster::is_absent(&status) => {}
            // It has made none then.
            Err(kube::Error::Api(status)) if status.is_forbidden() => break,
            Err(error) => return Err(failed("list", "children", &error)),
        }
    }
    Ok(vec![])
}

/// What the cluster has for group snapshots. Where the operator may not see that, as with roles that are older than
/// it, there are none for it.
pub async fn classes(client: &Client) -> Result<GroupClasses, Problem> {
    for version in GroupSnapshotVersion::ALL {
        match classes_of(client, &kind(version, "VolumeGroupSnapshotClass")).await {
            Ok(classes) => return Ok(GroupClasses { version: Some(version), classes, hidden: None }),
            Err(kube::Error::Api(status)) if cluster::is_absent(&status) => {}
            Err(error) => {
                let problem = failed("list the classes of", "all drivers", &error);
                let is_hidden = matches!(error, kube::Error::Api(status) if status.is_forbidden());
                let hidden = GroupClasses { hidden: Some(problem.message.clone()), ..GroupClasses::default() };
                return if is_hidden { Ok(hidden) } else { Err(problem) };
            }
        }
    }
    Ok(GroupClasses::default())
}

/// The snapshot classes; none where the cluster has no snapshots at all.
pub async fn single_classes(client: &Client) -> Result<Vec<VolumeSnapshotClass>, Problem> {
    let group = VolumeSnapshot::group(&());
    match classes_of(client, &GroupVersionKind::gvk(&group, "v1", "VolumeSnapshotClass")).await {
        Ok(classes) => Ok(classes),
        Err(kube::Error::Api(status)) if cluster::is_absent(&status) => Ok(vec![]),
        Err(error) => Err(problem::<VolumeSnapshot>("list the classes of", "all drivers", &error)),
    }
}

async fn classes_of(client: &Client, kind: &GroupVersionKind) -> kube::Result<Vec<VolumeSnapshotClass>> {
    let resource = ApiResource::from_gvk(kind);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let list = api.list(&ListParams::default()).await?;
    Ok(list.items.into_iter().filter_map(|object| class(&object)).collect())
}

fn class(object: &DynamicObject) -> Option<VolumeSnapshotClass> {
    let mut class: VolumeSnapshotClass = serde_json::from_value(object.data.clone()).ok()?;
    class.name = object.name_any();
    class.annotations.clone_from(object.annotations());
    Some(class)
}

fn kind(version: GroupSnapshotVersion, kind: &str) -> GroupVersionKind {
    GroupVersionKind::gvk(&VolumeGroupSnapshot::group(&()), version.as_str(), kind)
}

fn failed(action: &str, name: &str, error: &kube::Error) -> Problem {
    problem::<VolumeGroupSnapshot>(action, name, error)
}
