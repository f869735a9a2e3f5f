//! What is known about the vaults of a Connect server without any value: which items are there, under which titles
//! and in which versions. References are resolved here, so that the server's own filters, whose quoting and case
//! rules are undocumented, are never needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{
    item::{ItemSummary, Vault, is_id},
    near::{did_you_mean, near},
    problem::{Problem, Reason},
    reference::{Reference, Search},
};

/// What to do where a token cannot read a vault.
const GRANT: &str = "grant the vault to the Connect server and issue a new token: existing tokens cannot be extended";

/// The vaults that a token can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// By id.
    pub vaults: BTreeMap<String, VaultIndex>,
}

/// A vault and its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultIndex {
    /// The vault as last seen.
    pub vault: Vault,
    /// Its items.
    pub listing: Listing,
}

/// A vault's items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// Not listed: nobody asked for this vault.
    #[default]
    Never,
    /// The items by id.
    Items(BTreeMap<String, Entry>),
    /// The server refuses; what it says.
    Refused(String),
}

/// An item without its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Title.
    pub title: Box<str>,
    /// Grows with each change.
    pub version: i64,
    /// When it last changed, as the server writes it.
    pub updated_at: Box<str>,
    /// Whether it is archived or deleted.
    pub archived: bool,
    /// Tags.
    pub tags: Box<[Box<str>]>,
}

impl From<&ItemSummary> for Entry {
    fn from(item: &ItemSummary) -> Self {
        Self {
            title: item.title.as_str().into(),
            version: item.version,
            updated_at: item.updated_at.as_str().into(),
            archived: item.state.as_deref().is_some_and(|state| !state.is_empty()),
            tags: item.tags.iter().map(|tag| tag.as_str().into()).collect(),
        }
    }
}

/// An item that a reference means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Found {
    /// Id of its vault.
    pub vault: String,
    /// Its id.
    pub item: String,
    /// Its title.
    pub title: String,
    /// Its version as listed.
    pub version: i64,
}

impl Index {
    /// The vault of that id or name.
    pub fn vault(&self, name: &str) -> Result<&VaultIndex, Problem> {
        if let Some(vault) = self.vaults.get(name) {
            return Ok(vault);
        }
        let mut named = self.vaults.values().filter(|vault| vault.vault.name == name);
        match (named.next(), named.next()) {
            (Some(vault), None) => Ok(vault),
            (Some(one), Some(other)) => Err(Problem::new(
                Reason::VaultNotFound,
                format!(
                    "two vaults are named {name:?}: write an id in the store instead ({} or {})",
                    one.vault.id, other.vault.id
                ),
            )),
            (None, _) => Err(self.no_vault(name)),
        }
    }

    /// The vault of that id or name, whose items are listed.
    pub fn readable(&self, name: &str) -> Result<&Vault, Problem> {
        let vault = self.vault(name)?;
        vault.items().map(|_| &vault.vault)
    }

    fn no_vault(&self, name: &str) -> Problem {
        let names: Vec<&str> = self.vaults.values().map(|vault| vault.vault.name.as_str()).collect();
        let readable = if names.is_empty() {
            "The token can read no vault".to_owned()
        } else {
            let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            format!("The token can read these vaults: {}", quoted.join(", "))
        };
        if near(name, names.iter().copied()).is_empty() {
            return Problem::new(
                Reason::VaultNotInScope,
                format!("{readable}. Vault {name:?} is not among them: {GRANT}."),
            );
        }
        let hint = did_you_mean(name, names);
        Problem::new(Reason::VaultNotFound, format!("{readable}. No vault is named {name:?}.{hint}"))
    }

