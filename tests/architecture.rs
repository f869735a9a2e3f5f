//! What keeps the parts apart: dependencies point one way, the core is pure, files stay small.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{collections::BTreeSet, fs, path::Path};

/// What a part may use of our own.
const PARTS: [(&str, &[&str]); 6] = [
    ("api", &["api"]),
    ("core", &["api", "core"]),
    ("clients", &["api", "core", "clients"]),
    ("controllers", &["api", "core", "clients", "controllers"]),
    ("mover", &["api", "core", "clients", "mover"]),
    ("cli", &["api", "core", "clients", "cli"]),
];

/// What the core may not use: the outside world, the clock, chance.
const IMPURE: [&str; 20] = [
    "axum",
    "chrono::Local",
    "chrono::Utc::now",
    "kube::Api",
    "kube::Client",
    "kube::api",
    "kube::client",
    "kube::runtime",
    "rand",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "Utc::now",
    "Local::now",
];

/// Lines of code that a file may have; comments, blank lines and its tests aside.
const LINES: usize = 400;

#[test]
fn dependencies_point_one_way_and_the_core_is_pure() {
    let mut wrong = vec![];
    for (file, text) in sources() {
        wrong.extend(violations(&file, &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut wrong = vec![];
    for (file, text) in sources() {
        wrong.extend(too_long(&file, &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of `src`, by their place in it.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![];
    walk(&root, &root, &mut found);
    assert!(found.len() > 20, "the sources were not found");
    let tests: Vec<String> = found.iter().flat_map(|(name, text)| test_files(name, text)).collect();
    found.retain(|(name, _)| {
        !tests.iter().any(|test| name == &format!("{test}.rs") || name.starts_with(&format!("{test}/")))
    });
    found
}

/// The modules in files of their own that a file declares for tests only, without their ending.
fn test_files(name: &str, text: &str) -> Vec<String> {
    let folder = name.strip_suffix("/mod.rs").or_else(|| name.strip_suffix(".rs")).unwrap_or(name);
    let declared = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
    declared.map(|module| format!("{folder}/{module}")).collect()
}

/// What a file uses that its part may not.
fn violations(file: &str, text: &str) -> Vec<String> {
    let part = PARTS.iter().find(|(part, _)| file.starts_with(&format!("{part}/")));
    let mut wrong = BTreeSet::new();
    for path in paths(&code(text)) {
        let segments: Vec<&str> = path.split("::").collect();
        if let (Some((part, allowed)), "crate") = (part, segments[0]) {
            let used = segments.get(1).copied().unwrap_or_default();
            if PARTS.iter().any(|(name, _)| *name == used) && !allowed.contains(&used) {
                wrong.insert(format!("src/{file}: {part} must not use {path}: {used} depends on it, or may"));
            }
        }
        if path.starts_with("super::super::") || file.ends_with("/mod.rs") && is_part(&path, "super") {
            wrong.insert(format!("src/{file}: write {path} as crate::…, so that one sees what it depends on"));
        }
        let starts = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}::"));
        if file.starts_with("core/") && IMPURE.iter().any(|prefix| starts(prefix)) {
            wrong.insert(format!(
                "src/{file}: core is pure: {path} belongs to clients, controllers or mover; time is an argument"
            ));
        }
        if !file.starts_with("clients/") && (starts("reqwest") || starts("tokio::process")) {
            wrong.insert(format!("src/{file}: {path} belongs to src/clients: the outside world has one place"));
        }
        if file != "core/time.rs" && segments.contains(&"jiff") {
            wrong.insert(format!("src/{file}: {path}: Kubernetes' time is converted in src/core/time.rs only"));
        }
    }
    wrong.into_iter().collect()
}

/// Whether a path leads from a root to one of the parts.
fn is_part(path: &str, root: &str) -> bool {
    PARTS.iter().any(|(part, _)| {
        let prefix = format!("{root}::{part}");
        path == prefix || path.starts_with(&format!("{prefix}::"))
    })
}

fn too_long(file: &str, text: &str) -> Option<String> {
    let lines = code(text).lines().filter(|line| !line.trim().is_empty()).count();
    (lines > LINES).then(|| {
        format!(
            "src/{file} has {lines} lines of code, more than {LINES}: it has more than one reason to exist; move one \
             of them, with its tests, to a file of its own"
        )
    })
}

/// The code without comments, literals and tests.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            // Up to the brace that ends the module.
            lines.by_ref().find(|line| *line == "}");
            continue;
        }
        code.push_str(&without_literals(line));
        code.push('\n');
    }
    code
}

/// A line up to its comment, without what stands in quotes.
fn without_literals(line: &str) -> String {
    let mut rest = String::new();
    let (mut quoted, mut previous) = (false, ' ');
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            '"' if previous != '\\' && previous != '\'' => quoted = !quoted,
            _ if quoted => {}
            _ => rest.push(character),
        }
        previous = if previous == '\\' && character == '\\' { ' ' } else { character };
    }
    rest
}

