//! The functions of templates: those of sprig and of External Secrets Operator, in one table for both engines.
//!
//! A function takes and returns the values of the Go engine; what it reads and makes is charged to the rendering's
//! [`Work`]. Its error is a text that holds no value of a secret.

mod carriers;
mod dates;
mod dicts;
mod digests;
mod encodings;
mod floats;
mod json;
mod keys;
mod kinds;
mod language;
mod layout;
mod lists;
mod numbers;
mod patterns;
mod pem;
mod random;
mod refused;
mod text;
mod urls;
mod versions;
mod words;
mod yaml;

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use gotmpl::Value;

use super::{
    bytes,
    work::{self, Work},
};

/// What a function returns.
pub(super) type Outcome = Result<Value, Failure>;

/// Why a function fails. Never holds a value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(String);

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self(why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A function: its name, how many arguments it takes at least and at most, and what it does.
pub(super) struct Function {
    /// As templates name it.
    pub(super) name: &'static str,
    arguments: (usize, usize),
    call: fn(&Args) -> Outcome,
}

macro_rules! functions {
    ($($name:literal $min:literal..=$max:tt $call:expr;)+) => {
        pub(super) const TABLE: &[super::Function] = &[
            $(super::Function { name: $name, arguments: ($min, super::functions!(@max $max)), call: $call },)+
        ];
    };
    (@max many) => { usize::MAX };
    (@max $max:literal) => { $max };
}
use functions;

/// The functions in groups, as the documents list them.
pub(super) const GROUPS: &[(&str, &[Function])] = &[
    ("Language", language::TABLE),
    ("Text", text::TABLE),
    ("Words", words::TABLE),
    ("Regular expressions", patterns::TABLE),
    ("Lists", lists::TABLE),
    ("Dictionaries", dicts::TABLE),
    ("Whole numbers", numbers::TABLE),
    ("Numbers with a fraction", floats::TABLE),
    ("Dates", dates::TABLE),
    ("Encodings", encodings::TABLE),
    ("Kinds and defaults", kinds::TABLE),
    ("URLs and paths", urls::TABLE),
    ("Versions", versions::TABLE),
    ("Digests and passwords", digests::TABLE),
    ("Chance", random::TABLE),
    ("Keys and certificates", keys::TABLE),
];

pub(super) use refused::why as refused;

/// The names that are known and refused.
pub(super) fn refused_names() -> impl Iterator<Item = &'static str> {
    refused::names()
}

pub(super) use dicts::CHANGING;

/// Reads a YAML dictionary of texts; the error holds no value.
pub(super) fn read_texts(text: &str) -> Result<BTreeMap<String, String>, String> {
    yaml::texts(text).map_err(|failure| failure.0)
}

/// Every function of the table.
pub(super) fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.iter().flat_map(|(_, functions)| *functions)
}

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}

impl Function {
    /// Calls it with what it reads and makes charged.
    pub(super) fn call(&'static self, values: &[Value], work: &Work) -> Outcome {
        let name = self.name;
        let (min, max) = self.arguments;
        if values.len() < min || values.len() > max {
            return Err(format!("{name} takes {}, and has {}", takes(min, max), values.len()).into());
        }
        let args = Args { values, work };
        let named = |failure: Failure| Failure(format!("{name}: {failure}"));
        work.charge(estimate(name, &args)).map_err(named)?;
        let carries = carriers::check(name, &args).map_err(named)?;
        let result = (self.call)(&args).map_err(named)?;
        let weight = work::weigh(&result).map_err(named)?;
        work.charge(weight.bytes).map_err(named)?;
        match result {
            result if !weight.binary => Ok(result),
            result if carries => Ok(carriers::joined(result)),
            _ => Err(named("it makes a character from U+10FF80 to U+10FFFF, which no template can".into())),
        }
    }
}

fn takes(min: usize, max: usize) -> String {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    match (min, max) {
        (min, max) if min == max => format!("{min} {}", plural(min)),
        (min, usize::MAX) => format!("at least {min} {}", plural(min)),
        (min, max) => format!("{min} to {max} arguments"),
    }
}

