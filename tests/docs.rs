//! The documents: every example is one that works, every link leads somewhere, and the page of messages is made from
//! the code.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use strongroom::{
    api::backup::RunResult,
    core::{
        backup,
        effect::{self, On},
        problem::Reason,
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
    for file in [
        "controllers/metrics",
        "controllers/declared_metrics",
        "controllers/connect/metrics",
        "core/backup/series",
        "core/repository/series",
    ] {
        code += &read(&format!("src/{file}.rs"));
    }
    let page = read("docs/metrics.md");
    for name in page.split('`').filter_map(|word| word.strip_prefix("strongroom_")) {
        let name = name.strip_suffix("_total").unwrap_or(name);
        assert!(code.contains(&format!("\"{name}\"")), "docs/metrics.md lists {name}, which is not measured");
    }
    // A line may break after the bracket.
    let code = code.split_whitespace().collect::<String>();
    let declared = [".register(\"", "=Metric(\""].into_iter().flat_map(|start| code.split(start).skip(1));
    for name in declared.filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("`strongroom_{name}")), "docs/metrics.md does not list {name}");
    }
}

#[test]
fn the_alerts_are_of_what_is_measured_and_listed() {
    let rules: serde_json::Value = serde_saphyr::from_str(&read("charts/strongroom/rules.yaml")).unwrap();
    let page = read("docs/metrics.md");
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let (alert, severity) = (rule["alert"].as_str().unwrap(), rule["labels"]["severity"].as_str().unwrap());
        assert!(page.contains(&format!("| `{alert}` | {severity} |")), "docs/metrics.md does not list {alert}");
        let words = rule["expr"].as_str().unwrap().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("strongroom_")) {
            assert!(page.contains(&format!("`{metric}`")), "{alert} is about {metric}, which is not measured");
        }
    }
    let listed = page.lines().filter(|line| line.starts_with("| `") && !line.contains("strongroom_"));
    assert_eq!(listed.count(), rules.len(), "docs/metrics.md lists alerts that there are not");
}

/// The labels of each metric, as the page of metrics has them: those of its part, and those of its own line.
fn labels() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("docs/metrics.md");
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split('`').skip(1).step_by(2);
        words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_')).map(str::to_owned).collect()
    };
    let mut all = BTreeMap::new();
    for part in page.split("\n## ") {
        let of_part = words(part.split("\n| ").next().unwrap());
        for line in part.lines().filter_map(|line| line.strip_prefix("| `strongroom_")) {
            let (name, meaning) = line.split_once("` | ").unwrap();
            let shared = if meaning.contains("of all servers") { BTreeSet::new() } else { of_part.clone() };
            all.insert(format!("strongroom_{name}"), shared.into_iter().chain(words(meaning)).collect());
        }
    }
    all
}

/// What a query asks for and that is not measured: a metric, or a label that one of its metrics has not.
fn unknown(expression: &str, legend: &str, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = expression.split(|c| !is_of_name(c)).filter(|word| word.starts_with("strongroom_"));
    let mut used: BTreeSet<String> =
        legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).map(str::to_owned).collect();
    for list in [" by (", " on ("].iter().flat_map(|word| expression.split(word).skip(1)) {
        used.extend(list.split(')').next().unwrap().split(',').map(|label| label.trim().to_owned()));
    }
    for part in expression.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        used.extend(
            part.split(',').filter_map(|one| one.split(['=', '!']).next()).map(|label| label.trim().to_owned()),
        );
    }
    let mut missing = vec![];
    for name in names {
        let histogram = name.strip_suffix("_bucket");
        let Some(labels) = known.get(histogram.unwrap_or(name)) else {
            missing.push(name.to_owned());
            continue;
        };
        let has = |label: &String| labels.contains(label) || (histogram.is_some() && label == "le");
        missing.extend(used.iter().filter(|label| !has(label)).map(|label| format!("{name} by {label}")));
    }
    missing
}

