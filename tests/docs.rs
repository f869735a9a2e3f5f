//! The documents: every example is one that works, every link leads somewhere, and the page of messages is made from
//! the code.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fmt::Write;

use strongroom::{
    api::external_secret::ExternalSecretPhase,
    core::{
        problem::{Class, Problem, Reason},
        secret,
        sensitive::{Sensitive, SensitiveMap},
        template::{self, Engine, Moment, Values},
    },
};
use support::{check, examples, generated, is_ours, path, read, text};

#[test]
fn examples_fit_the_definitions() {
    let mut kinds = vec![];
    for (place, document) in examples() {
        if is_ours(&document) {
            check(&document).unwrap_or_else(|error| panic!("{place}: {error}"));
            kinds.push((place, text(&document, "/kind").to_owned()));
        }
    }
    for crd in strongroom::api::crds() {
        let kind = crd.spec.names.kind;
        let shown = kinds.iter().any(|(place, shown)| place.starts_with("README.md") && *shown == kind);
        assert!(shown, "README.md shows no {kind}");
    }
}

#[test]
fn a_wrong_example_is_seen() {
    let wrong = |yaml: &str| check(&support::documents(yaml)[0]).unwrap_err();
    let backup = "{apiVersion: strongroom.dev/v1alpha1, kind: VolumeBackup, metadata: {name: a}, spec: SPEC}";
    assert!(wrong(&backup.replace("SPEC", "{claimName: a}")).contains(".spec.claimName"));
    assert!(wrong(&backup.replace("SPEC", "{mover: {resource: {}}}")).contains(".spec.mover.resource"));
    assert!(wrong(&backup.replace("SPEC", "{retries: many}")).contains("u32"));
    assert!(wrong(&backup.replace("VolumeBackup", "Backup")).contains("no such kind"));
}

#[test]
fn links_lead_somewhere() {
    let mut pages = vec!["README.md".to_owned()];
    for file in std::fs::read_dir(path("docs")).unwrap() {
        pages.push(format!("docs/{}", file.unwrap().file_name().to_str().unwrap()));
    }
    for page in pages {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") {
                let target = path(&page).parent().unwrap().join(link.split('#').next().unwrap());
                assert!(target.exists(), "{page}: {link} leads nowhere");
            }
        }
    }
}

