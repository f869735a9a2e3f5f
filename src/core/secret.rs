//! From an ExternalSecret to its Secret: what is read, what comes of it, whose the Secret is, and whether anything
//! has to be written.

mod ownership;
mod render;

pub use ownership::{Claim, claim};
pub use render::{Desired, differs, foreign_keys, object, render};

use std::collections::BTreeSet;

use crate::{
    api::{
        annotations,
        common::StoreRef,
        external_secret::{
            CreationPolicy, DeletionPolicy, EngineVersion, ExternalSecret, ExternalSecretPhase, ExternalSecretSpec,
            ExternalSecretStatus, MetadataPolicy, RefreshPolicy, RemoteRef, SourceRef,
        },
    },
    core::{
        index::Found,
        names,
        problem::{Class, Problem, Reason},
        reference::Reference,
    },
};

/// Counted up when the same inputs would make another Secret than before.
const RENDERING: &str = "1";
/// Seconds for which a one-time password holds.
pub const OTP_SECONDS: i64 = 30;

/// One reference of an ExternalSecret.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which entry it belongs to.
    pub entry: Entry,
    /// Its store.
    pub store: StoreRef,
    /// What it means.
    pub reference: Reference,
}

/// An entry of an ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// `dataFrom[i].extract`.
    Extract(usize),
    /// `data[i]`.
    Data(usize),
}

/// What an ExternalSecret refers to, `dataFrom` first; or which field asks for what this version does not do.
pub fn wanted(spec: &ExternalSecretSpec) -> Result<Vec<Wanted>, Problem> {
    check_target(spec)?;
    let mut wanted = Vec::new();
    for (index, entry) in spec.data_from.iter().enumerate() {
        let place = format!("dataFrom[{index}]");
        let Some(extract) = &entry.extract else {
            return Err(not_supported(&format!("{place}.find")));
        };
        check_remote(extract, &format!("{place}.extract"))?;
        wanted.push(Wanted {
            entry: Entry::Extract(index),
            store: store_of(spec, entry.source_ref.as_ref(), &place)?,
            reference: Reference::of_extract(extract)?,
        });
    }
    for (index, entry) in spec.data.iter().enumerate() {
        let place = format!("data[{index}]");
        check_remote(&entry.remote_ref, &format!("{place}.remoteRef"))?;
        wanted.push(Wanted {
            entry: Entry::Data(index),
            store: store_of(spec, entry.source_ref.as_ref(), &place)?,
            reference: Reference::of_data(&entry.remote_ref)?,
        });
    }
    Ok(wanted)
}

fn not_supported(field: &str) -> Problem {
    Problem::new(Reason::NotSupported, format!("spec.{field} is not supported by this version: remove it"))
}

fn check_target(spec: &ExternalSecretSpec) -> Result<(), Problem> {
    let target = &spec.target;
    let creation = target.creation_policy.unwrap_or_default();
    if !matches!(creation, CreationPolicy::Owner | CreationPolicy::Orphan) {
        return Err(not_supported(&format!("target.creationPolicy {creation:?}")));
    }
    let deletion = target.deletion_policy.unwrap_or_default();
    if deletion != DeletionPolicy::Retain {
        return Err(not_supported(&format!("target.deletionPolicy {deletion:?}")));
    }
    let template = target.template.as_ref();
    let finalizers = template.and_then(|template| template.metadata.as_ref()).is_some_and(|m| !m.finalizers.is_empty());
    let minijinja = template.is_some_and(|template| template.engine_version == Some(EngineVersion::Minijinja));
    for (asked, field) in [
        (target.immutable, "target.immutable"),
        (target.restart, "target.restart"),
        (target.manifest.is_some(), "target.manifest"),
        (spec.sync_windows.is_some(), "syncWindows"),
        (template.is_some_and(|template| !template.template_from.is_empty()), "target.template.templateFrom"),
        (minijinja, "target.template.engineVersion minijinja"),
        (finalizers, "target.template.metadata.finalizers"),
    ] {
        if asked {
            return Err(not_supported(field));
        }
    }
    match template.and_then(|template| template.type_.as_deref()) {
        Some(type_ @ ("kubernetes.io/service-account-token" | "bootstrap.kubernetes.io/token")) => Err(Problem::new(
            Reason::InvalidSpec,
            format!("spec.target.template.type {type_} would make credentials of the cluster itself: it is refused"),
        )),
        _ => Ok(()),
    }
}

