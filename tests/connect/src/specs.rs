//! Items as the admin side takes them: short where short is enough.

use crate::{
    category,
    input::{self, Contents, FieldInput, FileInput, ItemInput, SectionInput},
    model::{Item, Link},
    state::{Change, Refusal, State},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// An item to be put, or the part of it to be edited.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ItemSpec {
    id: Option<String>,
    title: Option<String>,
    category: Option<String>,
    tags: Option<Vec<String>>,
    urls: Option<Vec<UrlSpec>>,
    favorite: Option<bool>,
    sections: Vec<SectionInput>,
    fields: Option<FieldsSpec>,
    remove_fields: Vec<String>,
    files: BTreeMap<String, Option<Content>>,
    /// Makes another item although one has this title.
    duplicate: bool,
    /// A fault: the vault does not notice the change.
    pub(crate) silent: bool,
}

/// Fields as `{label or id: value}`, or whole.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum FieldsSpec {
    Values(BTreeMap<String, String>),
    Whole(Vec<Value>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum UrlSpec {
    Href(String),
    Link(Link),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Base64 { base64: String },
}

impl ItemSpec {
    /// Puts the whole item: replaces the one with its ID, or with its title,
    /// or makes it.
    pub(crate) fn put(self, state: &mut State, vault: &str, change: Change) -> Result<Arc<Item>, Refusal> {
        let title = self.title.clone().filter(|title| !title.is_empty());
        let title = title.ok_or_else(|| Refusal::Invalid("an item needs a title".to_owned()))?;
        let old = match &self.id {
            Some(id) => state.items(vault).find(|item| item.summary.id == *id).cloned(),
            None if self.duplicate => None,
            None => only(state, vault, &title)?,
        };
        let category = self.category.clone().unwrap_or_else(|| "LOGIN".to_owned());
        let input = ItemInput { title, category, ..ItemInput::default() };
        self.save(state, vault, old.as_ref(), input, change, false)
    }

    /// Changes only what is given.
    pub(crate) fn edit(
        self,
        state: &mut State,
        vault: &str,
        old: &Arc<Item>,
        change: Change,
    ) -> Result<Arc<Item>, Refusal> {
        let mut input: ItemInput = serde_json::to_value(&**old)
            .and_then(serde_json::from_value)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        input.title = self.title.clone().unwrap_or(input.title);
        input.fields.retain(|field| {
            let removed = |name: &String| is_named(field, name);
            !self.remove_fields.iter().any(removed)
        });
        self.save(state, vault, Some(old), input, change, true)
    }

    fn save(
        self,
        state: &mut State,
        vault: &str,
        old: Option<&Arc<Item>>,
        mut input: ItemInput,
        change: Change,
        keep_files: bool,
    ) -> Result<Arc<Item>, Refusal> {
        input.tags = self.tags.unwrap_or(input.tags);
        input.favorite = self.favorite.unwrap_or(input.favorite);
        input.sections.extend(self.sections);
        if let Some(urls) = self.urls {
            input.urls = urls.into_iter().enumerate().map(link).collect();
        }
        if let Some(fields) = self.fields {
            fields.merge_into(&mut input)?;
        }
        let old_item = old.map(|item| &**item);
        let mut contents: Contents = input::contents(input, old_item, &mut state.minter).map_err(Refusal::Invalid)?;
        let kept = if keep_files { contents.files } else { Vec::new() };
        contents.files = files(self.files, kept, old_item, state)?;
        match old {
            Some(old) => state.edit_item(vault, &old.summary.id, contents, change),
            None => state.create_item(vault, self.id, contents, change),
        }
    }
}

impl Content {
    fn bytes(self) -> Result<Vec<u8>, base64::DecodeError> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64 { base64 } => STANDARD.decode(base64),
        }
    }
}

/// The one item with this ID or title, active ones first; none, or an error
/// when several have it.
pub(crate) fn only(state: &State, vault: &str, name: &str) -> Result<Option<Arc<Item>>, Refusal> {
    if let Ok(item) = state.item(vault, name) {
        return Ok(Some(Arc::clone(item)));
    }
    let mut titled: Vec<_> = state.items(vault).filter(|item| item.summary.title == name).collect();
    titled.sort_by_key(|item| item.summary.state.is_some());
    let active = titled.iter().filter(|item| item.summary.state.is_none());
    if active.count() > 1 {
        return Err(Refusal::Conflict(format!("several items are titled {name:?}")));
    }
    Ok(titled.first().map(|item| Arc::clone(item)))
}

