//! `kubernetes/`: the install in the layout of a Flux repository, and the component for apps. kubectl renders what
//! kustomize-controller would; it is found by the variable KUBECTL or on the PATH.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::Value;
use support::{check, component, documents, is_ours, kustomize, path, program, run, substitute, text};

const APP: &str = "kubernetes/apps/strongroom-system/strongroom/app";
const STORES: &str = "kubernetes/apps/strongroom-system/strongroom/stores";

#[test]
fn an_app_gets_its_secret_claim_and_backup_from_its_name() {
    insta::assert_yaml_snapshot!(component(&[("APP", "radarr")]));
}

#[test]
fn every_default_of_the_component_can_be_replaced() {
    let values = [
        ("APP", "radarr"),
        ("STRONGROOM_ACCESSMODE", "ReadWriteMany"),
        ("STRONGROOM_CAPACITY", "20Gi"),
        ("STRONGROOM_CLAIM", "radarr-config"),
        ("STRONGROOM_ITEM", "Radarr (Media)"),
        ("STRONGROOM_REPOSITORY", "offsite"),
        ("STRONGROOM_SCHEDULE", "H H * * *"),
        ("STRONGROOM_STORAGECLASS", "ceph-filesystem"),
        ("STRONGROOM_STORE", "onepassword-connect"),
    ];
    let rendered = component(&values);
    insta::assert_yaml_snapshot!(rendered);
    let source = kustomize("tests/fixtures/flux");
    for (name, value) in values {
        assert!(source.contains(&format!("${{{name}")), "{name} is not used by the component");
        assert!(serde_json::to_string(&rendered).unwrap().contains(value), "{name} has no effect");
    }
}

#[test]
fn the_component_fits_the_definitions() {
    let rendered = component(&[("APP", "radarr")]);
    for document in &rendered {
        if is_ours(document) {
            check(document).unwrap();
        } else {
            serde_json::from_value::<PersistentVolumeClaim>(document.clone()).unwrap();
        }
    }
    let backup = rendered.iter().find(|document| text(document, "/kind") == "VolumeBackup").unwrap();
    let claim = rendered.iter().find(|document| text(document, "/kind") == "PersistentVolumeClaim").unwrap();
    assert_eq!(text(backup, "/spec/claimNames/0"), text(claim, "/metadata/name"));
}

#[test]
fn the_stores_fit_the_definitions_and_each_other() {
    let stores = documents(&kustomize(STORES));
    assert!(!stores.is_empty());
    for document in &stores {
        check(document).unwrap();
    }
    let name = |kind: &str| {
        let store = stores.iter().find(|document| text(document, "/kind") == kind).unwrap();
        text(store, "/metadata/name").to_owned()
    };
    let rendered = component(&[("APP", "radarr")]);
    for (pointer, kind) in [
        ("/spec/secretStoreRef/name", "ClusterSecretStore"),
        ("/spec/repositoryRefs/0/name", "ClusterResticRepository"),
    ] {
        let used = rendered.iter().find_map(|document| document.pointer(pointer)).unwrap();
        assert_eq!(used.as_str(), Some(&*name(kind)), "the component's default names another {kind}");
    }
}

#[test]
fn flux_finds_what_its_kustomizations_name() {
    let rendered = documents(&kustomize("kubernetes/apps/strongroom-system"));
    let kustomizations: Vec<&Value> =
        rendered.iter().filter(|document| text(document, "/apiVersion").contains("toolkit.fluxcd.io")).collect();
    assert_eq!(kustomizations.len(), 2);
    for kustomization in &kustomizations {
        let folder = text(kustomization, "/spec/path").trim_start_matches("./");
        assert!(path(folder).join("kustomization.yaml").is_file(), "{folder} does not exist");
        assert_eq!(text(kustomization, "/spec/targetNamespace"), "strongroom-system");
        for dependency in kustomization.pointer("/spec/dependsOn").and_then(Value::as_array).into_iter().flatten() {
            let known = kustomizations.iter().any(|other| text(other, "/metadata/name") == text(dependency, "/name"));
            assert!(known, "nothing is named {dependency}");
        }
    }
    let namespace = rendered.iter().find(|document| text(document, "/kind") == "Namespace").unwrap();
    assert_eq!(text(namespace, "/metadata/labels/pod-security.kubernetes.io~1enforce"), "baseline");
}

#[test]
fn the_release_fits_the_chart() {
    let rendered = documents(&kustomize(APP));
    let find = |kind: &str| rendered.iter().find(|document| text(document, "/kind") == kind).unwrap();
    let (release, source) = (find("HelmRelease"), find("OCIRepository"));
    assert_eq!(text(release, "/spec/chartRef/name"), text(source, "/metadata/name"));
    assert_eq!(text(source, "/spec/ref/tag"), env!("CARGO_PKG_VERSION"));
    for when in ["install", "upgrade"] {
        assert_eq!(text(release, &format!("/spec/{when}/crds")), "CreateReplace", "Helm alone never updates them");
    }
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), release["spec"]["values"].to_string()).unwrap();
    let values = values.path().to_str().unwrap().to_owned();
    run(&program("HELM", "helm"), &["template", "strongroom", "charts/strongroom", "--values", &values]);
}

#[test]
fn substitution_is_that_of_flux() {
    let values = [("APP", "radarr"), ("EMPTY", "")];
    for (text, expected) in [
        ("plain $x {a}", "plain $x {a}"),
        ("${APP}", "radarr"),
        ("${APP}-secret", "radarr-secret"),
        ("${OTHER:=5Gi}", "5Gi"),
        ("${OTHER:=${APP}}", "radarr"),
        ("${APP:=other} ${X:=H * * * *}", "radarr H * * * *"),
        ("{{ .KEY }} ${APP}", "{{ .KEY }} radarr"),
    ] {
        assert_eq!(substitute(text, &values).as_deref(), Ok(expected));
    }
    assert!(substitute("${MISSING}", &values).is_err());
    assert!(substitute("${MISSING", &values).is_err());
}
