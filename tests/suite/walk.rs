//! Every row of the page of messages happens: each object shows the row's phase, `Ready`, `Stalled` and reason, with a
//! message that names something of it; then what can be put right cheaply is, and clears by itself.
//!
//! The cases are objects in `tests/fixtures/messages`, with the annotations
//! - `strongroom.test/reason`: the row that the object shows;
//! - `strongroom.test/patch`: what puts it right, a merge patch;
//! - `strongroom.test/clears`: it gets ready when what is outside of it is put right (`cleared.yaml`, and `put_right`).

mod place;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{beside_others, condition, diagnose, get, kubectl};

const REASON: &str = "strongroom.test/reason";
const PATCH: &str = "strongroom.test/patch";
const CLEARS: &str = "strongroom.test/clears";
/// All kinds, as kubectl lists them.
const KINDS: &str = "secretstores.strongroom.dev,clustersecretstores.strongroom.dev,externalsecrets.strongroom.dev,\
                     resticrepositories,clusterresticrepositories,volumebackups,volumerestores";
/// How long it may take until everything is wrong, and until what clears is right again.
const LIMIT: Duration = Duration::from_mins(4);

/// Rows that cannot be made on a real cluster, or not in a few minutes, and the test that proves each.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    // A panic of the operator.
    ("SecretStore", "InternalError", "controllers::runner::tests::a_panic_is_a_problem_of_that_object_only"),
    ("ExternalSecret", "InternalError", "controllers::runner::tests::a_panic_is_a_problem_of_that_object_only"),
    ("ResticRepository", "InternalError", "controllers::runner::tests::a_panic_is_a_problem_of_that_object_only"),
    ("VolumeBackup", "InternalError", "controllers::runner::tests::a_panic_is_a_problem_of_that_object_only"),
    ("VolumeRestore", "InternalError", "controllers::runner::tests::a_panic_is_a_problem_of_that_object_only"),
    // What the API server refuses to read.
    ("SecretStore", "ClusterError", "controllers::namespaces::tests::nothing_is_told_before_all_is_known"),
    // restic itself waits five minutes for another's lock.
    ("VolumeBackup", "RepositoryLocked", "core::backup::tests::each_failure_has_its_reason_and_its_retries"),
    // Snapshots are looked for for 15 minutes.
    ("VolumeRestore", "DeadlineExceeded", "core::mover_state::tests::why_a_mover_ended"),
    // Somebody deletes the volume that was just filled.
    ("VolumeRestore", "StagingFailed", "core::restore::simulation::tests::a_new_volume_that_is_gone_is_said"),
    // The repository object, which is looked at before, says so first.
    ("VolumeBackup", "BaseMissing", "core::backup::tests::each_failure_has_its_reason_and_its_retries"),
    // So does it of credentials, which it looks at as soon as they change.
    ("VolumeBackup", "CredentialsMissing", LOSES),
    (
        "VolumeRestore",
        "CredentialsMissing",
        "core::restore::simulation::tests::what_may_clear_by_itself_is_waited_for_within_the_timeout_and_the_app_never_noticed",
    ),
    // A file system whose files cannot be read.
    ("VolumeBackup", "Partial", "core::backup::tests::each_failure_has_its_reason_and_its_retries"),
    // Another program, such as the real VolSync in its own suite.
    ("VolumeBackup", "HistoryIsShared", "core::backup::tests::another_writer_is_told_until_it_is_accepted_or_gone"),
    ("VolumeBackup", "Suspect", "core::backup::tests::much_less_than_before_is_suspect_until_accepted"),
    // What goes in the middle of a run or a restore, at a moment that cannot be met: further rows of their reasons.
    ("VolumeBackup", "RepositoryChanged Idle", "core::backup::tests::each_failure_has_its_reason_and_its_retries"),
    ("VolumeBackup", "ClaimNotFound Idle", LOSES),
    ("VolumeBackup", "ClaimPending Idle", LOSES),
    ("VolumeBackup", "RepositoryNotFound Idle", LOSES),
    ("VolumeBackup", "RepositoryNotReady Idle", LOSES),
    ("VolumeBackup", "RepositoryNotAllowed Idle", LOSES),
    ("VolumeBackup", "HistoryTaken Idle", LOSES),
    ("VolumeBackup", "SnapshotClassMissing Idle", LOSES),
    ("VolumeBackup", "VolumeUnsupported Idle", LOSES),
    (
        "VolumeRestore",
        "ClaimNotFound Failed",
        "core::restore::simulation::tests::a_claim_that_goes_while_its_data_is_restored_ends_the_restore",
    ),
    ("VolumeRestore", "Interrupted Failed", "core::restore::simulation::tests::a_deleted_restore_ends_as_interrupted"),
];
/// What a run needs goes while it runs.
const LOSES: &str = "core::backup::tests::a_run_that_loses_what_it_needs_ends_with_that_reason";