    /// The item that a reference means, in the vaults of a store (names or ids, in the store's order): that of this
    /// id in any of them, else the one of this title in the first vault that has it.
    pub fn resolve(&self, order: &[String], reference: &Reference) -> Result<Found, Problem> {
        let vaults = self.searched(order, reference)?;
        if is_id(&reference.item) {
            let by_id = vaults.iter().find_map(|vault| {
                let Ok(vault) = vault else { return None };
                let Listing::Items(items) = &vault.listing else { return None };
                let (id, entry) = items.get_key_value(&reference.item).filter(|(_, entry)| !entry.archived)?;
                Some(found(vault, id, entry))
            });
            if let Some(found) = by_id {
                return Ok(found);
            }
        }
        let mut searched = Vec::new();
        for vault in vaults {
            let vault = vault?;
            let items = vault.items()?;
            let titled: Vec<(&String, &Entry)> =
                items.iter().filter(|(_, entry)| *entry.title == reference.item && !entry.archived).collect();
            match titled.as_slice() {
                [] => searched.push((&vault.vault, items)),
                [(id, entry)] => return Ok(found(vault, id, entry)),
                several => {
                    let ids: Vec<&str> = several.iter().map(|(id, _)| id.as_str()).collect();
                    let (count, title, name) = (several.len(), &reference.item, &vault.vault.name);
                    let ids = ids.join(", ");
                    return Err(Problem::new(
                        Reason::ItemAmbiguous,
                        format!(
                            "{count} items are titled {title:?} in vault {name:?}: write the id of one of them ({ids}), or rename the others"
                        ),
                    ));
                }
            }
        }
        Err(not_found(&reference.item, &searched))
    }

    /// The items that a search matches, in all vaults of a store, in the store's order.
    pub fn search(&self, order: &[String], search: &Search) -> Result<Vec<Found>, Problem> {
        let mut matching = Vec::new();
        for name in order {
            let vault = self.vault(name)?;
            let fits = |entry: &Entry| {
                !entry.archived
                    && search.title.as_ref().is_none_or(|title| **title == *entry.title)
                    && search.tags.iter().all(|tag| entry.tags.iter().any(|other| **other == **tag))
            };
            let items = vault.items()?.iter().filter(|(_, entry)| fits(entry));
            matching.extend(items.map(|(id, entry)| found(vault, id, entry)));
        }
        if matching.is_empty() {
            let vaults: Vec<String> = order.iter().map(|name| format!("{name:?}")).collect();
            let (vaults, hint) = (vaults.join(", "), self.hint(order, search));
            let message = format!("no item matches {search} in {vaults}: correct find, or the items.{hint}");
            return Err(Problem::new(Reason::NoMatch, message.trim_end_matches('.').to_owned()));
        }
        Ok(matching)
    }

    /// Titles and tags that are similar to what a search names and no item has.
    fn hint(&self, order: &[String], search: &Search) -> String {
        let listed = order.iter().filter_map(|name| self.vault(name).ok()?.items().ok());
        let entries: Vec<&Entry> = listed.flat_map(BTreeMap::values).filter(|entry| !entry.archived).collect();
        let titles: BTreeSet<&str> = entries.iter().map(|entry| &*entry.title).collect();
        let tags: BTreeSet<&str> = entries.iter().flat_map(|entry| entry.tags.iter().map(|tag| &**tag)).collect();
        let similar = |wanted: &str, known: &BTreeSet<&str>| {
            if known.contains(wanted) { String::new() } else { did_you_mean(wanted, known.iter().copied()) }
        };
        let title = search.title.iter().map(|title| similar(title, &titles));
        title.chain(search.tags.iter().map(|tag| similar(tag, &tags))).collect()
    }

    /// What is listed under an item's id in the vault of an id; none where the item is not there, archived ones
    /// included.
    pub fn listed(&self, vault: &str, item: &str) -> Option<&Entry> {
        let Listing::Items(items) = &self.vaults.get(vault)?.listing else { return None };
        items.get(item).filter(|entry| !entry.archived)
    }

    /// Whether the vault of an id is one of a store's vaults (names or ids).
    pub fn is_of(&self, order: &[String], vault: &str) -> bool {
        order.iter().any(|name| self.vault(name).is_ok_and(|known| known.vault.id == vault))
    }

