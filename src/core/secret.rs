//! From an ExternalSecret to its Secret: what is read, what comes of it, whose the Secret is, and whether anything
//! has to be written.

mod change;
mod declared;
mod gone;
mod hold;
mod managers;
mod metadata;
mod object;
mod ownership;
mod policy;
mod render;
mod request;
mod texts;

pub use change::{changeable, keep_type};
pub use declared::{Entry, Wanted, What, target_name, wanted};
pub use gone::{Suspect, after_deletion, is_gone, suspects, without};
pub use hold::{Hold, hold, is_made_for, metadata_hash};
pub use managers::{eso_manager, is_of_eso, made_applied, manager};
pub use object::{
    Notes, contested_key, data_hash, differs, is_intact, leave_others, note, object, owner_reference, reference,
    surplus_keys,
};
pub use ownership::{Claim, claim, owns, share};
pub use policy::Policy;
pub use render::{Desired, Ingredients, render};
pub use request::{Request, request, wishes};
pub use texts::{Origin, OriginKind, Text, origins, texts};

use std::collections::BTreeSet;

use crate::{
    api::external_secret::{ExternalSecret, ExternalSecretPhase, ExternalSecretStatus},
    core::{
        fingerprint::Fingerprints,
        index::Found,
        problem::{Class, Problem, Reason},
    },
};

/// Counted up when the same inputs would make another Secret than before.
const RENDERING: &str = "3";
/// Stands for the version of an item that is gone.
const GONE: &str = "gone";
/// Seconds for which a one-time password holds.
pub const OTP_SECONDS: i64 = 30;

/// What the Secret is made of, as one text that changes when that does: the declaration, the items with their
/// versions, and the objects that templates come from. `step` counts up with the one-time passwords, where some are
/// used.
pub fn inputs(
    object: &ExternalSecret,
    found: &[Found],
    origins: &[Origin],
    step: Option<i64>,
    fingerprints: &Fingerprints,
) -> String {
    let spec = &object.spec;
    let declared = serde_json::to_string(&(&spec.target, &spec.data, &spec.data_from)).unwrap_or_default();
    let copied = serde_json::to_string(&object::copied(object)).unwrap_or_default();
    let origins: Vec<String> = origins.iter().map(Origin::version).collect();
    let step = step.map(|step| step.to_string()).unwrap_or_default();
    fingerprints.of(&[RENDERING, &declared, &copied, &items(found), &origins.join(","), &step])
}

/// The items and their versions, for people.
pub fn items(found: &[Found]) -> String {
    let items: BTreeSet<String> =
        found.iter().map(|found| format!("{}/{}@{}", found.vault, found.item, found.version)).collect();
    items.into_iter().collect::<Vec<_>>().join(",")
}

/// The same, with items that are gone: so it is remembered what the Secret was once made of.
pub fn items_with(found: &[Found], gone: &[Suspect]) -> String {
    let found = items(found);
    let gone = gone.iter().map(|gone| format!("{}/{}@{GONE}", gone.vault, gone.item));
    std::iter::once(found).filter(|found| !found.is_empty()).chain(gone).collect::<Vec<_>>().join(",")
}

/// The phase that a problem means.
pub fn phase(problem: &Problem) -> ExternalSecretPhase {
    let by_itself = problem.class() == Class::Transient
        || matches!(
            problem.reason,
            Reason::StoreNotFound
                | Reason::StoreNotReady
                | Reason::TokenMissing
                | Reason::TokenRejected
                | Reason::VaultNotFound
                | Reason::VaultNotInScope
                | Reason::NotAConnectServer
                | Reason::SecretMissing
                | Reason::TemplateNotFound
        );
    if by_itself { ExternalSecretPhase::Waiting } else { ExternalSecretPhase::Failing }
}

/// Whether the status says that the present declaration was carried out.
pub fn is_synced(object: &ExternalSecret) -> bool {
    let synced = |status: &ExternalSecretStatus| {
        status.phase == Some(ExternalSecretPhase::Synced)
            && object.metadata.generation == Some(status.observed_generation)
            && status.binding.as_ref().is_some_and(|binding| binding.name == target_name(object))
    };
    object.status.as_ref().is_some_and(synced)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
