use super::*;

#[test]
fn work_is_bounded() {
    let twice = |n: u32| {
        let call = format!("{{{{ template \"t{}\" }}}}", n + 1);
        format!("{{{{ define \"t{n}\" }}}}{call}{call}{{{{ end }}}}")
    };
    let bomb = (0..40).map(twice).collect::<Vec<_>>().concat();
    let bomb = format!("{bomb}{{{{ define \"t40\" }}}}{{{{ end }}}}{{{{ template \"t0\" }}}}");
    let wide = format!("{{{{ range until 9000 }}}}{}{{{{ end }}}}", "{{ if false }}{{ end }}".repeat(2000));
    for template in [
        r#"{{ repeat 2000000000 "x" }}"#,
        r#"{{ $x := "xxxxxxxxxxxxxxxx" }}{{ range (splitList "" (repeat 100 "y")) }}{{ $x = printf "%s%s" $x $x }}{{ end }}"#,
        r#"{{ $x := "xxxxxxxxxxxxxxxx" }}{{ range (splitList "" (repeat 100 "y")) }}{{ $x = replace "x" $x $x }}{{ end }}"#,
        r#"{{ $x := "xxxxxxxxxxxxxxxx" }}{{ range (splitList "" (repeat 100 "y")) }}{{ $x = regexReplaceAll "x" $x $x }}{{ end }}"#,
        r#"{{ $x := list "x" }}{{ range (splitList "" (repeat 100 "y")) }}{{ $x = list $x $x }}{{ end }}{{ $x }}"#,
        r#"{{ $x := dict }}{{ range until 1000 }}{{ $x = dict "a" $x }}{{ end }}{{ $x }}"#,
        "{{ range 20000 }}x{{ end }}",
        r#"{{ range 9000 }}{{ printf "%600s" "" }}{{ end }}"#,
        r#"{{ nindent 2000000000 "x" }}"#,
        r#"{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}"#,
        "{{ until 2000000000 }}",
        "{{ untilStep 0 2000000000 1 }}",
        "{{ seq 2000000000 }}",
        "{{ randAlphaNum 2000000000 }}",
        r#"{{ range until 100 }}{{ bcrypt "x" }}{{ end }}"#,
        r#"{{ wrapWith 1 (repeat 10000 "y") (repeat 10000 "x") }}"#,
        r#"{{ $x := repeat 500000 "x" }}{{ range until 9000 }}{{ if eq $x $x }}{{ end }}{{ end }}"#,
        r"{{ $x := until 5000 }}{{ range until 100 }}{{ $y := without $x -1 -2 -3 }}{{ end }}",
        r#"{{ range until 9000 }}{{ $x := regexMatch "(a{100}){5}" "a" }}{{ end }}"#,
        &bomb,
        &wide,
    ] {
        let error = run(template).unwrap_err();
        let words = ["too much", "no Secret can hold", "without end", "rounds", "too deep", "more than"];
        assert!(words.iter().any(|word| error.contains(word)), "{}: {error}", &template[..template.len().min(100)]);
    }
}

#[test]
fn a_panic_is_an_error_of_that_template() {
    for needed in [GO_STACK, STACK] {
        let error = contained(needed, || panic!("canary")).unwrap_err();
        assert_eq!(error, "the template engine fails on it");
    }
    // The next one is rendered.
    assert_eq!(run("{{ .USER }}").as_deref(), Ok("u"));
}

#[test]
fn work_in_the_other_engine_is_bounded() {
    let deep = format!("{}{{{{ x }}}}", "{% set x = [x] %}".repeat(40_000));
    let deep = format!("{{% set x = 1 %}}{deep}");
    for template in [
        r#"{{ "x" * 99999999 }}"#,
        r#"{% set x = "x" %}{% for i in range(100) %}{% set ns = namespace(x=x) %}{% endfor %}{% set n = namespace(x="x") %}{% for i in range(100) %}{% set n.x = n.x ~ n.x %}{% endfor %}"#,
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
        "{% for i in range(100000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
        r#"{{ "x" | indent(2000000000) }}{{ "x" | nindent(2000000000) }}"#,
        r#"{{ "x" | repeat(2000000000) }}"#,
        r#"{{ "%2000000000d" | format(1) }}"#,
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for i in range(100) %}{{ bcrypt('x') }}{% endfor %}",
        &deep,
    ] {
        let error = run_in(Engine::Minijinja, template).unwrap_err();
        let words = ["too much", "no Secret can hold", "too deep", "more than", "invalid operation", "recursion"];
        assert!(words.iter().any(|word| error.contains(word)), "{}: {error}", &template[..template.len().min(100)]);
    }
}

#[test]
fn what_nests_deeply_is_no_danger() {
    for template in ["(".repeat(100_000), "{{ if true }}".repeat(50_000), "{{ (".repeat(1000), "[".repeat(100_000)] {
        for engine in [Engine::Go, Engine::Minijinja] {
            assert!(run_in(engine, &format!("{{{{ {template}")).is_err());
        }
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let values = Values::from(&SensitiveMap::from([("X".to_owned(), Sensitive::from(deep))]));
    for template in ["{{ fromJson .X }}", "{{ fromYaml .X }}"] {
        assert!(render(Engine::Go, template, "place", &values, &moment()).is_err(), "{template}");
    }
}

#[test]
fn a_large_template_is_refused() {
    let large = format!("{{{{ .USER }}}}{}", "x".repeat(1 << 20));
    assert!(run(&large).unwrap_err().contains("no Secret can hold"));
}
