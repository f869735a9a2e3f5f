//! What a store of ESO's that is ours says of itself, and who uses it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{Selector, SelectorExt};

use super::in_our_words;
use crate::{
    api::{
        MANAGER,
        common::{ConditionStatus, StoreKind, Time},
        eso::{EsoCondition, EsoStoreStatus, PushSecretSpec, PushStore, STORE_FINALIZER},
        store::{ChangeDetection, StoreStatus},
    },
    core::{
        conditions::{self, READY},
        store::StoreKey,
    },
};

/// The condition of a store of ESO's that says that it is ours.
const TAKEN_OVER: &str = "Strongroom";

/// Who uses a store of ESO's that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// ExternalSecrets that are reconciled.
    pub ours: usize,
    /// ExternalSecrets that are left alone, because they use other stores too.
    pub mixed: BTreeSet<String>,
    /// PushSecrets, which we do not serve and ESO leaves alone; none where they are not known.
    pub pushed: Option<BTreeSet<String>>,
}

impl Users {
    fn message(&self) -> String {
        let some = |names: &BTreeSet<String>| names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let mut parts = vec![format!("ExternalSecrets that Strongroom reconciles: {}", self.ours)];
        if !self.mixed.is_empty() {
            let (count, names) = (self.mixed.len(), some(&self.mixed));
            parts.push(format!("left alone, because they use a store of another controller too: {count} ({names})"));
        }
        let behind = "PushSecrets that stay behind, because Strongroom does not serve them";
        match &self.pushed {
            None => parts.push(format!("{behind}: unknown, they cannot be listed (see the operator's log)")),
            Some(pushed) if !pushed.is_empty() => {
                parts.push(format!("{behind}: {} ({})", pushed.len(), some(pushed)));
            }
            Some(_) => {}
        }
        parts.join("; ")
    }
}

/// The status of a store of ESO's that is ours, in ESO's terms.
pub fn store_status(
    meta: &ObjectMeta,
    old: Option<&EsoStoreStatus>,
    ours: &StoreStatus,
    users: Option<&Users>,
    now: Time,
) -> EsoStoreStatus {
    let mut conditions = old.map(|old| old.conditions.clone()).unwrap_or_default();
    if let Some(ready) = conditions::get(&ours.conditions, READY) {
        let is_ready = ready.status == ConditionStatus::True;
        let message = if is_ready { ready.message.clone() } else { format!("{}: {}", ready.reason, ready.message) };
        set(
            &mut conditions,
            READY,
            ready.status,
            if is_ready { "Valid" } else { "InvalidProviderConfig" },
            message,
            now,
        );
    }
    if let Some(users) = users {
        let mut parts = vec![users.message()];
        if ours.change_detection == Some(ChangeDetection::ItemList) {
            parts.push(
                "changes are noticed by lists of all items, because the versions of the vaults did not tell of one"
                    .to_owned(),
            );
        }
        parts.extend(held_back(meta));
        set(&mut conditions, TAKEN_OVER, ConditionStatus::True, "TakenOver", parts.join("; "), now);
    }
    EsoStoreStatus { capabilities: Some("ReadOnly".to_owned()), conditions }
}

/// Why a store of ours that is being deleted stays. ESO skips it, and the finalizer is not ours to take off: it keeps
/// the store for PushSecrets.
fn held_back(meta: &ObjectMeta) -> Option<String> {
    let has = meta.finalizers.iter().flatten().any(|name| name == STORE_FINALIZER);
    (has && meta.deletion_timestamp.is_some()).then(|| {
        format!(
            "its deletion waits for the finalizer {STORE_FINALIZER}, which External Secrets Operator put there for \
             PushSecrets with deletionPolicy Delete and does not take off while spec.controller is {MANAGER}: remove \
             spec.controller, or, when no PushSecret needs the store, the finalizer"
        )
    })
}

/// Whether a PushSecret of this namespace refers to a store, which has these labels.
pub fn pushes_to(
    spec: &PushSecretSpec,
    namespace: &str,
    store: &StoreKey,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let kind = if store.namespace.is_some() { StoreKind::SecretStore } else { StoreKind::ClusterSecretStore };
    let in_reach = store.namespace.as_deref().is_none_or(|of| of == namespace);
    let none = BTreeMap::new();
    let means = |of: &PushStore| {
        if of.kind != kind || !of.name.is_empty() {
            return of.kind == kind && of.name == store.name;
        }
        // One that cannot be understood selects nothing for ESO either.
        let selector = of.label_selector.clone().and_then(|selector| Selector::try_from(selector).ok());
        selector.is_some_and(|selector| selector.matches(labels.unwrap_or(&none)))
    };
    let parts = spec.data_to.iter().map(|part| &part.store_ref);
    in_reach && spec.secret_store_refs.iter().chain(parts).any(means)
}

/// The status of a store of ESO's that is ours no more.
pub fn left_status(old: &EsoStoreStatus) -> EsoStoreStatus {
    let mut status = old.clone();
    status.conditions.retain(|condition| condition.type_ != TAKEN_OVER);
    status
}

/// Whether the status of a store of ESO's says that it is ours.
pub fn is_taken_over(status: Option<&EsoStoreStatus>) -> bool {
    status.is_some_and(|status| status.conditions.iter().any(|condition| condition.type_ == TAKEN_OVER))
}

/// What a store's status says of itself in our terms, as far as it is kept there.
pub fn store_in_our_terms(status: &EsoStoreStatus) -> StoreStatus {
    let ready = status.conditions.iter().filter(|condition| condition.type_ == READY).filter_map(in_our_words);
    StoreStatus { conditions: ready.collect(), ..StoreStatus::default() }
}

fn set(
    conditions: &mut Vec<EsoCondition>,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: String,
    now: Time,
) {
    let old = conditions.iter().position(|condition| condition.type_ == type_);
    let since = old.map(|at| conditions.remove(at)).filter(|old| old.status == status);
    let new = EsoCondition {
        type_: type_.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        last_transition_time: since.and_then(|old| old.last_transition_time).or(Some(now)),
    };
    conditions.insert(old.unwrap_or(conditions.len()), new);
}
