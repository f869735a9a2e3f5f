//! A mover that does one thing for an object: its Secret and its Job, one after the other, deleted when its answer has
//! been entered into the object's status. There is one at a time, always of the same name; the label of its run says
//! what it was made for.

use k8s_openapi::api::{batch::v1::Job, core::v1::Secret};
use kube::ResourceExt;

use crate::{
    api::labels,
    core::{
        mover_state::MoverState,
        unlock::{self, Unlock},
    },
};

/// What is there of an errand.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Secret with the credentials: its metadata only.
    pub credentials: Option<Secret>,
    /// The Job.
    pub job: Option<Job>,
    /// What became of the mover.
    pub state: MoverState,
    /// What became of the one that removes its lock.
    pub unlocking: MoverState,
}

impl Default for Seen {
    fn default() -> Self {
        Self { credentials: None, job: None, state: MoverState::Absent, unlocking: MoverState::Absent }
    }
}

impl Seen {
    /// The run that the Job is for.
    pub fn run(&self) -> Option<&str> {
        self.job.as_ref().and_then(|job| job.labels().get(labels::RUN)).map(String::as_str)
    }
}

/// What to do next for an errand.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing is there and nothing is wanted.
    Nothing,
    /// Create the Secret.
    Credentials,
    /// Create the Job.
    Job,
    /// The mover works, or something is being deleted.
    Wait,
    /// Create this Job, which removes the lock of the mover that was killed.
    Unlock(Box<Job>),
    /// The mover has ended: enter that, with the Job's uid.
    Ended(String),
    /// Delete this Job.
    DeleteJob(Box<Job>),
    /// Delete this Secret.
    DeleteCredentials(Box<Secret>),
}

/// What to do next, where `wanted` is the run that is to be done now, and `entered` tells whether the answer of the
/// Job of that uid has been entered.
pub fn next(seen: &Seen, wanted: Option<&str>, entered: impl FnOnce(&str) -> bool) -> Next {
    if let Some(job) = &seen.job {
        let uid = job.uid().unwrap_or_default();
        let running = matches!(seen.state, MoverState::Waiting(_) | MoverState::Running { .. });
        return if job.metadata.deletion_timestamp.is_some() {
            Next::Wait
        } else if wanted.is_none() || seen.run() != wanted || (!running && entered(&uid)) {
            match unlock::next(job, &seen.state, &seen.unlocking) {
                Unlock::Create(job) => Next::Unlock(job),
                Unlock::Wait => Next::Wait,
                Unlock::Nothing => Next::DeleteJob(Box::new(job.clone())),
            }
        } else if running {
            Next::Wait
        } else {
            Next::Ended(uid)
        };
    }
    match (&seen.credentials, wanted) {
        (None, None) => Next::Nothing,
        (None, Some(_)) => Next::Credentials,
        (Some(secret), _) if secret.metadata.deletion_timestamp.is_some() => Next::Wait,
        (Some(secret), Some(run)) if secret.labels().get(labels::RUN).is_some_and(|of| of == run) => Next::Job,
        (Some(secret), _) => Next::DeleteCredentials(Box::new(secret.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::problem::{Problem, Reason};

    fn seen(job: Option<&str>, credentials: Option<&str>, ended: bool) -> Seen {
        let object = |run: &str| json!({"metadata": {"uid": "u", "labels": {"strongroom.dev/run": run}}});
        let lost = MoverState::Lost(Problem::new(Reason::Interrupted, "lost"));
        Seen {
            job: job.map(|run| serde_json::from_value(object(run)).unwrap()),
            credentials: credentials.map(|run| serde_json::from_value(object(run)).unwrap()),
            state: if ended { lost } else { MoverState::Running { progress: None, waits: None } },
            unlocking: MoverState::Absent,
        }
    }

    #[test]
    fn one_thing_after_the_other() {
        let word = |seen: &Seen, wanted, entered| match next(seen, wanted, |_| entered) {
            Next::Nothing => "nothing",
            Next::Credentials => "credentials",
            Next::Job => "job",
            Next::Wait => "wait",
            Next::Unlock(_) => "unlock",
            Next::Ended(_) => "ended",
            Next::DeleteJob(_) => "delete job",
            Next::DeleteCredentials(_) => "delete credentials",
        };
        let cases = vec![
            (seen(None, None, false), None, false, "nothing"),
            (seen(None, None, false), Some("a"), false, "credentials"),
            (seen(None, Some("a"), false), Some("a"), false, "job"),
            (seen(None, Some("b"), false), Some("a"), false, "delete credentials"),
            (seen(None, Some("a"), false), None, false, "delete credentials"),
            (seen(Some("a"), Some("a"), false), Some("a"), false, "wait"),
            (seen(Some("b"), Some("b"), false), Some("a"), false, "delete job"),
            (seen(Some("a"), Some("a"), true), Some("a"), false, "ended"),
            (seen(Some("a"), Some("a"), true), Some("a"), true, "delete job"),
            (seen(Some("a"), Some("a"), true), None, true, "delete job"),
        ];
        for (seen, wanted, entered, expected) in cases {
            assert_eq!(word(&seen, wanted, entered), expected, "{seen:?} {wanted:?} {entered}");
        }
    }
}
