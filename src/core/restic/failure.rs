//! How restic ended, and what that means.

use std::collections::BTreeSet;

use crate::core::{
    restic::messages::{ItemError, Line},
    task::{CACHE_MOUNT, Failure, FailureKind},
};

/// Items that are named in a message.
const NAMED: usize = 5;
/// Items that are told apart when they are counted; restic may report one many times.
const COUNTED: usize = 100_000;
/// Lines kept of what is not JSON.
const KEPT_LINES: usize = 20;
/// restic's exit code when it was told to stop.
const CANCELLED: i32 = 130;
/// restic's words where it has no password.
const NO_PASSWORD: &str = "an empty password is not allowed";
/// restic's words where there is nothing to store.
const EMPTY: &str = "snapshot is empty";

/// What restic said besides its results, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The exit code; none where a signal killed it.
    pub code: Option<i32>,
    /// It was told to stop, because the mover was.
    pub interrupted: bool,
    /// It was told to stop, because the repository did not answer in time: the last words about that.
    pub unanswered: Option<String>,
    /// Items that could not be read or written.
    pub items: Items,
    /// What a check found first.
    pub wrong: Option<String>,
    fatal: Option<String>,
    others: Vec<String>,
}

/// Items that could not be read or written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    seen: BTreeSet<String>,
    first: Vec<String>,
}

impl Items {
    fn add(&mut self, error: &ItemError) {
        if self.seen.len() < COUNTED && self.seen.insert(error.item.clone()) && self.first.len() < NAMED {
            let words = &error.error.message;
            let named = words.contains(&error.item);
            self.first.push(if named { words.clone() } else { format!("{}: {words}", error.item) });
        }
    }

    /// How many.
    pub fn count(&self) -> i64 {
        self.seen.len().try_into().unwrap_or(i64::MAX)
    }

    /// The first of them, with restic's words.
    pub fn first(&self) -> String {
        let more = self.seen.len().saturating_sub(self.first.len());
        let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
        format!("{}{rest}", self.first.join("; "))
    }
}

impl Ending {
    /// Of a start that never was, since the mover was told to stop before.
    pub fn interrupted() -> Self {
        Self { code: Some(CANCELLED), interrupted: true, ..Self::default() }
    }

    /// Takes a line of restic's standard error. What it is comes back, for the log.
    pub fn hear(&mut self, line: &str) {
        match Line::parse(line.as_bytes()) {
            Some(Line::Error(error)) if error.message.is_empty() => self.items.add(&error),
            // Only the first of them says what is wrong; the others are advice.
            Some(Line::Error(error)) => _ = self.wrong.get_or_insert_with(|| first_line(&error.message)),
            Some(Line::ExitError { message, .. }) => self.fatal = Some(message),
            Some(_) => {}
            None => {
                if self.others.len() == KEPT_LINES {
                    self.others.remove(0);
                }
                self.others.push(line.trim().to_owned());
            }
        }
    }

    /// What restic says about opening the repository, which it tries for 15 minutes: some, whether it does so still.
    pub fn is_trying_to_open(line: &str) -> Option<bool> {
        (line.starts_with("Stat(<config/>") || line.starts_with("Load(<config/>"))
            .then(|| line.contains("retrying after"))
    }

    /// Whether restic says that its cache, at this path, is full. It would try for 15 minutes to write there.
    pub fn is_about_a_full_cache(line: &str, cache: &str) -> bool {
        is_no_space(line) && line.contains(&format!(" {cache}/"))
    }

    /// Whether it did what it was told to, in full.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether a check came to its end and found errors.
    pub fn found_errors(&self) -> bool {
        let told = self.fatal.as_ref().is_some_and(|words| words.contains("repository contains errors"));
        told && self.code == Some(1) && !self.interrupted && self.unanswered.is_none()
    }

    /// restic's last words, without its advice for people at a terminal.
    fn words(&self) -> String {
        let crash = || self.others.iter().find(|line| line.starts_with("panic:") || line.starts_with("fatal error:"));
        let last: Vec<&str> = match self.fatal.as_ref().or_else(crash) {
            Some(words) => words.lines().collect(),
            // Without --json, a message may take some lines.
            None => self.others.iter().rev().take(4).rev().map(String::as_str).collect(),
        };
        let advice = ["the `unlock` command", "Is there a repository at the following"];
        let said = last.into_iter().filter(|line| !advice.iter().any(|start| line.starts_with(start)));
        let text = said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
        if text.is_empty() { "restic said nothing".to_owned() } else { text.trim_start_matches("Fatal: ").to_owned() }
    }

