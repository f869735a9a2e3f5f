//! The definitions in a real API server: plain `kubectl apply` takes them, what is certainly wrong is refused with
//! a message that helps, what is right is accepted, and so is every example in the documents.
//! KUBECONFIG says which cluster.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::{fmt::Write, sync::OnceLock, time::Duration};

use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use strongroom::{
    api::{backup::GroupSnapshotVersion, foreign::VolumeGroupSnapshot},
    clients::groups::{self, Groups},
};
use support::{component, documents, examples, is_ours, program, run, text};

/// Set once our definitions are in the cluster.
static DEFINED: OnceLock<()> = OnceLock::new();

/// A connection to the cluster, with our definitions in it.
async fn cluster() -> Client {
    assert!(std::env::var_os("KUBECONFIG").is_some(), "KUBECONFIG is not set: run this suite by `make test`");
    DEFINED.get_or_init(|| {
        rustls::crypto::ring::default_provider().install_default().unwrap();
        let kubectl = program("KUBECTL", "kubectl");
        run(&kubectl, &["apply", "-f", "crds"]);
        run(&kubectl, &["wait", "--for=condition=Established", "--timeout=60s", "-f", "crds"]);
    });
    Client::try_default().await.unwrap()
}

/// The objects of a kind, in the namespace `default` where it has one.
fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let crds = strongroom::api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap_or_else(|| panic!("no kind {kind}"));
    let resource = ApiResource {
        group: crd.spec.group.clone(),
        version: crd.spec.versions[0].name.clone(),
        api_version: format!("{}/{}", crd.spec.group, crd.spec.versions[0].name),
        kind: kind.to_owned(),
        plural: crd.spec.names.plural.clone(),
    };
    if crd.spec.scope == "Namespaced" {
        Api::namespaced_with(client.clone(), "default", &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "strongroom.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec
    });
    serde_json::from_value(object).unwrap()
}

/// What the API server says to an object, which is not kept.
async fn ask(client: &Client, kind: &str, spec: &Value) -> Result<DynamicObject, String> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match objects(client, kind).create(&params, &object(kind, "asked", spec)).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("the API server cannot be asked: {error}"),
    }
}

