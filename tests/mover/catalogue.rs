//! The base's catalogue: what a cluster that knows nothing else learns from it.

use strongroom::core::{
    restic::messages::Snapshot,
    task::{Guard, Place as BackedUpAt, Verdict},
};

use super::*;

/// The base, beside the repository.
fn base(place: &Place) -> String {
    place.path("base").to_str().unwrap().to_owned()
}

fn create_base(place: &Place) {
    assert!(place.command(&["init", "--repo", &base(place)]).stdout(Stdio::null()).status().unwrap().success());
}

/// Runs a mover that knows the base, with a cache of its own, as each Job has it.
fn under_base(place: &Place, task: &Task) -> Done {
    fs::remove_dir_all(place.path("cache")).unwrap();
    fs::create_dir(place.path("cache")).unwrap();
    let mut command = mover(place, task, None);
    command.env(BASE_URL_ENV, base(place));
    finish(place, start(&mut command))
}

fn with_base() -> (Place, std::path::PathBuf) {
    let (place, volume, _) = with_snapshot();
    create_base(&place);
    (place, volume)
}

fn backed_up(place: &Place, task: &BackupTask) -> String {
    let done = under_base(place, &Task::Backup(task.clone()));
    // Whose repository it is does not depend on the base.
    assert!(done.answer.repository.is_some(), "{:?}", done.answer);
    done.backed_up().snapshot.clone().unwrap_or_else(|| panic!("{:?} {}", done.answer, done.stderr))
}

/// What is chosen where no status knows anything.
fn newest(place: &Place, volume: &Path) -> String {
    match under_base(place, &resolve(volume, Selection::default())).answer.outcome {
        Outcome::Resolved(found) => found[0].snapshot.clone(),
        other => panic!("{other:?}"),
    }
}

fn stated(place: &Place) -> Vec<Snapshot> {
    serde_json::from_str(&place.restic(&["snapshots", "--json", "--no-lock", "--repo", &base(place)])).unwrap()
}

#[test]
fn a_cluster_that_knows_nothing_takes_no_snapshot_that_was_not_good() {
    let (place, volume) = with_base();
    let mut task = backup_of(&volume);
    fs::write(volume.join("file"), "content that is longer").unwrap();
    fs::write(volume.join("second"), "x").unwrap();
    let good = backed_up(&place, &task);
    assert!(stated(&place).is_empty(), "the usual case says nothing, and starts restic once");
    assert_eq!(newest(&place, &volume), good);

    // Half of it is gone.
    task.guards = vec![Guard { claim: "app".to_owned(), files: 2, bytes: 23, percent: 60 }];
    fs::remove_file(volume.join("second")).unwrap();
    let suspect = backed_up(&place, &task);
    assert_ne!(suspect, good);
    assert_eq!(newest(&place, &volume), good);
    // It is there, for whoever names it.
    let by_id = Selection { id: Some(suspect[..8].to_owned()), ..Selection::default() };
    assert!(under_base(&place, &resolve(&volume, by_id)).good);
    // Nothing has changed since: all is said.
    assert_eq!(backed_up(&place, &task), suspect);
    assert_eq!(stated(&place).len(), 1);
    // It does not count where the newest one is kept.
    let done = under_base(&place, &maintain(&volume, 1));
    assert!(matches!(&done.answer.outcome, Outcome::Maintained(done) if done.forgotten == 1), "{:?}", done.answer);
    assert_eq!(newest(&place, &volume), good);

    // Someone accepts it, which the status knows first, and after the next run everyone.
    let mut knowing = resolve(&volume, Selection::default());
    if let Task::Resolve(task) = &mut knowing {
        task.accepted = vec![suspect.clone()];
    }
    let known = under_base(&place, &knowing).answer.outcome;
    assert!(matches!(&known, Outcome::Resolved(found) if found[0].snapshot == suspect), "{known:?}");
    task.guards = vec![];
    task.verdicts = vec![Verdict { snapshot: suspect.clone(), good: true }];
    assert_eq!(backed_up(&place, &task), suspect);
    assert_eq!(newest(&place, &volume), suspect);
}

