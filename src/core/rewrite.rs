//! How the names and values of an item become keys and values of a Secret: rewrites, conversion, decoding.

mod merge;

use std::sync::LazyLock;

use base64::Engine as _;

use crate::{
    api::external_secret::{ConversionStrategy, DecodingStrategy, Find, NullBytePolicy, RemoteRef, Rewrite},
    core::{
        lenient::{STANDARD, URL_SAFE},
        problem::{Problem, Reason},
        regexp::Regexp,
        sensitive::{Sensitive, SensitiveMap},
        template::{self, Engine, Moment, Values},
    },
};

/// The longest key of a Secret.
const MAX_KEY: usize = 253;
/// Bytes that the names of one entry may have together while they are rewritten: each rewrite can make them longer.
const MAX_NAMES: usize = 4 << 20;
/// Bytes that the values of one entry may have together: each merge can repeat them.
const MAX_VALUES: usize = 32 << 20;

/// Compiles a regular expression that a user wrote; `place` says in the error where.
pub fn regex(source: &str, place: &str) -> Result<Regexp, Problem> {
    Regexp::new(source).map_err(|error| {
        Problem::new(Reason::InvalidSpec, format!("{place}: {source:?} is no regular expression: {error}"))
    })
}

/// How names and values of an entry of `dataFrom` or `data` are encoded, and what it reads.
#[derive(Clone, Debug, Default)]
pub struct Encoding {
    /// How characters that a key cannot hold are replaced.
    pub conversion: ConversionStrategy,
    /// How a value is encoded at its source.
    pub decoding: DecodingStrategy,
    /// Whether a value with a NUL byte is an error.
    pub null_bytes: NullBytePolicy,
    /// What is read, for messages: `item "radarr"`.
    pub source: String,
}

impl From<&RemoteRef> for Encoding {
    fn from(remote: &RemoteRef) -> Self {
        Self {
            conversion: remote.conversion_strategy.unwrap_or_default(),
            decoding: remote.decoding_strategy.unwrap_or_default(),
            null_bytes: remote.null_byte_policy.unwrap_or_default(),
            source: format!("item {:?}", remote.key),
        }
    }
}

impl From<&Find> for Encoding {
    fn from(find: &Find) -> Self {
        Self {
            conversion: find.conversion_strategy.unwrap_or_default(),
            decoding: find.decoding_strategy.unwrap_or_default(),
            null_bytes: find.null_byte_policy.unwrap_or_default(),
            source: "the items that find matches".to_owned(),
        }
    }
}

/// The keys of an entry of `dataFrom`: rewritten, then converted. Empty keys fall away. (External Secrets Operator
/// converts only where nothing rewrites, and fails on what is then no key.)
pub fn keys(
    values: Vec<(String, Sensitive)>,
    encoding: &Encoding,
    rewrites: &[Rewrite],
    place: &str,
    moment: &Moment,
) -> Result<SensitiveMap, Problem> {
    let mut values = values;
    for (index, rewrite) in rewrites.iter().enumerate() {
        let place = format!("{place}.rewrite[{index}]");
        if let Some(rule) = &rewrite.regexp {
            let regex = regex(&rule.source, &format!("{place}.regexp.source"))?;
            let mut room = MAX_NAMES;
            for (key, _) in &mut values {
                *key = regex.replace_all_within(key, &rule.target, room).ok_or_else(|| too_long(&place))?;
                room -= key.len();
            }
        } else if let Some(rule) = &rewrite.transform {
            let mut room = MAX_NAMES;
            for (key, _) in &mut values {
                *key = transformed(key, &rule.template, &format!("{place}.transform.template"), moment)?;
                room = room.checked_sub(key.len()).ok_or_else(|| too_long(&place))?;
            }
        } else if let Some(rule) = &rewrite.merge {
            let input = distinct(values, encoding, &place)?;
            values = merge::merged(rule, input, &format!("{place}.merge"))?.into_iter().collect();
            if values.iter().map(|(_, value)| value.expose().len()).sum::<usize>() > MAX_VALUES {
                let message = format!("{place}: the values have more than {MAX_VALUES} bytes together: merge less");
                return Err(Problem::new(Reason::InvalidData, message));
            }
        }
    }
    for (key, _) in &mut values {
        *key = convert(key, encoding.conversion);
    }
    values.retain(|(key, _)| !key.is_empty());
    for (key, value) in &mut values {
        *value = decode(std::mem::take(value), encoding, key, place)?;
    }
    distinct(values, encoding, place)
}

