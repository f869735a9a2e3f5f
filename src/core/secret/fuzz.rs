//! Whatever is declared, of whatever items.

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::*;
use crate::core::{
    field::{self, Source},
    item::Item,
    odd::{CANARY, flaw, item, name, shown},
    rewrite::{check_key, encoding, rewrite},
    sensitive::Sensitive,
    template::Moment,
};

const TEMPLATES: [&str; 16] = [
    "x",
    "{{ .password }}",
    "{{ .a | b64enc }}",
    "{{ .a | fromJson }}",
    "{{ (.a | fromJson).canary.is }}",
    "{{ fail .a }}",
    "{{ range $k, $v := . }}{{ $k }}: {{ $v | quote }}\n{{ end }}",
    "{{ . | toYaml }}",
    "{{",
    "{{ .a }}: {{ .b }}",
    "- {{ .a }}",
    "{{ repeat 40000 .a }}",
    "{{ randAlphaNum 9 }}{{ now }}",
    "{{ index . .a }}",
    "{{ password }}",
    "{% for k in a %}{{ k.x }}{% endfor %}",
];

/// A key that the API lets through, or any other.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(&["a", "b", "password", "KEY.x", "..", "."][..]).prop_map(str::to_owned), 1 => name()]
}

fn remote() -> impl Strategy<Value = Value> {
    (name(), prop::option::of(name()), encoding()).prop_map(|(key, property, (conversion, decoding, null_bytes))| {
        json!({"key": key, "property": property, "conversionStrategy": conversion, "decodingStrategy": decoding,
            "nullBytePolicy": null_bytes})
    })
}

fn texts_of(count: usize) -> impl Strategy<Value = Map<String, Value>> {
    let odd = prop::collection::vec(select(&TEMPLATES[..]), 1..3).prop_map(|pieces| Value::from(pieces.concat()));
    let large = Just(json!("{{ repeat 80000 \"123456789012\" }}"));
    let text = prop_oneof![3 => odd, 1 => Just(json!("{{ randAlphaNum 9 }}{{ now }}")), 2 => large];
    prop::collection::btree_map(key(), text, 0..count).prop_map(|map| map.into_iter().collect())
}

/// A template with all that it can have; the sources of `templateFrom` are those of `origins`.
fn template() -> impl Strategy<Value = Value> {
    let from = (
        select(&["literal", "literal", "configMap", "configMap", "secret"][..]),
        select(&TEMPLATES[..]),
        any::<bool>(),
    );
    let from = (from, prop::option::of(select(&["Data", "data", "annotations", "Labels", "Spec"][..]))).prop_map(
        |((kind, text, values), target)| {
            let as_ = if values { "Values" } else { "KeysAndValues" };
            let source = json!({"name": "origin", "items": [{"key": text.len().to_string(), "templateAs": as_}]});
            json!({kind: if kind == "literal" { json!(text) } else { source }, "target": target})
        },
    );
    let options =
        (prop::option::of(select(&["v2", "minijinja"][..])), prop::option::of(select(&["Replace", "Merge"][..])));
    (options, texts_of(5), texts_of(2), texts_of(2), prop::collection::vec(from, 0..3)).prop_map(
        |((engine, policy), data, labels, annotations, from)| {
            json!({"engineVersion": engine, "mergePolicy": policy, "data": data, "templateFrom": from,
                "metadata": {"labels": labels, "annotations": annotations}})
        },
    )
}

fn spec() -> impl Strategy<Value = Value> {
    let data = (key(), remote()).prop_map(|(key, remote)| json!({"secretKey": key, "remoteRef": remote}));
    let from = (remote(), any::<bool>(), prop::collection::vec(rewrite(), 0..2)).prop_map(|(remote, find, rewrite)| {
        let find = find.then(|| json!({"name": {"regexp": "."}}));
        let extract = find.is_none().then_some(remote);
        json!({"extract": extract, "find": find, "rewrite": rewrite})
    });
    let data = prop::collection::vec(data, 0..3);
    (data, prop::collection::vec(from, 0..3), prop::option::of(template())).prop_map(|(data, from, template)| {
        json!({"secretStoreRef": {"kind": "SecretStore", "name": "s"}, "data": data, "dataFrom": from,
            "target": {"template": template}})
    })
}

