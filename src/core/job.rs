//! The Job that runs a mover, and the Secret with its credentials.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Capabilities, Container, EmptyDirVolumeSource, EnvFromSource, EnvVar, PersistentVolumeClaimVolumeSource,
            PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, Secret, SecretEnvSource, SecurityContext,
            Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use crate::{
    api::{common::MoverSpec, labels, repository::RepositoryVolume},
    core::{
        names::{self, Owner},
        problem::{Problem, Reason},
        sensitive::SensitiveMap,
        slots,
        task::{ANSWER_PATH, CACHE_MOUNT, KEPT_CACHE_MOUNT, REPOSITORY_MOUNT, TASK_ENV, Task},
    },
};

/// Size of the cache where nothing is declared.
const DEFAULT_CACHE: &str = "1Gi";
/// Seconds between the request to stop and the kill: restic removes its lock in that time.
pub const GRACE_SECONDS: i64 = 120;
/// The mover's container.
pub const CONTAINER: &str = "mover";

/// The image of the operator, which is also the mover's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Name with tag or digest.
    pub name: String,
    /// `IfNotPresent`, `Never` or `Always`.
    pub pull_policy: String,
    /// Names of Secrets in the operator's namespace with registry credentials.
    pub pull_secrets: Vec<String>,
}

/// A claim that the mover mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the claim in the operator's namespace.
    pub claim: String,
    /// Where it is mounted.
    pub path: String,
    /// Whether the mover must not write to it.
    pub read_only: bool,
}

/// What a mover's Job is made of.
#[derive(Clone, Debug)]
pub struct MoverJob<'a> {
    /// Name of the Job.
    pub name: &'a str,
    /// The operator's namespace.
    pub namespace: &'a str,
    /// The object that it works for.
    pub owner: &'a Owner,
    /// The run's id: the pod's host name, which restic writes into its locks.
    pub run: &'a str,
    /// The image.
    pub image: &'a Image,
    /// What to do.
    pub task: &'a Task,
    /// Name of the Secret with the credentials, see [`credentials_secret`].
    pub credentials: &'a str,
    /// Claims to mount.
    pub mounts: &'a [Mount],
    /// The volume that holds the repositories.
    pub repository_volume: Option<&'a RepositoryVolume>,
    /// Its slot, of which a node has one at a time, see [`slots`].
    pub slot: Option<&'a str>,
    /// How movers run.
    pub mover: &'a MoverSpec,
    /// The longest time the pod may run.
    pub deadline_seconds: Option<i64>,
}

/// The Job that runs a mover. It never starts a second pod: what to do after a failure is decided by the plan of
/// the object that it works for.
pub fn mover_job(job: &MoverJob<'_>) -> Job {
    let own_labels = names::child_labels(job.owner, Some(job.run));
    let mut pod_labels = job.mover.labels.clone();
    pod_labels.extend(own_labels.clone());
    pod_labels.extend(job.slot.map(|slot| (labels::SLOT.to_owned(), slot.to_owned())));
    let mut pod = PodSpec {
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        hostname: Some(names::label(job.run)),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        containers: vec![container(job)],
        volumes: Some(volumes(job)),
        node_selector: (!job.mover.node_selector.is_empty()).then(|| job.mover.node_selector.clone()),
        tolerations: (!job.mover.tolerations.is_empty()).then(|| job.mover.tolerations.clone()),
        priority_class_name: job.mover.priority_class_name.clone(),
        affinity: job.slot.map(slots::affinity),
        security_context: Some(pod_security(job.mover)),
        ..PodSpec::default()
    };
    if !job.image.pull_secrets.is_empty() {
        let secrets = job.image.pull_secrets.iter();
        pod.image_pull_secrets =
            Some(secrets.map(|name| k8s_openapi::api::core::v1::LocalObjectReference { name: name.clone() }).collect());
    }
    Job {
        metadata: ObjectMeta {
            name: Some(job.name.to_owned()),
            namespace: Some(job.namespace.to_owned()),
            labels: Some(own_labels),
            ..ObjectMeta::default()
        },
        spec: Some(once(
            PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: (!job.mover.annotations.is_empty()).then(|| job.mover.annotations.clone()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            job.deadline_seconds,
        )),
        ..Job::default()
    }
}

/// One pod, which may run so many seconds, and never a second one.
pub fn once(template: PodTemplateSpec, deadline_seconds: Option<i64>) -> JobSpec {
    JobSpec {
        backoff_limit: Some(0),
        // The Job has failed when its pod was seen terminated, not when it is told to end.
        pod_replacement_policy: Some("Failed".to_owned()),
        active_deadline_seconds: deadline_seconds,
        template,
        ..JobSpec::default()
    }
}

/// The Secret with a run's credentials: restic's own variables. It is not immutable: of such a one the kubelet keeps what
/// it has read for as long as any pod refers to that name, and would give a mover the credentials of the one before it.
pub fn credentials_secret(name: &str, namespace: &str, owner: &Owner, run: &str, variables: &SensitiveMap) -> Secret {
    let data = variables.iter().map(|(key, value)| (key.clone(), ByteString(value.expose().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(names::child_labels(owner, Some(run))),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        ..Secret::default()
    }
}

fn container(job: &MoverJob<'_>) -> Container {
    let task = serde_json::to_string(job.task).unwrap_or_default();
    let env = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let is_kept = job.mounts.iter().any(|mount| mount.path == KEPT_CACHE_MOUNT);
    let cache = if is_kept { KEPT_CACHE_MOUNT } else { CACHE_MOUNT };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(job.image.name.clone()),
        image_pull_policy: Some(job.image.pull_policy.clone()),
        args: Some(vec!["mover".to_owned()]),
        env: Some(vec![
            env(TASK_ENV, task),
            env("RESTIC_CACHE_DIR", cache.to_owned()),
            env("TMPDIR", CACHE_MOUNT.to_owned()),
        ]),
        env_from: Some(vec![EnvFromSource {
            secret_ref: Some(SecretEnvSource { name: job.credentials.to_owned(), optional: Some(false) }),
            ..EnvFromSource::default()
        }]),
        resources: job.mover.resources.clone(),
        termination_message_path: Some(ANSWER_PATH.to_owned()),
        volume_mounts: Some(volume_mounts(job)),
        security_context: Some(container_security(job)),
        ..Container::default()
    }
}

fn volumes(job: &MoverJob<'_>) -> Vec<Volume> {
    let claim = |name: String, claim: &str| Volume {
        name,
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            // Never read-only here: a crash-consistent clone needs its journal replayed. The mount is read-only.
            read_only: None,
        }),
        ..Volume::default()
    };
    let mut volumes = vec![Volume {
        name: "cache".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(cache_size(job.mover)),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }];
    if let Some(repository) = job.repository_volume {
        volumes.push(match &repository.claim_name {
            Some(name) => claim("repository".to_owned(), name),
            None => Volume { name: "repository".to_owned(), nfs: repository.nfs.clone(), ..Volume::default() },
        });
    }
    volumes.extend(job.mounts.iter().enumerate().map(|(index, mount)| claim(format!("data-{index}"), &mount.claim)));
    volumes
}

