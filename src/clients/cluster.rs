//! The Kubernetes API, as few calls as the controllers need.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
    core::Status,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::core::{
    names,
    problem::{Problem, Reason},
};

/// What an object must be for these calls.
pub trait Object: Resource<DynamicType = ()> + AnyObject {}
impl<K: Resource<DynamicType = ()> + AnyObject> Object for K {}

/// The same of a kind that is known only when it is used.
pub trait AnyObject: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + Sync {}
impl<K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + Sync> AnyObject for K {}

/// What the API said, with the object that it speaks of.
pub fn problem<K: Resource<DynamicType = ()>>(action: &str, name: &str, error: &kube::Error) -> Problem {
    problem_of(&K::kind(&()), action, name, error)
}

fn problem_of(kind: &str, action: &str, name: &str, error: &kube::Error) -> Problem {
    let words = match error {
        // A quota or an admission policy refuses with the same code, but names no user.
        kube::Error::Api(status) if status.code == 403 && status.message.contains("forbidden: User \"") => {
            format!("{} (a permission is missing: install the chart's roles)", status.message)
        }
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    Problem::new(Reason::ClusterError, format!("cannot {action} {kind} {name}: {words}"))
}

/// Whether an object changed between our look and our write.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// Whether there is no such object, or no such kind. kube 5.0's own `is_not_found` sees the latter only where the server
/// says it as JSON, which it does not of a version or a group that it does not serve.
pub fn is_absent(status: &Status) -> bool {
    status.code == 404
}

/// Reads an object; none where there is none.
pub async fn get<K: Object>(api: &Api<K>, name: &str) -> Result<Option<K>, Problem> {
    api.get_opt(name).await.map_err(|error| problem::<K>("read", name, &error))
}

/// Reads a child of this owner. One of that name that is somebody else's is as good as none: creating ours then says so.
pub async fn get_owned<K: Object>(api: &Api<K>, name: &str, owner_uid: &str) -> Result<Option<K>, Problem> {
    let found = get(api, name).await?;
    Ok(found.filter(|found| names::belongs_to(found.meta().labels.as_ref(), owner_uid)))
}

/// Creates an object. Where one of that name exists, it is returned if its labels say that it is this owner's;
/// otherwise it is somebody else's and stays as it is.
pub async fn create<K: Object>(api: &Api<K>, object: &K, owner_uid: &str) -> Result<K, Problem> {
    create_as(api, &K::kind(&()), object, owner_uid).await
}

/// The same for an object of this kind.
pub async fn create_as<K: AnyObject>(api: &Api<K>, kind: &str, object: &K, owner_uid: &str) -> Result<K, Problem> {
    let name = object.name_any();
    match api.create(&PostParams::default(), object).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = api.get_opt(&name).await.map_err(|error| problem_of(kind, "read", &name, &error))?;
            let found =
                found.ok_or_else(|| Problem::new(Reason::ClusterError, format!("{kind} {name} is being replaced")))?;
            if names::belongs_to(found.meta().labels.as_ref(), owner_uid) {
                Ok(found)
            } else {
                let place = found.namespace().map(|namespace| format!("{namespace}/")).unwrap_or_default();
                Err(Problem::new(
                    Reason::Foreign,
                    format!("{kind} {place}{name} exists and is not ours: delete or rename it"),
                ))
            }
        }
        Err(error) => Err(problem_of(kind, "create", &name, &error)),
    }
}

/// Deletes exactly this object and, in the background, what it owns. Gone already is fine, and so is another object
/// that took its name meanwhile: it stays.
pub async fn delete<K: Object>(api: &Api<K>, object: &K) -> Result<(), Problem> {
    delete_by_metadata(api, object.meta()).await
}

/// The same, for an object of which only the metadata is known.
pub async fn delete_by_metadata<K>(api: &Api<K>, metadata: &ObjectMeta) -> Result<(), Problem>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    delete_as(api, &K::kind(&()), metadata).await
}

/// The same for an object of this kind.
pub async fn delete_as<K>(api: &Api<K>, kind: &str, metadata: &ObjectMeta) -> Result<(), Problem>
where
    K: Clone + Debug + DeserializeOwned,
{
    if metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::background()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if is_absent(&status) || status.is_conflict() => Ok(()),
        Err(error) => Err(problem_of(kind, "delete", name, &error)),
    }
}

/// Writes an object's status, provided that the object is as it was read.
pub async fn write_status<K: Object>(api: &Api<K>, object: &K) -> Result<K, Problem> {
    let name = object.name_any();
    api.replace_status(&name, &PostParams::default(), object)
        .await
        .map_err(|error| problem::<K>("write the status of", &name, &error))
}

/// Writes an object's status, provided that the object is as it was read; none where it has changed meanwhile, so
/// that the caller looks again.
pub async fn try_write_status<K: Object>(api: &Api<K>, object: &K) -> Result<Option<K>, Problem> {
    let name = object.name_any();
    match api.replace_status(&name, &PostParams::default(), object).await {
        Ok(written) => Ok(Some(written)),
        Err(error) if is_conflict(&error) => Ok(None),
        Err(kube::Error::Api(status)) if is_absent(&status) => Ok(None),
        Err(error) => Err(problem::<K>("write the status of", &name, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_served_is_absent() {
        // As kube makes it of an answer that is no JSON.
        let status = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert!(is_absent(&status));
        assert!(is_absent(&Status::failure("no", "NotFound").with_code(404)));
        assert!(!is_absent(&Status::failure("no", "Forbidden").with_code(403)));
    }
}