    /// The vaults to search: all of the store, or the one that the reference names, which must be one of them.
    fn searched(&self, order: &[String], reference: &Reference) -> Result<Vec<Result<&VaultIndex, Problem>>, Problem> {
        let all: Vec<Result<&VaultIndex, Problem>> = order.iter().map(|name| self.vault(name)).collect();
        let Some(wanted) = &reference.vault else { return Ok(all) };
        let fits = |vault: &VaultIndex| vault.vault.id == *wanted || vault.vault.name == *wanted;
        if let Some(vault) = all.iter().flatten().find(|vault| fits(vault)) {
            return Ok(vec![Ok(vault)]);
        }
        if order.contains(wanted) {
            return Ok(vec![self.vault(wanted)]);
        }
        let names: Vec<String> = order.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(", ");
        let known = all.iter().flatten().map(|vault| vault.vault.name.as_str()).chain(order.iter().map(String::as_str));
        let hint = did_you_mean(wanted, known.collect::<BTreeSet<_>>());
        let message =
            format!("vault {wanted:?} of the reference is not one of the store's vaults ({names}): add it there");
        let dot = if hint.is_empty() { "" } else { "." };
        Err(Problem::new(Reason::VaultNotInScope, format!("{message}{dot}{hint}")))
    }
}

impl VaultIndex {
    /// Its items, where they are listed.
    pub fn items(&self) -> Result<&BTreeMap<String, Entry>, Problem> {
        let name = &self.vault.name;
        match &self.listing {
            Listing::Items(items) => Ok(items),
            Listing::Refused(words) => Err(Problem::new(
                Reason::VaultNotInScope,
                format!("Connect refuses to list vault {name:?} ({words}): {GRANT}"),
            )),
            Listing::Never => {
                Err(Problem::new(Reason::StoreNotReady, format!("vault {name:?} has not been listed yet")))
            }
        }
    }
}

fn found(vault: &VaultIndex, id: &str, entry: &Entry) -> Found {
    Found { vault: vault.vault.id.clone(), item: id.to_owned(), title: entry.title.to_string(), version: entry.version }
}

