//! Vaults and items as 1Password Connect sends them (its published API). Unknown fields are ignored, and
//! `passwordDetails`, which holds old passwords, is not declared, so that no [`Item`] has it.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

use crate::core::sensitive::Sensitive;

/// The category whose content is files rather than fields.
const DOCUMENT: &str = "DOCUMENT";

/// A vault, as `GET /v1/vaults` lists it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Vault {
    /// 1Password's id.
    pub id: String,
    /// Its name; not unique.
    pub name: String,
    /// Version of what is in it. 0 where the server does not say.
    pub content_version: i64,
    /// Version of its own attributes.
    pub attribute_version: i64,
    /// When it or its contents last changed, as the server writes it.
    pub updated_at: String,
    /// Number of active items.
    pub items: i64,
}

/// The vault that an item is in.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct VaultId {
    /// 1Password's id.
    pub id: String,
}

/// An item, as a vault's list has it: without fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ItemSummary {
    /// 1Password's id.
    pub id: String,
    /// Title; not unique.
    pub title: String,
    /// Grows with each change.
    pub version: i64,
    /// When it last changed, as the server writes it.
    pub updated_at: String,
    /// `ARCHIVED` or `DELETED`; absent for an active item.
    pub state: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// An item with its fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Item {
    /// 1Password's id.
    pub id: String,
    /// Title; not unique.
    pub title: String,
    /// Its vault.
    pub vault: VaultId,
    /// `LOGIN`, `DOCUMENT` and so on.
    pub category: String,
    /// Grows with each change.
    pub version: i64,
    /// When it last changed, as the server writes it.
    pub updated_at: String,
    /// `ARCHIVED` or `DELETED`; absent for an active item.
    pub state: Option<String>,
    /// Web addresses.
    pub urls: Vec<Url>,
    /// Sections that its fields may stand in.
    pub sections: Vec<Section>,
    /// Fields.
    pub fields: Vec<Field>,
    /// Files, without their content.
    pub files: Vec<File>,
}

/// An item as it came, which is kept in place of what is read from it: that is many small pieces, between which memory
/// stays in use when they are gone. It holds `passwordDetails` too.
#[derive(Debug)]
pub struct Packed {
    /// As of the item.
    pub version: i64,
    /// As of the item.
    pub state: Option<String>,
    text: Sensitive,
}

impl Packed {
    /// The item; nothing where the text is none, which [`Packed`] is not made of.
    pub fn item(&self) -> Option<Item> {
        serde_json::from_slice(self.text.expose()).ok()
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<str>::from(Box::<RawValue>::deserialize(deserializer)?);
        let text = Sensitive::from(String::from(text));
        // The error of the parser may quote the text.
        let item: Item = serde_json::from_slice(text.expose()).map_err(|_| Error::custom("it is no item"))?;
        Ok(Self { version: item.version, state: item.state, text })
    }
}

impl Item {
    /// Whether its content is files rather than fields.
    pub fn is_document(&self) -> bool {
        self.category == DOCUMENT
    }

    /// The label of the section that a field stands in.
    pub fn section_of<'a>(&'a self, field: &'a Field) -> Option<&'a Section> {
        let id = &field.section.as_ref()?.id;
        self.sections.iter().find(|section| section.id == *id).or(field.section.as_ref())
    }
}

/// A part of an item.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Section {
    /// Its id: unique in the item.
    pub id: String,
    /// Its label; not unique, and absent where a field refers to it.
    pub label: String,
}

/// A field of an item.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Field {
    /// Its id: unique in the item. Those of built-in fields are stable words.
    pub id: String,
    /// Its label; not unique, and in the language of whoever made the item.
    pub label: String,
    /// Its type: free text, since the server knows more than the document says.
    #[serde(rename = "type")]
    pub type_: String,
    /// The section that it stands in.
    pub section: Option<Section>,
    /// The value; absent where it is empty.
    #[serde(deserialize_with = "sensitive")]
    pub value: Option<Sensitive>,
    /// The present one-time password.
    #[serde(deserialize_with = "sensitive")]
    pub totp: Option<Sensitive>,
}

/// A web address of an item.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Url {
    /// What it is called; may be absent.
    pub label: String,
    /// Whether it is the item's first.
    pub primary: bool,
    /// The address.
    #[serde(deserialize_with = "sensitive")]
    pub href: Option<Sensitive>,
}

/// A file of an item.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct File {
    /// 1Password's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

fn sensitive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sensitive>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Sensitive::from))
}