#[test]
fn the_dashboard_shows_what_is_measured() {
    let known = labels();
    assert_eq!(unknown("sum by (claim) (strongroom_volume_backup_last_run_bytes)", "{{name}}", &known), [""; 0]);
    assert_eq!(unknown("max by (le, op) (strongroom_connect_request_duration_seconds_bucket)", "", &known), [""; 0]);
    for wrong in [
        "strongroom_volume_backups",
        "sum by (app) (strongroom_volume_backup_last_run_bytes)",
        "sum by (claim) (strongroom_volume_backup_running)",
        "strongroom_volume_backup_running{app=\"x\"}",
        "sum by (endpoint) (strongroom_connect_retries_total)",
    ] {
        assert_eq!(unknown(wrong, "", &known).len(), 1, "{wrong}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("charts/strongroom/dashboard.json")).unwrap();
    let mut rules = "# Made from charts/strongroom/dashboard.json, for promtool: UPDATE=1 cargo test --test docs\ngroups:\n  - name: dashboard\n    rules:\n".to_owned();
    let (mut ids, mut bottom) = (BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id {}", panel["id"]);
        let y = panel["gridPos"]["y"].as_u64().unwrap();
        assert!(y >= bottom, "{} is above the one before it", panel["title"]);
        bottom = y;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (query, legend) = (text(target, "/expr"), text(target, "/legendFormat"));
            assert_eq!(unknown(query, legend, &known), [""; 0], "{}: {query}", panel["title"]);
            let query = serde_json::to_string(&query.replace("$__rate_interval", "5m")).unwrap();
            writeln!(rules, "      - {{record: 'panel:{}:{}', expr: {query}}}", panel["id"], text(target, "/refId"))
                .unwrap();
        }
    }
    generated("tests/fixtures/dashboard.yaml", &rules, "docs");
}

#[test]
fn the_page_of_messages() {
    let mut page = "# What each message means

<!-- Made from src/core/problem.rs: UPDATE=1 cargo test --test docs -->

The condition `Ready` of every object says in its message what is wrong, which object is meant and what to do. Its \
                    reason is one of these words. Almost everything clears by itself when its cause is gone; \
                    `Stalled` is True where the object itself has to be changed (or, for a VolumeRestore, created \
                    anew). Where the repository object of a VolumeBackup is ready and its credentials cannot be had \
                    all the same, a run or a VolumeRestore says why with a reason of the repository object. While what \
                    failed a run lasts, the VolumeBackup itself shows it besides: as it would without a run, or, for a \
                    reason that the repository object finds too, as Blocked with RepositoryNotReady.
"
    .to_owned();
    for on_kind in On::ALL {
        writeln!(page, "\n## {}\n", on_kind.title()).unwrap();
        writeln!(page, "| phase | Ready | Stalled | reason | what it means | what to do |").unwrap();
        writeln!(page, "|---|---|---|---|---|---|").unwrap();
        let mut row = |effect: effect::Effect, reason: &str, meaning: &str, remedy: &str| {
            let (phase, ready, stalled) = (effect.phase, effect.ready, if effect.stalled { "True" } else { "" });
            writeln!(page, "| {phase} | {ready} | {stalled} | `{reason}` | {meaning} | {remedy} |").unwrap();
        };
        for reason in Reason::ALL.iter().copied().filter(|reason| effect::kinds(*reason).contains(&on_kind)) {
            for effect in effect::effects(on_kind, reason) {
                row(effect, reason.as_str(), &reason.meaning(), &effect::remedy(effect, reason));
            }
        }
        if on_kind == On::VolumeBackup {
            for result in [RunResult::Partial, RunResult::Suspect] {
                let (reason, meaning, remedy) = backup::not_good(result).unwrap();
                row(effect::AFTER_A_RUN, reason, meaning, remedy);
            }
            let (reason, meaning, remedy) = backup::other_writer();
            row(effect::BESIDE_ANOTHER, reason, meaning, remedy);
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
