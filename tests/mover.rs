//! The real `strongroom mover` around the real restic. Needs root, for owners and capabilities.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "mover/catalogue.rs"]
mod catalogue;
#[path = "mover/locks.rs"]
mod locks;
#[path = "mover/others.rs"]
mod others;
#[path = "support/restic.rs"]
mod restic;
#[path = "support/tree.rs"]
mod tree;
#[path = "mover/without.rs"]
mod without;

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use restic::{PASSWORD, Place, files};
use rustix::process::{Pid, Signal, kill_process};
use strongroom::{
    api::common::Retention,
    core::task::{
        ANSWER_ENV, Answer, BASE_URL_ENV, BackedUp, BackupTask, BackupVolume, CheckTask, Failure, FailureKind, History,
        MAX_ANSWER, MaintainTask, Outcome, Part, RESTIC_ENV, RateLimits, ResolveTask, RestoreTask, RestoreTaskVolume,
        Selection, TASK_ENV, Task, Told,
    },
};

/// The capabilities that a mover has in a Job; a restore has one more.
const BACKUP: &str = "chown,dac_override,fowner";
const RESTORE: &str = "chown,dac_override,fowner,fsetid";

/// A mover that has ended.
struct Done {
    good: bool,
    answer: Answer,
    stdout: String,
    stderr: String,
    text: String,
}

impl Done {
    fn failure(&self) -> &Failure {
        match &self.answer.outcome {
            Outcome::Failed(failure) if !self.good => failure,
            _ => panic!("{:?}, {}", self.answer, self.stderr),
        }
    }

    /// The only volume's entry.
    fn backed_up(&self) -> &BackedUp {
        match &self.answer.outcome {
            Outcome::BackedUp(volumes) if volumes.len() == 1 => &volumes[0],
            _ => panic!("{:?}, {}", self.answer, self.stderr),
        }
    }
}

/// A mover in the making: with the privileges of a Job's, if they are given.
fn mover(place: &Place, task: &Task, capabilities: Option<&str>) -> Command {
    mover_from(Path::new(env!("CARGO_BIN_EXE_strongroom")), &place.program, place, task, capabilities)
}

/// A mover as user 1000, who may not look into the folders of whoever builds this: the programs are copied.
fn mover_as_user(place: &Place, task: &Task) -> Command {
    let copy = |program: &Path| {
        let copy = place.path(program.file_name().unwrap().to_str().unwrap());
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        copy
    };
    let (program, restic) = (copy(Path::new(env!("CARGO_BIN_EXE_strongroom"))), copy(&place.program));
    let mut command = mover_from(&program, &restic, place, task, None);
    command.uid(1000).gid(1000);
    command
}

fn mover_from(program: &Path, restic: &Path, place: &Place, task: &Task, capabilities: Option<&str>) -> Command {
    let program = program.to_str().unwrap();
    let mut command = match capabilities {
        None => Command::new(program),
        Some(names) => {
            let set = names.split(',').fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
            let mut command = Command::new("setpriv");
            command.args([&format!("--bounding-set={set}"), "--inh-caps=-all", "--no-new-privs", program]);
            command
        }
    };
    command
        .arg("mover")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env(TASK_ENV, serde_json::to_string(task).unwrap())
        .env(ANSWER_ENV, place.path("answer"))
        .env(RESTIC_ENV, restic)
        .env("RESTIC_CACHE_DIR", place.path("cache"))
        .env("RESTIC_REPOSITORY", place.repository())
        .env("RESTIC_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(command: &mut Command) -> Child {
    command.spawn().unwrap()
}

fn finish(place: &Place, child: Child) -> Done {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = fs::read_to_string(place.path("answer")).unwrap_or_else(|error| panic!("no answer: {error}, {stderr}"));
    assert!(text.len() <= MAX_ANSWER);
    let answer = serde_json::from_str(&text).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Done { good: output.status.success(), answer, stdout, stderr, text }
}

fn run(place: &Place, task: &Task) -> Done {
    finish(place, start(&mut mover(place, task, None)))
}

/// Backs up one volume, which is at `volume` and so has that path.
fn backup_of(volume: &Path) -> BackupTask {
    BackupTask { run: "app-0123456789".to_owned(), volumes: vec![backup_volume(volume)], ..BackupTask::default() }
}

fn backup_volume(volume: &Path) -> BackupVolume {
    let path = volume.to_str().unwrap().to_owned();
    BackupVolume { claim: "app".to_owned(), host: "media".to_owned(), path }
}

/// A restore of a snapshot of that volume.
fn restore_of(snapshot: &str, volume: &Path, mount: &Path) -> Task {
    let BackupVolume { claim, host, path } = backup_volume(volume);
    let (snapshot, mount) = (snapshot.to_owned(), mount.to_str().unwrap().to_owned());
    let volume = RestoreTaskVolume { claim, snapshot, host, path, mount };
    Task::Restore(RestoreTask {
        run: "app-9876543210".to_owned(),
        volumes: vec![volume],
        limits: RateLimits::default(),
    })
}

/// A place with a volume that has one file, and its snapshot.
fn with_snapshot() -> (Place, std::path::PathBuf, String) {
    let place = Place::new();
    let volume = place.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "content").unwrap();
    let done = run(&place, &Task::Backup(backup_of(&volume)));
    let snapshot = done.backed_up().snapshot.clone().unwrap();
    (place, volume, snapshot)
}

