//! Who waits for a mover sees how far it is.

use std::time::Duration;

use serde_json::Value;

use crate::{
    apps::{app, backup, has_run, mounted_at, request_run, running},
    apps::{ended, restore_of},
    support::{SOON, apply, beside_others, create, eventually, get, namespace, on_node},
};

/// Waits until a status tells progress that is neither none nor all.
fn halfway(what: &str, status: impl Fn() -> Option<Value>) -> Value {
    eventually(&format!("{what} says how far it is"), SOON, || {
        let progress = status()?;
        (1..100).contains(&progress["percent"].as_i64()?).then_some(progress)
    })
}

#[test]
fn a_mover_that_takes_long_says_how_far_it_is() {
    let _guard = beside_others();
    namespace("progress");
    apply(&app("progress", "app", "ceph-block"));
    running("progress", "app");
    let file = format!("{}/file", mounted_at("progress", "app"));
    on_node(&["sh", "-c", &format!("dd if=/dev/urandom of={file} bs=1M count=200 2>/dev/null && sync")]);
    // Little processor time makes it last.
    let slow = "spec: {mover: {resources: {limits: {cpu: 50m}}}, ";
    apply(&backup("progress", "app").replace("spec: {", slow));
    let token = request_run("progress", "app");
    let seen =
        halfway("the backup", || Some(get("volumebackup", "progress", "app")?["status"]["run"]["progress"].clone()));
    println!("a backup: {seen}");
    assert!(seen["bytesTotal"].as_i64() >= Some(200 << 20), "{seen}");
    let status = eventually("the backup ends", Duration::from_mins(5), || has_run("progress", "app", &token));
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");

    let name = create(&restore_of("progress", "app"));
    let seen = halfway("the restore", || Some(get("volumerestore", "progress", &name)?["status"]["progress"].clone()));
    println!("a restore: {seen}");
    let restore = ended("progress", &name);
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
}
