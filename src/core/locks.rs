//! Locks of others in a repository: whose they are, and when someone has them removed.
//!
//! restic itself removes what was not renewed for 30 minutes. Who cannot wait for that accepts those that the message
//! names, with their owners. An owner that is alive renews its lock every five minutes, and a lock that was renewed is
//! another one, which nobody accepted; within those five minutes it is for whoever accepts to know that it is dead.

use chrono::SecondsFormat;

use crate::{
    api::repository::Lock,
    core::{answer, restic::messages},
};

/// What the id begins with that accepts the removal of locks; their ids follow.
const UNLOCK: &str = "unlock";
/// So many characters of an id are shown, and are enough to know a lock by.
const SHORT: usize = 8;
/// So many bytes of a host's or a user's name are told.
const LONGEST: usize = 64;
/// More locks than this are not told of.
pub const TOLD: usize = 8;

/// A lock as it is told of.
pub fn of(id: &str, lock: messages::Lock) -> Lock {
    Lock {
        id: id.get(..SHORT).unwrap_or(id).to_owned(),
        host: shortened(lock.hostname),
        user: shortened(lock.username),
        process: lock.pid,
        exclusive: lock.exclusive,
        since: lock.time,
    }
}

/// Whoever made the lock may have written anything: it has to fit into an answer.
fn shortened(mut text: String) -> String {
    answer::cut(&mut text, LONGEST);
    text
}

/// The locks whose removal someone accepted, by the annotation's value.
pub fn accepted(value: Option<&String>) -> Vec<String> {
    let ids = value.and_then(|value| value.strip_prefix(UNLOCK)?.strip_prefix('-'));
    ids.map(|ids| ids.split('-').map(str::to_owned).collect()).unwrap_or_default()
}

/// Whether an id that is asked to be accepted is that of locks.
pub fn is_of_locks(id: &str) -> bool {
    !accepted(Some(&id.to_owned())).is_empty()
}

/// Whether there are locks, and all of them are among those that someone accepted.
pub fn may_go(there: &[String], accepted: &[String]) -> bool {
    let is_accepted = |id: &String| accepted.iter().any(|of| of.len() == SHORT && id.starts_with(of.as_str()));
    !there.is_empty() && there.iter().all(is_accepted)
}

/// What someone can do about locks that are in the way. `command` makes the command that accepts an id.
pub fn ask(locks: &[Lock], command: impl Fn(&str) -> String) -> Option<String> {
    let ids = locks.iter().map(|lock| lock.id.as_str()).collect::<Vec<_>>().join("-");
    let owners = locks.iter().map(owner).collect::<Vec<_>>().join("; ");
    (!locks.is_empty()).then(|| {
        format!(
            "the repository is locked by {owners}. An owner that is alive removes its lock when it is done; the lock of a \
             dead one goes when it is 30 minutes old. If you know that it is dead, the next run removes it, unless it was \
             renewed meanwhile: {}",
            command(&format!("{UNLOCK}-{ids}"))
        )
    })
}

fn owner(lock: &Lock) -> String {
    let alone = if lock.exclusive { ", which lets no other work" } else { "" };
    let since = lock.since.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{} on {} (process {}), renewed at {since}{alone}", lock.user, lock.host, lock.process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(id: &str, exclusive: bool) -> Lock {
        let told = format!(
            r#"{{"time":"2026-11-23T13:16:43.123+01:00","exclusive":{exclusive},"hostname":"laptop","username":"root","pid":6800,"uid":0,"gid":0}}"#
        );
        of(id, serde_json::from_str(&told).unwrap())
    }

    #[test]
    fn what_is_asked_is_read_back() {
        let locks = [lock(&"0ef4cb6f".repeat(8), false), lock(&"1a2b3c4d".repeat(8), true)];
        let asked = ask(&locks, |id| format!("accept {id}")).unwrap();
        insta::assert_snapshot!(asked);
        let (_, id) = asked.rsplit_once("accept ").unwrap();
        assert!(is_of_locks(id));
        assert_eq!(accepted(Some(&id.to_owned())), ["0ef4cb6f", "1a2b3c4d"]);
        assert_eq!(ask(&[], str::to_owned), None);
    }

    #[test]
    fn only_what_was_accepted_goes_and_only_if_that_is_all() {
        let there = ["0ef4cb6f".repeat(8), "1a2b3c4d".repeat(8)];
        let ids = |value: &str| accepted(Some(&value.to_owned()));
        assert!(may_go(&there, &ids("unlock-0ef4cb6f-1a2b3c4d")));
        assert!(may_go(&there[..1], &ids("unlock-0ef4cb6f-1a2b3c4d")), "one is gone by itself");
        assert!(!may_go(&there, &ids("unlock-0ef4cb6f")));
        assert!(!may_go(&[], &ids("unlock-0ef4cb6f")));
        for other in ["", "unlock", "unlock-", "unlock-0", "0ef4cb6f", "written-until-2026-11-23T13:16:43Z"] {
            assert!(!may_go(&there[..1], &ids(other)), "{other}");
            assert!(!may_go(&there[..1], &accepted(None)));
        }
    }
}
