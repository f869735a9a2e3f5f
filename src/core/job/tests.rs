use insta::assert_yaml_snapshot;
use serde_json::json;

use super::*;

fn job(task: &serde_json::Value, mounts: &[Mount], mover: &serde_json::Value, volume: &serde_json::Value) -> Job {
    let owner = Owner {
        kind: "VolumeBackup",
        namespace: Some("media".to_owned()),
        name: "radarr".to_owned(),
        uid: "u-1".to_owned(),
    };
    let image = Image {
        name: "strongroom:1".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        pull_secrets: vec!["registry".to_owned()],
    };
    mover_job(&MoverJob {
        name: "run-mover-0",
        namespace: "strongroom-system",
        owner: &owner,
        run: "run",
        image: &image,
        task: &serde_json::from_value(task.clone()).unwrap(),
        credentials: "run-credentials-0",
        mounts,
        slot: mover.get("slot").and_then(serde_json::Value::as_str),
        repository_volume: serde_json::from_value::<Option<RepositoryVolume>>(volume.clone()).unwrap().as_ref(),
        mover: &serde_json::from_value(mover.clone()).unwrap(),
        deadline_seconds: Some(3600),
    })
}

/// The whole of each kind: what a pod may do is changed by nobody unseen.
#[test]
fn the_whole_job_of_every_kind() {
    let mount = |read_only| [Mount { claim: "staged".to_owned(), path: "/data/radarr".to_owned(), read_only }];
    let volumes = json!([{"claim": "radarr", "host": "media", "path": "/data/radarr"}]);
    let tasks = [
        ("probe", json!(Task::Probe), vec![]),
        ("create", json!(Task::Create), vec![]),
        (
            "backup",
            json!(Task::Backup(serde_json::from_value(json!({"run": "run", "volumes": volumes})).unwrap())),
            mount(true).to_vec(),
        ),
        (
            "resolve",
            json!(Task::Resolve(serde_json::from_value(json!({"volumes": volumes, "selection": {}})).unwrap())),
            vec![],
        ),
        (
            "restore",
            json!(Task::Restore(serde_json::from_value(json!({"run": "run", "volumes": []})).unwrap())),
            mount(false).to_vec(),
        ),
        ("maintain", json!(Task::Maintain(serde_json::from_value(json!({"histories": []})).unwrap())), vec![]),
    ];
    for (name, task, mounts) in tasks {
        assert_yaml_snapshot!(name, job(&task, &mounts, &json!({}), &json!(null)));
    }
    let mover = json!({
        "resources": {"limits": {"memory": "1Gi"}}, "cache": {"size": "2Gi"}, "nodeSelector": {"disk": "fast"},
        "priorityClassName": "low", "labels": {"team": "media"}, "annotations": {"note": "yes"},
        "runAs": {"user": 568, "group": 569, "supplementalGroups": [100]}, "slot": "0123456789-1",
    });
    let restore = json!(Task::Restore(serde_json::from_value(json!({"run": "run", "volumes": []})).unwrap()));
    assert_yaml_snapshot!("declared", job(&restore, &mount(false), &mover, &json!({"claimName": "nas"})));
}
