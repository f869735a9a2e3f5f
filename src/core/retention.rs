//! Which snapshots go: restic's own rules, but only good snapshots count.

use std::collections::HashSet;

use chrono::{Datelike, Timelike};

use crate::{
    api::common::{Retention, Time},
    core::{
        restic::messages::Snapshot,
        task::{History, MaintainTask},
    },
};

/// Ids of the snapshots that go. Snapshots of no declared history stay.
///
/// As with restic's `forget`, each rule keeps the newest snapshot of so many hours, days and so on (in UTC), and the
/// oldest one as long as a rule has places left. Other than there, what is not good takes no place: it stays until
/// there is a newer good one. The newest good snapshot always stays.
pub fn expired(snapshots: &[Snapshot], task: &MaintainTask, now: Time) -> Vec<String> {
    let not_good: HashSet<&str> = task.not_good.iter().map(String::as_str).collect();
    let (mut members, mut kept) = (HashSet::new(), HashSet::new());
    for history in &task.histories {
        let of_history = newest_first(snapshots, history);
        kept.extend(keep(&of_history, &history.retention, &not_good, now));
        members.extend(of_history.iter().map(|snapshot| snapshot.id.as_str()));
    }
    let goes = |id: &&str| members.contains(id) && !kept.contains(id);
    snapshots.iter().map(|snapshot| snapshot.id.as_str()).filter(goes).map(str::to_owned).collect()
}

fn newest_first<'a>(snapshots: &'a [Snapshot], history: &History) -> Vec<&'a Snapshot> {
    let mut list: Vec<_> = snapshots.iter().filter(|snapshot| snapshot.is_of(&history.host, &history.path)).collect();
    list.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.id.cmp(&b.id)));
    list
}

/// Ids of what stays.
fn keep<'a>(list: &[&'a Snapshot], retention: &Retention, not_good: &HashSet<&str>, now: Time) -> HashSet<&'a str> {
    let good: Vec<_> = list.iter().filter(|snapshot| !not_good.contains(snapshot.id.as_str())).copied().collect();
    let Some(newest) = good.first() else { return ids(list.iter()) };
    if keeps_everything(retention) {
        return ids(list.iter());
    }
    let mut kept = ids(list.iter().take_while(|snapshot| snapshot.id != newest.id));
    kept.insert(&newest.id);
    kept.extend(ids(list.iter().filter(|snapshot| snapshot.tags.iter().any(|tag| retention.tags.contains(tag)))));
    if let Some(within) = retention.within.filter(|within| !within.as_std().is_zero()) {
        // A clock that was wrong must not make everything else look old.
        let latest = good.iter().map(|snapshot| snapshot.time).filter(|time| *time < now).max();
        let since = latest.and_then(|time| time.checked_sub_signed(within.as_chrono()));
        kept.extend(ids(good.iter().filter(|snapshot| since.is_none_or(|since| snapshot.time > since))));
    }
    let rules: [(Option<u32>, Period); 6] = [
        (retention.last, |_, index| (0, index)),
        (retention.hourly, |time, _| (time.year(), time.ordinal0() as usize * 24 + time.hour() as usize)),
        (retention.daily, |time, _| (time.year(), time.ordinal0() as usize)),
        (retention.weekly, |time, _| (time.iso_week().year(), time.iso_week().week() as usize)),
        (retention.monthly, |time, _| (time.year(), time.month() as usize)),
        (retention.yearly, |time, _| (time.year(), 0)),
    ];
    for (count, period) in rules {
        kept.extend(newest_of_each(&good, count.unwrap_or_default(), period));
    }
    kept
}

/// A rule of zero is no rule.
fn keeps_everything(retention: &Retention) -> bool {
    let Retention { last, hourly, daily, weekly, monthly, yearly, within, tags } = retention;
    [last, hourly, daily, weekly, monthly, yearly].iter().all(|count| count.unwrap_or_default() == 0)
        && within.is_none_or(|within| within.as_std().is_zero())
        && tags.is_empty()
}

/// The period that a snapshot belongs to, from its time and its place in the list.
type Period = fn(Time, usize) -> (i32, usize);

/// The newest snapshot of each of the newest `count` periods that have one. The oldest snapshot stays as long as
/// there are places left, which makes the history reach as far back as it can.
fn newest_of_each<'a>(good: &[&'a Snapshot], count: u32, period: Period) -> HashSet<&'a str> {
    let (mut kept, mut left, mut last) = (HashSet::new(), count, None);
    for (index, snapshot) in good.iter().enumerate() {
        let period = Some(period(snapshot.time, index));
        if left > 0 && (period != last || index + 1 == good.len()) {
            kept.insert(snapshot.id.as_str());
            last = period;
            left -= 1;
        }
    }
    kept
}

