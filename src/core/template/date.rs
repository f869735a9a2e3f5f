//! Times in Go's layouts, in which the reference time `Mon Jan 2 15:04:05 MST 2006` stands for itself.

use chrono::{DateTime, Utc};
use gotmpl::Value;

/// Parts of Go's layouts and chrono's word for each. Where one begins with another, the longer is first.
const PARTS: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("2006", "%Y"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("Z07:00", "Z"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// A time in a layout; none where the value is no time.
pub(super) fn format(layout: &str, value: &Value) -> Option<String> {
    let time = match value {
        Value::Int(seconds) => DateTime::from_timestamp(*seconds, 0)?,
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc),
        _ => return None,
    };
    let mut pattern = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let part = PARTS.iter().find(|(part, _)| rest.starts_with(part));
        let length = part.map_or_else(|| first.len_utf8(), |(part, _)| part.len());
        match part {
            Some((_, word)) => pattern.push_str(word),
            None if first == '%' => pattern.push_str("%%"),
            None => pattern.push(first),
        }
        rest = &rest[length..];
    }
    Some(time.format(&pattern).to_string())
}
