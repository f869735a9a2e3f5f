//! Between the values of templates and JSON.

use std::sync::Arc;

use gotmpl::Value;
use serde_json::Value as Json;

use super::Failure;

/// JSON as Go writes it: safe inside HTML.
pub(super) fn escaped(json: &str) -> String {
    let escapes =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    escapes.iter().fold(json.to_owned(), |json, (c, escape)| json.replace(*c, escape))
}

/// JSON as a value of templates.
pub(super) fn read(json: Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(bool) => Value::Bool(bool),
        // As Go, which reads every number as one with a fraction.
        Json::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(text.into()),
        Json::Array(list) => Value::List(list.into_iter().map(read).collect()),
        Json::Object(map) => {
            Value::Map(Arc::new(map.into_iter().map(|(key, value)| (key.into(), read(value))).collect()))
        }
    }
}

/// A value of templates as JSON.
pub(super) fn value(value: &Value) -> Result<Json, Failure> {
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        // As Go, which writes whole numbers without a fraction.
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.to_string().into(),
        Value::List(list) => list.iter().map(self::value).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| Ok((key.to_string(), self::value(value)?)));
            Json::Object(entries.collect::<Result<_, Failure>>()?)
        }
        Value::Function(_) => return Err("a function is no value".into()),
    })
}
