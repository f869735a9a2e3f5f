//! How a run goes on when a command in the app's pod has ended.

use crate::{
    api::{
        backup::{RunHooks, VolumeBackup},
        common::Time,
    },
    core::problem::{Problem, Reason},
};

use super::{
    Exec, Executed, Observed, Step, When,
    attempt::fail,
    hooks::{given_up, missed},
    steps::{SNAPSHOTTING, SOON, write},
};

/// How to go on when a command has ended.
pub fn executed(backup: &VolumeBackup, exec: &Exec, outcome: &Executed, now: Time) -> Step {
    let run = backup.status.as_ref().and_then(|status| status.run.as_ref());
    let Some((run, hooks)) = run.and_then(|run| Some((run, run.hooks.as_ref()?))) else { return Step::Wait(SOON) };
    let change = |message: Option<&str>, change: fn(&mut RunHooks)| {
        write(backup, |status| {
            status.message = message.map(str::to_owned).or_else(|| status.message.take());
            _ = status.run.as_mut().and_then(|run| run.hooks.as_mut()).map(change);
        })
    };
    match (exec.when, outcome) {
        (When::Before, Executed::Succeeded) => change(Some(SNAPSHOTTING), |hooks| hooks.succeeded += 1),
        (When::Before, Executed::Failed(words) | Executed::NotRun(words)) => {
            let problem = Problem::new(Reason::HookFailed, format!("{} {words}", exec.title));
            fail(backup, run, &Observed::default(), &problem, now)
        }
        (When::After, Executed::Succeeded) => {
            change(None, |hooks| (hooks.done, hooks.try_until) = (hooks.done + 1, None))
        }
        (When::After, Executed::Failed(words)) => given_up(backup, &format!("{} {words}", exec.title)),
        (When::After, Executed::NotRun(words)) => missed(backup, hooks, &exec.title, words, now),
    }
}