fn ids<'a: 'b, 'b>(snapshots: impl Iterator<Item = &'b &'a Snapshot>) -> HashSet<&'a str> {
    snapshots.map(|snapshot| snapshot.id.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    fn snapshot(id: usize, time: &str, tag: &str) -> Snapshot {
        Snapshot {
            id: id.to_string(),
            time: time.parse().unwrap(),
            hostname: "media".to_owned(),
            paths: vec!["/data/radarr".to_owned()],
            tags: vec![tag.to_owned()],
            summary: None,
        }
    }

    fn task(retention: Retention, not_good: &[&str]) -> MaintainTask {
        let history =
            History { host: "media".to_owned(), path: "/data/radarr".to_owned(), retention, ..History::default() };
        MaintainTask {
            histories: vec![history],
            not_good: not_good.iter().map(|&id| id.to_owned()).collect(),
            ..MaintainTask::default()
        }
    }

    fn now() -> Time {
        "2027-01-01T00:00:00Z".parse().unwrap()
    }

    /// Which ids stay.
    fn stay(list: &[Snapshot], task: &MaintainTask) -> Vec<String> {
        let gone = expired(list, task, now());
        list.iter().map(|snapshot| snapshot.id.clone()).filter(|id| !gone.contains(id)).collect()
    }

    #[test]
    fn each_rule() {
        let list: Vec<_> = [
            "2026-11-23T12:30:00Z",
            "2026-11-23T12:10:00Z",
            "2026-11-23T11:00:00Z",
            "2026-11-22T10:00:00Z",
            "2026-11-16T10:00:00Z",
            "2026-10-31T10:00:00Z",
            "2025-12-31T10:00:00Z",
            "2025-12-30T10:00:00Z",
        ]
        .iter()
        .enumerate()
        .map(|(id, time)| snapshot(id, time, if id == 4 { "pinned" } else { "" }))
        .collect();
        let none = Retention::default;
        for (retention, expected) in [
            (none(), "0 1 2 3 4 5 6 7"),
            (Retention { last: Some(0), ..none() }, "0 1 2 3 4 5 6 7"),
            (Retention { last: Some(2), ..none() }, "0 1"),
            (Retention { hourly: Some(2), ..none() }, "0 2"),
            (Retention { daily: Some(2), ..none() }, "0 3"),
            (Retention { weekly: Some(2), ..none() }, "0 3"),
            (Retention { monthly: Some(2), ..none() }, "0 5"),
            (Retention { yearly: Some(2), ..none() }, "0 6"),
            (Retention { yearly: Some(3), ..none() }, "0 6 7"),
            (Retention { within: Some("24h".parse().unwrap()), ..none() }, "0 1 2"),
            (Retention { tags: vec!["pinned".to_owned()], ..none() }, "0 4"),
        ] {
            assert_eq!(stay(&list, &task(retention.clone(), &[])).join(" "), expected, "{retention:?}");
        }
    }

    #[test]
    fn only_good_ones_count() {
        let list: Vec<_> = (0..5).map(|id| snapshot(id, &format!("2026-11-2{}T00:00:00Z", 9 - id), "")).collect();
        let last_two = |not_good| stay(&list, &task(Retention { last: Some(2), ..Retention::default() }, not_good));
        assert_eq!(last_two(&[]), ["0", "1"]);
        assert_eq!(last_two(&["0"]), ["0", "1", "2"], "newer than every good one");
        assert_eq!(last_two(&["1"]), ["0", "2"], "older than a good one");
        assert_eq!(last_two(&["0", "1", "2", "3", "4"]), ["0", "1", "2", "3", "4"], "nothing is good");
    }

    #[test]
    fn other_histories_stay() {
        let mut list: Vec<_> = (0..4).map(|id| snapshot(id, &format!("2026-11-2{}T00:00:00Z", 9 - id), "")).collect();
        list[1].hostname = "other".to_owned();
        list[2].paths.push("/more".to_owned());
        let one = Retention { last: Some(1), ..Retention::default() };
        assert_eq!(stay(&list, &task(one.clone(), &[])), ["0", "1", "2"]);
        let mut twice = task(one, &[]);
        twice.histories.push(task(Retention { last: Some(2), ..Retention::default() }, &[]).histories.remove(0));
        assert_eq!(stay(&list, &twice), ["0", "1", "2", "3"], "declared twice: what either keeps stays");
    }

    proptest! {
        #[test]
        fn the_newest_good_one_stays(
            hours in prop::collection::vec(0_i64..20_000, 1..30),
            bad in prop::collection::vec(any::<bool>(), 30),
            counts in prop::array::uniform6(prop::option::of(0_u32..4)),
            within in prop::option::of(0_u64..1000),
        ) {
            let start: Time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            let list: Vec<_> = hours.iter().enumerate().map(|(id, hour)| {
                let mut one = snapshot(id, "2026-01-01T00:00:00Z", "");
                one.time = start + TimeDelta::hours(*hour);
                one
            }).collect();
            let [last, hourly, daily, weekly, monthly, yearly] = counts;
            let within = within.map(|hours| crate::api::common::Duration::from_secs(hours * 3600));
            let retention = Retention { last, hourly, daily, weekly, monthly, yearly, within, tags: vec![] };
            let not_good: Vec<_> = list.iter().filter(|s| bad[s.id.parse::<usize>().unwrap()]).map(|s| s.id.as_str()).collect();
            let mut task = task(retention, &not_good);
            let gone = expired(&list, &task, now());
            let newest = list.iter().filter(|s| !not_good.contains(&s.id.as_str())).max_by_key(|s| s.time);
            if let Some(newest) = newest {
                let stays = list.iter().any(|s| s.time == newest.time && !gone.contains(&s.id));
                prop_assert!(stays);
            } else {
                prop_assert!(gone.is_empty());
            }
            // What was kept once is kept again: forgetting twice forgets nothing more.
            let left: Vec<_> = list.iter().filter(|s| !gone.contains(&s.id)).cloned().collect();
            task.not_good.retain(|id| left.iter().any(|s| s.id == *id));
            prop_assert_eq!(expired(&left, &task, now()), Vec::<String>::new());
        }
    }
}
