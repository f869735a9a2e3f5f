//! A history that another program has begun, or goes on to write.

use strongroom::core::task::Others;

use super::*;

/// What VolSync's mover does, but for its paths: no tag, from within the volume.
fn another_backs_up(place: &Place, volume: &Path) {
    let output = place
        .command(&["backup", "--host", "media", "--exclude=lost+found", "."])
        .current_dir(volume)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn watching(volume: &Path) -> Task {
    Task::Backup(BackupTask { watch: Some(Box::default()), ..backup_of(volume) })
}

fn snapshots(place: &Place) -> Vec<serde_json::Value> {
    serde_json::from_str(&place.restic(&["snapshots", "--json", "--no-lock"])).unwrap()
}

#[test]
fn what_another_program_began_goes_on() {
    let place = Place::new();
    let volume = place.path("volume");
    tree::create(&volume);
    // VolSync leaves out whatever has that name, wherever it is.
    let left_out = Command::new("find").arg(&volume).args(["-name", "lost+found", "-delete"]).status().unwrap();
    assert!(left_out.success());
    another_backs_up(&place, &volume);
    let before = snapshots(&place);
    let data = place.restic(&["list", "blobs", "--no-lock"]);
    let of_data = |list: &str| list.lines().filter(|line| line.starts_with("data")).count();
    let done = run(&place, &watching(&volume));
    assert!(done.good, "{}", done.stderr);
    assert_eq!(done.backed_up().others, Some(Others::None));
    // No tag says what the root is, so a snapshot is stored; it has no data of its own.
    let after = snapshots(&place);
    assert_eq!(after.len(), 2);
    assert_eq!(after[0], before[0], "nothing is rewritten");
    assert_eq!(after[1]["parent"], before[0]["id"]);
    assert_eq!(after[1]["summary"]["data_blobs"], 0);
    assert_eq!(of_data(&place.restic(&["list", "blobs", "--no-lock"])), of_data(&data));
    assert_eq!((&after[1]["hostname"], &after[1]["paths"]), (&before[0]["hostname"], &before[0]["paths"]));
    // From then on unchanged data needs no snapshot.
    let again = run(&place, &watching(&volume));
    assert!(again.good && again.backed_up().unchanged, "{:?}", again.answer);
    assert_eq!(again.backed_up().others, Some(Others::None));
    // And what another program wrote is restored.
    let target = place.path("target");
    fs::create_dir(&target).unwrap();
    let done = run(&place, &restore_of(before[0]["id"].as_str().unwrap(), &volume, &target));
    assert!(done.good, "{}", done.stderr);
    // Of the root itself it has nothing.
    let differences = tree::differences(&volume, &target);
    let of_the_root = |line: &String| line.starts_with("\"\":");
    assert!(differences.iter().all(of_the_root), "{differences:?}");
}

#[test]
fn another_program_that_goes_on_is_told_and_nothing_is_forgotten() {
    let (place, volume, _) = with_snapshot();
    fs::write(volume.join("file"), "another").unwrap();
    another_backs_up(&place, &volume);
    let theirs = snapshots(&place).pop().unwrap();
    let wrote = |done: &Done| match &done.backed_up().others {
        Some(Others::Wrote(written)) => Some(written.snapshot.clone()),
        _ => None,
    };
    let unchanged = run(&place, &watching(&volume));
    assert!(unchanged.good, "{}", unchanged.stderr);
    assert_eq!(wrote(&unchanged).as_deref(), theirs["short_id"].as_str());
    fs::write(volume.join("file"), "changed").unwrap();
    let changed = run(&place, &watching(&volume));
    assert!(changed.good, "{}", changed.stderr);
    assert_eq!(wrote(&changed).as_deref(), theirs["short_id"].as_str());
    fs::write(volume.join("file"), "changed again").unwrap();
    assert_eq!(run(&place, &Task::Backup(backup_of(&volume))).backed_up().others, None, "nobody asked");
    let held = run(&place, &maintain(&volume, 1));
    let Outcome::Maintained(done) = &held.answer.outcome else { panic!("{:?}", held.answer) };
    assert_eq!(done.forgotten, 0);
    let told = done.held.as_ref().unwrap();
    assert_eq!((told.backup.as_str(), told.host.as_str()), ("media/app", "media"));
    // Accepted, as its condition asks.
    let Task::Maintain(mut task) = maintain(&volume, 1) else { panic!("it is") };
    task.histories[0].watch.accepted = Some(told.written.time);
    let accepted = run(&place, &Task::Maintain(task));
    let Outcome::Maintained(done) = &accepted.answer.outcome else { panic!("{:?}", accepted.answer) };
    assert!(done.held.is_none() && done.forgotten > 0 && done.kept == 1, "{done:?}");
}
