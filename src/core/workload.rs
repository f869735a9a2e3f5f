//! Who uses a claim, and how that is stopped and started again.
//!
//! The replicas that a workload had, and the restore that stopped it, stand on the workload itself from the same write
//! that scales it, so that a restore which is deleted or forgotten can still be put right.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{Pod, PodSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde_json::{Value, json};

use crate::{
    api::{
        annotations::{REPLICAS, STOPPED_BY},
        restore::StoppedWorkload,
    },
    core::problem::{Problem, Reason},
};

/// The kinds that can be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
}

impl Kind {
    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// A Deployment or StatefulSet, as far as stopping it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What a patch rests on.
    pub resource_version: Option<String>,
    /// The replicas it shall have.
    pub replicas: i32,
    /// The replicas that are ready.
    pub ready: i32,
    /// Whether its controller has seen its newest generation.
    pub settled: bool,
    /// The uid of the restore that stopped it.
    pub stopped_by: Option<String>,
    /// The replicas it had before.
    pub recorded: Option<i32>,
    /// The object of another operator that owns it, as "Kind name".
    pub operator: Option<String>,
    /// Claims that its pods name.
    pub claims: Vec<String>,
    /// Its claim templates (a StatefulSet's).
    pub templates: Vec<String>,
    /// The number of its first pod (a StatefulSet's).
    pub first: i32,
    /// Whether scaling it down deletes the claims of its templates.
    pub deletes_claims: bool,
}

/// A pod that has claims. One that has ended holds them all the same: Kubernetes lets no claim go while there is a pod
/// that names it and was once on a node (read in its pvc-protection controller, and seen on a real cluster).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUse {
    /// Its name.
    pub name: String,
    /// The claims that it names.
    pub claims: Vec<String>,
    /// Whether it has ended and nobody deletes it.
    pub stays: bool,
    /// What controls it in the end, as kind, name and uid; a Deployment where a ReplicaSet stands between.
    pub controller: Option<(String, String, String)>,
}

/// A Deployment.
pub fn deployment(object: &Deployment) -> Workload {
    let spec = &object.spec;
    let status = object.status.as_ref();
    Workload {
        replicas: spec.replicas.unwrap_or(1),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        settled: status.and_then(|status| status.observed_generation) >= object.metadata.generation,
        claims: claims(spec.template.spec.as_ref()),
        ..of(Kind::Deployment, &object.metadata)
    }
}

/// A StatefulSet.
pub fn stateful_set(object: &StatefulSet) -> Workload {
    let spec = &object.spec;
    let status = object.status.as_ref();
    let templates = spec.volume_claim_templates.iter().flatten();
    let retention = spec.persistent_volume_claim_retention_policy.as_ref();
    Workload {
        replicas: spec.replicas.unwrap_or(1),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        settled: status.and_then(|status| status.observed_generation) >= object.metadata.generation,
        claims: claims(spec.template.spec.as_ref()),
        templates: templates.filter_map(|template| template.metadata.name.clone()).collect(),
        first: spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0),
        deletes_claims: retention.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete"),
        ..of(Kind::StatefulSet, &object.metadata)
    }
}

/// A pod, if it has claims. `replica_sets` gives the controller of each ReplicaSet by its uid.
pub fn pod(object: &Pod, replica_sets: &BTreeMap<String, OwnerReference>) -> Option<PodUse> {
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    let claims = claims(object.spec.as_ref());
    if claims.is_empty() {
        return None;
    }
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    let controller = controller(&object.metadata)
        .map(|owner| if owner.kind == "ReplicaSet" { replica_sets.get(&owner.uid).unwrap_or(owner) } else { owner });
    Some(PodUse {
        name: object.metadata.name.clone().unwrap_or_default(),
        claims,
        stays: has_ended && object.metadata.deletion_timestamp.is_none(),
        controller: controller.map(|owner| (owner.kind.clone(), owner.name.clone(), owner.uid.clone())),
    })
}

/// What controls an object.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn of(kind: Kind, meta: &ObjectMeta) -> Workload {
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|annotations| annotations.get(name));
    Workload {
        kind,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone(),
        replicas: 1,
        ready: 0,
        settled: false,
        stopped_by: annotation(STOPPED_BY).cloned(),
        recorded: annotation(REPLICAS).and_then(|replicas| replicas.parse().ok()),
        operator: controller(meta).map(|owner| format!("{} {}", owner.kind, owner.name)),
        claims: vec![],
        templates: vec![],
        first: 0,
        deletes_claims: false,
    }
}

