use proptest::prelude::*;

use super::*;

/// A server: its vaults with their items.
#[derive(Clone, Debug, Default)]
struct Server {
    version: i64,
    items: BTreeMap<String, (String, i64)>,
    clock: i64,
}

impl Server {
    fn change(&mut self, id: &str, title: &str) {
        self.clock += 1;
        self.version += 1;
        let version = self.items.get(id).map_or(0, |item| item.1) + 1;
        self.items.insert(id.into(), (title.into(), version));
    }

    fn vaults(&self) -> Vec<Vault> {
        vec![Vault { id: "v".into(), name: "Vault".into(), content_version: self.version, ..Vault::default() }]
    }

    fn list(&self) -> Vec<ItemSummary> {
        self.items
            .iter()
            .map(|(id, (title, version))| ItemSummary {
                id: id.clone(),
                title: title.clone(),
                version: *version,
                updated_at: format!("{version:09}"),
                state: None,
                ..ItemSummary::default()
            })
            .collect()
    }
}

fn wanted() -> BTreeSet<String> {
    BTreeSet::from(["Vault".to_owned()])
}

/// One look, and how many lists it took.
fn look(gate: &mut Gate, server: &Server, full: bool) -> (Changes, usize) {
    let (list, mut changes) = gate.look(server.vaults(), &wanted(), full);
    let count = list.len();
    for id in list {
        changes.extend(gate.listed(&id, &server.list()));
    }
    (changes, count)
}

fn started() -> (Gate, Server) {
    let (mut gate, mut server) = (Gate::default(), Server::default());
    server.change("a", "A");
    server.change("b", "B");
    let (changes, lists) = look(&mut gate, &server, false);
    assert_eq!((changes.names.len(), changes.vaults, lists), (4, true, 1));
    assert_eq!(look(&mut gate, &server, false).1, 1, "the vault is listed once more");
    (gate, server)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn an_idle_look_lists_nothing() {
    let (mut gate, server) = started();
    for _ in 0..10 {
        assert_eq!(look(&mut gate, &server, false), (Changes::default(), 0));
    }
    assert_eq!(look(&mut gate, &server, true), (Changes::default(), 1));
    assert!(gate.is_trusted());
}

#[test]
fn a_change_names_the_item_by_its_old_and_new_title() {
    let (mut gate, mut server) = started();
    server.change("a", "A2");
    let (changes, lists) = look(&mut gate, &server, false);
    assert_eq!((changes.names, lists), (names(&["a", "A", "A2"]), 1));
    assert_eq!(look(&mut gate, &server, false), (Changes::default(), 1));
    assert_eq!(look(&mut gate, &server, false), (Changes::default(), 0));
}

#[test]
fn a_change_between_the_two_requests_is_found_at_once_and_no_miss() {
    let (mut gate, mut server) = started();
    let (list, _) = gate.look(server.vaults(), &wanted(), true);
    server.change("a", "A2");
    assert_eq!(gate.listed(&list[0], &server.list()).names.len(), 3);
    for _ in 0..5 {
        look(&mut gate, &server, false);
    }
    assert!(gate.is_trusted());
}

#[test]
fn a_version_that_misses_a_change_is_noticed_and_no_longer_trusted() {
    let (mut gate, mut server) = started();
    server.change("a", "A2");
    server.version -= 1;
    assert_eq!(look(&mut gate, &server, false).1, 0);
    assert_eq!(look(&mut gate, &server, true).0.names, names(&["a", "A", "A2"]));
    for _ in 0..3 {
        look(&mut gate, &server, false);
    }
    assert_eq!(gate.missed, 1);
    server.change("b", "B2");
    server.version -= 1;
    assert_eq!(look(&mut gate, &server, false).0.names, names(&["b", "B", "B2"]));
}

#[test]
fn a_server_without_versions_is_listed_every_time() {
    let (mut gate, mut server) = started();
    server.version = 0;
    for _ in 0..4 {
        assert_eq!(look(&mut gate, &server, false).1, 1);
    }
}

#[test]
fn a_replica_that_lags_behind_changes_nothing() {
    let (mut gate, mut server) = started();
    let old = server.clone();
    server.change("a", "A2");
    server.change("c", "C");
    look(&mut gate, &server, false);
    let (changes, _) = look(&mut gate, &old, false);
    assert!(changes.is_empty(), "{changes:?}");
    assert!(gate.stale > 0);
    assert!(look(&mut gate, &server, false).0.is_empty());
}

#[test]
fn what_is_gone_for_good_is_believed() {
    let (mut gate, mut server) = started();
    server.items.remove("a");
    server.version += 1;
    let found: Vec<bool> = (0..4).map(|_| look(&mut gate, &server, false).0.names.contains("a")).collect();
    assert_eq!(found, [false, true, false, false]);
}

#[test]
fn a_vault_that_is_suddenly_empty_is_not_believed_for_long() {
    let (mut gate, mut server) = started();
    let full = server.clone();
    server.items.clear();
    server.version += 1;
    for _ in 0..18 {
        assert!(look(&mut gate, &server, false).0.is_empty());
    }
    // It has only been started anew.
    server.items = full.items;
    server.version += 1;
    assert!(look(&mut gate, &server, false).0.is_empty());
    server.items.clear();
    server.version += 1;
    let looks = (0..30).take_while(|_| look(&mut gate, &server, false).0.is_empty()).count();
    assert_eq!(looks, usize::from(EMPTY) - 1);
}

#[test]
fn a_vault_that_is_gone_for_good_is_believed() {
    let (mut gate, server) = started();
    let gone: Vec<bool> = (0..3).map(|_| gate.look(Vec::new(), &wanted(), false).1.vaults).collect();
    assert_eq!(gone, [false, false, true]);
    assert_eq!(gate.index, Index::default());
    assert_eq!(look(&mut gate, &server, false).0.names.len(), 4);
}

#[test]
fn a_refused_vault_is_asked_for_again() {
    let (mut gate, server) = started();
    assert!(gate.refused("v", "not in scope".into()).vaults);
    assert!(!gate.refused("v", "not in scope".into()).vaults);
    let (changes, lists) = look(&mut gate, &server, false);
    assert!(changes.vaults && lists == 1);
}

#[derive(Clone, Debug)]
enum Event {
    Change(u8, u8),
    /// A change that the vault's version does not tell.
    Missed(u8),
    Remove(u8),
    Look,
    Full,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_u8, 0..3_u8).prop_map(|(id, title)| Event::Change(id, title)),
        (0..4_u8).prop_map(Event::Missed),
        (0..4_u8).prop_map(Event::Remove),
        Just(Event::Look),
        Just(Event::Look),
        Just(Event::Full),
    ]
}