/// The size of the cache: what is declared, or 1Gi.
pub fn cache_size(mover: &MoverSpec) -> Quantity {
    let declared = mover.cache.as_ref().and_then(|cache| cache.size.clone());
    declared.unwrap_or_else(|| Quantity(DEFAULT_CACHE.to_owned()))
}

fn volume_mounts(job: &MoverJob<'_>) -> Vec<VolumeMount> {
    let mount = |name: String, path: &str, read_only: bool| VolumeMount {
        name,
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount("cache".to_owned(), CACHE_MOUNT, false)];
    if job.repository_volume.is_some() {
        mounts.push(mount("repository".to_owned(), REPOSITORY_MOUNT, false));
    }
    let data = job.mounts.iter().enumerate();
    mounts.extend(data.map(|(index, m)| mount(format!("data-{index}"), &m.path, m.read_only)));
    mounts
}

fn pod_security(mover: &MoverSpec) -> PodSecurityContext {
    PodSecurityContext {
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        // Never fsGroup: it would change group and mode (and so ctime) of every file of a clone.
        supplemental_groups: mover
            .run_as
            .as_ref()
            .filter(|run_as| !run_as.supplemental_groups.is_empty())
            .map(|run_as| run_as.supplemental_groups.clone()),
        ..PodSecurityContext::default()
    }
}

/// Root with as few capabilities as reading and restoring every owner's files takes, which Pod Security's baseline
/// admits; or the declared user with none.
fn container_security(job: &MoverJob<'_>) -> SecurityContext {
    let mut add = vec![];
    if job.mover.run_as.is_none() {
        add.extend(["CHOWN", "DAC_OVERRIDE", "FOWNER"]);
        if matches!(job.task, Task::Restore(_)) {
            add.push("FSETID");
        }
    }
    let user = job.mover.run_as.as_ref().map_or(0, |run_as| run_as.user);
    let group = job.mover.run_as.as_ref().map_or(0, |run_as| run_as.group.unwrap_or(run_as.user));
    SecurityContext {
        run_as_user: Some(user),
        run_as_group: Some(group),
        run_as_non_root: Some(user != 0),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            add: (!add.is_empty()).then(|| add.into_iter().map(str::to_owned).collect()),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        ..SecurityContext::default()
    }
}

/// The mover of a run: what the `VolumeBackup` declares beats what the repository object declares, field by field.
pub fn merge_mover(repository: Option<&MoverSpec>, backup: Option<&MoverSpec>) -> MoverSpec {
    let (Some(base), Some(over)) = (repository, backup) else {
        return repository.or(backup).cloned().unwrap_or_default();
    };
    let either = |over: &BTreeMap<String, String>, base: &BTreeMap<String, String>| {
        let mut merged = base.clone();
        merged.extend(over.clone());
        merged
    };
    MoverSpec {
        resources: over.resources.clone().or_else(|| base.resources.clone()),
        cache: over.cache.clone().or_else(|| base.cache.clone()),
        node_selector: either(&over.node_selector, &base.node_selector),
        tolerations: if over.tolerations.is_empty() { base.tolerations.clone() } else { over.tolerations.clone() },
        priority_class_name: over.priority_class_name.clone().or_else(|| base.priority_class_name.clone()),
        labels: either(&over.labels, &base.labels),
        annotations: either(&over.annotations, &base.annotations),
        run_as: over.run_as.clone().or_else(|| base.run_as.clone()),
    }
}

/// Whether a mover can run as it is declared.
///
/// Errors: `InvalidSpec` for a cache that the mover's user could not write to: a new volume belongs to root, and to give
/// it to another group would change the data's group as well.
pub fn check(mover: &MoverSpec) -> Result<(), Problem> {
    let is_kept = mover.cache.as_ref().is_some_and(|cache| cache.storage_class_name.is_some());
    if is_kept && mover.run_as.as_ref().is_some_and(|run_as| run_as.user != 0) {
        let message = "the user of mover.runAs cannot write to the cache that mover.cache.storageClassName keeps: remove one of the two";
        return Err(Problem::new(Reason::InvalidSpec, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
