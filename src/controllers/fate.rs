//! What became of an object while it was looked at.

use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};

/// What has become of an object since a look at it started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there.
    There,
    /// Another one has its name.
    Replaced,
    /// It is not there any more.
    Gone,
}

/// What has become of an object, as the watch tells.
pub(super) fn fate<K: Resource<DynamicType = ()> + Clone>(store: &Store<K>, object: &K) -> Fate {
    match store.get(&ObjectRef::from_obj(object)) {
        None => Fate::Gone,
        Some(found) if found.meta().uid == object.meta().uid => Fate::There,
        Some(_) => Fate::Replaced,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::{reflector, watcher};

    use super::*;

    #[test]
    fn of_what_went_away_during_a_look_nothing_is_noted() {
        let config = |uid: &str| {
            let mut config = ConfigMap::default();
            config.metadata.name = Some("a".to_owned());
            config.metadata.namespace = Some("media".to_owned());
            config.metadata.uid = Some(uid.to_owned());
            config
        };
        let (store, mut writer) = reflector::store::<ConfigMap>();
        assert_eq!(fate(&store, &config("1")), Fate::Gone);
        writer.apply_watcher_event(&watcher::Event::Apply(config("1")));
        assert_eq!(fate(&store, &config("1")), Fate::There);
        writer.apply_watcher_event(&watcher::Event::Apply(config("2")));
        assert_eq!(fate(&store, &config("1")), Fate::Replaced);
        writer.apply_watcher_event(&watcher::Event::Delete(config("2")));
        assert_eq!(fate(&store, &config("2")), Fate::Gone);
    }
}