fn too_long(place: &str) -> Problem {
    let message = format!("{place}: the keys get longer than {MAX_NAMES} bytes together: make them shorter");
    Problem::new(Reason::InvalidData, message)
}

/// Names and values as a map; an error where two values have one name.
fn distinct(values: Vec<(String, Sensitive)>, encoding: &Encoding, place: &str) -> Result<SensitiveMap, Problem> {
    let mut map = SensitiveMap::new();
    for (key, value) in values {
        if map.get(&key).is_some_and(|other| *other != value) {
            let source = &encoding.source;
            let message =
                format!("{place}: two fields of {source} become the key {key:?}: change rewrite or the labels");
            return Err(Problem::new(Reason::InvalidData, message));
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// A key as a template makes it, in which it is `.value`.
fn transformed(key: &str, template: &str, place: &str, moment: &Moment) -> Result<String, Problem> {
    let values = Values::from(&SensitiveMap::from([("value".to_owned(), Sensitive::from(key))]));
    let made = template::render(Engine::Go, template, place, &values, moment)?;
    made.expose_str().map(str::to_owned).ok_or_else(|| {
        Problem::new(Reason::TemplateError, format!("{place}: what it makes of the key {key:?} is binary, and no key"))
    })
}

/// A key without what a key cannot hold. Letters of other scripts stay, so that templates can use them.
fn convert(key: &str, strategy: ConversionStrategy) -> String {
    // What Go calls letters and numbers: Rust's own classes have marks among them.
    static LETTER: LazyLock<Option<Regexp>> = LazyLock::new(|| Regexp::new(r"^[\p{L}\p{N}]$").ok());
    let named = |c: char| {
        let other = || LETTER.as_ref().is_some_and(|letter| letter.is_match(c.encode_utf8(&mut [0; 4])));
        c.is_ascii_alphanumeric() || !c.is_ascii() && other()
    };
    key.chars()
        .map(|c| match strategy {
            _ if named(c) || matches!(c, '-' | '.' | '_') => c.to_string(),
            ConversionStrategy::Default => "_".to_owned(),
            ConversionStrategy::Unicode => format!("_U{:04x}_", u32::from(c)),
        })
        .collect()
}

/// A value as it was before it was encoded at its source.
pub fn decode(value: Sensitive, encoding: &Encoding, key: &str, place: &str) -> Result<Sensitive, Problem> {
    let plain = || value.expose().iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect::<Vec<u8>>();
    let standard = || STANDARD.decode(plain()).ok().map(Sensitive::from);
    let url_safe = || URL_SAFE.decode(plain()).ok().map(Sensitive::from);
    let invalid = |what: &str| {
        let message = format!("{place}: the value of {key:?} in {} {what}", encoding.source);
        Problem::new(Reason::InvalidData, message)
    };
    let decoded = match encoding.decoding {
        DecodingStrategy::None => value,
        DecodingStrategy::Base64 => {
            standard().ok_or_else(|| invalid("is not base64: correct the item or decodingStrategy"))?
        }
        DecodingStrategy::Base64Url => {
            url_safe().ok_or_else(|| invalid("is not URL-safe base64: correct the item or decodingStrategy"))?
        }
        DecodingStrategy::Auto => standard().or_else(url_safe).unwrap_or(value),
    };
    if encoding.null_bytes == NullBytePolicy::Fail && decoded.expose().contains(&0) {
        return Err(invalid("holds a NUL byte: correct the item or nullBytePolicy"));
    }
    Ok(decoded)
}

/// Whether a key can stand in a Secret.
pub fn check_key(key: &str) -> Result<(), Problem> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !key.is_empty() && key.len() <= MAX_KEY && key.chars().all(valid) && key != "." && !key.starts_with("..") {
        return Ok(());
    }
    Err(Problem::new(
        Reason::InvalidData,
        format!(
            "{key:?} cannot be a key of a Secret (letters, digits, '-', '_' and '.' can): rename the field, or use rewrite or a template"
        ),
    ))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(in crate::core) use fuzz::{encoding, rewrite};

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(more: &serde_json::Value) -> Encoding {
        let mut value = serde_json::json!({"key": "item"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Encoding::from(&serde_json::from_value::<RemoteRef>(value).unwrap())
    }

    fn moment() -> Moment {
        Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [7; 32] }
    }

    fn rewritten(
        names: &[&str],
        more: &serde_json::Value,
        rewrites: serde_json::Value,
    ) -> Result<Vec<String>, Problem> {
        let values = names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), Sensitive::from(format!("{i}"))));
        let rewrites: Vec<Rewrite> = serde_json::from_value(rewrites).unwrap();
        keys(values.collect(), &remote(more), &rewrites, "dataFrom[0]", &moment()).map(|map| map.into_keys().collect())
    }

    #[test]
    fn rewrites_keys_as_go_does() {
        let one = |source: &str, target: &str| serde_json::json!([{"regexp": {"source": source, "target": target}}]);
        for (source, target, names, expected) in [
            ("(.*)", "RADARR_$1", vec!["USER", "a b"], vec!["RADARR_USER", "RADARR_a_b"]),
            ("[^a-zA-Z0-9 -]", "_", vec!["a.b/c d"], vec!["a_b_c_d"]),
            ("^x(.)", "${1}y", vec!["xabc"], vec!["aybc"]),
            ("(.*)", "$1_x", vec!["abc"], vec![]),
        ] {
            assert_eq!(rewritten(&names, &serde_json::json!({}), one(source, target)).unwrap(), expected, "{source}");
        }
        let both =
            serde_json::json!([{"regexp": {"source": "a", "target": "b"}}, {"regexp": {"source": "b", "target": "c"}}]);
        assert_eq!(rewritten(&["a"], &serde_json::json!({}), both).unwrap(), ["c"]);
        let problem = rewritten(&["a1", "a2"], &serde_json::json!({}), one("[0-9]", "")).unwrap_err();
        assert_eq!(problem.reason, Reason::InvalidData);
        assert_eq!(rewritten(&["a"], &serde_json::json!({}), one("(", "")).unwrap_err().reason, Reason::InvalidSpec);
        let transform = serde_json::json!([{"transform": {"template": "{{ .value | upper }}_X"}}]);
        assert_eq!(rewritten(&["a b", "c"], &serde_json::json!({}), transform).unwrap(), ["A_B_X", "C_X"]);
        let binary = serde_json::json!([{"transform": {"template": "{{ \"//4=\" | b64dec }}"}}]);
        let problem = rewritten(&["a"], &serde_json::json!({}), binary).unwrap_err();
        assert!(problem.message.contains("is binary, and no key"), "{problem}");
        let wrong = serde_json::json!([{"transform": {"template": "{{ .key }}"}}]);
        assert_eq!(rewritten(&["a"], &serde_json::json!({}), wrong).unwrap_err().reason, Reason::TemplateError);
    }

    #[test]
    fn converts_keys() {
        let none = serde_json::json!([]);
        assert_eq!(
            rewritten(&["valid from", "größe", ""], &serde_json::json!({}), none.clone()).unwrap(),
            ["größe", "valid_from"]
        );
        // A vowel sign is no letter in Go, and a number need be no digit.
        assert_eq!(rewritten(&["का½"], &serde_json::json!({}), none.clone()).unwrap(), ["क_½"]);
        let unicode = serde_json::json!({"conversionStrategy": "Unicode"});
        assert_eq!(rewritten(&["valid from"], &unicode, none).unwrap(), ["valid_U0020_from"]);
    }

    #[test]
    fn decodes_values() {
        for (strategy, value, expected) in [
            ("None", "c2VjcmV0", Some("c2VjcmV0")),
            ("Base64", "c2Vj\ncmV0\n", Some("secret")),
            ("Base64", "hunter?2", None),
            ("Base64", "YWJjZB==", Some("abcd")),
            ("Base64URL", "Pz8_", Some("???")),
            ("Base64URL", "Pz8/", None),
            ("Auto", "Pz8/", Some("???")),
            ("Auto", "Pz8_", Some("???")),
            ("Auto", "p@ss", Some("p@ss")),
        ] {
            let found =
                decode(value.into(), &remote(&serde_json::json!({"decodingStrategy": strategy})), "KEY", "data[0]");
            assert_eq!(found.as_ref().ok().and_then(Sensitive::expose_str), expected, "{strategy} {value}");
            if let Err(problem) = found {
                assert!(!problem.message.contains(value), "{}", problem.message);
            }
        }
        let nul = || Sensitive::from("a\0b");
        assert!(decode(nul(), &remote(&serde_json::json!({})), "KEY", "data[0]").is_ok());
        assert!(decode(nul(), &remote(&serde_json::json!({"nullBytePolicy": "Fail"})), "KEY", "data[0]").is_err());
    }

    #[test]
    fn checks_keys() {
        for key in ["a", "tls.crt", "A-b_c.9", ".dockerconfigjson"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", ".", "..", "a b", "größe", "a/b"] {
            assert_eq!(check_key(key).unwrap_err().reason, Reason::InvalidData, "{key}");
        }
        assert!(check_key(&"x".repeat(254)).is_err());
    }
}
