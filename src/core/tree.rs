//! Whether a volume holds what its snapshot holds: every entry, compared both ways.
//!
//! Both sides come in one order: a directory before what is in it, and names by their bytes. So neither has to be in
//! memory. `restic ls --json` has no targets of links, and writes names that are not UTF-8 with a replacement
//! character for each bad byte; for those entries the text listing is compared as well, see [`first_unlisted`].
//! Contents are restic's own part (`restore --verify`), and so are extended attributes, which no listing has:
//! restic reports each that it could not set.

use std::{cmp::Ordering, collections::HashMap};

use serde::Deserialize;

use crate::{api::common::Time, core::restic::arguments::Root};

/// Paths that a message names.
const NAMED: usize = 5;
/// What every new ext4 has; it is left out of backups.
const LOST_AND_FOUND: &str = "/lost+found";

/// What kind of thing an entry is, in restic's words.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Dev,
    /// A character device.
    CharDev,
    /// A named pipe.
    Fifo,
    /// A socket. restic lists it but does not restore it: its program makes it anew.
    Socket,
    /// Anything else.
    #[serde(other)]
    Irregular,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path from the volume's root, with a leading slash, as [`shown`].
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub size: u64,
    /// Permissions and owner.
    pub root: Root,
    /// When it was modified.
    pub modified: Time,
    /// Inode number; 0 where it is not known.
    pub inode: u64,
}

impl Entry {
    /// Whether the text listing has to be asked too.
    pub fn needs_text(&self) -> bool {
        self.kind == Kind::Symlink || self.path.contains(char::REPLACEMENT_CHARACTER)
    }
}

/// A line of `restic ls --json`: first the snapshot, then its entries.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub enum Listed {
    /// The snapshot.
    Snapshot {
        /// Its tags.
        #[serde(default)]
        tags: Vec<String>,
    },
    /// An entry.
    Node(Node),
}

/// An entry as restic lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    path: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
    #[serde(default)]
    inode: u64,
}

impl From<Node> for Entry {
    fn from(node: Node) -> Self {
        let root = Root { mode: permissions(node.mode), uid: node.uid, gid: node.gid };
        Self { path: node.path, kind: node.kind, size: node.size, root, modified: node.mtime, inode: node.inode }
    }
}

/// Go's file mode as permissions with the bits that Unix has for set-id and sticky.
fn permissions(mode: u32) -> u32 {
    let bit = |go: u32, unix: u32| if mode & (1 << go) == 0 { 0 } else { unix };
    (mode & 0o777) | bit(23, 0o4000) | bit(22, 0o2000) | bit(20, 0o1000)
}

/// A path as restic's JSON shows it: one replacement character for each byte that is not UTF-8.
pub fn shown(path: &[u8]) -> String {
    let (mut text, mut rest) = (String::with_capacity(path.len()), path);
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => return text + valid,
            Err(error) => {
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                text += &String::from_utf8_lossy(valid);
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &invalid[1..];
            }
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Entries of the snapshot, sockets apart.
    pub entries: i64,
    /// Whether some of them need the text listing.
    pub needs_text: bool,
    /// How many entries differ.
    pub differences: u64,
    /// The first of them: path, and what differs.
    pub first: Vec<String>,
}

impl Comparison {
    fn differs(&mut self, what: String) {
        self.differences += 1;
        if self.first.len() < NAMED {
            self.first.push(what);
        }
    }

    /// What a message says, where something differs.
    pub fn complaint(&self) -> Option<String> {
        let more = self.differences.saturating_sub(self.first.len() as u64);
        let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
        (self.differences > 0).then(|| format!("{}{rest}", self.first.join("; ")))
    }
}

/// Compares a snapshot's tree with a volume's.
pub fn compare<E>(
    expected: impl Iterator<Item = Result<Entry, E>>,
    found: impl Iterator<Item = Result<Entry, E>>,
) -> Result<Comparison, E> {
    let mut result = Comparison::default();
    let mut links = Links::default();
    let mut expected = expected.filter(|entry| !entry.as_ref().is_ok_and(|entry| entry.kind == Kind::Socket));
    let mut found = found;
    let (mut left, mut right) = (expected.next().transpose()?, found.next().transpose()?);
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(result),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.path.split('/').cmp(right.path.split('/')),
        };
        if let Some(wanted) = left.as_ref().filter(|_| order.is_le()) {
            result.entries += 1;
            result.needs_text |= wanted.needs_text();
            match right.as_ref().filter(|_| order.is_eq()) {
                None => result.differs(format!("{} is missing", wanted.path)),
                Some(got) => {
                    let difference = difference(wanted, got).or_else(|| links.difference(wanted, got));
                    if let Some(what) = difference {
                        result.differs(format!("{}: {what}", wanted.path));
                    }
                }
            }
        } else if let Some(extra) = right.as_ref().filter(|extra| !is_lost_and_found(&extra.path)) {
            result.differs(format!("{} is not in the snapshot", extra.path));
        }
        if order.is_le() {
            left = expected.next().transpose()?;
        }
        if order.is_ge() {
            right = found.next().transpose()?;
        }
    }
}

