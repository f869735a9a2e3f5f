//! The names and labels of everything that the operator creates, in one place.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::api::{MANAGER, annotations, labels};

/// The longest name that a label, a pod's host name and most objects admit.
const MAX: usize = 63;

/// Lower-case hexadecimal digits of a hash over some texts; their borders count.
pub fn hash(parts: &[&str], digits: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    text.truncate(digits);
    text
}

/// A text as a DNS label of at most 63 characters: itself where it is one, else shortened with a hash.
pub fn label(text: &str) -> String {
    let valid = |text: &str| {
        !text.is_empty()
            && text.len() <= MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    if valid(text) {
        return text.to_owned();
    }
    let mut short: String = text
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(MAX - 9)
        .collect();
    short = short.trim_matches('-').to_owned();
    let hash = hash(&[text], 8);
    if short.is_empty() { hash } else { format!("{short}-{hash}") }
}

/// What tells a cluster's snapshots from another one's.
pub fn cluster_hash(cluster: &str) -> String {
    hash(&["cluster", cluster], 10)
}

/// The id of a run: the name of the object that it belongs to, and a hash of the cluster, of the object's uid and
/// of what makes the run unique. It is the mover pod's host name, so a lock's owner can be looked up.
pub fn run_id(cluster: &str, name: &str, uid: &str, unique: &str) -> String {
    let mut short: String =
        name.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).take(30).collect();
    short = short.trim_matches('-').to_owned();
    format!("{short}-{}", hash(&[cluster, uid, unique], 10)).trim_start_matches('-').to_owned()
}

/// The name of a run's object: the run's id and a word for the object, with a number where there are several.
pub fn of_run(run: &str, what: &str, index: usize) -> String {
    if index == 0 { format!("{run}-{what}") } else { format!("{run}-{what}-{index}") }
}

/// The beginning of a snapshot's or repository's id, as restic shows it.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The object that a child belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind.
    pub kind: &'static str,
    /// Namespace; none for a cluster-wide object.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// The labels of a child, which say who it belongs to (also where an owner reference cannot).
pub fn child_labels(owner: &Owner, run: Option<&str>) -> BTreeMap<String, String> {
    let mut map = BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), MANAGER.to_owned()),
        (labels::OWNER_KIND.to_owned(), owner.kind.to_owned()),
        (labels::OWNER_NAME.to_owned(), label(&owner.name)),
        (labels::OWNER_UID.to_owned(), owner.uid.clone()),
    ]);
    if let Some(namespace) = &owner.namespace {
        map.insert(labels::OWNER_NAMESPACE.to_owned(), namespace.clone());
    }
    if let Some(run) = run {
        map.insert(labels::RUN.to_owned(), run.to_owned());
    }
    map
}

/// Whether an object's labels say that it is ours and belongs to that owner.
pub fn belongs_to(labels_of: Option<&BTreeMap<String, String>>, owner_uid: &str) -> bool {
    labels_of.is_some_and(|map| {
        map.get(labels::MANAGED_BY).is_some_and(|value| value == MANAGER)
            && map.get(labels::OWNER_UID).is_some_and(|value| value == owner_uid)
    })
}

/// The command that accepts what a condition asks to confirm, in back-ticks so that programs find it in a message.
pub fn accept_command(resource: &str, namespace: Option<&str>, name: &str, id: &str) -> String {
    let namespace = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("`kubectl annotate {resource}{namespace} {name} --overwrite {}={id}`", annotations::ACCEPT)
}

/// The id that a message asks to accept, where it holds the [`accept_command`] of this object.
pub fn asked_to_accept<'a>(message: &'a str, resource: &str, namespace: Option<&str>, name: &str) -> Option<&'a str> {
    let command = accept_command(resource, namespace, name, "");
    let (_, rest) = message.rsplit_once(command.trim_end_matches('`'))?;
    rest.split_once('`').map(|(id, _)| id).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_asks_to_be_accepted_is_read_back(
            before in any::<String>(),
            namespace in proptest::option::of("[a-z]{1,8}"),
            name in "[a-z][a-z0-9-]{0,8}",
            id in "[0-9a-f]{8}",
            after in any::<String>(),
        ) {
            let message = |name: &str| {
                format!("{before}{}{after}", accept_command("volumebackup", namespace.as_deref(), name, &id))
            };
            let asked = |message: &str| {
                asked_to_accept(message, "volumebackup", namespace.as_deref(), &name).map(str::to_owned)
            };
            prop_assert_eq!(asked(&message(&name)), Some(id.clone()));
            prop_assert_eq!(asked(&message("another")), None, "that is of another object");
            prop_assert_eq!(asked(&before), None);
        }
    }
}
