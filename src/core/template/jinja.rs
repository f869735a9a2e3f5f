//! Jinja's templates, by `minijinja`, with the same functions: as functions, and as filters that take the piped value
//! as their last argument, as Go's pipes give it. Where Jinja has a filter of the same name, that filter stays.

mod binary;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use binary::{Binary, Misuse};
use gotmpl::Value as Plain;
use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, ValueKind},
};

use super::{
    MAX_BYTES, Values, bytes,
    functions::{self, Failure, Function},
    unknown,
    work::{MAX_DEPTH, Work},
};

/// What one template may do and make: about so many instructions, or 64 times as many bytes.
const FUEL: u64 = 50_000;
/// How deep loops may call themselves.
const MAX_CALLS: usize = 100;
/// Marks errors of our own functions: their texts hold no value.
const OURS: &str = "\u{2}";
/// Items that a value may have that is given to a function.
const MAX_ITEMS: usize = 100_000;
/// What Jinja has of its own: the filters that stay, and its functions.
pub(super) const FILTERS: [&str; 47] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];
const FUNCTIONS: [&str; 2] = ["namespace", "range"];

/// Renders a template; the error is a text that holds no value.
pub(super) fn render(template: &str, values: &Values, work: &Arc<Work>) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_CALLS);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|_| "the engine cannot be set up")?);
    // It would show all values.
    environment.remove_global("debug");
    let misuse = Misuse::default();
    environment.set_formatter(binary::formatter(template, &misuse));
    for function in words(template).into_iter().filter_map(functions::find) {
        add(&mut environment, function, work, &misuse);
    }
    let parsed = environment.template_from_str(template).map_err(|error| explain(&error, None, values))?;
    let rendered = parsed.render(from_plain(&Plain::Map(values.map.clone()), &misuse));
    if misuse.happened() {
        return Err("a value is binary: it can be shown whole, and b64enc, sha256sum and len take it".to_owned());
    }
    let text = rendered.map_err(|error| explain(&error, Some(&parsed), values))?;
    if bytes::length(&text) > MAX_BYTES {
        return Err(format!("the result is larger than {MAX_BYTES} bytes, which no Secret can hold"));
    }
    Ok(text)
}

/// The words of a template, among them all names of functions.
fn words(template: &str) -> BTreeSet<&str> {
    template.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect()
}

fn add(environment: &mut Environment, function: &'static Function, work: &Arc<Work>, misuse: &Misuse) {
    let call = {
        let (work, misuse) = (work.clone(), misuse.clone());
        move |args: Vec<Value>| -> Result<Value, Error> {
            if args.iter().any(Value::is_undefined) {
                return Err(Error::from(ErrorKind::UndefinedError));
            }
            let mut count = 0;
            let args: Result<Vec<Plain>, Failure> = args.iter().map(|arg| to_plain(arg, 0, &mut count)).collect();
            let named = |failure: Failure| format!("{}: {failure}", function.name);
            let result =
                args.map_err(named).and_then(|args| function.call(&args, &work).map_err(|why| why.to_string()));
            let error = |why| Error::new(ErrorKind::InvalidOperation, format!("{OURS}{why}"));
            result.map(|value| from_plain(&value, &misuse)).map_err(error)
        }
    };
    if !FUNCTIONS.contains(&function.name) {
        let call = call.clone();
        environment.add_function(function.name, move |args: Rest<Value>, named: Kwargs| {
            // As Jinja's own `dict(a=1)`; no other function has named arguments.
            let pairs = if function.name == "dict" { named.args().collect::<Vec<_>>() } else { vec![] };
            let pairs: Result<Vec<[Value; 2]>, Error> =
                pairs.into_iter().map(|name| Ok([Value::from(name), named.get(name)?])).collect();
            let pairs = pairs?;
            named.assert_all_used()?;
            call(args.0.into_iter().chain(pairs.into_iter().flatten()).collect())
        });
    }
    if !FILTERS.contains(&function.name) {
        environment.add_filter(function.name, move |piped: Value, args: Rest<Value>| {
            call(args.0.into_iter().chain([piped]).collect())
        });
    }
}

