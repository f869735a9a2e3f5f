//! The overview for people.

use crate::{
    api::{backup::BackupPhase, common::Time},
    core::{
        follow::word,
        size::size,
        table::{age, ahead, table},
    },
};

use super::{BackupRow, ClaimRow, OrphanRow, Overview, QueueRow, RepositoryRow, RestoreRow};

impl Overview {
    /// Tables, and a summary at the end. `program` is what people call this program.
    pub fn text(&self, program: &str, now: Time) -> String {
        let mut parts = vec![];
        self.part(&mut parts, &["REPOSITORY", "PHASE", "BACKUPS", "REACHED", "STATUS"], &self.repositories, |row| {
            (row.namespace.as_deref(), repository(row, now))
        });
        let head = ["BACKUP", "CLAIMS", "REPOSITORY", "PHASE", "LAST GOOD", "NEXT RUN", "STATUS"];
        self.part(&mut parts, &head, &self.backups, |row| (Some(&row.namespace), backup(row, now)));
        let head = ["WAITS FOR A PLACE", "PLACE", "TURN", "SINCE", "STATUS"];
        self.part(&mut parts, &head, &self.queue, |row| (Some(&row.namespace), waiting(row, now)));
        let head = ["RESTORE", "FROM", "PHASE", "STEP", "DATA", "AGE", "STATUS"];
        self.part(&mut parts, &head, &self.restores, |row| (Some(&row.namespace), restore(row, now)));
        let head = ["NOT USED ANY MORE", "REPOSITORY", "SNAPSHOTS", "SIZE"];
        self.part(&mut parts, &head, &self.orphans, |row| (row.namespace.as_deref(), orphan(row)));
        let unprotected = self.unprotected.as_deref().unwrap_or_default();
        let head = ["NOT BACKED UP", "SIZE", "CLASS", "AGE"];
        self.part(&mut parts, &head, unprotected, |row| (Some(&row.namespace), claim(row, now)));
        parts.push(self.last_words(program));
        parts.join("\n")
    }

    /// A table of rows, with their namespace before them where it is not the same for all.
    fn part<'a, R>(
        &self,
        parts: &mut Vec<String>,
        head: &[&str],
        rows: &'a [R],
        cells: impl Fn(&'a R) -> (Option<&'a str>, Vec<String>),
    ) {
        if rows.is_empty() {
            return;
        }
        let all = self.namespace.is_none();
        let head: Vec<&str> = all.then_some("NAMESPACE").into_iter().chain(head.iter().copied()).collect();
        let row = |row| {
            let (namespace, cells) = cells(row);
            all.then(|| namespace.unwrap_or("-").to_owned()).into_iter().chain(cells).collect()
        };
        parts.push(table(&head, &rows.iter().map(row).collect::<Vec<_>>()));
    }

    fn last_words(&self, program: &str) -> String {
        let mut lines = vec![self.counts()];
        if self.unprotected.is_some() && self.not_counted > 0 {
            lines.push(format!(
                "Not counted: {} in {}, the operator's own namespace, or made by a run",
                number(self.not_counted, "claim", "claims"),
                self.operator_namespace
            ));
        }
        let asks = |asks: bool, object: String, namespace: Option<&str>| {
            let namespace = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
            asks.then(|| format!("To see and accept what it asks: {program} accept {object}{namespace}"))
        };
        lines.extend(
            self.repositories.iter().filter_map(|row| {
                asks(row.asks, format!("{}/{}", row.kind.as_str(), row.name), row.namespace.as_deref())
            }),
        );
        lines.extend(
            self.backups
                .iter()
                .filter_map(|row| asks(row.asks, format!("VolumeBackup/{}", row.name), Some(&row.namespace))),
        );
        lines.extend(self.unseen.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// How many of what, in one line.
    fn counts(&self) -> String {
        let place = self.namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
        let mut words = vec![format!("{}{place}", number(self.backups.len(), "VolumeBackup", "VolumeBackups"))];
        let wrong = self.backups.iter().filter(|row| !row.problems.is_empty()).count();
        if wrong > 0 {
            words.push(format!("{wrong} with a problem"));
        }
        if !self.queue.is_empty() {
            words.push(format!("{} waiting for a place", self.queue.len()));
        }
        if self.restores_in_all > 0 {
            let all = number(self.restores_in_all, "restore", "restores");
            words.push(format!("{} of {all} running", self.restores.len()));
        }
        match self.unprotected.as_deref() {
            None => {}
            Some([]) => words.push("no claim that nobody backs up".to_owned()),
            Some(rows) => words.push(format!("{} that nobody backs up", number(rows.len(), "claim", "claims"))),
        }
        words.join(", ")
    }
}

fn number(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn repository(row: &RepositoryRow, now: Time) -> Vec<String> {
    let phase = row.phase.map_or_else(|| "New".to_owned(), |phase| format!("{phase:?}"));
    let default = if row.default { " (default)" } else { "" };
    vec![
        format!("{}/{}{default}", row.kind.as_str(), row.name),
        phase,
        row.backups.to_string(),
        ago(row.last_reachable, now),
        row.problem.clone().unwrap_or_default(),
    ]
}

fn orphan(row: &OrphanRow) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        row.url.clone(),
        format!("{}/{}", row.repository.kind.as_str(), row.repository.name),
        or_none(row.snapshots.map(|count| count.to_string())),
        or_none(row.bytes.map(size)),
    ]
}

fn backup(row: &BackupRow, now: Time) -> Vec<String> {
    let places = row.repositories.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(",");
    let next = match row.next_run {
        Some(next) => ahead(next, now),
        None if row.by_hand => "by hand".to_owned(),
        None => "-".to_owned(),
    };
    // What happens goes first where it is why nothing can be wrong yet.
    let waits = matches!(row.phase, Some(BackupPhase::WaitingForClaim | BackupPhase::Suspended));
    let (first, then): (Vec<_>, Vec<_>) = if waits {
        (row.doing.iter().collect(), row.problems.iter().collect())
    } else {
        (row.problems.iter().collect(), row.doing.iter().collect())
    };
    let status = first.into_iter().chain(then).map(String::as_str).collect::<Vec<_>>().join("; ");
    vec![
        row.name.clone(),
        row.claims.join(","),
        if places.is_empty() { "-".to_owned() } else { places },
        word(row.phase),
        row.last_good.map_or_else(|| "never".to_owned(), |good| age(good, now)),
        next,
        status,
    ]
}

fn waiting(row: &QueueRow, now: Time) -> Vec<String> {
    vec![
        format!("{}/{}", row.kind, row.name),
        row.place.map_or_else(|| "-".to_owned(), |place| place.to_string()),
        row.turn.to_owned(),
        ago(row.since, now),
        row.message.clone(),
    ]
}

fn restore(row: &RestoreRow, now: Time) -> Vec<String> {
    vec![
        row.name.clone(),
        row.from.clone(),
        row.phase.map_or_else(|| "New".to_owned(), |phase| format!("{phase:?}")),
        format!("{} of {}", row.step, RestoreRow::STEPS),
        row.percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")),
        ago(row.started, now),
        row.message.clone(),
    ]
}

fn claim(row: &ClaimRow, now: Time) -> Vec<String> {
    vec![row.name.clone(), row.size.clone(), row.storage_class.clone(), ago(row.created, now)]
}

fn ago(time: Option<Time>, now: Time) -> String {
    time.map_or_else(|| "-".to_owned(), |time| age(time, now))
}
