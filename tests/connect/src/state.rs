//! The vaults and items as a pure state machine: no clock, no input or output.
//!
//! Each change of an item bumps the item's `version` and, exactly once, its
//! vault's `contentVersion`; a change of the vault itself bumps its
//! `attributeVersion`. Versions and timestamps never go backwards. That
//! `contentVersion` is "the version of the vault contents" and `updatedAt`
//! covers the contents too is what the OpenAPI document says; how the real
//! server keeps them could not be checked.

use crate::{
    ids::Minter,
    input::Contents,
    model::{File, Item, ItemState, Reference, Stamp, Summary, Vault, VaultKind},
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

#[cfg(test)]
mod tests;

/// Who changes something and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) now: DateTime<Utc>,
    /// The user, or the Connect server where a client writes through it.
    pub(crate) by: &'a str,
    /// A fault: the vault does not notice this change.
    pub(crate) silent: bool,
}

/// Why a change is not possible.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    VaultNotFound(String),
    ItemNotFound(String),
    Conflict(String),
    Invalid(String),
}

/// What a vault is made of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct VaultSpec {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) description: String,
    #[serde(rename = "type")]
    pub(crate) kind: VaultKind,
}

/// The items of a vault, by ID, and how many of them are active.
#[derive(Clone, Debug, Default)]
struct Shelf {
    items: BTreeMap<String, Arc<Item>>,
    active: u64,
}

impl Shelf {
    fn insert(&mut self, item: Arc<Item>) {
        self.active += u64::from(item.summary.state.is_none());
        let old = self.items.insert(item.summary.id.clone(), item);
        self.forget(old);
    }

    fn remove(&mut self, id: &str) {
        let old = self.items.remove(id);
        self.forget(old);
    }

    fn forget(&mut self, old: Option<Arc<Item>>) {
        self.active -= u64::from(old.is_some_and(|item| item.summary.state.is_none()));
    }
}

/// All vaults and items. Cloning is cheap: vaults share their items until
/// one of the copies changes, which is how past states are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    vaults: BTreeMap<String, Vault>,
    shelves: BTreeMap<String, Arc<Shelf>>,
    pub(crate) minter: Minter,
}

impl State {
    /// All vaults, by ID.
    pub(crate) fn vaults(&self) -> impl Iterator<Item = &Vault> {
        self.vaults.values()
    }

    /// One vault.
    pub(crate) fn vault(&self, id: &str) -> Result<&Vault, Refusal> {
        self.vaults.get(id).ok_or_else(|| Refusal::VaultNotFound(id.to_owned()))
    }

    /// The items of a vault, archived ones included, by ID.
    pub(crate) fn items(&self, vault: &str) -> impl Iterator<Item = &Arc<Item>> {
        self.shelves.get(vault).into_iter().flat_map(|shelf| shelf.items.values())
    }

    /// One item.
    pub(crate) fn item(&self, vault: &str, id: &str) -> Result<&Arc<Item>, Refusal> {
        self.vault(vault)?;
        self.shelves
            .get(vault)
            .and_then(|shelf| shelf.items.get(id))
            .ok_or_else(|| Refusal::ItemNotFound(id.to_owned()))
    }

    /// Makes a vault.
    pub(crate) fn create_vault(&mut self, spec: VaultSpec, change: Change) -> Result<&Vault, Refusal> {
        let id = spec.id.unwrap_or_else(|| self.minter.id("vault"));
        if !crate::ids::is_id(&id) {
            return Err(Refusal::Invalid(format!("not a vault id: {id:?}")));
        }
        if self.vaults.contains_key(&id) {
            return Err(Refusal::Conflict(format!("vault {id} exists")));
        }
        let vault = Vault {
            id: id.clone(),
            name: spec.name,
            description: spec.description,
            attribute_version: 1,
            content_version: 1,
            items: 0,
            kind: spec.kind,
            created_at: Stamp(change.now),
            updated_at: Stamp(change.now),
        };
        self.shelves.insert(id.clone(), Arc::default());
        Ok(self.vaults.entry(id).or_insert(vault))
    }

    /// Renames or describes a vault.
    pub(crate) fn edit_vault(
        &mut self,
        id: &str,
        name: Option<String>,
        description: Option<String>,
        change: Change,
    ) -> Result<&Vault, Refusal> {
        let vault = self.vaults.get_mut(id).ok_or_else(|| Refusal::VaultNotFound(id.to_owned()))?;
        vault.name = name.unwrap_or_else(|| vault.name.clone());
        vault.description = description.unwrap_or_else(|| vault.description.clone());
        vault.attribute_version += 1;
        vault.updated_at = vault.updated_at.advance(change.now);
        Ok(vault)
    }

