//! Templates as External Secrets Operator's own code renders them: `tests/oracle`, found by the variable ORACLE.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use strongroom::core::{
    sensitive::{Sensitive, SensitiveMap},
    template::{Engine, Moment, Values, function_groups, refused_functions, render, render_map},
};

#[derive(Deserialize)]
struct Fixture {
    values: BTreeMap<String, String>,
    same: BTreeMap<String, Vec<String>>,
    maps: Vec<String>,
    differences: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Answer {
    text: Option<String>,
    #[serde(default)]
    map: BTreeMap<String, String>,
    error: Option<String>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn fixture() -> Fixture {
    let mut fixture: Fixture =
        serde_saphyr::from_str(&fs::read_to_string(path("tests/fixtures/templates.yaml")).unwrap()).unwrap();
    let keys = fs::read_to_string(path("tests/fixtures/template-keys.json")).unwrap();
    fixture.values.extend(serde_json::from_str::<BTreeMap<String, String>>(&keys).unwrap());
    fixture
}

fn oracle(args: &[&str], input: &str) -> String {
    let program =
        std::env::var("ORACLE").unwrap_or_else(|_| panic!("ORACLE names the program that tests/oracle builds"));
    let mut child =
        Command::new(program).args(args).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn theirs(templates: &[&String], values: &BTreeMap<String, String>, map: bool) -> Vec<Answer> {
    let questions: Vec<_> = templates
        .iter()
        .map(|template| serde_json::json!({"template": template, "values": values, "map": map}))
        .collect();
    let answers: Vec<Answer> = serde_json::from_str(&oracle(&[], &serde_json::to_string(&questions).unwrap())).unwrap();
    assert_eq!(answers.len(), templates.len());
    answers
}

fn ours(template: &str, values: &Values, map: bool) -> Answer {
    let moment = Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [0; 32] };
    // As JSON shows what is no text.
    let shown = |value: &Sensitive| String::from_utf8_lossy(value.expose()).into_owned();
    let failed = |error: String| Answer { text: None, map: BTreeMap::new(), error: Some(error) };
    if map {
        return match render_map(Engine::Go, template, "text", values, &moment) {
            Ok(map) => {
                let map = map.iter().map(|(key, value)| (key.clone(), shown(value))).collect();
                Answer { text: None, map, error: None }
            }
            Err(problem) => failed(problem.message),
        };
    }
    match render(Engine::Go, template, "text", values, &moment) {
        Ok(text) => Answer { text: Some(shown(&text)), map: BTreeMap::new(), error: None },
        Err(problem) => failed(problem.message),
    }
}

fn values(fixture: &Fixture) -> Values {
    let map: SensitiveMap =
        fixture.values.iter().map(|(key, value)| (key.clone(), Sensitive::from(value.as_str()))).collect();
    Values::from(&map)
}

fn same(ours: &Answer, theirs: &Answer) -> bool {
    ours.error.is_some() == theirs.error.is_some()
        && (ours.error.is_some() || ours.text == theirs.text && ours.map == theirs.map)
}

#[test]
fn templates_render_as_there() {
    let fixture = fixture();
    let values = values(&fixture);
    let texts: Vec<&String> = fixture.same.values().flatten().collect();
    let mut wrong = vec![];
    for (templates, map) in [(texts, false), (fixture.maps.iter().collect(), true)] {
        for (template, theirs) in templates.iter().zip(theirs(&templates, &fixture.values, map)) {
            let ours = ours(template, &values, map);
            if !same(&ours, &theirs) {
                wrong.push(format!("{template}\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_difference_is_known_and_is_one() {
    let fixture = fixture();
    let values = values(&fixture);
    let page = fs::read_to_string(path("docs/templates.md")).unwrap();
    let section = page.split("## Differences").nth(1).unwrap().split("\n## ").next().unwrap();
    let told: BTreeSet<&str> = section.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    let known: BTreeSet<&str> = fixture.differences.keys().map(String::as_str).collect();
    assert_eq!(told, known, "docs/templates.md and tests/fixtures/templates.yaml list other differences");
    let mut wrong = vec![];
    for (reason, templates) in &fixture.differences {
        let templates: Vec<&String> = templates.iter().collect();
        assert!(!templates.is_empty(), "{reason}");
        for (template, theirs) in templates.iter().zip(theirs(&templates, &fixture.values, false)) {
            let ours = ours(template, &values, false);
            if same(&ours, &theirs) {
                wrong.push(format!("{reason}: {template}\n  {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "no longer different:\n{}", wrong.join("\n"));
}

#[test]
fn every_function_is_there_or_refused() {
    let theirs: BTreeSet<String> = serde_json::from_str(&oracle(&["functions"], "")).unwrap();
    let ours: BTreeSet<&str> = function_groups().flat_map(|(_, names)| names).chain(refused_functions()).collect();
    let missing: Vec<&String> = theirs.iter().filter(|name| !ours.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(theirs.len() > 200);
}

/// Each function that is there stands in a case, so that none is there in name only.
#[test]
fn every_function_is_compared() {
    let fixture = fixture();
    // What differs with the time of the run.
    let aside = ["ago"];
    let cases: String = fixture.same.values().chain(fixture.differences.values()).flatten().cloned().collect();
    let words: BTreeSet<&str> = cases.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let missing: Vec<&str> = function_groups()
        .flat_map(|(_, names)| names)
        .filter(|name| !words.contains(name) && !aside.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
