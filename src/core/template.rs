//! Templates: Go's with the rules of External Secrets Operator (its engine `v2`), or minijinja. The data is a map of
//! strings, a key that is not there is an error, and both have the same functions.
//!
//! A template comes from a user and is rendered in the controller, so its work and its result are bounded, and an
//! error never holds a value.

mod bytes;
mod functions;
mod go;
mod jinja;
mod work;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use gotmpl::Value;

use crate::{
    api::common::Time,
    core::{
        near::did_you_mean,
        problem::{Problem, Reason},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// Bytes that a template may have and make: what a Secret can hold.
const MAX_BYTES: usize = 1 << 20;
/// Room for the calls of an engine, whatever the thread has: parsers and values may nest.
const STACK: usize = 64 << 20;
/// What the calls of Go's engine need at most, which bounds how deep they go. Where the thread has it, none is made.
const GO_STACK: usize = 4 << 20;

/// What renders a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Go's templates.
    #[default]
    Go,
    /// Jinja's.
    Minijinja,
}

/// What a rendering depends on besides the template and the values.
#[derive(Clone)]
pub struct Moment {
    /// The time that `now` shows.
    pub now: Time,
    /// Where chance comes from: the same seed gives the same text. Secret, as passwords may be made of it.
    pub seed: [u8; 32],
}

/// Values that templates can use.
#[derive(Clone)]
pub struct Values {
    map: Arc<BTreeMap<Arc<str>, Value>>,
}

impl From<&SensitiveMap> for Values {
    fn from(values: &SensitiveMap) -> Self {
        let carried = |(key, value): (&String, &Sensitive)| {
            let key: Arc<str> = bytes::carried(key.as_bytes()).into();
            (key, Value::String(bytes::carried(value.expose()).into()))
        };
        Self { map: Arc::new(values.iter().map(carried).collect()) }
    }
}

impl Values {
    /// Says that a key is not there.
    fn missing(&self, key: &str) -> String {
        let names: Vec<&str> = self.map.keys().map(|key| &**key).collect();
        let hint = did_you_mean(key, names.iter().copied());
        format!("no key {key:?}.{hint} The keys are: {names:?}")
    }
}

/// Renders a template. `place` says in errors where it stands, such as `target.template.data.URL`, and templates in
/// different places make different things of the same seed.
pub fn render(
    engine: Engine,
    template: &str,
    place: &str,
    values: &Values,
    moment: &Moment,
) -> Result<Sensitive, Problem> {
    let fail = |why: &str| Problem::new(Reason::TemplateError, format!("{place}: {why}"));
    let marks: &[&str] = match engine {
        Engine::Go => &["{{"],
        Engine::Minijinja => &["{{", "{%", "{#"],
    };
    if !marks.iter().any(|mark| template.contains(mark)) {
        return Ok(Sensitive::from(template));
    }
    if template.len() > MAX_BYTES {
        return Err(fail(&format!("the template is larger than {MAX_BYTES} bytes, which no Secret can hold")));
    }
    if bytes::are_written(template) {
        return Err(fail("it writes a character from U+10FF80 to U+10FFFF, which no template can: leave it out"));
    }
    let work = Arc::new(work::Work::new(moment, place, values));
    let run = || match engine {
        Engine::Go => go::render(template, values, &work),
        Engine::Minijinja => jinja::render(template, values, &work),
    };
    let needed = if engine == Engine::Go { GO_STACK } else { STACK };
    let rendered = contained(needed, run).map_err(|why| fail(&why))?;
    Ok(if bytes::is_plain(&rendered) { rendered.into() } else { bytes::meant(&rendered).into_owned().into() })
}

/// Runs an engine with so much of the stack. A panic's text may hold a value, so nothing of it is told.
fn contained(needed: usize, run: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    let ran = stacker::maybe_grow(needed, STACK, || catch_unwind(AssertUnwindSafe(run)));
    ran.unwrap_or_else(|_| Err("the template engine fails on it".to_owned()))
}

/// Renders a template and reads the result as a YAML map of keys and texts.
pub fn render_map(
    engine: Engine,
    template: &str,
    place: &str,
    values: &Values,
    moment: &Moment,
) -> Result<SensitiveMap, Problem> {
    let fail = |why: &str| Problem::new(Reason::TemplateError, format!("{place}: what the template renders to: {why}"));
    let rendered = render(engine, template, place, values, moment)?;
    let text = rendered.expose_str().ok_or_else(|| fail("is no text"))?;
    let read = catch_unwind(|| functions::read_texts(text));
    let read = read.unwrap_or_else(|_| Err("the YAML cannot be read".to_owned())).map_err(|why| fail(&why))?;
    Ok(read.into_iter().map(|(key, value)| (key, Sensitive::from(value))).collect())
}

/// The functions of templates, in groups, as the documents list them.
pub fn function_groups() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    functions::GROUPS.iter().map(|(group, table)| (*group, table.iter().map(|function| function.name).collect()))
}

/// The functions that External Secrets Operator has and that are refused.
pub fn refused_functions() -> impl Iterator<Item = &'static str> {
    functions::refused_names()
}

/// Says that there is no function of a name, or why it is refused.
fn unknown(name: &str, others: &[&str]) -> String {
    if let Some(why) = functions::refused(name) {
        return format!("function {name:?} is not available: {why}");
    }
    let hint = did_you_mean(name, functions::all().map(|function| function.name).chain(others.iter().copied()));
    format!("function {name:?} is not defined.{hint}")
}

#[cfg(test)]
mod tests;
