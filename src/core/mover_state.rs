//! What a Job and its pod say about a mover.

use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{ContainerStateTerminated, Pod},
};

use crate::{
    api::{backup::Progress, common::Time},
    core::{
        job::GRACE_SECONDS,
        problem::{Problem, Reason},
        task::{Answer, Failure, FailureKind, Outcome},
        time::from_k8s,
    },
};

/// Kubernetes' word for a Job that took longer than its deadline.
const OVERDUE: &str = "DeadlineExceeded";

/// Kubernetes' word for a Job whose pod failed, of which it has only one.
const ONE_POD: &str = "BackoffLimitExceeded";

/// What every container says before it runs.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What became of a mover.
#[derive(Clone, Debug, PartialEq)]
pub enum MoverState {
    /// There is no Job.
    Absent,
    /// It cannot start: why.
    Waiting(String),
    /// It runs, or is about to.
    Running {
        /// How far it is, where it said so.
        progress: Option<Progress>,
        /// What it waits for, where it said so.
        waits: Option<String>,
    },
    /// It answered.
    Finished(Answer),
    /// It was seen terminated, without an answer.
    Lost(Problem),
    /// It counts as ended, but nobody has seen that: its pod is gone, or on a node that does not answer.
    Vanished(Problem),
}

/// What a Job and its pod say.
pub fn of(job: &Job, pod: Option<&Pod>, now: Time) -> MoverState {
    let terminated = pod.and_then(terminated);
    let answer: Option<Answer> =
        terminated.and_then(|end| end.message.as_deref()).and_then(|text| serde_json::from_str(text).ok());
    // Kubernetes says first why it ends a Job, then tells the mover to stop, which answers that it was interrupted.
    let overdue = condition(job, &["FailureTarget", "Failed"]).filter(|why| why.reason.as_deref() == Some(OVERDUE));
    match (answer, terminated, overdue) {
        (Some(answer), _, Some(why)) if is_interrupted(&answer) => MoverState::Lost(ended(why)),
        // Where only restic was killed, the mover cannot know why.
        (Some(answer), Some(end), _) if is_interrupted(&answer) && is_out_of_memory(end) => {
            MoverState::Lost(without_answer(pod, end))
        }
        (Some(answer), ..) => MoverState::Finished(answer),
        (None, Some(_), Some(why)) => MoverState::Lost(ended(why)),
        (None, Some(end), None) => MoverState::Lost(without_answer(pod, end)),
        (None, None, _) => match (pod.and_then(evicted), condition(job, &["Failed"])) {
            (Some(problem), _) if overdue.is_none() => MoverState::Vanished(problem),
            (_, Some(why)) => MoverState::Vanished(ended(why)),
            // A node that does not answer never says that its pods have ended.
            (_, None) if condition(job, &["FailureTarget"]).is_some_and(|why| is_long_ago(why, now)) => {
                let message = "the mover was told to end and its node does not say that it has";
                MoverState::Vanished(Problem::new(Reason::Interrupted, message))
            }
            (_, None) => {
                pod.and_then(waiting).map_or(MoverState::Running { progress: None, waits: None }, MoverState::Waiting)
            }
        },
    }
}

/// A condition of the Job that is true.
fn condition<'a>(job: &'a Job, types: &[&str]) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is = |condition: &&JobCondition| types.contains(&condition.type_.as_str()) && condition.status == "True";
    conditions.into_iter().flatten().find(is)
}

/// Whether a pod has had all the time to end that it has.
fn is_long_ago(why: &JobCondition, now: Time) -> bool {
    let since = why.last_transition_time.as_ref().map(from_k8s);
    since.is_some_and(|since| now - since > chrono::Duration::seconds(GRACE_SECONDS + 60))
}

const fn is_interrupted(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::Failed(Failure { kind: FailureKind::Interrupted, .. }))
}

/// Why Kubernetes ended the Job.
fn ended(why: &JobCondition) -> Problem {
    let reason = if why.reason.as_deref() == Some(OVERDUE) { Reason::DeadlineExceeded } else { Reason::Interrupted };
    // The Job's own words only count pods.
    let said = why.message.as_deref().filter(|_| why.reason.as_deref() != Some(ONE_POD));
    let message = said.unwrap_or("its pod was deleted or evicted");
    Problem::new(reason, format!("the mover ended without an answer: {message}"))
}

fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| !ON_ITS_WAY.contains(reason))?;
        Some(waiting.message.as_ref().map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
    });
    let unscheduled = status.conditions.iter().flatten().find_map(|condition| {
        (condition.type_ == "PodScheduled" && condition.status == "False").then(|| condition.message.clone())?
    });
    // Its volume is being made, which has words of its own.
    let unscheduled = unscheduled.filter(|why| !why.contains("unbound immediate PersistentVolumeClaims"));
    container.or(unscheduled).map(|why| format!("the mover cannot start: {why}"))
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|status| status.state.as_ref()?.terminated.as_ref())
}

fn is_out_of_memory(end: &ContainerStateTerminated) -> bool {
    end.reason.as_deref() == Some("OOMKilled")
}

