//! What holds of every sequence of changes.

use super::*;
use crate::input::{self, FieldInput, ItemInput};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A step that a person or a client can take, on the n-th item or vault.
#[derive(Clone, Debug)]
enum Step {
    Create(usize, String),
    Edit(usize, String),
    Archive(usize),
    Restore(usize),
    Delete(usize),
    Rename(usize, String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = "[a-z]{1,6}";
    let step = prop_oneof![
        3 => (0..3usize, text).prop_map(|(vault, title)| Step::Create(vault, title)),
        3 => (0..20usize, text).prop_map(|(item, value)| Step::Edit(item, value)),
        1 => (0..20usize).prop_map(Step::Archive),
        1 => (0..20usize).prop_map(Step::Restore),
        1 => (0..20usize).prop_map(Step::Delete),
        1 => (0..3usize, text).prop_map(|(vault, name)| Step::Rename(vault, name)),
    ];
    proptest::collection::vec(step, 0..60)
}

fn change(seconds: i64) -> Change<'static> {
    Change { now: DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap(), by: "SOMEONE", silent: false }
}

fn three_vaults() -> State {
    let mut state = State::default();
    for name in ["Home", "Apps", "Work"] {
        let spec = VaultSpec { name: name.to_owned(), ..VaultSpec::default() };
        state.create_vault(spec, change(0)).unwrap();
    }
    state
}

fn login(state: &mut State, old: Option<&Item>, title: &str, password: &str) -> Contents {
    let field =
        FieldInput { id: Some("password".to_owned()), value: Some(password.to_owned()), ..FieldInput::default() };
    let input = ItemInput {
        title: title.to_owned(),
        category: "LOGIN".to_owned(),
        fields: vec![field],
        ..ItemInput::default()
    };
    input::contents(input, old, &mut state.minter).unwrap()
}

fn nth_item(state: &State, n: usize) -> Option<Arc<Item>> {
    let all: Vec<_> = state.vaults().flat_map(|vault| state.items(&vault.id)).collect();
    (!all.is_empty()).then(|| Arc::clone(all[n % all.len()]))
}

/// Takes a step; tells which vault's contents, or which vault itself, changed.
fn take(state: &mut State, step: &Step, change: Change) -> Option<(String, bool)> {
    let vault_ids: Vec<String> = state.vaults().map(|vault| vault.id.clone()).collect();
    match step {
        Step::Create(vault, title) => {
            let contents = login(state, None, title, "first");
            state.create_item(&vault_ids[*vault], None, contents, change).unwrap();
            return Some((vault_ids[*vault].clone(), true));
        }
        Step::Rename(vault, name) => {
            state.edit_vault(&vault_ids[*vault], Some(name.clone()), None, change).unwrap();
            return Some((vault_ids[*vault].clone(), false));
        }
        _ => {}
    }
    let (Step::Edit(n, _) | Step::Archive(n) | Step::Restore(n) | Step::Delete(n)) = step else {
        return None;
    };
    let item = nth_item(state, *n)?;
    let (vault, id) = (item.summary.vault.id.clone(), item.summary.id.clone());
    match step {
        Step::Edit(_, value) => {
            let contents = login(state, Some(&item), &item.summary.title, value);
            state.edit_item(&vault, &id, contents, change).unwrap();
        }
        Step::Archive(_) => {
            state.set_state(&vault, &id, Some(ItemState::Archived), change).unwrap();
        }
        Step::Restore(_) => {
            state.set_state(&vault, &id, None, change).unwrap();
        }
        _ => state.delete_item(&vault, &id, change).unwrap(),
    }
    Some((vault, true))
}

proptest! {
    #[test]
    fn every_change_bumps_its_vault_once_and_nothing_goes_backwards(
        steps in steps(),
        clock in proptest::collection::vec(-5i64..100, 60),
    ) {
        let mut state = three_vaults();
        let mut seen = BTreeSet::new();
        for (step, seconds) in steps.iter().zip(clock) {
            let before = state.clone();
            let touched = take(&mut state, step, change(seconds));
            for (old, new) in before.vaults().zip(state.vaults()) {
                let of_this = touched.as_ref().filter(|(id, _)| *id == new.id);
                let contents = u64::from(of_this.is_some_and(|(_, contents)| *contents));
                let attributes = u64::from(of_this.is_some_and(|(_, contents)| !*contents));
                prop_assert_eq!(new.content_version, old.content_version + contents);
                prop_assert_eq!(new.attribute_version, old.attribute_version + attributes);
                prop_assert_eq!(new.updated_at > old.updated_at, of_this.is_some());
                let active = state.items(&new.id).filter(|item| item.summary.state.is_none());
                prop_assert_eq!(new.items, active.count() as u64);
                for item in state.items(&new.id) {
                    match before.item(&new.id, &item.summary.id) {
                        Ok(old) if old == item => {}
                        Ok(old) => {
                            prop_assert_eq!(item.summary.version, old.summary.version + 1);
                            prop_assert!(item.summary.updated_at > old.summary.updated_at);
                            prop_assert_eq!(item.summary.created_at, old.summary.created_at);
                        }
                        Err(_) => {
                            prop_assert_eq!(item.summary.version, 1);
                            prop_assert!(seen.insert(item.summary.id.clone()), "an ID came back");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_silent_change_leaves_the_vault_as_it_was() {
    let mut state = three_vaults();
    let vault = state.vaults().next().unwrap().id.clone();
    let contents = login(&mut state, None, "db", "one");
    let item = state.create_item(&vault, None, contents, change(1)).unwrap();
    let before = state.vault(&vault).unwrap().clone();

    let contents = login(&mut state, Some(&item), "db", "two");
    let silent = Change { silent: true, ..change(2) };
    let edited = state.edit_item(&vault, &item.summary.id, contents, silent).unwrap();

    assert_eq!(state.vault(&vault).unwrap(), &before);
    assert_eq!(edited.summary.version, 2);
}

#[test]
fn old_passwords_are_kept_newest_first() {
    let mut state = three_vaults();
    let vault = state.vaults().next().unwrap().id.clone();
    let contents = login(&mut state, None, "db", "one");
    let mut item = state.create_item(&vault, None, contents, change(1)).unwrap();
    for (second, password) in [(2, "two"), (3, "two"), (4, "three")] {
        let contents = login(&mut state, Some(&item), "db", password);
        item = state.edit_item(&vault, &item.summary.id.clone(), contents, change(second)).unwrap();
    }
    let field = item.fields.iter().find(|field| field.id == "password").unwrap();
    assert_eq!(field.value, "three");
    assert_eq!(field.password_details.as_ref().unwrap().history, ["two", "one"]);
}

#[test]
fn what_does_not_exist_is_refused() {
    let mut state = three_vaults();
    let vault = state.vaults().next().unwrap().id.clone();
    let contents = login(&mut state, None, "db", "one");
    let nowhere = "a".repeat(26);
    assert_eq!(
        state.create_item(&nowhere, None, contents.clone(), change(1)),
        Err(Refusal::VaultNotFound(nowhere.clone()))
    );
    assert_eq!(state.delete_item(&vault, &nowhere, change(1)), Err(Refusal::ItemNotFound(nowhere.clone())));
    state.create_item(&vault, Some(nowhere.clone()), contents.clone(), change(1)).unwrap();
    assert!(matches!(state.create_item(&vault, Some(nowhere), contents, change(2)), Err(Refusal::Conflict(_))));
}
