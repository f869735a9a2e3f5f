//! Work that nobody waits for: it leaves room, so that what a user just changed is never behind a queue of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Room for objects that are looked at without a user's doing.
#[derive(Debug)]
pub(crate) struct Routine<T> {
    room: Arc<Semaphore>,
    held: Mutex<HashMap<T, OwnedSemaphorePermit>>,
}

impl<T: Clone + Eq + Hash + Send + 'static> Routine<T> {
    /// Room for so many at once.
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(room)), held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<T, OwnedSemaphorePermit>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of an object that is looked at from now on, where it has one: it is kept until the look ends. What is
    /// woken meanwhile is looked at afterwards, and needs another one.
    pub(crate) fn started(&self, object: &T) -> Option<OwnedSemaphorePermit> {
        self.held().remove(object)
    }

    /// Forgets an object that is gone.
    pub(crate) fn gone(&self, object: &T) {
        self.held().remove(object);
    }

    /// Forgets objects that are gone.
    pub(crate) fn retain(&self, exists: impl Fn(&T) -> bool) {
        self.held().retain(|object, _| exists(object));
    }

    /// The objects that are woken, each once however often it is woken while it waits, as soon as there is room.
    /// `exists` tells of one that is gone meanwhile.
    pub(crate) fn admitted(
        self: Arc<Self>,
        woken: mpsc::UnboundedReceiver<T>,
        exists: impl Fn(&T) -> bool + Send + 'static,
    ) -> impl Stream<Item = T> + Send {
        let queue = Queue { woken, waiting: VecDeque::new(), known: HashSet::new() };
        stream::unfold((self, queue, exists), |(routine, mut queue, exists)| async move {
            loop {
                queue.next().await?;
                let Ok(permit) = routine.room.clone().acquire_owned().await else { return None };
                // What was woken again while there was no room is looked at once.
                let object = queue.take()?;
                if !exists(&object) {
                    continue;
                }
                routine.held().insert(object.clone(), permit);
                return Some((object, (routine, queue, exists)));
            }
        })
    }
}

/// What was woken and waits.
struct Queue<T> {
    woken: mpsc::UnboundedReceiver<T>,
    waiting: VecDeque<T>,
    known: HashSet<T>,
}

impl<T: Clone + Eq + Hash> Queue<T> {
    fn add(&mut self, object: T) {
        if self.known.insert(object.clone()) {
            self.waiting.push_back(object);
        }
    }

    /// Waits until something waits; nothing when nothing is woken any more.
    async fn next(&mut self) -> Option<()> {
        if self.waiting.is_empty() {
            // All wait at a start, and few after that.
            self.waiting.shrink_to_fit();
            self.known.shrink_to_fit();
            let object = self.woken.recv().await?;
            self.add(object);
        }
        Some(())
    }

    fn take(&mut self) -> Option<T> {
        while let Ok(object) = self.woken.try_recv() {
            self.add(object);
        }
        let object = self.waiting.pop_front()?;
        self.known.remove(&object);
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn leaves_room_and_takes_each_once() {
        let routine = Routine::new(2);
        let (wake, woken) = mpsc::unbounded_channel();
        let mut admitted = Box::pin(routine.clone().admitted(woken, |object| *object != "gone"));
        for object in ["a", "a", "gone", "b", "c", "a", "c"] {
            wake.send(object).unwrap();
        }
        assert_eq!(admitted.next().await, Some("a"));
        assert_eq!(admitted.next().await, Some("b"));
        assert_eq!(admitted.next().now_or_never(), None, "there is room for two");
        let look = routine.started(&"a");
        assert!(look.is_some() && routine.started(&"user").is_none());
        assert_eq!(admitted.next().now_or_never(), None, "it is being looked at");
        drop(look);
        assert_eq!(admitted.next().await, Some("c"));
        wake.send("a").unwrap();
        assert_eq!(admitted.next().now_or_never(), None);
        routine.gone(&"b");
        assert_eq!(admitted.next().await, Some("a"), "what is woken again later is looked at again");
        drop(wake);
        drop(routine.started(&"c"));
        assert_eq!(admitted.next().await, None);
    }
}
