//! Values that are JSON objects become one, as External Secrets Operator's `rewrite.merge` has it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    api::external_secret::{MergeConflict, MergePriority, MergeStrategy, RewriteMerge},
    core::{
        problem::{Problem, Reason},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// The keys after a merge. Keys are merged in alphabetical order, those of `priority` last, so that they win.
pub(super) fn merged(rule: &RewriteMerge, input: SensitiveMap, place: &str) -> Result<SensitiveMap, Problem> {
    let (all, conflicts) = union(rule, &input, place)?;
    if rule.conflict_policy.unwrap_or_default() == MergeConflict::Error && !conflicts.is_empty() {
        let message = format!(
            "{place}: {} keys are in more than one of the values: set conflictPolicy to Ignore, or take them out",
            conflicts.len()
        );
        return Err(Problem::new(Reason::InvalidData, message));
    }
    if rule.strategy.unwrap_or_default() == MergeStrategy::Extract {
        return Ok(all.into_iter().map(|(key, value)| (key, flat(value))).collect());
    }
    let Some(into) = rule.into.as_ref().filter(|into| !into.is_empty()) else {
        let message = format!("{place}: strategy JSON needs into, the key that holds the result");
        return Err(Problem::new(Reason::InvalidSpec, message));
    };
    let mut output = input;
    output.insert(into.clone(), Sensitive::from(Value::Object(all).to_string()));
    Ok(output)
}

/// What the values hold together, and the keys that several of them have.
fn union(
    rule: &RewriteMerge,
    input: &SensitiveMap,
    place: &str,
) -> Result<(Map<String, Value>, BTreeSet<String>), Problem> {
    let others = input.keys().filter(|key| !rule.priority.contains(key));
    let (mut all, mut conflicts) = (Map::new(), BTreeSet::new());
    for key in others.chain(&rule.priority) {
        let Some(value) = input.get(key) else {
            if rule.priority_policy.unwrap_or_default() == MergePriority::IgnoreNotFound {
                continue;
            }
            let keys: Vec<&String> = input.keys().collect();
            let message = format!(
                "{place}: there is no key {key:?}, which priority names; the keys are {keys:?}. Correct it, or set priorityPolicy to IgnoreNotFound"
            );
            return Err(Problem::new(Reason::InvalidData, message));
        };
        let object: Option<Map<String, Value>> = serde_json::from_slice(value.expose()).map_err(|_| {
            let message = format!("{place}: the value of {key:?} is no JSON object, such as merge needs");
            Problem::new(Reason::InvalidData, message)
        })?;
        for (name, value) in object.into_iter().flatten() {
            if all.insert(name.clone(), value).is_some() {
                conflicts.insert(name);
            }
        }
    }
    Ok((all, conflicts))
}

/// A value as a Secret holds it: a text as it is, anything else as JSON.
fn flat(value: Value) -> Sensitive {
    match value {
        Value::String(text) => Sensitive::from(text),
        Value::Null => Sensitive::default(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => Sensitive::from(float.to_string()),
            None => Sensitive::from(number.to_string()),
        },
        other => Sensitive::from(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: serde_json::Value, input: &[(&str, &str)]) -> Result<Vec<String>, Problem> {
        let rule: RewriteMerge = serde_json::from_value(rule).unwrap();
        let input = input.iter().map(|(key, value)| ((*key).to_owned(), Sensitive::from(*value))).collect();
        let output = merged(&rule, input, "merge")?;
        Ok(output.iter().map(|(key, value)| format!("{key}={}", value.expose_str().unwrap())).collect())
    }

    #[test]
    fn merges_as_eso_does() {
        let two = [("a", r#"{"x": 1, "y": "<"}"#), ("b", r#"{"x": 2.50, "z": [true, null]}"#)];
        for (rule, input, expected) in [
            (serde_json::json!({"conflictPolicy": "Ignore"}), &two[..], vec!["x=2.5", "y=<", "z=[true,null]"]),
            (
                serde_json::json!({"conflictPolicy": "Ignore", "priority": ["a"]}),
                &two,
                vec!["x=1", "y=<", "z=[true,null]"],
            ),
            (serde_json::json!({}), &two[..1], vec!["x=1", "y=<"]),
            (serde_json::json!({}), &[("a", "null"), ("b", r#"{"k": null}"#)], vec!["k="]),
            (
                serde_json::json!({"priority": ["gone"], "priorityPolicy": "IgnoreNotFound"}),
                &two[..1],
                vec!["x=1", "y=<"],
            ),
            (
                serde_json::json!({"strategy": "JSON", "into": "all", "conflictPolicy": "Ignore"}),
                &two,
                vec![
                    r#"a={"x": 1, "y": "<"}"#,
                    r#"all={"x":2.5,"y":"<","z":[true,null]}"#,
                    r#"b={"x": 2.50, "z": [true, null]}"#,
                ],
            ),
        ] {
            assert_eq!(run(rule.clone(), input).unwrap(), expected, "{rule}");
        }
    }

    #[test]
    fn says_what_cannot_be_merged_without_any_value() {
        let messages: Vec<String> = [
            run(serde_json::json!({}), &[("a", r#"{"x": "hunter2"}"#), ("b", r#"{"x": "hunter2"}"#)]),
            run(serde_json::json!({"priority": ["gone"]}), &[("a", r#"{"x": "hunter2"}"#)]),
            run(serde_json::json!({}), &[("a", "hunter2")]),
            run(serde_json::json!({}), &[("a", r#"["hunter2"]"#)]),
            run(serde_json::json!({"strategy": "JSON"}), &[("a", r#"{"x": "hunter2"}"#)]),
        ]
        .into_iter()
        .map(|result| result.unwrap_err().message)
        .collect();
        assert!(messages.iter().all(|message| !message.contains("hunter2")), "{messages:?}");
        insta::assert_debug_snapshot!(messages);
    }
}