impl FieldsSpec {
    /// Sets these fields in an item, and adds those that it does not have.
    fn merge_into(self, input: &mut ItemInput) -> Result<(), Refusal> {
        match self {
            Self::Values(values) => {
                for (name, value) in values {
                    match input.fields.iter_mut().find(|field| is_named(field, &name)) {
                        Some(field) => field.value = Some(value),
                        None => input.fields.push(simple(&input.category, name, value)),
                    }
                }
            }
            Self::Whole(fields) => {
                for field in fields {
                    let field = whole(field, &input.sections)?;
                    let same = |old: &&mut FieldInput| is_same(old, &field);
                    match input.fields.iter_mut().find(same) {
                        Some(old) => *old = field,
                        None => input.fields.push(field),
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_named(field: &FieldInput, name: &str) -> bool {
    field.label == name || field.id.as_deref() == Some(name)
}

/// Whether a whole field replaces an old one: by ID, or else by label and section.
fn is_same(old: &FieldInput, new: &FieldInput) -> bool {
    if new.id.is_some() {
        return old.id == new.id;
    }
    let section = |field: &FieldInput| field.section.as_ref().and_then(|s| s.id.clone());
    !new.label.is_empty() && old.label == new.label && section(old) == section(new)
}

/// A field from a label and a value: a built-in one of the category where its
/// label or ID says so, a one-time password where the value is its URI.
fn simple(category: &str, name: String, value: String) -> FieldInput {
    let known =
        category::built_in(category).iter().find(|known| known.label == name || known.id == name).or_else(|| {
            let notes = category::built_in(category).iter();
            notes.filter(|known| known.purpose == "NOTES").find(|_| name == "notes")
        });
    let kind = match known {
        Some(known) => known.kind,
        None if value.starts_with("otpauth://") => "OTP",
        None => "CONCEALED",
    };
    FieldInput {
        id: known.map(|known| known.id.to_owned()),
        kind: Some(kind.to_owned()),
        label: known.map_or(name, |known| known.label.to_owned()),
        value: Some(value),
        ..FieldInput::default()
    }
}

/// A whole field; its section may be given by its label alone.
fn whole(mut field: Value, sections: &[SectionInput]) -> Result<FieldInput, Refusal> {
    if let Some(Value::String(label)) = field.get("section") {
        let known = sections.iter().find(|section| section.label == *label);
        field["section"] = match known.and_then(|section| section.id.as_ref()) {
            Some(id) => json!({"id": id}),
            None => json!({"label": label}),
        };
    }
    serde_json::from_value(field).map_err(|error| Refusal::Invalid(error.to_string()))
}

/// The first website is the primary one, where none is said to be.
fn link((index, spec): (usize, UrlSpec)) -> Link {
    match spec {
        UrlSpec::Link(link) => link,
        UrlSpec::Href(href) => Link { label: "website".to_owned(), primary: index == 0, href },
    }
}

/// The files of an item: those that are kept, without those that are `null`
/// or new. One with the same name and bytes as before stays the same file;
/// other bytes make it another one, with another ID.
fn files(
    specs: BTreeMap<String, Option<Content>>,
    mut files: Vec<FileInput>,
    old: Option<&Item>,
    state: &mut State,
) -> Result<Vec<FileInput>, Refusal> {
    files.retain(|file| !specs.contains_key(&file.name));
    for (name, content) in specs {
        let Some(content) = content else { continue };
        let bytes = content.bytes().map_err(|error| Refusal::Invalid(format!("file {name:?}: {error}")))?;
        let same = old.and_then(|item| {
            let mut files = item.files.iter();
            files.find(|file| file.name == name && *file.bytes == *bytes)
        });
        files.push(same.map_or_else(
            || FileInput { id: state.minter.id("file"), name: name.clone(), bytes: bytes.into() },
            FileInput::kept,
        ));
    }
    Ok(files)
}