#[test]
fn everything_comes_back_with_a_jobs_privileges() {
    let place = Place::new();
    let (volume, restored) = (place.path("volume"), place.path("restored"));
    tree::create(&volume);
    fs::create_dir_all(volume.join("lost+found/of the file system")).unwrap();
    let done = finish(&place, start(&mut mover(&place, &Task::Backup(backup_of(&volume)), Some(BACKUP))));
    assert!(done.good, "{}", done.stderr);
    let entry = done.backed_up();
    assert!(entry.files >= 10_000 && entry.bytes > 64 << 20 && entry.added > 1 << 20 && !entry.unchanged, "{entry:?}");
    let id: strongroom::core::restic::messages::Config =
        serde_json::from_str(&place.restic(&["cat", "config", "--json"])).unwrap();
    assert_eq!(done.answer.repository, Some(id.id));

    fs::remove_dir_all(volume.join("lost+found")).unwrap();
    // As a new ext4 volume is.
    fs::create_dir_all(restored.join("lost+found")).unwrap();
    let task = restore_of(entry.snapshot.as_ref().unwrap(), &volume, &restored);
    let done = finish(&place, start(&mut mover(&place, &task, Some(RESTORE))));
    let Outcome::Restored(volumes) = &done.answer.outcome else { panic!("{:?}, {}", done.answer, done.stderr) };
    assert!(volumes[0].entries > 10_000 && volumes[0].bytes >= entry.bytes - 100, "{volumes:?}");
    fs::remove_dir(restored.join("lost+found")).unwrap();
    assert_eq!(tree::differences(&volume, &restored), Vec::<String>::new());

    // The comparison of this test can tell: each of these was equal a moment ago.
    fs::write(restored.join("regular"), "Regular\n").unwrap();
    fs::remove_file(restored.join("links/hard-2")).unwrap();
    rustix::fs::removexattr(restored.join("attributes/file"), "user.empty").unwrap();
    assert!(tree::differences(&volume, &restored).len() >= 3);
    // And a volume that was filled before, and changed since, is put right again.
    let done = run(&place, &task);
    assert!(done.good, "{:?} {}", done.answer, done.stderr);
    assert_eq!(tree::differences(&volume, &restored), Vec::<String>::new());
}

#[test]
fn what_has_not_changed_is_not_stored_again() {
    let (place, volume, first) = with_snapshot();
    let task = Task::Backup(backup_of(&volume));
    let again = run(&place, &task);
    let entry = again.backed_up();
    assert!(again.good && entry.unchanged, "{entry:?}");
    assert_eq!(entry.snapshot.as_deref(), Some(first.as_str()));
    assert_eq!((entry.files, entry.bytes), (1, 7));
    // The root is not in the tree, yet a change of it is one.
    fs::set_permissions(&volume, Permissions::from_mode(0o1711)).unwrap();
    let changed = run(&place, &task).backed_up().clone();
    assert!(!changed.unchanged && changed.snapshot != Some(first));
    let restored = place.path("restored");
    fs::create_dir(&restored).unwrap();
    assert!(run(&place, &restore_of(&changed.snapshot.unwrap(), &volume, &restored)).good);
    assert_eq!(fs::metadata(&restored).unwrap().mode() & 0o7777, 0o1711);
    assert_eq!(files(&place.repository().join("snapshots")).len(), 2);
}

