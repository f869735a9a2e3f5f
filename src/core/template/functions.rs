//! The functions of sprig that users of External Secrets Operator use, as far as they are deterministic.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gotmpl::{FuncMap, Result, Template, TemplateError, Value};
use sha2::{Digest, Sha256};

use super::{OURS, date};
use crate::api::common::Time;

/// Bytes that all calls of one template may read and make together.
const BUDGET: usize = 32 << 20;
/// What a width in a format may add to each of its verbs.
const MAX_WIDTH: usize = 1 << 16;

/// A function: its name, how many arguments it takes at least and at most, and what it does.
struct Function {
    name: &'static str,
    arguments: (usize, usize),
    call: fn(&[Value], Time) -> Result<Value>,
}

macro_rules! functions {
    ($($name:literal $min:literal..=$max:tt $call:expr;)+) => {
        const FUNCTIONS: &[Function] =
            &[$(Function { name: $name, arguments: ($min, functions!(@max $max)), call: $call },)+];
    };
    (@max many) => { usize::MAX };
    (@max $max:literal) => { $max };
}

functions! {
    "atoi" 1..=1 |args, _| text(args, 0).trim().parse().map(Value::Int).map_err(|_| fail("atoi", "the text is no whole number"));
    "b64dec" 1..=1 |args, _| b64dec(&text(args, 0));
    "b64enc" 1..=1 |args, _| string(STANDARD.encode(text(args, 0)));
    "cat" 0..=many |args, _| string(texts(args).join(" "));
    "coalesce" 0..=many |args, _| Ok(args.iter().find(|value| !is_empty(value)).cloned().unwrap_or(Value::Nil));
    "contains" 2..=2 |args, _| Ok(Value::Bool(text(args, 1).contains(&text(args, 0))));
    "date" 2..=2 |args, _| date::format(&text(args, 0), &args[1]).map_or_else(|| Err(fail("date", "the second argument is no time")), string);
    "default" 1..=2 |args, _| Ok(args.get(1).filter(|value| !is_empty(value)).unwrap_or(&args[0]).clone());
    "dict" 0..=many |args, _| Ok(dict(args));
    "empty" 1..=1 |args, _| Ok(Value::Bool(is_empty(&args[0])));
    "first" 1..=1 |args, _| Ok(list_of("first", &args[0])?.first().cloned().unwrap_or(Value::Nil));
    "fromJson" 1..=1 |args, _| serde_json::from_str(&text(args, 0)).map(from_json).map_err(|_| fail("fromJson", "the value is no JSON"));
    "get" 2..=2 |args, _| Ok(map_of("get", &args[0])?.get(&*text(args, 1)).cloned().unwrap_or_else(|| "".into()));
    "hasKey" 2..=2 |args, _| Ok(Value::Bool(map_of("hasKey", &args[0])?.contains_key(&*text(args, 1))));
    "hasPrefix" 2..=2 |args, _| Ok(Value::Bool(text(args, 1).starts_with(&text(args, 0))));
    "hasSuffix" 2..=2 |args, _| Ok(Value::Bool(text(args, 1).ends_with(&text(args, 0))));
    "html" 1..=many |args, _| builtin("html", args);
    "indent" 2..=2 |args, _| indent("indent", args).and_then(string);
    "index" 1..=many |args, _| index(args);
    "join" 2..=2 |args, _| string(texts(list_of("join", &args[1])?).join(&text(args, 0)));
    "js" 1..=many |args, _| builtin("js", args);
    "last" 1..=1 |args, _| Ok(list_of("last", &args[0])?.last().cloned().unwrap_or(Value::Nil));
    "list" 0..=many |args, _| Ok(Value::List(args.into()));
    "lower" 1..=1 |args, _| string(text(args, 0).to_lowercase());
    "nindent" 2..=2 |args, _| string(format!("\n{}", indent("nindent", args)?));
    "nospace" 1..=1 |args, _| string(text(args, 0).split_whitespace().collect::<String>());
    "now" 0..=0 |_, now| string(now.to_rfc3339());
    "print" 0..=many |args, _| builtin("print", args);
    "printf" 1..=many |args, _| builtin("printf", args);
    "println" 0..=many |args, _| builtin("println", args);
    "quote" 0..=many |args, _| quoted(args);
    "repeat" 2..=2 |args, _| repeat(args);
    "replace" 3..=3 |args, _| replace(&text(args, 0), &text(args, 1), &text(args, 2));
    "sha256sum" 1..=1 |args, _| string(hex(&Sha256::digest(text(args, 0).as_bytes())));
    "splitList" 2..=2 |args, _| Ok(Value::List(split(&text(args, 0), &text(args, 1)).map(|part| Value::from_text(&part)).collect()));
    "squote" 0..=many |args, _| string(texts(args).iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(" "));
    "ternary" 3..=3 |args, _| Ok(args[usize::from(!args[2].is_truthy())].clone());
    "title" 1..=1 |args, _| string(title(&text(args, 0)));
    "toJson" 1..=1 |args, _| string(escaped(&serde_json::Value::from_template(&args[0])?.to_string()));
    "toPrettyJson" 1..=1 |args, _| string(escaped(&format!("{:#}", serde_json::Value::from_template(&args[0])?)));
    "toRawJson" 1..=1 |args, _| string(serde_json::Value::from_template(&args[0])?.to_string());
    "toString" 1..=1 |args, _| string(text(args, 0));
    "trim" 1..=1 |args, _| string(text(args, 0).trim().to_owned());
    "trimAll" 2..=2 |args, _| string(text(args, 1).trim_matches(|c| text(args, 0).contains(c)).to_owned());
    "trimPrefix" 2..=2 |args, _| string(text(args, 1).strip_prefix(&*text(args, 0)).unwrap_or(&text(args, 1)).to_owned());
    "trimSuffix" 2..=2 |args, _| string(text(args, 1).strip_suffix(&*text(args, 0)).unwrap_or(&text(args, 1)).to_owned());
    "trunc" 2..=2 |args, _| trunc(args);
    "upper" 1..=1 |args, _| string(text(args, 0).to_uppercase());
    "urlquery" 1..=many |args, _| builtin("urlquery", args);
}