fn check_remote(remote: &RemoteRef, place: &str) -> Result<(), Problem> {
    if remote.version.is_some() {
        return Err(not_supported(&format!("{place}.version")));
    }
    if remote.metadata_policy == Some(MetadataPolicy::Fetch) {
        return Err(not_supported(&format!("{place}.metadataPolicy Fetch")));
    }
    Ok(())
}

fn store_of(spec: &ExternalSecretSpec, source: Option<&SourceRef>, place: &str) -> Result<StoreRef, Problem> {
    if source.is_some_and(|source| source.generator_ref.is_some()) {
        return Err(not_supported(&format!("{place}.sourceRef.generatorRef")));
    }
    let own = source.and_then(|source| source.store_ref.as_ref());
    own.or(spec.secret_store_ref.as_ref())
        .cloned()
        .ok_or_else(|| Problem::new(Reason::InvalidSpec, format!("spec.{place} has no store: add spec.secretStoreRef")))
}

/// The name of the Secret.
pub fn target_name(object: &ExternalSecret) -> &str {
    object.spec.target.name.as_deref().or(object.metadata.name.as_deref()).unwrap_or_default()
}

/// Whether the Secret, once written, is left alone although its items change.
pub fn holds(object: &ExternalSecret) -> bool {
    let Some(status) = object.status.as_ref().filter(|status| status.binding.is_some()) else { return false };
    let never = object.spec.refresh_interval.is_some_and(|interval| interval.as_std().is_zero());
    match object.spec.refresh_policy {
        Some(RefreshPolicy::CreatedOnce) => true,
        Some(RefreshPolicy::OnChange) => never || object.metadata.generation == Some(status.observed_generation),
        Some(RefreshPolicy::Periodic) | None => never,
    }
}

/// What the Secret is made of, as one text that changes when that does: the declaration, and the items with their
/// versions. No value enters it. `step` counts up with the one-time passwords, where some are used.
pub fn inputs(spec: &ExternalSecretSpec, found: &[Found], step: Option<i64>) -> String {
    let declared = (&spec.target, &spec.data, &spec.data_from);
    let declared = serde_json::to_string(&declared).unwrap_or_default();
    let step = step.map(|step| step.to_string()).unwrap_or_default();
    names::hash(&[RENDERING, &declared, &items(found), &step], 40)
}

/// The items and their versions, for people.
pub fn items(found: &[Found]) -> String {
    let items: BTreeSet<String> =
        found.iter().map(|found| format!("{}/{}@{}", found.vault, found.item, found.version)).collect();
    items.into_iter().collect::<Vec<_>>().join(",")
}

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

/// What the annotations ask for that has not been handled yet.
pub fn request(object: &ExternalSecret) -> Request {
    let status = object.status.as_ref();
    let of = |name: &str| object.metadata.annotations.as_ref().and_then(|map| map.get(name)).cloned();
    let requested_at = of(annotations::REQUESTED_AT);
    let forced = of(annotations::FORCE_AT).filter(|value| Some(value) == requested_at.as_ref());
    let wishes: Vec<String> = forced.into_iter().chain(of(annotations::FORCE_SYNC)).collect();
    let handled = status.and_then(|status| status.last_handled_force_at.clone());
    let known: Vec<&str> = handled.as_deref().map(|text| text.split(' ').collect()).unwrap_or_default();
    let force = wishes.iter().any(|wish| !wish.split(' ').all(|word| known.contains(&word)));
    let look = requested_at.is_some() && requested_at != status.and_then(|s| s.last_handled_reconcile_at.clone());
    let force_at = if wishes.is_empty() { handled.clone() } else { Some(wishes.join(" ")) };
    Request { requested_at, force_at, look: look || force, force }
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
mod tests;
