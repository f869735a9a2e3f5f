//! Labels and annotations that the API would refuse. It would say the value, in its answer and in its audit log.

use std::collections::BTreeMap;

use crate::{
    api::external_secret::Template,
    core::problem::{Problem, Reason},
};

/// Characters of a name, and of a label's value.
const MAX_NAME: usize = 63;
/// Characters of what stands before the slash of a name.
const MAX_PREFIX: usize = 253;
/// Bytes of all annotations together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Checks what templates made of labels and annotations.
pub(super) fn check(
    template: &Template,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    let declared = template.metadata.as_ref();
    let invalid = |message: String| Err(Problem::new(Reason::InvalidData, message));
    let kinds = [
        ("label", labels, declared.map(|metadata| &metadata.labels)),
        ("annotation", annotations, declared.map(|metadata| &metadata.annotations)),
    ];
    for (kind, map, declared) in kinds {
        for (key, value) in map {
            // A key that a template made may be a part of a value.
            let name = match declared {
                Some(declared) if declared.contains_key(key) => format!("the {kind} {key:?} of the template"),
                _ => format!("a {kind} of templateFrom"),
            };
            if !is_qualified(key) {
                return invalid(format!("{name} has a name that no {kind} can have: correct it"));
            }
            if kind == "label" && !(value.is_empty() || is_name(value)) {
                return invalid(format!(
                    "{name} has a value that no label can have: at most {MAX_NAME} letters, digits, -, _ and ., the \
                     first and the last of them a letter or digit"
                ));
            }
        }
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_ANNOTATIONS {
        return invalid(format!(
            "the annotations of the template have {bytes} bytes together; an object holds at most {MAX_ANNOTATIONS}"
        ));
    }
    Ok(())
}

/// Whether this is a name with or without a domain before it.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_domain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_name(text: &str) -> bool {
    let ends = [text.chars().next(), text.chars().next_back()];
    text.len() <= MAX_NAME
        && ends.iter().all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inside && is_name(label)
    };
    text.len() <= MAX_PREFIX && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(kind: &str, key: &str, value: &str, declared: bool) -> Result<(), String> {
        let map: BTreeMap<String, String> = [(key.to_owned(), value.to_owned())].into();
        let (labels, annotations) = if kind == "label" { (map, BTreeMap::new()) } else { (BTreeMap::new(), map) };
        let mut template = Template::default();
        if declared {
            let metadata = template.metadata.get_or_insert_default();
            (metadata.labels, metadata.annotations) = (labels.clone(), annotations.clone());
        }
        check(&template, &labels, &annotations).map_err(|problem| problem.message)
    }

    #[test]
    fn what_the_api_admits_is_admitted() {
        let long = "x".repeat(63);
        for key in ["app", "A_b.c-1", "example.net/app", "a-b.example/x", long.as_str()] {
            assert_eq!(checked("label", key, "", true), Ok(()), "{key}");
            assert_eq!(checked("annotation", key, "any thing / at all", true), Ok(()), "{key}");
        }
        for value in ["", "a", "1.2_3-x", long.as_str()] {
            assert_eq!(checked("label", "app", value, true), Ok(()), "{value}");
        }
    }

    #[test]
    fn what_it_refuses_is_refused_without_the_value() {
        let long = "canary".repeat(11);
        for value in ["canary leaks", "-canary", "canary-", "canary/x", "cänary", long.as_str()] {
            assert!(!checked("label", "app", value, true).unwrap_err().contains("anary"), "{value}");
        }
        for key in ["", "/x", "x/", "a/b/c", "Ex.net/x", "ex..net/x", "-x", "canary x", long.as_str()] {
            for kind in ["label", "annotation"] {
                let message = checked(kind, key, "", false).unwrap_err();
                assert!(!message.contains("canary"), "{message}");
            }
        }
        assert!(checked("annotation", "app", &"x".repeat(300_000), true).unwrap_err().contains("300003 bytes"));
    }
}
