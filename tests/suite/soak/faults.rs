//! How Connect fails in the soak: one fault after another for each token, so that no other store is concerned.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Plan,
    world::{VAULTS, World, name},
};
use crate::{random::Random, support::connect};

/// Longer than the controller keeps an item that it fetched: what it keeps hides that it believes the past.
const KEPT: Duration = Duration::from_secs(12);

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Hang,
    Rejected,
    Forbidden,
    NotReady,
    Busy,
    FailsThenWorks,
    Latency,
    Reset,
    Torn,
    Stale,
    MissedChange,
    NotJson,
    PageNotFound,
    Trickle,
}

/// All ways. What takes longest to come back from is the first.
pub const ALL: [Fault; 14] = [
    Fault::Hang,
    Fault::Rejected,
    Fault::Forbidden,
    Fault::NotReady,
    Fault::Busy,
    Fault::FailsThenWorks,
    Fault::Latency,
    Fault::Reset,
    Fault::Torn,
    Fault::Stale,
    Fault::MissedChange,
    Fault::NotJson,
    Fault::PageNotFound,
    Fault::Trickle,
];

impl Fault {
    /// As the development server is told; nothing for what is no fault of requests.
    fn effect(self, random: &mut Random) -> Option<Value> {
        let status = |status: u16| json!({"fault": "status", "status": status});
        Some(match self {
            Self::Hang => json!({"fault": "hang"}),
            Self::Rejected => status(401),
            Self::Forbidden => status(403),
            Self::NotReady => status(408),
            Self::Busy => json!({"fault": "status", "status": 429, "retryAfter": random.of(1..8).to_string()}),
            Self::FailsThenWorks => json!({"fault": "status", "status": 500, "count": random.of(1..6)}),
            Self::Latency => json!({"fault": "latency", "ms": random.of(200..3000)}),
            Self::Reset => json!({"fault": "reset"}),
            Self::Torn => json!({"fault": "reset", "afterBytes": random.of(1..300)}),
            Self::NotJson => json!({"fault": "body"}),
            Self::PageNotFound => json!({"fault": "page-not-found"}),
            Self::Trickle => json!({"fault": "slow", "bytes": random.of(50..500), "everyMs": 20}),
            Self::Stale | Self::MissedChange => return None,
        })
    }
}

/// What was done of one kind, for the table.
#[derive(Clone, Copy, Default)]
pub struct Done {
    pub times: usize,
    pub met: u64,
    pub lasted: Duration,
}

/// The faults of one token, one after another.
pub struct Lane {
    vault: usize,
    /// What has to come once, the next one last.
    due: Vec<Fault>,
    active: Option<Active>,
    next: Instant,
    /// Lists of the vault when the last fault ended, or later.
    lists: u64,
    counted: Instant,
}

struct Active {
    fault: Fault,
    id: Option<String>,
    since: Instant,
    lasts: Duration,
    until: Instant,
}

impl Lane {
    /// Lanes that share what has to come once.
    pub fn all(random: &mut Random) -> Vec<Self> {
        let mut every = ALL.to_vec();
        random.shuffle(&mut every[1..]);
        // Not before there is a past. Its lane has fewer of the others, since it waits for what comes before it.
        let stale = every.iter().position(|fault| *fault == Fault::Stale).expect("it is one of them");
        let rest = every.len() - 6;
        every.swap(stale, rest + 2);
        let lane = |vault| {
            let mine = if vault == 0 { &every[..rest] } else { &every[rest..] };
            let due = mine.iter().rev().copied().collect();
            Self { vault, due, active: None, next: Instant::now(), counted: Instant::now(), lists: 0 }
        };
        (0..VAULTS).map(lane).collect()
    }

    /// Whether all that had to come once has come.
    pub fn is_through(&self) -> bool {
        self.due.is_empty() && self.active.is_none()
    }

    /// What fails just now.
    pub fn fault(&self) -> Option<Fault> {
        self.active.as_ref().map(|active| active.fault)
    }

