//! Conditions that `kubectl wait` and Flux (kstatus) read rightly at every moment.

use crate::{
    api::common::{Condition, ConditionStatus, Time},
    core::problem::{Class, Problem},
};

/// The condition that sums an object up.
pub const READY: &str = "Ready";
/// True while the object is on its way; absent otherwise.
pub const RECONCILING: &str = "Reconciling";
/// True while the object cannot get ready without being changed; absent otherwise.
pub const STALLED: &str = "Stalled";

/// What an object's conditions should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// It is as declared: reason and message.
    Ready(&'static str, String),
    /// It is on its way: reason and message.
    Progressing(&'static str, String),
    /// It is not as declared.
    NotReady(Problem),
}

/// Sets `Ready`, `Reconciling` and `Stalled`. A condition's transition time changes only with its status.
pub fn summarize(conditions: &mut Vec<Condition>, summary: &Summary, generation: Option<i64>, now: Time) {
    let (status, reason, message) = match summary {
        Summary::Ready(reason, message) => (ConditionStatus::True, *reason, message),
        Summary::Progressing(reason, message) => (ConditionStatus::Unknown, *reason, message),
        Summary::NotReady(problem) => (ConditionStatus::False, problem.reason.as_str(), &problem.message),
    };
    set(conditions, READY, status, reason, message, generation, now);
    let reconciling = match summary {
        Summary::Ready(..) => false,
        Summary::Progressing(..) => true,
        Summary::NotReady(problem) => problem.class() == Class::Transient,
    };
    let stalled = matches!(summary, Summary::NotReady(problem) if problem.class() == Class::Terminal);
    for (type_, wanted) in [(RECONCILING, reconciling), (STALLED, stalled)] {
        if wanted {
            set(conditions, type_, ConditionStatus::True, reason, message, generation, now);
        } else {
            conditions.retain(|condition| condition.type_ != type_);
        }
    }
}

/// Whether conditions say that an object is ready, and the reason.
pub fn ready(conditions: &[Condition]) -> (bool, &str) {
    let ready = conditions.iter().find(|condition| condition.type_ == READY);
    ready.map_or((false, ""), |ready| (ready.status == ConditionStatus::True, ready.reason.as_str()))
}

/// Sets one condition.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Time,
) {
    let old = conditions.iter_mut().find(|condition| condition.type_ == type_);
    let last_transition_time = match &old {
        Some(old) if old.status == status => old.last_transition_time,
        _ => now,
    };
    let new = Condition {
        type_: type_.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time,
        observed_generation: generation,
    };
    match old {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// The condition of a type.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the object says that it is ready.
pub fn is_ready(conditions: &[Condition]) -> bool {
    get(conditions, READY).is_some_and(|condition| condition.status == ConditionStatus::True)
}
