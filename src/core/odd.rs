//! What nobody would write, for tests that try more than what somebody did: odd texts, any JSON, items of any shape
//! with a value that must not be seen.

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

use crate::core::{item::Item, problem::Problem};

/// A part of every value: what shows it shows a value.
pub(crate) const CANARY: &str = "c4n4ry-v41u3";
/// The longest message that is still one for people.
const MAX_MESSAGE: usize = 64 << 10;

/// What names are made of, so that some of them meet.
const PIECES: [&str; 30] = [
    "password",
    "username",
    "a",
    "b",
    "A",
    "x y",
    "/",
    "s",
    "field/",
    "file/",
    "?attribute=otp",
    "?attribute=totp",
    "op://",
    "url",
    ".",
    "..",
    "-",
    "_",
    "$1",
    "é",
    "e\u{301}",
    "größe",
    "密码",
    "🔑",
    "\u{202e}",
    "\0",
    "\n",
    "\"",
    "\\",
    "2fcbqwe9ndg175zg2dzwftvkpa",
];

/// A name.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&PIECES[..4]).prop_map(str::to_owned),
        4 => prop::collection::vec(select(&PIECES[..]), 0..4).prop_map(|pieces| pieces.concat()),
        1 => ".{0,6}",
    ]
}

/// A value: a text, JSON, base64 or bytes, all with the canary.
pub(crate) fn value() -> impl Strategy<Value = String> {
    let object = prop::collection::btree_map(name(), any_json(), 0..3).prop_map(|map| {
        let canary = [("canary".to_owned(), json!({"is": [CANARY]}))];
        Value::Object(map.into_iter().chain(canary).collect()).to_string()
    });
    prop_oneof![
        3 => Just(CANARY.to_owned()),
        1 => name().prop_map(|name| format!("{name}{CANARY}{{{{ .X }}}}\0")),
        3 => object,
        1 => Just(json!([CANARY]).to_string()),
        1 => Just(json!(CANARY).to_string()),
        1 => Just(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, CANARY)),
    ]
}

/// Any JSON, in which texts are names.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let numbers = [
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(1e300),
        serde_json::from_str("-0.0").unwrap(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        select(numbers.to_vec()),
        name().prop_map(Value::from),
        Just(json!(CANARY)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4).prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// An item as a Connect server sends it, with old passwords and what is not declared.
pub(crate) fn item_json() -> impl Strategy<Value = Value> {
    let field = (name(), name(), prop::option::of((name(), prop::option::of(name()))), prop::option::of(value()))
        .prop_map(|(id, label, section, value)| {
            let mut field = json!({"id": id, "label": label, "type": "CONCEALED", "purpose": "PASSWORD",
                "totp": CANARY, "entropy": 12.5, "passwordDetails": {"history": [CANARY], "strength": "GOOD"}});
            let fields = field.as_object_mut().unwrap();
            fields.extend(section.map(|(id, label)| ("section".to_owned(), section_json(&id, label))));
            fields.extend(value.map(|value| ("value".to_owned(), json!(value))));
            field
        });
    let section = (name(), prop::option::of(name())).prop_map(|(id, label)| section_json(&id, label));
    let file = (name(), name(), any::<u64>()).prop_map(
        |(id, name, size)| json!({"id": id, "name": name, "size": size, "content_path": format!("/v1/{CANARY}")}),
    );
    let url = (name(), any::<bool>()).prop_map(
        |(label, primary)| json!({"label": label, "primary": primary, "href": format!("https://{CANARY}.example")}),
    );
    let parts = (
        prop::collection::vec(field, 0..6),
        prop::collection::vec(section, 0..3),
        prop::collection::vec(file, 0..3),
        prop::collection::vec(url, 0..3),
    );
    (name(), select(vec!["LOGIN", "DOCUMENT", "NEW_KIND"]), any::<i64>(), parts).prop_map(
        |(title, category, version, (fields, sections, files, urls))| {
            json!({"id": "2fcbqwe9ndg175zg2dzwftvkpa", "title": title, "category": category, "version": version,
                "vault": {"id": "ftz4pm2xxwmwrsd7rjqn7grzfz"}, "additionalInformation": CANARY,
                "fields": fields, "sections": sections, "files": files, "urls": urls})
        },
    )
}

fn section_json(id: &str, label: Option<String>) -> Value {
    let label = label.map(|label| ("label".to_owned(), json!(label)));
    Value::Object([("id".to_owned(), json!(id))].into_iter().chain(label).collect::<Map<_, _>>())
}

/// An item.
pub(crate) fn item() -> impl Strategy<Value = Item> {
    item_json().prop_map(|json| serde_json::from_value(json).unwrap())
}

/// Says where a text shows a value.
pub(crate) fn shown(text: &str) -> Option<String> {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, CANARY);
    [CANARY, &CANARY.to_uppercase(), &encoded].into_iter().any(|canary| text.contains(canary)).then(|| text.to_owned())
}

/// What is wrong with an error: it shows a value, or is no message for people.
pub(crate) fn flaw(problem: &Problem) -> Option<String> {
    let long = problem.message.len() > MAX_MESSAGE;
    shown(&format!("{problem} {problem:?}")).or_else(|| long.then(|| problem.message.clone()))
}