/// A row of the page.
#[derive(Debug)]
struct Row {
    kinds: Vec<String>,
    phase: String,
    ready: String,
    stalled: String,
    reason: String,
    /// The reason; where an earlier row has the same one, with the phase that tells the two apart.
    key: String,
}

/// An object that shows a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    kind: String,
    namespace: String,
    name: String,
    reason: String,
    patch: Option<String>,
    clears: bool,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The rows of the page.
fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/messages.md")).expect("the page");
    let (mut kinds, mut rows) = (vec![], vec![]);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            kinds = title.split(", ").map(str::to_owned).collect();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, phase, ready, stalled, reason, _, _, _] = cells[..] else { continue };
        if let Some(reason) = reason.strip_prefix('`').and_then(|reason| reason.strip_suffix('`')) {
            let [phase, ready, stalled, reason] = [phase, ready, stalled, reason].map(str::to_owned);
            let again = rows.iter().any(|row: &Row| row.kinds == kinds && row.reason == reason);
            let key = if again { format!("{reason} {phase}") } else { reason.clone() };
            rows.push(Row { kinds: kinds.clone(), phase, ready, stalled, reason, key });
        }
    }
    assert!(rows.len() > 50, "the page has rows: {rows:?}");
    rows
}

fn case(object: &Value) -> Option<Case> {
    let annotation = |name: &str| object["metadata"]["annotations"][name].as_str().map(str::to_owned);
    Some(Case {
        kind: text(object, "/kind").to_owned(),
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        reason: annotation(REASON)?,
        clears: annotation(CLEARS).is_some() || annotation(PATCH).is_some(),
        patch: annotation(PATCH),
    })
}

fn row_of<'a>(case: &Case, rows: &'a [Row]) -> &'a Row {
    let fits = |row: &&Row| row.kinds.contains(&case.kind) && row.key == case.reason;
    rows.iter().find(fits).unwrap_or_else(|| panic!("the page has no row for {case:?}"))
}

/// Whether the sources have a test of that path.
fn is_there(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").expect("a path");
    let files = [module, module.trim_end_matches("::tests")];
    files.iter().any(|module| {
        let file = format!("{}/src/{}.rs", env!("CARGO_MANIFEST_DIR"), module.replace("::", "/"));
        std::fs::read_to_string(file).is_ok_and(|source| source.contains(&format!("fn {name}()")))
    })
}

/// Every row has a case or stands in the list, and none has both.
fn nothing_is_left_out(rows: &[Row], cases: &[Case]) {
    for case in cases {
        row_of(case, rows);
    }
    for row in rows {
        let has_case = cases.iter().any(|case| row.kinds.contains(&case.kind) && case.reason == row.key);
        let listed = ELSEWHERE.iter().any(|(kind, reason, _)| row.kinds[0] == *kind && row.key == *reason);
        assert!(has_case || listed, "nothing shows that row: {row:?}");
        assert!(!(has_case && listed), "that row is shown, and stands in the list all the same: {row:?}");
    }
    for (kind, reason, test) in ELSEWHERE {
        assert!(is_there(test), "no such test: {test}");
        assert!(rows.iter().any(|row| row.kinds[0] == *kind && row.key == *reason), "no row: {kind} {reason}");
    }
}

/// All objects that are cases, as they are now.
fn observed() -> Vec<(Case, Value)> {
    let list: Value = serde_json::from_str(&kubectl(&["get", KINDS, "-A", "-o", "json"])).expect("kubectl prints JSON");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().filter_map(|object| Some((case(&object)?, object))).collect()
}

