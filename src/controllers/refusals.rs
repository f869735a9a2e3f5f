//! What could not be made into a Secret, and of what: the same items are not fetched again to fail in the same way.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt;

use crate::{
    api::{common::Group, external_secret::ExternalSecret},
    core::{
        problem::{Problem, Reason},
        secret::Entry,
    },
};

/// Why nothing came of an ExternalSecret.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// What it would have been made of: a keyed hash.
    pub(crate) inputs: String,
    /// The version of the Secret that is in the way; none where that has not been looked at.
    pub(crate) target: Option<String>,
    /// Whether it is the Secret that was in the way.
    pub(crate) of_target: bool,
    /// What is wrong.
    pub(crate) problem: Problem,
    /// The searches that find items, and nothing in them.
    pub(crate) empty: Vec<Entry>,
    /// How often it was repeated.
    repeats: u32,
}

/// After so many looks what the API refused is tried again: what it allows may have changed.
const PATIENCE: u32 = 10;

impl Refusal {
    pub(crate) fn new(inputs: String, target: Option<String>, of_target: bool, problem: Problem) -> Self {
        Self { inputs, target, of_target, problem, empty: vec![], repeats: 0 }
    }

    pub(crate) fn with_empty(self, empty: Vec<Entry>) -> Self {
        Self { empty, ..self }
    }

    /// Whether nothing changed of what was refused.
    pub(crate) fn holds(&self, inputs: &str, target: Option<&str>) -> bool {
        let again = self.of_target && self.problem.reason == Reason::InvalidData && self.repeats >= PATIENCE;
        self.inputs == inputs && self.target.as_deref() == target && !again
    }
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
        let mut all = self.lock();
        let refusal = all.get_mut(&place(object))?;
        refusal.repeats += 1;
        Some(refusal.clone())
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
    use Reason::{FieldAmbiguous, FieldNotFound, InvalidData, NoMatch, TemplateError};
    matches!(problem.reason, FieldNotFound | FieldAmbiguous | TemplateError | InvalidData | NoMatch)
}

/// Whether a problem of writing is one of the Secret that is there, which stays while that does.
pub(crate) fn is_of_target(problem: &Problem) -> bool {
    matches!(problem.reason, Reason::Foreign | Reason::SecretMissing | Reason::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_refuses_is_remembered_and_tried_again_at_times() {
        let object: ExternalSecret = serde_json::from_value(serde_json::json!({
            "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
            "metadata": {"name": "radarr", "namespace": "media"}, "spec": {},
        }))
        .unwrap();
        let refusals = Refusals::default();
        let problem = Problem::new(Reason::InvalidData, "refused");
        assert!(is_of_target(&problem));
        refusals.note(&object, Refusal::new("a".into(), Some("1".into()), true, problem));
        let holds = |inputs, target| refusals.of(&object).unwrap().holds(inputs, target);
        assert!(holds("a", Some("1")) && !holds("b", Some("1")) && !holds("a", Some("2")));
        let looks = (0..20).take_while(|_| holds("a", Some("1"))).count();
        assert!(looks > 0 && looks < 20, "{looks}");
    }
}