fn not_found(item: &str, searched: &[(&Vault, &BTreeMap<String, Entry>)]) -> Problem {
    let (count, names): (usize, Vec<String>) =
        searched.iter().fold((0, Vec::new()), |(count, mut names), (vault, items)| {
            names.push(format!("{:?}", vault.name));
            (count + items.values().filter(|entry| !entry.archived).count(), names)
        });
    let entries = || searched.iter().flat_map(|(_, items)| items.iter());
    let place = format!("vault{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "));
    let archived = entries().any(|(id, entry)| entry.archived && (*entry.title == *item || id == item));
    let hint = if archived && is_id(item) {
        " That item is archived: restore it in 1Password.".to_owned()
    } else if archived {
        " An item of that title is archived: restore it in 1Password.".to_owned()
    } else {
        did_you_mean(item, entries().filter(|(_, entry)| !entry.archived).map(|(_, entry)| &*entry.title))
    };
    let what = if is_id(item) { "of id or title" } else { "titled" };
    Problem::new(
        Reason::ItemNotFound,
        format!(
            "no item {what} {item:?} in {place} ({count} items visible).{hint} A new item appears a few seconds after it was saved."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::reference::Part;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
    const ARCHIVED: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn vault(id: &str, name: &str, items: &[(&str, &str)]) -> (String, VaultIndex) {
        let items = items
            .iter()
            .map(|(id, title)| {
                let (title, archived) = title.strip_prefix('!').map_or((*title, false), |title| (title, true));
                let tags = if title.contains("arr") {
                    Box::new(["media".into(), "arr".into()]) as Box<_>
                } else {
                    Box::default()
                };
                let entry = Entry { title: title.into(), version: 1, updated_at: "".into(), archived, tags };
                ((*id).to_owned(), entry)
            })
            .collect();
        let vault = Vault { id: id.into(), name: name.into(), ..Vault::default() };
        (id.to_owned(), VaultIndex { vault, listing: Listing::Items(items) })
    }

    fn index() -> Index {
        Index {
            vaults: BTreeMap::from([
                vault("v1", "Automation", &[("i1", "radarr"), ("i2", "twin"), ("i3", "twin"), ("i4", "!old")]),
                vault(
                    "v2",
                    "Services",
                    &[("i5", "radarr"), ("i6", "sonarr"), (ID, "by id"), ("i7", "old"), (ARCHIVED, "!gone")],
                ),
                (
                    "v3".into(),
                    VaultIndex {
                        vault: Vault { id: "v3".into(), name: "Closed".into(), ..Vault::default() },
                        listing: Listing::Refused("vault v3 is not in scope".into()),
                    },
                ),
            ]),
        }
    }

    fn resolve(order: &[&str], vault: Option<&str>, item: &str) -> Result<String, Problem> {
        let order: Vec<String> = order.iter().map(|&name| name.to_owned()).collect();
        let reference = Reference { vault: vault.map(str::to_owned), item: item.into(), part: Part::All };
        index().resolve(&order, &reference).map(|found| found.item)
    }

    #[test]
    fn finds_by_title_in_order_and_by_id_anywhere() {
        assert_eq!(resolve(&["Automation", "Services"], None, "radarr").unwrap(), "i1");
        assert_eq!(resolve(&["v2", "v1"], None, "radarr").unwrap(), "i5");
        assert_eq!(resolve(&["Automation", "Services"], None, ID).unwrap(), ID);
        assert_eq!(resolve(&["Automation", "Services"], Some("Services"), "radarr").unwrap(), "i5");
        assert_eq!(resolve(&["Automation", "v2"], Some("v2"), "radarr").unwrap(), "i5");
        assert_eq!(resolve(&["Automation", "Services"], None, "old").unwrap(), "i7");
        let archived = resolve(&["Services"], None, ARCHIVED).unwrap_err();
        assert_eq!(archived.reason, Reason::ItemNotFound);
        assert!(archived.message.contains("is archived"), "{}", archived.message);
        // What an earlier vault answers does not depend on a later one that cannot be read.
        assert_eq!(resolve(&["Automation", "Closed"], None, "radarr").unwrap(), "i1");
    }

    #[test]
    fn searches_all_vaults_in_order() {
        let ids = |order: &[&str], title: Option<&str>, tags: &[&str]| {
            let order: Vec<String> = order.iter().map(|&name| name.to_owned()).collect();
            let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
            let search = Search { title: title.map(str::to_owned), tags, label: None };
            index().search(&order, &search).map(|found| found.into_iter().map(|found| found.item).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["Services", "Automation"], None, &["arr", "media"]).unwrap(), ["i5", "i6", "i1"]);
        assert_eq!(ids(&["Automation", "Services"], Some("sonarr"), &["arr"]).unwrap(), ["i6"]);
        assert_eq!(ids(&["Automation"], None, &[]).unwrap(), ["i1", "i2", "i3"]);
        // A vault that cannot be read may hold what is searched.
        assert_eq!(ids(&["Automation", "Closed"], Some("radarr"), &[]).unwrap_err().reason, Reason::VaultNotInScope);
        let nothing = ids(&["Automation", "Services"], Some("radarr"), &["none"]).unwrap_err();
        assert_eq!(nothing.reason, Reason::NoMatch);
        assert_eq!(
            nothing.message,
            r#"no item matches path "radarr" and tags "none" in "Automation", "Services": correct find, or the items"#
        );
        let near = ids(&["Automation", "Services"], Some("Radar"), &["media", "ar"]).unwrap_err();
        assert!(near.message.ends_with(r#"or the items. Did you mean "radarr"? Did you mean "arr"?"#), "{near}");
        assert!(index().listed("v1", "i1").is_some() && index().listed("v1", "i4").is_none());
    }

    #[test]
    fn says_why_nothing_is_found() {
        let messages: Vec<(Reason, String)> = [
            resolve(&["Automation"], None, "Radar"),
            resolve(&["Automation", "Services"], None, "grafana"),
            resolve(&["Automation"], None, "twin"),
            resolve(&["Automation"], None, "old"),
            resolve(&["Closed", "Automation"], None, "radarr"),
            resolve(&["Unknown", "Automation"], None, "radarr"),
            resolve(&["automation"], None, "radarr"),
            resolve(&["Automation"], Some("Services"), "radarr"),
            resolve(&["Automation", "Services"], Some("service"), "radarr"),
            resolve(&["Automation", "Services"], None, ARCHIVED),
        ]
        .into_iter()
        .map(|result| result.unwrap_err())
        .map(|problem| (problem.reason, problem.message))
        .collect();
        insta::assert_debug_snapshot!(messages);
    }

    #[test]
    fn a_store_has_its_own_vaults_only() {
        let of = |order: &[&str], vault| {
            index().is_of(&order.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), vault)
        };
        assert!(of(&["Automation"], "v1") && of(&["Services", "v1"], "v1"));
        assert!(!of(&["Automation"], "v2") && !of(&["Automation"], "Automation") && !of(&["gone"], "v1"));
    }
}
