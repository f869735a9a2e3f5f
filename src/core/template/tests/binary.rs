//! Values that are no text: as in Go, or an error; never something else.

use sha2::{Digest, Sha256};

use super::*;

const LOGO: &[u8] = b"\x89PNG\r\n\xff\xfe\0a";

fn made(engine: Engine, template: &str) -> Result<Vec<u8>, String> {
    let own = "\u{10ffff}";
    let map: SensitiveMap = [("logo.png", LOGO), ("LOGO", LOGO), ("TEXT", b"text"), ("OWN", own.as_bytes())]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Sensitive::from(value.to_vec())))
        .collect();
    let rendered = render(engine, template, "place", &Values::from(&map), &moment());
    rendered.map(|value| value.expose().to_vec()).map_err(|problem| problem.message)
}

#[test]
fn it_is_encoded_hashed_measured_and_passed_on() {
    let encoded = "iVBORw0K//4AYQ==";
    for (template, expected) in [
        (r#"{{ index . "logo.png" | b64enc }}"#, encoded.as_bytes()),
        ("{{ .LOGO | b64enc }}", encoded.as_bytes()),
        ("{{ .LOGO }}", LOGO),
        (r#"{{ index . "logo.png" }}"#, LOGO),
        ("{{ .LOGO | b64enc | b64dec }}", LOGO),
        (r#"{{ "/w==" | b64dec }}"#, b"\xff"),
        ("{{ .LOGO | b32enc | b32dec }}", LOGO),
        ("{{ len .LOGO }}", b"10"),
        (r#"{{ get . "LOGO" | b64enc }}"#, encoded.as_bytes()),
        (r#"{{ range $k, $v := . }}{{ if eq $k "LOGO" }}{{ $v | b64enc }}{{ end }}{{ end }}"#, encoded.as_bytes()),
        (r#"{{ .LOGO | default "x" | b64enc }}{{ if .LOGO }}y{{ end }}"#, b"iVBORw0K//4AYQ==y"),
        (r#"{{ eq .LOGO (index . "logo.png") }}{{ ne .LOGO .TEXT }}"#, b"truetrue"),
        (r#"{{ printf "<%s>" .LOGO }}"#, b"<\x89PNG\r\n\xff\xfe\0a>"),
        (r#"{{ print "<" .TEXT }}{{ list .LOGO .TEXT | last }}"#, b"<texttext"),
        (r#"{{ (dict "a" .LOGO).a }}"#, LOGO),
        // Halves of a character that are joined are that character.
        (r#"{{ printf "%s%s" ("ww==" | b64dec) ("qQ==" | b64dec) | upper }}"#, "É".as_bytes()),
        // A character that stands for a byte elsewhere is itself.
        ("{{ .OWN }}{{ .OWN | b64enc }}{{ len .OWN }}", "\u{10ffff}9I+/vw==4".as_bytes()),
    ] {
        assert_eq!(made(Engine::Go, template).as_deref(), Ok(expected), "{template}");
    }
    let sum = |template| String::from_utf8(made(Engine::Go, template).unwrap()).unwrap();
    let of =
        |bytes: &[u8]| Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    assert_eq!(sum("{{ .LOGO | sha256sum }}"), of(LOGO));
    assert_eq!(sum("{{ .OWN | sha256sum }}"), of("\u{10ffff}".as_bytes()));
}

#[test]
fn what_would_see_something_else_is_an_error() {
    for template in [
        "{{ .LOGO | upper }}",
        "{{ .LOGO | trim }}",
        "{{ .LOGO | toJson }}",
        "{{ . | toJson }}",
        "{{ . | toYaml }}",
        "{{ .LOGO | quote }}",
        "{{ .LOGO | trunc 3 }}",
        r#"{{ .LOGO | replace "a" "b" }}"#,
        r#"{{ printf "%q" .LOGO }}"#,
        r#"{{ printf "%5s" .LOGO }}"#,
        r#"{{ printf "%x" .LOGO }}"#,
        r#"{{ index . "LOGO" 0 }}"#,
        "{{ lt .LOGO .TEXT }}",
        "{{ .LOGO | bcrypt }}",
        "{{ .LOGO | fromJson }}",
        r#"{{ list .LOGO | join "," }}"#,
        r#"{{ regexMatch "a" .LOGO }}"#,
        r#"{{ printf "%c" 1114111 }}"#,
        r#"{{ "\U0010FFFF" }}"#,
        "\u{10ffff}{{ .TEXT }}",
    ] {
        let message = made(Engine::Go, template).expect_err(template);
        assert!(message.contains("binary") || message.contains("U+10FF80"), "{template}: {message}");
    }
}

#[test]
fn jinja_has_them_too() {
    let encoded = "iVBORw0K//4AYQ==";
    for (template, expected) in [
        ("{{ LOGO | b64enc }}", encoded.as_bytes()),
        ("{{ LOGO }}", LOGO),
        ("<{{ b64dec(b64enc(LOGO)) }}>", b"<\x89PNG\r\n\xff\xfe\0a>"),
        ("{{ LOGO | default('x') | b64enc }}{{ 'y' if LOGO else 'n' }}", b"iVBORw0K//4AYQ==y"),
        ("{{ LOGO | len }}{{ LOGO == LOGO }}{{ LOGO == TEXT }}", b"10TrueFalse"),
        ("{% for value in [LOGO] %}{{ value | b64enc }}{% endfor %}", encoded.as_bytes()),
        ("{{ OWN | b64enc }}{{ OWN }}", "9I+/vw==\u{10ffff}".as_bytes()),
    ] {
        assert_eq!(made(Engine::Minijinja, template).as_deref(), Ok(expected), "{template}");
    }
    for template in [
        "{{ LOGO | upper }}",
        "{{ LOGO | length }}",
        "{{ LOGO | tojson }}",
        "{{ LOGO | string }}",
        "{{ LOGO ~ 'x' }}",
        "{{ LOGO[0] }}",
        "{{ LOGO[:2] }}",
        "{{ [LOGO] }}",
        "{{ [LOGO] | join(',') }}",
        "{{ 'a' in LOGO }}",
        "{{ LOGO | replace('a', 'b') }}",
        "{{ '%s' | format(LOGO) }}",
        "{% for c in LOGO %}{{ c }}{% endfor %}",
        "{% set x %}{{ LOGO }}{% endset %}{{ x | length }}",
        "{% filter upper %}{{ LOGO }}{% endfilter %}",
        "{{ toJson(LOGO) }}",
        "{{ '\\udbff\\udfff' }}",
    ] {
        let found = made(Engine::Minijinja, template);
        assert!(found.is_err(), "{template}: {found:?}");
    }
}