/// What the templates of other objects are: one key for each, called by its length. Those of a Secret are secret.
fn origins() -> Vec<Origin> {
    let of = |kind: OriginKind| {
        let secret = |text: &str| match kind {
            OriginKind::ConfigMap => text.to_owned(),
            OriginKind::Secret => format!("{text}{{{{ fail {CANARY:?} }}}}"),
        };
        let data = TEMPLATES.iter().map(|text| (text.len().to_string(), Sensitive::from(secret(text)))).collect();
        Origin { kind, name: "origin".to_owned(), version: Some("1".to_owned()), data }
    };
    vec![of(OriginKind::ConfigMap), of(OriginKind::Secret)]
}

/// Reads every reference from one item, as the controller does; a file is its name. Where the item has nothing for it, a
/// few fields are taken that templates know.
fn yielded(item: &Item, spec: &ExternalSecret) -> Result<Desired, Problem> {
    let mut yields = Vec::new();
    for wanted in wanted(&spec.spec)? {
        let parts = match (&wanted.what, wanted.entry) {
            (What::Part(reference), Entry::Data(index)) => {
                field::one(item, &reference.part).map(|part| vec![(spec.spec.data[index].secret_key.clone(), part)])
            }
            (What::Part(reference), Entry::DataFrom(_)) => field::all(item, &reference.part),
            (What::Search(_), _) => field::matching(item, |_| true),
        };
        let known = || ["a", "b", "password"].map(|name| (name.to_owned(), Source::Value(CANARY.into()))).into();
        let parts = match parts {
            Ok(parts) if parts.is_empty() => known(),
            Ok(parts) => parts,
            Err(problem) => {
                assert_eq!(flaw(&problem), None);
                known()
            }
        };
        let value = |source| match source {
            Source::Value(value) => value,
            Source::File(file) => Sensitive::from(file.name),
        };
        yields.push((wanted, parts.into_iter().map(|(name, source)| (name, value(source))).collect()));
    }
    let ingredients = Ingredients { yields, texts: texts(&spec.spec, &origins())? };
    render(&spec.spec, ingredients, &Moment { now: "2026-11-03T07:08:09Z".parse().unwrap(), seed: [7; 32] })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// A Secret that the API takes, the same each time; or an error without any value.
    #[test]
    fn any_declaration_is_answered(spec in spec(), item in item()) {
        let owner: ExternalSecret = serde_json::from_value(json!({
            "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
            "metadata": {"name": "x", "namespace": "n", "uid": "uid-1", "generation": 3}, "spec": spec,
        })).unwrap();
        let first = yielded(&item, &owner);
        prop_assert_eq!(&first, &yielded(&item, &owner));
        let desired = match first {
            Ok(desired) => desired,
            Err(problem) => {
                prop_assert_eq!(flaw(&problem), None);
                return Ok(());
            }
        };
        // A key may be one that a template makes of a value: that is its author's choice.
        for (key, value) in &desired.data {
            prop_assert_eq!(shown(&format!("{value:?}")), None);
            prop_assert!(check_key(key).is_ok(), "{key:?}");
        }
        let size: usize = desired.data.iter().map(|(key, value)| key.len() + value.expose().len()).sum();
        prop_assert!(size <= 1 << 20, "{size}");
        let secret = object(&owner, &desired, &Notes::default());
        prop_assert_eq!(secret.data.map(|data| data.len()), Some(desired.data.len()));
        prop_assert!(!differs(&object(&owner, &desired, &Notes::default()), &object(&owner, &desired, &Notes::default()), &owner));
    }
}
