//! What a run that somebody asked for does, for who waits for its end.

use std::collections::BTreeSet;

use kube::ResourceExt;

use crate::{
    api::backup::{BackupPhase, Progress, RunRecord, RunResult, RunTrigger, VolumeBackup},
    core::{
        backup::summary,
        size::size,
        table::{length, plain},
    },
};

/// A run that was asked for by this value of `reconcile.fluxcd.io/forceAt`.
#[derive(Clone, Debug)]
pub struct Follow {
    token: String,
    uid: Option<String>,
    runs: BTreeSet<String>,
}

/// What is so now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The operator has not answered yet.
    Unseen(Line),
    /// It waits or runs.
    Goes(Line),
    /// It has ended with these results, one for each claim and repository.
    Ended(Vec<RunRecord>),
    /// It will not run, for this reason.
    Refused(String),
}

/// A line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happens.
    pub text: String,
    /// Where lines cannot be redrawn, one is worth writing when this differs from the last one's.
    pub key: String,
}

impl Line {
    fn new(text: &str) -> Self {
        let text = plain(text);
        Self { key: text.clone(), text }
    }
}

impl Follow {
    /// Follows the run that this value asks for, of an object as it was when it was asked.
    pub fn new(backup: &VolumeBackup, token: &str) -> Self {
        Self { token: token.to_owned(), uid: backup.uid(), runs: BTreeSet::new() }
    }

    /// What is so now.
    pub fn look(&mut self, backup: &VolumeBackup) -> Look {
        if backup.uid() != self.uid || backup.metadata.deletion_timestamp.is_some() {
            return Look::Refused("the VolumeBackup was deleted".to_owned());
        }
        let status = backup.status.clone().unwrap_or_default();
        let is = |handled: Option<&String>| handled == Some(&self.token);
        let (seen, started) =
            (is(status.last_handled_reconcile_at.as_ref()), is(status.last_handled_force_at.as_ref()));
        let message = status.message.as_deref().unwrap_or_default();
        match (&status.run, started) {
            (Some(run), true) if run.trigger == RunTrigger::Manual => {
                // Each attempt has an id of its own, and what has gone well in one is not tried again.
                self.runs.insert(run.id.clone());
                self.runs.extend(run.results.iter().map(|record| record.id.clone()));
                Look::Goes(doing(status.phase, run.progress.as_ref(), message))
            }
            (_, true) => {
                let newest = status.runs.first().map(|record| record.id.clone());
                let runs = if self.runs.is_empty() { newest.into_iter().collect() } else { self.runs.clone() };
                let of_run = |record: &&RunRecord| runs.contains(&record.id);
                Look::Ended(status.runs.iter().filter(of_run).cloned().collect())
            }
            (Some(run), false) => {
                let other = doing(status.phase, run.progress.as_ref(), message);
                let of = |text: &str| format!("another run goes first: {text}");
                Look::Goes(Line { text: of(&other.text), key: of(&other.key) })
            }
            (None, false) if !seen => Look::Unseen(Line::new("the operator has not seen the request yet")),
            (None, false) => match status.phase {
                Some(phase @ (BackupPhase::Blocked | BackupPhase::Suspended | BackupPhase::WaitingForClaim)) => {
                    Look::Refused(format!("it is {}: {}", word(Some(phase)), plain(message)))
                }
                phase => Look::Goes(doing(phase, None, message)),
            },
        }
    }
}

/// A phase with what happens in it.
fn doing(phase: Option<BackupPhase>, progress: Option<&Progress>, message: &str) -> Line {
    let word = word(phase);
    match progress {
        Some(progress) if phase == Some(BackupPhase::BackingUp) => Line {
            text: format!("{word}: {}", how_far(progress)),
            // Some lines of a long backup, not a hundred.
            key: format!("{word} {}", progress.percent / 10),
        },
        _ => Line::new(&format!("{word}: {message}")),
    }
}

/// How far a mover is: `43 %, 1.2 GiB of 3.4 GiB, 120 of 300 files, 2m left`.
pub fn how_far(progress: &Progress) -> String {
    let left = progress.seconds_left.map(|seconds| format!(", {} left", length(seconds))).unwrap_or_default();
    format!(
        "{} %, {} of {}, {} of {} files{left}",
        progress.percent,
        size(progress.bytes_done),
        size(progress.bytes_total),
        progress.files_done,
        progress.files_total
    )
}

/// A phase as the status writes it.
pub fn word(phase: Option<BackupPhase>) -> String {
    phase.map_or_else(|| "New".to_owned(), |phase| format!("{phase:?}"))
}

/// How a run ended, a line for each claim and repository, and whether all of it is good.
pub fn results(records: &[RunRecord]) -> (Vec<String>, bool) {
    let line = |record: &RunRecord| {
        let mut words = vec![];
        if record.snapshot.is_some() {
            words.push(summary(record));
        }
        words.extend(record.message.as_deref().map(plain));
        format!("{} into {}: {}: {}", record.claim, record.repository.name, record.result.as_str(), words.join("; "))
    };
    if records.is_empty() {
        return (vec!["the run has ended, and the status has no result of it".to_owned()], false);
    }
    let good = records.iter().all(|record| record.result == RunResult::Succeeded);
    (records.iter().map(line).collect(), good)
}

#[cfg(test)]
mod tests;