#[test]
fn the_page_of_metrics_lists_what_there_is() {
    let mut code = String::new();
    for file in ["metrics", "declared_metrics", "connect/metrics"] {
        code += &read(&format!("src/controllers/{file}.rs"));
    }
    let page = read("docs/metrics.md");
    for name in page.split('`').filter_map(|word| word.strip_prefix("strongroom_")) {
        let name = name.strip_suffix("_total").unwrap_or(name);
        assert!(code.contains(&format!("\"{name}\"")), "docs/metrics.md lists {name}, which is not measured");
    }
    for name in code.split(".register(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("`strongroom_{name}")), "docs/metrics.md does not list {name}");
    }
}

/// The kinds whose conditions a reason can stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Store,
    ExternalSecret,
    Repository,
    VolumeBackup,
    VolumeRestore,
}

impl On {
    const ALL: [Self; 5] =
        [Self::Store, Self::ExternalSecret, Self::Repository, Self::VolumeBackup, Self::VolumeRestore];

    fn title(self) -> &'static str {
        match self {
            Self::Store => "SecretStore, ClusterSecretStore",
            Self::ExternalSecret => "ExternalSecret",
            Self::Repository => "ResticRepository, ClusterResticRepository",
            Self::VolumeBackup => "VolumeBackup",
            Self::VolumeRestore => "VolumeRestore",
        }
    }
}

/// Where a reason is seen. A new reason does not compile before it is said here.
fn on(reason: Reason) -> &'static [On] {
    use On::{ExternalSecret, Repository, Store, VolumeBackup, VolumeRestore};
    match reason {
        Reason::NotSupported | Reason::Foreign => &[ExternalSecret, Repository, VolumeBackup, VolumeRestore],
        Reason::InvalidSpec | Reason::ClusterError | Reason::InternalError => &On::ALL,
        Reason::TokenMissing => &[Store],
        // Where a store can be used and an item of it cannot.
        Reason::TokenRejected
        | Reason::VaultNotInScope
        | Reason::VaultNotFound
        | Reason::ConnectUnreachable
        | Reason::ConnectNotReady
        | Reason::NotAConnectServer => &[Store, ExternalSecret, Repository],
        Reason::StoreNotFound
        | Reason::StoreNotReady
        | Reason::StoreNotAllowed
        | Reason::ItemNotFound
        | Reason::ItemAmbiguous
        | Reason::FieldAmbiguous
        | Reason::InvalidData => &[ExternalSecret, Repository],
        Reason::FieldNotFound
        | Reason::FileUnusable
        | Reason::FileTooLarge
        | Reason::TemplateError
        | Reason::TemplateNotFound
        | Reason::SecretMissing
        | Reason::NoMatch => &[ExternalSecret],
        Reason::BaseMissing | Reason::DefaultTaken => &[Repository],
        // Of a store: its CA certificates.
        Reason::CredentialsMissing => &[Store, Repository, VolumeBackup, VolumeRestore],
        Reason::RepositoryUnreachable | Reason::WrongPassword | Reason::RepositoryChanged | Reason::ClaimNotFound => {
            &[Repository, VolumeBackup, VolumeRestore]
        }
        Reason::RepositoryNotFound
        | Reason::RepositoryNotReady
        | Reason::RepositoryNotAllowed
        | Reason::ClaimPending
        | Reason::VolumeUnsupported
        | Reason::StagingFailed
        | Reason::Interrupted
        | Reason::OutOfMemory
        | Reason::DeadlineExceeded
        | Reason::ResticFailed => &[VolumeBackup, VolumeRestore],
        // Nothing but a backup and maintenance takes a lock, or minds one.
        Reason::RepositoryLocked | Reason::SnapshotClassMissing => &[VolumeBackup],
        Reason::InvalidSchedule => &[ExternalSecret, Repository, VolumeBackup],
        Reason::BackupNotFound
        | Reason::SnapshotNotFound
        | Reason::WorkloadUnsupported
        | Reason::ClaimInUse
        | Reason::StopTimeout
        | Reason::CheckFailed
        | Reason::RestoreTimeout
        | Reason::VolumeTooSmall
        | Reason::ManagedByGitOps => &[VolumeRestore],
    }
}

/// How a run of a VolumeBackup ended: its declaration stays as good as it was.
fn ends_a_run(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RepositoryUnreachable
            | Reason::RepositoryLocked
            | Reason::WrongPassword
            | Reason::CredentialsMissing
            | Reason::StagingFailed
            | Reason::Interrupted
            | Reason::OutOfMemory
            | Reason::DeadlineExceeded
            | Reason::ResticFailed
    )
}

/// Phase, `Ready` and `Stalled` of an object with that reason.
fn state(on: On, reason: Reason) -> (&'static str, &'static str, &'static str) {
    // Although it could pass elsewhere, a restore ends with it: it would end in the same way again.
    let ends = on == On::VolumeRestore && matches!(reason, Reason::StagingFailed | Reason::OutOfMemory);
    let stalled = if ends || reason.class() == Class::Terminal { "True" } else { "" };
    // Where the cluster's API fails, what was found out before stays true.
    let of_the_cluster = matches!(reason, Reason::ClusterError | Reason::InternalError | Reason::Foreign);
    let waits = "as it was: it waits";
    let phase = match on {
        On::Store => "NotReady",
        On::ExternalSecret => match secret::phase(&Problem::new(reason, "")) {
            ExternalSecretPhase::Waiting => "Waiting",
            _ => "Failing",
        },
        On::Repository => match reason {
            Reason::BaseMissing => "BaseMissing",
            Reason::RepositoryChanged => "Changed",
            Reason::ClusterError | Reason::InternalError => waits,
            _ => "Unreachable",
        },
        On::VolumeBackup => match reason {
            Reason::ClaimNotFound | Reason::ClaimPending => return ("WaitingForClaim", "True", ""),
            _ if of_the_cluster => waits,
            _ if ends_a_run(reason) => return ("Idle", "True, and LastRunSucceeded False", ""),
            _ => "Blocked",
        },
        On::VolumeRestore if stalled == "True" => "Failed",
        On::VolumeRestore => waits,
    };
    (phase, "False", stalled)
}

#[test]
fn the_page_of_messages() {
    let mut page = "# What each message means

<!-- Made from src/core/problem.rs: UPDATE=1 cargo test --test docs -->

The condition `Ready` of every object says in its message what is wrong, which object is meant and what to do. Its \
                    reason is one of these words. Almost everything clears by itself when its cause is gone; \
                    `Stalled` is True where the object itself has to be changed (or, for a VolumeRestore, created \
                    anew). Where the repository object of a VolumeBackup is ready and its credentials cannot be had \
                    all the same, a run or a VolumeRestore says why with a reason of the repository object. After a run that \
                    failed for a reason that the repository object then finds too, the VolumeBackup is Blocked besides, \
                    with RepositoryNotReady.
"
    .to_owned();
    for on_kind in On::ALL {
        writeln!(page, "\n## {}\n", on_kind.title()).unwrap();
        writeln!(page, "| phase | Ready | Stalled | reason | what it means | what to do |").unwrap();
        writeln!(page, "|---|---|---|---|---|---|").unwrap();
        for reason in Reason::ALL.iter().copied().filter(|reason| on(*reason).contains(&on_kind)) {
            let (phase, ready, stalled) = state(on_kind, reason);
            let (meaning, remedy) = (reason.meaning(), reason.remedy());
            writeln!(page, "| {phase} | {ready} | {stalled} | `{reason}` | {meaning} | {remedy} |").unwrap();
        }
    }
    generated("docs/messages.md", &page, "docs");
    for reason in Reason::ALL {
        assert!(page.contains(&format!("`{reason}`")), "{reason} is on no object");
    }
}

/// The rows of the tables of templates in a part of their page.
fn rendered(part: &str) -> Vec<(String, String)> {
    let cell = |cell: &str| cell.replace("\\|", "|");
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |")?.split_once("` | `"));
    rows.map(|(template, result)| (cell(template), cell(result))).collect()
}

#[test]
fn templates_render_as_the_page_says() {
    let page = read("docs/templates.md");
    let (go, jinja) = page.split_once("## Jinja").unwrap();
    let values = Values::from(&SensitiveMap::from(
        [
            ("USER", "me"),
            ("PASS", "s3cr\"t"),
            ("JSON", r#"{"port": 8080, "hosts": ["a", "b"]}"#),
            ("B64", "c2VjcmV0"),
            ("with-dash", "x"),
        ]
        .map(|(key, value)| (key.to_owned(), Sensitive::from(value))),
    ));
    let moment = Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [0; 32] };
    for (engine, part) in [(Engine::Go, go), (Engine::Minijinja, jinja)] {
        let rows = rendered(part);
        assert!(rows.len() > 4, "{engine:?}");
        for (template, expected) in rows {
            let text = template::render(engine, &template, "page", &values, &moment).unwrap();
            assert_eq!(text.expose_str(), Some(expected.as_str()), "{template}");
        }
    }
}

#[test]
fn the_page_of_templates_lists_every_function() {
    let page = read("docs/templates.md");
    let names = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut listed = vec![];
    for line in page.split("## Functions").nth(1).unwrap().split("\n## ").next().unwrap().lines() {
        if let Some((group, functions)) = line.strip_prefix("**").and_then(|line| line.split_once(":** ")) {
            listed.push((group.to_owned(), names(functions)));
        }
    }
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let known: Vec<_> = template::function_groups().map(|(group, names)| (group.to_owned(), own(names))).collect();
    assert_eq!(listed, known);
    let refused = page.split("## Refused").nth(1).unwrap().split("\n## ").next().unwrap();
    let refused: Vec<String> =
        refused.lines().filter_map(|line| line.split_once(": ")).flat_map(|(line, _)| names(line)).collect();
    assert_eq!(refused, own(template::refused_functions().collect()));
}

#[test]
fn the_differences_from_eso_are_told() {
    let pages = read("docs/eso.md") + &read("docs/templates.md");
    let lines: Vec<&str> = pages.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    let differences = &support::documents(&read("tests/eso/differences.yaml"))[0];
    let differences = differences.as_array().unwrap();
    assert!(differences.len() > 20, "{}", differences.len());
    for difference in differences {
        let why = text(difference, "/why");
        assert!(lines.contains(&why), "neither docs/eso.md nor docs/templates.md says: {why}");
    }
}
