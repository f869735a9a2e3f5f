//! Text: cutting, joining, quoting.

use gotmpl::Value;

use super::{
    Args, Outcome, bool, functions, language, list, map, shown, string, texts,
    words::{lower, upper},
};

functions! {
    "abbrev" 2..=2 |args| string(abbreviate(args.text(1)?, 0, args.int(0)?));
    "abbrevboth" 3..=3 |args| string(abbreviate(args.text(2)?, args.int(0)?, args.int(1)?));
    "cat" 0..=many |args| string(texts(args.values).join(" "));
    "contains" 2..=2 |args| bool(args.text(1)?.contains(args.text(0)?));
    "hasPrefix" 2..=2 |args| bool(args.text(1)?.starts_with(args.text(0)?));
    "hasSuffix" 2..=2 |args| bool(args.text(1)?.ends_with(args.text(0)?));
    "hello" 0..=0 |_| string("Hello!");
    "indent" 2..=2 |args| string(indent(args)?);
    "join" 2..=2 |args| string(all_texts(args.any(1)).join(args.text(0)?));
    "lower" 1..=1 |args| string(args.text(0)?.chars().map(lower).collect::<String>());
    "nindent" 2..=2 |args| string(format!("\n{}", indent(args)?));
    "nospace" 1..=1 |args| string(args.text(0)?.chars().filter(|c| !c.is_whitespace()).collect::<String>());
    "quote" 0..=many |args| string(texts(args.values).iter().map(|text| quoted(text)).collect::<Result<Vec<_>, _>>()?.join(" "));
    "repeat" 2..=2 repeat;
    "replace" 3..=3 |args| string(args.text(2)?.replace(args.text(0)?, args.text(1)?));
    "split" 2..=2 |args| map(numbered(&parts(args.text(0)?, args.text(1)?, usize::MAX)));
    "splitList" 2..=2 |args| list(parts(args.text(0)?, args.text(1)?, usize::MAX).into_iter().map(|part| Value::String(part.into())));
    "splitn" 3..=3 splitn;
    "squote" 0..=many |args| string(texts(args.values).iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(" "));
    "substr" 3..=3 substr;
    "toString" 1..=1 |args| string(shown(args.any(0)));
    "toStrings" 1..=1 |args| list(all_texts(args.any(0)).into_iter().map(|text| Value::String(text.into())));
    "trim" 1..=1 |args| string(args.text(0)?.trim());
    "trimAll" 2..=2 trim_all;
    "trimPrefix" 2..=2 |args| string(args.text(1)?.strip_prefix(args.text(0)?).unwrap_or(args.text(1)?));
    "trimSuffix" 2..=2 |args| string(args.text(1)?.strip_suffix(args.text(0)?).unwrap_or(args.text(1)?));
    "trimall" 2..=2 trim_all;
    "trunc" 2..=2 trunc;
    "upper" 1..=1 |args| string(args.text(0)?.chars().map(upper).collect::<String>());
}

/// The texts of a list, or the one text that a value is.
pub(super) fn all_texts(value: &Value) -> Vec<String> {
    if let Value::List(list) = value { texts(list) } else { texts(std::slice::from_ref(value)) }
}

/// A text in Go's double quotes.
pub(super) fn quoted(text: &str) -> Result<String, super::Failure> {
    if text.chars().all(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')) {
        return Ok(format!("\"{text}\""));
    }
    language::engine("printf", &[Value::String("%q".into()), Value::String(text.into())]).map(|quoted| shown(&quoted))
}

fn indent(args: &Args) -> Result<String, super::Failure> {
    let width = usize::try_from(args.int(0)?).map_err(|_| "the width is negative")?;
    let pad = " ".repeat(width);
    Ok(format!("{pad}{}", args.text(1)?.replace('\n', &format!("\n{pad}"))))
}

fn repeat(args: &Args) -> Outcome {
    let count = usize::try_from(args.int(0)?).map_err(|_| "the count is negative")?;
    string(args.text(1)?.repeat(count))
}

fn trim_all(args: &Args) -> Outcome {
    let set: Vec<char> = args.text(0)?.chars().collect();
    string(args.text(1)?.trim_matches(set.as_slice()))
}

/// The parts between separators; without a separator the characters.
fn parts<'a>(separator: &str, text: &'a str, most: usize) -> Vec<&'a str> {
    if !separator.is_empty() {
        return text.splitn(most, separator).collect();
    }
    let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).take(most).collect();
    starts.push(text.len());
    starts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

/// As sprig shows parts: `_0`, `_1` and so on.
fn numbered(parts: &[&str]) -> Vec<(std::sync::Arc<str>, Value)> {
    parts.iter().enumerate().map(|(index, part)| (format!("_{index}").into(), Value::String((*part).into()))).collect()
}

fn splitn(args: &Args) -> Outcome {
    let most = usize::try_from(args.int(1)?).unwrap_or(usize::MAX);
    let (separator, text) = (args.text(0)?, args.text(2)?);
    map(if most == 0 { vec![] } else { numbered(&parts(separator, text, most)) })
}

/// Where a number of bytes ends without cutting a character: Go would cut it.
fn at(text: &str, bytes: i64) -> usize {
    text.floor_char_boundary(usize::try_from(bytes).unwrap_or(usize::MAX).min(text.len()))
}

/// The first bytes, or with a negative number the last.
fn trunc(args: &Args) -> Outcome {
    let (count, text) = (args.int(0)?, args.text(1)?);
    if count >= 0 {
        return string(&text[..at(text, count)]);
    }
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(text.len());
    string(&text[text.ceil_char_boundary(text.len() - bytes)..])
}

fn substr(args: &Args) -> Outcome {
    let (start, end, text) = (args.int(0)?, args.int(1)?, args.text(2)?);
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let out = || "the text is shorter".into();
    if start < 0 {
        return if (0..=length).contains(&end) { string(&text[..at(text, end)]) } else { Err(out()) };
    }
    let end = if end < 0 || end > length { length } else { end };
    if start > end { Err(out()) } else { string(&text[at(text, start)..at(text, end)]) }
}

/// A text shortened to a width with `...`, from an offset on.
fn abbreviate(text: &str, offset: i64, width: i64) -> String {
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    if width < 4 || offset > 0 && width < 7 || length <= width {
        return text.to_owned();
    }
    let offset = offset.min(length);
    let offset = if length - offset < width - 3 { length - (width - 3) } else { offset };
    if offset <= 4 {
        format!("{}...", &text[..at(text, width - 3)])
    } else if width < 7 {
        // As Go, where this is an error that nobody sees.
        String::new()
    } else if offset + width - 3 < length {
        format!("...{}", abbreviate(&text[at(text, offset)..], 0, width - 3))
    } else {
        format!("...{}", &text[at(text, length - (width - 3))..])
    }
}
