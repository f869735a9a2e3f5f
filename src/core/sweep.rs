//! Which children are left over, and which of them may go already.

use std::collections::{BTreeMap, BTreeSet};

use crate::{api::labels, core::names};

/// A child, by its labels. Those of a lower rank go first: Jobs, credentials, claims, twins, contents,
/// snapshots, group snapshots.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its place in the order.
    pub rank: usize,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// Who is there.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Uids of every object that may own children.
    pub uids: BTreeSet<String>,
    /// The run in progress of those that have runs: a child of another run is left over.
    pub runs: BTreeMap<String, Option<String>>,
}

/// What is left over.
#[derive(Clone, Debug, Default)]
pub struct Garbage {
    /// For each owner and run, the lowest rank that is left.
    lowest: BTreeMap<(String, String), usize>,
    count: usize,
}

/// Finds what is left over.
pub fn garbage(children: &[Child<'_>], owners: &Owners) -> Garbage {
    let mut garbage = Garbage::default();
    for child in children.iter().filter(|child| is_left_over(child, owners)) {
        let lowest = garbage.lowest.entry(key(child)).or_insert(child.rank);
        *lowest = (*lowest).min(child.rank);
        garbage.count += 1;
    }
    garbage
}

impl Garbage {
    /// Whether a child is left over and nothing that depends on it is.
    pub fn may_go(&self, child: &Child<'_>) -> bool {
        self.lowest.get(&key(child)) == Some(&child.rank)
    }

    /// How much is left over.
    pub fn count(&self) -> usize {
        self.count
    }
}

fn key(child: &Child<'_>) -> (String, String) {
    let label = |name| child.labels.get(name).cloned().unwrap_or_default();
    (label(labels::OWNER_UID), label(labels::RUN))
}

fn is_left_over(child: &Child<'_>, owners: &Owners) -> bool {
    let (uid, run) = key(child);
    if uid.is_empty() || !names::belongs_to(Some(child.labels), &uid) {
        return false;
    }
    if !owners.uids.contains(&uid) {
        return true;
    }
    owners.runs.get(&uid).is_some_and(|current| current.as_ref() != Some(&run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::{Owner, child_labels};

    fn labels(uid: &str, run: &str) -> BTreeMap<String, String> {
        let owner = Owner { kind: "VolumeBackup", namespace: None, name: "radarr".to_owned(), uid: uid.to_owned() };
        child_labels(&owner, Some(run))
    }

    #[test]
    fn what_belongs_to_nobody_goes_in_order() {
        let owners = Owners {
            uids: ["here".to_owned(), "restore".to_owned()].into(),
            runs: [("here".to_owned(), Some("now".to_owned()))].into(),
        };
        let (gone, current, old, restore) =
            (labels("gone", "r"), labels("here", "now"), labels("here", "old"), labels("restore", "any"));
        let foreign = BTreeMap::from([(crate::api::labels::OWNER_UID.to_owned(), "gone".to_owned())]);
        let child = |rank, labels| Child { rank, labels };
        let all = [
            child(2, &gone),
            child(3, &gone),
            child(0, &current),
            child(5, &old),
            child(2, &restore),
            child(0, &foreign),
        ];
        let garbage = garbage(&all, &owners);
        let go: Vec<bool> = all.iter().map(|child| garbage.may_go(child)).collect();
        // The twin of the gone one waits for its claim.
        assert_eq!(go, [true, false, false, true, false, false]);
        assert_eq!(garbage.count(), 3);
    }
}