/// Whether a text has the form of an id: 26 lower-case letters and digits. A title may have it too.
pub fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::core::odd::{any_json, item_json, name, shown};

    #[test]
    fn reads_an_item_and_drops_old_passwords() {
        let text = r#"{"id":"2fcbqwe9ndg175zg2dzwftvkpa","title":"Login","version":3,"category":"LOGIN",
          "vault":{"id":"ftz4pm2xxwmwrsd7rjqn7grzfz"},"additionalInformation":"wendy","sections":[{"id":"s1"}],
          "fields":[{"id":"password","type":"CONCEALED","purpose":"PASSWORD","label":"Passwort","value":"new",
            "passwordDetails":{"history":["old-password"]}},
           {"id":"notesPlain","type":"STRING","purpose":"NOTES","label":"notesPlain"},
           {"id":"x","section":{"id":"s1","label":"Sec"},"type":"OTP","label":"otp","value":"otpauth://","totp":"134253"}]}"#;
        let item: Item = serde_json::from_str(text).unwrap();
        assert_eq!(item.fields[0].value.as_ref().unwrap().expose(), b"new");
        assert_eq!(item.fields[1].value, None);
        assert_eq!(item.fields[2].totp.as_ref().unwrap().expose(), b"134253");
        let packed: Packed = serde_json::from_str(text).unwrap();
        assert_eq!((packed.item().as_ref(), packed.version), (Some(&item), 3));
        let odd = serde_json::from_str::<Packed>(r#"{"version": "134253"}"#).unwrap_err();
        let debug = format!("{item:?} {packed:?} {odd}");
        for secret in ["old-password", "wendy", "\"new\"", "134253"] {
            assert!(!debug.contains(secret), "{debug}");
        }
    }

    #[test]
    fn knows_the_form_of_an_id() {
        assert!(is_id("2fcbqwe9ndg175zg2dzwftvkpa"));
        for text in
            ["", "radarr", "2FCBQWE9NDG175ZG2DZWFTVKPA", "2fcbqwe9ndg175zg2dzwftvkp", "2fcbqwe9ndg175zg2dzwftvkp-"]
        {
            assert!(!is_id(text), "{text}");
        }
    }

    /// What is wrong with an answer: it is read otherwise the second time, or it shows a value.
    fn flaw<T: serde::de::DeserializeOwned + std::fmt::Debug + PartialEq>(text: &[u8]) -> Option<String> {
        let (first, second) = (serde_json::from_slice::<T>(text).ok(), serde_json::from_slice::<T>(text).ok());
        if first != second {
            return Some(format!("{first:?} {second:?}"));
        }
        // Names may hold anything, but in these tests no value.
        shown(&format!("{first:?}"))
    }

    /// Everything below a value, the value itself last.
    fn places(value: &Value, at: &str, list: &mut Vec<String>) {
        let inner: Vec<(String, &Value)> = match value {
            Value::Object(map) => {
                map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
            }
            Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
            _ => vec![],
        };
        for (key, value) in inner {
            places(value, &format!("{at}/{key}"), list);
        }
        list.push(at.to_owned());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever a server answers is read or refused. What is read shows no value, and names and tags stay what they are.
        #[test]
        fn any_answer_is_read_or_refused(
            item in item_json(),
            at in any::<prop::sample::Index>(),
            other in any_json().prop_filter("names are shown", |json| shown(&json.to_string()).is_none()),
            twice in name(),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = item.to_string();
            prop_assert!(serde_json::from_str::<Item>(&text).is_ok(), "{text}");
            let mut changed = item.clone();
            let mut all = vec![];
            places(&item, "", &mut all);
            *changed.pointer_mut(&all[at.index(all.len())]).unwrap() = other;
            let doubled = format!("{{\"id\":{},{}", Value::from(twice), &text[1..]);
            let changed = changed.to_string();
            let cut = &text.as_bytes()[..cut.index(text.len())];
            for text in [text.as_bytes(), changed.as_bytes(), doubled.as_bytes(), cut] {
                let flaws = [flaw::<Item>(text), flaw::<ItemSummary>(text), flaw::<Vault>(text), flaw::<Vec<Vault>>(text)];
                prop_assert_eq!(flaws.into_iter().flatten().next(), None);
            }
        }

        /// Bytes that are hardly JSON.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(flaw::<Item>(&bytes), None);
        }
    }

    #[test]
    fn what_nests_deeply_is_refused() {
        for (start, level) in [("{\"fields\":", "[{\"section\":"), ("{\"other\":", "["), ("", "[["), ("", "{\"a\":")] {
            let deep = format!("{start}{}", level.repeat(100_000));
            assert!(serde_json::from_str::<Item>(&deep).is_err(), "{start}{level}");
            assert!(serde_json::from_str::<Vec<Vault>>(&deep).is_err(), "{start}{level}");
        }
    }
}
