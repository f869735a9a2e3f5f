//! Who may move data now. A place is held by uid, so that asking again is harmless.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::api::backup::RepositoryKey;

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many run as the cluster may have.
    Cluster(usize),
    /// As many run as the repository object may have.
    Repository(usize),
    /// A restore waits, and goes first.
    Restore,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster(limit) => write!(f, "{limit} movers run, the cluster's limit"),
            Self::Repository(limit) => write!(f, "{limit} backups run into this repository, its limit"),
            Self::Restore => f.write_str("a restore waits and goes first"),
        }
    }
}

/// The places of the cluster.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<String, Option<RepositoryKey>>,
    restores_waiting: HashSet<String>,
}

impl Queue {
    /// As many places as the cluster may have.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// A place for a backup into `repository`, which may have `limit` at once.
    pub fn acquire_backup(&self, uid: &str, repository: &RepositoryKey, limit: usize) -> Result<(), Full> {
        let mut state = self.lock();
        if state.running.contains_key(uid) {
            return Ok(());
        }
        if !state.restores_waiting.is_empty() {
            return Err(Full::Restore);
        }
        if state.running.len() >= self.limit {
            return Err(Full::Cluster(self.limit));
        }
        if state.running.values().filter(|key| key.as_ref() == Some(repository)).count() >= limit {
            return Err(Full::Repository(limit));
        }
        state.running.insert(uid.to_owned(), Some(repository.clone()));
        Ok(())
    }

    /// A place for a restore: before any backup that waits.
    pub fn acquire_restore(&self, uid: &str) -> Result<(), Full> {
        let mut state = self.lock();
        if state.running.contains_key(uid) {
            return Ok(());
        }
        if state.running.len() >= self.limit {
            state.restores_waiting.insert(uid.to_owned());
            return Err(Full::Cluster(self.limit));
        }
        state.restores_waiting.remove(uid);
        state.running.insert(uid.to_owned(), None);
        Ok(())
    }

    /// Takes a place without asking: what runs already when the controller starts.
    pub fn resume(&self, uid: &str, repository: Option<&RepositoryKey>) {
        self.lock().running.entry(uid.to_owned()).or_insert_with(|| repository.cloned());
    }

    /// Gives a place back.
    pub fn release(&self, uid: &str) {
        let mut state = self.lock();
        state.running.remove(uid);
        state.restores_waiting.remove(uid);
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.lock().running.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::RepositoryKind;

    fn key(name: &str) -> RepositoryKey {
        RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: name.to_owned() }
    }

    #[test]
    fn limits_hold_and_places_come_back() {
        let queue = Queue::new(3);
        assert_eq!(queue.acquire_backup("a", &key("nas"), 2), Ok(()));
        assert_eq!(queue.acquire_backup("a", &key("nas"), 2), Ok(()), "asking again is harmless");
        assert_eq!(queue.acquire_backup("b", &key("nas"), 2), Ok(()));
        assert_eq!(queue.acquire_backup("c", &key("nas"), 2), Err(Full::Repository(2)));
        assert_eq!(queue.acquire_backup("c", &key("s3"), 2), Ok(()));
        assert_eq!(queue.acquire_backup("d", &key("s3"), 2), Err(Full::Cluster(3)));
        queue.release("a");
        assert_eq!(queue.acquire_backup("d", &key("nas"), 2), Ok(()));
        assert_eq!(queue.running(), 3);
    }

    #[test]
    fn a_restore_that_waits_goes_before_backups() {
        let queue = Queue::new(1);
        assert_eq!(queue.acquire_backup("a", &key("nas"), 2), Ok(()));
        assert_eq!(queue.acquire_restore("r"), Err(Full::Cluster(1)));
        queue.release("a");
        assert_eq!(queue.acquire_backup("b", &key("nas"), 2), Err(Full::Restore));
        assert_eq!(queue.acquire_restore("r"), Ok(()));
        queue.release("r");
        assert_eq!(queue.acquire_backup("b", &key("nas"), 2), Ok(()));
    }
}
