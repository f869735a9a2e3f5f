//! What a Job and its pod say about a mover.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStateTerminated, Pod},
};

use crate::{
    api::backup::Progress,
    core::{
        problem::{Problem, Reason},
        task::Answer,
    },
};

/// What became of a mover.
#[derive(Clone, Debug, PartialEq)]
pub enum MoverState {
    /// There is no Job.
    Absent,
    /// It should run but cannot: what the scheduler or the kubelet says.
    Waiting(String),
    /// It runs, or is about to.
    Running {
        /// How far it is, where it said so.
        progress: Option<Progress>,
    },
    /// It answered.
    Finished(Answer),
    /// It ended without an answer.
    Lost(Problem),
}

/// What a Job and its pod say.
pub fn of(job: &Job, pod: Option<&Pod>) -> MoverState {
    let terminated = pod.and_then(terminated);
    if let Some(answer) =
        terminated.and_then(|end| end.message.as_deref()).and_then(|text| serde_json::from_str(text).ok())
    {
        return MoverState::Finished(answer);
    }
    if let Some(end) = terminated {
        return MoverState::Lost(without_answer(pod, end));
    }
    if let Some(problem) = pod.and_then(evicted) {
        return MoverState::Lost(problem);
    }
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failed =
        conditions.into_iter().flatten().find(|condition| condition.type_ == "Failed" && condition.status == "True");
    if let Some(condition) = failed {
        let reason = match condition.reason.as_deref() {
            Some("DeadlineExceeded") => Reason::DeadlineExceeded,
            _ => Reason::Interrupted,
        };
        let message = condition.message.as_deref().unwrap_or("its pod is gone");
        return MoverState::Lost(Problem::new(reason, format!("the mover ended without an answer: {message}")));
    }
    pod.and_then(waiting).map_or(MoverState::Running { progress: None }, MoverState::Waiting)
}

fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| *reason != "ContainerCreating")?;
        Some(waiting.message.as_ref().map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
    });
    let unscheduled = status.conditions.iter().flatten().find_map(|condition| {
        (condition.type_ == "PodScheduled" && condition.status == "False").then(|| condition.message.clone())?
    });
    container.or(unscheduled)
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|status| status.state.as_ref()?.terminated.as_ref())
}

fn without_answer(pod: Option<&Pod>, end: &ContainerStateTerminated) -> Problem {
    if end.reason.as_deref() == Some("OOMKilled") {
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

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let state = |status: serde_json::Value| {
            let pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
            of(&Job::default(), Some(&pod))
        };
        let container = |state: serde_json::Value| json!({"containerStatuses": [{"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        let waits = |reason: &str| container(json!({"waiting": {"reason": reason, "message": "not found"}}));
        assert_eq!(state(waits("ImagePullBackOff")), MoverState::Waiting("ImagePullBackOff: not found".to_owned()));
        assert_eq!(state(waits("ContainerCreating")), MoverState::Running { progress: None });
        assert_eq!(state(container(json!({"running": {}}))), MoverState::Running { progress: None });
        let condition = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
        assert_eq!(state(condition), MoverState::Waiting("0/1 nodes".to_owned()));
    }
}
