//! What could not be made into a Secret, and of what: the same items are not fetched again to fail in the same way.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt;

use crate::{
    api::{common::Group, external_secret::ExternalSecret},
    core::problem::{Problem, Reason},
};

/// Why nothing came of an ExternalSecret.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// What it would have been made of: a keyed hash.
    pub(crate) inputs: String,
    /// Whether it was when the Secret was written, so that it may be another one that helps.
    pub(crate) by_target: bool,
    /// The version of the Secret that is in the way; none where that has not been looked at.
    pub(crate) target: Option<String>,
    /// What is wrong.
    pub(crate) problem: Problem,
}

/// Group, namespace and name.
type Place = (Group, String, String);

/// Why nothing came of ExternalSecrets.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<Place, Refusal>>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, object: &ExternalSecret) -> Option<Refusal> {
        self.lock().get(&place(object)).cloned()
    }

    pub(crate) fn note(&self, object: &ExternalSecret, refusal: Refusal) {
        self.lock().insert(place(object), refusal);
    }

    pub(crate) fn clear(&self, object: &ExternalSecret) {
        self.lock().remove(&place(object));
    }

    /// Forgets a namespace: one of its ExternalSecrets is gone, and what it stood in the way of may be free.
    pub(crate) fn forget(&self, namespace: &str) {
        self.lock().retain(|(_, other, _), _| other != namespace);
    }
}

fn place(object: &ExternalSecret) -> Place {
    (object.spec.group, object.namespace().unwrap_or_default(), object.name_any())
}

/// Whether a problem is one of what the items and templates hold, which stays while they do. A file that is not there
/// yet, for one, may come without a new version of its item.
pub(crate) fn is_of_content(problem: &Problem) -> bool {
    use Reason::{FieldAmbiguous, FieldNotFound, FileTooLarge, InvalidData, NoMatch, TemplateError};
    matches!(problem.reason, FieldNotFound | FieldAmbiguous | FileTooLarge | TemplateError | InvalidData | NoMatch)
}

/// Whether a problem with writing is one of the Secret that is there, or of what it would become: it stays while both
/// are as they are.
pub(crate) fn is_of_target(problem: &Problem) -> bool {
    matches!(problem.reason, Reason::Foreign | Reason::SecretMissing | Reason::InvalidData)
}
