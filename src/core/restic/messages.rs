//! What restic prints with `--json`.

use serde::Deserialize;

use crate::api::{backup::Progress, common::Time};

/// A line of `backup`, `restore` or `init`. Both commands use the same words for what they count.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub enum Line {
    /// How far it is.
    Status(Status),
    /// What was done. A backup that stored nothing new has no snapshot id.
    Summary(Summary),
    /// An item that could not be read or written.
    Error(ItemError),
    /// Why it ended.
    ExitError {
        /// The exit code.
        code: i32,
        /// restic's words.
        message: String,
    },
    /// A repository was created.
    Initialized {
        /// Its id.
        id: String,
    },
    /// Anything else.
    #[serde(other)]
    Other,
}

impl Line {
    /// A line of output, where it is such a message.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// How far a backup or restore is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Status {
    seconds_remaining: Option<i64>,
    percent_done: f64,
    total_files: i64,
    #[serde(alias = "files_restored")]
    files_done: i64,
    total_bytes: i64,
    #[serde(alias = "bytes_restored")]
    bytes_done: i64,
}

impl Status {
    /// The same in the API's words.
    pub fn progress(&self) -> Progress {
        #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
        let percent = (self.percent_done.clamp(0.0, 1.0) * 100.0) as i64;
        Progress {
            percent,
            files_done: self.files_done,
            files_total: self.total_files,
            bytes_done: self.bytes_done,
            bytes_total: self.total_bytes,
            seconds_left: self.seconds_remaining,
        }
    }
}

/// What a backup or restore did.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Summary {
    /// The snapshot of a backup, in full; none where nothing had changed.
    pub snapshot_id: Option<String>,
    /// Files that a backup saw.
    pub total_files_processed: i64,
    /// Bytes that a backup saw.
    pub total_bytes_processed: i64,
    /// Bytes that a backup added to the repository, compressed.
    pub data_added_packed: i64,
    /// Bytes that a restore wrote or found in place.
    pub total_bytes: i64,
    /// Errors that a check found.
    pub num_errors: i64,
}

/// An item that could not be read or written; or, of a check, what is wrong.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ItemError {
    /// The path.
    pub item: String,
    /// Why.
    pub error: ErrorText,
    /// What a check says.
    pub message: String,
}

/// restic's words.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct ErrorText {
    /// The words.
    pub message: String,
}

/// A snapshot, as `snapshots` lists it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id, in full.
    pub id: String,
    /// When the backup started.
    pub time: Time,
    /// Host.
    pub hostname: String,
    /// Paths.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What the backup saw; from restic 0.17 on.
    pub summary: Option<SnapshotSummary>,
}

impl Snapshot {
    /// Whether it belongs to the history of a host and a path.
    pub fn is_of(&self, host: &str, path: &str) -> bool {
        self.hostname == host && matches!(self.paths.as_slice(), [only] if only == path)
    }

    /// The first eight characters of the id, as restic shows it.
    pub fn short_id(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    /// Whether it has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|of| of == tag)
    }

    /// The rest of the first tag that begins so.
    pub fn tag(&self, prefix: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(prefix))
    }
}

/// What the backup of a snapshot saw.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Files.
    pub total_files_processed: i64,
    /// Bytes.
    pub total_bytes_processed: i64,
}

/// A repository's config, of which only the id is of interest.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Config {
    /// The id.
    pub id: String,
}

/// A lock.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Lock {
    /// When it was made, or last renewed.
    pub time: Time,
    /// Whether it lets no other work.
    #[serde(default)]
    pub exclusive: bool,
    /// Host name of the process that made it.
    #[serde(default)]
    pub hostname: String,
    /// Its user.
    #[serde(default)]
    pub username: String,
    /// Its number.
    #[serde(default)]
    pub pid: i64,
}

/// What `stats` counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Stats {
    /// Bytes.
    pub total_size: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let lines = [
            r#"{"message_type":"status","seconds_elapsed":2,"seconds_remaining":8,"percent_done":0.1989,"total_files":1,"total_bytes":419430400,"bytes_done":83426444}"#,
            r#"{"message_type":"status","percent_done":0.5,"total_files":4,"files_restored":2,"total_bytes":8,"bytes_restored":4}"#,
            r#"{"message_type":"summary","files_new":5,"total_files_processed":5,"total_bytes_processed":10,"data_added":3013,"data_added_packed":1322,"snapshot_id":"d7783115"}"#,
            r#"{"message_type":"error","error":{"message":"open a: permission denied"},"during":"archival","item":"/data/a"}"#,
            r#"{"message_type":"error","message":"pack f3b322a8: does not exist\n"}"#,
            r#"{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}"#,
            r#"{"message_type":"initialized","id":"3f5d8826","repository":"/repo"}"#,
            r#"{"message_type":"verbose_status","action":"new"}"#,
            "signal terminated received, cleaning up",
        ];
        insta::assert_debug_snapshot!(lines.map(|line| Line::parse(line.as_bytes())));
    }
}