/// A value of the other engine.
fn from_plain(value: &Plain, misuse: &Misuse) -> Value {
    match value {
        Plain::Nil | Plain::Function(_) => Value::from(()),
        Plain::Bool(bool) => Value::from(*bool),
        Plain::Int(number) => Value::from(*number),
        Plain::Uint(number) => Value::from(*number),
        // Whole numbers of JSON are shown without a fraction, as the other engine shows them.
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        Plain::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Value::from(*number as i64),
        Plain::Float(number) => Value::from(*number),
        Plain::String(text) => binary::text(text, misuse),
        Plain::List(list) => Value::from(list.iter().map(|value| from_plain(value, misuse)).collect::<Vec<_>>()),
        Plain::Map(map) => {
            let pair = |(key, value): (&Arc<str>, &Plain)| (key.to_string(), from_plain(value, misuse));
            Value::from(map.iter().map(pair).collect::<BTreeMap<_, _>>())
        }
    }
}

/// A value for the other engine.
fn to_plain(value: &Value, depth: usize, count: &mut usize) -> Result<Plain, Failure> {
    *count += 1;
    if depth > MAX_DEPTH || *count > MAX_ITEMS {
        return Err("the value is nested too deep, or has too many items".into());
    }
    if let Some(binary) = value.downcast_object_ref::<Binary>() {
        return Ok(Plain::String(binary.carried.clone()));
    }
    let failed = |_| Failure::from("a value cannot be used");
    Ok(match value.kind() {
        ValueKind::Undefined => return Err("a value is not defined".into()),
        ValueKind::None => Plain::Nil,
        ValueKind::Bool => Plain::Bool(value.is_true()),
        ValueKind::Number => match (i64::try_from(value.clone()), f64::try_from(value.clone())) {
            (Ok(number), _) if value.is_integer() => Plain::Int(number),
            (_, Ok(number)) => Plain::Float(number),
            _ => return Err("a number is too large".into()),
        },
        ValueKind::Map => {
            let mut map = BTreeMap::new();
            for key in value.try_iter().map_err(failed)? {
                let item = value.get_item(&key).map_err(failed)?;
                map.insert(Arc::from(key.to_string()), to_plain(&item, depth + 1, count)?);
            }
            Plain::Map(Arc::new(map))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(failed)?;
            Plain::List(items.map(|item| to_plain(&item, depth + 1, count)).collect::<Result<Vec<_>, _>>()?.into())
        }
        ValueKind::String => Plain::String(value.as_str().unwrap_or_default().into()),
        _ => return Err("a value cannot be used".into()),
    })
}

/// An error in words that hold no value: texts of the engine may quote one, so only what it is and where is told.
fn explain(error: &Error, template: Option<&minijinja::Template>, values: &Values) -> String {
    let detail = error.detail().unwrap_or_default();
    let line = error.line().map_or_else(String::new, |line| format!("line {line}: "));
    // What the engine says of names that it does not know, and of what it cannot parse, comes from the template.
    let name = || detail.strip_prefix("filter ").unwrap_or(detail).split(' ').next().unwrap_or_default();
    match error.kind() {
        _ if detail.starts_with(OURS) => format!("{line}{}", &detail[OURS.len()..]),
        ErrorKind::SyntaxError | ErrorKind::BadEscape => format!("{line}{detail}"),
        ErrorKind::UnknownFilter => format!("{line}{}", unknown(name(), &FILTERS)),
        ErrorKind::UnknownFunction => format!("{line}{}", unknown(name(), &FUNCTIONS)),
        ErrorKind::UnknownTest => format!("{line}the test is not known"),
        ErrorKind::UnknownMethod => format!("{line}values have no methods: use a filter"),
        ErrorKind::OutOfFuel => format!("{line}the template does or makes too much"),
        ErrorKind::UndefinedError => {
            let unknown: Option<String> = template.and_then(|template| {
                let names = template.undeclared_variables(false);
                let known = |name: &str| values.map.contains_key(name) || functions::find(name).is_some();
                let mut missing: Vec<String> =
                    names.into_iter().filter(|name| !known(name) && !FUNCTIONS.contains(&name.as_str())).collect();
                missing.sort_unstable();
                missing.into_iter().next()
            });
            match unknown {
                Some(key) => format!("{line}{}", values.missing(&key)),
                None => format!("{line}a value is not defined"),
            }
        }
        kind => format!("{line}{kind}"),
    }
}
