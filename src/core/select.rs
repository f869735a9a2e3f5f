//! Which snapshot is restored.

use std::cmp::Reverse;

use crate::{
    api::common::Time,
    core::{
        restic::messages::Snapshot,
        task::{BackupVolume, Failure, FailureKind, Resolved, Selection},
    },
};

/// The shortest beginning of an id.
const SHORTEST_ID: usize = 8;
/// How many snapshots a message lists.
const LISTED: usize = 6;

/// The snapshot of a volume's history that a selection means.
///
/// By default the newest good one. Times are compared in whole seconds, as a status shows them: a snapshot whose time
/// is copied from there is found. Those that are not good are found by their id only.
pub fn choose(
    snapshots: &[Snapshot],
    volume: &BackupVolume,
    selection: &Selection,
    not_good: &[String],
) -> Result<Resolved, Failure> {
    let mut history: Vec<&Snapshot> =
        snapshots.iter().filter(|snapshot| snapshot.is_of(&volume.host, &volume.path)).collect();
    history.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.id.cmp(&b.id)));
    let found = if let Some(id) = &selection.id {
        by_id(&history, id)
    } else {
        let good: Vec<_> = history.iter().copied().filter(|snapshot| !not_good.contains(&snapshot.id)).collect();
        by_time(&good, selection)
    };
    found.map(|snapshot| resolved(volume, snapshot)).map_err(|what| {
        let there = match history.len() {
            0 => "the repository has none of them at all".to_owned(),
            count => format!("the repository has {count}: {}", listed(&history, selection.as_of, not_good)),
        };
        let of = format!("host {} and path {}", volume.host, volume.path);
        Failure { kind: FailureKind::NoSnapshot, message: format!("no snapshot of {of} {what}; {there}") }
    })
}

fn by_id<'a>(history: &[&'a Snapshot], id: &str) -> Result<&'a Snapshot, String> {
    let id = id.to_ascii_lowercase();
    if id.len() < SHORTEST_ID {
        return Err(format!("can be told by {id}: at least {SHORTEST_ID} characters of the id are needed"));
    }
    let mut matching = history.iter().filter(|snapshot| snapshot.id.starts_with(&id));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(format!("is meant by {id} alone: several ids begin so")),
        (None, _) => Err(format!("has the id {id}")),
    }
}

fn by_time<'a>(good: &[&'a Snapshot], selection: &Selection) -> Result<&'a Snapshot, String> {
    let within = |time: Time| selection.as_of.is_none_or(|as_of| time.timestamp() <= as_of.timestamp());
    let mut old_enough = good.iter().filter(|snapshot| within(snapshot.time));
    old_enough.nth(selection.previous as usize).copied().ok_or_else(|| {
        let before = match selection.previous {
            0 => String::new(),
            previous => format!(", {previous} before the newest"),
        };
        match selection.as_of {
            Some(time) => format!("is good and from {} or earlier{before}", shown(time)),
            None => format!("is good{before}"),
        }
    })
}

fn resolved(volume: &BackupVolume, snapshot: &Snapshot) -> Resolved {
    Resolved {
        claim: volume.claim.clone(),
        snapshot: snapshot.id.clone(),
        time: whole_seconds(snapshot.time),
        files: snapshot.summary.as_ref().map(|summary| summary.total_files_processed),
        bytes: snapshot.summary.as_ref().map(|summary| summary.total_bytes_processed),
    }
}

/// The snapshots nearest to the wanted time (or the newest), newest first.
fn listed(history: &[&Snapshot], wanted: Option<Time>, not_good: &[String]) -> String {
    let mut nearest = history.to_vec();
    if let Some(wanted) = wanted {
        nearest.sort_by_key(|snapshot| (snapshot.time - wanted).abs());
    }
    nearest.truncate(LISTED);
    nearest.sort_by_key(|snapshot| Reverse(snapshot.time));
    let one = |snapshot: &&Snapshot| {
        let bad = if not_good.contains(&snapshot.id) { " (not good)" } else { "" };
        format!("{} {}{bad}", shown(snapshot.time), snapshot.short_id())
    };
    let list = nearest.iter().map(one).collect::<Vec<_>>().join(", ");
    if history.len() > LISTED { format!("{list}, …") } else { list }
}

