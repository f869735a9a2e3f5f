//! ExternalSecrets and stores of External Secrets Operator's group that are ours: whose they are, what they mean in our
//! terms, and what we say in theirs.

mod secret;
mod store;

pub use secret::{given_back, passed_on};
pub use store::{Users, is_taken_over, left_status, pushes_to, store_in_our_terms, store_status};

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{
        MANAGER,
        common::{Condition, ConditionStatus, Group, StoreRef},
        eso::{EsoBinding, EsoCondition, EsoExternalSecret, EsoStatus},
        external_secret::{Binding, ExternalSecret, ExternalSecretPhase, ExternalSecretSpec, ExternalSecretStatus},
    },
    core::{
        conditions::{self, READY},
        names,
        problem::Reason,
        secret::wishes,
        store::StoreKey,
    },
};

/// ESO's word for an ExternalSecret that is in sync.
const SYNCED: &str = "SecretSynced";
/// ESO's word for one that is not.
const FAILED: &str = "SecretSyncedError";

/// What a store of ESO's is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is ours.
    Ours,
    /// It was ours, and its ExternalSecrets are being given back.
    Leaving,
}

/// Stores of ESO's that matter to us.
pub type Holds = BTreeMap<StoreKey, Hold>;

/// What an ExternalSecret of ESO's is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is ESO's.
    Theirs,
    /// Ours: every store that it refers to is.
    Ours,
    /// Nobody's: it refers to our stores and to these others.
    Mixed(BTreeSet<StoreKey>),
    /// It was ours, or nobody's because of us, and is given back.
    Leaving,
}

/// What an ExternalSecret of ESO's is to us. `was_mixed` says that it was nobody's until now, and `is_gone` of which
/// stores it is certain that they are not there.
pub fn role(object: &EsoExternalSecret, holds: &Holds, was_mixed: bool, is_gone: impl Fn(&StoreKey) -> bool) -> Role {
    let keys = keys(object);
    // Of a store that was deleted, what we reconciled stays ours: nobody else is there to let it go.
    let stays = |key: &StoreKey| !holds.contains_key(key) && is_marked(object) && is_gone(key);
    let is_ours = |key: &StoreKey| holds.get(key) == Some(&Hold::Ours) || stays(key);
    let ours = keys.iter().filter(|key| is_ours(key)).count();
    if ours == keys.len() && ours > 0 {
        Role::Ours
    } else if ours > 0 {
        Role::Mixed(keys.into_iter().filter(|key| !is_ours(key)).collect())
    } else if is_marked(object) || was_mixed {
        Role::Leaving
    } else {
        Role::Theirs
    }
}

/// The stores that an ExternalSecret of ESO's refers to.
pub fn keys(object: &EsoExternalSecret) -> BTreeSet<StoreKey> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    object.spec.stores.iter().map(|store: &StoreRef| StoreKey::of(store, namespace)).collect()
}

/// Whether the status is ours.
pub fn is_marked(object: &EsoExternalSecret) -> bool {
    object.status.as_ref().and_then(Mark::of).is_some()
}

/// What we note in `syncedResourceVersion`. ESO, which writes another text there, sees that it has to look.
struct Mark<'a> {
    observed: &'a str,
    secret: &'a str,
    generation: &'a str,
    requested: &'a str,
    forced: &'a str,
    metadata: &'a str,
}

impl<'a> Mark<'a> {
    fn of(status: &'a EsoStatus) -> Option<Self> {
        let (observed, rest) = status.synced_resource_version.as_deref()?.split_once('-')?;
        let mut parts = rest.split('.');
        if parts.next() != Some(MANAGER) {
            return None;
        }
        let mut next = || parts.next().unwrap_or_default();
        Some(Self { observed, secret: next(), generation: next(), requested: next(), forced: next(), metadata: next() })
    }
}

/// A short hash of a text; nothing of none.
fn short(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map(|text| names::hash(&[text], 8)).unwrap_or_default()
}

/// An ExternalSecret of ESO's in our terms; why it is not understood is a text.
pub fn declared(object: &EsoExternalSecret) -> Result<ExternalSecret, String> {
    object.spec.declared.clone().map(|spec| in_our_terms(object, *spec))
}

/// The same without its declaration: what it is called, and how it is.
pub fn outline(object: &EsoExternalSecret) -> ExternalSecret {
    in_our_terms(object, ExternalSecretSpec::default())
}

