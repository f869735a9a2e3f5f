//! Which field or file of an item a reference means.

use std::collections::BTreeSet;

use crate::core::{
    item::{Field, File, Item, Url},
    near::did_you_mean,
    problem::{Problem, Reason},
    reference::{Part, PartKind},
    sensitive::Sensitive,
};

/// The field that is meant where none is named: its stable id, and its label in English.
const DEFAULT: &str = "password";

/// A value of an item, or where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field's value.
    Value(Sensitive),
    /// A file that has to be fetched.
    File(File),
}

/// One value, as an entry of `data` needs it.
pub fn one(item: &Item, part: &Part) -> Result<Source, Problem> {
    match part {
        Part::All | Part::Default if item.is_document() => {
            let file = item.files.first().ok_or_else(|| no_such(item, "file", ""))?;
            Ok(Source::File(file.clone()))
        }
        Part::All | Part::Default => value_of(item, field(item, DEFAULT)?, false).map(Source::Value),
        Part::Named { name, kind, otp } => named(item, name, *kind, *otp).map(|(_, source)| source),
    }
}

/// All values under their names, as an `extract` needs them.
pub fn all(item: &Item, part: &Part) -> Result<Vec<(String, Source)>, Problem> {
    if let Part::Named { name, kind, otp } = part {
        return Ok(vec![named(item, name, *kind, *otp)?]);
    }
    if item.is_document() {
        return files(item, |_| true);
    }
    fields(item, |_| true)
}

/// The values whose names fit, fields and files, as a `find` needs them.
pub fn matching(item: &Item, fits: impl Fn(&str) -> bool) -> Result<Vec<(String, Source)>, Problem> {
    let mut values = files(item, &fits)?;
    values.extend(fields(item, &fits)?);
    Ok(values)
}

fn files(item: &Item, fits: impl Fn(&str) -> bool) -> Result<Vec<(String, Source)>, Problem> {
    let files = item.files.iter().filter(|file| fits(&file.name));
    files.map(|file| file_named(item, &file.name).map(|file| (file.name.clone(), Source::File(file.clone())))).collect()
}

/// The only file of a name.
fn file_named<'a>(item: &'a Item, name: &str) -> Result<&'a File, Problem> {
    let named: Vec<&File> = item.files.iter().filter(|file| file.name == name).collect();
    let ids = || named.iter().map(|file| file.id.as_str()).collect::<Vec<_>>().join(", ");
    match named.as_slice() {
        [one] => Ok(one),
        [] => Err(no_such(item, "file", name)),
        several => Err(Problem::new(
            Reason::FieldAmbiguous,
            format!(
                "{} files of item {:?} are named {name:?} (ids {}): write an id as property, or rename the others",
                several.len(),
                item.title,
                ids()
            ),
        )),
    }
}

fn fields(item: &Item, fits: impl Fn(&str) -> bool) -> Result<Vec<(String, Source)>, Problem> {
    let mut values: Vec<(String, Source)> = Vec::new();
    for field in item.fields.iter().filter(|field| !field.label.is_empty() && fits(&field.label)) {
        if values.iter().any(|(label, _)| *label == field.label) {
            continue;
        }
        // Of several fields with one label, those that are empty do not count, and those that are equal are one.
        let same: Vec<&Field> = item.fields.iter().filter(|other| other.label == field.label).collect();
        let mut filled = same.iter().copied().filter(|field| field.value.is_some());
        let chosen = filled.next().unwrap_or(field);
        if filled.any(|other| other.value != chosen.value) {
            return Err(ambiguous(item, &field.label, &same));
        }
        values.push((field.label.clone(), Source::Value(chosen.value.clone().unwrap_or_default())));
    }
    Ok(values)
}

fn named(item: &Item, name: &str, kind: PartKind, otp: bool) -> Result<(String, Source), Problem> {
    let file = || {
        let by_id = || item.files.iter().find(|file| file.id == name);
        let file = match file_named(item, name) {
            Err(problem) if problem.reason == Reason::FieldNotFound => by_id().ok_or(problem),
            found => found,
        };
        file.map(|file| (file.name.clone(), Source::File(file.clone())))
    };
    let absent = |found: &Result<_, Problem>| matches!(found, Err(problem) if problem.reason == Reason::FieldNotFound);
    if kind == PartKind::File || (kind == PartKind::Any && item.is_document()) {
        let found = file();
        if kind == PartKind::File || !absent(&found) {
            return found;
        }
    }
    match field(item, name) {
        Ok(field) => Ok((field.label.clone(), Source::Value(value_of(item, field, otp)?))),
        Err(problem) if problem.reason == Reason::FieldNotFound && kind == PartKind::Any && !otp => {
            let found = file();
            if !absent(&found) {
                return found;
            }
            url(item, name)?.map(|href| (name.to_owned(), Source::Value(href))).ok_or(problem)
        }
        Err(problem) => Err(problem),
    }
}

