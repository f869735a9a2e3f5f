//! What a user asks for by annotation.

use crate::api::{annotations, external_secret::ExternalSecret};

/// A wish of a user, by annotation, that the object be looked at now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The value to write to `lastHandledReconcileAt`.
    pub requested_at: Option<String>,
    /// The value to write to `lastHandledForceAt`.
    pub force_at: Option<String>,
    /// The server has to be asked for changes first.
    pub look: bool,
    /// Values have to be fetched although nothing seems to have changed.
    pub force: bool,
}

impl Request {
    /// The wish in the user's words: what many objects are asked for at once, they are asked for in the same.
    pub fn words(&self) -> &str {
        let words = if self.force { &self.force_at } else { &self.requested_at };
        words.as_deref().unwrap_or_default()
    }
}

/// The values of the annotations that ask for a sync now, as one text; empty where there are none.
pub fn wishes(object: &ExternalSecret) -> String {
    let of = |name: &str| object.metadata.annotations.as_ref().and_then(|map| map.get(name)).cloned();
    let requested_at = of(annotations::REQUESTED_AT);
    let forced = of(annotations::FORCE_AT).filter(|value| Some(value) == requested_at.as_ref());
    let all = forced.into_iter().chain(of(annotations::FORCE_SYNC)).chain(of(annotations::ESO_FORCE_SYNC));
    all.collect::<Vec<_>>().join(" ")
}

/// What the annotations ask for that has not been handled yet.
pub fn request(object: &ExternalSecret) -> Request {
    let status = object.status.as_ref();
    let requested_at = object.metadata.annotations.as_ref().and_then(|map| map.get(annotations::REQUESTED_AT)).cloned();
    let wishes = wishes(object);
    let handled = status.and_then(|status| status.last_handled_force_at.clone());
    let known: Vec<&str> = handled.as_deref().map(|text| text.split(' ').collect()).unwrap_or_default();
    let force = !wishes.is_empty() && !wishes.split(' ').all(|word| known.contains(&word));
    let look = requested_at.is_some() && requested_at != status.and_then(|s| s.last_handled_reconcile_at.clone());
    let force_at = if wishes.is_empty() { handled.clone() } else { Some(wishes) };
    Request { requested_at, force_at, look: look || force, force }
}
