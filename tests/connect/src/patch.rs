//! `PATCH` of an item: JSON Patch operations (add, replace, remove) whose
//! paths name fields and sections by their ID, `/fields/{id}/value`. Adding
//! to `/fields` appends, and `/` is the whole item, as in the examples of the
//! official documentation.

use serde::Deserialize;
use serde_json::Value;

/// What an item or a field has although its JSON leaves it out when empty.
const OMITTED: [&str; 6] = ["value", "label", "purpose", "tags", "urls", "favorite"];

/// One operation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Operation {
    op: Verb,
    path: String,
    #[serde(default)]
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Add,
    Replace,
    Remove,
}

/// Applies the operations one after the other to an item's JSON.
pub(crate) fn apply(document: &mut Value, operations: Vec<Operation>) -> Result<(), String> {
    for operation in operations {
        let path = operation.path.clone();
        step(document, operation).ok_or_else(|| format!("Invalid patch path: {path}"))?;
    }
    Ok(())
}

fn step(document: &mut Value, operation: Operation) -> Option<()> {
    let segments: Vec<String> = operation
        .path
        .trim_matches('/')
        .split('/')
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
        .collect();
    let (last, parents) = segments.split_last()?;
    if last.is_empty() {
        return replace_all(document, operation);
    }
    let mut parent = document;
    for segment in parents {
        parent = child(parent, segment)?;
    }
    match operation.op {
        Verb::Remove => remove(parent, last),
        Verb::Replace => replace(parent, last, operation.value),
        Verb::Add => add(parent, last, operation.value),
    }
}

fn replace_all(document: &mut Value, operation: Operation) -> Option<()> {
    let is_item = operation.op == Verb::Replace && operation.value.is_object();
    is_item.then(|| *document = operation.value)
}

/// The position of an element of a list: by its ID, or by number.
fn position(list: &[Value], segment: &str) -> Option<usize> {
    list.iter()
        .position(|element| element["id"] == segment)
        .or_else(|| segment.parse().ok().filter(|index| *index < list.len()))
}

fn child<'a>(parent: &'a mut Value, segment: &str) -> Option<&'a mut Value> {
    match parent {
        Value::Object(map) => map.get_mut(segment),
        Value::Array(list) => {
            let index = position(list, segment)?;
            list.get_mut(index)
        }
        _ => None,
    }
}

/// Replaces what is there, or what is not shown because it is empty.
fn replace(parent: &mut Value, segment: &str, value: Value) -> Option<()> {
    if let (Value::Object(map), true) = (&mut *parent, OMITTED.contains(&segment)) {
        map.insert(segment.to_owned(), value);
        return Some(());
    }
    *child(parent, segment)? = value;
    Some(())
}

fn remove(parent: &mut Value, segment: &str) -> Option<()> {
    match parent {
        Value::Object(map) => map.remove(segment).map(|_| ()),
        Value::Array(list) => {
            let index = position(list, segment)?;
            list.remove(index);
            Some(())
        }
        _ => None,
    }
}

fn add(parent: &mut Value, segment: &str, value: Value) -> Option<()> {
    match parent {
        Value::Object(map) => {
            match map.get_mut(segment) {
                Some(Value::Array(list)) if !value.is_array() => list.push(value),
                _ => {
                    map.insert(segment.to_owned(), value);
                }
            }
            Some(())
        }
        Value::Array(list) => {
            match position(list, segment) {
                Some(index) => list[index] = value,
                None if segment == "-" => list.push(value),
                None => return None,
            }
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(operations: Value) -> Result<Value, String> {
        let mut document = json!({
            "title": "db",
            "tags": ["a"],
            "fields": [{"id": "username", "value": "u"}, {"id": "password", "value": "p"}],
        });
        let operations = serde_json::from_value(operations).map_err(|error| error.to_string())?;
        apply(&mut document, operations).map(|()| document)
    }

    #[test]
    fn fields_are_found_by_their_id() {
        let document = patched(json!([
            {"op": "replace", "path": "/fields/password/value", "value": "new"},
            {"op": "add", "path": "/fields/username/label", "value": "user"},
            {"op": "add", "path": "/fields", "value": {"label": "extra"}},
            {"op": "add", "path": "/tags", "value": "b"},
            {"op": "replace", "path": "/title", "value": "DB"},
            {"op": "replace", "path": "/favorite", "value": true},
        ]));
        let expected = json!({
            "title": "DB",
            "tags": ["a", "b"],
            "favorite": true,
            "fields": [
                {"id": "username", "value": "u", "label": "user"},
                {"id": "password", "value": "new"},
                {"label": "extra"},
            ],
        });
        assert_eq!(document, Ok(expected));
    }

    #[test]
    fn whole_objects_can_be_removed_and_replaced() {
        let document = patched(json!([
            {"op": "remove", "path": "/fields/username"},
            {"op": "replace", "path": "/fields/password", "value": {"id": "password"}},
        ]));
        assert_eq!(document.unwrap()["fields"], json!([{"id": "password"}]));
        let document = patched(json!([{"op": "replace", "path": "/", "value": {"title": "x"}}]));
        assert_eq!(document, Ok(json!({"title": "x"})));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for operation in [
            json!({"op": "replace", "path": "/fields/unknown/value", "value": "x"}),
            json!({"op": "remove", "path": "/fields/unknown"}),
            json!({"op": "replace", "path": "/nothing", "value": "x"}),
            json!({"op": "remove", "path": "/"}),
            json!({"op": "add", "path": "/title/x", "value": "x"}),
        ] {
            assert!(patched(json!([operation])).is_err(), "{operation}");
        }
        assert!(patched(json!([{"op": "move", "path": "/title"}])).is_err());
    }
}