/// Every path with `::` in it, those in braces written out.
fn paths(code: &str) -> Vec<String> {
    let mut found = vec![];
    let characters: Vec<char> = code.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        let starts = is_name(characters[at]) && (at == 0 || !is_name(characters[at - 1]) && characters[at - 1] != ':');
        if starts {
            at = path_from(&characters, at, "", &mut found);
        } else {
            at += 1;
        }
    }
    found.retain(|path| path.contains("::"));
    found
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Reads the path that begins here, and what its braces hold; the place after it.
fn path_from(characters: &[char], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    loop {
        let from = at;
        while at < characters.len() && is_name(characters[at]) {
            at += 1;
        }
        path.extend(&characters[from..at]);
        if characters.get(at..at + 2) != Some(&[':', ':']) {
            found.push(path.trim_end_matches(':').to_owned());
            return at;
        }
        at += 2;
        path.push_str("::");
        match characters.get(at) {
            Some('{') => break,
            Some(character) if is_name(*character) => {}
            _ => {
                found.push(path.trim_end_matches(':').to_owned());
                return at;
            }
        }
    }
    at += 1;
    while at < characters.len() && characters[at] != '}' {
        if is_name(characters[at]) {
            at = path_from(characters, at, &path, found);
        } else {
            at += 1;
        }
    }
    at + 1
}

#[test]
fn what_is_wrong_is_seen() {
    for (file, text, word) in [
        ("api/store.rs", "use crate::core::names;", "api must not use crate::core::names"),
        ("core/plan.rs", "use crate::{\n    api::common::Time,\n    clients::cluster,\n};", "crate::clients::cluster"),
        ("core/plan.rs", "fn a() { crate::controllers::run::run(); }", "crate::controllers::run::run"),
        ("clients/connect.rs", "use crate::controllers::context::Context;", "clients must not use"),
        ("mover/mod.rs", "use crate::{core::{task, job}, controllers};", "mover must not use crate::controllers"),
        ("controllers/backup.rs", "use crate::mover::restic;", "controllers must not use crate::mover"),
        ("cli/status.rs", "use crate::controllers::queue;", "cli must not use crate::controllers"),
        ("core/overview.rs", "use crate::cli::Failure;", "core must not use crate::cli"),
        ("core/mod.rs", "use super::clients::cluster;", "write super::clients::cluster as crate"),
        ("core/a/b.rs", "use super::super::super::clients;", "as crate"),
        ("core/plan.rs", "use kube::{Api, ResourceExt};", "kube::Api"),
        ("core/plan.rs", "fn a(client: &kube::Client) {}", "kube::Client"),
        (
            "core/plan.rs",
            "use kube::{\n    core::ObjectMeta,\n    runtime::{controller::Action, watcher},\n};",
            "kube::runtime",
        ),
        ("core/plan.rs", "async fn a() { tokio::time::sleep(b).await }", "tokio::time::sleep"),
        ("core/plan.rs", "use std::{collections::BTreeMap, fs};", "std::fs"),
        ("core/plan.rs", "let path = std::env::var(name);", "std::env::var"),
        ("core/plan.rs", "use std::process::Command;", "std::process::Command"),
        ("core/plan.rs", "let now = Utc::now();", "Utc::now"),
        ("core/plan.rs", "use std::time::{Duration, Instant};", "std::time::Instant"),
        ("core/plan.rs", "let now = std::time::SystemTime::now();", "std::time::SystemTime::now"),
        ("controllers/connect.rs", "let client = reqwest::Client::new();", "reqwest::Client::new"),
        ("mover/run.rs", "use tokio::{process::Command, signal};", "tokio::process::Command"),
        ("controllers/lease.rs", "use k8s_openapi::jiff::Timestamp;", "k8s_openapi::jiff::Timestamp"),
        ("core/plan.rs", "#[cfg(test)]\nmod tests;\n\nuse std::fs;", "std::fs"),
        ("core/plan.rs", "#[cfg(test)]\nmod tests {\n}\n\nuse std::fs;", "std::fs"),
    ] {
        let found = violations(file, text);
        assert!(found.iter().any(|violation| violation.contains(word)), "{file}: {text}\nnot seen; found {found:?}");
    }
}

#[test]
fn what_is_right_is_left_alone() {
    for (file, text) in [
        (
            "core/plan.rs",
            "use crate::{api::common::Time, core::names};\nuse std::{collections::BTreeMap, time::Duration};",
        ),
        ("core/plan.rs", "// kube::Client is not used here\n/// nor `tokio::spawn`\nlet text = \"std::fs::read\";"),
        ("core/plan.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
        ("core/plan.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n\nuse std::fmt;"),
        ("core/time.rs", "use k8s_openapi::{jiff::Timestamp};"),
        ("controllers/backup.rs", "use crate::{clients::cluster, core::backup::plan};\nuse super::context::Context;"),
        ("clients/restic.rs", "use tokio::process::Command;"),
        ("mover/mod.rs", "use crate::{clients::restic, core::task::Task};"),
        ("main.rs", "use strongroom::controllers::run;"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn a_file_of_tests_is_known_by_its_declaration() {
    let text = "mod words;\n#[cfg(test)]\nmod simulation;\n";
    assert_eq!(test_files("core/restore/mod.rs", text), ["core/restore/simulation"]);
    assert_eq!(test_files("core/gate.rs", "#[cfg(test)]\nmod tests;\n"), ["core/gate/tests"]);
    assert_eq!(test_files("core/gate.rs", "#[cfg(test)]\nmod tests {\n}\n"), [""; 0]);
}

#[test]
fn a_long_file_is_seen_and_comments_do_not_count() {
    assert!(too_long("core/a.rs", &"let a = 1;\n".repeat(LINES + 1)).unwrap().contains("file of its own"));
    assert_eq!(too_long("core/a.rs", &"/// Why.\n\nlet a = 1;\n".repeat(LINES)), None);
}
