mod binary;
mod bounds;
mod chance;
mod functions;
mod jinja;

use proptest::prelude::*;

use super::*;

fn values() -> Values {
    let map: SensitiveMap = [
        ("USER", "u"),
        ("PASS", "p@ss\"<&>word"),
        ("MULTI", "one\ntwo"),
        ("JSON", r#"{"port": 8080, "host": "db", "list": ["a", "b"], "pin": 424242}"#),
        ("B64", "c2VjcmV0"),
        ("with-dash", "dashed"),
        ("EMPTY", ""),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), Sensitive::from(value)))
    .chain([("BINARY".to_owned(), Sensitive::from(vec![0xff, 0xfe]))])
    .collect();
    Values::from(&map)
}

fn moment() -> Moment {
    Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [7; 32] }
}

fn run(template: &str) -> Result<String, String> {
    run_in(Engine::Go, template)
}

fn run_in(engine: Engine, template: &str) -> Result<String, String> {
    match render(engine, template, "target.template.data.X", &values(), &moment()) {
        Ok(text) => Ok(text.expose_str().unwrap().to_owned()),
        Err(problem) => {
            assert_eq!(problem.reason, Reason::TemplateError);
            Err(problem.message)
        }
    }
}

#[test]
fn renders_what_users_write() {
    for (template, expected) in [
        ("", ""),
        ("  ", "  "),
        ("static }} literal", "static }} literal"),
        ("{{ .USER }}", "u"),
        ("{{- .USER -}} ", "u"),
        ("postgres://{{ .USER }}:{{ .PASS }}@host/db", "postgres://u:p@ss\"<&>word@host/db"),
        (r#"{{ index . "with-dash" }}"#, "dashed"),
        (r#"{{ index . "missing" }}"#, ""),
        (r#"{{ "{{" }} .Labels }}"#, "{{ .Labels }}"),
        ("{{`{{x}}`}}", "{{x}}"),
        ("{{ .USER | b64enc }}", "dQ=="),
        ("{{ .B64 | b64dec }}", "secret"),
        (
            r#"{{ toJson (dict "a" .USER "t" .PASS) | b64enc }}"#,
            "eyJhIjoidSIsInQiOiJwQHNzXCJcdTAwM2NcdTAwMjZcdTAwM2V3b3JkIn0=",
        ),
        (r#"{{ printf "%s-%05d" .USER 42 }}"#, "u-00042"),
        ("{{ (fromJson .JSON).host }}:{{ (fromJson .JSON).port }}", "db:8080"),
        (r#"{{ (fromJson .JSON).list | join "," }}"#, "a,b"),
        ("{{ range (fromJson .JSON).list }}[{{ . }}]{{ end }}", "[a][b]"),
        (r#"{{ now | date "2006-01-02T15:04:05 Mon Jan 2" }}"#, "2026-11-03T07:08:09 Tue Nov 3"),
        (r#"{{ .EMPTY | default "x" }}{{ .USER | default "x" }}"#, "xu"),
        ("k:{{ .MULTI | nindent 2 }}", "k:\n  one\n  two"),
        ("{{ .MULTI | indent 2 }}", "  one\n  two"),
        ("{{ .PASS | quote }} {{ .USER | squote }}", r#""p@ss\"<&>word" 'u'"#),
        (r#"{{ "a.b.c" | replace "." "-" | upper | trimSuffix "-C" | trimPrefix "A" | trimAll "-" | lower }}"#, "b"),
        (r#"{{ " x " | trim }}{{ "a,b" | splitList "," | last }}{{ 3 | toString }}"#, "xb3"),
        (r#"{{ if eq .USER "u" }}yes{{ else }}no{{ end }}{{ ternary 1 2 false }}"#, "yes2"),
        (r#"{{ trunc 3 "abcdef" }}{{ trunc -2 "abcdef" }}{{ title "some words" }}"#, "abcefSome Words"),
        (r#"{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .USER }}"#, "<u>"),
        (
            r#"{{ "x" | sha256sum | trunc 8 }}{{ repeat 3 "z" }}{{ print 1 2 }}{{ urlquery "a b" }}"#,
            "2d711642zzz1 2a+b",
        ),
    ] {
        assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn says_what_is_wrong() {
    let messages: Vec<(&str, String)> = [
        "{{ .USR }}",
        "{{ .USER",
        "{{ .USER | b64encode }}",
        "{{ .USER | lookup }}",
        "{{ .BINARY | upper }}",
        "{{ .PASS | b64dec }}",
        "{{ .PASS | fromJson }}",
        "{{ .USER.name }}",
        "{{ b64enc }}",
        "{{ upper .USER .PASS }}",
        "{{ nindent .USER .PASS }}",
        "a{{ end }}b",
        "{{ if .USER }}x{{ end }}{{ else }}c{{ .USER }}",
        "{{ template \"nothing\" }}",
        "{{ printf (fromJson .JSON).pin }}",
        "{{ len (fromJson .JSON).pin }}",
        "{{ slice .USER 0 (atoi \"424242\") }}",
    ]
    .into_iter()
    .map(|template| (template, run(template).expect_err(template)))
    .collect();
    insta::assert_debug_snapshot!(messages);
}

/// Every name that a template can call.
fn names() -> Vec<&'static str> {
    function_groups().flat_map(|(_, names)| names).chain(refused_functions()).collect()
}

const SECRET: &str = "7391846";

fn secrets() -> Values {
    Values::from(&SensitiveMap::from([
        ("S".to_owned(), Sensitive::from(SECRET)),
        ("J".to_owned(), Sensitive::from(format!("{{\"n\": {SECRET}, \"s\": \"{SECRET}\", \"l\": [{SECRET}]}}"))),
    ]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a template does with a value: an error does not show it.
    #[test]
    fn errors_hold_no_value(
        function in prop::sample::select(names()),
        other in prop::sample::select(names()),
        shape in 0..8_usize,
    ) {
        let argument = [
            "(fromJson .J).n", ".S", "(fromJson .J).l", "(fromJson .J)", ".S 1", "1 (fromJson .J).n 2 3 4", ".S .S", ".S .S .S",
        ][shape];
        for template in [
            format!("{{{{ {function} {argument} }}}}"),
            format!("{{{{ {function} {argument} | {other} | index \"x\" }}}}"),
            format!("{{{{ range $a, $b := {function} {argument} }}}}{{{{ .x }}}}{{{{ end }}}}"),
            format!("{{{{ index ({function} {argument}) {argument} }}}}"),
            format!("{{{{ ({function} {argument}).x.y }}}}"),
        ] {
            if let Err(problem) = render(Engine::Go, &template, "place", &secrets(), &moment()) {
                prop_assert!(!problem.message.contains(SECRET), "{template}: {}", problem.message);
            }
        }
        let argument = ["S", "S, S", "J | fromJson", "S, 1", "1, S", "[S]", "{'a': S}", "S, S, S"][shape];
        for template in [
            format!("{{{{ {function}({argument}) }}}}"),
            format!("{{{{ S | {function}({argument}) | {other} }}}}"),
            format!("{{{{ (J | fromJson).n | {function} }}}}"),
            format!("{{% for x in {function}({argument}) %}}{{{{ x.y.z }}}}{{% endfor %}}"),
            format!("{{{{ {function}({argument}).x.y + S }}}}"),
        ] {
            if let Err(problem) = render(Engine::Minijinja, &template, "place", &secrets(), &moment()) {
                prop_assert!(!problem.message.contains(SECRET), "{template}: {}", problem.message);
            }
        }
    }

    /// Whatever is written as a template: it ends, and neither panics nor shows a value.
    #[test]
    fn any_text_is_answered(pieces in prop::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        for engine in [Engine::Go, Engine::Minijinja] {
            if let Err(problem) = render(engine, &text, "place", &secrets(), &moment()) {
                prop_assert!(!problem.message.contains(SECRET), "{text}: {}", problem.message);
                prop_assert!(!problem.message.contains("engine fails"), "{text}: {}", problem.message);
            }
        }
    }
}

/// What templates are made of, so that a part of what is made of it can be parsed.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{ ",
        " }}",
        "{{- ",
        " -}}",
        "{% ",
        " %}",
        "(",
        ")",
        "[",
        "]",
        ".S",
        ".J",
        "S",
        "J",
        "|",
        ",",
        "$x := ",
        "$x = ",
        "$x",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "define \"a\"",
        "template \"a\" .",
        "break",
        "for x in ",
        "endfor",
        "endif",
        "set x = ",
        "namespace(a=1)",
        "~",
        "+",
        "*",
        "**",
        "is ",
        "in ",
        "not ",
        "9",
        "-1",
        "1e9",
        "\"a\"",
        "`b`",
        "'c'",
        "\\",
        "{#",
        "#}",
        "/*",
        "*/",
        "\n",
        ".a.b",
        "nil",
        "true",
        "{",
        "}",
        "é",
        "\u{3}",
    ];
    prop_oneof![
        3 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        2 => prop::sample::select(names()).prop_map(|name| format!("{name} ")),
        1 => ".{0,4}",
    ]
}
