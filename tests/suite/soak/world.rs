//! The items of the soak with all that they ever were: what a Secret may hold is told by it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::connect;

/// Vaults, each with a token and a store of its own.
pub const VAULTS: usize = 2;
/// Items, of which every second one lies in the same vault.
pub const ITEMS: usize = 20;
/// The items from here on are never deleted: some objects refer to them by their ids.
pub const LASTING: usize = 16;

/// Labels and values.
pub type Fields = BTreeMap<String, String>;

/// The name of a vault, of its token and of its store.
pub fn name(vault: usize) -> String {
    format!("soak-{vault}")
}

/// The title by which objects refer to an item.
pub fn title(item: usize) -> String {
    format!("soak-item-{item}")
}

/// The label of an item's field, which no other item has.
pub fn label(item: usize, field: &str) -> String {
    format!("K{item}_{field}")
}

/// An item as it was for a while.
pub struct Version {
    /// Nothing while it is deleted.
    pub fields: Option<Fields>,
    /// Counts how often it was deleted and made anew.
    pub life: usize,
    /// How many changes of all items there were, with this one.
    change: usize,
}

/// An item.
pub struct Item {
    /// Its id, while it is there.
    pub id: Option<String>,
    /// Oldest first.
    pub versions: Vec<Version>,
    title: String,
}

impl Item {
    /// As it is.
    pub fn newest(&self) -> &Version {
        self.versions.last().expect("an item begins with a version")
    }
}

/// A time in which the server answers from the past.
struct Stale {
    vault: usize,
    since: Instant,
    until: Option<Instant>,
    /// The last change that it shows.
    change: usize,
}

/// All items, and what is done to them.
pub struct World {
    /// By their numbers.
    pub items: Vec<Item>,
    /// Whether the vault's version misses what changes.
    pub silent: [bool; VAULTS],
    /// How often the stores are polled.
    pub poll: Duration,
    changes: usize,
    serial: u64,
    stale: Vec<Stale>,
    kills: Vec<Instant>,
}

impl World {
    /// Vaults, tokens and items at the server.
    pub fn new(poll: Duration) -> Self {
        // What an earlier run left.
        for fault in connect::get("/admin/faults").as_array().into_iter().flatten() {
            if (0..VAULTS).any(|vault| fault["token"] == name(vault)) {
                let path = format!("/admin/faults/{}", fault["id"].as_str().expect("faults have ids"));
                connect::try_delete(&path).unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
            }
        }
        for vault in 0..VAULTS {
            let name = name(vault);
            let gone = connect::try_delete(&format!("/admin/vaults/{name}"));
            assert!(gone.is_ok() || gone.is_err_and(|error| error.contains("not find")), "an earlier run's vault");
            let token = json!({"name": name, "token": token(vault), "vaults": [name]});
            connect::post("/admin/seed", &json!({"vaults": [{"name": name}], "tokens": [token]}));
        }
        let item = |number| Item { id: None, versions: Vec::new(), title: title(number) };
        let items = (0..ITEMS).map(item).collect();
        let mut world =
            Self { items, silent: [false; VAULTS], poll, changes: 0, serial: 0, stale: Vec::new(), kills: Vec::new() };
        for item in 0..ITEMS {
            world.restore(item);
        }
        world
    }

    /// A value that no field ever had.
    fn value(&mut self, label: &str) -> String {
        self.serial += 1;
        format!("canary-soak-{label}-{}", self.serial)
    }

    /// Notes a version, before it can be seen anywhere, and sends it.
    fn put(&mut self, item: usize, fields: Fields) {
        let vault = item % VAULTS;
        let tags = if item < 8 { json!(["soak", "few"]) } else { json!(["soak"]) };
        let mut body = json!({"title": self.items[item].title, "category": "SECURE_NOTE", "fields": fields,
            "tags": tags, "silent": self.silent[vault]});
        if let Some(id) = &self.items[item].id {
            body["id"] = id.clone().into();
        }
        self.note(item, Some(fields));
        let answer = connect::put(&format!("/admin/vaults/{}/items", name(vault)), &body);
        self.items[item].id = answer["id"].as_str().map(str::to_owned);
    }

    fn note(&mut self, item: usize, fields: Option<Fields>) {
        self.changes += 1;
        let item = &mut self.items[item];
        let life = item
            .versions
            .last()
            .map_or(0, |last| if last.fields.is_some() == fields.is_some() { last.life } else { last.life + 1 });
        item.versions.push(Version { fields, life, change: self.changes });
    }

    /// Gives some fields new values.
    pub fn edit(&mut self, item: usize, labels: &[&str]) {
        let Some(mut fields) = self.items[item].newest().fields.clone() else { return };
        for field in labels {
            let label = label(item, field);
            let value = self.value(&label);
            fields.insert(label, value);
        }
        self.put(item, fields);
    }

