//! What is done about the lock of a mover that was killed: a mover that is told to stop leaves none.
//!
//! restic takes a lock for dead at once where it was made on the same host name by a process that does not exist. So a
//! pod with the dead one's host name, which is a run's id, removes exactly that run's lock; no lock of anybody else has
//! it. It is started only for a mover that was seen terminated: one that cannot be found proves nothing. Any other dead
//! lock goes by restic's own rule, when it was not renewed for 30 minutes.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{Container, PodSpec, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};

use crate::{
    api::labels,
    core::{
        job,
        mover_state::MoverState,
        task::{Answer, CACHE_MOUNT, Outcome, REPOSITORY_MOUNT, TASK_ENV, Task},
    },
};

/// The longest time that it may take, in seconds: a lock that is left goes by itself later.
const DEADLINE: i64 = 300;

/// What is to be done before a mover's Job goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Unlock {
    /// Nothing: it left no lock, or that has been seen to.
    Nothing,
    /// Create this Job, which goes with the mover's.
    Create(Box<Job>),
    /// It works.
    Wait,
}

/// What is to be done before the Job of a mover goes that is in this state, where the Job that unlocks is in that one.
pub fn next(mover: &Job, state: &MoverState, unlocking: &MoverState) -> Unlock {
    let job = is_needed(mover, state).then(|| unlocking_job(mover)).flatten();
    match (job, unlocking) {
        (None, _) | (_, MoverState::Finished(_) | MoverState::Lost(_) | MoverState::Vanished(_)) => Unlock::Nothing,
        (Some(job), MoverState::Absent) => Unlock::Create(Box::new(job)),
        (Some(_), MoverState::Waiting(_) | MoverState::Running { .. }) => Unlock::Wait,
    }
}

/// Whether a mover may have left a lock: it was seen terminated, without an answer, in the middle of what takes one.
pub fn is_needed(mover: &Job, state: &MoverState) -> bool {
    matches!(state, MoverState::Lost(_))
        && mover.metadata.deletion_timestamp.is_none()
        && task(mover).is_some_and(|task| task.locks())
}

/// Why the lock could not be removed, where that was tried.
pub fn failed(unlocking: &MoverState) -> Option<String> {
    match unlocking {
        MoverState::Finished(Answer { outcome: Outcome::Failed(failure), .. }) => Some(failure.message.clone()),
        MoverState::Lost(problem) | MoverState::Vanished(problem) => Some(problem.message.clone()),
        _ => None,
    }
}

/// Name of the Job that removes the lock of the mover with a Job of that name.
pub fn job_name(mover: &str) -> String {
    format!("{mover}-unlock")
}

fn task(mover: &Job) -> Option<Task> {
    let container = mover.spec.as_ref()?.template.spec.as_ref()?.containers.first()?;
    let variable = container.env.iter().flatten().find(|variable| variable.name == TASK_ENV)?;
    serde_json::from_str(variable.value.as_deref()?).ok()
}

