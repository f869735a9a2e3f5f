//! Whose turn it is among those that wait to move data: restores before backups, those that somebody asked for before
//! scheduled ones, fair between namespaces, and nobody for ever.

use std::collections::HashMap;

use crate::api::{
    backup::RepositoryKey,
    common::{RepositoryKind, Time},
};

/// After so many hours of waiting a backup goes before all others, and keeps free what it needs.
const PATIENCE_HOURS: i64 = 1;

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A restore.
    Restore,
    /// A backup that somebody asked for.
    Manual,
    /// A backup whose time has come.
    Scheduled,
}

/// Who waits for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The object's uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// What goes first.
    pub urgency: Urgency,
    /// Since when it waits.
    pub since: Time,
    /// The repositories that it writes to, and how many backups each may have at once; none for a restore.
    pub repositories: Vec<(RepositoryKey, usize)>,
}

/// Who has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The object's uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// The repositories that it writes to.
    pub repositories: Vec<RepositoryKey>,
}

/// Why it is not somebody's turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many run as the cluster may have.
    #[error("{0} movers run, the cluster's limit")]
    Cluster(usize),
    /// As many run as the repository object may have.
    #[error("{1} backups run into {0}, its limit")]
    Repository(String, usize),
    /// There are free places, and others go first.
    #[error("{0} of those that wait go first")]
    Turn(usize),
}

/// Those that wait, in the order of their turns. The repositories' limits may let one go before its turn.
pub fn order<'a>(running: &[Running], waiting: &'a [Waiting], now: Time) -> Vec<&'a Waiting> {
    let mut all: Vec<&Waiting> = waiting.iter().collect();
    all.sort_by_key(|of| (of.urgency, of.since, &of.uid));
    let mut shares: HashMap<&str, usize> = HashMap::new();
    for of in running {
        *shares.entry(&of.namespace).or_default() += 1;
    }
    let mut ranked: Vec<(bool, Urgency, usize, &Waiting)> = vec![];
    for of in all {
        let share = shares.entry(&of.namespace).or_default();
        ranked.push((!is_out_of_patience(of, now), of.urgency, *share, of));
        *share += 1;
    }
    ranked.sort_by_key(|(patient, urgency, share, of)| {
        (*urgency != Urgency::Restore, *patient, *urgency, if *patient { *share } else { 0 }, of.since, &of.uid)
    });
    ranked.into_iter().map(|(.., of)| of).collect()
}

fn is_out_of_patience(of: &Waiting, now: Time) -> bool {
    now - of.since >= chrono::Duration::hours(PATIENCE_HOURS)
}

/// Whether it is the turn of the one that waits under this uid, where so many may run at once.
pub fn turn(uid: &str, running: &[Running], waiting: &[Waiting], limit: usize, now: Time) -> Result<(), Full> {
    let mut taken: HashMap<Repository<'_>, usize> = HashMap::new();
    for of in running {
        for key in &of.repositories {
            *taken.entry(repository(key, &of.namespace)).or_default() += 1;
        }
    }
    if running.len() >= limit {
        return Err(Full::Cluster(limit));
    }
    let (mut free, mut before) = (limit - running.len(), 0);
    for of in order(running, waiting, now) {
        let taken_of = |key| taken.get(&repository(key, &of.namespace)).copied().unwrap_or_default();
        let full = of.repositories.iter().find(|(key, limit)| taken_of(key) >= *limit);
        if of.uid == uid {
            return match full {
                Some((key, limit)) => Err(Full::Repository(key.name.clone(), *limit)),
                None => Ok(()),
            };
        }
        if full.is_none() {
            free -= 1;
            before += 1;
        }
        // What waits for long keeps what it needs, or those that need less would always be there first.
        if full.is_none() || is_out_of_patience(of, now) {
            for (key, _) in &of.repositories {
                *taken.entry(repository(key, &of.namespace)).or_default() += 1;
            }
        }
        if free == 0 {
            return Err(Full::Turn(before));
        }
    }
    Ok(())
}

/// A repository object as a namespace sees it.
type Repository<'a> = (&'a RepositoryKey, Option<&'a str>);

/// Two namespaces may each have a `ResticRepository` of one name.
fn repository<'a>(key: &'a RepositoryKey, namespace: &'a str) -> Repository<'a> {
    (key, (key.kind == RepositoryKind::ResticRepository).then_some(namespace))
}

#[cfg(test)]
mod tests;
