//! From what a client writes to the contents of an item: built-in fields are
//! recognised and added, missing IDs minted, passwords generated and their
//! history kept.

use crate::{
    category::{self, BuiltIn},
    ids::Minter,
    model::{Field, File, Item, Link, Reference, Section},
    password::{self, Recipe},
};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// An item as `POST`, `PUT` and the patched document give it. What only the
/// server sets (version, timestamps, …) is ignored, as are unknown keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ItemInput {
    pub(crate) id: Option<String>,
    pub(crate) vault: Option<Reference>,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) tags: Vec<String>,
    pub(crate) urls: Vec<Link>,
    pub(crate) favorite: bool,
    pub(crate) sections: Vec<SectionInput>,
    pub(crate) fields: Vec<FieldInput>,
}

/// A section, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SectionInput {
    pub(crate) id: Option<String>,
    pub(crate) label: String,
}

/// A field, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FieldInput {
    pub(crate) id: Option<String>,
    pub(crate) section: Option<SectionInput>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) purpose: String,
    pub(crate) label: String,
    pub(crate) value: Option<String>,
    pub(crate) generate: bool,
    pub(crate) recipe: Option<Recipe>,
}

/// Everything of an item that an edit can change.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) tags: Vec<String>,
    pub(crate) urls: Vec<Link>,
    pub(crate) favorite: bool,
    pub(crate) sections: Vec<Section>,
    pub(crate) fields: Vec<Field>,
    pub(crate) files: Vec<FileInput>,
}

/// A file: an old one by its ID, or a new one.
#[derive(Clone, Debug)]
pub(crate) struct FileInput {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) bytes: Arc<[u8]>,
}

impl FileInput {
    /// The file as it was in an item.
    pub(crate) fn kept(file: &File) -> Self {
        Self { id: file.id.clone(), name: file.name.clone(), bytes: Arc::clone(&file.bytes) }
    }
}

/// Turns what was written into the contents of an item; `old` is the item
/// that is replaced. The error tells what cannot be accepted.
pub(crate) fn contents(input: ItemInput, old: Option<&Item>, minter: &mut Minter) -> Result<Contents, String> {
    if !category::is_known(&input.category) {
        return Err(format!("Invalid item category: {:?}", input.category));
    }
    let mut builder = Builder {
        sections: sections(input.sections, minter),
        built_in: category::built_in(&input.category),
        old,
        minter,
    };
    let mut fields = Vec::new();
    for field in input.fields {
        fields.push(builder.field(field)?);
    }
    builder.complete(&mut fields);
    let ids: BTreeSet<&str> = fields.iter().map(|field| field.id.as_str()).collect();
    if ids.len() < fields.len() {
        return Err("Invalid item: two fields have the same id".to_owned());
    }
    Ok(Contents {
        title: input.title,
        category: input.category,
        tags: input.tags,
        urls: input.urls,
        favorite: input.favorite,
        sections: builder.sections,
        fields,
        files: old.map(|item| item.files.iter().map(FileInput::kept).collect()).unwrap_or_default(),
    })
}

fn sections(inputs: Vec<SectionInput>, minter: &mut Minter) -> Vec<Section> {
    inputs
        .into_iter()
        .map(|section| Section { id: section.id.unwrap_or_else(|| minter.id("section")), label: section.label })
        .collect()
}

/// What the fields of one item are built with.
struct Builder<'a> {
    sections: Vec<Section>,
    built_in: &'static [BuiltIn],
    old: Option<&'a Item>,
    minter: &'a mut Minter,
}