/// The message where the object shows the row, or what it shows instead.
fn shows(row: &Row, object: &Value) -> Result<String, String> {
    let phase = text(object, "/status/phase");
    let (ready, reason, message) = condition(object, "Ready").unwrap_or_default();
    let stalled = condition(object, "Stalled").map(|(status, ..)| status).unwrap_or_default();
    let seen = format!("{phase} Ready={ready} {reason} Stalled={stalled}: {message}");
    let (wanted, by_run) =
        row.ready.split_once(", and ").map_or((row.ready.as_str(), false), |(ready, _)| (ready, true));
    let fits = (row.phase.starts_with("as it was") || row.phase == phase) && ready == wanted;
    // The repository object, which is looked at after a run that failed, may have found the same.
    let found_too = by_run && (phase, reason.as_str()) == ("Blocked", "RepositoryNotReady");
    if !(fits || found_too) || (row.stalled == "True") != (stalled == "True") {
        return Err(seen);
    }
    if !by_run {
        return if reason == row.reason { Ok(message) } else { Err(seen) };
    }
    let runs = object["status"]["repositories"].as_array().cloned().unwrap_or_default();
    let last = runs.iter().find_map(|run| condition(&serde_json::json!({ "status": run }), "LastRunSucceeded"));
    match last {
        Some((status, reason, message)) if status == "False" && reason == row.reason => Ok(message),
        last => Err(format!("{seen}; last run {last:?}")),
    }
}

/// Words by which an object is known: its name, and what its spec says.
fn words(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let split = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
            into.extend(split.filter(|word| word.len() > 2).map(str::to_owned));
        }
        Value::Array(list) => list.iter().for_each(|value| words(value, into)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            words(value, into);
        }),
        _ => {}
    }
}

/// What is wrong with a message.
fn complaint(case: &Case, object: &Value, message: &str) -> Option<String> {
    let mut known = BTreeSet::from([case.name.clone()]);
    words(&object["spec"], &mut known);
    words(&object["metadata"]["labels"], &mut known);
    if let Some(backup) = object["spec"]["from"]["backup"].as_str() {
        let backup = get("volumebackup", &case.namespace, backup);
        words(&backup.map(|backup| backup["spec"].clone()).unwrap_or_default(), &mut known);
    }
    // Also what the operator found for it: the claims and places that a backup or restore is about.
    words(&object["status"]["repositories"], &mut known);
    words(&object["status"]["volumes"], &mut known);
    let names_it = known.iter().any(|word| message.contains(word.as_str()));
    let what = match (message.contains("canary"), names_it) {
        (true, _) => "says a secret",
        (false, false) => "names nothing of the object",
        (false, true) => return None,
    };
    Some(format!("{case:?} {what}: {message:?}"))
}

/// Waits until each of the cases has been as wanted at some moment; some are so only for seconds.
fn each(what: &str, mut left: Vec<Case>, mut is_so: impl FnMut(&Case, &Value) -> Result<(), String>) {
    let start = Instant::now();
    while !left.is_empty() {
        let objects = observed();
        let mut seen = vec![];
        left.retain(|case| {
            let found = objects.iter().find(|(other, _)| other == case);
            let result = found.map_or_else(|| Err("not there".to_owned()), |(_, object)| is_so(case, object));
            if result.is_ok() {
                println!("{:>4} s {what}: {} {} {}", start.elapsed().as_secs(), case.kind, case.name, case.reason);
            }
            seen.extend(result.as_ref().err().map(|seen| format!("{case:?}\n    {seen}")));
            result.is_err()
        });
        if start.elapsed() > LIMIT {
            diagnose();
            panic!("{what}: not within {} s:\n{}", LIMIT.as_secs(), seen.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn no_row_of_the_page_is_left_out() {
    nothing_is_left_out(&rows(), &place::cases());
}

#[test]
fn every_message_of_the_page_is_seen() {
    let _guard = beside_others();
    let (rows, cases) = (rows(), place::cases());
    let start = Instant::now();
    let time = |what: &str| println!("{:>4} s: {what}", start.elapsed().as_secs());
    place::clear_away();
    place::build();
    time("built");
    place::spoil_first();
    let mut complaints = vec![];
    let mut seen = |case: &Case, object: &Value| {
        let message = shows(row_of(case, &rows), object)?;
        complaints.extend(complaint(case, object, &message));
        Ok(())
    };
    // Before the repository object itself notices.
    let runs = |case: &&Case| case.reason == "CredentialsMissing" && case.kind.starts_with("Volume");
    each("seen", cases.iter().filter(runs).cloned().collect(), &mut seen);
    place::spoil();
    time("everything is wrong");
    each("seen", cases.iter().filter(|case| !runs(case)).cloned().collect(), &mut seen);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    place::put_right(&cases);
    time("put right");
    let cleared = cases.into_iter().filter(|case| case.clears).collect();
    each("cleared", cleared, |_, object| {
        let (status, reason, message) = condition(object, "Ready").unwrap_or_default();
        if status == "True" { Ok(()) } else { Err(format!("Ready={status} {reason}: {message}")) }
    });
    place::clear_away();
    time("cleared away");
}
