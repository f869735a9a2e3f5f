//! What a Secret should hold.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};

use super::{Entry, Wanted, target_name};
use crate::{
    api::{
        annotations,
        external_secret::{CreationPolicy, ExternalSecret, ExternalSecretSpec, MergePolicy},
    },
    core::{
        names::{Owner, child_labels},
        problem::{Problem, Reason},
        rewrite::{check_key, decode, keys},
        sensitive::{Sensitive, SensitiveMap},
        template::{self, Engine, Moment, Values},
    },
};

/// Bytes that a Secret can hold.
const MAX_BYTES: usize = 1 << 20;

/// What a Secret should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Keys and values.
    pub data: SensitiveMap,
    /// Type, where the template sets one.
    pub type_: Option<String>,
    /// Labels of the template.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the template.
    pub annotations: BTreeMap<String, String>,
}

/// Composes a Secret from what each reference yielded: names and values of fields, in the order of `wanted`.
pub fn render(
    spec: &ExternalSecretSpec,
    yields: Vec<(Wanted, Vec<(String, Sensitive)>)>,
    moment: &Moment,
) -> Result<Desired, Problem> {
    let source = source(spec, yields)?;
    let template = spec.target.template.clone().unwrap_or_default();
    let values = Values::from(&source);
    let at = |place: &str, key: &str| format!("spec.target.template.{place}[{key:?}]");
    let merges = template.data.is_empty() || template.merge_policy == Some(MergePolicy::Merge);
    let mut data = if merges { source } else { SensitiveMap::new() };
    for (key, text) in &template.data {
        data.insert(key.clone(), template::render(Engine::Go, text, &at("data", key), &values, moment)?);
    }
    for key in data.keys() {
        check_key(key)?;
    }
    let bytes: usize = data.iter().map(|(key, value)| key.len() + value.expose().len()).sum();
    if bytes > MAX_BYTES {
        let message = format!("the keys and values have {bytes} bytes together; a Secret holds at most {MAX_BYTES}");
        return Err(Problem::new(Reason::InvalidData, message));
    }
    let metadata = template.metadata.unwrap_or_default();
    let texts = |place: &str, map: &BTreeMap<String, String>| -> Result<BTreeMap<String, String>, Problem> {
        let rendered = map.iter().map(|(key, text)| {
            let value = template::render(Engine::Go, text, &at(place, key), &values, moment)?;
            Ok((key.clone(), value.expose_str().unwrap_or_default().to_owned()))
        });
        rendered.collect()
    };
    Ok(Desired {
        data,
        type_: template.type_,
        labels: texts("metadata.labels", &metadata.labels)?,
        annotations: texts("metadata.annotations", &metadata.annotations)?,
    })
}

/// All keys that the references make: later entries override earlier ones, `data` overrides `dataFrom`.
fn source(spec: &ExternalSecretSpec, yields: Vec<(Wanted, Vec<(String, Sensitive)>)>) -> Result<SensitiveMap, Problem> {
    let mut source = SensitiveMap::new();
    for (wanted, values) in yields {
        match wanted.entry {
            Entry::Extract(index) => {
                let entry = &spec.data_from[index];
                let place = format!("spec.dataFrom[{index}]");
                if values.is_empty() {
                    let item = &wanted.reference.item;
                    let message =
                        format!("{place}: item {item:?} has no field with a label: add one, or remove the entry");
                    return Err(Problem::new(Reason::NoMatch, message));
                }
                if let Some(extract) = &entry.extract {
                    source.extend(keys(values, extract, &entry.rewrite, &place)?);
                }
            }
            Entry::Data(index) => {
                let entry = &spec.data[index];
                let place = format!("spec.data[{index}]");
                for (name, value) in values {
                    let value = decode(value, &entry.remote_ref, &name, &place)?;
                    source.insert(entry.secret_key.clone(), value);
                }
            }
        }
    }
    Ok(source)
}

/// The Secret as it is applied. `inputs` and `items` become annotations, by which a restarted controller sees that
/// nothing changed.
pub fn object(owner: &ExternalSecret, desired: &Desired, inputs: &str, items: &str) -> Secret {
    let uid = owner.uid().unwrap_or_default();
    let namespace = owner.namespace();
    let labels = child_labels(
        &Owner { kind: "ExternalSecret", namespace: namespace.clone(), name: owner.name_any(), uid: uid.clone() },
        None,
    );
    let ours = [(annotations::INPUTS, inputs), (annotations::ITEMS, items)];
    let is_owner = owner.spec.target.creation_policy.unwrap_or_default() == CreationPolicy::Owner;
    let reference = || OwnerReference {
        api_version: ExternalSecret::api_version(&()).into_owned(),
        kind: ExternalSecret::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let data = desired.data.iter().map(|(key, value)| (key.clone(), ByteString(value.expose().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(target_name(owner).to_owned()),
            namespace,
            labels: Some(desired.labels.clone().into_iter().chain(labels).collect()),
            annotations: Some(
                desired
                    .annotations
                    .clone()
                    .into_iter()
                    .chain(ours.map(|(key, value)| (key.to_owned(), value.to_owned())))
                    .collect(),
            ),
            owner_references: is_owner.then(|| vec![reference()]),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        type_: desired.type_.clone(),
        ..Secret::default()
    }
}

/// Whether a live Secret is not as it should be.
pub fn differs(live: &Secret, wanted: &Secret) -> bool {
    let holds = |live: Option<&BTreeMap<String, String>>, wanted: Option<&BTreeMap<String, String>>| {
        wanted.into_iter().flatten().all(|(key, value)| live.and_then(|map| map.get(key)) == Some(value))
    };
    let owners = |secret: &Secret| -> Vec<String> {
        secret.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
    };
    let live_owners = owners(live);
    live.data.clone().unwrap_or_default() != wanted.data.clone().unwrap_or_default()
        || !holds(live.metadata.labels.as_ref(), wanted.metadata.labels.as_ref())
        || !holds(live.metadata.annotations.as_ref(), wanted.metadata.annotations.as_ref())
        || owners(wanted).iter().any(|uid| !live_owners.contains(uid))
        || wanted.type_.as_ref().is_some_and(|type_| live.type_.as_ref() != Some(type_))
}

/// Keys of a live Secret that are not declared.
pub fn foreign_keys(live: &Secret, wanted: &Secret) -> Vec<String> {
    let declared = wanted.data.as_ref();
    let foreign = |key: &&String| declared.is_none_or(|data| !data.contains_key(*key));
    live.data.iter().flat_map(BTreeMap::keys).filter(foreign).cloned().collect()
}