/// The field of that label, else of that id, else of that `section/field`.
fn field<'a>(item: &'a Item, name: &str) -> Result<&'a Field, Problem> {
    let choose = |fits: &dyn Fn(&Field) -> bool| -> Option<Result<&'a Field, Problem>> {
        let fields: Vec<&Field> = item.fields.iter().filter(|field| fits(field)).collect();
        match fields.as_slice() {
            [] => None,
            [one] => Some(Ok(one)),
            several => Some(Err(ambiguous(item, name, several))),
        }
    };
    let in_section = |field: &Field| {
        item.section_of(field).is_some_and(|section| {
            name.match_indices('/').any(|(at, _)| {
                let (left, right) = (&name[..at], &name[at + 1..]);
                (section.label == left || section.id == left) && (field.label == right || field.id == right)
            })
        })
    };
    choose(&|field| field.label == name)
        .or_else(|| choose(&|field| field.id == name))
        .or_else(|| choose(&in_section))
        .unwrap_or_else(|| Err(no_such(item, "field", name)))
}

/// The web address of that label; `url` is the first one.
fn url(item: &Item, name: &str) -> Result<Option<Sensitive>, Problem> {
    let labelled: Vec<(usize, &Url)> = item.urls.iter().enumerate().filter(|(_, url)| url.label == name).collect();
    if labelled.iter().any(|(_, url)| url.href != labelled[0].1.href) {
        let places: Vec<String> = labelled.iter().map(|(index, _)| (index + 1).to_string()).collect();
        let (count, title, places) = (labelled.len(), &item.title, places.join(", "));
        let message = format!(
            "{count} web addresses of item {title:?} are labelled {name:?} (in its list numbers {places}): rename all but one"
        );
        return Err(Problem::new(Reason::FieldAmbiguous, message));
    }
    let first = || item.urls.iter().find(|url| url.primary).or_else(|| item.urls.first()).filter(|_| name == "url");
    Ok(labelled.first().map(|(_, url)| *url).or_else(first).and_then(|url| url.href.clone()))
}

fn value_of(item: &Item, field: &Field, otp: bool) -> Result<Sensitive, Problem> {
    if !otp {
        return Ok(field.value.clone().unwrap_or_default());
    }
    field.totp.clone().ok_or_else(|| {
        let (title, path) = (&item.title, path(item, field));
        let message = format!("field {path:?} of item {title:?} is no one-time password: remove ?attribute=otp");
        Problem::new(Reason::FieldNotFound, message)
    })
}

/// How a field is written so that it is found whatever its label: `section/label`, or its label.
fn path(item: &Item, field: &Field) -> String {
    let section =
        item.section_of(field).map(|section| if section.label.is_empty() { &section.id } else { &section.label });
    section.map_or_else(|| field.label.clone(), |section| format!("{section}/{}", field.label))
}

fn ambiguous(item: &Item, name: &str, fields: &[&Field]) -> Problem {
    let names: Vec<String> = fields.iter().map(|field| format!("{:?} (id {})", path(item, field), field.id)).collect();
    let (count, title, names) = (fields.len(), &item.title, names.join(", "));
    Problem::new(
        Reason::FieldAmbiguous,
        format!(
            "{count} fields of item {title:?} are named {name:?}: {names}. Write section/label or an id as property, or rename the others"
        ),
    )
}

