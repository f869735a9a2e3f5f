//! The snapshots of a `VolumeBackup` that its status knows, and the runs that were not good.

use std::{cmp::Reverse, fmt::Write};

use kube::ResourceExt;
use serde::Serialize;

use crate::{
    api::{
        backup::{RepositoryKey, RunRecord, RunResult, SnapshotRecord, VolumeBackup},
        common::{RepositoryKind, Time},
    },
    core::{
        names::short,
        size::size,
        table::{age, table},
    },
};

/// What a status knows of the past, newest first.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Namespace of the `VolumeBackup`.
    pub namespace: String,
    /// Name of the `VolumeBackup`.
    pub name: String,
    /// The newest good snapshots.
    pub snapshots: Vec<SnapshotRecord>,
    /// Those of the last runs that were not good.
    pub not_good: Vec<RunRecord>,
}

impl History {
    /// What the status knows.
    pub fn of(backup: &VolumeBackup) -> Self {
        let status = backup.status.clone().unwrap_or_default();
        let mut snapshots = status.snapshots;
        snapshots.sort_by_key(|snapshot| Reverse(snapshot.time));
        let mut not_good: Vec<RunRecord> =
            status.runs.into_iter().filter(|record| record.result != RunResult::Succeeded).collect();
        not_good.sort_by_key(|record| Reverse(record.time));
        Self { namespace: backup.namespace().unwrap_or_default(), name: backup.name_any(), snapshots, not_good }
    }

    /// For people, with how one is restored.
    pub fn text(&self, now: Time) -> String {
        let mut text = if self.snapshots.is_empty() {
            format!("VolumeBackup {}/{} has no good snapshot yet\n", self.namespace, self.name)
        } else {
            self.good(now)
        };
        if !self.not_good.is_empty() {
            text.push('\n');
            text.push_str(&self.bad(now));
        }
        if let Some(hint) = self.hint() {
            text.push('\n');
            text.push_str(&hint);
        }
        text
    }

    fn good(&self, now: Time) -> String {
        let row = |snapshot: &SnapshotRecord| {
            vec![
                short(&snapshot.id).to_owned(),
                snapshot.claim.clone(),
                snapshot.repository.name.clone(),
                shown(snapshot.time),
                age(snapshot.time, now),
                size(snapshot.bytes),
            ]
        };
        let rows: Vec<_> = self.snapshots.iter().map(row).collect();
        table(&["GOOD SNAPSHOT", "CLAIM", "REPOSITORY", "TIME", "AGE", "SIZE"], &rows)
    }

    fn bad(&self, now: Time) -> String {
        let row = |record: &RunRecord| {
            let snapshot = record.snapshot.as_deref().map_or("-", short);
            vec![
                record.result.as_str().to_owned(),
                snapshot.to_owned(),
                record.claim.clone(),
                record.repository.name.clone(),
                shown(record.time),
                age(record.time, now),
                record.message.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.not_good.iter().map(row).collect();
        table(&["NOT GOOD", "SNAPSHOT", "CLAIM", "REPOSITORY", "TIME", "AGE", "WHY"], &rows)
    }

    /// How the newest one is restored; for several claims by its time, since each has a snapshot of its own.
    fn hint(&self) -> Option<String> {
        let newest = self.snapshots.first()?;
        let claims = self.snapshots.iter().any(|other| other.claim != newest.claim);
        let which = if claims {
            format!("asOf: \"{}\"", shown(newest.time))
        } else {
            format!("snapshot: {}", short(&newest.id))
        };
        let repositories = self.snapshots.iter().any(|other| other.repository != newest.repository);
        let from = if repositories { format!(", {}", reference(&newest.repository)) } else { String::new() };
        let (namespace, name) = (&self.namespace, &self.name);
        let mut hint = String::from("The newest is restored by this; ");
        hint.push_str(if claims {
            "another time of the list goes into asOf"
        } else {
            "another id of the list does as well"
        });
        if self.not_good.iter().any(|record| record.snapshot.is_some()) {
            hint.push_str(", and one that is not good is restored only by its id");
        }
        let _ = write!(
            hint,
            ":\n\nkubectl create -f - <<'END'\napiVersion: strongroom.dev/v1alpha1\nkind: VolumeRestore\n\
             metadata: {{generateName: {name}-, namespace: {namespace}}}\n\
             spec: {{from: {{backup: {name}{from}}}, {which}}}\nEND\n"
        );
        Some(hint)
    }
}

fn reference(key: &RepositoryKey) -> String {
    match key.kind {
        RepositoryKind::ClusterResticRepository => format!("repositoryRef: {{name: {}}}", key.name),
        kind @ RepositoryKind::ResticRepository => {
            format!("repositoryRef: {{kind: {}, name: {}}}", kind.as_str(), key.name)
        }
    }
}

fn shown(time: Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn history(snapshots: &Value, runs: &Value) -> History {
        History::of(
            &serde_json::from_value(json!({
                "apiVersion": "strongroom.dev/v1alpha1", "kind": "VolumeBackup", "spec": {},
                "metadata": {"name": "radarr", "namespace": "media"}, "status": {"snapshots": snapshots, "runs": runs},
            }))
            .unwrap(),
        )
    }

    fn snapshot(id: &str, claim: &str, repository: &Value, hour: u32) -> Value {
        json!({
            "id": id.repeat(64 / id.len()), "claim": claim, "repository": repository,
            "time": format!("2026-09-24T{hour:02}:00:00Z"), "bytes": 5_000_000_000_i64,
        })
    }

    fn text(history: &History) -> String {
        history.text("2026-09-24T14:30:00Z".parse().unwrap())
    }

    #[test]
    fn what_is_there_and_how_it_is_restored() {
        let nas = json!({"kind": "ClusterResticRepository", "name": "nas"});
        let own = json!({"kind": "ResticRepository", "name": "offsite"});
        let run = |result: &str, snapshot: Option<&str>, message: &str| {
            json!({
                "id": "radarr-1", "claim": "radarr", "repository": nas, "result": result,
                "time": "2026-09-24T13:00:07Z", "message": message, "snapshot": snapshot,
            })
        };
        let one = json!([snapshot("12345678", "radarr", &nas, 11), snapshot("abcdef01", "radarr", &nas, 12)]);
        let runs = json!([
            run("Suspect", Some("feedbeef00"), "claim radarr had 12 files and now has 1"),
            run("Failed", None, "restic: no route"),
            run("Succeeded", Some("abcdef01"), ""),
        ]);
        let several = json!([
            snapshot("12345678", "data", &own, 12),
            snapshot("abcdef01", "media", &own, 12),
            snapshot("00112233", "data", &nas, 11),
        ]);
        let all = [(one, json!([])), (json!([]), runs.clone()), (several, runs), (json!([]), json!([]))];
        let texts = all.map(|(snapshots, runs)| text(&history(&snapshots, &runs)));
        insta::assert_snapshot!(texts.join("----\n"));
    }
}
