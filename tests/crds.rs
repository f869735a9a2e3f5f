//! The definitions in `crds/`: as the types say, small enough, and fit for users.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use strongroom::api;
use support::{generated, path, schema};

/// The limit for all together: what a chart's release may hold with room to spare.
const ALL: usize = 250 * 1024;
/// The limit for one: `kubectl apply` keeps a copy in an annotation of at most 256 KiB.
const ONE: usize = 200 * 1024;

#[test]
fn files_are_what_the_types_say() {
    let mut names: Vec<String> = vec![];
    let mut sizes = vec![];
    for crd in api::crds() {
        let text = format!("# Generated: UPDATE=1 cargo test --test crds\n{}", serde_saphyr::to_string(&crd).unwrap());
        sizes.push(text.len());
        for folder in ["crds", "charts/strongroom/crds"] {
            generated(&format!("{folder}/{}.yaml", crd.spec.names.plural), &text, "crds");
        }
        names.push(format!("{}.yaml", crd.spec.names.plural));
    }
    names.sort();
    for folder in ["crds", "charts/strongroom/crds"] {
        let files = std::fs::read_dir(path(folder)).unwrap();
        let mut found: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, names, "{folder} holds a file of no kind, or lacks one");
    }
    assert!(sizes.iter().sum::<usize>() <= ALL, "the definitions are too large together: {sizes:?} bytes");
    assert!(sizes.iter().all(|size| *size < ONE), "a definition is too large for kubectl apply: {sizes:?} bytes");
}

#[test]
fn every_kind_is_listed_with_the_others_and_starts_unseen() {
    for crd in api::crds() {
        let kind = &crd.spec.names.kind;
        assert_eq!(crd.spec.names.categories, Some(vec!["strongroom".to_owned()]), "{kind}");
        let [version] = &crd.spec.versions[..] else { panic!("{kind}: one version is served") };
        let status = version.subresources.as_ref().and_then(|sub| sub.status.as_ref());
        assert!(status.is_some(), "{kind} has no status subresource");
        let status = &schema(&crd).properties.as_ref().unwrap()["status"];
        assert_eq!(
            status.default.as_ref().unwrap().0,
            serde_json::json!({"observedGeneration": -1}),
            "{kind}: an object that was not seen would count as ready"
        );
    }
}

#[test]
fn every_field_is_described_and_structural() {
    let mut wrong = vec![];
    for crd in api::crds() {
        let kind = &crd.spec.names.kind;
        for (name, part) in schema(&crd).properties.as_ref().unwrap() {
            look(part, &format!("{kind}.{name}"), &mut wrong);
        }
        assert!(schema(&crd).description.as_ref().is_some_and(|text| !text.starts_with("Auto-generated")), "{kind}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Notes fields without a description, and what Kubernetes refuses or does not check.
fn look(schema: &JSONSchemaProps, at: &str, wrong: &mut Vec<String>) {
    let any = schema.x_kubernetes_int_or_string == Some(true);
    if schema.type_.is_none() && !any {
        wrong.push(format!("{at} has no type"));
    }
    if let Some(format) = schema.format.as_deref().filter(|format| !["int32", "int64", "date-time"].contains(format)) {
        wrong.push(format!("{at}: Kubernetes does not know the format {format}"));
    }
    if schema.properties.is_some() && schema.additional_properties.is_some() {
        wrong.push(format!("{at} has both properties and additionalProperties"));
    }
    for (name, child) in schema.properties.iter().flatten() {
        let at = format!("{at}.{name}");
        if child.description.as_ref().is_none_or(|text| text.trim().is_empty()) {
            wrong.push(format!("{at} has no description"));
        }
        if child.nullable == Some(true) && schema.required.iter().flatten().any(|required| required == name) {
            wrong.push(format!("{at} is required and yet may be null"));
        }
        look(child, &at, wrong);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(child)) = &schema.items {
        look(child, &format!("{at}[]"), wrong);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(child)) = &schema.additional_properties {
        look(child, &format!("{at}.*"), wrong);
    }
}

#[test]
fn columns() {
    let mut table = String::new();
    for crd in api::crds() {
        writeln!(table, "{} ({})", crd.spec.names.kind, crd.spec.scope).unwrap();
        for column in crd.spec.versions[0].additional_printer_columns.iter().flatten() {
            let wide = if column.priority.unwrap_or_default() > 0 { ", only with -o wide" } else { "" };
            writeln!(table, "  {:14}{} ({}{wide})", column.name, column.json_path, column.type_).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}