/// Bytes that a call reads, and about what it makes where that may be far more.
fn estimate(name: &str, args: &Args) -> usize {
    let read = args.values.iter().fold(0_usize, |sum, value| sum.saturating_add(work::size(value).unwrap_or(sum)));
    let number = |index: usize| args.int(index).map_or(0, |n| usize::try_from(n).unwrap_or(0));
    let length = |index: usize| args.text(index).map_or(0, str::len);
    let made = match name {
        "repeat" => number(0).saturating_mul(length(1)),
        "randAlphaNum" | "randAlpha" | "randNumeric" | "randAscii" | "randBytes" => number(0).saturating_mul(4),
        "indent" | "nindent" => {
            number(0).saturating_mul(args.text(1).map_or(0, |text| text.matches('\n').count()).saturating_add(1))
        }
        "replace" => length(2).saturating_add(1).saturating_mul(length(1).saturating_add(1)),
        "regexReplaceAll" | "mustRegexReplaceAll" | "regexReplaceAllLiteral" | "mustRegexReplaceAllLiteral" => {
            // What is replaced may stand in the replacement as often as it names it.
            let names = args.text(2).map_or(0, |text| text.matches('$').count());
            let each = length(2).saturating_add(names.saturating_mul(length(1)));
            length(1).saturating_add(1).saturating_mul(each.saturating_add(1))
        }
        "join" => length(0).saturating_mul(args.values.get(1).map_or(0, |list| list.len().unwrap_or(0))),
        "wrapWith" => length(1).saturating_mul(length(2)),
        "toYaml" | "toPrettyJson" | "mustToPrettyJson" => read.saturating_mul(8),
        "bcrypt" | "htpasswd" => work::BUDGET / 8,
        "printf" => printed(args, read),
        _ => 0,
    };
    read.saturating_add(made)
}

/// About what a format makes: each verb may show all arguments, and be as wide as the engine allows.
fn printed(args: &Args, read: usize) -> usize {
    /// What a width in a format may add to each of its verbs.
    const MAX_WIDTH: usize = 1 << 16;
    let format = args.text(0).unwrap_or_default();
    let width = if format.contains(|c: char| c.is_ascii_digit() || c == '*') { MAX_WIDTH } else { 0 };
    format.matches('%').count().saturating_mul(read.saturating_add(width))
}

/// The arguments of a call.
pub(super) struct Args<'a> {
    values: &'a [Value],
    work: &'a Work,
}

impl<'a> Args<'a> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn any(&self, index: usize) -> &'a Value {
        self.values.get(index).unwrap_or(&Value::Nil)
    }

    fn text(&self, index: usize) -> Result<&'a str, Failure> {
        match self.any(index) {
            Value::String(text) => Ok(text),
            other => Err(wrong(index, other, "text")),
        }
    }

    /// The bytes of a text, which may be any.
    fn bytes(&self, index: usize) -> Result<Cow<'a, [u8]>, Failure> {
        self.text(index).map(bytes::meant)
    }

    fn int(&self, index: usize) -> Result<i64, Failure> {
        match self.any(index) {
            Value::Int(number) => Ok(*number),
            Value::Uint(number) if i64::try_from(*number).is_ok() => Ok(number.cast_signed()),
            other => Err(wrong(index, other, "a whole number")),
        }
    }

    fn float(&self, index: usize) -> Result<f64, Failure> {
        match self.any(index) {
            Value::Float(number) => Ok(*number),
            #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
            Value::Int(number) => Ok(*number as f64),
            other => Err(wrong(index, other, "a number")),
        }
    }

    fn bool(&self, index: usize) -> Result<bool, Failure> {
        match self.any(index) {
            Value::Bool(bool) => Ok(*bool),
            other => Err(wrong(index, other, "true or false")),
        }
    }

    fn list(&self, index: usize) -> Result<&'a [Value], Failure> {
        match self.any(index) {
            Value::List(list) => Ok(list),
            other => Err(wrong(index, other, "a list")),
        }
    }

    fn map(&self, index: usize) -> Result<&'a Arc<Map>, Failure> {
        match self.any(index) {
            Value::Map(map) => Ok(map),
            other => Err(wrong(index, other, "a dictionary")),
        }
    }
}

/// A dictionary.
type Map = BTreeMap<Arc<str>, Value>;

fn wrong(index: usize, value: &Value, wanted: &str) -> Failure {
    format!("argument {} is {}; {wanted} is needed", index + 1, kind(value)).into()
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::Bool(_) => "true or false",
        Value::Int(_) | Value::Uint(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::String(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a dictionary",
        Value::Function(_) => "a function",
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn string(text: impl AsRef<str>) -> Outcome {
    Ok(Value::String(text.as_ref().into()))
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn int(number: i64) -> Outcome {
    Ok(Value::Int(number))
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn bool(bool: bool) -> Outcome {
    Ok(Value::Bool(bool))
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn list(values: impl IntoIterator<Item = Value>) -> Outcome {
    Ok(Value::List(values.into_iter().collect()))
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn map(values: impl IntoIterator<Item = (Arc<str>, Value)>) -> Outcome {
    Ok(Value::Map(Arc::new(values.into_iter().collect())))
}

/// A value as text, as Go shows it.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Values as texts, without those that are nothing.
fn texts(values: &[Value]) -> Vec<String> {
    values.iter().filter(|value| !matches!(value, Value::Nil)).map(shown).collect()
}

fn is_empty(value: &Value) -> bool {
    !value.is_truthy()
}
