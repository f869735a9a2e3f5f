//! How many movers a node gets, on a cluster of one node.

use std::time::Duration;

use crate::{
    apps::{app, backup, has_run, mounted_at, nothing_left, request_run, running},
    support::{SYSTEM, apply, beside_others, eventually, kubectl, list, namespace, on_node},
};

#[test]
fn a_node_gets_no_more_movers_of_a_repository_than_it_may() {
    let _guard = beside_others();
    let place = "b-node";
    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: per-node, namespace: {SYSTEM}}}\nstringData: \
         {{RESTIC_PASSWORD: canary-node-1}}\n---\napiVersion: strongroom.dev/v1alpha1\n\
         kind: ClusterResticRepository\nmetadata: {{name: per-node}}\nspec:\n  \
         url: '/repository/per-node/{{{{ name }}}}'\n  volume: {{claimName: backups}}\n  \
         limits: {{backups: 3, perNode: 1}}\n  credentials: {{secretRef: {{name: per-node}}}}\n"
    ));
    crate::messages::accept_base("per-node");
    namespace(place);
    apply(&app(place, "app", "ceph-block"));
    running(place, "app");
    // So much that movers would meet.
    on_node(&["sh", "-c", &format!("head -c 100000000 /dev/urandom > {}/file && sync", mounted_at(place, "app"))]);
    let names = ["one", "two", "three"];
    for name in names {
        let spec = "spec: {claimNames: [app], repositoryRefs: [{name: per-node}], ";
        apply(&backup(place, name).replace("spec: {", spec));
    }
    let tokens = names.map(|name| request_run(place, name));
    let (mut most, mut waited) = (0, false);
    let statuses = eventually("all have run", Duration::from_mins(5), || {
        let pods = list("pods", SYSTEM, &format!("strongroom.dev/slot,strongroom.dev/owner-namespace={place}"));
        let run = pods.iter().filter(|pod| {
            pod["status"]["phase"] == "Running"
                || (pod["status"]["phase"] == "Pending" && !pod["spec"]["nodeName"].is_null())
        });
        most = most.max(run.count());
        waited |= pods.iter().filter_map(|pod| pod["status"]["conditions"].as_array()).flatten().any(|condition| {
            condition["message"].as_str().is_some_and(|message| message.contains("anti-affinity rules"))
        });
        names.iter().zip(&tokens).map(|(name, token)| has_run(place, name, token)).collect::<Option<Vec<_>>>()
    });
    for status in statuses {
        assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    }
    assert_eq!((most, waited), (1, true), "movers at once, and whether one had to wait for the node");
    nothing_left(place);
    kubectl(&["delete", "namespace", place, "--wait=false"]);
    kubectl(&["delete", "clusterresticrepository", "per-node"]);
    kubectl(&["-n", SYSTEM, "delete", "secret", "per-node"]);
}