fn whole_seconds(time: Time) -> Time {
    chrono::DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

fn shown(time: Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::restic::messages::SnapshotSummary;

    fn history() -> Vec<Snapshot> {
        let one = |id: &str, time: &str| Snapshot {
            id: id.repeat(8),
            time: time.parse().unwrap(),
            hostname: "media".to_owned(),
            paths: vec!["/data/radarr".to_owned()],
            tags: vec![],
            summary: Some(SnapshotSummary { total_files_processed: 3, total_bytes_processed: 42 }),
        };
        let mut other = one("0000eeee", "2026-11-30T00:00:00Z");
        other.hostname = "other".to_owned();
        let several = Snapshot {
            paths: vec!["/data/radarr".to_owned(), "/x".to_owned()],
            ..one("0000ffff", "2026-11-29T00:00:00Z")
        };
        vec![
            one("aaaaaaaa", "2026-11-20T10:00:00.7Z"),
            one("bbbbbbbb", "2026-11-21T10:00:00.2Z"),
            one("cccccccc", "2026-11-22T11:00:00.5+01:00"),
            one("dddddddd", "2026-11-23T10:00:00Z"),
            one("bbbbbbbbcccc", "2026-11-01T10:00:00Z"),
            other,
            several,
        ]
    }

    fn select(selection: &Selection) -> Result<Resolved, Failure> {
        let volume =
            BackupVolume { claim: "radarr".to_owned(), host: "media".to_owned(), path: "/data/radarr".to_owned() };
        choose(&history(), &volume, selection, &["dddddddd".repeat(8)])
    }

    fn found(selection: &Selection) -> String {
        select(selection).map_or_else(|failure| failure.message, |found| found.snapshot[..8].to_owned())
    }

    fn as_of(time: &str, previous: u32) -> Selection {
        Selection { id: None, as_of: Some(time.parse().unwrap()), previous }
    }

    #[test]
    fn borders() {
        for (selection, id) in [
            (Selection::default(), "cccccccc"),
            (Selection { previous: 1, ..Selection::default() }, "bbbbbbbb"),
            (Selection { previous: 3, ..Selection::default() }, "bbbbbbbb"),
            (as_of("2026-11-22T09:59:59Z", 0), "bbbbbbbb"),
            (as_of("2026-11-22T10:00:00Z", 0), "cccccccc"),
            (as_of("2026-11-22T10:00:01Z", 0), "cccccccc"),
            (as_of("2026-11-22T10:00:00Z", 2), "aaaaaaaa"),
            (as_of("2026-11-20T10:00:00Z", 0), "aaaaaaaa"),
            (as_of("2099-01-01T00:00:00Z", 0), "cccccccc"),
            (Selection { id: Some("dddddddd".to_owned()), ..Selection::default() }, "dddddddd"),
            (Selection { id: Some("AAAAaaaaA".to_owned()), ..Selection::default() }, "aaaaaaaa"),
            (Selection { id: Some("bbbbbbbbc".to_owned()), ..Selection::default() }, "bbbbbbbb"),
        ] {
            assert_eq!(found(&selection), id, "{selection:?}");
        }
        insta::assert_yaml_snapshot!(select(&Selection::default()).unwrap());
    }

    #[test]
    fn messages() {
        let id = |id: &str| Selection { id: Some(id.to_owned()), ..Selection::default() };
        insta::assert_snapshot!(
            [
                Selection { previous: 4, ..Selection::default() },
                as_of("2026-10-31T00:00:00Z", 0),
                as_of("2026-11-20T10:00:00Z", 2),
                id("eeeeeeee"),
                id("0000eeee"),
                id("0000ffff"),
                id("bbbbbbbb"),
                id("aaaa"),
            ]
            .iter()
            .map(found)
            .collect::<Vec<_>>()
            .join("\n")
        );
        let nowhere = BackupVolume { claim: "x".to_owned(), host: "x".to_owned(), path: "/x".to_owned() };
        let failure = choose(&history(), &nowhere, &Selection::default(), &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NoSnapshot);
        assert_eq!(
            failure.message,
            "no snapshot of host x and path /x is good; the repository has none of them at all"
        );
    }
}
