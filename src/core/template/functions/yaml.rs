//! YAML, written as Kubernetes' own library writes it and read with the words and numbers of YAML 1.1 that it knows.

use std::{collections::BTreeMap, fmt};

use gotmpl::Value;
use serde::{Deserialize, Deserializer, de};

use super::{Failure, Outcome, json};

/// Reads a dictionary.
pub(super) fn read(text: &str) -> Outcome {
    let parsed: Option<serde_json::Map<String, serde_json::Value>> = parse(text)?;
    Ok(json::read(serde_json::Value::Object(parsed.unwrap_or_default())))
}

/// Reads a dictionary of texts. As in Kubernetes' library, numbers, true and false become texts.
pub(in crate::core::template) fn texts(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let parsed: Option<BTreeMap<String, Text>> = parse(text)?;
    Ok(parsed.unwrap_or_default().into_iter().map(|(key, Text(text))| (key, text)).collect())
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    // Of a key that is there twice the last one counts.
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // What the parser says may quote a value; where it is does not.
        let place =
            error.location().map(|location| format!(" (line {}, column {})", location.line(), location.column()));
        format!("the text is no YAML dictionary of the wanted kind{}", place.unwrap_or_default()).into()
    })
}

/// A single value as text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_bool<E>(self, bool: bool) -> Result<Text, E> {
                Ok(Text(bool.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Text, E> {
                Ok(Text(Value::Float(number).to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(String::new()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Writes a value, without a line end.
pub(super) fn write(value: &Value) -> Result<String, Failure> {
    let mut out = String::new();
    block(&json::value(value)?, 0, &mut out);
    Ok(out.trim_end_matches('\n').to_owned() + if out.ends_with("\n\n") { "\n" } else { "" })
}

use serde_json::Value as Json;

/// A value that begins at the current place of the line; the lines after it are indented.
fn block(value: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(&pad);
                }
                out.push_str(&if key.contains('\n') { double(key) } else { scalar(key, indent) });
                out.push(':');
                match value {
                    Json::Object(inner) if !inner.is_empty() => {
                        out.extend(["\n", &pad, "  "]);
                        block(value, indent + 2, out);
                    }
                    Json::Array(inner) if !inner.is_empty() => {
                        out.extend(["\n", &pad]);
                        block(value, indent, out);
                    }
                    value => {
                        out.push(' ');
                        block(value, indent, out);
                    }
                }
            }
        }
        Json::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(&pad);
                }
                out.push_str("- ");
                block(value, indent + 2, out);
            }
        }
        Json::Object(_) => out.push_str("{}\n"),
        Json::Array(_) => out.push_str("[]\n"),
        Json::String(text) => out.extend([scalar(text, indent).as_str(), "\n"]),
        other => out.extend([other.to_string().as_str(), "\n"]),
    }
}

/// A text in the plainest style that keeps it a text.
fn scalar(text: &str, indent: usize) -> String {
    let unprintable =
        |c: char| c.is_control() && c != '\n' || c == '\u{feff}' || ('\u{2028}'..='\u{2029}').contains(&c);
    if text.chars().any(unprintable) || text.contains(" \n") || text.contains('\n') && text.ends_with(' ') {
        return double(text);
    }
    if text.contains('\n') {
        return literal(text, indent);
    }
    if is_other(text) {
        double(text)
    } else if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn literal(text: &str, indent: usize) -> String {
    let kept = match text {
        text if !text.ends_with('\n') => "-",
        text if text.ends_with("\n\n") || text == "\n" => "+",
        _ => "",
    };
    // Spaces at the start would be taken for the indentation.
    let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let pad = " ".repeat(indent + 2);
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<String> =
        body.split('\n').map(|line| if line.is_empty() { String::new() } else { format!("{pad}{line}") }).collect();
    format!("|{hint}{kept}\n{}", lines.join("\n"))
}

fn double(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{1b}' => quoted.push_str("\\e"),
            '\u{85}' => quoted.push_str("\\N"),
            '\u{2028}' => quoted.push_str("\\L"),
            '\u{2029}' => quoted.push_str("\\P"),
            '\u{feff}' => quoted.push_str("\\uFEFF"),
            c if c.is_control() => quoted.extend(["\\x", &format!("{:02X}", u32::from(c))]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a plain text would be read as something else than text.
fn is_other(text: &str) -> bool {
    const WORDS: [&str; 15] =
        ["", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", ".nan", ".inf", "+.inf", "-.inf"];
    let lower = text.to_lowercase();
    let cased = |word: &str| {
        let capital = word.chars().next().map(|c| c.to_uppercase().collect::<String>() + &word[c.len_utf8()..]);
        text == word || text == word.to_uppercase() || capital.is_some_and(|capital| text == capital)
    };
    WORDS.contains(&lower.as_str()) && (cased(&lower) || lower.ends_with("nan") || lower.ends_with("inf"))
        || is_number(text)
        || is_time(text)
}

fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let in_base = |prefix: &str, base: u32| {
        digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(base)))
    };
    let is_float = || {
        let (number, exponent) = digits.split_once(['e', 'E']).map_or((digits, None), |(a, b)| (a, Some(b)));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
        all(whole)
            && all(fraction)
            && !(whole.is_empty() && fraction.is_empty())
            && exponent.is_none_or(|exponent| !exponent.is_empty() && all(exponent))
    };
    // Numbers of base 60, such as 1:30, are texts that other parsers take for numbers.
    let sixty = text.contains(':')
        && text.split(':').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '.'));
    ["0x", "0X"].iter().any(|prefix| in_base(prefix, 16))
        || in_base("0b", 2)
        || in_base("0o", 8)
        || text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) && is_float()
        || sixty
}

fn is_time(text: &str) -> bool {
    let (date, rest) = text.split_at(text.find(['T', 't', ' ']).unwrap_or(text.len()));
    let parts: Vec<&str> = date.split('-').collect();
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
    matches!(parts.as_slice(), [year, month, day] if year.len() == 4 && digits(year, 4) && digits(month, 2) && digits(day, 2))
        && (rest.is_empty() || rest[1..].starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a text can stand without quotes.
fn is_plain(text: &str) -> bool {
    let blank = |c: Option<char>| c.is_none_or(|c| c == ' ');
    let first = text.chars().next();
    let second = text.chars().nth(1);
    let starts_wrong = match first {
        Some('#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`') => true,
        Some('?' | ':' | '-') => blank(second),
        _ => false,
    };
    !(starts_wrong
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.contains(": ")
        || text.ends_with(':')
        || text.contains(" #"))
}
