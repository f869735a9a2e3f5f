//! The whole data in one JSON document, for `--seed` and `POST /admin/seed`.

use crate::{
    specs::ItemSpec,
    state::{Change, Refusal, State, VaultSpec},
    tokens::{Access, Token},
    world::World,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who edits things on the admin side: a user of the account.
pub(crate) const EDITOR: &str = "DOIHOHSV2NHK5HMSOLCWJUXFDM";

/// A seed. It is applied whole or not at all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Seed {
    /// Whether everything goes first, as after a restart: data, tokens,
    /// faults and counts.
    reset: bool,
    vaults: Vec<VaultSeed>,
    tokens: Vec<TokenSpec>,
    faults: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct VaultSeed {
    #[serde(flatten)]
    vault: VaultSpec,
    #[serde(default)]
    items: Vec<ItemSpec>,
}

/// A token to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TokenSpec {
    name: String,
    /// The token string itself; made when absent.
    token: Option<String>,
    #[serde(default = "everything")]
    vaults: Vec<Grant>,
    /// Seconds from now; in the past when negative.
    expires_in: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
}

/// A vault that a token is for, by ID or name; `*` stands for all there are.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Grant {
    Read(String),
    Access { vault: String, access: Access },
}

fn everything() -> Vec<Grant> {
    vec![Grant::Read("*".to_owned())]
}

impl TokenSpec {
    /// The vaults of the token, by ID.
    fn resolve(&self, state: &State) -> Result<BTreeMap<String, Access>, Refusal> {
        let mut vaults = BTreeMap::new();
        for grant in &self.vaults {
            let (name, access) = match grant {
                Grant::Read(name) => (name, Access::Read),
                Grant::Access { vault, access } => (vault, *access),
            };
            if name == "*" {
                vaults.extend(state.vaults().map(|vault| (vault.id.clone(), access)));
            } else {
                vaults.insert(find_vault(state, name)?, access);
            }
        }
        Ok(vaults)
    }

    /// Makes the token.
    pub(crate) fn issue(self, world: &mut World, now: DateTime<Utc>) -> Result<Token, Refusal> {
        let vaults = self.resolve(world.replica.current())?;
        let expires_in = self.expires_in.map(|seconds| now + TimeDelta::seconds(seconds));
        let expires = self.expires_at.or(expires_in);
        Ok(world.tokens.issue(&world.identity, self.name, vaults, self.token, now, expires))
    }
}

/// The ID of a vault, from its ID or its name.
pub(crate) fn find_vault(state: &State, name: &str) -> Result<String, Refusal> {
    if state.vault(name).is_ok() {
        return Ok(name.to_owned());
    }
    let mut named = state.vaults().filter(|vault| vault.name == name);
    match (named.next(), named.next()) {
        (Some(vault), None) => Ok(vault.id.clone()),
        (Some(_), Some(_)) => Err(Refusal::Conflict(format!("several vaults are named {name:?}"))),
        (None, _) => Err(Refusal::VaultNotFound(name.to_owned())),
    }
}

impl Seed {
    /// Applies the seed; tells what is there now.
    pub(crate) fn apply(self, world: &mut World, now: DateTime<Utc>) -> Result<Value, Refusal> {
        let before = self.reset.then(Default::default);
        let tokens = self.tokens;
        let vaults = self.vaults;
        let seeded = world.replica.change(now, |state| {
            if let Some(empty) = before {
                let minter = state.minter.clone();
                *state = empty;
                state.minter = minter;
            }
            let seeded: Result<Vec<Value>, Refusal> = vaults.into_iter().map(|vault| vault.apply(state, now)).collect();
            for token in &tokens {
                token.resolve(state)?;
            }
            seeded
        })?;
        if self.reset {
            world.restart();
        }
        let mut issued = Vec::new();
        for token in tokens {
            let token = token.issue(world, now)?;
            issued.push(json!({"name": token.name, "token": token.value}));
        }
        for fault in self.faults {
            world.faults.set(fault, &world.replica).map_err(Refusal::Invalid)?;
        }
        Ok(json!({"vaults": seeded, "tokens": issued}))
    }
}

impl VaultSeed {
    fn apply(self, state: &mut State, now: DateTime<Utc>) -> Result<Value, Refusal> {
        let change = Change { now, by: EDITOR, silent: false };
        let wanted = self.vault.id.as_ref().unwrap_or(&self.vault.name);
        let name = self.vault.name.clone();
        let id = match find_vault(state, wanted) {
            Ok(id) => id,
            Err(Refusal::VaultNotFound(_)) => state.create_vault(self.vault, change)?.id.clone(),
            Err(refusal) => return Err(refusal),
        };
        let mut items = Vec::new();
        for spec in self.items {
            let change = Change { silent: spec.silent, ..change };
            let item = spec.put(state, &id, change)?;
            items.push(json!({"id": item.summary.id, "title": item.summary.title}));
        }
        Ok(json!({"id": id, "name": name, "items": items}))
    }
}
