//! What a Secret should hold.

use std::collections::BTreeMap;

use super::{Entry, Text, Wanted, What, metadata, texts::Goal};
use crate::{
    api::external_secret::{EngineVersion, ExternalSecretSpec, MergePolicy, Template},
    core::{
        problem::{Problem, Reason},
        rewrite::{Encoding, check_key, decode, keys},
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

/// What a Secret is made of.
#[derive(Clone, Debug, Default)]
pub struct Ingredients {
    /// What each reference yielded: names and values, in the order of `wanted`.
    pub yields: Vec<(Wanted, Vec<(String, Sensitive)>)>,
    /// The templates of `templateFrom`.
    pub texts: Vec<Text>,
}

/// Composes a Secret. Of what has one key, a template of `data` wins over `templateFrom`, a later one there over an
/// earlier one, and both over what the references yield.
pub fn render(spec: &ExternalSecretSpec, ingredients: Ingredients, moment: &Moment) -> Result<Desired, Problem> {
    let source = source(spec, ingredients.yields, moment)?;
    let template = spec.target.template.clone().unwrap_or_default();
    let engine = match template.engine_version.unwrap_or_default() {
        EngineVersion::V2 => Engine::Go,
        EngineVersion::Minijinja => Engine::Minijinja,
    };
    let kitchen = Kitchen { engine, values: Values::from(&source), moment };
    let declares = !template.data.is_empty() || !template.template_from.is_empty();
    let merges = !declares || template.merge_policy == Some(MergePolicy::Merge);
    let mut desired = Desired { type_: template.type_.clone(), ..Desired::default() };
    if merges {
        desired.data = source;
    }
    for text in &ingredients.texts {
        for (key, value) in kitchen.text(text)? {
            put(&mut desired, text.goal, key, value, &text.place)?;
        }
    }
    for (place, goal, map) in of_object(&template) {
        for (key, text) in map {
            let place = format!("spec.target.template.{place}[{key:?}]");
            let value = kitchen.render(text, &place)?;
            put(&mut desired, goal, key.clone(), value, &place)?;
        }
    }
    for key in desired.data.keys() {
        check_key(key)?;
    }
    metadata::check(&template, &desired.labels, &desired.annotations)?;
    let bytes: usize = desired.data.iter().map(|(key, value)| key.len() + value.expose().len()).sum();
    if bytes > MAX_BYTES {
        let message = format!("the keys and values have {bytes} bytes together; a Secret holds at most {MAX_BYTES}");
        return Err(Problem::new(Reason::InvalidData, message));
    }
    Ok(desired)
}

/// The templates in the object itself.
fn of_object(template: &Template) -> impl Iterator<Item = (&'static str, Goal, &BTreeMap<String, String>)> {
    let metadata = template.metadata.as_ref();
    let more = metadata.into_iter().flat_map(|metadata| {
        [
            ("metadata.labels", Goal::Labels, &metadata.labels),
            ("metadata.annotations", Goal::Annotations, &metadata.annotations),
        ]
    });
    std::iter::once(("data", Goal::Data, &template.data)).chain(more)
}

fn put(desired: &mut Desired, goal: Goal, key: String, value: Sensitive, place: &str) -> Result<(), Problem> {
    let map = match goal {
        Goal::Annotations => &mut desired.annotations,
        Goal::Labels => &mut desired.labels,
        Goal::Data => {
            desired.data.insert(key, value);
            return Ok(());
        }
    };
    let binary = || {
        Problem::new(Reason::InvalidData, format!("{place}: the value is binary, and labels and annotations are text"))
    };
    map.insert(key, value.expose_str().ok_or_else(binary)?.to_owned());
    Ok(())
}

/// What every template of one Secret is rendered with.
struct Kitchen<'a> {
    engine: Engine,
    values: Values,
    moment: &'a Moment,
}

impl Kitchen<'_> {
    fn render(&self, text: &str, place: &str) -> Result<Sensitive, Problem> {
        template::render(self.engine, text, place, &self.values, self.moment)
    }

    fn text(&self, text: &Text) -> Result<Vec<(String, Sensitive)>, Problem> {
        let place = &text.place;
        let Some(source) = text.text.expose_str() else {
            return Err(Problem::new(Reason::TemplateError, format!("{place} is binary, and no template")));
        };
        let made = match &text.key {
            Some(key) => self.render(source, place).map(|value| vec![(key.clone(), value)]),
            None => template::render_map(self.engine, source, place, &self.values, self.moment).and_then(|map| {
                // Such a key may be a part of a value.
                let message = || format!("{place}: one of the keys that it renders to cannot be a key of a Secret");
                let valid = text.goal != Goal::Data || map.keys().all(|key| check_key(key).is_ok());
                if valid { Ok(map.into_iter().collect()) } else { Err(Problem::new(Reason::InvalidData, message())) }
            }),
        };
        // What an error quotes of a template is no secret, unless the template itself is one.
        let silent = |problem: Problem| {
            let message =
                format!("{place} fails; the reason would show a part of it, since the template is in a Secret");
            if text.is_secret { Problem::new(problem.reason, message) } else { problem }
        };
        made.map_err(silent)
    }
}

/// All keys that the references make: later entries override earlier ones, `data` overrides `dataFrom`.
fn source(
    spec: &ExternalSecretSpec,
    yields: Vec<(Wanted, Vec<(String, Sensitive)>)>,
    moment: &Moment,
) -> Result<SensitiveMap, Problem> {
    let mut source = SensitiveMap::new();
    for (wanted, values) in yields {
        match wanted.entry {
            Entry::DataFrom(index) => {
                let entry = &spec.data_from[index];
                let place = format!("spec.dataFrom[{index}]");
                if values.is_empty() {
                    return Err(nothing(&wanted));
                }
                let encoding = match (&entry.extract, &entry.find) {
                    (Some(extract), _) => Encoding::from(extract),
                    (None, find) => find.as_ref().map(Encoding::from).unwrap_or_default(),
                };
                source.extend(keys(values, &encoding, &entry.rewrite, &place, moment)?);
            }
            Entry::Data(index) => {
                let entry = &spec.data[index];
                let place = format!("spec.data[{index}]");
                for (name, value) in values {
                    let value = decode(value, &Encoding::from(&entry.remote_ref), &name, &place)?;
                    source.insert(entry.secret_key.clone(), value);
                }
            }
        }
    }
    Ok(source)
}

/// The problem where the items of an entry are there and yield nothing.
pub fn nothing(wanted: &Wanted) -> Problem {
    let place = match wanted.entry {
        Entry::DataFrom(index) => format!("spec.dataFrom[{index}]"),
        Entry::Data(index) => format!("spec.data[{index}]"),
    };
    let message = match &wanted.what {
        What::Part(reference) => {
            format!("{place}: item {:?} has no field with a label: add one, or remove the entry", reference.item)
        }
        What::Search(search) => {
            let label = search.label.as_deref().unwrap_or_default();
            format!(
                "{place}: no field of the items that find matches has a label that fits {label:?}: correct name.regexp"
            )
        }
    };
    Problem::new(Reason::NoMatch, message)
}