#[test]
fn what_is_excluded_is_not_stored() {
    let (place, volume, _) = with_snapshot();
    for path in ["cache/x", "sub/cache/x", "marked/.nobackup", "a.tmp", "lost+found/x", "sub/lost+found/x"] {
        fs::create_dir_all(volume.join(path).parent().unwrap()).unwrap();
        fs::write(volume.join(path), "x").unwrap();
    }
    let mut task = backup_of(&volume);
    task.exclude = vec!["/cache".to_owned(), "*.tmp".to_owned()];
    task.exclude_if_present = vec![".nobackup".to_owned()];
    let entry = run(&place, &Task::Backup(task)).backed_up().clone();
    let listed = place.restic(&["ls", &entry.snapshot.unwrap()]);
    let paths: Vec<_> = listed.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(
        paths,
        [
            "/file",
            "/marked",
            "/marked/.nobackup",
            "/sub",
            "/sub/cache",
            "/sub/cache/x",
            "/sub/lost+found",
            "/sub/lost+found/x"
        ]
    );
}

#[test]
fn an_unreadable_file_makes_a_partial_snapshot() {
    let place = Place::new();
    let volume = place.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("readable"), "x").unwrap();
    fs::write(volume.join("secret"), "x").unwrap();
    fs::set_permissions(volume.join("secret"), Permissions::from_mode(0o600)).unwrap();
    own(&place, 1000);
    chown(volume.join("secret"), Some(0), Some(0)).unwrap();
    let task = Task::Backup(backup_of(&volume));
    let first = finish(&place, start(&mut mover_as_user(&place, &task)));
    assert!(!first.good);
    let entry = first.backed_up();
    assert_eq!((entry.unread, entry.files, entry.snapshot.as_ref().map(String::len)), (1, 1, Some(64)), "{entry:?}");
    let failure = entry.failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Partial);
    assert!(failure.message.contains("secret: permission denied"), "{failure:?}");
    // Nothing new the next time, and no success either.
    let again = finish(&place, start(&mut mover_as_user(&place, &task)));
    assert!(!again.good && again.backed_up().unchanged && again.backed_up().unread == 1, "{:?}", again.answer);
}

#[test]
fn a_missing_repository_is_created_under_a_base_only() {
    let place = Place::empty();
    let base = Place::new();
    let volume = place.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "content").unwrap();
    let mut task = backup_of(&volume);
    let missing = run(&place, &Task::Backup(task.clone()));
    assert_eq!(missing.failure().kind, FailureKind::NoRepository);
    let probed = run(&base, &Task::Probe);
    assert_eq!((probed.good, &probed.answer.outcome), (true, &Outcome::Found));
    let id = probed.answer.repository.unwrap();

    let run_under = |task: &BackupTask, base: &Path| {
        finish(&place, start(mover(&place, &Task::Backup(task.clone()), None).env(BASE_URL_ENV, base)))
    };
    task.create_under_base = Some("0".repeat(64));
    let other = run_under(&task, &base.repository());
    assert_eq!(other.failure().kind, FailureKind::BaseChanged);
    assert_eq!(other.answer.repository, None);
    task.create_under_base = Some(id.clone());
    assert_eq!(run_under(&task, &place.path("nowhere")).failure().kind, FailureKind::BaseChanged);
    assert!(!place.repository().exists(), "nothing was created");

    let created = run_under(&task, &base.repository());
    assert!(created.good && created.backed_up().snapshot.is_some(), "{:?}", created.answer);
    let new = created.answer.repository.unwrap();
    assert!(new.len() == 64 && new != id);
    // Who restores or looks never creates.
    let elsewhere = Place::empty();
    for task in
        [restore_of(&new, &volume, &volume), resolve(&volume, Selection::default()), Task::Probe, maintain(&volume, 1)]
    {
        assert_eq!(run(&elsewhere, &task).failure().kind, FailureKind::NoRepository);
    }
    assert!(!elsewhere.repository().exists());
    // Create, again after it was created.
    for outcome in [Outcome::Created, Outcome::Found] {
        assert_eq!(run(&elsewhere, &Task::Create).answer.outcome, outcome);
    }
}