/// Whether that is the directory that every new ext4 has at its root, or in it.
pub fn is_lost_and_found(path: &str) -> bool {
    path.strip_prefix(LOST_AND_FOUND).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn difference(wanted: &Entry, got: &Entry) -> Option<String> {
    let (want, have) = (wanted.root, got.root);
    if wanted.kind != got.kind {
        return Some(format!("is {:?} instead of {:?}", got.kind, wanted.kind));
    }
    if wanted.kind == Kind::File && wanted.size != got.size {
        return Some(format!("has {} bytes instead of {}", got.size, wanted.size));
    }
    // A link's own mode means nothing on Linux and cannot be set.
    if wanted.kind != Kind::Symlink && want.mode != have.mode {
        return Some(format!("has mode {:o} instead of {:o}", have.mode, want.mode));
    }
    if (want.uid, want.gid) != (have.uid, have.gid) {
        return Some(format!("belongs to {}:{} instead of {}:{}", have.uid, have.gid, want.uid, want.gid));
    }
    let shown = |time: Time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    (!same_time(wanted.modified, got.modified))
        .then(|| format!("is of {} instead of {}", shown(got.modified), shown(wanted.modified)))
}

/// File systems keep times in nanoseconds, hundreds of them, micro-, milliseconds or seconds.
fn same_time(wanted: Time, got: Time) -> bool {
    let (want, have) = (wanted.timestamp_subsec_nanos(), got.timestamp_subsec_nanos());
    wanted.timestamp() == got.timestamp()
        && [1, 100, 1_000, 1_000_000, 1_000_000_000].iter().any(|grain| have == want - want % grain)
}

/// Which files are one file under several names.
#[derive(Default)]
struct Links {
    /// From the snapshot's inode numbers to the volume's, with what tells two files apart that merely share a number
    /// (as across btrfs subvolumes).
    found: HashMap<u64, (u64, u64, Time)>,
    /// From the volume's to the snapshot's.
    expected: HashMap<u64, u64>,
}

impl Links {
    fn difference(&mut self, wanted: &Entry, got: &Entry) -> Option<String> {
        if wanted.kind != Kind::File || wanted.inode == 0 || got.inode == 0 {
            return None;
        }
        let new = (got.inode, wanted.size, wanted.modified);
        let known = *self.found.entry(wanted.inode).or_insert(new);
        if known.0 != got.inode && (known.1, known.2) == (new.1, new.2) {
            return Some("is a file of its own instead of a hard link".to_owned());
        }
        let known = *self.expected.entry(got.inode).or_insert(wanted.inode);
        (known != wanted.inode).then(|| "is a hard link instead of a file of its own".to_owned())
    }
}

/// The first of the wanted texts that `restic ls --long` does not list, both in the order of [`compare`].
///
/// A text is a path from the root, with ` -> ` and the target where it is a link, as bytes.
pub fn first_unlisted<E>(
    lines: impl Iterator<Item = Result<Vec<u8>, E>>,
    wanted: impl Iterator<Item = Result<Vec<u8>, E>>,
) -> Result<Option<Vec<u8>>, E> {
    let mut lines = lines.peekable();
    'wanted: for text in wanted {
        let text = text?;
        // Names may have line breaks.
        let mut parts = text.split(|byte| *byte == b'\n');
        let first = parts.next().unwrap_or_default();
        let following: Vec<_> = parts.collect();
        while let Some(line) = lines.next().transpose()? {
            if after_columns(&line) != Some(first) {
                continue;
            }
            let mut same = true;
            for part in &following {
                same &= lines.next().transpose()?.is_some_and(|line| line == *part);
            }
            // The next line has to be another entry, or this one was longer.
            let ended = lines.peek().is_none_or(|line| line.as_ref().is_ok_and(|line| after_columns(line).is_some()));
            if same && ended {
                continue 'wanted;
            }
        }
        return Ok(Some(text));
    }
    Ok(None)
}