fn in_our_terms(object: &EsoExternalSecret, spec: ExternalSecretSpec) -> ExternalSecret {
    let spec = ExternalSecretSpec { group: Group::ExternalSecrets, ..spec };
    let mut ours = ExternalSecret { metadata: object.metadata.clone(), spec, status: None };
    ours.status = object.status.as_ref().map(|status| status_in_our_terms(status, &ours));
    ours
}

fn status_in_our_terms(status: &EsoStatus, object: &ExternalSecret) -> ExternalSecretStatus {
    let conditions: Vec<Condition> = status.conditions.iter().filter_map(in_our_words).collect();
    let Some(mark) = Mark::of(status) else {
        // ESO's: what it wrote is looked at as if nothing had been.
        return ExternalSecretStatus { refresh_time: status.refresh_time, ..ExternalSecretStatus::default() };
    };
    let binding = status.binding.as_ref().filter(|_| !mark.secret.is_empty()).map(|binding| Binding {
        name: binding.name.clone(),
        resource_version: Some(mark.secret.to_owned()),
        generation: mark.generation.parse().ok(),
        metadata_hash: Some(mark.metadata.to_owned()).filter(|hash| !hash.is_empty()),
    });
    let same = |text: &str, hash: &str| short(Some(text)) == hash && !hash.is_empty();
    let annotation = |name: &str| object.metadata.annotations.as_ref().and_then(|map| map.get(name)).cloned();
    let requested = annotation(crate::api::annotations::REQUESTED_AT);
    let is_ready = conditions::is_ready(&conditions);
    ExternalSecretStatus {
        observed_generation: mark.observed.parse().unwrap_or(crate::api::common::NEVER_OBSERVED),
        phase: is_ready.then_some(ExternalSecretPhase::Synced),
        conditions,
        refresh_time: status.refresh_time,
        binding,
        last_handled_reconcile_at: requested.filter(|text| same(text, mark.requested)),
        last_handled_force_at: Some(wishes(object)).filter(|text| same(text, mark.forced)),
    }
}

fn in_our_words(condition: &EsoCondition) -> Option<Condition> {
    let known = |word: &str| Reason::ALL.iter().any(|reason| reason.as_str() == word);
    let (reason, message) = match (condition.reason.as_str(), condition.message.split_once(": ")) {
        (SYNCED, _) => ("Synced", condition.message.as_str()),
        (_, Some((word, message))) if known(word) => (word, message),
        (word, _) => (word, condition.message.as_str()),
    };
    Some(Condition {
        type_: condition.type_.clone(),
        status: condition.status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: condition.last_transition_time?,
        observed_generation: None,
    })
}

/// A status of ours in ESO's terms.
pub fn status(object: &ExternalSecret, status: &ExternalSecretStatus) -> EsoStatus {
    let text = |value: Option<String>| value.unwrap_or_default();
    let binding = status.binding.as_ref();
    let forced = status.last_handled_force_at.as_deref().filter(|text| *text == wishes(object));
    let mark = [
        MANAGER.to_owned(),
        text(binding.and_then(|binding| binding.resource_version.clone())),
        text(binding.and_then(|binding| binding.generation).map(|generation| generation.to_string())),
        short(status.last_handled_reconcile_at.as_deref()),
        short(forced),
        text(binding.and_then(|binding| binding.metadata_hash.clone())),
    ];
    EsoStatus {
        refresh_time: status.refresh_time,
        synced_resource_version: Some(format!("{}-{}", status.observed_generation, mark.join("."))),
        binding: binding.map(|binding| EsoBinding { name: binding.name.clone() }),
        conditions: conditions::get(&status.conditions, READY).map(in_their_words).into_iter().collect(),
    }
}

fn in_their_words(condition: &Condition) -> EsoCondition {
    let is_ready = condition.status == ConditionStatus::True;
    EsoCondition {
        type_: condition.type_.clone(),
        status: condition.status,
        reason: if is_ready { SYNCED } else { FAILED }.to_owned(),
        message: if is_ready {
            condition.message.clone()
        } else {
            format!("{}: {}", condition.reason, condition.message)
        },
        last_transition_time: Some(condition.last_transition_time),
    }
}

#[cfg(test)]
mod tests;