    /// Ends what is over, begins what is due.
    pub fn step(&mut self, plan: &Plan, random: &mut Random, world: &mut World, done: &mut BTreeMap<Fault, Done>) {
        let now = Instant::now();
        if let Some(active) = &mut self.active
            && active.since + world.poll * 2 > now
            && met(active.id.as_deref()) == Some(0)
        {
            // Its time begins with the first request that meets it, unless the server is left alone for long.
            active.until = now + active.lasts;
            world.wait_stale(self.vault, now);
        }
        match &self.active {
            Some(active) if now < active.until => {}
            Some(_) => {
                self.end(world, done);
                self.next = Instant::now() + Duration::from_secs(random.of(plan.rest.clone()));
            }
            None if now < self.next => {}
            None => self.begin(plan, random, world),
        }
    }

    fn begin(&mut self, plan: &Plan, random: &mut Random, world: &mut World) {
        let next = self.due.last().copied();
        let fault = next.unwrap_or_else(|| ALL[random.index(ALL.len())]);
        if fault == Fault::Stale && !self.is_known(world) {
            return;
        }
        let is_first = self.due.pop().is_some();
        let (vault, token) = (self.vault, name(self.vault));
        let set = |mut fault: Value| {
            fault["token"] = token.as_str().into();
            connect::post("/admin/faults", &fault)["id"].as_str().map(str::to_owned)
        };
        let mut lasts = Duration::from_secs(random.of(plan.fault.clone()));
        let mut id = None;
        match fault {
            Fault::Stale => {
                // So short that one look sees it, or (half of the later ones) long enough to be believed.
                lasts = world.poll.mul_f64(if is_first || random.one_of(2) { 0.6 } else { 3.5 });
                // Older than what the last poll has shown, and than items that the controller still keeps.
                let ago = (plan.poll * 2).max(12);
                let back = usize::try_from(plan.changes * random.of(ago..ago * 2)).expect("some changes");
                world.set_stale(vault, back, |back| id = set(json!({"fault": "stale", "back": back})));
            }
            Fault::MissedChange => {
                world.silent[vault] = true;
                world.edit(16 + vault, &["A"]);
            }
            _ => {
                let mut effect = fault.effect(random).expect("it is a fault of requests");
                if !is_first && random.one_of(3) {
                    let kind = ["vaults.list", "items.list", "item.get"][random.index(3)];
                    effect["kinds"] = json!([kind]);
                }
                id = set(effect);
            }
        }
        let since = Instant::now();
        self.active = Some(Active { fault, id, since, lasts, until: since + lasts });
    }

    /// Ends what fails just now.
    pub fn end(&mut self, world: &mut World, done: &mut BTreeMap<Fault, Done>) {
        let Some(active) = self.active.take() else { return };
        let done = done.entry(active.fault).or_default();
        done.times += 1;
        done.lasted += active.since.elapsed();
        if let Some(id) = &active.id {
            done.met += met(Some(id)).unwrap_or_default();
            let path = format!("/admin/faults/{id}");
            connect::try_delete(&path).unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
        }
        match active.fault {
            Fault::Stale => world.end_stale(self.vault),
            Fault::MissedChange => {
                // The next change tells that there were some; without one, the list of everything every ten minutes.
                world.silent[self.vault] = false;
                world.edit(16 + self.vault, &["A"]);
            }
            _ => {}
        }
        self.count();
    }

    fn count(&mut self) {
        (self.counted, self.lists) = (Instant::now(), lists(self.vault));
    }

    /// Whether the controller has seen the present since the last fault: only who knows it tells the past from it.
    fn is_known(&mut self, world: &World) -> bool {
        // One that is killed with its pod may go on for a moment.
        if world.last_kill().is_some_and(|kill| self.counted < kill + Duration::from_secs(5)) {
            self.count();
            return false;
        }
        self.counted.elapsed() > KEPT && lists(self.vault) > self.lists
    }
}

/// How many requests a fault has met.
fn met(id: Option<&str>) -> Option<u64> {
    let id = id?;
    let faults = connect::get("/admin/faults");
    faults.as_array()?.iter().find(|fault| fault["id"] == id)?["met"].as_u64()
}

/// How often the items of a vault were listed.
fn lists(vault: usize) -> u64 {
    let vaults = connect::get("/admin/vaults");
    let mut vaults = vaults.as_array().into_iter().flatten();
    let id = vaults.find(|one| one["name"] == name(vault)).expect("it was made")["id"].clone();
    let id = id.as_str().expect("vaults have ids");
    connect::get("/admin/counts")["detail"]["items.list"][id].as_u64().unwrap_or(0)
}
