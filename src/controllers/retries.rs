//! How long an object waits that failed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::Resource;

use crate::core::{
    names,
    problem::{Class, Problem},
};

/// Namespace and name, for people.
pub(super) fn key<K: Resource>(object: &K) -> String {
    let namespace = object.meta().namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{namespace}{}", object.meta().name.as_deref().unwrap_or_default())
}

/// How often each object failed in a row.
#[derive(Default)]
pub(super) struct Retries(Mutex<HashMap<String, u32>>);

impl Retries {
    /// Forgets how often: it went well, or the object is gone.
    pub(super) fn reset(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// When to try again: by the problem's class, growing, and spread by the object's uid.
    pub(super) fn after<K: Resource>(&self, object: &K, problem: &Problem) -> Duration {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(key(object)).or_default();
        *count = (*count + 1).min(16);
        delay(problem.class(), *count, object.meta().uid.as_deref().unwrap_or_default())
    }
}

/// The delay before the `count`-th retry.
fn delay(class: Class, count: u32, seed: &str) -> Duration {
    let seconds = match class {
        Class::Transient => (1_u64 << (count - 1).min(8)).min(120),
        Class::Blocked => (5 * u64::from(count)).min(30),
        Class::Terminal => 3600,
    };
    let spread = u64::from(u16::from_str_radix(&names::hash(&[seed], 4), 16).unwrap_or_default()) % 200;
    Duration::from_millis(seconds * (900 + spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_grow_and_stay_bounded() {
        let seconds = |class, count| delay(class, count, "uid").as_secs();
        assert!(seconds(Class::Transient, 1) <= 1);
        assert!((100..=132).contains(&seconds(Class::Transient, 16)));
        assert!((27..=33).contains(&seconds(Class::Blocked, 16)));
        assert!(seconds(Class::Terminal, 1) >= 3240);
        assert_ne!(delay(Class::Terminal, 1, "a"), delay(Class::Terminal, 1, "b"));
    }
}
