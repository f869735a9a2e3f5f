//! What was read of the cluster during one look at an object: an object that a step has not touched is not read again.

use std::{any::Any, collections::HashMap};

use kube::Api;

use crate::{
    clients::cluster::{self, Object},
    core::{names, problem::Problem},
};

/// What was read, by name and place.
#[derive(Default)]
pub struct Memo(HashMap<(String, String), Box<dyn Any + Send + Sync>>);

impl Memo {
    /// Reads an object, unless it was read before; none where there is none.
    pub async fn get<K: Object + 'static>(&mut self, api: &Api<K>, name: &str) -> Result<Option<K>, Problem> {
        self.once(name, api.resource_url(), cluster::get(api, name)).await
    }

    /// The same for a child of this owner: what is somebody else's is as good as none.
    pub async fn get_owned<K: Object + 'static>(
        &mut self,
        api: &Api<K>,
        name: &str,
        owner_uid: &str,
    ) -> Result<Option<K>, Problem> {
        let found = self.get(api, name).await?;
        Ok(found.filter(|found| names::belongs_to(found.meta().labels.as_ref(), owner_uid)))
    }

    /// What `read` finds under this name and place, unless it was read before. A failure is not kept.
    pub async fn once<T: Clone + Send + Sync + 'static>(
        &mut self,
        name: &str,
        place: &str,
        read: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let key = (name.to_owned(), place.to_owned());
        if let Some(known) = self.0.get(&key).and_then(|known| known.downcast_ref::<T>()) {
            return Ok(known.clone());
        }
        let found = read.await?;
        self.0.insert(key, Box::new(found.clone()));
        Ok(found)
    }

    /// Has everything of this name read again, whatever its kind: it was created, changed or deleted.
    pub fn forget(&mut self, name: &str) {
        self.0.retain(|(known, _), _| known != name);
    }

    /// Has everything read again.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::problem::Reason;

    async fn read(memo: &mut Memo, name: &str, place: &str, now: u8) -> u8 {
        memo.once(name, place, async { Ok(now) }).await.expect("it can be read")
    }

    #[tokio::test]
    async fn it_is_read_again_when_it_was_touched() {
        let mut memo = Memo::default();
        assert_eq!(read(&mut memo, "a", "claims", 1).await, 1);
        assert_eq!(read(&mut memo, "b", "claims", 2).await, 2);
        assert_eq!(read(&mut memo, "a", "jobs", 3).await, 3);
        assert_eq!(read(&mut memo, "a", "claims", 4).await, 1);
        memo.forget("a");
        assert_eq!(read(&mut memo, "a", "claims", 5).await, 5);
        assert_eq!(read(&mut memo, "a", "jobs", 6).await, 6);
        assert_eq!(read(&mut memo, "b", "claims", 7).await, 2);
        memo.clear();
        assert_eq!(read(&mut memo, "b", "claims", 8).await, 8);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let mut memo = Memo::default();
        let failed = memo.once::<u8>("a", "claims", async { Err(Problem::new(Reason::ClusterError, "no")) }).await;
        assert!(failed.is_err());
        assert_eq!(read(&mut memo, "a", "claims", 1).await, 1);
    }
}
