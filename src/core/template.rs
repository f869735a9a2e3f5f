//! Go templates with the rules of External Secrets Operator (its engine `v2`): the data is a map of strings, a key
//! that is not there is an error, and the functions are those of sprig that users use, the deterministic ones.
//!
//! A template comes from a user and is rendered in the controller, so its work and its result are bounded, and an
//! error never holds a value.

mod date;
mod functions;

use std::{collections::BTreeMap, fmt, sync::Arc};

use gotmpl::{MissingKey, Template, TemplateError, Value};

use crate::{
    api::common::Time,
    core::{
        near::did_you_mean,
        problem::{Problem, Reason},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// Bytes that a template may make: what a Secret can hold.
const MAX_OUTPUT: usize = 1 << 20;
/// Rounds of all `range` of one template together.
const MAX_ROUNDS: u64 = 10_000;
/// A template's own name, such as no user gives to a `define` in it.
const NAME: &str = "\u{1}";
/// Ends every template: the engine drops without an error what follows an `end` or `else` that ends nothing.
const END: char = '\u{3}';
/// Marks errors of our own functions: their texts hold no value.
const OURS: &str = "\u{2}";

/// Values that templates can use.
#[derive(Clone)]
pub struct Values {
    map: Value,
    /// Keys whose values are no text.
    binary: Vec<String>,
}

impl From<&SensitiveMap> for Values {
    fn from(values: &SensitiveMap) -> Self {
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut binary = Vec::new();
        for (key, value) in values {
            match value.expose_str() {
                Some(text) => {
                    map.insert(key.as_str().into(), Value::String(text.into()));
                }
                None => binary.push(key.clone()),
            }
        }
        Self { map: Value::Map(Arc::new(map)), binary }
    }
}

impl Values {
    fn names(&self) -> impl Iterator<Item = &str> {
        let map = if let Value::Map(map) = &self.map { Some(map) } else { None };
        map.into_iter().flat_map(|map| map.keys().map(|key| &**key))
    }
}

/// Renders a template. `place` says in errors where it stands, such as `target.template.data.URL`.
pub fn render(template: &str, place: &str, values: &Values, now: Time) -> Result<Sensitive, Problem> {
    let fail = |error: &TemplateError| {
        let why = explain(error, values);
        Problem::new(Reason::TemplateError, format!("{place}: {why}"))
    };
    if !template.contains("{{") {
        return Ok(Sensitive::from(template));
    }
    // First alone, so that an error does not speak of our own mark.
    Template::new(NAME).parse(template).map_err(|error| fail(&error))?;
    let parsed = Template::new(NAME)
        .missing_key(MissingKey::Error)
        .max_range_iters(MAX_ROUNDS)
        .funcs(functions::all(now))
        .parse(&format!("{template}{END}"))
        .map_err(|error| fail(&error))?;
    let mut output = Bounded(String::new());
    match parsed.execute_fmt(&mut output, &values.map) {
        Ok(()) if output.0.ends_with(END) => {
            output.0.pop();
            Ok(Sensitive::from(output.0))
        }
        Ok(()) => {
            let message = format!("{place}: an {{{{ end }}}} or {{{{ else }}}} is without its {{{{ if }}}}");
            Err(Problem::new(Reason::TemplateError, message))
        }
        Err(error) => Err(fail(&error)),
    }
}

/// A text that refuses to grow beyond what a Secret can hold.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// An error in words that hold no value.
fn explain(error: &TemplateError, values: &Values) -> String {
    match error {
        TemplateError::Parse { line, col, message, .. } | TemplateError::Lex { line, col, message, .. } => {
            format!("line {line}, column {col}: {message}")
        }
        TemplateError::UndefinedFunction(name) => undefined(name),
        TemplateError::MissingKey { key } if values.binary.contains(key) => {
            format!("the value of {key:?} is binary, which a template cannot hold: take it by an entry of data")
        }
        TemplateError::MissingKey { key } => {
            let names: Vec<&str> = values.names().collect();
            let hint = did_you_mean(key, names.iter().copied());
            format!("no key {key:?}.{hint} The keys are: {names:?}")
        }
        TemplateError::Exec(text) => match text.strip_prefix(OURS) {
            Some(ours) => ours.to_owned(),
            None => without_values(text).to_owned(),
        },
        TemplateError::IndexOutOfRange { .. } => "an index is out of range".to_owned(),
        TemplateError::Write => format!("the result is larger than {MAX_OUTPUT} bytes, which no Secret can hold"),
        TemplateError::RecursionLimit => "templates call each other without end".to_owned(),
        TemplateError::RangeIterLimit => format!("range goes on for more than {MAX_ROUNDS} rounds"),
        TemplateError::FuncPanic { name, .. } => format!("function {name:?} fails"),
        TemplateError::TypeMismatch { .. }
        | TemplateError::UndefinedTemplate(_)
        | TemplateError::UndefinedVariable(_)
        | TemplateError::ArgCount { .. }
        | TemplateError::NotIterable(_) => error.to_string(),
        _ => "the template fails".to_owned(),
    }
}

/// An error text of the template engine up to where it may quote a value.
fn without_values(text: &str) -> &str {
    let end = [" got ", "length of ", "can't use ", "out of range"].iter().filter_map(|word| text.find(word)).min();
    end.map_or(text, |end| text[..end].trim_end_matches([' ', ',', ':']))
}

fn undefined(name: &str) -> String {
    let hint = did_you_mean(name, functions::names());
    format!("function {name:?} is not defined.{hint}")
}

#[cfg(test)]
mod tests;
