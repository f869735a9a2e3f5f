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

/// A pod that has claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUse {
    /// Its name.
    pub name: String,
    /// The claims that it names.
    pub claims: Vec<String>,
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

/// A pod, if it has claims and has not ended. `replica_sets` gives the controller of each ReplicaSet by its uid.
pub fn pod(object: &Pod, replica_sets: &BTreeMap<String, OwnerReference>) -> Option<PodUse> {
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    let claims = claims(object.spec.as_ref());
    if claims.is_empty() || matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let controller = controller(&object.metadata)
        .map(|owner| if owner.kind == "ReplicaSet" { replica_sets.get(&owner.uid).unwrap_or(owner) } else { owner });
    Some(PodUse {
        name: object.metadata.name.clone().unwrap_or_default(),
        claims,
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

fn claims(spec: Option<&PodSpec>) -> Vec<String> {
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
        let Some((kind, name, uid)) = &pod.controller else {
            return Err(refused(&format!(
                "pod {} uses the claim and has no controller that would start it again",
                pod.name
            )));
        };
        let Some(workload) = workloads.iter().find(|workload| workload.uid == *uid) else {
            return Err(refused(&format!(
                "{kind} {name} uses the claim; only a Deployment or StatefulSet can be stopped"
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
            return Err(refused(&format!(
                "stopping {title} would delete its claim {claim} (persistentVolumeClaimRetentionPolicy.whenScaled: Delete)"
            )));
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
