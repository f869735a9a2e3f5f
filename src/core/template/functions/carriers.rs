//! The functions that take values that are no text: those that read bytes, and those that pass values on as they are. The
//! others would see the characters that stand for bytes.

use gotmpl::Value;

use super::{Args, Failure, bytes, work};

/// They read bytes, or make them.
const READ: [&str; 11] = [
    "adler32sum",
    "b32dec",
    "b32enc",
    "b64dec",
    "b64enc",
    "len",
    "print",
    "println",
    "sha1sum",
    "sha256sum",
    "sha512sum",
];
/// They look at no character of a value, or compare it with another as a whole.
const PASS: &[&str] = &[
    "all",
    "and",
    "any",
    "append",
    "chunk",
    "coalesce",
    "compact",
    "concat",
    "deepCopy",
    "deepEqual",
    "default",
    "dict",
    "dig",
    "empty",
    "eq",
    "first",
    "get",
    "has",
    "hasKey",
    "index",
    "initial",
    "keys",
    "kindIs",
    "kindOf",
    "last",
    "list",
    "merge",
    "mergeOverwrite",
    "mustAppend",
    "mustChunk",
    "mustCompact",
    "mustDeepCopy",
    "mustFirst",
    "mustHas",
    "mustInitial",
    "mustLast",
    "mustMerge",
    "mustMergeOverwrite",
    "mustPrepend",
    "mustPush",
    "mustRest",
    "mustReverse",
    "mustSlice",
    "mustUniq",
    "mustWithout",
    "ne",
    "not",
    "omit",
    "or",
    "pick",
    "pluck",
    "prepend",
    "push",
    "rest",
    "reverse",
    "set",
    "slice",
    "ternary",
    "toString",
    "tuple",
    "typeIs",
    "typeIsLike",
    "typeOf",
    "uniq",
    "unset",
    "values",
    "without",
];

/// Whether a call may take and make values that are no text; an error where it has one and may not.
pub(super) fn check(name: &str, args: &Args) -> Result<bool, Failure> {
    let carries = match name {
        "printf" => args.text(0).is_ok_and(only_shows),
        name => READ.contains(&name) || PASS.contains(&name),
    };
    if !carries && args.values.iter().any(|value| work::weigh(value).is_ok_and(|weight| weight.binary)) {
        let message = "a value is binary, which it cannot take: b64enc, sha256sum, len, print and the functions of lists \
                       and dictionaries can";
        return Err(message.into());
    }
    Ok(carries)
}

/// Whether a format shows values as they are, without width, quotes or numbers for characters.
fn only_shows(format: &str) -> bool {
    let mut verbs = format.split('%').skip(1);
    while let Some(verb) = verbs.next() {
        if verb.is_empty() {
            // `%%`, and what follows it is text.
            verbs.next();
        } else if !verb.starts_with(['s', 'v', 'd']) {
            return false;
        }
    }
    true
}

/// A text whose parts were joined: bytes that became UTF-8 by that are text.
pub(super) fn joined(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(bytes::carried(&bytes::meant(&text)).into()),
        other => other,
    }
}