fn without_answer(pod: Option<&Pod>, end: &ContainerStateTerminated) -> Problem {
    if is_out_of_memory(end) {
        let limit = pod.and_then(memory_limit).unwrap_or_else(|| "the node's memory".to_owned());
        return Problem::new(
            Reason::OutOfMemory,
            format!("the mover needed more memory than its limit of {limit}: raise mover.resources.limits.memory"),
        );
    }
    let reason = end.reason.as_deref().unwrap_or("Error");
    Problem::new(
        Reason::Interrupted,
        format!("the mover ended with exit code {} ({reason}) and no answer", end.exit_code),
    )
}

fn memory_limit(pod: &Pod) -> Option<String> {
    let resources = pod.spec.as_ref()?.containers.first()?.resources.as_ref()?;
    Some(resources.limits.as_ref()?.get("memory")?.0.clone())
}

fn evicted(pod: &Pod) -> Option<Problem> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let message = status.message.as_deref().or(status.reason.as_deref()).unwrap_or("no reason is known");
    Some(Problem::new(Reason::Interrupted, format!("the mover's pod failed: {message}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Time {
        "2026-11-27T12:10:00Z".parse().unwrap()
    }

    fn reason(conditions: &str, pod: Option<&str>) -> String {
        let job: Job = serde_saphyr::from_str(&format!("{{status: {{conditions: [{conditions}]}}}}")).unwrap();
        let pod: Option<Pod> = pod.map(|status| serde_saphyr::from_str(&format!("{{status: {status}}}")).unwrap());
        match of(&job, pod.as_ref(), now()) {
            MoverState::Lost(problem) => problem.reason.to_string(),
            MoverState::Vanished(problem) => format!("Vanished {}", problem.reason),
            MoverState::Finished(answer) => format!("{:?}", answer.outcome),
            state => format!("{state:?}"),
        }
    }

    fn terminated(reason: &str, message: &str) -> String {
        let state = format!("{{terminated: {{exitCode: 1, reason: {reason}, message: '{message}'}}}}");
        format!(
            "{{containerStatuses: [{{name: a, image: a, imageID: a, ready: false, restartCount: 0, state: {state}}}]}}"
        )
    }

    #[test]
    fn why_a_mover_ended() {
        let overdue = "{type: FailureTarget, status: 'True', reason: DeadlineExceeded}";
        let told = |at: &str| {
            format!(
                "{{type: FailureTarget, status: 'True', reason: BackoffLimitExceeded, lastTransitionTime: '2026-11-27T12:{at}:00Z'}}"
            )
        };
        let (just_told, told_long_ago) = (told("08"), told("06"));
        let (just_told, told_long_ago) = (just_told.as_str(), told_long_ago.as_str());
        let failed = "{type: Failed, status: 'True', reason: BackoffLimitExceeded}";
        let answer = |kind| {
            let failure = Failure { kind, message: "stopped".to_owned() };
            serde_json::to_string(&Answer::new(None, Outcome::Failed(failure))).unwrap()
        };
        let interrupted = terminated("Error", &answer(FailureKind::Interrupted));
        let locked = terminated("Error", &answer(FailureKind::Locked));
        let restic_oom = terminated("OOMKilled", &answer(FailureKind::Interrupted));
        let (killed, oom) = (terminated("Error", ""), terminated("OOMKilled", ""));
        let evicted = "{phase: Failed, message: evicted}";
        for (conditions, pod, expected) in [
            ("", None, "Running"),
            ("", Some(interrupted.as_str()), "Interrupted"),
            // A mover that is told to stop by its deadline answers that it was interrupted.
            (overdue, Some(&interrupted), "DeadlineExceeded"),
            (overdue, Some(&killed), "DeadlineExceeded"),
            (overdue, Some(&locked), "Locked"),
            (overdue, None, "Running"),
            (just_told, None, "Running"),
            (told_long_ago, None, "Vanished Interrupted"),
            (told_long_ago, Some(&killed), "Interrupted"),
            ("{type: Failed, status: 'True', reason: DeadlineExceeded}", None, "Vanished DeadlineExceeded"),
            (failed, None, "Vanished Interrupted"),
            (failed, Some(&oom), "OutOfMemory"),
            (failed, Some(&restic_oom), "OutOfMemory"),
            (failed, Some(evicted), "Vanished Interrupted"),
        ] {
            let found = reason(conditions, pod);
            assert_eq!(found.contains("Vanished"), expected.contains("Vanished"), "{conditions} {pod:?}: {found}");
            assert!(found.contains(expected), "{conditions} {pod:?}: {found} instead of {expected}");
        }
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let state = |status: serde_json::Value| {
            let pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
            of(&Job::default(), Some(&pod), now())
        };
        let container = |state: serde_json::Value| json!({"containerStatuses": [{"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        let waits = |reason: &str| container(json!({"waiting": {"reason": reason, "message": "not found"}}));
        assert_eq!(
            state(waits("ImagePullBackOff")),
            MoverState::Waiting("the mover cannot start: ImagePullBackOff: not found".to_owned())
        );
        assert_eq!(state(waits("ContainerCreating")), MoverState::Running { progress: None, waits: None });
        assert_eq!(state(container(json!({"running": {}}))), MoverState::Running { progress: None, waits: None });
        let condition = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
        assert_eq!(state(condition), MoverState::Waiting("the mover cannot start: 0/1 nodes".to_owned()));
    }
}
