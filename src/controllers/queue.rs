//! Who may move data now. A place is held by uid, so that asking again is harmless.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::api::backup::{RepositoryKey, VolumeBackup};

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

/// Who runs, by uid, and into which repositories: none for a restore.
pub type Running = Vec<(String, Vec<RepositoryKey>)>;

#[derive(Debug, Default)]
struct State {
    running: HashMap<String, Vec<RepositoryKey>>,
    restores_waiting: HashSet<String>,
}

impl Queue {
    /// As many places as the cluster may have.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// A place for a backup into each of the repositories, which may have so many at once. What runs already counts
    /// first, also right after a start of the controller.
    pub fn acquire_backup(
        &self,
        uid: &str,
        repositories: &[(RepositoryKey, usize)],
        already: &Running,
    ) -> Result<(), Full> {
        let mut state = self.lock();
        state.count(uid, already);
        if state.running.contains_key(uid) {
            return Ok(());
        }
        if !state.restores_waiting.is_empty() {
            return Err(Full::Restore);
        }
        if state.running.len() >= self.limit {
            return Err(Full::Cluster(self.limit));
        }
        for (key, limit) in repositories {
            if state.running.values().filter(|keys| keys.contains(key)).count() >= *limit {
                return Err(Full::Repository(*limit));
            }
        }
        let keys = repositories.iter().map(|(key, _)| key.clone()).collect();
        state.running.insert(uid.to_owned(), keys);
        Ok(())
    }

    /// A place for a restore: before any backup that waits. What runs already counts first.
    pub fn acquire_restore(&self, uid: &str, already: &Running) -> Result<(), Full> {
        let mut state = self.lock();
        state.count(uid, already);
        if state.running.contains_key(uid) {
            return Ok(());
        }
        if state.running.len() >= self.limit {
            state.restores_waiting.insert(uid.to_owned());
            return Err(Full::Cluster(self.limit));
        }
        state.restores_waiting.remove(uid);
        state.running.insert(uid.to_owned(), vec![]);
        Ok(())
    }

    /// Takes a place without asking: what runs already when the controller starts.
    pub fn resume(&self, uid: &str, repositories: &[RepositoryKey]) {
        self.lock().running.entry(uid.to_owned()).or_insert_with(|| repositories.to_vec());
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

impl State {
    /// Counts what runs besides the one that asks.
    fn count(&mut self, uid: &str, already: &Running) {
        for (other, keys) in already.iter().filter(|(other, _)| other != uid) {
            self.running.entry(other.clone()).or_insert_with(|| keys.clone());
        }
    }
}

/// The backups that run already, as the objects say themselves.
pub fn running<'a>(backups: impl IntoIterator<Item = &'a VolumeBackup>) -> Running {
    let running = backups.into_iter().filter_map(|backup| {
        let run = backup.status.as_ref()?.run.as_ref()?;
        Some((backup.metadata.uid.clone()?, run.repositories.clone()))
    });
    running.collect()
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
        assert_eq!(queue.acquire_backup("a", &[(key("nas"), 2)], &vec![]), Ok(()));
        assert_eq!(queue.acquire_backup("a", &[(key("nas"), 2)], &vec![]), Ok(()), "asking again is harmless");
        assert_eq!(queue.acquire_backup("b", &[(key("nas"), 2)], &vec![]), Ok(()));
        assert_eq!(queue.acquire_backup("c", &[(key("nas"), 2)], &vec![]), Err(Full::Repository(2)));
        assert_eq!(queue.acquire_backup("c", &[(key("s3"), 2)], &vec![]), Ok(()));
        assert_eq!(queue.acquire_backup("d", &[(key("s3"), 2)], &vec![]), Err(Full::Cluster(3)));
        queue.release("a");
        assert_eq!(queue.acquire_backup("d", &[(key("nas"), 2)], &vec![]), Ok(()));
        assert_eq!(queue.running(), 3);
    }

    #[test]
    fn a_restore_that_waits_goes_before_backups() {
        let queue = Queue::new(1);
        assert_eq!(queue.acquire_backup("a", &[(key("nas"), 2)], &vec![]), Ok(()));
        assert_eq!(queue.acquire_restore("r", &vec![]), Err(Full::Cluster(1)));
        queue.release("a");
        assert_eq!(queue.acquire_backup("b", &[(key("nas"), 2)], &vec![]), Err(Full::Restore));
        assert_eq!(queue.acquire_restore("r", &vec![]), Ok(()));
        queue.release("r");
        assert_eq!(queue.acquire_backup("b", &[(key("nas"), 2)], &vec![]), Ok(()));
    }

    #[test]
    fn a_backup_into_several_repositories_takes_a_place_in_each() {
        let queue = Queue::new(9);
        assert_eq!(queue.acquire_backup("a", &[(key("nas"), 1), (key("s3"), 1)], &vec![]), Ok(()));
        assert_eq!(queue.acquire_backup("b", &[(key("s3"), 1)], &vec![]), Err(Full::Repository(1)));
        assert_eq!(queue.acquire_backup("b", &[(key("other"), 1), (key("s3"), 1)], &vec![]), Err(Full::Repository(1)));
        assert_eq!(queue.acquire_backup("b", &[(key("other"), 1)], &vec![]), Ok(()));
        queue.release("a");
        assert_eq!(queue.acquire_backup("c", &[(key("s3"), 1)], &vec![]), Ok(()));
    }

    #[test]
    fn what_runs_already_counts_right_after_a_start() {
        let mut backup = VolumeBackup::new("radarr", serde_json::from_value(serde_json::json!({})).unwrap());
        backup.metadata.uid = Some("b".to_owned());
        backup.status = serde_json::from_value(serde_json::json!({"run": {
            "id": "r", "trigger": "Manual", "startedAt": "2026-09-24T12:00:00Z", "attemptStartedAt":
            "2026-09-24T12:00:00Z", "attempt": 1, "claims": ["radarr"],
            "repositories": [key("nas"), key("s3")],
        }}))
        .unwrap();
        let mut idle = backup.clone();
        idle.metadata.uid = Some("idle".to_owned());
        idle.status.as_mut().unwrap().run = None;
        let already = running([&backup, &idle]);
        assert_eq!(already, [("b".to_owned(), vec![key("nas"), key("s3")])]);
        assert_eq!(Queue::new(1).acquire_restore("r", &already), Err(Full::Cluster(1)));
        assert_eq!(Queue::new(2).acquire_restore("r", &already), Ok(()));
        assert_eq!(Queue::new(9).acquire_backup("c", &[(key("s3"), 1)], &already), Err(Full::Repository(1)));
        assert_eq!(Queue::new(1).acquire_backup("b", &[(key("s3"), 1)], &already), Ok(()), "it runs itself");
    }
}
