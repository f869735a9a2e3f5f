//! Whatever is written as a rewrite.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::core::odd::{flaw, name, value};

const REGEXPS: [&str; 18] = [
    "a", "(.*)", "(.+)", "(", ")", "[^a-z]", "[", "\\d", "\\", "^", "$", "", "x*", "(?i)A", "é", "(?P<n>.)", "{2}", "|",
];
const TARGETS: [&str; 12] = ["$1", "$0", "${1}", "$n", "${", "$$", "$", "_", "é", "", "a b", "{{ .value }}"];
const TEMPLATES: [&str; 14] = [
    "{{ .value }}",
    "{{ .value | upper }}",
    "{{ .value | b64enc }}",
    "{{ .value | b64dec }}",
    "{{ .key }}",
    "{{ . }}",
    "{{",
    "}}",
    "{{ repeat 9 .value }}",
    "{{ fail .value }}",
    "{{ range until 3 }}x{{ end }}",
    "\0",
    "{{ index .value 9 }}",
    "é",
];

fn some(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(select(pieces), 0..5).prop_map(|pieces| pieces.concat())
}

pub(in crate::core) fn rewrite() -> impl Strategy<Value = Rewrite> {
    let regexp = (some(&REGEXPS), some(&TARGETS))
        .prop_map(|(source, target)| json!({"regexp": {"source": source, "target": target}}));
    let transform = some(&TEMPLATES).prop_map(|template| json!({"transform": {"template": template}}));
    let choice = |of: &'static [&'static str]| prop::option::of(select(of));
    let merge = (
        prop::option::of(name()),
        prop::collection::vec(name(), 0..3),
        choice(&["Strict", "IgnoreNotFound"]),
        choice(&["Error", "Ignore"]),
        choice(&["Extract", "JSON"]),
    )
        .prop_map(|(into, priority, missing, conflict, strategy)| {
            json!({"merge": {"into": into, "priority": priority, "priorityPolicy": missing,
                "conflictPolicy": conflict, "strategy": strategy}})
        });
    prop_oneof![3 => regexp, 3 => transform, 2 => merge].prop_map(|rule: Value| serde_json::from_value(rule).unwrap())
}

pub(in crate::core) fn encoding() -> impl Strategy<Value = (ConversionStrategy, DecodingStrategy, NullBytePolicy)> {
    (
        select(&[ConversionStrategy::Default, ConversionStrategy::Unicode][..]),
        prop_oneof![
            4 => Just(DecodingStrategy::None),
            1 => select(&[DecodingStrategy::Auto, DecodingStrategy::Base64, DecodingStrategy::Base64Url][..]),
        ],
        select(&[NullBytePolicy::Ignore, NullBytePolicy::Fail][..]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Names that a Secret or at least a template can use, the same each time; or an error without any value.
    #[test]
    fn any_rewrite_is_answered(
        fields in prop::collection::vec((name(), value()), 0..5),
        rewrites in prop::collection::vec(rewrite(), 0..4),
        (conversion, decoding, null_bytes) in encoding(),
    ) {
        let encoding = Encoding { conversion, decoding, null_bytes, source: "item \"x\"".to_owned() };
        let moment = Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [7; 32] };
        let run = || {
            let fields = fields.iter().map(|(name, value)| (name.clone(), Sensitive::from(value.as_str())));
            keys(fields.collect(), &encoding, &rewrites, "spec.dataFrom[0]", &moment)
        };
        let first = run();
        prop_assert_eq!(&first, &run());
        match first {
            Ok(map) => for (key, value) in map {
                let valid = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
                prop_assert!(!key.is_empty() && key.chars().all(valid), "{key:?}");
                prop_assert!(null_bytes == NullBytePolicy::Ignore || !value.expose().contains(&0), "{key:?}");
            },
            Err(problem) => prop_assert_eq!(flaw(&problem), None),
        }
    }

    /// What is decoded can be encoded again, but for what base64 does not tell.
    #[test]
    fn decoding_undoes_encoding(bytes in prop::collection::vec(any::<u8>(), 0..60), lines in any::<bool>()) {
        for (decoding, text) in [
            (DecodingStrategy::Base64, STANDARD.encode(&bytes)),
            (DecodingStrategy::Base64Url, URL_SAFE.encode(&bytes)),
            (DecodingStrategy::Auto, STANDARD.encode(&bytes)),
            (DecodingStrategy::Auto, URL_SAFE.encode(&bytes)),
        ] {
            let text = if lines { text.chars().flat_map(|c| [c, '\r', '\n']).collect() } else { text };
            let encoding = Encoding { decoding, ..Encoding::default() };
            let decoded = decode(Sensitive::from(text), &encoding, "KEY", "place").unwrap();
            prop_assert_eq!(decoded.expose(), &bytes);
        }
    }
}

/// Each of a few rewrites can make the names many times as long, and a merge can repeat all values.
#[test]
fn nothing_grows_without_end() {
    let run = |rewrite: Value, value: &str| {
        let rewrites: Vec<Rewrite> = serde_json::from_value(rewrite).unwrap();
        let moment = Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [7; 32] };
        let fields = ["name", "other"].map(|name| (name.to_owned(), Sensitive::from(value)));
        keys(fields.into(), &Encoding::default(), &rewrites, "spec.dataFrom[0]", &moment).unwrap_err()
    };
    let regexp = |source: &str, target: &str| json!({"regexp": {"source": source, "target": target}});
    let large = json!({"x": "v".repeat(8 << 20)}).to_string();
    let merge =
        |into: usize| json!({"merge": {"strategy": "JSON", "into": into.to_string(), "conflictPolicy": "Ignore"}});
    for (rewrites, value) in [
        (json!([regexp("(.+)", &"$0".repeat(3_000)), regexp("(.+)", &"$0".repeat(3_000))]), "v"),
        (json!(vec![regexp("(.+)", "$1$1"); 50]), "v"),
        (json!([regexp("", &"x".repeat(1 << 20))]), "v"),
        (json!(vec![regexp("", &"x".repeat(1 << 10)); 3]), "v"),
        (json!(vec![json!({"transform": {"template": "{{ repeat 1000 .value }}"}}); 3]), "v"),
        ((0..4).map(merge).collect(), large.as_str()),
    ] {
        let problem = run(rewrites, value);
        assert!(matches!(problem.reason, Reason::InvalidData | Reason::TemplateError), "{problem}");
        assert!(problem.message.len() < 300, "{}", problem.message.len());
    }
}