#[test]
fn an_empty_volume_is_no_success() {
    let (place, volume, _) = with_snapshot();
    fs::remove_file(volume.join("file")).unwrap();
    fs::create_dir(volume.join("lost+found")).unwrap();
    let done = run(&place, &Task::Backup(backup_of(&volume)));
    assert!(!done.good && done.backed_up().snapshot.is_none(), "{:?}", done.answer);
    let failure = done.backed_up().failure.clone().unwrap();
    let message = (failure.kind, failure.message.as_str());
    assert_eq!(
        message,
        (FailureKind::Empty, "the volume is empty, or all of it is excluded: there is nothing to back up")
    );
}

#[test]
fn passwords() {
    let place = Place::new();
    let with = |name: &str, value: &str| {
        finish(&place, start(mover(&place, &Task::Probe, None).env_remove("RESTIC_PASSWORD").env(name, value)))
    };
    let wrong = with("RESTIC_PASSWORD", "another-canary");
    assert_eq!(wrong.failure().kind, FailureKind::WrongPassword);
    let canary = place.path("canary");
    let command = with("RESTIC_PASSWORD_COMMAND", &format!("touch {}", canary.display()));
    assert_eq!((command.failure().kind, canary.exists()), (FailureKind::WrongPassword, false));
    assert_eq!(command.failure().message, "RESTIC_PASSWORD is not set");
    fs::write(&canary, PASSWORD).unwrap();
    assert_eq!(with("RESTIC_PASSWORD_FILE", canary.to_str().unwrap()).failure().kind, FailureKind::WrongPassword);
}

#[test]
fn told_to_stop_it_answers_and_leaves_no_lock() {
    let place = Place::new();
    let volume = place.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("large"), (0..24 * 1024).flat_map(tree::noise).collect::<Vec<_>>()).unwrap();
    let mut task = backup_of(&volume);
    task.volumes.push(BackupVolume { claim: "second".to_owned(), ..task.volumes[0].clone() });
    task.limits.upload = Some(1024);
    let mut command = mover(&place, &Task::Backup(task), None);
    let mut child = start(command.env("RESTIC_PACK_SIZE", "4"));
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let Told::Progress(progress) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    // One of two volumes cannot be more than half of it.
    assert!(progress.bytes_total == 24 << 20 && progress.percent <= 50, "{progress:?}");
    assert_eq!(place.locks(), 1);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let done = finish(&place, child);
    assert_eq!(done.failure().kind, FailureKind::Interrupted, "{:?}", done.answer);
    assert_eq!(place.locks(), 0);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().count() <= 2, "no more than a line every five seconds: {rest}");
}

