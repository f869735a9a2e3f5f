//! What `deletionPolicy` does when an item is gone.
//!
//! An item that is not found is not therefore gone: it may have another title, or the name may never have been right.
//! Nothing is taken away before every item that the Secret was made of, and that is not found now, is proven to be
//! gone: not listed under its id, and not there when the server is asked for it.

use std::collections::BTreeSet;

use super::{GONE, Wanted, What};
use crate::{
    api::external_secret::{DeletionPolicy, ExternalSecret},
    core::{
        index::Found,
        problem::{Problem, Reason},
    },
};

/// Whether a problem may mean that the source is gone, and something is to be done then.
pub fn is_gone(object: &ExternalSecret, problem: &Problem) -> bool {
    object.spec.target.deletion_policy.unwrap_or_default() != DeletionPolicy::Retain
        && matches!(problem.reason, Reason::ItemNotFound | Reason::NoMatch)
}

/// The first entry that matches items but none of their labels, where that may mean that what it matched is gone.
pub fn unmatched<'a, T>(object: &ExternalSecret, yields: &'a [(Wanted, Vec<T>)]) -> Option<&'a Wanted> {
    if object.spec.target.deletion_policy.unwrap_or_default() == DeletionPolicy::Retain {
        return None;
    }
    let empty = yields.iter().find(|(wanted, values)| matches!(wanted.what, What::Search(_)) && values.is_empty());
    empty.map(|(wanted, _)| wanted)
}

/// An item that a Secret was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Id of its vault.
    pub vault: String,
    /// Its id.
    pub item: String,
    /// Whether it has been proven to be gone.
    pub is_gone: bool,
}

/// The items that a Secret was made of, as its annotation says, without those that are found.
pub fn suspects(items: &str, found: &[Found]) -> Vec<Suspect> {
    let found: BTreeSet<(&str, &str)> = found.iter().map(|found| (found.vault.as_str(), found.item.as_str())).collect();
    let known = items.split(',').filter_map(|text| {
        let (place, version) = text.rsplit_once('@')?;
        let (vault, item) = place.split_once('/')?;
        Some((vault, item, version == GONE))
    });
    known
        .filter(|(vault, item, _)| !found.contains(&(*vault, *item)))
        .map(|(vault, item, is_gone)| Suspect { vault: vault.to_owned(), item: item.to_owned(), is_gone })
        .collect()
}

/// What is missing, for the message of a Secret that is written without it.
pub fn without(object: &ExternalSecret, missing: &[(Wanted, Problem)]) -> String {
    let names: BTreeSet<String> = missing
        .iter()
        .map(|(wanted, _)| match &wanted.what {
            What::Part(reference) => format!("item {:?}", reference.item),
            What::Search(search) => format!("any item that matches {search}"),
        })
        .collect();
    let policy = object.spec.target.deletion_policy.unwrap_or_default();
    let names: Vec<String> = names.into_iter().collect();
    format!("; without {}, which is not there (deletionPolicy {policy:?})", names.join(" and "))
}

/// The problem once nothing is left to make the Secret of.
pub fn after_deletion(object: &ExternalSecret, name: &str, problem: &Problem) -> Problem {
    let done = match object.spec.target.deletion_policy.unwrap_or_default() {
        DeletionPolicy::Retain => return problem.clone(),
        DeletionPolicy::Delete => format!("So Secret {name} is not there either (deletionPolicy Delete)"),
        DeletionPolicy::Merge => format!("So Secret {name} holds nothing of it (deletionPolicy Merge)"),
    };
    Problem::new(problem.reason, format!("{} {done}", problem.message))
}
