//! Looks for changes that users ask for: one serves all who ask in the same words, and none makes a server that fails be
//! asked more often than it can bear.

use std::{collections::BTreeMap, time::Duration};

use crate::core::backoff::BACKOFF;

/// So long after a wish the same words, of another object, are the same wish.
const SAME: Duration = Duration::from_secs(10);
/// Wishes that are remembered while a server fails.
const MOST: usize = 10_000;

/// What was wished. Times are durations since some fixed moment.
#[derive(Debug, Default)]
pub struct Wishes(BTreeMap<String, Wish>);

#[derive(Debug)]
struct Wish {
    /// The look that answers it.
    look: u64,
    at: Duration,
}

/// What is known of a server's looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// How many have ended.
    pub ended: u64,
    /// Whether one goes on.
    pub looking: bool,
    /// Whether the last one failed.
    pub failing: bool,
    /// When the last one ended.
    pub ended_at: Duration,
    /// Before when the server asks not to be asked.
    pub not_before: Option<Duration>,
}

impl Wishes {
    /// Takes a wish: the number of the look that answers it, and whether that has to be started.
    pub fn ask(&mut self, words: &str, looks: &Looks, now: Duration) -> (u64, bool) {
        if let Some(known) = self.0.get(words) {
            let is_same = looks.failing || now.saturating_sub(known.at) < SAME;
            if known.look > looks.ended || is_same {
                return (known.look, false);
            }
        }
        let is_over = |wish: &Wish| wish.look <= looks.ended && now.saturating_sub(wish.at) >= SAME;
        if !looks.failing || self.0.len() >= MOST {
            self.0.retain(|_, wish| !is_over(wish));
        }
        // What was seen just now is the answer to who asks a failing server again.
        let too_soon = looks.not_before.is_some_and(|at| now < at) || now < looks.ended_at + BACKOFF.0;
        let answered = looks.failing && too_soon;
        // A look that goes on may have read before now.
        let look = if answered { looks.ended } else { looks.ended + 1 + u64::from(looks.looking) };
        self.0.insert(words.to_owned(), Wish { look, at: now });
        (look, !answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn those_who_ask_together_share_one_look_at_once() {
        let (mut wishes, mut looks) = (Wishes::default(), Looks { ended: 7, ..Looks::default() });
        assert_eq!(wishes.ask("a", &looks, secs(100)), (8, true));
        assert_eq!(wishes.ask("a", &looks, secs(100)), (8, false));
        looks.looking = true;
        assert_eq!(wishes.ask("b", &looks, secs(101)), (9, true), "the one that goes on may have read before");
        looks = Looks { ended: 9, ended_at: secs(102), ..Looks::default() };
        assert_eq!(wishes.ask("a", &looks, secs(105)), (8, false));
        // The same words much later are another wish.
        assert_eq!(wishes.ask("a", &looks, secs(111)), (10, true));
    }

    #[test]
    fn a_server_that_fails_is_asked_once_for_a_wish() {
        let mut wishes = Wishes::default();
        let mut looks = Looks { ended: 3, failing: true, ended_at: secs(100), ..Looks::default() };
        assert_eq!(wishes.ask("soon", &looks, secs(102)), (3, false), "the last look is the answer");
        assert_eq!(wishes.ask("a", &looks, secs(110)), (4, true));
        looks = Looks { ended: 4, ended_at: secs(110), ..looks };
        for seconds in [111, 200, 2000] {
            assert_eq!(wishes.ask("a", &looks, secs(seconds)), (4, false));
            assert_eq!(wishes.ask("soon", &looks, secs(seconds)), (3, false));
        }
        looks.not_before = Some(secs(3000));
        assert_eq!(wishes.ask("b", &looks, secs(2001)), (4, false), "it asks for more time");
        looks = Looks { ended: 5, failing: false, ended_at: secs(3001), ..Looks::default() };
        assert_eq!(wishes.ask("a", &looks, secs(3002)), (6, true));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut wishes = Wishes::default();
        let mut looks = Looks::default();
        for number in 0..3 {
            wishes.ask(&number.to_string(), &looks, secs(100));
        }
        looks.ended = 9;
        wishes.ask("x", &looks, secs(120));
        assert_eq!(wishes.0.len(), 1);
    }
}