#[test]
fn a_check_finds_damage_in_the_part_that_it_reads() {
    let (place, volume, _) = with_snapshot();
    fs::write(volume.join("large"), (0..2 * 1024).flat_map(tree::noise).collect::<Vec<_>>()).unwrap();
    assert!(run(&place, &Task::Backup(backup_of(&volume))).good);
    let check = |part: Option<(u32, u32)>| {
        let part = part.map(|(number, of)| Part { number, of });
        let done = run(&place, &Task::Check(CheckTask { part, ..CheckTask::default() }));
        match &done.answer.outcome {
            Outcome::Checked(checked) => (done.good, checked.errors, checked.first.clone()),
            other => panic!("{other:?} {}", done.stderr),
        }
    };
    assert_eq!([check(None), check(Some((1, 2))), check(Some((2, 2)))].map(|of| of.1), [0, 0, 0]);
    let packs = walk(&place.repository().join("data"));
    let large = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    fs::set_permissions(large, Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(large).unwrap();
    bytes[1000..1100].fill(0);
    fs::write(large, bytes).unwrap();
    // The structure is whole; only who reads the data sees it.
    assert_eq!(check(None).1, 0);
    let name = large.file_name().unwrap().to_str().unwrap();
    let (good, errors, first) = [check(Some((1, 2))), check(Some((2, 2)))].into_iter().find(|of| of.1 > 0).unwrap();
    assert!(!good && errors == 1 && first.contains(name), "{errors} {first}");
    fs::remove_file(large).unwrap();
    let (good, errors, first) = check(None);
    assert!(!good && errors >= 1 && first.contains("does not exist"), "{errors} {first}");
    assert_eq!(place.locks(), 0);
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn resolve(volume: &Path, selection: Selection) -> Task {
    Task::Resolve(ResolveTask { volumes: vec![backup_volume(volume)], selection, not_good: vec![], accepted: vec![] })
}

#[test]
fn restores_work_on_a_repository_that_cannot_be_written_and_has_a_dead_lock() {
    let (place, volume, snapshot) = with_snapshot();
    place.leave_dead_lock();
    own(&place, 1000);
    let restored = place.path("restored");
    fs::create_dir(&restored).unwrap();
    chown(&restored, Some(1000), Some(1000)).unwrap();
    let chmod = Command::new("chmod").args(["-R", "a-w"]).arg(place.repository()).status().unwrap();
    assert!(chmod.success());
    // The snapshot is root's: who may not give files away restores what is not the same, and says so.
    let as_user = |task: &Task| finish(&place, start(&mut mover_as_user(&place, task)));
    let found = as_user(&resolve(&volume, Selection::default()));
    let Outcome::Resolved(resolved) = &found.answer.outcome else { panic!("{:?} {}", found.answer, found.stderr) };
    assert_eq!(
        (resolved[0].snapshot.as_str(), resolved[0].files, resolved[0].bytes),
        (snapshot.as_str(), Some(1), Some(7))
    );
    let foreign = as_user(&restore_of(&snapshot, &volume, &restored));
    assert_eq!(foreign.failure().kind, FailureKind::CheckFailed);
    assert!(foreign.failure().message.contains("/file: belongs to 1000:1000 instead of 0:0"), "{:?}", foreign.answer);
    assert!(run(&place, &restore_of(&snapshot, &volume, &restored)).good);
    // Looking for something to forget needs no lock either.
    assert!(run(&place, &maintain(&volume, 1)).good);
    assert_eq!(place.locks(), 1, "not ours to remove");
}

#[test]
fn snapshots_are_found_by_time_and_place() {
    let (place, volume, newest) = with_snapshot();
    for time in ["2024-01-01 10:00:00", "2024-01-02 10:00:00"] {
        let mut command = place.command(&["backup", ".", "--host=media", "--time", time]);
        assert!(command.current_dir(&volume).stdout(Stdio::null()).status().unwrap().success());
    }
    let found = |selection| match run(&place, &resolve(&volume, selection)).answer.outcome {
        Outcome::Resolved(found) => found[0].time.to_rfc3339(),
        Outcome::Failed(failure) => format!("{:?}: {}", failure.kind, failure.message.split(" is ").nth(1).unwrap()),
        other => panic!("{other:?}"),
    };
    let as_of = |time: &str, previous| Selection { id: None, as_of: Some(time.parse().unwrap()), previous };
    assert_eq!(found(as_of("2024-01-02T10:00:00Z", 0)), "2024-01-02T10:00:00+00:00");
    assert_eq!(found(as_of("2024-01-02T09:59:59Z", 0)), "2024-01-01T10:00:00+00:00");
    assert_eq!(found(Selection { previous: 2, ..Selection::default() }), "2024-01-01T10:00:00+00:00");
    let none = found(as_of("2023-12-31T00:00:00Z", 0));
    assert!(none.starts_with("NoSnapshot: good and from 2023-12-31T00:00:00Z or earlier; the repository has 3: "));
    let by_id = run(&place, &resolve(&volume, Selection { id: Some(newest[..8].to_owned()), ..Selection::default() }));
    assert!(by_id.good);
    let elsewhere = run(&place, &resolve(Path::new("/data/other"), Selection::default()));
    assert_eq!(elsewhere.failure().kind, FailureKind::NoSnapshot);
}

#[test]
fn a_volume_that_is_not_the_snapshot_is_no_success() {
    let (place, volume, snapshot) = with_snapshot();
    let restored = place.path("restored");
    fs::create_dir(&restored).unwrap();
    fs::write(restored.join("of another"), "x").unwrap();
    let done = run(&place, &restore_of(&snapshot, &volume, &restored));
    assert_eq!(done.failure().kind, FailureKind::CheckFailed);
    assert!(done.failure().message.ends_with("/of another is not in the snapshot"), "{:?}", done.failure());
    // In a shared repository an id may be of another's snapshot, which must not get into the volume.
    fs::remove_file(restored.join("of another")).unwrap();
    fs::remove_file(restored.join("file")).unwrap();
    let another = restore_of(&snapshot, Path::new("/data/another"), &restored);
    for (task, id) in [(another, &snapshot), (restore_of(&"0".repeat(64), &volume, &restored), &"0".repeat(64))] {
        let done = run(&place, &task);
        assert_eq!(done.failure().kind, FailureKind::NoSnapshot, "{:?}", done.answer);
        assert!(done.failure().message.contains(&format!("has the id {id}")), "{:?}", done.failure());
        assert_eq!(fs::read_dir(&restored).unwrap().count(), 0);
    }
}

#[test]
fn what_a_mover_may_not_set_is_reported() {
    let place = Place::new();
    let (volume, restored) = (place.path("volume"), place.path("restored"));
    fs::create_dir(&volume).unwrap();
    fs::create_dir(&restored).unwrap();
    fs::write(volume.join("ping"), "x").unwrap();
    let net_raw: Vec<u8> = [0x0200_0001_u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(volume.join("ping"), "security.capability", &net_raw, flags).unwrap();
    let entry = run(&place, &Task::Backup(backup_of(&volume))).backed_up().clone();
    let task = restore_of(&entry.snapshot.unwrap(), &volume, &restored);
    let done = finish(&place, start(&mut mover(&place, &task, Some(RESTORE))));
    assert_eq!(done.failure().kind, FailureKind::CheckFailed);
    assert!(done.failure().message.contains("ping security.capability: operation not permitted"), "{:?}", done.answer);
    assert!(run(&place, &task).good, "who may, can");
}

#[test]
fn a_full_volume() {
    let place = Place::new();
    let (volume, small) = (place.path("volume"), place.path("small"));
    fs::create_dir(&volume).unwrap();
    fs::create_dir(&small).unwrap();
    fs::write(volume.join("file"), (0..4096).flat_map(tree::noise).collect::<Vec<_>>()).unwrap();
    let entry = run(&place, &Task::Backup(backup_of(&volume))).backed_up().clone();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1M", "tmpfs"]).arg(&small).status().unwrap();
    assert!(mounted.success());
    let done = run(&place, &restore_of(&entry.snapshot.unwrap(), &volume, &small));
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(done.failure().kind, FailureKind::NoSpace);
    assert!(done.failure().message.contains("no space left on device"), "{:?}", done.failure());
}

#[test]
fn a_full_cache_is_gone_on_without() {
    let place = Place::new();
    let (volume, cache) = (place.path("volume"), place.path("cache"));
    fs::create_dir_all(volume.join("many")).unwrap();
    for index in 0..1500 {
        fs::write(volume.join(format!("many/a-file-with-a-long-name-{index}")), format!("content {index}")).unwrap();
    }
    let first = run(&place, &Task::Backup(backup_of(&volume)));
    fs::remove_dir_all(&cache).unwrap();
    fs::create_dir(&cache).unwrap();
    fs::write(volume.join("one-more"), "content").unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=100k", "tmpfs"]).arg(&cache).status().unwrap();
    assert!(mounted.success());
    let second = run(&place, &Task::Backup(backup_of(&volume)));
    let again = run(&place, &Task::Backup(backup_of(&volume)));
    assert!(Command::new("umount").arg(&cache).status().unwrap().success());
    assert!(second.good && again.good, "{:?} {:?}", second.answer, again.answer);
    let log = second.stdout.clone() + &second.stderr;
    assert!(log.contains("restic's cache is full: it goes on without one"), "{log}");
    assert_eq!((second.backed_up().files, again.backed_up().unchanged), (1501, true));
    // Whether it is the known repository is asked of it, as no cache tells.
    assert!(first.answer.repository.is_some());
    assert_eq!(
        (&second.answer.repository, &again.answer.repository),
        (&first.answer.repository, &first.answer.repository)
    );
}

fn maintain(volume: &Path, last: u32) -> Task {
    let retention = Retention { last: Some(last), ..Retention::default() };
    let history = History {
        host: "media".to_owned(),
        path: volume.to_str().unwrap().to_owned(),
        backup: "media/app".to_owned(),
        retention,
        ..History::default()
    };
    Task::Maintain(MaintainTask { histories: vec![history], ..MaintainTask::default() })
}

#[test]
fn maintenance_forgets_what_is_not_kept_and_frees_its_space() {
    let (place, volume, _) = with_snapshot();
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    for content in 0_u64..2 {
        fs::write(volume.join("file"), (0..1024).flat_map(|kib| tree::noise(content * 1024 + kib)).collect::<Vec<_>>())
            .unwrap();
        assert!(run(&place, &Task::Backup(backup_of(&volume))).good);
        fs::write(other.join(content.to_string()), "x").unwrap();
        assert!(run(&place, &Task::Backup(backup_of(&other))).good);
    }
    let done = run(&place, &maintain(&volume, 1));
    let Outcome::Maintained(maintained) = &done.answer.outcome else { panic!("{:?}", done.answer) };
    assert_eq!((maintained.kept, maintained.forgotten), (3, 2));
    assert!((1 << 20..1_500_000).contains(&maintained.bytes), "one of two versions is left: {maintained:?}");
    assert_eq!(place.locks(), 0);
    place.restic(&["check"]);
    let again = run(&place, &maintain(&volume, 1));
    assert!(matches!(&again.answer.outcome, Outcome::Maintained(done) if done.forgotten == 0 && done.kept == 3));
}

#[test]
fn secrets_stay_where_they_are() {
    let place = Place::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    // What the server says holds what it was sent.
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = std::io::Read::read(&mut stream, &mut request).unwrap();
            let body = String::from_utf8_lossy(&request[..length]).into_owned();
            let _ = std::io::Write::write_all(
                &mut stream,
                format!(
                    "HTTP/1.1 403 canary-password-1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
        }
    });
    let urls = [
        format!("rest:http://user:canary-url-2@{address}/app/"),
        format!("rest:http://user:canary-url-2@{address}/app%"),
        format!("s3:http://{address}/bucket/app"),
    ];
    for url in urls {
        let mut command = mover(&place, &Task::Probe, None);
        command
            .env("RESTIC_REPOSITORY", &url)
            .env("RESTIC_PASSWORD", "canary-password-1")
            .env("AWS_ACCESS_KEY_ID", "canary-key-3")
            .env("AWS_SECRET_ACCESS_KEY", "canary-secret-4")
            .env("GOOGLE_APPLICATION_CREDENTIALS", "{\"private_key\": \"canary-google-5\"}");
        let done = finish(&place, start(&mut command));
        assert_eq!(done.failure().kind, FailureKind::Unreachable, "{:?}", done.answer);
        for text in [&done.text, &done.stdout, &done.stderr] {
            assert!(!text.contains("canary"), "{text}");
        }
        let left = files(&place.path("cache"));
        assert!(left.iter().all(|name| !name.contains("GOOGLE")), "{left:?}");
    }
}

/// Gives a place to a user.
fn own(place: &Place, uid: u32) {
    let owned = Command::new("chown").arg("-R").arg(format!("{uid}:{uid}")).arg(place.folder.path()).status().unwrap();
    assert!(owned.success());
    fs::set_permissions(place.folder.path(), Permissions::from_mode(0o755)).unwrap();
}