proptest! {
    /// Whatever happens in whatever order: after the server comes to rest, and everything was listed once more, the
    /// index equals the server, and everything that changed was told.
    #[test]
    fn converges(events in prop::collection::vec(event(), 1..40)) {
        let (mut gate, mut server) = started();
        let mut told: BTreeMap<String, Entry> = gate.index.vaults["v"].items().unwrap().clone();
        for event in events.into_iter().chain([Event::Full, Event::Look, Event::Look, Event::Look]) {
            let full = matches!(event, Event::Full);
            match event {
                Event::Change(id, title) => server.change(&format!("i{id}"), &format!("T{title}")),
                Event::Missed(id) => { server.change(&format!("i{id}"), "T"); server.version -= 1; }
                Event::Remove(id) => if server.items.remove(&format!("i{id}")).is_some() { server.version += 1; },
                Event::Look | Event::Full => {
                    let (changes, _) = look(&mut gate, &server, full);
                    let now = gate.index.vaults["v"].items().unwrap();
                    for id in told.keys().chain(now.keys()) {
                        prop_assert!(told.get(id) == now.get(id) || changes.names.contains(id), "{id} was not told");
                    }
                    told = now.clone();
                }
            }
        }
        let found: Vec<(String, String, i64)> =
            told.into_iter().map(|(id, entry)| (id, entry.title.to_string(), entry.version)).collect();
        let real: Vec<(String, String, i64)> =
            server.items.iter().map(|(id, (title, version))| (id.clone(), title.clone(), *version)).collect();
        prop_assert_eq!(found, real);
    }
}