impl Builder<'_> {
    fn field(&mut self, input: FieldInput) -> Result<Field, String> {
        let section = input.section.clone().map(|section| self.section(section)).transpose()?;
        let built_in = self.recognise(&input, section.as_ref());
        let kind = input.kind.map(|kind| kind.to_ascii_uppercase());
        let kind = match kind.as_deref() {
            Some("TOTP") => "OTP",
            Some(kind) if category::is_field_type(kind) => kind,
            Some(kind) => return Err(format!("Invalid field type: {kind:?}")),
            None => built_in.map_or("STRING", |known| known.kind),
        };
        if !["", "USERNAME", "PASSWORD", "NOTES"].contains(&input.purpose.as_str()) {
            return Err(format!("Invalid field purpose: {:?}", input.purpose));
        }
        let label = match built_in {
            Some(known) if input.label.is_empty() => known.label.to_owned(),
            _ => input.label.clone(),
        };
        let value = match (input.generate, input.value) {
            (true, _) => input.recipe.unwrap_or_default().generate(self.minter)?,
            (false, value) => value.unwrap_or_default(),
        };
        let id = input.id.filter(|id| !id.is_empty());
        let id = id
            .or_else(|| built_in.map(|known| known.id.to_owned()))
            .unwrap_or_else(|| self.custom_id(&label, section.as_ref(), kind));
        let mut field = Field {
            id,
            section,
            kind: kind.to_owned(),
            purpose: built_in.map_or(input.purpose, |known| known.purpose.to_owned()),
            label,
            value: stored(kind, value),
            entropy: None,
            password_details: None,
            totp: None,
        };
        self.describe(&mut field, input.generate);
        Ok(field)
    }

    /// The built-in field that is meant: by ID, or by purpose where no ID is
    /// given. A field of a section is never built in.
    fn recognise(&self, input: &FieldInput, section: Option<&Reference>) -> Option<&'static BuiltIn> {
        if section.is_some() {
            return None;
        }
        let id = input.id.as_deref().filter(|id| !id.is_empty());
        self.built_in.iter().find(|known| match id {
            Some(id) => id == known.id,
            None => !input.purpose.is_empty() && input.purpose == known.purpose,
        })
    }

    /// The section that a field names: by ID, or by label, made when new.
    fn section(&mut self, input: SectionInput) -> Result<Reference, String> {
        if let Some(id) = input.id {
            let known = self.sections.iter().any(|section| section.id == id);
            return if known { Ok(Reference { id }) } else { Err(format!("Invalid field: section {id:?} not found")) };
        }
        let found = self.sections.iter().find(|section| section.label == input.label).map(|section| section.id.clone());
        let id = found.unwrap_or_else(|| {
            let id = self.old_section(&input.label).unwrap_or_else(|| self.minter.id("section"));
            self.sections.push(Section { id: id.clone(), label: input.label });
            id
        });
        Ok(Reference { id })
    }

    fn old_section(&self, label: &str) -> Option<String> {
        let sections = &self.old?.sections;
        let section = sections.iter().find(|section| section.label == label)?;
        Some(section.id.clone())
    }

    /// A field of ours without an ID keeps the one it had under this label.
    fn custom_id(&mut self, label: &str, section: Option<&Reference>, kind: &str) -> String {
        let same = |field: &&Field| field.label == label && field.section.as_ref() == section;
        let old = self.old.and_then(|item| item.fields.iter().find(same));
        match old {
            Some(field) if !label.is_empty() => field.id.clone(),
            _ if kind == "OTP" => format!("TOTP_{}", self.minter.id("field").to_uppercase()),
            _ => self.minter.id("field"),
        }
    }

    /// Entropy and history, for the password of an item.
    fn describe(&self, field: &mut Field, generated: bool) {
        let is_password = field.purpose == "PASSWORD" || field.id == "password";
        if !is_password || field.value.is_empty() {
            return;
        }
        let old = self.old.and_then(|item| item.fields.iter().find(|old| old.id == field.id));
        let details = old.and_then(|old| old.password_details.as_ref());
        let mut history = details.map_or_else(Vec::new, |details| details.history.clone());
        let mut was_generated = details.is_some_and(|details| details.generated);
        if let Some(old) = old.filter(|old| old.value != field.value) {
            was_generated = false;
            if !old.value.is_empty() {
                history.insert(0, old.value.clone());
            }
        }
        field.entropy = Some(password::entropy(&field.value));
        field.password_details = Some(password::details(&field.value, generated || was_generated, history));
    }

    /// Adds the built-in fields that were not written, empty.
    fn complete(&self, fields: &mut Vec<Field>) {
        for known in self.built_in {
            if fields.iter().all(|field| field.id != known.id) {
                fields.push(Field {
                    id: known.id.to_owned(),
                    section: None,
                    kind: known.kind.to_owned(),
                    purpose: known.purpose.to_owned(),
                    label: known.label.to_owned(),
                    value: String::new(),
                    entropy: None,
                    password_details: None,
                    totp: None,
                });
            }
        }
    }
}

/// A date is written `YYYY-MM-DD` (official documentation) and comes back as
/// a unix timestamp (1Password's Terraform provider relies on it), one minute
/// past noon as in the official examples.
fn stored(kind: &str, value: String) -> String {
    let date = chrono::NaiveDate::parse_from_str(&value, "%Y-%m-%d");
    match date.ok().and_then(|date| date.and_hms_opt(12, 1, 0)) {
        Some(moment) if kind == "DATE" => moment.and_utc().timestamp().to_string(),
        _ => value,
    }
}
