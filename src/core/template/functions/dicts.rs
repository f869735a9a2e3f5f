//! Dictionaries. What changes one in sprig (`set`, `unset`, `merge`) returns the changed one here; where it is called on
//! a variable, the engine assigns the result to it.

use std::sync::Arc;

use gotmpl::Value;

use super::{Args, Failure, Map, Outcome, bool, functions, is_empty, kind, list, map, shown};

/// The functions whose first argument is changed.
pub(in crate::core::template) const CHANGING: [&str; 6] =
    ["merge", "mergeOverwrite", "mustMerge", "mustMergeOverwrite", "set", "unset"];

functions! {
    "dict" 0..=many dict;
    "dig" 3..=many dig;
    "get" 2..=2 |args| Ok(args.map(0)?.get(args.text(1)?).cloned().unwrap_or_else(|| Value::String("".into())));
    "hasKey" 2..=2 |args| bool(args.map(0)?.contains_key(args.text(1)?));
    "keys" 0..=many |args| list(maps(args, 0)?.into_iter().flat_map(|map| map.keys().map(|key| Value::String(key.clone()))));
    "merge" 1..=many |args| merged(args, false);
    "mergeOverwrite" 1..=many |args| merged(args, true);
    "mustMerge" 1..=many |args| merged(args, false);
    "mustMergeOverwrite" 1..=many |args| merged(args, true);
    "omit" 1..=many |args| chosen(args, false);
    "pick" 1..=many |args| chosen(args, true);
    "pluck" 1..=many pluck;
    "set" 3..=3 set;
    "unset" 2..=2 unset;
    "values" 1..=1 |args| list(args.map(0)?.values().cloned());
}

fn maps<'a>(args: &'a Args, from: usize) -> Result<Vec<&'a Arc<Map>>, Failure> {
    (from..args.len()).map(|index| args.map(index)).collect()
}

fn dict(args: &Args) -> Outcome {
    let value = |pair: &[Value]| pair.get(1).cloned().unwrap_or_else(|| Value::String("".into()));
    map(args.values.chunks(2).map(|pair| (shown(&pair[0]).into(), value(pair))))
}

/// What lies under several keys, or a value in its place.
fn dig(args: &Args) -> Outcome {
    let (keys, missing) = (args.len() - 2, args.any(args.len() - 2));
    let mut value = args.any(args.len() - 1);
    for index in 0..keys {
        let Value::Map(map) = value else {
            return Err(format!("{} has no keys", kind(value)).into());
        };
        match map.get(args.text(index)?) {
            Some(next) => value = next,
            None => return Ok(missing.clone()),
        }
    }
    Ok(value.clone())
}

fn pluck(args: &Args) -> Outcome {
    let key = args.text(0)?;
    list(maps(args, 1)?.into_iter().filter_map(|map| map.get(key).cloned()))
}

fn chosen(args: &Args, keep: bool) -> Outcome {
    let from = args.map(0)?;
    let names: Vec<&str> = (1..args.len()).map(|index| args.text(index)).collect::<Result<_, _>>()?;
    let names: std::collections::BTreeSet<&str> = names.into_iter().collect();
    let fits = |key: &Arc<str>| names.contains(&**key) == keep;
    map(from.iter().filter(|(key, _)| fits(key)).map(|(key, value)| (key.clone(), value.clone())))
}

fn set(args: &Args) -> Outcome {
    let mut map = (**args.map(0)?).clone();
    map.insert(args.text(1)?.into(), args.any(2).clone());
    Ok(Value::Map(Arc::new(map)))
}

fn unset(args: &Args) -> Outcome {
    let mut map = (**args.map(0)?).clone();
    map.remove(args.text(1)?);
    Ok(Value::Map(Arc::new(map)))
}

/// The first dictionary with what the others have: what it lacks, or with `overwrite` everything.
fn merged(args: &Args, overwrite: bool) -> Outcome {
    let mut result = (**args.map(0)?).clone();
    for other in maps(args, 1)? {
        merge(args, &mut result, other, overwrite)?;
    }
    Ok(Value::Map(Arc::new(result)))
}

fn merge(args: &Args, into: &mut Map, from: &Map, overwrite: bool) -> Result<(), Failure> {
    args.work.step(from.len())?;
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (None, _) => {
                into.insert(key.clone(), value.clone());
            }
            (Some(Value::Map(old)), Value::Map(new)) => merge(args, Arc::make_mut(old), new, overwrite)?,
            (Some(old), new) => {
                if is_empty(old) || overwrite {
                    *old = new.clone();
                }
            }
        }
    }
    Ok(())
}