/// Functions of the template language itself that need no bounds of ours.
const BUILTIN: [&str; 12] = ["and", "call", "eq", "ge", "gt", "le", "len", "lt", "ne", "not", "or", "slice"];

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name).chain(BUILTIN)
}

/// All functions, for one rendering: what they read and make together is bounded.
pub(super) fn all(now: Time) -> FuncMap {
    let spent = Arc::new(AtomicUsize::new(0));
    FUNCTIONS.iter().map(|function| (function.name.to_owned(), guarded(function, now, spent.clone()))).collect()
}

fn guarded(function: &'static Function, now: Time, spent: Arc<AtomicUsize>) -> gotmpl::ValueFunc {
    Arc::new(move |args| {
        let name = function.name;
        let (min, max) = function.arguments;
        if args.len() < min || args.len() > max {
            let expected = if args.len() < min { min } else { max };
            return Err(TemplateError::ArgCount { name: name.to_owned(), expected, got: args.len() });
        }
        let charge = |bytes: usize| {
            let before = spent.fetch_add(bytes.saturating_add(16), Ordering::Relaxed);
            if before.saturating_add(bytes) > BUDGET { Err(fail(name, "the template makes too much")) } else { Ok(()) }
        };
        charge(estimate(name, args).min(BUDGET + 1))?;
        let result = (function.call)(args, now)?;
        charge(size(std::slice::from_ref(&result), BUDGET))?;
        Ok(result)
    })
}

/// Bytes that a call reads, and about what it makes where that may be far more.
fn estimate(name: &str, args: &[Value]) -> usize {
    let read = size(args, BUDGET);
    let number = |index: usize| args.get(index).and_then(Value::as_int).map_or(0, |n| usize::try_from(n).unwrap_or(0));
    let made = match name {
        "repeat" => number(0).saturating_mul(read),
        "indent" | "nindent" => number(0).saturating_mul(text(args, 1).matches('\n').count() + 1),
        "replace" => read.saturating_mul(text(args, 1).len().max(1)),
        "join" => read.saturating_add(text(args, 0).len().saturating_mul(read)),
        "printf" => {
            let format = text(args, 0);
            let width = if format.contains(|c: char| c.is_ascii_digit() || c == '*') { MAX_WIDTH } else { 0 };
            format.matches('%').count().saturating_mul(read.saturating_add(width))
        }
        _ => 0,
    };
    read.saturating_add(made)
}

/// About how many bytes values hold; no more is counted than `limit`.
fn size(values: &[Value], limit: usize) -> usize {
    let mut sum = 0_usize;
    for value in values {
        sum = sum.saturating_add(16).saturating_add(match value {
            Value::String(text) => text.len(),
            Value::List(list) => size(list, limit.saturating_sub(sum)),
            Value::Map(map) => map.iter().fold(0, |sum, (key, value)| {
                if sum > limit { sum } else { sum + key.len() + size(std::slice::from_ref(value), limit - sum) }
            }),
            _ => 0,
        });
        if sum > limit {
            break;
        }
    }
    sum
}

/// An error of a function, which never holds a value.
fn fail(name: &str, why: &str) -> TemplateError {
    TemplateError::Exec(format!("{OURS}{name}: {why}"))
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn string(text: String) -> Result<Value> {
    Ok(Value::String(text.into()))
}

fn text(args: &[Value], index: usize) -> String {
    args.get(index).map(text_of).unwrap_or_default()
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().filter(|value| !matches!(value, Value::Nil)).map(text_of).collect()
}

fn list_of<'a>(name: &str, value: &'a Value) -> Result<&'a [Value]> {
    if let Value::List(list) = value { Ok(list) } else { Err(fail(name, "the argument is no list")) }
}

fn map_of<'a>(name: &str, value: &'a Value) -> Result<&'a BTreeMap<Arc<str>, Value>> {
    if let Value::Map(map) = value { Ok(map) } else { Err(fail(name, "the first argument is no map")) }
}

fn is_empty(value: &Value) -> bool {
    !value.is_truthy()
}