    /// Why it failed. Says what to do where the words do not.
    pub fn failure(&self) -> Failure {
        let words = self.words();
        let kind = self.kind(&words);
        let failed = |message: String| Failure { kind, message };
        match kind {
            FailureKind::Empty => {
                failed("the volume is empty, or all of it is excluded: there is nothing to back up".to_owned())
            }
            FailureKind::Unreachable => match &self.unanswered {
                Some(last) => failed(format!("the repository does not answer: {last}")),
                None => failed(format!("the repository cannot be opened: {words}")),
            },
            FailureKind::Locked => {
                failed(format!("{words}. When its owner has not renewed it for 30 minutes, the next run removes it"))
            }
            FailureKind::NoSpace if self.all().any(|text| text.contains(&format!(" {CACHE_MOUNT}/"))) => {
                failed(format!("restic's cache is full: raise mover.cache.size. {}", self.detail(&words)))
            }
            FailureKind::Interrupted if self.code.is_none() => {
                failed("restic was killed: too little memory, or the node stopped it".to_owned())
            }
            FailureKind::Interrupted => failed("stopped before it was done".to_owned()),
            FailureKind::Partial => failed(format!("not everything could be read: {}", self.items.first())),
            FailureKind::WrongPassword if words.contains(NO_PASSWORD) => {
                failed("RESTIC_PASSWORD is not set".to_owned())
            }
            _ => failed(self.detail(&words)),
        }
    }

