//! `limits.perNode`. Which node a mover comes to is the scheduler's choice, so the scheduler has to keep the limit: each
//! backup's mover has one of so many slots of its repository object, and no two of one slot may be on one node.

use std::cmp::Reverse;

use k8s_openapi::{
    api::core::v1::{Affinity, PodAffinityTerm, PodAntiAffinity},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::{
    api::{
        backup::RepositoryKey,
        common::RepositoryKind,
        labels,
        repository::{DEFAULT_BACKUPS, DEFAULT_PER_NODE, RepositorySpec},
    },
    core::names::hash,
};

/// The label of a node that no two share.
const NODE: &str = "kubernetes.io/hostname";
/// The scheduler's words where each node has a pod that this one must not be beside.
const FULL: &str = "anti-affinity rules";

/// How many slots a repository object has; none where so few backups run at once that no node can get too many.
pub fn count(spec: &RepositorySpec) -> Option<usize> {
    let limits = spec.limits.clone().unwrap_or_default();
    let per_node = limits.per_node.unwrap_or(DEFAULT_PER_NODE);
    let few = limits.backups.unwrap_or(DEFAULT_BACKUPS) <= per_node;
    (!few).then(|| usize::try_from(per_node).unwrap_or(usize::MAX))
}

/// The slot that the fewest have of those that were taken, the longest ago first. Where several are as empty: behind who
/// has not been there for long, as a first backup may take hours.
pub fn emptiest(taken: &[usize], count: usize) -> usize {
    let holders = |slot: &usize| taken.iter().filter(|of| *of == slot).count();
    let since = |slot: &usize| taken.iter().position(|of| of == slot);
    (0..count).min_by_key(|slot| (holders(slot), Reverse(since(slot)), *slot)).unwrap_or_default()
}

/// A slot as the value of its label, for a repository object as a namespace sees it.
pub fn label(key: &RepositoryKey, namespace: &str, slot: usize) -> String {
    let namespace = if key.kind == RepositoryKind::ResticRepository { namespace } else { "" };
    format!("{}-{slot}", hash(&[key.kind.as_str(), namespace, &key.name], 10))
}

/// Keeps a pod away from the nodes with one of the same slot.
pub fn affinity(slot: &str) -> Affinity {
    let selector = LabelSelector {
        match_labels: Some([(labels::SLOT.to_owned(), slot.to_owned())].into()),
        ..LabelSelector::default()
    };
    let term =
        PodAffinityTerm { label_selector: Some(selector), topology_key: NODE.to_owned(), ..PodAffinityTerm::default() };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// Whether a pod waits because of the limit.
pub fn is_full(why: &str) -> bool {
    why.contains(FULL)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_many_slots_as_a_node_may_have_movers() {
        for (limits, expected) in [
            (json!(null), Some(2)),
            (json!({"backups": 2}), None),
            (json!({"backups": 9}), Some(2)),
            (json!({"perNode": 1}), Some(1)),
            (json!({"perNode": 3}), None),
            (json!({"backups": 5, "perNode": 4}), Some(4)),
        ] {
            let spec = json!({"url": "rest:http://nas", "credentials": {}, "limits": limits});
            assert_eq!(count(&serde_json::from_value(spec).unwrap()), expected, "{limits}");
        }
    }

    #[test]
    fn slots_fill_evenly() {
        let mut taken = vec![];
        for _ in 0..6 {
            taken.push(emptiest(&taken, 3));
        }
        assert_eq!(taken, [0, 1, 2, 2, 1, 0]);
        assert_eq!(emptiest(&[0, 2, 2, 7], 3), 1);
        assert_eq!([emptiest(&[0, 1], 2), emptiest(&[1, 0], 2)], [1, 0], "not behind the one that is there for long");
    }

    #[test]
    fn a_slot_is_of_one_repository_object() {
        let key = |kind, name: &str| RepositoryKey { kind, name: name.to_owned() };
        let (own, cluster) = (RepositoryKind::ResticRepository, RepositoryKind::ClusterResticRepository);
        let all = [
            label(&key(own, "nas"), "media", 0),
            label(&key(own, "nas"), "media", 1),
            label(&key(own, "nas"), "games", 0),
            label(&key(own, "s3"), "media", 0),
            label(&key(cluster, "nas"), "media", 0),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(label(&key(cluster, "nas"), "media", 0), label(&key(cluster, "nas"), "games", 0));
    }
}
