//! Who moves data and who waits to. A place is held by uid, so that asking again is harmless.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    api::{backup::RepositoryKey, common::Time},
    core::{
        queue::{self, Full, Running, Waiting},
        slots,
    },
};

/// The places of the cluster.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<String, Running>,
    waiting: HashMap<String, Waiting>,
    /// The slots of those that run, by uid and repository object; the longest taken first.
    slots: Vec<(String, RepositoryKey, usize)>,
}

impl Queue {
    /// As many places as the cluster may have.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// A place for who waits, if it is its turn. What runs already counts first, also right after a start of the
    /// controller.
    pub fn ask(&self, who: Waiting, already: Vec<Running>, now: Time) -> Result<(), Full> {
        let mut state = self.lock();
        for other in already.into_iter().filter(|other| other.uid != who.uid) {
            state.take(other);
        }
        if state.running.contains_key(&who.uid) {
            return Ok(());
        }
        // It waits since it was first seen to.
        let since = state.waiting.get(&who.uid).map_or(who.since, |known| known.since.min(who.since));
        let uid = who.uid.clone();
        state.waiting.insert(uid.clone(), Waiting { since, ..who });
        let (running, waiting) = state.all();
        queue::turn(&uid, &running, &waiting, self.limit, now)?;
        if let Some(Waiting { uid, namespace, repositories, .. }) = state.waiting.remove(&uid) {
            let repositories = repositories.into_iter().map(|(key, _)| key).collect();
            state.take(Running { uid, namespace, repositories });
        }
        Ok(())
    }

    /// Takes a place without asking: what runs already when the controller starts.
    pub fn resume(&self, who: Running) {
        self.lock().take(who);
    }

    /// The slot of one that runs, of so many of a repository object: the same each time. After a start of the controller
    /// those of the movers that run already are not known, which costs nothing but evenness.
    pub fn slot(&self, uid: &str, repository: &RepositoryKey, count: usize) -> usize {
        let mut state = self.lock();
        let of_it: Vec<_> = state.slots.iter().filter(|(_, other, _)| other == repository).collect();
        if let Some((.., slot)) = of_it.iter().find(|(of, _, slot)| of == uid && *slot < count) {
            return *slot;
        }
        let taken: Vec<usize> = of_it.iter().map(|(.., slot)| *slot).collect();
        let slot = slots::emptiest(&taken, count);
        state.slots.push((uid.to_owned(), repository.clone(), slot));
        slot
    }

    /// Gives a place back, or waits no more.
    pub fn release(&self, uid: &str) {
        let mut state = self.lock();
        state.running.remove(uid);
        state.waiting.remove(uid);
        state.slots.retain(|(of, ..)| of != uid);
    }

    /// The place of each that waits, from 1, by its uid.
    pub fn places(&self, now: Time) -> HashMap<String, usize> {
        let (running, waiting) = self.lock().all();
        queue::order(&running, &waiting, now).into_iter().map(|of| of.uid.clone()).zip(1..).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn all(&self) -> (Vec<Running>, Vec<Waiting>) {
        (self.running.values().cloned().collect(), self.waiting.values().cloned().collect())
    }

    fn take(&mut self, who: Running) {
        self.waiting.remove(&who.uid);
        self.running.entry(who.uid.clone()).or_insert(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{backup::VolumeBackup, common::RepositoryKind},
        core::{backup, queue::Urgency},
    };

    fn key(name: &str) -> RepositoryKey {
        RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: name.to_owned() }
    }

    fn now() -> Time {
        "2026-11-03T00:00:00Z".parse().unwrap()
    }

    fn backup(uid: &str) -> Waiting {
        Waiting {
            uid: uid.to_owned(),
            namespace: "media".to_owned(),
            urgency: Urgency::Scheduled,
            since: now(),
            repositories: vec![(key("nas"), 2)],
        }
    }

    #[test]
    fn places_come_back() {
        let queue = Queue::new(3);
        let ask = |uid: &str| queue.ask(backup(uid), vec![], now());
        assert_eq!((ask("a"), ask("a"), ask("b")), (Ok(()), Ok(()), Ok(())), "asking again is harmless");
        assert_eq!(ask("c"), Err(Full::Repository("nas".to_owned(), 2)));
        queue.release("a");
        assert_eq!(ask("c"), Ok(()));
    }

    #[test]
    fn slots_are_kept_and_come_back() {
        let queue = Queue::new(9);
        let slot = |uid: &str, name: &str| queue.slot(uid, &key(name), 2);
        assert_eq!(["a", "b", "a", "c", "d"].map(|uid| slot(uid, "nas")), [0, 1, 0, 1, 0]);
        assert_eq!(slot("d", "s3"), 0, "each repository has its own");
        queue.release("a");
        queue.release("c");
        assert_eq!(["b", "e", "f"].map(|uid| slot(uid, "nas")), [1, 0, 1]);
        assert_eq!(queue.slot("b", &key("nas"), 1), 0, "the limit was lowered");
    }

    #[test]
    fn who_waits_no_more_keeps_nobody_else() {
        let queue = Queue::new(1);
        let ask = |uid: &str| queue.ask(backup(uid), vec![], now());
        assert_eq!((ask("x"), ask("a"), ask("b")), (Ok(()), Err(Full::Cluster(1)), Err(Full::Cluster(1))));
        assert_eq!(queue.places(now()), HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
        queue.release("x");
        assert_eq!(ask("b"), Err(Full::Turn(1)));
        queue.release("a");
        assert_eq!(ask("b"), Ok(()));
    }

    #[test]
    fn what_runs_already_counts_right_after_a_start() {
        let mut of = VolumeBackup::new("radarr", serde_json::from_value(serde_json::json!({})).unwrap());
        (of.metadata.uid, of.metadata.namespace) = (Some("b".to_owned()), Some("media".to_owned()));
        of.status = serde_json::from_value(serde_json::json!({"run": {
            "id": "r", "trigger": "Manual", "startedAt": "2026-09-24T12:00:00Z", "attemptStartedAt":
            "2026-09-24T12:00:00Z", "attempt": 1, "claims": ["radarr"],
            "repositories": [key("nas"), key("s3")],
        }}))
        .unwrap();
        let mut idle = of.clone();
        idle.metadata.uid = Some("idle".to_owned());
        idle.status.as_mut().unwrap().run = None;
        let already = backup::with_places([&of, &idle], now());
        let expected =
            Running { uid: "b".to_owned(), namespace: "media".to_owned(), repositories: vec![key("nas"), key("s3")] };
        assert_eq!(already, [expected]);
        assert_eq!(Queue::new(1).ask(backup("r"), already.clone(), now()), Err(Full::Cluster(1)));
        assert_eq!(Queue::new(2).ask(backup("r"), already.clone(), now()), Ok(()));
        assert_eq!(Queue::new(1).ask(backup("b"), already, now()), Ok(()), "it runs itself");
    }
}
