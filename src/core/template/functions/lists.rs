//! Lists.

use gotmpl::Value;

use super::{Args, Failure, Outcome, bool, functions, is_empty, list, text::all_texts};

functions! {
    "all" 0..=many |args| bool(!args.values.iter().any(is_empty));
    "any" 0..=many |args| bool(args.values.iter().any(|value| !is_empty(value)));
    "append" 2..=2 push;
    "chunk" 2..=2 chunk;
    "coalesce" 0..=many |args| Ok(args.values.iter().find(|value| !is_empty(value)).cloned().unwrap_or(Value::Nil));
    "compact" 1..=1 compact;
    "concat" 0..=many concat;
    "first" 1..=1 |args| Ok(args.list(0)?.first().cloned().unwrap_or(Value::Nil));
    "has" 2..=2 has;
    "initial" 1..=1 |args| part(args.list(0)?, |list| &list[..list.len() - 1]);
    "last" 1..=1 |args| Ok(args.list(0)?.last().cloned().unwrap_or(Value::Nil));
    "list" 0..=many |args| Ok(Value::List(args.values.into()));
    "mustAppend" 2..=2 push;
    "mustChunk" 2..=2 chunk;
    "mustCompact" 1..=1 compact;
    "mustFirst" 1..=1 |args| Ok(args.list(0)?.first().cloned().unwrap_or(Value::Nil));
    "mustHas" 2..=2 has;
    "mustInitial" 1..=1 |args| part(args.list(0)?, |list| &list[..list.len() - 1]);
    "mustLast" 1..=1 |args| Ok(args.list(0)?.last().cloned().unwrap_or(Value::Nil));
    "mustPrepend" 2..=2 prepend;
    "mustPush" 2..=2 push;
    "mustRest" 1..=1 |args| part(args.list(0)?, |list| &list[1..]);
    "mustReverse" 1..=1 |args| list(args.list(0)?.iter().rev().cloned());
    "mustSlice" 1..=3 slice;
    "mustUniq" 1..=1 uniq;
    "mustWithout" 1..=many without;
    "prepend" 2..=2 prepend;
    "push" 2..=2 push;
    "rest" 1..=1 |args| part(args.list(0)?, |list| &list[1..]);
    "reverse" 1..=1 |args| list(args.list(0)?.iter().rev().cloned());
    "slice" 1..=3 slice;
    "sortAlpha" 1..=1 sort;
    "tuple" 0..=many |args| Ok(Value::List(args.values.into()));
    "uniq" 1..=1 uniq;
    "without" 1..=many without;
}

fn push(args: &Args) -> Outcome {
    list(args.list(0)?.iter().chain([args.any(1)]).cloned())
}

fn prepend(args: &Args) -> Outcome {
    list([args.any(1)].into_iter().chain(args.list(0)?).cloned())
}

/// A part of a list; of an empty list nothing, which is an empty list.
fn part(from: &[Value], cut: fn(&[Value]) -> &[Value]) -> Outcome {
    list(if from.is_empty() { from } else { cut(from) }.iter().cloned())
}

fn compact(args: &Args) -> Outcome {
    list(args.list(0)?.iter().filter(|value| !is_empty(value)).cloned())
}

fn concat(args: &Args) -> Outcome {
    let lists: Vec<&[Value]> = (0..args.len()).map(|index| args.list(index)).collect::<Result<_, _>>()?;
    list(lists.concat())
}

fn chunk(args: &Args) -> Outcome {
    let size = usize::try_from(args.int(0)?).ok().filter(|size| *size > 0).ok_or("the size must be 1 or more")?;
    list(args.list(1)?.chunks(size).map(|chunk| Value::List(chunk.into())))
}

fn slice(args: &Args) -> Outcome {
    let from = args.list(0)?;
    if from.is_empty() {
        return Ok(Value::Nil);
    }
    let bound = |index: usize, missing: usize| match args.len() {
        length if length <= index => Ok(missing),
        _ => usize::try_from(super::numbers::to_int(args.any(index))).map_err(|_| "an index is negative"),
    };
    let (start, end) = (bound(1, 0)?, bound(2, from.len())?);
    list(from.get(start..end).ok_or("the list is shorter")?.iter().cloned())
}

fn sort(args: &Args) -> Outcome {
    let mut texts = all_texts(args.any(0));
    texts.sort_unstable();
    list(texts.into_iter().map(|text| Value::String(text.into())))
}

/// Whether a list holds a value. What it compares is charged: a list of lists is compared part by part.
fn holds(args: &Args, list: &[Value], wanted: &Value) -> Result<bool, Failure> {
    for value in list {
        if same(args, value, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two values are the same through and through.
pub(super) fn same(args: &Args, a: &Value, b: &Value) -> Result<bool, Failure> {
    args.work.step(1)?;
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Uint(a), Value::Uint(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "as Go compares")]
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            args.work.charge(if a.len() == b.len() { a.len() } else { 0 })?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && all(a.iter().zip(b.iter()).map(|(a, b)| same(args, a, b)))?
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && all(a.iter().zip(b.iter()).map(|((x, a), (y, b))| Ok(x == y && same(args, a, b)?)))?
        }
        _ => false,
    })
}

fn all(results: impl Iterator<Item = Result<bool, Failure>>) -> Result<bool, Failure> {
    for result in results {
        if !result? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has(args: &Args) -> Outcome {
    if matches!(args.any(1), Value::Nil) {
        return bool(false);
    }
    bool(holds(args, args.list(1)?, args.any(0))?)
}

fn uniq(args: &Args) -> Outcome {
    let mut kept: Vec<Value> = vec![];
    for value in args.list(0)? {
        if !holds(args, &kept, value)? {
            kept.push(value.clone());
        }
    }
    list(kept)
}

fn without(args: &Args) -> Outcome {
    let mut kept = vec![];
    for value in args.list(0)? {
        if !holds(args, &args.values[1..], value)? {
            kept.push(value.clone());
        }
    }
    list(kept)
}
