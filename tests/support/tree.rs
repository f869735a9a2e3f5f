//! A tree of everything that a volume may hold, and the comparison of two trees. Needs root (owners).
//!
//! A plain module: a suite takes it with `#[path = "support/tree.rs"] mod tree;`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unnecessary_debug_formatting,
    dead_code,
    reason = "for tests; each suite uses a part, and names may have any byte"
)]

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr, mknodat,
    utimensat,
};

/// Files in the directory with many small ones.
pub(crate) const SMALL_FILES: usize = 10_000;
/// Bytes of the sparse file, nearly all of which is a hole.
const SPARSE: u64 = 64 << 20;

/// Fills a directory, also its own mode and owner.
pub(crate) fn create(root: &Path) {
    fs::create_dir_all(root).unwrap();
    contents(root);
    names(root);
    links(root);
    owners_and_modes(root);
    attributes(root);
    small_files(&root.join("many"));
    // Last, since it changes whenever something is made in it: what a directory's time is.
    set_time(&root.join("names"), 1_500_000_000, 5);
    chown(root, Some(1000), Some(2000)).unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o2770)).unwrap();
}

fn contents(root: &Path) {
    fs::write(root.join("regular"), "regular\n").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    let mut large = File::create(root.join("large")).unwrap();
    for block in 0_u64..5 * 1024 {
        large.write_all(&noise(block)).unwrap();
    }
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all(b"begin").unwrap();
    sparse.seek(SeekFrom::Start(SPARSE - 3)).unwrap();
    sparse.write_all(b"end").unwrap();
    let deep = (0..100).fold(root.to_owned(), |path, level| path.join(format!("a-rather-deep-level-{level}")));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "deep").unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
}