/// The claims that pods of that specification use.
pub(crate) fn claims(spec: Option<&PodSpec>) -> Vec<String> {
    let volumes = spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

impl Workload {
    /// For people: kind and name.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name)
    }

    /// Whether it is stopped by that restore, which has not put it back yet.
    pub fn is_stopped_by(&self, restore_uid: &str) -> bool {
        self.stopped_by.as_deref() == Some(restore_uid)
    }

    /// The replicas that it has when nothing of ours stops it.
    pub fn own_replicas(&self) -> i32 {
        self.recorded.filter(|_| self.stopped_by.is_some()).unwrap_or(self.replicas)
    }

    /// Whether as many pods are ready as it shall have.
    pub fn is_ready(&self) -> bool {
        self.settled && self.ready >= self.replicas
    }

    /// The claims that its templates make for the replicas that it has.
    fn template_claims(&self) -> impl Iterator<Item = String> {
        let numbers = self.first..self.first.saturating_add(self.own_replicas());
        self.templates
            .iter()
            .flat_map(move |template| numbers.clone().map(move |number| format!("{template}-{}-{number}", self.name)))
    }

    fn uses(&self, claims: &[&str]) -> bool {
        self.claims.iter().any(|claim| claims.contains(&claim.as_str()))
            || self.template_claims().any(|claim| claims.contains(&claim.as_str()))
    }

    /// For the status.
    pub fn record(&self) -> StoppedWorkload {
        StoppedWorkload { kind: self.kind.as_str().to_owned(), name: self.name.clone(), replicas: self.own_replicas() }
    }

    /// Scales it to zero and notes, in the same write, the replicas it had and who stopped it.
    pub fn stop(&self, restore_uid: &str) -> Value {
        json!({
            "metadata": {
                "resourceVersion": self.resource_version,
                "annotations": {STOPPED_BY: restore_uid, REPLICAS: self.own_replicas().to_string()},
            },
            "spec": {"replicas": 0},
        })
    }

    /// Gives it the replicas that it had, unless someone gave it others meanwhile, and takes the notes off.
    pub fn start(&self) -> Value {
        let replicas = if self.replicas == 0 { self.own_replicas() } else { self.replicas };
        json!({
            "metadata": {
                "resourceVersion": self.resource_version,
                "annotations": {STOPPED_BY: null, REPLICAS: null},
            },
            "spec": {"replicas": replicas},
        })
    }
}

/// The workloads that use one of the claims or would, or why they cannot be stopped.
pub fn users<'a>(claims: &[&str], workloads: &'a [Workload], pods: &[PodUse]) -> Result<Vec<&'a Workload>, Problem> {
    let mut users: Vec<&Workload> =
        workloads.iter().filter(|workload| workload.own_replicas() > 0 && workload.uses(claims)).collect();
    for pod in using(claims, pods) {
        let claim = pod.claims.iter().find(|claim| claims.contains(&claim.as_str())).map_or("", String::as_str);
        if pod.stays {
            let message = format!("pod {} has ended but still holds claim {claim}: delete it", pod.name);
            return Err(Problem::new(Reason::WorkloadUnsupported, message));
        }
        let Some((kind, name, uid)) = &pod.controller else {
            return Err(refused(&format!(
                "pod {} uses claim {claim} and has no controller that would start it again",
                pod.name
            )));
        };
        let Some(workload) = workloads.iter().find(|workload| workload.uid == *uid) else {
            return Err(refused(&format!(
                "{kind} {name} uses claim {claim}; only a Deployment or StatefulSet can be stopped"
            )));
        };
        if !users.contains(&workload) {
            users.push(workload);
        }
    }
    for workload in &users {
        let title = workload.title();
        if let Some(operator) = &workload.operator {
            return Err(refused(&format!("{title} belongs to {operator}, whose operator would start it again")));
        }
        let lost = workload.template_claims().find(|claim| !claims.contains(&claim.as_str()));
        if let Some(claim) = lost.filter(|_| workload.deletes_claims) {
            let message = format!(
                "stopping {title} would delete its claim {claim}: set whenScaled: Retain in its \
                 persistentVolumeClaimRetentionPolicy"
            );
            return Err(Problem::new(Reason::WorkloadUnsupported, message));
        }
    }
    Ok(users)
}

/// The pods that use one of the claims.
pub fn using<'a>(claims: &[&str], pods: &'a [PodUse]) -> impl Iterator<Item = &'a PodUse> {
    pods.iter().filter(move |pod| pod.claims.iter().any(|claim| claims.contains(&claim.as_str())))
}