    /// Gives a field another label, or its first one back.
    pub fn rename_field(&mut self, item: usize) {
        let Some(mut fields) = self.items[item].newest().fields.clone() else { return };
        let (one, other) = (label(item, "B"), label(item, "R"));
        if let Some(value) = fields.remove(&one) {
            fields.insert(other, value);
        } else if let Some(value) = fields.remove(&other) {
            fields.insert(one, value);
        }
        self.put(item, fields);
    }

    /// Adds a field, or takes it away.
    pub fn add_field(&mut self, item: usize) {
        let Some(mut fields) = self.items[item].newest().fields.clone() else { return };
        let label = label(item, "C");
        if fields.remove(&label).is_none() {
            let value = self.value(&label);
            fields.insert(label, value);
        }
        self.put(item, fields);
    }

    /// Gives an item another title, or its first one back.
    pub fn rename(&mut self, item: usize) {
        let Some(fields) = self.items[item].newest().fields.clone() else { return };
        let first = title(item);
        let other = format!("{first}, renamed");
        let title = &mut self.items[item].title;
        *title = if *title == first { other } else { first };
        self.put(item, fields);
    }

    /// Deletes an item, where it is there and may be deleted.
    pub fn delete(&mut self, item: usize) {
        if item >= LASTING || self.items[item].id.is_none() {
            return;
        }
        let id = self.items[item].id.take().expect("it is there");
        self.note(item, None);
        let vault = item % VAULTS;
        let silent = if self.silent[vault] { "?silent=true" } else { "" };
        let path = format!("/admin/vaults/{}/items/{id}{silent}", name(vault));
        connect::try_delete(&path).unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
    }

    /// Takes back that an item was deleted, or it or a field renamed.
    pub fn take_back(&mut self, item: usize) {
        let Some(fields) = &self.items[item].newest().fields else { return self.restore(item) };
        let renamed = !fields.contains_key(&label(item, "B"));
        if self.items[item].title != title(item) {
            self.rename(item);
        }
        if renamed {
            self.rename_field(item);
        }
    }

    /// Makes an item what it was at first, with new values; anew, where it is deleted.
    pub fn restore(&mut self, item: usize) {
        self.items[item].title = title(item);
        let labels = ["A", "B"].map(|field| label(item, field));
        let fields = labels.map(|label| (label.clone(), self.value(&label))).into();
        self.put(item, fields);
    }

    /// Has the server answer a token from the past from now on: `set` is told how many changes to go back.
    pub fn set_stale(&mut self, vault: usize, back: usize, set: impl FnOnce(usize)) {
        let back = back.min(self.changes - ITEMS);
        let change = self.changes - back;
        self.stale.push(Stale { vault, since: Instant::now(), until: None, change });
        set(back);
    }

    /// No request has met it until now.
    pub fn wait_stale(&mut self, vault: usize, now: Instant) {
        let waiting = |stale: &&mut Stale| stale.vault == vault && stale.until.is_none();
        self.stale.iter_mut().filter(waiting).for_each(|stale| stale.since = now);
    }

    /// It answers from the present again.
    pub fn end_stale(&mut self, vault: usize) {
        let now = Instant::now();
        self.stale.iter_mut().filter(|stale| stale.vault == vault).for_each(|stale| _ = stale.until.get_or_insert(now));
    }

    /// When the controller was last killed.
    pub fn last_kill(&self) -> Option<Instant> {
        self.kills.last().copied()
    }

    /// Notes a kill of the controller.
    pub fn killed(&mut self) {
        self.kills.push(Instant::now());
    }

    /// The oldest version that a Secret made of `floor` may go back to: that one, but for a server that lags behind.
    ///
    /// One look at the past must not bring it back. A replica that shows the past look after look cannot be told from
    /// a server whose data was brought back, so in the end it is believed; and so it is by a controller that has just
    /// been started, which remembers nothing. An item of another life has another id and is seen for the first time.
    pub fn oldest(&self, item: usize, floor: usize) -> usize {
        let versions = &self.items[item].versions;
        let frozen = self.stale.iter().filter(|stale| stale.vault == item % VAULTS).filter_map(|stale| {
            // The next look may have to be waited for, and what has vanished is believed by the second one.
            let over = stale.until.is_some_and(|until| until.elapsed() > self.poll * 3 + Duration::from_secs(5));
            let shown = versions.iter().rposition(|version| version.change <= stale.change)?;
            let until = stale.until.unwrap_or_else(Instant::now);
            let lasted = until - stale.since > self.poll.mul_f64(0.85);
            let forgot = self.kills.iter().any(|kill| *kill > stale.since && *kill < until);
            let appeared = versions[shown].fields.is_some() && versions[shown].life != versions[floor].life;
            (!over && (lasted || forgot || appeared)).then_some(shown)
        });
        frozen.chain([floor]).min().unwrap_or(floor)
    }
}

/// Takes the vaults away.
pub fn end() {
    for vault in 0..VAULTS {
        let path = format!("/admin/vaults/{}", name(vault));
        connect::try_delete(&path).unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
    }
}

/// The token of a vault.
pub fn token(vault: usize) -> String {
    format!("canary-{}-eyJhbGciOiJFUzI1NiJ9.c29haw.c2ln", name(vault))
}
