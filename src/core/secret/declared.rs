//! What an ExternalSecret asks for.

use crate::{
    api::{
        common::StoreRef,
        external_secret::{DecodingStrategy, ExternalSecret, ExternalSecretSpec, RemoteRef, SourceRef, Target},
    },
    core::{
        problem::{Problem, Reason},
        reference::{Reference, Search},
    },
};

/// One reference of an ExternalSecret.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which entry it belongs to.
    pub entry: Entry,
    /// Its store.
    pub store: StoreRef,
    /// What it means.
    pub what: What,
}

/// An entry of an ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// `dataFrom[i]`.
    DataFrom(usize),
    /// `data[i]`.
    Data(usize),
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A part of one item.
    Part(Reference),
    /// Parts of all items that match.
    Search(Search),
}

impl Wanted {
    /// Whether it is a search, which may find items that have nothing of what it wants.
    pub fn is_search(&self) -> bool {
        matches!(self.what, What::Search(_))
    }

    /// Whether the value changes with time, without the item's version telling.
    pub fn is_otp(&self) -> bool {
        matches!(&self.what, What::Part(reference) if reference.is_otp())
    }
}

/// What an ExternalSecret refers to, `dataFrom` first; or which field is wrong, or asks for what is not done.
pub fn wanted(spec: &ExternalSecretSpec) -> Result<Vec<Wanted>, Problem> {
    check_target(&spec.target)?;
    let mut wanted = Vec::new();
    for (index, entry) in spec.data_from.iter().enumerate() {
        let place = format!("dataFrom[{index}]");
        let what = match (&entry.extract, &entry.find) {
            (Some(extract), _) => {
                check_remote(extract, &format!("{place}.extract"))?;
                What::Part(Reference::of_extract(extract)?)
            }
            (None, Some(find)) => What::Search(Search::from(find)),
            (None, None) => {
                let message = format!("spec.{place} has neither extract nor find: add one of them");
                return Err(Problem::new(Reason::InvalidSpec, message));
            }
        };
        let store = store_of(spec, entry.source_ref.as_deref(), &place)?;
        wanted.push(Wanted { entry: Entry::DataFrom(index), store, what });
    }
    for (index, entry) in spec.data.iter().enumerate() {
        let place = format!("data[{index}]");
        check_remote(&entry.remote_ref, &format!("{place}.remoteRef"))?;
        wanted.push(Wanted {
            entry: Entry::Data(index),
            store: store_of(spec, entry.source_ref.as_deref(), &place)?,
            what: What::Part(Reference::of_data(&entry.remote_ref)?),
        });
    }
    Ok(wanted)
}

/// The name of the Secret.
pub fn target_name(object: &ExternalSecret) -> &str {
    object.spec.target.name.as_deref().or(object.metadata.name.as_deref()).unwrap_or_default()
}

fn not_supported(field: &str, why: &str) -> Problem {
    Problem::new(Reason::NotSupported, format!("spec.{field} is not supported: {why}"))
}

fn check_target(target: &Target) -> Result<(), Problem> {
    if target.manifest.is_some() {
        return Err(not_supported("target.manifest", "only Secrets are written; remove it"));
    }
    let from = target.template.iter().flat_map(|template| &template.template_from).enumerate();
    for (index, source) in from {
        if !matches!(source.values_decoding_strategy, None | Some(DecodingStrategy::None)) {
            let field = format!("target.template.templateFrom[{index}].valuesDecodingStrategy");
            return Err(not_supported(&field, "decode in the template, with b64dec; remove it"));
        }
    }
    match target.template.as_ref().and_then(|template| template.type_.as_deref()) {
        Some(type_ @ ("kubernetes.io/service-account-token" | "bootstrap.kubernetes.io/token")) => Err(Problem::new(
            Reason::InvalidSpec,
            format!("spec.target.template.type {type_} would make credentials of the cluster itself: it is refused"),
        )),
        _ => Ok(()),
    }
}

fn check_remote(remote: &RemoteRef, place: &str) -> Result<(), Problem> {
    if remote.version.is_some() {
        let why = "1Password Connect serves the present version only; remove it";
        return Err(not_supported(&format!("{place}.version"), why));
    }
    Ok(())
}

fn store_of(spec: &ExternalSecretSpec, source: Option<&SourceRef>, place: &str) -> Result<StoreRef, Problem> {
    if source.is_some_and(|source| source.generator_ref.is_some()) {
        let why = "generators make nothing that 1Password knows; write the value to an item";
        return Err(not_supported(&format!("{place}.sourceRef.generatorRef"), why));
    }
    let own = source.and_then(|source| source.store_ref.as_ref());
    own.or(spec.secret_store_ref.as_ref())
        .cloned()
        .ok_or_else(|| Problem::new(Reason::InvalidSpec, format!("spec.{place} has no store: add spec.secretStoreRef")))
}
