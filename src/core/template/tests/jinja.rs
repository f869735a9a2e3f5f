use super::*;

fn jinja(template: &str) -> Result<String, String> {
    run_in(Engine::Minijinja, template)
}

#[test]
fn renders_what_users_write() {
    for (template, expected) in [
        ("", ""),
        ("static }}", "static }}"),
        ("{{ USER }}\n", "u\n"),
        ("postgres://{{ USER }}:{{ PASS }}@host/db", "postgres://u:p@ss\"<&>word@host/db"),
        ("{{ USER | b64enc }}", "dQ=="),
        ("{{ b64enc(USER) }}", "dQ=="),
        ("{{ B64 | b64dec | trimSuffix('et') }}", "secr"),
        ("{{ get(JSON | fromJson, 'host') }}:{{ (JSON | fromJson).port }}", "db:8080"),
        ("{% for x in (JSON | fromJson).list %}[{{ x }}]{% endfor %}", "[a][b]"),
        ("{{ toJson({'a': USER, 'n': 1, 'l': [true, none]}) }}", r#"{"a":"u","l":[true,null],"n":1}"#),
        ("{{ dict('a', USER) | toJson }}", r#"{"a":"u"}"#),
        ("{{ dict(a=USER) | toJson }}", r#"{"a":"u"}"#),
        ("{{ list(1, 2) | toJson }}{{ [1, 2] | last }}", "[1,2]2"),
        ("{{ USER | default('x') }}{{ NONE | default('x') }}{{ EMPTY | default('x', true) }}", "uxx"),
        ("{{ MULTI | replace('one', '1') | nindent(2) }}", "\n  1\n  two"),
        ("{{ USER | upper ~ '-' ~ (USER | sha256sum | trunc(8)) }}", "U-0bfe935e"),
        ("{{ 'a,b' | split(',') | join('-') }}", "a-b"),
        ("{{ USER | ternary('yes', 'no') if false else ternary('yes', 'no', true) }}", "yes"),
        ("{{ now() | date('2006') if false else date('2006-01-02', now()) }}", "2026-11-03"),
        ("{{ now() | date('2006') }}", "2026"),
        ("{% if USER == 'u' %}x{% endif %}{# comment #}", "x"),
        ("{{ '%s-%s' | format(USER, 1) }}{{ printf('%s-%02d', USER, 1) }}", "u-1u-01"),
        ("{{ ('1' | int) + 1 }}{{ add(1, '2') }}", "23"),
        ("{{ PASS }}{{ PASS | html }}", "p@ss\"<&>wordp@ss&#34;&lt;&amp;&gt;word"),
    ] {
        assert_eq!(jinja(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn says_what_is_wrong() {
    let messages: Vec<(&str, String)> = [
        "{{ USR }}",
        "{{ USER",
        "{{ USER | b64encode }}",
        "{{ b64encode(USER) }}",
        "{{ USER | pkcs12key }}",
        "{{ env('HOME') }}",
        "{{ BINARY | upper }}",
        "{{ PASS | b64dec }}",
        "{{ PASS | fromJson }}",
        "{{ USER.name }}",
        "{{ b64enc() }}",
        "{{ upper(USER, PASS) }}",
        "{{ USER | repeat(PASS) }}",
        "{% if USER %}",
        "{{ USER is strange }}",
        "{{ PASS + 1 }}",
        "{{ USER.upper() }}",
        "{{ debug() }}",
        "{% include PASS %}",
        "a\n{{ PASS | int }}",
    ]
    .into_iter()
    .map(|template| (template, jinja(template).expect_err(template)))
    .collect();
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn the_filters_that_stay_are_those_that_jinja_has() {
    let has = |name: &str| {
        minijinja::Environment::new().render_str(&format!("{{{{ '{name}' is filter }}}}"), ()).unwrap() == "True"
    };
    for name in crate::core::template::jinja::FILTERS {
        assert!(has(name), "{name}");
    }
    for name in names() {
        assert_eq!(has(name), crate::core::template::jinja::FILTERS.contains(&name), "{name}");
    }
}
