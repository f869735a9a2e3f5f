use super::*;

#[test]
fn names_are_unique_and_none_is_refused_and_there() {
    let mut names = names();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all > 230, "{all}");
}

#[test]
fn what_is_missing_is_named() {
    for (template, expected) in [
        (r#"{{ env "HOME" }}"#, "the environment is the operator's own"),
        (r#"{{ genPrivateKey "rsa" }}"#, "not made in templates"),
        (r"{{ .USER | pkcs12key }}", "crates that are not finished"),
        (r#"{{ getSecretKey "a" "b" "c" }}"#, "reads no Secrets"),
        ("{{ if false }}{{ sha256 .USER }}{{ end }}", r#"Did you mean "sha256sum""#),
        ("{{ trimsuffix .USER }}", r#"Did you mean "trimSuffix""#),
    ] {
        let error = run(template).unwrap_err();
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn a_wrong_kind_of_argument_is_named_without_its_value() {
    for (template, expected) in [
        ("{{ upper 42 }}", "upper: argument 1 is a whole number; text is needed"),
        ("{{ repeat .USER 3 }}", "repeat: argument 1 is text; a whole number is needed"),
        ("{{ first .PASS }}", "first: argument 1 is text; a list is needed"),
        ("{{ keys .PASS }}", "keys: argument 1 is text; a dictionary is needed"),
        ("{{ ternary 1 2 .PASS }}", "ternary: argument 3 is text; true or false is needed"),
        ("{{ div 1 0 }}", "div: division by zero"),
        ("{{ fail .PASS }}", "fail: the template calls it"),
        (r#"{{ fail (printf "%s" .PASS) }}"#, "fail: the template calls it"),
        (r#"{{ if .USER }}{{ fail "no user here" }}{{ end }}"#, "no user here"),
        (r#"{{ regexFind "(" .PASS }}"#, "regexFind: the first argument is no regular expression"),
        (r#"{{ date "2006" .PASS }}"#, "date: argument 2 is no time but text: use now or toDate"),
        ("{{ trunc .USER }}", "trunc takes 2 arguments, and has 1"),
        ("{{ slice }}", "slice takes 1 to 3 arguments, and has 0"),
        ("{{ printf }}", "printf takes at least 1 argument, and has 0"),
    ] {
        let error = run(template).unwrap_err();
        assert_eq!(error, format!("target.template.data.X: {expected}"), "{template}");
    }
}

#[test]
fn a_dictionary_in_a_variable_changes() {
    for (template, expected) in [
        (r#"{{ $d := dict "a" 1 }}{{ $_ := set $d "b" 2 }}{{ toJson $d }}"#, r#"{"a":1,"b":2}"#),
        (
            r#"{{ $d := dict }}{{ range list "x" "y" }}{{ $_ := set $d . true }}{{ end }}{{ toJson $d }}"#,
            r#"{"x":true,"y":true}"#,
        ),
        (r#"{{ $d := dict "a" 1 "b" 2 }}{{ $_ := unset $d "a" }}{{ toJson $d }}"#, r#"{"b":2}"#),
        (r#"{{ $d := dict "a" 1 }}{{ $_ := merge $d (dict "a" 2 "b" 3) }}{{ toJson $d }}"#, r#"{"a":1,"b":3}"#),
        (r#"{{ $d := dict "a" 1 }}{{ $_ := mergeOverwrite $d (dict "a" 2) }}{{ toJson $d }}"#, r#"{"a":2}"#),
        (r#"{{ $d := dict }}{{ if true }}{{ $_ := "v" | set $d "k" }}{{ end }}{{ $d.k }}"#, "v"),
        (r#"{{ $d := dict }}{{ (set $d "k" "v").k }}{{ set $d "l" "w" | toJson }}"#, r#"v{"k":"v","l":"w"}"#),
    ] {
        assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn renders_maps() {
    let map = |template: &str| {
        render_map(Engine::Go, template, "place", &values(), &moment()).map(|map| {
            map.into_iter().map(|(key, value)| (key, value.expose_str().unwrap().to_owned())).collect::<Vec<_>>()
        })
    };
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    };
    for (template, expected) in [
        ("a: {{ .USER }}\nb: 'x'", &[("a", "u"), ("b", "x")][..]),
        ("", &[]),
        ("# nothing\n", &[]),
        (
            "a: 1\nb: true\nc: 1.50\nd: 0755\ne: yes\nf:\ng: ~",
            &[("a", "1"), ("b", "true"), ("c", "1.5"), ("d", "493"), ("e", "true"), ("f", ""), ("g", "")],
        ),
        ("a: |\n  one\n  two\n", &[("a", "one\ntwo\n")]),
        ("a: \"{{ .USER }}: x\"", &[("a", "u: x")]),
        ("a: 1\nb: x\na: {{ .USER }}", &[("a", "u"), ("b", "x")]),
        ("{{ range list \"x\" \"y\" }}{{ . }}: 1\n{{ end }}", &[("x", "1"), ("y", "1")]),
    ] {
        assert_eq!(map(template).unwrap(), pairs(expected), "{template}");
    }
    for template in [
        "a: [{{ .USER }}]",
        "a: {b: {{ .B64 }}}",
        "{{ .B64 }}",
        "- {{ .B64 }}",
        "a: {{ .PASS }}: {{ .PASS }}",
        "a: \"{{ .B64 }}",
    ] {
        let problem = map(template).unwrap_err();
        assert_eq!(problem.reason, Reason::TemplateError);
        assert!(problem.message.starts_with("place: what the template renders to: "), "{}", problem.message);
        assert!(!problem.message.contains("c2Vj") && !problem.message.contains("p@ss"), "{}", problem.message);
    }
}