fn no_such(item: &Item, what: &str, name: &str) -> Problem {
    let title = &item.title;
    let names: Vec<String> = match what {
        "file" => item.files.iter().map(|file| file.name.clone()).collect(),
        _ => item.fields.iter().map(|field| path(item, field)).collect(),
    };
    let list = if names.is_empty() { "none".to_owned() } else { format!("{names:?}") };
    let fields = item.fields.iter().flat_map(|field| [field.label.as_str(), field.id.as_str()]);
    let others = item.urls.iter().map(|url| url.label.as_str());
    let others = fields.chain(others).chain(item.files.iter().map(|file| file.name.as_str()));
    let others = others.filter(|_| what != "file").chain(names.iter().map(String::as_str));
    let hint = did_you_mean(name, others.filter(|other| !other.is_empty()).collect::<BTreeSet<_>>());
    let called = if name.is_empty() { String::new() } else { format!(" named {name:?}") };
    Problem::new(Reason::FieldNotFound, format!("item {title:?} has no {what}{called}.{hint} Its {what}s are: {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        item::Section,
        reference::{PartKind::Any, Reference},
    };

    fn item() -> Item {
        let field = |id: &str, label: &str, section: &str, value: &str| Field {
            id: id.into(),
            label: label.into(),
            section: (!section.is_empty()).then(|| Section { id: section.into(), label: String::new() }),
            value: (!value.is_empty()).then(|| Sensitive::from(value)),
            ..Field::default()
        };
        let mut item = Item {
            title: "radarr".into(),
            sections: vec![Section { id: "s1".into(), label: "Database".into() }],
            fields: vec![
                field("username", "username", "", "u"),
                field("password", "Passwort", "", "p"),
                field("f1", "API_KEY", "", "k"),
                field("f2", "user", "s1", "db-user"),
                field("f3", "a/b", "", "slash"),
                field("f4", "twin", "", "one"),
                field("f5", "twin", "s1", "two"),
                field("f6", "copy", "", "same"),
                field("f7", "copy", "s1", "same"),
                field("f8", "spare", "", ""),
                field("f9", "spare", "s1", "filled"),
                field("otp", "code", "", "otpauth://x"),
            ],
            files: vec![File { id: "file1".into(), name: "tls.key".into(), size: 3 }],
            urls: [("website", false, ""), ("admin", true, "/admin")]
                .map(|(label, primary, path)| Url {
                    label: label.into(),
                    primary,
                    href: Some(Sensitive::from(format!("https://radarr.example{path}"))),
                })
                .into(),
            ..Item::default()
        };
        item.fields[11].totp = Some("123456".into());
        item
    }

    fn part(property: &str) -> Part {
        let remote = serde_json::from_value(serde_json::json!({"key": "x", "property": property})).unwrap();
        Reference::of_data(&remote).unwrap().part
    }

    fn text(source: Source) -> String {
        match source {
            Source::Value(value) => value.expose_str().unwrap().to_owned(),
            Source::File(file) => format!("file {}", file.id),
        }
    }

    #[test]
    fn chooses_one_field() {
        for (property, expected) in [
            ("", "p"),
            ("username", "u"),
            ("f1", "k"),
            ("API_KEY", "k"),
            ("field/API_KEY", "k"),
            ("Database/user", "db-user"),
            ("s1/f2", "db-user"),
            ("a/b", "slash"),
            ("Database/twin", "two"),
            ("tls.key", "file file1"),
            ("file/tls.key", "file file1"),
            ("code", "otpauth://x"),
            ("code?attribute=otp", "123456"),
            ("website", "https://radarr.example"),
            ("admin", "https://radarr.example/admin"),
            ("url", "https://radarr.example/admin"),
            ("spare", ""),
        ] {
            let found = one(&item(), &part(property));
            if property == "spare" {
                assert_eq!(found.unwrap_err().reason, Reason::FieldAmbiguous);
            } else {
                assert_eq!(text(found.unwrap()), expected, "{property}");
            }
        }
    }

    #[test]
    fn says_why_a_field_is_not_chosen() {
        let mut empty = item();
        empty.fields.clear();
        let mut doubled = item();
        doubled.files.push(File { id: "file2".into(), name: "tls.key".into(), size: 4 });
        doubled.urls.push(Url { label: "admin".into(), href: Some("https://other.example".into()), ..Url::default() });
        // By its id each is found.
        assert_eq!(text(one(&doubled, &part("file/file2")).unwrap()), "file file2");
        let messages: Vec<(Reason, String)> = [
            one(&item(), &part("api-key")),
            one(&item(), &part("nothing")),
            one(&item(), &part("twin")),
            one(&item(), &part("file/tls.crt")),
            one(&item(), &part("user?attribute=otp")),
            one(&empty, &Part::Default),
            one(&doubled, &part("tls.key")),
            one(&doubled, &part("file/tls.key")),
            all(&Item { category: "DOCUMENT".into(), ..doubled.clone() }, &Part::All).map(|mut all| all.remove(0).1),
            one(&doubled, &part("admin")),
            one(&item(), &part("webiste")),
            one(&item(), &part("usernam")),
        ]
        .into_iter()
        .map(|found| found.unwrap_err())
        .map(|problem| (problem.reason, problem.message))
        .collect();
        insta::assert_debug_snapshot!(messages);
    }

    #[test]
    fn extracts_all_fields_and_refuses_two_values_of_one_label() {
        let problem = all(&item(), &Part::All).unwrap_err();
        assert_eq!(problem.reason, Reason::FieldAmbiguous);
        let mut item = item();
        item.fields.remove(6);
        let values: Vec<String> = all(&item, &Part::All)
            .unwrap()
            .into_iter()
            .map(|(key, source)| format!("{key}={}", text(source)))
            .collect();
        assert_eq!(
            values,
            [
                "username=u",
                "Passwort=p",
                "API_KEY=k",
                "user=db-user",
                "a/b=slash",
                "twin=one",
                "copy=same",
                "spare=filled",
                "code=otpauth://x"
            ]
        );
        assert_eq!(all(&item, &part("API_KEY")).unwrap().len(), 1);
    }

    #[test]
    fn takes_what_matches_and_minds_only_that() {
        let names = |fits: fn(&str) -> bool| -> Result<Vec<String>, Problem> {
            Ok(matching(&item(), fits)?.into_iter().map(|(name, _)| name).collect())
        };
        // Two fields are named twin, with different values: that matters only to who asks for them.
        assert_eq!(names(|name| name == "twin").unwrap_err().reason, Reason::FieldAmbiguous);
        assert_eq!(
            names(|name| name.contains("user") || name.contains("tls")).unwrap(),
            ["tls.key", "username", "user"]
        );
    }

    #[test]
    fn a_document_is_its_files() {
        let item = Item { category: "DOCUMENT".into(), ..item() };
        assert_eq!(text(one(&item, &Part::Default).unwrap()), "file file1");
        assert_eq!(all(&item, &Part::All).unwrap().len(), 1);
        let named = Part::Named { name: "username".into(), kind: Any, otp: false };
        assert_eq!(text(one(&item, &named).unwrap()), "u");
    }
}
