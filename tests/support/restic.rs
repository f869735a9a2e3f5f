//! The real restic, and repositories to work on.
//!
//! A plain module: a suite takes it with `#[path = "support/restic.rs"] mod restic;`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::unnecessary_debug_formatting,
    dead_code,
    reason = "for tests; each suite uses a part, and names may have any byte"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The password of every repository here.
pub(crate) const PASSWORD: &str = "test-password";

/// restic's program: what RESTIC names, or the one in PATH.
pub(crate) fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = || env::split_paths(&path).map(|folder| folder.join("restic")).find(|file| file.is_file());
    let program = env::var_os("RESTIC").map(PathBuf::from).or_else(in_path);
    let program =
        program.expect("these tests need restic: set RESTIC to its path, or put it into PATH (make test does)");
    let version = Command::new(&program).arg("version").output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.starts_with("restic 0.19."), "these tests are about restic 0.19, this is {version}");
    program
}

/// A directory with a repository, a cache, and room for volumes. Removed at the end.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) program: PathBuf,
}

impl Place {
    /// Without a repository.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        Self { folder, program: program() }
    }

    /// With an empty repository: a copy of one that was made once, since making one takes seconds.
    pub(crate) fn new() -> Self {
        static TEMPLATE: OnceLock<Place> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let place = Self::empty();
            place.restic(&["init"]);
            place
        });
        let place = Self::empty();
        let copied = Command::new("cp").arg("-a").arg(template.repository()).arg(place.repository()).status();
        assert!(copied.unwrap().success());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// restic on the repository.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("RESTIC_REPOSITORY", self.repository())
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("RESTIC_CACHE_DIR", self.path("cache"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// Runs restic, which must succeed, and returns its output.
    pub(crate) fn restic(&self, arguments: &[&str]) -> String {
        let output: Output = self.command(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic {arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Leaves an exclusive lock of a process that is dead.
    pub(crate) fn leave_dead_lock(&self) {
        let mut child = self.command(&["check"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("a lock", || self.locks() > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(self.locks(), 1);
    }

    /// Locks in the repository: not the files that restic is about to make one of.
    pub(crate) fn locks(&self) -> usize {
        files(&self.repository().join("locks")).iter().filter(|name| !name.contains("-tmp-")).count()
    }
}

/// Names in a directory.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Waits for something that will be so soon.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}