fn refused(why: &str) -> Problem {
    Problem::new(
        Reason::WorkloadUnsupported,
        format!("{why}: stop it yourself and create the VolumeRestore with workload: Ignore"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment_of(text: &str) -> Workload {
        deployment(&serde_saphyr::from_str(text).unwrap())
    }

    fn plain() -> Workload {
        deployment_of(
            "metadata: {name: radarr, namespace: media, uid: d, resourceVersion: '5', generation: 2}
spec: {selector: {}, template: {spec: {containers: [], volumes: [{name: config, persistentVolumeClaim: {claimName: radarr}}]}}}
status: {observedGeneration: 2, readyReplicas: 1}",
        )
    }

    fn database(replicas: i32, when_scaled: &str) -> Workload {
        stateful_set(
            &serde_saphyr::from_str(&format!(
                "metadata: {{name: db, namespace: media, uid: s}}
spec: {{replicas: {replicas}, selector: {{}}, serviceName: db, template: {{spec: {{containers: []}}}},
  persistentVolumeClaimRetentionPolicy: {{whenScaled: {when_scaled}}},
  volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{}}}}]}}"
            ))
            .unwrap(),
        )
    }

    fn pod_of(name: &str, controller: Option<(&str, &str, &str)>) -> PodUse {
        let own = |text: &str| text.to_owned();
        PodUse {
            name: name.to_owned(),
            claims: vec!["radarr".to_owned()],
            stays: false,
            controller: controller.map(|(kind, name, uid)| (own(kind), own(name), own(uid))),
        }
    }

    #[test]
    fn users_are_found_by_template_and_by_pod() {
        let names = |claims: &[&str], workloads: &[Workload], pods: &[PodUse]| {
            let users = users(claims, workloads, pods);
            users.map(|users| users.iter().map(|user| user.title()).collect::<Vec<_>>().join(", "))
        };
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(names(&["radarr"], &[plain()], &[]), ok("Deployment radarr"));
        assert_eq!(names(&["other"], &[plain()], &[]), ok(""));
        let idle = Workload { replicas: 0, ..plain() };
        assert_eq!(names(&["radarr"], std::slice::from_ref(&idle), &[]), ok(""), "what does not run is not stopped");
        let pods = [pod_of("radarr-1", Some(("Deployment", "radarr", "d")))];
        assert_eq!(names(&["radarr"], &[idle], &pods), ok("Deployment radarr"));
        assert_eq!(names(&["data-db-1"], &[database(2, "Retain")], &[]), ok("StatefulSet db"));
        assert_eq!(names(&["data-db-2"], &[database(2, "Retain")], &[]), ok(""));
        assert_eq!(names(&["data-db-0"], &[database(1, "Delete")], &[]), ok("StatefulSet db"));
    }

    #[test]
    fn what_cannot_be_stopped_is_named() {
        let message = |claims: &[&str], workloads: &[Workload], pods: &[PodUse]| {
            let problem = users(claims, workloads, pods).unwrap_err();
            assert_eq!(problem.reason, Reason::WorkloadUnsupported);
            problem.message
        };
        let operator = Workload { operator: Some("Postgres main".to_owned()), ..plain() };
        insta::assert_yaml_snapshot!([
            message(&["radarr"], &[], &[pod_of("shell", None)]),
            message(&["radarr"], &[], &[pod_of("x", Some(("DaemonSet", "agent", "a")))]),
            message(&["radarr"], &[], &[pod_of("x", Some(("Job", "import", "j")))]),
            message(&["radarr"], &[operator], &[]),
            message(&["data-db-0"], &[database(2, "Delete")], &[]),
        ]);
    }

    #[test]
    fn a_stop_remembers_and_a_start_forgets() {
        let stop = plain().stop("restore-uid");
        let stopped =
            Workload { replicas: 0, stopped_by: Some("restore-uid".to_owned()), recorded: Some(1), ..plain() };
        // What someone scaled up meanwhile is stopped again with the replicas that it had at first.
        let again = Workload { replicas: 5, ..stopped.clone() };
        assert_eq!(stop, again.stop("restore-uid"));
        assert_eq!(again.start()["spec"]["replicas"], 5, "someone else's replicas stay");
        insta::assert_yaml_snapshot!([stop, stopped.start()]);
    }

    #[test]
    fn a_pod_of_a_replica_set_is_its_deployments() {
        let pod_from = |phase: &str| {
            let text = format!(
                "metadata: {{name: radarr-1, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: radarr-9f, uid: r, controller: true}}]}}
spec: {{containers: [], volumes: [{{name: a, persistentVolumeClaim: {{claimName: radarr}}}}]}}
status: {{phase: {phase}}}"
            );
            serde_saphyr::from_str::<Pod>(&text).unwrap()
        };
        let owner: OwnerReference =
            serde_saphyr::from_str("{apiVersion: apps/v1, kind: Deployment, name: radarr, uid: d, controller: true}")
                .unwrap();
        let sets = BTreeMap::from([("r".to_owned(), owner)]);
        let expected = PodUse { name: "radarr-1".to_owned(), ..pod_of("", Some(("Deployment", "radarr", "d"))) };
        assert_eq!(pod(&pod_from("Running"), &sets), Some(expected));
        let ended = pod(&pod_from("Succeeded"), &sets).unwrap();
        assert!(users(&["radarr"], &[plain()], &[ended]).unwrap_err().message.contains("delete it"));
        let bare = pod(&pod_from("Running"), &BTreeMap::new()).unwrap();
        assert_eq!(bare.controller.unwrap().0, "ReplicaSet");
    }
}