/// What follows mode, user, group, size, date and time in a line of `restic ls --long`.
fn after_columns(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    for _ in 0..6 {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let length = rest[start..].iter().position(|byte| *byte == b' ')?;
        rest = &rest[start + length..];
    }
    rest.strip_prefix(b" ")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn entry(path: &str, kind: Kind, inode: u64) -> Entry {
        let modified = "2026-11-22T10:00:00.123456789Z".parse().unwrap();
        Entry { path: path.to_owned(), kind, size: 5, root: Root { mode: 0o755, uid: 1, gid: 2 }, modified, inode }
    }

    fn tree() -> Vec<Entry> {
        vec![
            entry("/a", Kind::Dir, 1),
            entry("/a/b", Kind::File, 2),
            entry("/a!", Kind::File, 3),
            entry("/hard", Kind::File, 2),
            entry("/link", Kind::Symlink, 4),
            entry("/pipe", Kind::Fifo, 5),
        ]
    }

    fn compared(expected: &[Entry], found: &[Entry]) -> Comparison {
        let (expected, found) = (expected.iter().cloned(), found.iter().cloned());
        compare(expected.map(Ok::<_, Infallible>), found.map(Ok)).unwrap()
    }

    #[test]
    fn equal_trees() {
        let mut listed = tree();
        listed.insert(5, entry("/log.sock", Kind::Socket, 9));
        let mut volume: Vec<_> = tree().into_iter().map(|one| Entry { inode: one.inode + 100, ..one }).collect();
        volume[0].size = 4096;
        volume[4].root.mode = 0o777;
        volume[1].modified = "2026-11-22T10:00:00.123456Z".parse().unwrap();
        volume.insert(5, entry("/lost+found", Kind::Dir, 11));
        volume.insert(6, entry("/lost+found/x", Kind::File, 12));
        assert_eq!(compared(&listed, &volume), Comparison { entries: 6, needs_text: true, ..Comparison::default() });
    }

    #[test]
    fn every_difference_is_found() {
        type Change = fn(&mut Vec<Entry>);
        let changes: [Change; 12] = [
            |tree| drop(tree.remove(1)),
            |tree| drop(tree.pop()),
            |tree| tree.truncate(0),
            |tree| tree.insert(2, entry("/a/c", Kind::File, 20)),
            |tree| tree.push(entry("/z", Kind::File, 20)),
            |tree| tree[2].kind = Kind::Dir,
            |tree| tree[2].size += 1,
            |tree| tree[0].root.mode = 0o2755,
            |tree| tree[4].root.gid = 3,
            |tree| tree[5].modified += chrono::TimeDelta::nanoseconds(1),
            |tree| tree[3].inode = 99,
            |tree| tree[2].inode = 2,
        ];
        let complaints = changes.map(|change| {
            let mut volume = tree();
            change(&mut volume);
            compared(&tree(), &volume).complaint().unwrap()
        });
        insta::assert_yaml_snapshot!(complaints);
    }

    #[test]
    fn lines_of_restic() {
        let listed = |line: &str| serde_json::from_str::<Listed>(line).unwrap();
        let Listed::Node(node) = listed(
            r#"{"name":"d","type":"dir","path":"/d","uid":0,"gid":7,"mode":2151678445,"permissions":"dgrwxr-xr-x","mtime":"2026-11-23T14:14:03.829676955+01:00","inode":9994509,"message_type":"node","struct_type":"node"}"#,
        ) else {
            panic!()
        };
        insta::assert_debug_snapshot!(Entry::from(node));
        assert!(matches!(
            listed(r#"{"time":"2026-11-23T13:14:03Z","tags":["root=755:0:0"],"message_type":"snapshot"}"#),
            Listed::Snapshot { tags } if tags == ["root=755:0:0"]
        ));
    }

    #[test]
    fn names_that_are_not_utf8() {
        assert_eq!(shown(b"/plain \xc3\xa4"), "/plain ä");
        assert_eq!(shown(b"/bad\xff\xfe"), "/bad\u{fffd}\u{fffd}");
        assert_eq!(shown(b"\xed\xa0\x80x\xe2\x82"), "\u{fffd}\u{fffd}\u{fffd}x\u{fffd}\u{fffd}");
    }

    #[test]
    fn links_are_compared_with_the_text_listing() {
        let listing: &[&[u8]] = &[
            b"snapshot d7783115 of [/data/app] at 2026-11-23 13:14:03.9 +0000 UTC by root@H filtered by []:",
            b"Lrwxrwxrwx     0     0      0 2026-11-23 13:14:03 /bad -> tgt\xff",
            b"-rw-r--r-- 100000 100000 1234567890 2026-11-23 13:14:03 /d/new",
            b"line",
            b"Lrwxrwxrwx     0     0      0 2026-11-23 13:14:03 /d/ sp -> a",
            b"b",
            b"-rw-r--r--     0     0      3 2026-11-23 13:14:03 /e\xfe",
        ];
        let unlisted = |wanted: &[&[u8]]| {
            let ok = |list: &[&[u8]]| list.iter().map(|line| Ok::<_, Infallible>(line.to_vec())).collect::<Vec<_>>();
            let found = first_unlisted(ok(listing).into_iter(), ok(wanted).into_iter()).unwrap();
            found.map(|text| shown(&text))
        };
        assert_eq!(unlisted(&[]), None);
        assert_eq!(unlisted(&[b"/bad -> tgt\xff", b"/d/ sp -> a\nb", b"/e\xfe"]), None);
        assert_eq!(unlisted(&[b"/d/new\nline"]), None);
        assert_eq!(unlisted(&[b"/bad -> tgt\xfe"]).as_deref(), Some("/bad -> tgt\u{fffd}"));
        assert_eq!(
            unlisted(&[b"/bad -> tgt\xff", b"/d/ sp -> a"]).as_deref(),
            Some("/d/ sp -> a"),
            "not the whole target"
        );
        assert_eq!(unlisted(&[b"/d/ sp -> a\nc"]).as_deref(), Some("/d/ sp -> a\nc"));
        assert_eq!(unlisted(&[b"/e\xfe", b"/bad -> tgt\xff"]).as_deref(), Some("/bad -> tgt\u{fffd}"), "in order");
    }
}