fn names(root: &Path) {
    let folder = root.join("names");
    fs::create_dir(&folder).unwrap();
    let names: [&[u8]; 12] = [
        b"with space",
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\rreturn",
        b"not-utf8-\xff\xfe",
        b"not-utf8-\xfe\xff",
        b"cut-\xe2\x82",
        "ümläut-日本語".as_bytes(),
        b"quote\"s'and\\backslash",
        b"star*question?[bracket]",
        b"-dash",
        b"<&>${HOME}",
    ];
    for name in names {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let directory = folder.join(OsStr::from_bytes(b"dir\xff\nline"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("lost+found"), "an app's own").unwrap();
    fs::write(folder.join("n".repeat(255)), "longest").unwrap();
}

fn links(root: &Path) {
    let folder = root.join("links");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hard-1"), "one file").unwrap();
    fs::hard_link(folder.join("hard-1"), folder.join("hard-2")).unwrap();
    fs::write(folder.join("twin-1"), "two files").unwrap();
    fs::write(folder.join("twin-2"), "two files").unwrap();
    symlink("hard-1", folder.join("to-file")).unwrap();
    symlink("../names", folder.join("to-directory")).unwrap();
    symlink("/nowhere/at all", folder.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"bad\xff\nline -> x"), folder.join(OsStr::from_bytes(b"odd\xfe\nlink"))).unwrap();
    lchown(folder.join("dangling"), Some(1234), Some(4321)).unwrap();
    set_time(&folder.join("dangling"), 1_000_000_000, 987_654_321);
}

fn owners_and_modes(root: &Path) {
    let folder = root.join("owners");
    fs::create_dir(&folder).unwrap();
    for (index, (uid, gid, mode)) in [
        (0, 0, 0o600),
        (1000, 1000, 0o644),
        (1000, 0, 0o000),
        (65534, 65534, 0o4755),
        (0, 1000, 0o2755),
        (4_000_000_000, 4_000_000_000, 0o7777),
    ]
    .into_iter()
    .enumerate()
    {
        let (file, directory) = (folder.join(format!("file-{index}")), folder.join(format!("directory-{index}")));
        fs::write(&file, mode.to_string()).unwrap();
        fs::create_dir(&directory).unwrap();
        for path in [&file, &directory] {
            chown(path, Some(uid), Some(gid)).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        // Before 1970, and far ahead.
        set_time(&file, [-86_400, 0, 1, 1_700_000_000, 4_102_444_800, 8_000_000_000][index], 123_456_789);
    }
}

fn attributes(root: &Path) {
    let folder = root.join("attributes");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("file");
    fs::write(&file, "x").unwrap();
    set_attribute(&file, "user.text", b"text");
    set_attribute(&file, "user.binary", b"\0\xff\n");
    set_attribute(&file, "user.empty", b"");
    set_attribute(&folder, "user.directory", b"yes");
    // rw for the owner, r for user 1000 and group 2000, nothing for others.
    let acl = acl(&[
        (0x01, 6, None),
        (0x02, 4, Some(1000)),
        (0x04, 4, None),
        (0x08, 4, Some(2000)),
        (0x10, 6, None),
        (0x20, 0, None),
    ]);
    set_attribute(&file, "system.posix_acl_access", &acl);
    set_attribute(&folder, "system.posix_acl_default", &acl);
    fs::create_dir(folder.join("inherits")).unwrap();
    fs::write(folder.join("inherits/file"), "x").unwrap();
}

/// A POSIX ACL as the kernel keeps it: tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, Option<u32>)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

fn small_files(folder: &Path) {
    for index in 0..SMALL_FILES {
        let directory = folder.join(format!("{:02}", index % 50));
        if index < 50 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::write(directory.join(format!("file-{index}")), format!("content {index}\n")).unwrap();
    }
}

/// A KiB that does not compress.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(128).flatten().collect()
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|error| panic!("{name} of {path:?}: {error}"));
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What differs between two trees, also at their roots (but for the root's time): nothing where they are equal.
pub(crate) fn differences(one: &Path, other: &Path) -> Vec<String> {
    let (left, right) = (read(one), read(other));
    let mut found = vec![];
    for path in left.keys().filter(|path| !right.contains_key(*path)) {
        found.push(format!("{path:?} is only in the first"));
    }
    for (path, entry) in &right {
        match left.get(path) {
            None => found.push(format!("{path:?} is only in the second")),
            Some(wanted) if wanted != entry => found.push(format!("{path:?}: {wanted:?} and {entry:?}")),
            Some(_) => {}
        }
    }
    for (path, wanted) in
        [one, other].map(|root| root.join("sparse")).iter().filter_map(|path| Some((path, fs::metadata(path).ok()?)))
    {
        if wanted.blocks() * 512 > wanted.size() / 2 {
            found.push(format!("{path:?} is not sparse: {} blocks", wanted.blocks()));
        }
    }
    found
}

/// Everything that a restore brings back of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    content: u64,
    target: Option<PathBuf>,
    attributes: BTreeMap<OsString, Vec<u8>>,
    /// The first path of the same file.
    same_as: Option<PathBuf>,
}

fn read(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut seen, mut first) = (BTreeMap::new(), HashMap::new());
    let mut paths = vec![PathBuf::new()];
    while let Some(path) = paths.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            paths.extend(names.iter().rev().map(|name| path.join(name)));
        }
        let first_path = first.entry(metadata.ino()).or_insert_with(|| path.clone()).clone();
        let entry = Seen {
            kind: format!("{kind:?} fifo {} {}", kind.is_fifo(), if kind.is_file() { metadata.size() } else { 0 }),
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: if path.as_os_str().is_empty() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) },
            content: if kind.is_file() { content(&full) } else { 0 },
            target: kind.is_symlink().then(|| fs::read_link(&full).unwrap()),
            attributes: attributes_of(&full),
            same_as: (first_path != path).then_some(first_path),
        };
        seen.insert(path, entry);
    }
    seen
}

/// A checksum (FNV-1a) of a file's content.
fn content(path: &Path) -> u64 {
    let (mut file, mut buffer, mut hash) = (File::open(path).unwrap(), vec![0; 1 << 20], 0xcbf2_9ce4_8422_2325_u64);
    loop {
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            return hash;
        }
        for byte in &buffer[..count] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn attributes_of(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // Labels belong to the node.
    let names = names.filter(|name| *name != b"security.selinux");
    names
        .map(|name| {
            let name = OsString::from_vec(name.to_vec());
            let mut value = vec![0; 64 << 10];
            let length = lgetxattr(path, name.as_os_str(), &mut value).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect()
}
