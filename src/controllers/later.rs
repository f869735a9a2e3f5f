//! When objects are looked at again without a change: a retry, or something that is due by then.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The objects that are due later, each once.
///
/// Not the controller's own requeues: these would be mixed with what users just changed, and wait in one queue with it.
#[derive(Debug)]
pub(crate) struct Later<T> {
    due: Mutex<Due<T>>,
    sooner: Notify,
}

#[derive(Debug)]
struct Due<T> {
    by_time: BTreeMap<(Instant, u64), T>,
    by_object: HashMap<T, (Instant, u64)>,
    /// Tells those apart that are due at the same time.
    count: u64,
}

impl<T> Default for Later<T> {
    fn default() -> Self {
        let due = Due { by_time: BTreeMap::new(), by_object: HashMap::new(), count: 0 };
        Self { due: Mutex::new(due), sooner: Notify::new() }
    }
}

impl<T: Clone + Eq + Hash> Later<T> {
    fn due(&self) -> MutexGuard<'_, Due<T>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when an object is due, instead of what was noted before; not at all, where nothing is given.
    pub(crate) fn set(&self, object: &T, after: Option<Duration>) {
        let mut due = self.due();
        if let Some(old) = due.by_object.remove(object) {
            due.by_time.remove(&old);
        }
        let Some(at) = after.and_then(|after| Instant::now().checked_add(after)) else { return };
        due.count += 1;
        let key = (at, due.count);
        due.by_time.insert(key, object.clone());
        due.by_object.insert(object.clone(), key);
        drop(due);
        self.sooner.notify_one();
    }

    /// Forgets objects that are gone.
    pub(crate) fn retain(&self, exists: impl Fn(&T) -> bool) {
        let mut due = self.due();
        due.by_time.retain(|_, object| exists(object));
        due.by_object.retain(|object, _| exists(object));
    }

    /// Hands each object over when it is due. It never ends.
    pub(crate) async fn run(&self, wake: impl Fn(T)) {
        loop {
            let next = self.due().by_time.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = next else {
                self.sooner.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.sooner.notified() => continue,
            }
            while let Some(object) = self.take() {
                wake(object);
            }
        }
    }

    /// The next object that is due by now.
    fn take(&self) -> Option<T> {
        let mut due = self.due();
        let entry = due.by_time.first_entry().filter(|entry| entry.key().0 <= Instant::now())?;
        let object = entry.remove();
        due.by_object.remove(&object);
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use tokio::{sync::mpsc, time::sleep};

    use super::*;
    use crate::controllers::routine::Routine;

    #[tokio::test(start_paused = true)]
    async fn each_is_due_once_and_when_it_was_last_said() {
        let later = Later::default();
        let (wake, mut woken) = mpsc::unbounded_channel();
        let second = |count| Some(Duration::from_secs(count));
        let run = later.run(|object| wake.send(object).unwrap());
        let said = async {
            for (object, after) in
                [("a", second(9)), ("b", second(2)), ("gone", second(1)), ("never", second(1)), ("c", second(1))]
            {
                later.set(&object, after);
            }
            later.set(&"never", None);
            later.set(&"a", second(1));
            later.retain(|object| *object != "gone");
            sleep(Duration::from_millis(900)).await;
            assert!(woken.is_empty());
            sleep(Duration::from_millis(200)).await;
            assert_eq!((woken.recv().await, woken.recv().await), (Some("c"), Some("a")));
            sleep(Duration::from_secs(20)).await;
            assert_eq!(woken.recv().await, Some("b"));
            assert!(woken.is_empty());
        };
        tokio::select! {
            () = run => {}
            () = said => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_again_leaves_room_for_users() {
        let (later, routine) = (Later::default(), Routine::new(2));
        let (wake, woken) = mpsc::unbounded_channel();
        let mut admitted = Box::pin(routine.clone().admitted(woken, |_| true));
        for object in 0..1000 {
            later.set(&object, Some(Duration::from_secs(1)));
        }
        let looked = async {
            sleep(Duration::from_secs(2)).await;
            assert_eq!((admitted.next().await, admitted.next().await), (Some(0), Some(1)));
            let places = [routine.started(&0), routine.started(&1)];
            assert!(places.iter().all(Option::is_some));
            assert_eq!(admitted.next().now_or_never(), None, "all but two wait");
            drop(places);
            assert_eq!(admitted.next().await, Some(2));
        };
        tokio::select! {
            () = later.run(|object| wake.send(object).unwrap()) => {}
            () = looked => {}
        }
    }
}
