//! Where the values of an ExternalSecret come from: its items, and the objects that hold its templates.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::DateTime;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;

use super::reader;
use crate::{
    api::{common::Time, external_secret::ExternalSecret},
    clients::cluster,
    controllers::{
        connect::{self, Fetched, Source, file_problem, item_problem},
        context::Context,
    },
    core::{
        field,
        index::Found,
        problem::{Problem, Reason},
        rewrite::regex,
        secret::{self, Entry, Origin, OriginKind, Request, Suspect, Wanted, What},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// How long a look for changes that a user asks for is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A reference, where it is read, and the items that it means.
pub(super) struct Resolved {
    pub(super) wanted: Wanted,
    pub(super) source: Source,
    pub(super) found: Vec<Found>,
}

/// A reference whose items are not there, where that may mean that they are gone.
pub(super) struct Missing {
    pub(super) wanted: Wanted,
    pub(super) source: Source,
    pub(super) problem: Problem,
    /// Items that are there and have nothing that is asked for.
    pub(super) without: Vec<Found>,
}

/// What the references mean now.
#[derive(Default)]
pub(super) struct Resolution {
    pub(super) resolved: Vec<Resolved>,
    pub(super) missing: Vec<Missing>,
}

impl Resolution {
    pub(super) fn found(&self) -> Vec<Found> {
        self.resolved.iter().flat_map(|resolved| resolved.found.iter().cloned()).collect()
    }

    /// All items that are known to be there.
    fn seen(&self) -> Vec<Found> {
        self.found().into_iter().chain(self.missing.iter().flat_map(|missing| missing.without.clone())).collect()
    }

    /// Counts searches that find items, and nothing in them, as missing. False where there are none.
    pub(super) fn set_aside(&mut self, empty: &[Entry], problem: &Problem) -> bool {
        let (empty, kept): (Vec<Resolved>, Vec<Resolved>) =
            std::mem::take(&mut self.resolved).into_iter().partition(|of| empty.contains(&of.wanted.entry));
        self.resolved = kept;
        let before = self.missing.len();
        self.missing.extend(empty.into_iter().map(|Resolved { wanted, source, found }| Missing {
            wanted,
            source,
            problem: problem.clone(),
            without: found,
        }));
        self.missing.len() > before
    }

    pub(super) fn is_otp(&self) -> bool {
        self.resolved.iter().any(|resolved| resolved.wanted.is_otp())
    }
}

/// Finds the items of every reference. Nothing while a server is asked for the first time, or for a user's sake, which
/// wakes the object.
pub(super) async fn resolve(
    object: &ExternalSecret,
    ctx: &Context,
    wanted: Vec<Wanted>,
    request: &Request,
) -> Result<Option<Resolution>, Problem> {
    let namespace = object.namespace().unwrap_or_default();
    let mut sources = Vec::new();
    for wanted in &wanted {
        let Some(source) = connect::source(ctx, &wanted.store, Some(&namespace)).await? else { return Ok(None) };
        sources.push(source);
    }
    if request.look {
        let mut asked: Vec<&Source> = Vec::new();
        for source in &sources {
            if !asked.iter().any(|other| Arc::ptr_eq(&other.endpoint, &source.endpoint)) {
                asked.push(source);
            }
        }
        let (words, reader) = (request.words(), reader(object));
        let looks = asked.iter().map(|source| source.endpoint.refresh(words, PATIENCE, Some(&reader)));
        if !join_all(looks).await.into_iter().all(|ended| ended) {
            return Ok(None);
        }
    }
    let mut resolution = Resolution::default();
    for (wanted, source) in wanted.into_iter().zip(sources) {
        let found = connect::indexed(ctx, &source, |index| match &wanted.what {
            What::Part(reference) => index.resolve(&source.order, reference).map(|found| vec![found]),
            What::Search(search) => index.search(&source.order, search),
        });
        match found {
            Ok(Some(found)) => resolution.resolved.push(Resolved { wanted, source, found }),
            Ok(None) => return Ok(None),
            Err(problem) if secret::is_gone(object, &problem) => {
                resolution.missing.push(Missing { wanted, source, problem, without: Vec::new() });
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(Some(resolution))
}

/// Proves that the items that the Secret was made of, as far as they are not found now, are gone; an error where they
/// are not, or where that cannot be told. Nothing while a server is asked, which wakes the object.
pub(super) async fn prove_gone(
    object: &ExternalSecret,
    ctx: &Context,
    resolution: &Resolution,
    items: &str,
) -> Result<Option<Vec<Suspect>>, Problem> {
    let Some(first) = resolution.missing.first() else { return Ok(Some(Vec::new())) };
    let suspects = secret::suspects(items, &resolution.seen());
    if suspects.is_empty() {
        return Err(first.problem.clone());
    }
    for Suspect { vault, item, is_gone } in &suspects {
        // The annotation is anyone's to write: of a vault that the store does not have, nothing is told.
        let has = |Missing { source, .. }: &&Missing| {
            source.endpoint.with_index(|index| index.is_of(&source.order, vault)).unwrap_or_default()
        };
        let Some(missing) = resolution.missing.iter().find(has) else { return Err(first.problem.clone()) };
        let source = &missing.source;
        let title = source.endpoint.with_index(|index| index.listed(vault, item).map(|entry| entry.title.clone()));
        if let Ok(Some(title)) = title {
            let words = &missing.problem.message;
            let message = format!("{words} Item {item}, which it was made of, is there, with the title {title:?}.");
            return Err(Problem::new(missing.problem.reason, message));
        }
        if *is_gone {
            continue;
        }
        match source.endpoint.is_gone(vault, item, &reader(object)).await {
            Fetched::Value(gone) if *gone => {}
            Fetched::Value(_) => return Err(missing.problem.clone()),
            Fetched::Later => return Ok(None),
            Fetched::Failed(failure) => return Err(item_problem(item, &failure, &source.place, ctx.now())),
        }
    }
    Ok(Some(suspects))
}

/// The objects that hold templates, as they are now.
pub(super) async fn origins(object: &ExternalSecret, ctx: &Context) -> Result<Vec<Origin>, Problem> {
    let namespace = object.namespace().unwrap_or_default();
    let mut origins = Vec::new();
    for (kind, name) in secret::origins(&object.spec) {
        let found = match kind {
            OriginKind::ConfigMap => {
                cluster::get(&ctx.api::<ConfigMap>(&namespace), &name).await?.map(|map| (map.metadata, texts(map.data)))
            }
            OriginKind::Secret => cluster::get(&ctx.api::<Secret>(&namespace), &name)
                .await?
                .map(|secret| (secret.metadata, bytes(secret.data))),
        };
        let (version, data) = match found {
            Some((meta, data)) => {
                let version = format!("{}/{}", meta.uid.unwrap_or_default(), meta.resource_version.unwrap_or_default());
                (Some(version), data)
            }
            None => (None, SensitiveMap::new()),
        };
        origins.push(Origin { kind, name, version, data });
    }
    Ok(origins)
}

fn texts(data: Option<BTreeMap<String, String>>) -> SensitiveMap {
    data.into_iter().flatten().map(|(key, text)| (key, Sensitive::from(text))).collect()
}

fn bytes(data: Option<BTreeMap<String, k8s_openapi::ByteString>>) -> SensitiveMap {
    data.into_iter().flatten().map(|(key, bytes)| (key, Sensitive::from(bytes.0))).collect()
}

/// What the references yielded.
pub(super) struct Yields {
    pub(super) yields: Vec<(Wanted, Vec<(String, Sensitive)>)>,
    /// When the item changed that changed last.
    pub(super) newest: Option<Time>,
}

/// Fetches each item once and takes from it what each reference means. Nothing while one is still being fetched,
/// which wakes the object.
pub(super) async fn fetch(
    object: &ExternalSecret,
    ctx: &Context,
    resolved: &[Resolved],
    fresh: bool,
) -> Result<Option<Yields>, Problem> {
    let reader = reader(object);
    let (mut yields, mut newest) = (Vec::new(), None);
    for resolved in resolved {
        let asked = resolved.found.iter().map(|found| connect::fetch(ctx, &resolved.source, found, fresh, &reader));
        let mut values: Vec<(String, Sensitive)> = Vec::new();
        for (found, item) in resolved.found.iter().zip(join_all(asked).await) {
            let Some(item) = item? else { return Ok(None) };
            newest = newest.max(DateTime::parse_from_rfc3339(&item.updated_at).ok().map(|at| at.to_utc()));
            for (name, part) in parts(object, &resolved.wanted, &item)? {
                // Of several items, the first that has a name gives its value.
                if values.iter().any(|(other, _)| *other == name) {
                    continue;
                }
                let value = match part {
                    field::Source::Value(value) => value,
                    field::Source::File(file) => {
                        let place = &resolved.source.place;
                        match resolved.source.endpoint.file(found, &file, fresh, &reader).await {
                            Fetched::Value(content) => Sensitive::clone(&content),
                            Fetched::Later => return Ok(None),
                            Fetched::Failed(failure) => {
                                return Err(file_problem(&item.title, &file.name, &failure, place, ctx.now()));
                            }
                        }
                    }
                };
                values.push((name, value));
            }
        }
        yields.push((resolved.wanted.clone(), values));
    }
    Ok(Some(Yields { yields, newest }))
}

/// What a reference takes of an item.
fn parts(
    object: &ExternalSecret,
    wanted: &Wanted,
    item: &crate::core::item::Item,
) -> Result<Vec<(String, field::Source)>, Problem> {
    match (&wanted.what, wanted.entry) {
        (What::Part(reference), Entry::Data(index)) => {
            let name = object.spec.data[index].secret_key.clone();
            Ok(vec![(name, field::one(item, &reference.part)?)])
        }
        (What::Part(reference), Entry::DataFrom(_)) => field::all(item, &reference.part),
        (What::Search(search), entry) => {
            let place = match entry {
                Entry::DataFrom(index) => format!("spec.dataFrom[{index}].find.name.regexp"),
                Entry::Data(index) => format!("spec.data[{index}]"),
            };
            let label = search.label.as_ref().map(|label| regex(label, &place)).transpose()?;
            field::matching(item, |name| label.as_ref().is_none_or(|label| label.is_match(name)))
        }
    }
}

/// Whether a problem is one of the store or its server, which says nothing about the item.
pub(super) fn is_of_the_store(problem: &Problem) -> bool {
    use crate::api::external_secret::ExternalSecretPhase::Waiting;
    secret::phase(problem) == Waiting
        && !matches!(problem.reason, Reason::ClusterError | Reason::SecretMissing | Reason::TemplateNotFound)
}
