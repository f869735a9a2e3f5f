use proptest::prelude::*;

use super::*;

#[test]
fn means_what_go_means() {
    for (source, text, expected) in [
        (r"\d+", "٣42", Some("42")),
        (r"\w+", "é_a1", Some("_a1")),
        (r"\s", "\u{a0} x", Some(" ")),
        (r"\bx", "éx", Some("x")),
        (r"a\Bb", "ab", Some("ab")),
        (r"[\d\s]+", "a1 2b", Some("1 2")),
        (r"[^\w]", "aé", Some("é")),
        (r"[\W]", "aé", Some("é")),
        (r"(?i)\w", "K", Some("K")),
        ("[a&&b]+", "x&&", Some("&&")),
        ("[[a]", "[", Some("[")),
        ("[]a]+", "a]", Some("a]")),
        ("[^]a]", "a]b", Some("b")),
        ("[a-c-]+", "b-", Some("b-")),
        ("[[:alpha:]]+", "1ab", Some("ab")),
        // From `!` to `-`, and a slash.
        ("[!--/]+", "-.-/", Some("-")),
        ("[!--/]+", "a#/", Some("#/")),
        ("[+--]+", "a,-b", Some(",-")),
        (r"[\d-z]+", "a-9zb", Some("-9z")),
        (r"[\[-\]]+", "a[\\]b", Some("[\\]")),
        ("[--/]+", "-./0", Some("-./")),
        ("[a-]+", "b-a", Some("-a")),
        ("[^-a]+", "-a^b", Some("^b")),
        ("[~~]+", "~~a", Some("~~")),
        (r"[a\]]+", "]a", Some("]a")),
        ("a{", "a{", Some("a{")),
        ("a{,2}", "a{,2}", Some("a{,2}")),
        ("a{2}", "aaa", Some("aa")),
        ("a{2,}?", "aaa", Some("aa")),
        ("x}]", "x}]", Some("x}]")),
        (r"\<a\>", "<a>", Some("<a>")),
        (r"\/\-\_", "/-_", Some("/-_")),
        (r"\Qa.b*\E+", "a.b**", Some("a.b**")),
        (r"\101\x41\x{42}", "AAB", Some("AAB")),
        (r"\p{Greek}\pL", "αa", Some("αa")),
        (r"(?P<y>\d{4})", "in 2026", Some("2026")),
        ("a.c", "a\nc", None),
        ("(?s)a.c", "a\nc", Some("a\nc")),
        ("(?U)a+", "aaa", Some("a")),
        ("^b", "a\nb", None),
        (r"\Aa\z", "a", Some("a")),
    ] {
        let regexp = Regexp::new(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(regexp.find_all(text).next(), expected, "{source}");
        assert_eq!(regexp.is_match(text), expected.is_some(), "{source}");
    }
}

#[test]
fn refuses_what_go_refuses() {
    for source in [
        "(",
        "[a",
        "a**",
        "a{1001}",
        "a{2}{3}",
        r"\",
        r"\h",
        r"\Z",
        r"(?x)a",
        "(?=a)",
        "(?<=a)",
        "(?<!a)",
        "*a",
        r"\1x(",
        r"(a)\1",
        r"\18",
        r"[\1]",
        r"[a-\d]",
        "[[:letter:]]",
        "[a-",
        "[z-a]",
        "(a{1000}){1000}",
    ] {
        assert!(Regexp::new(source).is_err(), "{source}");
    }
    let error = Regexp::new("a(?u)").unwrap_err();
    assert_eq!(error.to_string(), "a group begins with what is not supported");
}

#[test]
fn letters_and_numbers_are_those_of_go() {
    for c in ['a', '9', 'ß', '中', '½', 'Ⅳ', '٣', 'ª'] {
        assert!(is_letter_or_number(c), "{c}");
    }
    // Marks, and letters in a circle, which are alphabetic in Unicode's sense.
    for c in [' ', '_', '\u{301}', '\u{93f}', 'Ⓐ', '°', '€'] {
        assert!(!is_letter_or_number(c), "{c:?}");
    }
}

#[test]
fn fills_groups_in_as_go_does() {
    let replaced = |source: &str, text: &str, with: &str| Regexp::new(source).unwrap().replace_all(text, with);
    for (with, expected) in [
        ("$1-$2", "a-b"),
        ("${1}x", "ax"),
        ("$1x", ""),
        ("$$1", "$1"),
        ("$0!", "ab!"),
        ("$", "$"),
        ("${1", "${1"),
        ("${1-}", "${1-}"),
        ("$3|$01|$n", "||"),
        ("${first}", "a"),
    ] {
        assert_eq!(replaced("(?P<first>a)(b)", "ab", with), expected, "{with}");
    }
    assert_eq!(replaced("x*", "abxc", "-"), "-a-b-c-");
    assert_eq!(Regexp::new("a(b)").unwrap().replace_all_literal("ab", "$1"), "$1");
}

#[test]
fn splits_as_go_does() {
    let split = |source: &str, text: &'static str, most: usize| Regexp::new(source).unwrap().split(text, most);
    assert_eq!(split("a", "banana", usize::MAX), ["b", "n", "n", ""]);
    assert_eq!(split("a", "banana", 2), ["b", "nana"]);
    assert_eq!(split("a", "banana", 0), [""; 0]);
    assert_eq!(split("z+", "pizza", usize::MAX), ["pi", "a"]);
    assert_eq!(split("", "abc", usize::MAX), ["a", "b", "c"]);
    assert_eq!(split("a", "", usize::MAX), [""]);
    assert_eq!(split("a*", "abaabaccadaaae", 5), ["", "b", "b", "c", "cadaaae"]);
}

proptest! {
    /// Whatever is written as an expression is compiled or refused, and what is compiled is applied.
    #[test]
    fn any_text_is_answered(pieces in prop::collection::vec(piece(), 0..12), text in ".{0,12}", with in "[$a-c0-2{}]{0,6}") {
        if let Ok(regexp) = Regexp::new(&pieces.concat()) {
            regexp.is_match(&text);
            regexp.replace_all(&text, &with);
            prop_assert_eq!(regexp.replace_all(&text, "$0"), text.clone());
            regexp.split(&text, 3);
        }
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "é",
        ".",
        "*",
        "+",
        "?",
        "{2}",
        "{1,3}",
        "{",
        "}",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?P<n>",
        "[",
        "[^",
        "]",
        "-",
        "[:alpha:]",
        "\\d",
        "\\W",
        "\\b",
        "\\B",
        "\\pL",
        "\\x{41}",
        "\\Q",
        "\\E",
        "\\1",
        "\\",
        "|",
        "^",
        "$",
        "&&",
        "~~",
    ])
}
