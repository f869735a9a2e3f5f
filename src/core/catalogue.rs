//! What the base says of the repositories beside it: what is backed up where, and which snapshots do not count as good.
//! A cluster that knows nothing else, and a person with restic alone, can read it.
//!
//! Each statement is a snapshot of the base with a small file in it, and tags that say the same. None is ever changed:
//! of two about one snapshot, the newer one holds. So a server that lets one only append will do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    api::common::Time,
    core::{
        restic::messages::Snapshot,
        task::{BackedUp, BackupTask, Place},
    },
};

/// The folder of what is stated: no volume's snapshots have such a path.
const FOLDER: &str = "/strongroom/catalogue";
/// Tag of a statement on where a claim is backed up.
const PLACE: &str = "place";
/// Tag of a statement that a snapshot does not count as good.
pub const NOT_GOOD: &str = "not-good";
/// Tag of a statement that it does after all.
pub const ACCEPTED: &str = "accepted";
/// Tag that names the snapshot: `snapshot=<id>`.
const SNAPSHOT: &str = "snapshot=";

/// A statement, as it is stored.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Statement {
    /// Host of the snapshot that holds it: that of the snapshots that it is about.
    pub host: String,
    /// Where the file is in it.
    pub file: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The file.
    pub text: String,
}

/// States where a claim is backed up.
pub fn place(place: &Place) -> Statement {
    Statement {
        host: place.host.clone(),
        file: format!("{FOLDER}/{}/{}/{}", place.namespace, place.name, place.claim),
        tags: vec![PLACE.to_owned(), tag("url", &place.url), tag("path", &place.path)],
        text: serde_json::to_string_pretty(place).unwrap_or_default() + "\n",
    }
}

/// States that a snapshot of a host does not count as good, or ([`ACCEPTED`]) that it does after all.
pub fn verdict(word: &str, host: &str, snapshot: &str) -> Statement {
    Statement {
        host: host.to_owned(),
        file: format!("{FOLDER}/{word}"),
        tags: vec![word.to_owned(), format!("{SNAPSHOT}{snapshot}")],
        text: format!("{word} {snapshot}\n"),
    }
}

/// What is to be stated after a backup; nothing in the usual case.
pub fn of_run(task: &BackupTask, volumes: &[BackedUp]) -> Vec<Statement> {
    let host = |claim: &str| {
        let volume = task.volumes.iter().find(|volume| volume.claim == claim).or_else(|| task.volumes.first());
        volume.map_or("", |volume| &volume.host)
    };
    let is_bad = |volume: &BackedUp| {
        let guard = task.guards.iter().find(|guard| guard.claim == volume.claim);
        volume.unread > 0
            || volume.failure.is_some()
            || guard.is_some_and(|guard| guard.is_shrunk(volume.files, volume.bytes))
    };
    let word = |good| if good { ACCEPTED } else { NOT_GOOD };
    let older = task.verdicts.iter().map(|of| verdict(word(of.good), host(""), &of.snapshot));
    // Where nothing had changed, the snapshot is an older one, of which all is said.
    let new = volumes.iter().filter(|volume| !volume.unchanged && is_bad(volume));
    let bad = new.filter_map(|volume| Some(verdict(NOT_GOOD, host(&volume.claim), volume.snapshot.as_deref()?)));
    let stored = |place: &&Place| volumes.iter().any(|of| of.claim == place.claim && of.snapshot.is_some());
    older.chain(bad).chain(task.places.iter().filter(stored).map(place)).collect()
}

/// The snapshots that do not count as good: those that the status says so of, and those of which these statements do,
/// save those that were accepted since.
pub fn not_good(status: &[String], stated: &[Snapshot], accepted: &[String]) -> Vec<String> {
    let mut newest: BTreeMap<&str, (Time, bool)> = BTreeMap::new();
    for statement in stated {
        let bad = statement.has_tag(NOT_GOOD);
        let Some(snapshot) = statement.tag(SNAPSHOT).filter(|_| bad || statement.has_tag(ACCEPTED)) else { continue };
        let known = newest.entry(snapshot).or_insert((statement.time, bad));
        if statement.time > known.0 {
            *known = (statement.time, bad);
        }
    }
    let stated = newest.into_iter().filter(|(_, (_, bad))| *bad).map(|(snapshot, _)| snapshot);
    let mut all: Vec<String> = stated.map(str::to_owned).filter(|snapshot| !accepted.contains(snapshot)).collect();
    all.extend_from_slice(status);
    all.sort_unstable();
    all.dedup();
    all
}

/// restic takes a comma for the end of a tag.
fn tag(name: &str, value: &str) -> String {
    format!("{name}={}", value.replace('%', "%25").replace(',', "%2C"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_stored() {
        let at = Place {
            namespace: "media".to_owned(),
            name: "radarr".to_owned(),
            claim: "config".to_owned(),
            url: "rest:http://nas:8000/a,b/100%/".to_owned(),
            host: "media".to_owned(),
            path: "/data/config".to_owned(),
        };
        insta::assert_yaml_snapshot!([
            place(&at),
            verdict(NOT_GOOD, "media", "0a1b"),
            verdict(ACCEPTED, "media", "0a1b")
        ]);
    }

    #[test]
    fn the_newest_statement_holds() {
        let statement = |minute: u32, tags: [&str; 2]| -> Snapshot {
            let time = format!("2026-11-27T12:{minute:02}:00Z");
            serde_json::from_value(
                json!({"id": "s", "time": time, "hostname": "media", "paths": ["/strongroom"], "tags": tags}),
            )
            .unwrap()
        };
        let stated = [
            statement(1, ["not-good", "snapshot=a"]),
            statement(3, ["accepted", "snapshot=a"]),
            // They come in no order.
            statement(5, ["not-good", "snapshot=b"]),
            statement(4, ["accepted", "snapshot=b"]),
            statement(6, ["not-good", "snapshot=c"]),
            // What is something else says nothing.
            statement(7, ["accepted", "run=c"]),
            statement(7, ["place", "snapshot=c"]),
        ];
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
        assert_eq!(not_good(&[], &stated, &[]), ids(&["b", "c"]));
        // The status knows what was accepted since.
        assert_eq!(not_good(&ids(&["d", "b"]), &stated, &ids(&["c"])), ids(&["b", "d"]));
        assert_eq!(not_good(&ids(&["d"]), &[], &[]), ids(&["d"]));
    }
}
