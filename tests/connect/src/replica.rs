//! The state with its past, so that a request can be answered as a replica
//! that lags behind would answer it.

use crate::state::State;
use chrono::{DateTime, TimeDelta, Utc};
use std::{collections::VecDeque, sync::Arc};

/// How many past states are kept.
const KEPT: usize = 256;

/// The current state and those before it.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    current: Arc<State>,
    /// Newest last, each with the moment at which it ended.
    past: VecDeque<(DateTime<Utc>, Arc<State>)>,
}

impl Replica {
    /// The state as it is.
    pub(crate) fn current(&self) -> &Arc<State> {
        &self.current
    }

    /// Changes the state. An error changes nothing.
    pub(crate) fn change<T, E>(
        &mut self,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut next = State::clone(&self.current);
        let result = change(&mut next)?;
        let ended = std::mem::replace(&mut self.current, Arc::new(next));
        self.past.push_back((now, ended));
        if self.past.len() > KEPT {
            self.past.pop_front();
        }
        Ok(result)
    }

    /// Makes the current state the oldest one there is.
    pub(crate) fn forget(&mut self) {
        self.past.clear();
    }

    /// The state as it was the given number of changes ago, or the oldest.
    pub(crate) fn back(&self, changes: usize) -> Arc<State> {
        let index = self.past.len().saturating_sub(changes);
        self.past.get(index).map_or_else(|| Arc::clone(&self.current), |(_, state)| Arc::clone(state))
    }

    /// The state as it was a while ago, or the oldest.
    pub(crate) fn ago(&self, now: DateTime<Utc>, lag: TimeDelta) -> Arc<State> {
        self.past
            .iter()
            .find(|(ended, _)| *ended > now - lag)
            .map_or_else(|| Arc::clone(&self.current), |(_, state)| Arc::clone(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Change, VaultSpec};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    /// A replica that got a vault in each of the seconds 1, 2 and 3.
    fn replica() -> Replica {
        let mut replica = Replica::default();
        for second in 1..=3 {
            let change = Change { now: at(second), by: "SOMEONE", silent: false };
            replica.change(at(second), |state| state.create_vault(VaultSpec::default(), change).map(|_| ())).unwrap();
        }
        replica
    }

    #[test]
    fn the_past_can_be_seen() {
        let replica = replica();
        let vaults = |state: Arc<State>| state.vaults().count();
        assert_eq!([0, 1, 2, 3, 99].map(|n| vaults(replica.back(n))), [3, 2, 1, 0, 0]);
        let ago = |seconds| vaults(replica.ago(at(4), TimeDelta::seconds(seconds)));
        assert_eq!([0, 1, 2, 3, 4, 99].map(ago), [3, 3, 2, 1, 0, 0]);
    }

    #[test]
    fn an_error_changes_nothing() {
        let mut replica = replica();
        let result: Result<(), &str> = replica.change(at(9), |state| {
            let id = state.vaults().next().unwrap().id.clone();
            state.delete_vault(&id).unwrap();
            Err("no")
        });
        assert_eq!(result, Err("no"));
        assert_eq!(replica.current().vaults().count(), 3);
    }
}
