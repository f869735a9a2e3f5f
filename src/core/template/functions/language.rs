//! The functions of the template language itself, where they need bounds of ours or must hold no value in errors.

use std::{cmp::Ordering, fmt::Write as _};

use gotmpl::{Template, TemplateError, Value, html_escape, js_escape, url_encode};

use super::{Args, Failure, Outcome, bool, bytes, functions, int, kind, shown, string};

functions! {
    "and" 1..=many |args| Ok(args.values.iter().find(|value| !value.is_truthy()).unwrap_or_else(|| args.any(args.len() - 1)).clone());
    "eq" 2..=many |args| eq(args).and_then(bool);
    "ge" 2..=2 |args| order(args).and_then(|order| bool(order != Ordering::Less));
    "gt" 2..=2 |args| order(args).and_then(|order| bool(order == Ordering::Greater));
    "html" 1..=many |args| string(html_escape(&printed(args)?));
    "index" 1..=many index;
    "js" 1..=many |args| string(js_escape(&printed(args)?));
    "le" 2..=2 |args| order(args).and_then(|order| bool(order != Ordering::Greater));
    "len" 1..=1 len;
    "lt" 2..=2 |args| order(args).and_then(|order| bool(order == Ordering::Less));
    "ne" 2..=2 |args| eq(args).and_then(|eq| bool(!eq));
    "not" 1..=1 |args| bool(!args.any(0).is_truthy());
    "or" 1..=many |args| Ok(args.values.iter().find(|value| value.is_truthy()).unwrap_or_else(|| args.any(args.len() - 1)).clone());
    "print" 0..=many |args| engine("print", args.values);
    "printf" 1..=many |args| args.text(0).and_then(|_| engine("printf", args.values));
    "println" 0..=many |args| engine("println", args.values);
    "urlquery" 1..=many |args| string(url_encode(&printed(args)?));
}

/// A function of the engine's own, by a template that calls it.
pub(super) fn engine(name: &str, values: &[Value]) -> Outcome {
    let mut source = format!("{{{{{name}");
    for index in 0..values.len() {
        // Writing into a String cannot fail.
        let _ = write!(source, " (index . {index})");
    }
    source.push_str("}}");
    let rendered =
        Template::new("").parse(&source).and_then(|parsed| parsed.execute_to_string(&Value::List(values.into())));
    rendered.map_err(|_: TemplateError| Failure::from("the arguments do not fit")).and_then(string)
}

fn printed(args: &Args) -> Result<String, Failure> {
    match args.values {
        [Value::Nil] => Ok("<no value>".to_owned()),
        [one] => Ok(shown(one)),
        many => engine("print", many).map(|text| shown(&text)),
    }
}

/// The values themselves are a map of strings in Go, in which what is missing is the empty text.
fn index(args: &Args) -> Outcome {
    let mut value = args.any(0).clone();
    for key in &args.values[1..] {
        if value.as_str().is_some_and(|text| !bytes::is_plain(text)) {
            return Err("a value is binary, and has no index".into());
        }
        let next = value.index(key).map_err(|_| misfit(&value, key))?;
        value = match next {
            Value::Nil if args.work.is_data(&value) => Value::String("".into()),
            next => next,
        };
    }
    Ok(value)
}

fn misfit(value: &Value, key: &Value) -> Failure {
    match (value, key) {
        (Value::List(_) | Value::String(_), Value::Int(_) | Value::Uint(_)) => "there is nothing at that index".into(),
        _ => format!("{} cannot be indexed with {}", kind(value), kind(key)).into(),
    }
}

fn len(args: &Args) -> Outcome {
    let text = args.any(0).as_str().map(bytes::length);
    match text.or_else(|| args.any(0).len()) {
        Some(length) => int(length.try_into().unwrap_or(i64::MAX)),
        None => Err(format!("{} has no length", kind(args.any(0))).into()),
    }
}

fn eq(args: &Args) -> Result<bool, Failure> {
    let first = args.any(0);
    for value in &args.values[1..] {
        let same = match (first, value) {
            (Value::Nil, _) | (_, Value::Nil) => matches!((first, value), (Value::Nil, Value::Nil)),
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::List(_) | Value::Map(_), _) => return Err(format!("{} cannot be compared", kind(first)).into()),
            _ => compare(first, value)? == Some(Ordering::Equal),
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(args: &Args) -> Result<Ordering, Failure> {
    compare(args.any(0), args.any(1))?.ok_or_else(|| "the numbers cannot be compared".into())
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, Failure> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(a), Value::Uint(b)) => Ok(Some(i128::from(*a).cmp(&i128::from(*b)))),
        (Value::Uint(a), Value::Int(b)) => Ok(Some(i128::from(*a).cmp(&i128::from(*b)))),
        (Value::Uint(a), Value::Uint(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        _ => Err(format!("{} and {} cannot be compared", kind(a), kind(b)).into()),
    }
}
