//! Stored objects that may not fit their kind: one of them must not stall the watch of all.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::value::RawValue;

/// An object, or why it cannot be understood.
///
/// As kube's `DeserializeGuard`, which reads every object by way of another data model: the code for that, for all
/// kinds, takes a megabyte of memory.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Invalid>);

/// An object that does not fit its kind.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// What does not fit.
    pub error: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            metadata: ObjectMeta,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str(raw.get()) {
            Ok(object) => Ok(Self(Ok(object))),
            Err(error) => {
                let Stored { metadata } = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
                Ok(Self(Err(Invalid { error: error.to_string(), metadata })))
            }
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|invalid| &mut invalid.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::WatchEvent;

    use super::*;
    use crate::api::backup::VolumeBackup;

    #[test]
    fn what_does_not_fit_still_has_a_name() {
        let read = |spec: &str| {
            let event = format!(
                r#"{{"type":"ADDED","object":{{"apiVersion":"strongroom.dev/v1alpha1","kind":"VolumeBackup","metadata":{{"name":"radarr","namespace":"media"}},"spec":{spec}}}}}"#
            );
            let WatchEvent::Added(object) = serde_json::from_str::<WatchEvent<Guarded<VolumeBackup>>>(&event).unwrap()
            else {
                panic!("another event")
            };
            assert_eq!(object.meta().name.as_deref(), Some("radarr"));
            object.0.map(|object| object.spec.suspend).map_err(|invalid| invalid.error)
        };
        assert_eq!(read(r#"{"suspend": true}"#), Ok(true));
        assert!(read(r#"{"suspend": "yes"}"#).unwrap_err().contains("expected a boolean"));
    }
}