#[test]
fn what_could_not_be_read_is_stated_too() {
    let (place, volume) = with_base();
    let first = newest(&place, &volume);
    fs::write(volume.join("of root"), "x").unwrap();
    fs::write(volume.join("of all"), "x").unwrap();
    fs::set_permissions(volume.join("of root"), Permissions::from_mode(0o600)).unwrap();
    own(&place, 1000);
    chown(volume.join("of root"), Some(0), Some(0)).unwrap();
    let mut command = mover_as_user(&place, &Task::Backup(backup_of(&volume)));
    command.env(BASE_URL_ENV, base(&place));
    let done = finish(&place, start(&mut command));
    assert_eq!(done.backed_up().unread, 1);
    assert!(done.backed_up().snapshot.as_ref().is_some_and(|snapshot| *snapshot != first));
    assert_eq!(newest(&place, &volume), first);
}

#[test]
fn the_base_says_what_is_backed_up_where() {
    let (place, volume) = with_base();
    let mut task = backup_of(&volume);
    let at = BackedUpAt {
        namespace: "media".to_owned(),
        name: "radarr".to_owned(),
        claim: "app".to_owned(),
        url: "rest:http://nas:8000/media,tv/radarr".to_owned(),
        host: "media".to_owned(),
        path: "/data/app".to_owned(),
    };
    task.places = vec![at.clone()];
    backed_up(&place, &task);
    let all = stated(&place);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].tags, ["place", "url=rest:http://nas:8000/media%2Ctv/radarr", "path=/data/app"]);
    let file = "/strongroom/catalogue/media/radarr/app";
    assert!(all[0].is_of("media", file), "{all:?}");
    let text = place.restic(&["dump", "latest", file, "--no-lock", "--repo", &base(&place)]);
    assert_eq!(serde_json::from_str::<BackedUpAt>(&text).unwrap(), at);
}

#[test]
fn a_repository_may_be_its_own_base() {
    let (place, volume, first) = with_snapshot();
    let own_base = |task: &Task| {
        let mut command = mover(&place, task, None);
        command.env(BASE_URL_ENV, place.repository());
        finish(&place, start(&mut command))
    };
    let mut task = backup_of(&volume);
    task.guards = vec![Guard { claim: "app".to_owned(), files: 100, bytes: 1, percent: 50 }];
    fs::write(volume.join("file"), "other").unwrap();
    assert!(own_base(&Task::Backup(task)).good);
    let found = own_base(&resolve(&volume, Selection::default())).answer.outcome;
    assert!(matches!(&found, Outcome::Resolved(found) if found[0].snapshot == first), "{found:?}");
    // What is stated there belongs to no history, and stays.
    let done = own_base(&maintain(&volume, 1));
    assert!(matches!(&done.answer.outcome, Outcome::Maintained(done) if done.forgotten == 0), "{:?}", done.answer);
}

#[test]
fn without_the_base_nothing_is_taken_for_good() {
    let (place, volume, first) = with_snapshot();
    let done = under_base(&place, &resolve(&volume, Selection::default()));
    assert_eq!(done.failure().kind, FailureKind::BaseChanged);
    // A backup is what it is.
    let mut task = backup_of(&volume);
    task.guards = vec![Guard { claim: "app".to_owned(), files: 100, bytes: 1, percent: 50 }];
    fs::write(volume.join("file"), "other").unwrap();
    let done = under_base(&place, &Task::Backup(task));
    assert!(done.good && done.stderr.contains("the base's catalogue cannot be told"), "{}", done.stderr);
    assert!(done.backed_up().untold);
    let bad = done.backed_up().snapshot.clone().unwrap();
    // The next run tells what it could not.
    create_base(&place);
    assert_eq!(newest(&place, &volume), bad);
    let mut task = backup_of(&volume);
    task.verdicts = vec![Verdict { snapshot: bad, good: false }];
    let done = under_base(&place, &Task::Backup(task));
    assert!(done.good && !done.backed_up().untold, "{:?}", done.answer);
    assert_eq!(newest(&place, &volume), first);
}