#[tokio::test]
async fn what_is_certainly_wrong_is_refused() {
    let client = cluster().await;
    let mut said = String::new();
    for case in documents(&support::read("tests/fixtures/refused.yaml")) {
        let (kind, what) = (text(&case, "/kind"), text(&case, "/what"));
        match ask(&client, kind, &case["spec"]).await {
            Ok(_) => panic!("{kind}, {what}: was accepted"),
            Err(message) => {
                let message = message.replace(&format!("{kind}.strongroom.dev \"asked\" is invalid: "), "");
                writeln!(said, "{kind}, {what}\n    {}", message.replace('\n', "\n    ")).unwrap();
            }
        }
    }
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn what_is_right_is_accepted_and_starts_unseen() {
    let client = cluster().await;
    for case in documents(&support::read("tests/fixtures/accepted.yaml")) {
        let kind = text(&case, "/kind");
        let accepted = ask(&client, kind, &case["spec"]).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(accepted.data["status"], json!({"observedGeneration": -1}), "{kind} would count as seen");
        support::check(&json!({"kind": kind, "metadata": {"name": "asked"}, "spec": case["spec"]})).unwrap();
    }
}

#[tokio::test]
async fn a_restore_is_not_changed_but_for_suspend() {
    let client = cluster().await;
    let restores = objects(&client, "VolumeRestore");
    let name = format!("immutable-{}", std::process::id());
    let spec = json!({"from": {"backup": "radarr"}, "suspend": true, "previous": 1});
    restores.create(&PostParams::default(), &object("VolumeRestore", &name, &spec)).await.unwrap();
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let mut said = vec![];
    for change in [
        json!({"from": {"backup": "sonarr"}}),
        json!({"previous": 2}),
        json!({"previous": null}),
        json!({"keepPrevious": "1h"}),
        json!({"include": ["a"], "method": "InPlace"}),
        json!({"suspend": false}),
    ] {
        let answer = restores.patch(&name, &params, &Patch::Merge(json!({"spec": change}))).await;
        said.push((change, answer));
    }
    restores.delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
    let (_, unsuspended) = said.pop().unwrap();
    unsuspended.unwrap();
    for (change, answer) in said {
        let Err(kube::Error::Api(status)) = answer else { panic!("{change} was accepted") };
        assert!(status.message.contains("runs once and cannot be changed"), "{change}: {}", status.message);
    }
}

#[tokio::test]
async fn every_example_and_the_component_are_accepted() {
    cluster().await;
    let kubectl = program("KUBECTL", "kubectl");
    let folder = tempfile::tempdir().unwrap();
    let component = component(&[("APP", "radarr")]).into_iter().map(|document| ("the component".to_owned(), document));
    for (place, mut document) in examples().into_iter().chain(component) {
        if !is_ours(&document) {
            continue;
        }
        // The namespaces of the examples do not exist here, and names that are given by the server need none.
        if let Some(namespace) = document.pointer_mut("/metadata/namespace") {
            *namespace = "default".into();
        }
        let file = folder.path().join("example.yaml");
        std::fs::write(&file, document.to_string()).unwrap();
        println!("{place}");
        run(&kubectl, &["create", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()]);
    }
}

#[tokio::test]
async fn one_word_lists_everything() {
    cluster().await;
    // What kubectl remembers of the server may be older than our definitions.
    let cache = tempfile::tempdir().unwrap();
    let cache = format!("--cache-dir={}", cache.path().display());
    run(&program("KUBECTL", "kubectl"), &["get", "strongroom", "--all-namespaces", &cache]);
}

/// Has every version of group snapshots served again at its end, however that is.
struct AllServed;

impl Drop for AllServed {
    fn drop(&mut self) {
        for version in GroupSnapshotVersion::ALL {
            serve(version.as_str(), true);
        }
    }
}

/// Has a version of group snapshots served, or not.
fn serve(version: &str, served: bool) {
    let kubectl = program("KUBECTL", "kubectl");
    for plural in ["volumegroupsnapshots", "volumegroupsnapshotclasses"] {
        let name = format!("{plural}.groupsnapshot.storage.k8s.io");
        let crd: Value = serde_json::from_str(&run(&kubectl, &["get", "crd", &name, "-o", "json"])).unwrap();
        let versions = crd["spec"]["versions"].as_array().unwrap();
        let at = versions.iter().position(|of| of["name"] == version).unwrap();
        let patch = json!([{"op": "replace", "path": format!("/spec/versions/{at}/served"), "value": served}]);
        run(&kubectl, &["patch", "crd", &name, "--type=json", "-p", &patch.to_string()]);
    }
}

/// Waits until this is the newest version of group snapshots, or there is none.
async fn newest(client: &Client, version: Option<GroupSnapshotVersion>) {
    for _ in 0..300 {
        let seen = groups::classes(client).await.unwrap();
        if seen.version == version {
            let of_rbd = seen.classes.iter().any(|class| class.driver == "rook-ceph.rbd.csi.ceph.com");
            assert_eq!(of_rbd, version.is_some(), "{seen:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{version:?} does not become the newest version");
}

#[tokio::test]
async fn group_snapshots_are_had_by_the_newest_version_that_is_served() {
    let client = cluster().await;
    let all = AllServed;
    for version in GroupSnapshotVersion::ALL {
        newest(&client, Some(version)).await;
        let groups = Groups::new(&client, version, Some("default"));
        let object: VolumeGroupSnapshot = serde_json::from_value(json!({
            "metadata": {
                "name": format!("asked-{}", version.as_str()),
                "labels": {"app.kubernetes.io/managed-by": "strongroom", "strongroom.dev/owner-uid": "u-1"},
            },
            "spec": {
                "volumeGroupSnapshotClassName": "csi-ceph-blockpool",
                "source": {"selector": {"matchLabels": {"nobody": "has-it"}}},
            },
        }))
        .unwrap();
        let name = object.metadata.name.clone().unwrap();
        groups.create(&object, "u-1").await.unwrap();
        groups.create(&object, "u-1").await.unwrap();
        let foreign = groups.create(&object, "u-2").await.unwrap_err();
        assert_eq!(
            foreign.message,
            format!("VolumeGroupSnapshot default/{name} exists and is not ours: delete or rename it")
        );
        assert!(groups.get(&name, "u-2").await.unwrap().is_none());
        let found = groups.get(&name, "u-1").await.unwrap().unwrap();
        assert_eq!(found.spec, object.spec);
        let all = groups::find(&client, &ListParams::default().labels("strongroom.dev/owner-uid=u-1")).await.unwrap();
        let names: Vec<_> = all.iter().map(|(of, metadata)| (*of, metadata.name.clone().unwrap())).collect();
        assert_eq!(names, [(version, name.clone())]);
        // Another object of that name is not deleted.
        let mut other = found.metadata.clone();
        other.uid = Some("another".to_owned());
        groups.delete(&other).await.unwrap();
        assert!(groups.get(&name, "u-1").await.unwrap().is_some());
        groups.delete(&found.metadata).await.unwrap();
        for _ in 0..300 {
            if groups.get(&name, "u-1").await.unwrap().is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(groups.get(&name, "u-1").await.unwrap().is_none());
        groups.delete(&found.metadata).await.unwrap();
        serve(version.as_str(), false);
    }
    newest(&client, None).await;
    assert!(groups::find(&client, &ListParams::default()).await.unwrap().is_empty());
    drop(all);
    newest(&client, Some(GroupSnapshotVersion::V1)).await;
}
