//! Which objects read which items: what a change wakes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

use crate::core::{gate::Changes, store::StoreKey};

/// What an object needs to know about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// The stores that it refers to.
    pub stores: BTreeSet<StoreKey>,
    /// Ids and titles of the items that it reads.
    pub names: BTreeSet<String>,
    /// Whether something that it needs is missing, so that any change may help.
    pub waiting: bool,
}

/// The interests of all objects.
#[derive(Debug)]
pub struct Interests<K> {
    by_object: HashMap<K, Interest>,
    by_name: BTreeMap<String, BTreeSet<K>>,
}

impl<K> Default for Interests<K> {
    fn default() -> Self {
        Self { by_object: HashMap::new(), by_name: BTreeMap::new() }
    }
}

impl<K: Clone + Ord + Hash> Interests<K> {
    /// Sets what an object needs to know about.
    pub fn set(&mut self, object: &K, interest: Interest) {
        if self.by_object.get(object) == Some(&interest) {
            return;
        }
        self.remove(object);
        for name in &interest.names {
            self.by_name.entry(name.clone()).or_default().insert(object.clone());
        }
        self.by_object.insert(object.clone(), interest);
    }

    /// Forgets an object.
    pub fn remove(&mut self, object: &K) {
        for name in self.by_object.remove(object).unwrap_or_default().names {
            if let Some(objects) = self.by_name.get_mut(&name) {
                objects.remove(object);
                if objects.is_empty() {
                    self.by_name.remove(&name);
                }
            }
        }
    }

    /// The objects that changes concern, of those that refer to one of the stores.
    pub fn touched(&self, stores: &BTreeSet<StoreKey>, changes: &Changes) -> BTreeSet<K> {
        if changes.vaults {
            return self.of_stores(stores, |_| true);
        }
        let mut objects = BTreeSet::new();
        if !changes.is_empty() {
            objects = self.of_stores(stores, |interest| interest.waiting);
            let named = changes.names.iter().filter_map(|name| self.by_name.get(name)).flatten();
            let refers = |object: &&K| self.by_object.get(object).is_some_and(|i| !i.stores.is_disjoint(stores));
            objects.extend(named.filter(refers).cloned());
        }
        objects
    }

    /// The objects that refer to one of the stores and fit.
    pub fn of_stores(&self, stores: &BTreeSet<StoreKey>, fits: impl Fn(&Interest) -> bool) -> BTreeSet<K> {
        let fits = |(_, interest): &(&K, &Interest)| !interest.stores.is_disjoint(stores) && fits(interest);
        self.by_object.iter().filter(fits).map(|(object, _)| object.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::Group;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn store(name: &str) -> StoreKey {
        StoreKey { group: Group::Strongroom, namespace: None, name: name.into() }
    }

    #[test]
    fn a_change_wakes_exactly_what_reads_the_item_and_what_waits() {
        let mut interests = Interests::default();
        let interest = |stores: &[&str], names: &[&str], waiting| Interest {
            stores: stores.iter().map(|name| store(name)).collect(),
            names: set(names),
            waiting,
        };
        interests.set(&"reads", interest(&["a"], &["id1", "radarr"], false));
        interests.set(&"other", interest(&["a"], &["id2", "sonarr"], false));
        interests.set(&"waits", interest(&["a"], &["grafana"], true));
        interests.set(&"elsewhere", interest(&["b"], &["id1", "radarr"], true));
        interests.set(&"both", interest(&["a", "b"], &["id1"], false));
        let stores = BTreeSet::from([store("a")]);
        let wakes = |interests: &Interests<&'static str>, names: &[&str], vaults| -> Vec<&'static str> {
            interests.touched(&stores, &Changes { names: set(names), vaults }).into_iter().collect()
        };
        assert_eq!(wakes(&interests, &["id1", "radarr"], false), ["both", "reads", "waits"]);
        assert_eq!(wakes(&interests, &["id9", "sonarr"], false), ["other", "waits"]);
        assert_eq!(wakes(&interests, &[], false), [""; 0]);
        assert_eq!(wakes(&interests, &[], true), ["both", "other", "reads", "waits"]);
        interests.set(&"waits", interest(&["a"], &["id3", "grafana"], false));
        interests.set(&"reads", interest(&["a"], &["id2"], false));
        interests.remove(&"both");
        assert_eq!(wakes(&interests, &["id1", "radarr"], false), [""; 0]);
        assert_eq!(wakes(&interests, &["id2"], false), ["other", "reads"]);
    }
}
