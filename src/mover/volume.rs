//! A volume's own tree.

use std::{
    ffi::OsString,
    fs::{self, Metadata, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use chrono::DateTime;

use crate::core::{
    restic::arguments::Root,
    tree::{self, Entry, Kind},
};

/// Mode and owner of a volume's root.
pub(super) fn root(mount: &Path) -> io::Result<Root> {
    fs::symlink_metadata(mount).map(|metadata| root_of(&metadata))
}

/// Sets mode and owner of a volume's root, and says what they are then.
pub(super) fn set_root(mount: &Path, wanted: Root) -> io::Result<Root> {
    if root(mount)? != wanted {
        std::os::unix::fs::chown(mount, Some(wanted.uid), Some(wanted.gid))?;
        // After the owner, whose change takes the set-id bits away.
        fs::set_permissions(mount, Permissions::from_mode(wanted.mode))?;
    }
    root(mount)
}

/// Writes everything to the disk, so that nothing is lost with the node once we have said that it is there.
pub(super) fn sync(mount: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(mount)?)?)
}

/// Every entry below a directory, in restic's order: a directory before what is in it, names by their bytes. Beside
/// it, the path from there as bytes, with a leading slash.
pub(super) fn walk(mount: &Path) -> impl Iterator<Item = io::Result<(Vec<u8>, Entry)>> + use<> {
    let mut walk = Walk { mount: mount.to_owned(), open: vec![], failed: None };
    walk.enter(PathBuf::new());
    walk
}

struct Walk {
    mount: PathBuf,
    /// The directories on the way to where we are, each with the names still to come, the last one first.
    open: Vec<(PathBuf, Vec<OsString>)>,
    failed: Option<io::Error>,
}

impl Walk {
    fn enter(&mut self, directory: PathBuf) {
        let names = fs::read_dir(self.mount.join(&directory))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        match names {
            Ok(mut names) => {
                names.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
                self.open.push((directory, names));
            }
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Iterator for Walk {
    type Item = io::Result<(Vec<u8>, Entry)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.open.clear();
            return Some(Err(error));
        }
        let path = loop {
            let (directory, names) = self.open.last_mut()?;
            if let Some(name) = names.pop() {
                break directory.join(name);
            }
            self.open.pop();
        };
        let entry = fs::symlink_metadata(self.mount.join(&path)).map(|metadata| entry(&path, &metadata));
        if entry.as_ref().is_ok_and(|(_, entry)| entry.kind == Kind::Dir) {
            self.enter(path);
        }
        Some(entry)
    }
}

fn entry(path: &Path, metadata: &Metadata) -> (Vec<u8>, Entry) {
    let bytes = [b"/", path.as_os_str().as_bytes()].concat();
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    let entry = Entry {
        path: tree::shown(&bytes),
        kind: kind(metadata),
        size: metadata.size(),
        root: root_of(metadata),
        modified: DateTime::from_timestamp(metadata.mtime(), nanoseconds).unwrap_or_default(),
        inode: metadata.ino(),
    };
    (bytes, entry)
}

fn root_of(metadata: &Metadata) -> Root {
    Root { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() }
}

fn kind(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_file() {
        Kind::File
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_char_device() {
        Kind::CharDev
    } else if kind.is_block_device() {
        Kind::Dev
    } else {
        Kind::Irregular
    }
}
