//! What several of these tests share: YAML documents, and checks of them against our own definitions.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use strongroom::api::{
    self, backup::VolumeBackup, external_secret::ExternalSecret, repository::ClusterResticRepository,
    repository::ResticRepository, restore::VolumeRestore, store::ClusterSecretStore, store::SecretStore,
};

/// A file of the checkout.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the checkout.
pub(crate) fn read(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a file with what it is generated from; with `UPDATE=1` it is written instead.
pub(crate) fn generated(name: &str, content: &str, test: &str) {
    let found = std::fs::read_to_string(path(name)).unwrap_or_default();
    if found == content {
        return;
    }
    assert!(
        std::env::var_os("UPDATE").is_some(),
        "{name} is not what the code says; write it with: UPDATE=1 cargo test --test {test}"
    );
    std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
    std::fs::write(path(name), content).unwrap();
}

/// The documents of a YAML text; empty ones are left out.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Whether a document is of a kind of ours.
pub(crate) fn is_ours(document: &Value) -> bool {
    text(document, "/apiVersion").starts_with("strongroom.dev/")
}

/// A text in a document; empty where there is none.
pub(crate) fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Checks a document of a kind of ours: our types read it, and every field of it is one that the definition has.
pub(crate) fn check(document: &Value) -> Result<(), String> {
    fn parse<K: DeserializeOwned>(document: &Value) -> Result<(), String> {
        serde_json::from_value::<K>(document.clone()).map(|_| ()).map_err(|error| error.to_string())
    }
    let kind = text(document, "/kind");
    let parsed = match kind {
        "SecretStore" => parse::<SecretStore>(document),
        "ClusterSecretStore" => parse::<ClusterSecretStore>(document),
        "ExternalSecret" => parse::<ExternalSecret>(document),
        "ResticRepository" => parse::<ResticRepository>(document),
        "ClusterResticRepository" => parse::<ClusterResticRepository>(document),
        "VolumeBackup" => parse::<VolumeBackup>(document),
        "VolumeRestore" => parse::<VolumeRestore>(document),
        _ => Err("there is no such kind".to_owned()),
    };
    parsed.map_err(|error| format!("{kind}: {error}"))?;
    let crds = api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let mut unknown = vec![];
    unknown_fields(schema(crd), document, "", &mut unknown);
    unknown.retain(|field| !field.starts_with(".metadata") && field != ".apiVersion" && field != ".kind");
    if unknown.is_empty() { Ok(()) } else { Err(format!("{kind}: unknown fields {}", unknown.join(", "))) }
}

/// The schema of a definition's only version.
pub(crate) fn schema(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()
}

fn unknown_fields(schema: &JSONSchemaProps, value: &Value, at: &str, unknown: &mut Vec<String>) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let field = format!("{at}.{key}");
                let other = match &schema.additional_properties {
                    Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(&**schema),
                    _ => None,
                };
                match schema.properties.as_ref().and_then(|properties| properties.get(key)).or(other) {
                    Some(schema) => unknown_fields(schema, value, &field, unknown),
                    None => unknown.push(field),
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for (index, value) in items.iter().enumerate() {
                    unknown_fields(schema, value, &format!("{at}[{index}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

/// What a program prints; fails with what it complains about.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {}:\n{err}", args.join(" "));
    out.into_owned()
}

/// A program that a variable names, or that is on the PATH.
pub(crate) fn program(variable: &str, name: &str) -> String {
    if let Ok(path) = std::env::var(variable) {
        return path;
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|directory| directory.join(name).is_file());
    assert!(found, "{name} is needed: put it on the PATH, or its path into the variable {variable}");
    name.to_owned()
}

/// The documents in the YAML examples of README.md and `docs/`, each with its place.
pub(crate) fn examples() -> Vec<(String, Value)> {
    let mut pages = vec!["README.md".to_owned()];
    let files = std::fs::read_dir(path("docs")).unwrap();
    pages.extend(files.map(|file| format!("docs/{}", file.unwrap().file_name().to_str().unwrap())));
    pages.retain(|page| Path::new(page).extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let mut found = vec![];
    for page in pages {
        let text = read(&page);
        for (index, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap_or_default();
            let place = format!("{page}, example {}", index + 1);
            found.extend(documents(block).into_iter().map(|document| (place.clone(), document)));
        }
    }
    found
}

/// What kustomize makes of a folder of the checkout.
pub(crate) fn kustomize(folder: &str) -> String {
    run(&program("KUBECTL", "kubectl"), &["kustomize", folder])
}

/// Replaces `${NAME}` and `${NAME:=default}` as Flux does (a default may hold a variable itself). What has neither a
/// value nor a default is an error, as with Flux's strict substitution.
pub(crate) fn substitute(text: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let Some((before, rest)) = text.split_once("${") else { return Ok(text.to_owned()) };
    let mut depth = 1;
    let end = rest.char_indices().find_map(|(at, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    });
    let end = end.ok_or_else(|| format!("${{{rest} has no end"))?;
    let (name, default) = rest[..end].split_once(":=").map_or((&rest[..end], None), |(name, text)| (name, Some(text)));
    let value = match (values.iter().find(|(known, _)| *known == name), default) {
        (Some((_, value)), _) => (*value).to_owned(),
        (None, Some(default)) => substitute(default, values)?,
        (None, None) => return Err(format!("{name} has no value")),
    };
    Ok(format!("{before}{value}{}", substitute(&rest[end + 1..], values)?))
}

/// The component for apps, as an app of a user's repository takes it.
pub(crate) fn component(values: &[(&str, &str)]) -> Vec<Value> {
    documents(&substitute(&kustomize("tests/fixtures/flux"), values).unwrap())
}
