use insta::assert_yaml_snapshot;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{backup::BackupPhase, repository::RepositoryVolume},
    core::backup::{
        simulation::{Cluster, NAMESPACE, world},
        tests::ready,
    },
};

fn pod(name: &str, claim: &str, node: &str, more: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "app"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
        "status": {"phase": "Running"},
    });
    pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(pod).unwrap()
}

/// A cluster in which the claims of `media/radarr` are read where they are, into a repository of that namespace.
fn cluster(more: &Value) -> Cluster {
    let mut spec = json!({"method": "Direct"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut cluster = Cluster::new(serde_json::from_value(spec).unwrap());
    cluster.repositories[0].key.kind = RepositoryKind::ResticRepository;
    cluster
}

/// A run that is asked for.
fn run(cluster: &mut Cluster) -> Run {
    cluster.settle();
    cluster.force("now");
    loop {
        cluster.control();
        if let Some(run) = cluster.status().run {
            return run;
        }
    }
}

/// The mover of a run that is asked for, as soon as there is one.
fn mover(cluster: &mut Cluster) -> Value {
    run(cluster);
    for _ in 0..100 {
        if let Some((job, _)) = cluster.jobs.values().next() {
            return serde_json::to_value(job).unwrap();
        }
        cluster.control();
    }
    panic!("no mover: {:#?}", cluster.status());
}

#[test]
fn a_mover_runs_beside_the_app_and_nothing_else_is_made() {
    let mut cluster = cluster(&json!({}));
    let security = json!({"tolerations": [{"key": "nas", "operator": "Exists"}],
        "securityContext": {"runAsUser": 568, "runAsGroup": 569, "supplementalGroups": [100], "fsGroup": 570}});
    cluster.pods = vec![pod("other", "sonarr", "node-2", &json!({})), pod("radarr", "radarr", "node-1", &security)];
    let job = mover(&mut cluster);
    assert_eq!(job["metadata"]["namespace"], "media");
    let pod = &job["spec"]["template"]["spec"];
    assert_yaml_snapshot!(json!({
        "affinity": pod["affinity"], "tolerations": pod["tolerations"], "volumes": pod["volumes"],
        "securityContext": pod["securityContext"], "container": pod["containers"][0]["securityContext"],
        "mounts": pod["containers"][0]["volumeMounts"], "task": pod["containers"][0]["env"][0],
        "claims": cluster.status().claims,
    }));
    assert_eq!((cluster.snapshots.len(), cluster.staged.len(), cluster.secrets.len()), (0, 0, 1));
    cluster.settle();
    assert!(cluster.is_clean());
    assert_eq!(cluster.status().last_result, Some(crate::api::backup::RunResult::Succeeded));
}

#[test]
fn it_goes_where_the_claim_can_be_had() {
    let of = |pods: Vec<Pod>| {
        let mut cluster = cluster(&json!({"claimNames": ["config", "media"]}));
        let run = run(&mut cluster);
        let mut seen = cluster.observe();
        seen.pods = pods;
        if let Some(claim) = &mut seen.claims[1].claim {
            claim.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteMany".to_owned()]);
        }
        beside(&run, &seen)
    };
    assert_eq!(of(vec![]).unwrap(), Beside::default());
    assert_eq!(of(vec![pod("a", "media", "node-1", &json!({}))]).unwrap().node, None, "any node can have it");
    let mut over = pod("a", "config", "node-1", &json!({}));
    over.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    assert_eq!(of(vec![over]).unwrap().node, None);
    let mut ours = pod("a", "config", "node-1", &json!({}));
    ours.metadata.labels = Some([(labels::RUN.to_owned(), "other".to_owned())].into());
    assert_eq!(of(vec![ours]).unwrap().node, None, "a mover is no app");
    let on = |node: &str| pod("a", "config", node, &json!({}));
    assert_eq!(of(vec![on("node-1"), on("node-1")]).unwrap().node.as_deref(), Some("node-1"));
    assert!(of(vec![on("node-1"), on("node-2")]).unwrap_err().message.contains("node-1 and node-2"));
}

#[test]
fn what_it_cannot_be_is_said() {
    let says = |change: &dyn Fn(&mut Cluster)| {
        let mut cluster = cluster(&json!({}));
        change(&mut cluster);
        cluster.settle();
        assert_eq!(cluster.status().phase, Some(BackupPhase::Blocked));
        ready(&cluster)
    };
    let cases = [
        says(&|cluster| cluster.world.direct = false),
        says(&|cluster| cluster.repositories[0].key.kind = RepositoryKind::ClusterResticRepository),
        says(&|cluster| {
            cluster.repositories[0].state.as_mut().unwrap().0.volume =
                Some(RepositoryVolume { claim_name: Some("backups".to_owned()), nfs: None });
        }),
        says(&|cluster| {
            cluster.backup.spec.hooks = serde_json::from_value(json!({"before": [{"command": ["sync"]}]})).unwrap();
        }),
        says(&|cluster| {
            let claim = cluster.claims.get_mut("radarr").unwrap().claim.as_mut().unwrap();
            claim.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteOncePod".to_owned()]);
        }),
    ];
    assert_yaml_snapshot!(cases);
}

#[test]
fn otherwise_movers_are_in_the_operators_namespace() {
    let mut cluster = Cluster::new(serde_json::from_value(json!({})).unwrap());
    let run = run(&mut cluster);
    assert_eq!(home(&cluster.backup, &run, &world()), NAMESPACE);
}