    fn kind(&self, words: &str) -> FailureKind {
        if self.interrupted {
            return FailureKind::Interrupted;
        }
        match self.code {
            _ if self.unanswered.is_some() => FailureKind::Unreachable,
            None | Some(CANCELLED) => FailureKind::Interrupted,
            Some(10) => FailureKind::NoRepository,
            Some(11) => FailureKind::Locked,
            Some(12) => FailureKind::WrongPassword,
            Some(3) if self.items.count() > 0 => FailureKind::Partial,
            _ if words.contains(NO_PASSWORD) => FailureKind::WrongPassword,
            _ if words.contains(EMPTY) => FailureKind::Empty,
            _ if self.all().any(is_no_space) => FailureKind::NoSpace,
            _ if is_unreachable(words) => FailureKind::Unreachable,
            _ => FailureKind::Fatal,
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.fatal.iter().chain(&self.others).chain(&self.items.first).map(String::as_str)
    }

    fn detail(&self, words: &str) -> String {
        if self.items.count() == 0 { words.to_owned() } else { format!("{words}: {}", self.items.first()) }
    }
}

fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

fn is_no_space(words: &str) -> bool {
    words.contains("no space left on device") || words.contains("disk quota exceeded")
}

/// Words of restic and its libraries for a place that does not answer, or refuses the credentials.
const UNREACHABLE: &[&str] = &[
    "unable to open config file",
    "unable to open repository",
    "parsing repository location failed",
    "dial tcp",
    "connection re",
    "no such host",
    "no route to host",
    "network is unreachable",
    "i/o timeout",
    "deadline exceeded",
    "TLS handshake",
    "x509:",
    "unexpected HTTP response",
    "AccessDenied",
    "Access Denied",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "401 Unauthorized",
    "403 Forbidden",
];

fn is_unreachable(words: &str) -> bool {
    UNREACHABLE.iter().any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(code: i32, lines: &[&str]) -> Ending {
        let mut ending = Ending { code: Some(code), ..Ending::default() };
        for line in lines {
            ending.hear(line);
        }
        ending
    }

    #[test]
    fn words_of_restic() {
        let retry = r#"Stat(<config/>) returned error, retrying after 1s: Head "http://***@127.0.0.1:1/x/config": dial tcp 127.0.0.1:1: connect: connection refused"#;
        let cases = [
            ending(
                10,
                &[
                    r#"{"message_type":"exit_error","code":10,"message":"Fatal: repository does not exist: unable to open config file: stat /repository/none/config: no such file or directory\nIs there a repository at the following location?\n/repository/none"}"#,
                ],
            ),
            ending(
                11,
                &[
                    r#"{"message_type":"exit_error","code":11,"message":"unable to create lock in backend: repository is already locked by PID 6800 on radarr-0123456789 by root (UID 0, GID 0)\nlock was created at 2026-11-23 13:16:43 (635.860079ms ago)\nstorage ID 0ef4cb6f\nthe `unlock` command can be used to remove stale locks"}"#,
                ],
            ),
            ending(
                12,
                &[r#"{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}"#],
            ),
            ending(
                1,
                &[
                    r#"{"message_type":"exit_error","code":1,"message":"Fatal: unable to open config file: Head \"http://host/config\": unexpected HTTP response (401): 401 Unauthorized"}"#,
                ],
            ),
            ending(
                1,
                &[
                    r#"{"message_type":"error","error":{"message":"write /restore/app/cache/f: no space left on device"},"during":"restore","item":"/cache/f"}"#,
                    r#"{"message_type":"exit_error","code":1,"message":"Fatal: There were 282 errors"}"#,
                ],
            ),
            ending(
                1,
                &[
                    r#"{"message_type":"exit_error","code":1,"message":"write /cache/restic-temp-pack-1: no space left on device"}"#,
                ],
            ),
            ending(
                3,
                &[
                    r#"{"message_type":"error","error":{"message":"/data/a: open a: permission denied"},"during":"scan","item":"/data/a"}"#,
                    r#"{"message_type":"error","error":{"message":"/data/a: open a: permission denied"},"during":"archival","item":"/data/a"}"#,
                    r#"{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}"#,
                ],
            ),
            ending(
                130,
                &[
                    "signal terminated received, cleaning up ",
                    r#"{"message_type":"exit_error","code":130,"message":"Fatal: unable to save snapshot: context canceled"}"#,
                ],
            ),
            ending(1, &[r#"{"message_type":"exit_error","code":1,"message":"Fatal: There were 1 errors"}"#]),
            ending(
                1,
                &[
                    r#"{"message_type":"exit_error","code":1,"message":"Fatal: an empty password is not allowed by default. Pass the flag"}"#,
                ],
            ),
            ending(
                11,
                &[
                    "unable to create lock in backend: repository is already locked by PID 1 on x",
                    "lock was created at y",
                    "the `unlock` command can be used to remove stale locks",
                    "",
                ],
            ),
            ending(2, &["panic: runtime error", "goroutine 1 [running]:"]),
            Ending::default(),
            Ending { unanswered: Some(retry.to_owned()), ..ending(130, &[retry]) },
            Ending { interrupted: true, ..ending(1, &[]) },
        ];
        assert_eq!(Ending::is_trying_to_open(retry), Some(true));
        assert_eq!(Ending::is_trying_to_open("Stat(<config/>) operation successful after 2 retries"), Some(false));
        assert_eq!(Ending::is_trying_to_open("Save(<data/0a1b>) returned error, retrying after 1s: EOF"), None);
        let full = "Load(<index/24e134b133>, 0, 0) returned error, retrying after 605ms: Copy: write /cache/4950f0/index/24/tmp-28: no space left on device";
        assert!(Ending::is_about_a_full_cache(full, "/cache"));
        assert!(!Ending::is_about_a_full_cache(full, "/cache/other"));
        assert!(!Ending::is_about_a_full_cache(full, "/che"));
        assert!(!Ending::is_about_a_full_cache("write /repository/x: no space left on device", "/cache"));
        assert!(!Ending::is_about_a_full_cache("open /cache/x: permission denied", "/cache"));
        insta::assert_yaml_snapshot!(cases.iter().map(Ending::failure).collect::<Vec<_>>());
    }

    #[test]
    fn items_are_counted_once() {
        let mut many = Ending::default();
        for index in 0..7 {
            let line = format!(r#"{{"message_type":"error","error":{{"message":"denied"}},"item":"/{index}"}}"#);
            many.hear(&line);
            many.hear(&line);
        }
        assert_eq!(many.items.count(), 7);
        assert_eq!(many.items.first(), "/0: denied; /1: denied; /2: denied; /3: denied; /4: denied; and 2 more");
    }
}
