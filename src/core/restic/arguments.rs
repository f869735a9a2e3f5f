//! The arguments that restic is started with. None holds a secret: URL and credentials are variables.

use crate::core::{
    catalogue::{self, Statement},
    task::{BackupTask, BackupVolume, CLUSTER_TAG, Part, ROOT_TAG, RUN_TAG, RateLimits},
};

/// What is done about another's lock that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// restic fails, and says whose it is.
    Fail,
    /// It is waited for, up to five minutes.
    Wait,
}

impl Locks {
    fn argument(self) -> Option<String> {
        (self == Self::Wait).then(|| "--retry-lock=5m".to_owned())
    }
}

/// Attributes that belong to the node's security modules, not to the data: SELinux labels and the like. A mover
/// may not set them; capabilities of programs (`security.capability`) are data and are restored, or reported.
const NODE_ATTRIBUTES: &[&str] = &["security.selinux", "security.ima", "security.evm", "security.SMACK64*"];

/// A directory's mode and owner: what the root of a volume has and its snapshot has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Permissions with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Root {
    /// As a tag's text after [`ROOT_TAG`].
    pub fn to_tag(self) -> String {
        format!("{:o}:{}:{}", self.mode, self.uid, self.gid)
    }

    /// From a tag's text.
    pub fn from_tag(text: &str) -> Option<Self> {
        let (mode, owner) = text.split_once(':')?;
        let (uid, gid) = owner.split_once(':')?;
        let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?;
        Some(Self { mode, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }
}

/// Backs a volume up, from within it: the snapshot has the volume's own tree and the mount's path, as VolSync
/// writes it. With `skip_unchanged`, nothing is stored where nothing has changed since the last snapshot.
pub fn backup(task: &BackupTask, volume: &BackupVolume, root: Root, skip_unchanged: bool, locks: Locks) -> Vec<String> {
    let mut arguments = strings(&["backup", ".", "--json"]);
    arguments.extend(locks.argument());
    arguments.push(format!("--host={}", volume.host));
    arguments.push(format!("--tag={RUN_TAG}{}", task.run));
    arguments.push(format!("--tag={CLUSTER_TAG}{}", task.cluster));
    arguments.push(format!("--tag={ROOT_TAG}{}", root.to_tag()));
    if skip_unchanged {
        arguments.push("--skip-if-unchanged".to_owned());
    }
    // Of the root only: an app may have a directory of that name.
    arguments.push(format!("--exclude={}/lost+found", escaped(&volume.path)));
    arguments.extend(task.exclude.iter().map(|pattern| format!("--exclude={}", anchored(pattern, &volume.path))));
    arguments.extend(task.exclude_if_present.iter().map(|file| format!("--exclude-if-present={file}")));
    if task.exclude_caches {
        arguments.push("--exclude-caches".to_owned());
    }
    limited(arguments, task.limits)
}

/// Fills a directory from a snapshot. Every content is read again and compared.
pub fn restore(snapshot: &str, mount: &str, limits: RateLimits) -> Vec<String> {
    let mut arguments = strings(&["restore", snapshot, "--json", "--no-lock", "--sparse", "--verify"]);
    arguments.push(format!("--target={mount}"));
    arguments.extend(NODE_ATTRIBUTES.iter().map(|name| format!("--exclude-xattr={name}")));
    limited(arguments, limits)
}

/// Lists a snapshot's tree.
pub fn list(snapshot: &str, limits: RateLimits) -> Vec<String> {
    limited(strings(&["ls", snapshot, "--json", "--no-lock"]), limits)
}

/// Lists a snapshot's tree as text, which alone has the targets of links, and names as they are.
pub fn list_long(snapshot: &str, limits: RateLimits) -> Vec<String> {
    limited(strings(&["ls", "--long", snapshot, "--no-lock"]), limits)
}

/// Lists snapshots: all, or those of some hosts.
pub fn snapshots(hosts: &[&str]) -> Vec<String> {
    let mut arguments = strings(&["snapshots", "--json", "--no-lock"]);
    arguments.extend(hosts.iter().map(|host| format!("--host={host}")));
    arguments
}

/// Stores a statement of the base's catalogue, whose text comes on standard input.
pub fn state(statement: &Statement, locks: Locks) -> Vec<String> {
    let mut arguments = strings(&["backup", "--stdin", "--json"]);
    arguments.extend(locks.argument());
    arguments.push(format!("--stdin-filename={}", statement.file));
    arguments.push(format!("--host={}", statement.host));
    arguments.extend(statement.tags.iter().map(|tag| format!("--tag={tag}")));
    arguments
}

/// Lists the statements on which snapshots are good.
pub fn verdicts() -> Vec<String> {
    let mut arguments = snapshots(&[]);
    arguments.extend([catalogue::NOT_GOOD, catalogue::ACCEPTED].map(|tag| format!("--tag={tag}")));
    arguments
}

/// Prints the repository's config, which proves that it is there and that the password is right.
pub fn config() -> Vec<String> {
    strings(&["cat", "config", "--json", "--no-lock"])
}

/// Creates the repository.
pub fn init() -> Vec<String> {
    strings(&["init", "--json"])
}

/// Removes exactly these snapshots; with `prune`, also the data that nothing needs any more.
pub fn forget(ids: &[String], prune: bool, locks: Locks) -> Vec<String> {
    let mut arguments = strings(&["forget", "--json"]);
    arguments.extend(locks.argument());
    if prune {
        arguments.push("--prune".to_owned());
    }
    arguments.extend_from_slice(ids);
    arguments
}

/// Checks the repository's structure, and reads a part of its data where one is named.
pub fn check(part: Option<Part>, locks: Locks) -> Vec<String> {
    let mut arguments = strings(&["check", "--json"]);
    arguments.extend(locks.argument());
    arguments.extend(part.map(|part| format!("--read-data-subset={}/{}", part.number, part.of)));
    arguments
}

/// Counts what the repository holds.
pub fn stats() -> Vec<String> {
    strings(&["stats", "--mode=raw-data", "--json", "--no-lock"])
}

/// Removes the locks that restic itself takes for dead: not refreshed for 30 minutes, or made on this host by a process
/// that does not exist.
pub fn unlock() -> Vec<String> {
    strings(&["unlock"])
}

/// Removes every lock, whoever's it is.
pub fn unlock_all() -> Vec<String> {
    strings(&["unlock", "--remove-all"])
}

/// Lists the ids of the repository's locks, one in each line.
pub fn locks() -> Vec<String> {
    strings(&["list", "locks", "--no-lock"])
}

/// Prints a lock.
pub fn lock(id: &str) -> Vec<String> {
    strings(&["cat", "lock", id, "--no-lock"])
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn limited(mut arguments: Vec<String>, limits: RateLimits) -> Vec<String> {
    arguments.extend(limits.upload.map(|rate| format!("--limit-upload={rate}")));
    arguments.extend(limits.download.map(|rate| format!("--limit-download={rate}")));
    arguments
}

/// A pattern that begins with `/` means the volume's root; restic would take it for the mover's.
fn anchored(pattern: &str, root: &str) -> String {
    let (not, rest) = pattern.strip_prefix('!').map_or(("", pattern), |rest| ("!", rest));
    if rest.starts_with('/') { format!("{not}{}{rest}", escaped(root)) } else { pattern.to_owned() }
}

/// A path as a pattern that matches only itself.
fn escaped(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let volume =
            BackupVolume { claim: "config".to_owned(), host: "media".to_owned(), path: "/data/[config]".to_owned() };
        let task = BackupTask {
            run: "radarr-0123456789".to_owned(),
            volumes: vec![volume.clone()],
            exclude: ["*.tmp", "/cache", "!/cache/keep", "-v"].map(str::to_owned).to_vec(),
            exclude_if_present: vec![".nobackup".to_owned()],
            exclude_caches: true,
            limits: RateLimits { upload: Some(100), download: None },
            ..BackupTask::default()
        };
        let root = Root { mode: 0o2770, uid: 1000, gid: 100 };
        insta::assert_yaml_snapshot!([
            backup(&task, &volume, root, true, Locks::Fail),
            restore("0a1b", "/restore/config", task.limits),
            list("0a1b", RateLimits::default()),
            list_long("0a1b", RateLimits::default()),
            snapshots(&["media"]),
            state(&catalogue::verdict(catalogue::NOT_GOOD, "media", "0a1b"), Locks::Fail),
            verdicts(),
            config(),
            init(),
            forget(&["0a1b".to_owned()], true, Locks::Wait),
            check(None, Locks::Fail),
            check(Some(Part { number: 3, of: 20 }), Locks::Wait),
            stats(),
            unlock(),
            unlock_all(),
            locks(),
            lock("0a1b"),
        ]);
    }

    #[test]
    fn a_root_survives_its_tag() {
        for root in [Root { mode: 0, uid: 0, gid: 0 }, Root { mode: 0o7777, uid: u32::MAX, gid: 65534 }] {
            assert_eq!(Root::from_tag(&root.to_tag()), Some(root));
        }
        for text in ["", "755", "755:0", "10000:0:0", "8:0:0", "755:0:-1", "755:0:0:0"] {
            assert_eq!(Root::from_tag(text), None, "{text}");
        }
    }
}
