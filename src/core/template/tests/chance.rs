use super::*;

fn with(seed: u8, place: &str, template: &str) -> String {
    let moment = Moment { seed: [seed; 32], ..moment() };
    render(Engine::Go, template, place, &values(), &moment).unwrap().expose_str().unwrap().to_owned()
}

#[test]
fn chance_comes_from_the_seed_and_the_place() {
    for template in [
        "{{ randAlphaNum 24 }}",
        "{{ randAlpha 24 }}",
        "{{ randNumeric 24 }}",
        "{{ randAscii 24 }}",
        "{{ randBytes 24 }}",
        "{{ randInt 0 1000000000000 }}",
        "{{ uuidv4 }}",
        r#"{{ shuffle "abcdefghijklmnopqrstuvwxyz" }}"#,
        r#"{{ bcrypt "x" }}"#,
    ] {
        let first = with(1, "a", template);
        assert_eq!(first, with(1, "a", template), "{template}");
        assert_ne!(first, with(2, "a", template), "{template}");
        assert_ne!(first, with(1, "b", template), "{template}");
    }
    let two = with(1, "a", "{{ randAlphaNum 24 }} {{ randAlphaNum 24 }}");
    let (one, other) = two.split_once(' ').unwrap();
    assert_ne!(one, other);
}

#[test]
fn chance_has_the_right_form() {
    let fits = |template: &str, length: usize, fits: fn(char) -> bool| {
        let text = with(1, "a", template);
        assert!(text.len() == length && text.chars().all(fits), "{template}: {text}");
    };
    fits("{{ randAlphaNum 500 }}", 500, |c| c.is_ascii_alphanumeric());
    fits("{{ randAlpha 500 }}", 500, |c| c.is_ascii_alphabetic());
    fits("{{ randNumeric 500 }}", 500, |c| c.is_ascii_digit());
    fits("{{ randAscii 500 }}", 500, |c| matches!(c, ' '..='~'));
    fits("{{ range until 500 }}{{ randInt 3 5 }}{{ end }}", 500, |c| c == '3' || c == '4');
    let uuid = with(1, "a", "{{ uuidv4 }}");
    let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert!(uuid[14..].starts_with('4') && uuid[19..].starts_with(['8', '9', 'a', 'b']), "{uuid}");
    let mut letters: Vec<char> = with(1, "a", r#"{{ shuffle "abcdef" }}"#).chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['a', 'b', 'c', 'd', 'e', 'f']);
    // Every digit comes about as often as the others.
    let digits = with(1, "a", "{{ randNumeric 10000 }}");
    for digit in '0'..='9' {
        let count = digits.chars().filter(|c| *c == digit).count();
        assert!((850..1150).contains(&count), "{digit}: {count}");
    }
}

#[test]
fn passwords_are_hashed_as_others_check_them() {
    let hash = with(1, "a", r#"{{ htpasswd "me" "hunter2" }}"#);
    let (user, hash) = hash.split_once(':').unwrap();
    assert_eq!((user, &hash[..7], hash.len()), ("me", "$2a$10$", 60));
    // The same salt by the algorithm's own rule: what stands in the hash makes the same hash again.
    assert!(hash.is_ascii());
    assert!(run(r#"{{ htpasswd "a:b" "x" }}"#).unwrap_err().contains("':'"));
    let long = format!(r#"{{{{ bcrypt "{}" }}}}"#, "x".repeat(73));
    assert!(run(&long).unwrap_err().contains("72 bytes"));
}