/// The mover's Job once more, with another task and without the data.
fn unlocking_job(mover: &Job) -> Option<Job> {
    let template = &mover.spec.as_ref()?.template;
    let pod = template.spec.as_ref()?;
    let mut container = pod.containers.first()?.clone();
    let mut volumes = pod.volumes.clone().unwrap_or_default();
    keep_only_what_restic_needs(&mut container, &mut volumes);
    let task = serde_json::to_string(&Task::Unlock).ok();
    for variable in container.env.iter_mut().flatten().filter(|variable| variable.name == TASK_ENV) {
        variable.value.clone_from(&task);
    }
    let metadata = template.metadata.clone().unwrap_or_default();
    let labels = metadata.labels.map(|labels| labels.into_iter().filter(|(name, _)| !is_of_the_job(name)).collect());
    Some(Job {
        metadata: ObjectMeta {
            name: Some(job_name(&mover.name_any())),
            namespace: mover.namespace(),
            labels: mover.metadata.labels.clone(),
            owner_references: Some(vec![OwnerReference {
                api_version: Job::api_version(&()).into_owned(),
                kind: Job::kind(&()).into_owned(),
                name: mover.name_any(),
                uid: mover.uid()?,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(job::once(
            PodTemplateSpec {
                metadata: Some(ObjectMeta { labels, annotations: metadata.annotations, ..ObjectMeta::default() }),
                // It waits for no slot of a node: the next mover may have it already.
                spec: Some(PodSpec {
                    containers: vec![container],
                    volumes: Some(volumes),
                    affinity: None,
                    ..pod.clone()
                }),
            },
            Some(DEADLINE),
        )),
        ..Job::default()
    })
}

fn keep_only_what_restic_needs(container: &mut Container, volumes: &mut Vec<Volume>) {
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.retain(|mount| [CACHE_MOUNT, REPOSITORY_MOUNT].contains(&mount.mount_path.as_str()));
    volumes.retain(|volume| mounts.iter().any(|mount| mount.name == volume.name));
}

/// Labels that Kubernetes itself gives the pods of a Job, and the mover's slot.
fn is_of_the_job(name: &str) -> bool {
    name.starts_with("batch.kubernetes.io/") || ["controller-uid", "job-name", labels::SLOT].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        names,
        problem::{Problem, Reason},
    };

    fn mover(task: &str) -> Job {
        let text = format!(
            "
metadata: {{name: radarr-1-mover, namespace: strongroom-system, uid: u-job, labels: {{strongroom.dev/run: radarr-1}}}}
spec:
  activeDeadlineSeconds: 3600
  selector: {{matchLabels: {{batch.kubernetes.io/controller-uid: u-job}}}}
  template:
    metadata:
      labels: {{strongroom.dev/run: radarr-1, strongroom.dev/slot: a-0, controller-uid: u-job, job-name: radarr-1-mover, batch.kubernetes.io/controller-uid: u-job}}
      annotations: {{team: home}}
    spec:
      hostname: radarr-1
      affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: kubernetes.io/hostname}}]}}}}
      restartPolicy: Never
      containers:
      - name: mover
        image: strongroom:1
        env: [{{name: STRONGROOM_TASK, value: '{task}'}}, {{name: TMPDIR, value: /cache}}]
        envFrom: [{{secretRef: {{name: radarr-1-credentials}}}}]
        volumeMounts: [{{name: cache, mountPath: /cache}}, {{name: repository, mountPath: /repository}}, {{name: data-0, mountPath: /data/radarr}}]
      volumes: [{{name: cache, emptyDir: {{}}}}, {{name: repository, nfs: {{server: nas, path: /b}}}}, {{name: data-0, persistentVolumeClaim: {{claimName: staged}}}}]
"
        );
        serde_saphyr::from_str(&text).unwrap()
    }

    fn lost() -> MoverState {
        MoverState::Lost(Problem::new(Reason::Interrupted, "killed"))
    }

    const BACKUP: &str = r#"{"backup": {"run": "radarr-1", "volumes": []}}"#;

    #[test]
    fn the_job_has_the_dead_host_name_and_no_data() {
        let Unlock::Create(job) = next(&mover(BACKUP), &lost(), &MoverState::Absent) else { panic!("no Job") };
        insta::assert_yaml_snapshot!(job);
    }

    #[test]
    fn only_after_a_mover_that_was_seen_dead_in_what_takes_a_lock() {
        let done = MoverState::Finished(Answer::new(None, Outcome::Unlocked(1)));
        let vanished = MoverState::Vanished(Problem::new(Reason::Interrupted, "its pod is gone"));
        let running = MoverState::Running { progress: None, waits: None };
        let word = |task, state: &MoverState, unlocking: &MoverState| match next(&mover(task), state, unlocking) {
            Unlock::Nothing => "nothing",
            Unlock::Create(_) => "create",
            Unlock::Wait => "wait",
        };
        let maintain = r#"{"maintain": {"histories": []}}"#;
        for (task, state, unlocking, expected) in [
            (BACKUP, &lost(), &MoverState::Absent, "create"),
            (maintain, &lost(), &MoverState::Absent, "create"),
            (BACKUP, &lost(), &running, "wait"),
            (BACKUP, &lost(), &done, "nothing"),
            (BACKUP, &lost(), &lost(), "nothing"),
            // A pod that cannot be found proves nothing.
            (BACKUP, &vanished, &MoverState::Absent, "nothing"),
            (BACKUP, &lost(), &vanished, "nothing"),
            (BACKUP, &running, &MoverState::Absent, "nothing"),
            (BACKUP, &done, &MoverState::Absent, "nothing"),
            (BACKUP, &MoverState::Absent, &MoverState::Absent, "nothing"),
            (r#""probe""#, &lost(), &MoverState::Absent, "nothing"),
            (r#"{"restore": {"run": "a", "volumes": []}}"#, &lost(), &MoverState::Absent, "nothing"),
        ] {
            assert_eq!(word(task, state, unlocking), expected, "{task} {state:?} {unlocking:?}");
        }
        let mut going = mover(BACKUP);
        going.metadata.deletion_timestamp = serde_saphyr::from_str("2026-11-27T12:00:00Z").unwrap();
        assert_eq!(next(&going, &lost(), &MoverState::Absent), Unlock::Nothing);
    }

    #[test]
    fn its_name_is_short_enough() {
        let mover = names::of_run(&names::run_id("cluster", &"a".repeat(253), "u", "x"), "mover", 10);
        assert_eq!(names::label(&job_name(&mover)), job_name(&mover));
    }
}
