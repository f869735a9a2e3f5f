//! What the mover found out about a repository, as the status says it.

use crate::{
    api::{
        common::Time,
        repository::{Base, RepositoryPhase, RepositoryStatus},
    },
    core::{
        conditions::{self, Summary},
        destination::public_url,
        mover_state::MoverState,
        names,
        problem::{Problem, Reason},
        task::{FailureKind, Outcome},
    },
};

use super::{DEADLINE, Observed, Subject, handled};

/// What the mover found out, as the status says it.
pub(super) fn answered(subject: &Subject, base_url: &str, seen: &Observed, now: Time) -> RepositoryStatus {
    let mut status = handled(subject, seen);
    let found = match &seen.errand.state {
        MoverState::Finished(answer) => match (&answer.outcome, &answer.repository) {
            (Outcome::Found, Some(id)) => known_base(subject, base_url, id),
            (Outcome::Created, Some(id)) => Ok(id.clone()),
            (Outcome::Failed(failure), _) => {
                let source = seen.credentials.as_ref().map_or("the credentials", |(source, _)| source);
                Err(failed(subject, base_url, failure.kind, &failure.message, source))
            }
            (other, _) => Err(unreachable(base_url, &format!("the mover answers something else: {other:?}"))),
        },
        MoverState::Lost(problem) | MoverState::Vanished(problem) if problem.reason == Reason::DeadlineExceeded => {
            Err(unreachable(base_url, &format!("no answer within {DEADLINE} s")))
        }
        MoverState::Lost(problem) | MoverState::Vanished(problem) => Err(unreachable(base_url, &problem.message)),
        MoverState::Absent | MoverState::Waiting(_) | MoverState::Running { .. } => return status,
    };
    let summary = match found {
        Ok(id) => {
            status.phase = Some(RepositoryPhase::Ready);
            status.base = Some(Base { id });
            status.last_reachable_at = Some(now);
            Summary::Ready("Ready", ready_message(subject))
        }
        Err((phase, problem)) => {
            status.phase = Some(phase);
            Summary::NotReady(problem)
        }
    };
    conditions::summarize(&mut status.conditions, &summary, subject.metadata.generation, now);
    status
}

fn ready_message(subject: &Subject) -> String {
    let mut message = "the base is there".to_owned();
    if subject.spec.read_only {
        message.push_str("; readOnly: only restores");
    }
    message
}

/// The base that answers is the known one, or none was known (a new cluster), or someone accepted it.
fn known_base(subject: &Subject, base_url: &str, id: &str) -> Result<String, (RepositoryPhase, Problem)> {
    let short = names::short(id);
    match &subject.status.base {
        Some(known) if known.id != id && !subject.accepted(short) => {
            let message = format!(
                "another base answers at {}: {short} instead of {}. Correct url or bring the old one back; or accept the new one: {}",
                public_url(base_url),
                known.id.get(..8).unwrap_or(&known.id),
                subject.accept_command(short)
            );
            Err((RepositoryPhase::Changed, Problem::new(Reason::RepositoryChanged, message)))
        }
        _ => Ok(id.to_owned()),
    }
}

fn failed(
    subject: &Subject,
    base_url: &str,
    kind: FailureKind,
    words: &str,
    source: &str,
) -> (RepositoryPhase, Problem) {
    let url = public_url(base_url);
    match kind {
        FailureKind::NoRepository | FailureKind::BaseChanged => missing(subject, &url, base_url),
        FailureKind::WrongPassword => {
            let message = format!("the password is not that of {url}: correct RESTIC_PASSWORD in {source}");
            (RepositoryPhase::Unreachable, Problem::new(Reason::WrongPassword, message))
        }
        FailureKind::Locked => {
            let message = format!("{url} is locked: {words}");
            (RepositoryPhase::Unreachable, Problem::new(Reason::RepositoryLocked, message))
        }
        _ => unreachable(base_url, words),
    }
}

fn unreachable(base_url: &str, words: &str) -> (RepositoryPhase, Problem) {
    let message = format!("{} does not answer: {words}", public_url(base_url));
    (RepositoryPhase::Unreachable, Problem::new(Reason::RepositoryUnreachable, message))
}

fn missing(subject: &Subject, url: &str, base_url: &str) -> (RepositoryPhase, Problem) {
    let command = subject.accept_command(&subject.creation_id(base_url));
    let (phase, reason, what) = if let Some(known) = &subject.status.base {
        let id = known.id.get(..8).unwrap_or(&known.id);
        let what = format!("the base {id} is gone: nothing is at {url}. Bring it back (is the volume mounted?)");
        (RepositoryPhase::Changed, Reason::RepositoryChanged, what)
    } else {
        let what = format!("nothing is at {url}. If backups should be there, correct url or mount the volume");
        (RepositoryPhase::BaseMissing, Reason::BaseMissing, what)
    };
    let message = if subject.spec.read_only {
        format!("{what}; a repository that is readOnly creates nothing")
    } else {
        format!("{what}. If this is the right place for new backups, accept that it is created: {command}")
    };
    (phase, Problem::new(reason, message))
}
