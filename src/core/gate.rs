//! How changes in 1Password are noticed with one request: a pure state machine.
//!
//! `GET /v1/vaults` has a version for each vault. Only where that differs from the last look is the vault's list of
//! items read, and compared with the index. What the versions are worth is not taken on trust: every so often
//! everything is listed regardless, and a change that the versions did not tell is a miss, after which each vault is
//! listed at every look.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry::Vacant};

use crate::core::{
    index::{Entry, Index, Listing, VaultIndex},
    item::{ItemSummary, Vault},
};

/// Looks that an item may go backwards, or a vault be absent, before that is believed: replicas of a server lag behind.
const PATIENCE: u8 = 3;
/// The same for an item that is absent, after which no Secret changes: the second list is the one that settles.
const ABSENCE: u8 = 2;
/// The same where a whole vault is suddenly empty, as a server shows it that has just been started anew.
const EMPTY: u8 = 20;
/// Looks after a surprising change in which the vault's version may still follow.
const GRACE: u8 = 2;

/// What is known, and how far it can be trusted.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// The vaults and items.
    pub index: Index,
    memory: BTreeMap<String, Memory>,
    /// Changes that no vault's version told.
    pub missed: u64,
    /// Items that a list showed older than known.
    pub stale: u64,
}

/// What is remembered of a vault between two looks.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// The vault as it was read before its items were listed.
    listed: Option<Vault>,
    /// Listed once more at the next look: the version and the items may not change in one moment.
    settle: bool,
    /// How long a change has been waiting for the vault's version to follow.
    surprised: Option<u8>,
    /// How many lists in a row contradicted what is known of an item.
    doubts: BTreeMap<String, u8>,
    /// How many looks in a row did not show the vault.
    absent: u8,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Ids and titles, old and new, of items that appeared, changed or vanished.
    pub names: BTreeSet<String>,
    /// Whether the vaults themselves changed: one appeared, vanished, was renamed or can now be read.
    pub vaults: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.vaults
    }

    /// Adds what another look found.
    pub fn extend(&mut self, other: Self) {
        self.names.extend(other.names);
        self.vaults |= other.vaults;
    }
}

impl Gate {
    /// Whether the vaults' versions have told every change so far.
    pub fn is_trusted(&self) -> bool {
        self.missed == 0
    }

    /// Takes the answer of `GET /v1/vaults`, and says which of the wanted vaults (names or ids) have to be listed now.
    /// `full` lists all of them.
    pub fn look(&mut self, vaults: Vec<Vault>, wanted: &BTreeSet<String>, full: bool) -> (Vec<String>, Changes) {
        let mut changes = Changes::default();
        let seen: BTreeSet<String> = vaults.iter().map(|vault| vault.id.clone()).collect();
        let known = self.index.vaults.len();
        let memory = &mut self.memory;
        self.index.vaults.retain(|id, _| {
            let absent = &mut memory.entry(id.clone()).or_default().absent;
            *absent = if seen.contains(id) { 0 } else { *absent + 1 };
            *absent < PATIENCE
        });
        memory.retain(|id, _| self.index.vaults.contains_key(id));
        changes.vaults |= self.index.vaults.len() != known;
        let mut list = Vec::new();
        for vault in vaults {
            let id = vault.id.clone();
            let is_wanted = wanted.contains(&id) || wanted.contains(&vault.name);
            let old = self.index.vaults.entry(id.clone()).or_insert_with(|| {
                changes.vaults = true;
                VaultIndex::default()
            });
            changes.vaults |= old.vault.name != vault.name;
            old.vault = vault;
            if is_wanted && self.must_list(&id, full) {
                list.push(id);
            }
        }
        (list, changes)
    }

    /// Whether a vault has to be listed now, after its row was read.
    fn must_list(&mut self, id: &str, full: bool) -> bool {
        let Some(index) = self.index.vaults.get(id) else { return false };
        let memory = self.memory.entry(id.to_owned()).or_default();
        let told = memory.listed.as_ref() != Some(&index.vault);
        if told {
            memory.surprised = None;
        } else if let Some(looks) = memory.surprised.as_mut() {
            *looks += 1;
            if *looks > GRACE {
                memory.surprised = None;
                self.missed += 1;
            }
        }
        told || full || memory.settle || index.vault.content_version == 0 || self.missed > 0
    }

    /// Takes the list of a vault's items.
    pub fn listed(&mut self, id: &str, items: &[ItemSummary]) -> Changes {
        let mut changes = Changes::default();
        let (Some(index), memory) = (self.index.vaults.get_mut(id), self.memory.entry(id.to_owned()).or_default())
        else {
            return changes;
        };
        let told = memory.listed.as_ref() != Some(&index.vault);
        let was_settling = memory.settle;
        let first = memory.listed.is_none();
        let old = match std::mem::take(&mut index.listing) {
            Listing::Items(items) => items,
            Listing::Never | Listing::Refused(_) => {
                changes.vaults = true;
                BTreeMap::new()
            }
        };
        let mut doubts = std::mem::take(&mut memory.doubts);
        // What contradicts what is known is believed only when it lasts.
        let mut doubtful = |id: &str, patience: u8, memory: &mut Memory| {
            let count = doubts.remove(id).unwrap_or_default() + 1;
            let doubtful = count < patience;
            if doubtful {
                memory.doubts.insert(id.to_owned(), count);
            }
            doubtful
        };
        let absence = if items.is_empty() && old.len() > 1 { EMPTY } else { ABSENCE };
        let mut new = BTreeMap::new();
        for item in items {
            let mut entry = Entry::from(item);
            if let Some(known) = old.get(&item.id) {
                let older = entry.version < known.version && entry.updated_at < known.updated_at;
                if older && doubtful(&item.id, PATIENCE, memory) {
                    self.stale += 1;
                    entry = known.clone();
                }
                if entry != *known {
                    changes.names.extend([item.id.clone(), known.title.to_string(), entry.title.to_string()]);
                }
            } else {
                changes.names.extend([item.id.clone(), entry.title.to_string()]);
            }
            new.insert(item.id.clone(), entry);
        }
        for (id, known) in old {
            let Vacant(place) = new.entry(id) else { continue };
            if doubtful(place.key(), absence, memory) {
                place.insert(known);
            } else {
                changes.names.extend([place.key().clone(), known.title.to_string()]);
            }
        }
        index.listing = Listing::Items(new);
        memory.settle = told || !memory.doubts.is_empty();
        memory.listed = Some(index.vault.clone());
        if !told && !was_settling && !first && !changes.names.is_empty() {
            memory.surprised = Some(0);
        }
        changes
    }

    /// Takes the server's refusal to list a vault.
    pub fn refused(&mut self, id: &str, words: String) -> Changes {
        let mut changes = Changes::default();
        if let Some(index) = self.index.vaults.get_mut(id) {
            let refused = Listing::Refused(words);
            changes.vaults = index.listing != refused;
            index.listing = refused;
            // Asked again at every look, since nothing tells when the server will answer.
            self.memory.entry(id.to_owned()).or_default().listed = None;
        }
        changes
    }
}

#[cfg(test)]
mod tests;