/// A function of the template language itself.
fn builtin(name: &str, args: &[Value]) -> Result<Value> {
    let mut source = format!("{{{{{name}");
    for index in 0..args.len() {
        // Writing into a String cannot fail.
        let _ = write!(source, " (index . {index})");
    }
    source.push_str("}}");
    Template::new("").parse(&source)?.execute_to_string(&Value::List(args.into())).and_then(string)
}

/// As Go's on a map of strings, where what is missing is the empty text.
fn index(args: &[Value]) -> Result<Value> {
    let mut value = args[0].clone();
    for key in &args[1..] {
        let next = value.index(key)?;
        let of_texts = matches!(&value, Value::Map(map) if map.values().all(|value| matches!(value, Value::String(_))));
        value = if matches!(next, Value::Nil) && of_texts { Value::from_text("") } else { next };
    }
    Ok(value)
}

fn b64dec(text: &str) -> Result<Value> {
    let bytes = STANDARD.decode(text).map_err(|_| fail("b64dec", "the value is not base64"))?;
    let text = String::from_utf8(bytes);
    text.map_or_else(
        |_| Err(fail("b64dec", "the decoded value is binary: use data with decodingStrategy Base64")),
        string,
    )
}

fn dict(args: &[Value]) -> Value {
    let pairs = args.chunks(2).map(|pair| (text(pair, 0).into(), pair.get(1).cloned().unwrap_or_else(|| "".into())));
    Value::Map(Arc::new(pairs.collect()))
}

fn indent(name: &str, args: &[Value]) -> Result<String> {
    let width = args[0].as_int().and_then(|width| usize::try_from(width).ok());
    let width = width.ok_or_else(|| fail(name, "the first argument is no whole number"))?;
    let pad = " ".repeat(width);
    Ok(format!("{pad}{}", text(args, 1).replace('\n', &format!("\n{pad}"))))
}

fn repeat(args: &[Value]) -> Result<Value> {
    let count = args[0].as_int().and_then(|count| usize::try_from(count).ok());
    string(text(args, 1).repeat(count.ok_or_else(|| fail("repeat", "the first argument is no whole number"))?))
}

fn replace(old: &str, new: &str, source: &str) -> Result<Value> {
    string(source.replace(old, new))
}

fn split<'a>(separator: &str, source: &'a str) -> Box<dyn Iterator<Item = String> + 'a> {
    if separator.is_empty() {
        return Box::new(source.chars().map(String::from));
    }
    Box::new(source.split(separator).map(str::to_owned).collect::<Vec<_>>().into_iter())
}

fn title(text: &str) -> String {
    let mut start = true;
    let capital = |c: char| {
        let upper = if start { c.to_uppercase().collect::<String>() } else { c.to_string() };
        start = !(c.is_alphanumeric() || c == '_' || c == '\'');
        upper
    };
    text.chars().map(capital).collect()
}

/// The first bytes, or with a negative number the last, without cutting a character.
fn trunc(args: &[Value]) -> Result<Value> {
    let count = args[0].as_int().ok_or_else(|| fail("trunc", "the first argument is no whole number"))?;
    let text = text(args, 1);
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(text.len());
    if count >= 0 {
        return string(text[..text.floor_char_boundary(bytes)].to_owned());
    }
    string(text[text.ceil_char_boundary(text.len() - bytes)..].to_owned())
}

fn quoted(args: &[Value]) -> Result<Value> {
    let quoted: Result<Vec<String>> = texts(args)
        .iter()
        .map(|text| builtin("printf", &["%q".into(), text.as_str().into()]).map(|q| text_of(&q)))
        .collect();
    string(quoted?.join(" "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// JSON as Go writes it: safe inside HTML.
fn escaped(json: &str) -> String {
    let escapes =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    escapes.iter().fold(json.to_owned(), |json, (c, escape)| json.replace(*c, escape))
}

fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(bool) => Value::Bool(bool),
        // As Go, which reads every number as one with a fraction.
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::String(text.into()),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(Arc::new(map.into_iter().map(|(key, value)| (key.into(), from_json(value))).collect()))
        }
    }
}

trait FromText {
    fn from_text(text: &str) -> Self;
}

impl FromText for Value {
    fn from_text(text: &str) -> Self {
        Self::String(text.into())
    }
}

trait FromTemplate: Sized {
    fn from_template(value: &Value) -> Result<Self>;
}

impl FromTemplate for serde_json::Value {
    fn from_template(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::Nil => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Int(number) => (*number).into(),
            Value::Uint(number) => (*number).into(),
            // As Go, which writes whole numbers without a fraction.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
            Value::Float(number) => (*number).into(),
            Value::String(text) => text.to_string().into(),
            Value::List(list) => list.iter().map(Self::from_template).collect::<Result<Vec<_>>>()?.into(),
            Value::Map(map) => {
                let entries = map.iter().map(|(key, value)| Ok((key.to_string(), Self::from_template(value)?)));
                Self::Object(entries.collect::<Result<_>>()?)
            }
            Value::Function(_) => return Err(fail("toJson", "a function is no value")),
        })
    }
}
