//! restic's locks: whose are removed, and whose are waited for.

use strongroom::core::task::Told;

use super::*;
use crate::restic::wait_for;

/// A restic on another host that holds a lock, until its input ends.
fn on_another_host(place: &Place) -> Child {
    let plain = place.command(&["backup", "--stdin"]);
    let mut command = Command::new("unshare");
    command.args(["--uts", "--fork", "--kill-child", "sh", "-c", "hostname elsewhere && exec \"$@\"", "sh"]);
    command.arg(plain.get_program()).args(plain.get_args()).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let before = place.locks();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the lock of another host", || place.locks() > before);
    child
}

fn small_volume(place: &Place) -> std::path::PathBuf {
    let volume = place.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "content").unwrap();
    volume
}

fn a_large_backup(place: &Place) -> Child {
    let volume = place.path("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("large"), (0..24 * 1024).flat_map(tree::noise).collect::<Vec<_>>()).unwrap();
    let mut task = backup_of(&volume);
    task.limits.upload = Some(1024);
    let child = start(mover(place, &Task::Backup(task), None).env("RESTIC_PACK_SIZE", "4"));
    wait_for("the lock of the backup", || place.locks() == 1);
    child
}

/// Process ids of the children of a process.
fn children(of: &Child) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", of.id())).unwrap();
    list.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().unwrap())).collect()
}

#[test]
fn the_lock_of_a_mover_that_was_killed_is_removed_and_no_other() {
    let place = Place::new();
    let mut child = a_large_backup(&place);
    let restic = children(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    for process in restic {
        kill_process(process, Signal::KILL).unwrap();
    }
    let mut elsewhere = on_another_host(&place);
    assert_eq!(place.locks(), 2);
    let done = run(&place, &Task::Unlock);
    assert!(done.good, "{:?} {}", done.answer, done.stderr);
    assert_eq!((&done.answer.outcome, place.locks()), (&Outcome::Unlocked(1), 1));
    // Where there is none, that is said too.
    assert_eq!(run(&place, &Task::Unlock).answer.outcome, Outcome::Unlocked(0));
    drop(elsewhere.stdin.take());
    elsewhere.wait().unwrap();
    assert!(place.restic(&["check"]).contains("no errors were found"));
}

#[test]
fn a_mover_removes_the_lock_of_its_own_restic_that_was_killed() {
    let place = Place::new();
    let child = a_large_backup(&place);
    for process in children(&child) {
        kill_process(process, Signal::KILL).unwrap();
    }
    let done = finish(&place, child);
    assert_eq!(done.failure().kind, FailureKind::Interrupted, "{:?} {}", done.answer, done.stderr);
    assert_eq!(place.locks(), 0, "{}", done.stderr);
}

#[test]
fn a_lock_that_is_alive_on_this_host_is_not_removed() {
    let place = Place::new();
    let child = a_large_backup(&place);
    let done = run(&place, &Task::Unlock);
    assert_eq!((done.failure().kind, place.locks()), (FailureKind::Fatal, 1), "{:?}", done.answer);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    finish(&place, child);
}

#[test]
fn a_dead_lock_in_the_way_is_removed_and_not_waited_for() {
    let place = Place::new();
    let volume = small_volume(&place);
    place.leave_dead_lock();
    let started = std::time::Instant::now();
    let done = run(&place, &Task::Backup(backup_of(&volume)));
    assert!(done.good, "{:?} {}", done.answer, done.stderr);
    // restic waits five minutes for one that is alive.
    assert!(started.elapsed() < std::time::Duration::from_mins(1));
    assert_eq!(place.locks(), 0);
}

#[test]
fn a_live_lock_in_the_way_is_waited_for_and_named() {
    let (place, volume, _) = with_snapshot();
    let mut elsewhere = on_another_host(&place);
    fs::write(volume.join("file"), "other content").unwrap();
    assert!(run(&place, &Task::Backup(backup_of(&volume))).good);
    // Two snapshots, of which one is kept: forget wants the repository for itself.
    let mut child = start(&mut mover(&place, &maintain(&volume, 1), None));
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let Told::Waits(what) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    assert!(what.contains("locked by PID") && what.contains("on elsewhere") && what.contains("ago)"), "{what}");
    assert_eq!(place.locks(), 1, "alive, and not ours to remove");
    drop(elsewhere.stdin.take());
    elsewhere.wait().unwrap();
    let done = finish(&place, child);
    assert!(done.good, "{:?} {}", done.answer, done.stderr);
    assert_eq!(place.locks(), 0);
}

#[test]
fn a_live_lock_is_told_and_removed_only_if_someone_accepted_exactly_that() {
    let (place, volume, _) = with_snapshot();
    let mut elsewhere = on_another_host(&place);
    fs::write(volume.join("file"), "other content").unwrap();
    assert!(run(&place, &Task::Backup(backup_of(&volume))).good);
    // Nothing is to be forgotten, so no lock is in the way.
    let locks = run(&place, &maintain(&volume, 2)).answer.locks.unwrap();
    let [lock] = &locks[..] else { panic!("{locks:?}") };
    assert_eq!((lock.host.as_str(), lock.exclusive), ("elsewhere", false));
    let unlocking = |id: &str| {
        let Task::Maintain(task) = maintain(&volume, 1) else { panic!("it is maintenance") };
        Task::Maintain(MaintainTask { unlock: vec![id.to_owned()], ..task })
    };
    let mut child = start(&mut mover(&place, &unlocking("01234567"), None));
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    // It asks for the lock again when it has looked at those that are there.
    wait_for("restic waits for the lock", || {
        let waits = |process: &Pid| {
            let path = format!("/proc/{}/cmdline", process.as_raw_nonzero());
            fs::read(path).is_ok_and(|line| String::from_utf8_lossy(&line).contains("--retry-lock"))
        };
        children(&child).iter().any(waits)
    });
    assert_eq!(place.locks(), 1, "another one was accepted");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    finish(&place, child);
    let done = run(&place, &unlocking(&lock.id));
    assert!(done.good, "{:?} {}", done.answer, done.stderr);
    assert_eq!((place.locks(), done.answer.locks), (0, Some(vec![])));
    drop(elsewhere.stdin.take());
    elsewhere.wait().unwrap();
}

#[test]
fn a_check_that_cannot_be_done_has_found_no_errors() {
    let place = Place::new();
    let mut elsewhere = on_another_host(&place);
    let task = Task::Check(CheckTask::default());
    let waiting = || {
        let mut child = start(&mut mover(&place, &task, None));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(matches!(serde_json::from_str(&line).unwrap(), Told::Waits(_)), "{line}");
        child
    };
    let stopped = waiting();
    kill_process(Pid::from_child(&stopped), Signal::TERM).unwrap();
    assert_eq!(finish(&place, stopped).failure().kind, FailureKind::Interrupted);
    let child = waiting();
    drop(elsewhere.stdin.take());
    elsewhere.wait().unwrap();
    let done = finish(&place, child);
    assert!(matches!(&done.answer.outcome, Outcome::Checked(checked) if checked.errors == 0), "{:?}", done.answer);
    let nothing = Place::empty();
    assert_eq!(run(&nothing, &task).failure().kind, FailureKind::NoRepository);
}