    /// Removes a vault with all its items.
    pub(crate) fn delete_vault(&mut self, id: &str) -> Result<(), Refusal> {
        self.vault(id)?;
        self.vaults.remove(id);
        self.shelves.remove(id);
        Ok(())
    }

    /// Makes an item; its ID is minted unless given.
    pub(crate) fn create_item(
        &mut self,
        vault: &str,
        id: Option<String>,
        contents: Contents,
        change: Change,
    ) -> Result<Arc<Item>, Refusal> {
        self.vault(vault)?;
        let id = id.unwrap_or_else(|| self.minter.id("item"));
        if !crate::ids::is_id(&id) {
            return Err(Refusal::Invalid(format!("not an item id: {id:?}")));
        }
        if self.shelves.values().any(|shelf| shelf.items.contains_key(&id)) {
            return Err(Refusal::Conflict(format!("item {id} exists")));
        }
        let stamp = Stamp(change.now);
        let summary = Summary {
            vault: Reference { id: vault.to_owned() },
            version: 1,
            state: None,
            last_edited_by: change.by.to_owned(),
            created_at: stamp,
            updated_at: stamp,
            ..head(id, &contents)
        };
        Ok(self.store(assemble(summary, contents), change))
    }

    /// Replaces the contents of an item.
    pub(crate) fn edit_item(
        &mut self,
        vault: &str,
        id: &str,
        contents: Contents,
        change: Change,
    ) -> Result<Arc<Item>, Refusal> {
        let old = &self.item(vault, id)?.summary;
        let summary = Summary { state: old.state, ..edited(old, head(id.to_owned(), &contents), change) };
        Ok(self.store(assemble(summary, contents), change))
    }

    /// Archives an item, or makes it active again.
    pub(crate) fn set_state(
        &mut self,
        vault: &str,
        id: &str,
        state: Option<ItemState>,
        change: Change,
    ) -> Result<Arc<Item>, Refusal> {
        let mut item = Item::clone(self.item(vault, id)?);
        let summary = edited(&item.summary, item.summary.clone(), change);
        item.summary = Summary { state, ..summary };
        Ok(self.store(item, change))
    }

    /// Deletes an item for good (not to the trash since Connect 1.1).
    pub(crate) fn delete_item(&mut self, vault: &str, id: &str, change: Change) -> Result<(), Refusal> {
        self.item(vault, id)?;
        if let Some(shelf) = self.shelves.get_mut(vault) {
            Arc::make_mut(shelf).remove(id);
        }
        self.bump(vault, change);
        Ok(())
    }

    fn store(&mut self, item: Item, change: Change) -> Arc<Item> {
        let vault = item.summary.vault.id.clone();
        let item = Arc::new(item);
        let items = self.shelves.entry(vault.clone()).or_default();
        Arc::make_mut(items).insert(Arc::clone(&item));
        self.bump(&vault, change);
        item
    }

    /// The vault takes note of a change of its contents.
    fn bump(&mut self, id: &str, change: Change) {
        if change.silent {
            return;
        }
        if let (Some(vault), Some(shelf)) = (self.vaults.get_mut(id), self.shelves.get(id)) {
            vault.items = shelf.active;
            vault.content_version += 1;
            vault.updated_at = vault.updated_at.advance(change.now);
        }
    }
}

/// The part of a summary that comes from the contents; the rest is set by
/// the caller.
fn head(id: String, contents: &Contents) -> Summary {
    let never = Stamp(DateTime::UNIX_EPOCH);
    Summary {
        id,
        title: contents.title.clone(),
        tags: contents.tags.clone(),
        version: 0,
        vault: Reference { id: String::new() },
        category: contents.category.clone(),
        urls: contents.urls.clone(),
        favorite: contents.favorite,
        state: None,
        last_edited_by: String::new(),
        created_at: never,
        updated_at: never,
    }
}

/// `new` as the next version of `old`.
fn edited(old: &Summary, new: Summary, change: Change) -> Summary {
    Summary {
        version: old.version + 1,
        vault: old.vault.clone(),
        last_edited_by: change.by.to_owned(),
        created_at: old.created_at,
        updated_at: old.updated_at.advance(change.now),
        ..new
    }
}

/// The whole item; the paths of its files lead through its vault.
fn assemble(summary: Summary, contents: Contents) -> Item {
    let base = format!("/v1/vaults/{}/items/{}", summary.vault.id, summary.id);
    let files = contents
        .files
        .into_iter()
        .map(|file| File {
            content_path: format!("{base}/files/{}/content", file.id),
            id: file.id,
            name: file.name,
            size: file.bytes.len(),
            content: None,
            bytes: file.bytes,
        })
        .collect();
    Item { summary, sections: contents.sections, fields: contents.fields, files }
}
