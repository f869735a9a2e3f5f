//! What became of an ExternalSecret, and whether both sides made the same of it.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
};

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

use crate::shapes::Shape;

/// Labels and annotations by which each side keeps its books.
const BOOKS: [&str; 3] = ["reconcile.external-secrets.io/", "strongroom.dev/", "app.kubernetes.io/managed-by"];

/// How the outcomes of both sides relate.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// The same Secret, or none.
    Same,
    /// Only External Secrets Operator says that it is ready.
    OnlyEso,
    /// Only we do.
    OnlyOurs,
    /// Both are ready, or neither, and the data differs.
    Data,
    /// The same data, and other labels or annotations.
    Metadata,
    /// Something else of the Secret differs: whether it is there, its type, whose it is.
    Otherwise,
}

/// What became of an ExternalSecret.
pub(crate) struct Outcome {
    ready: bool,
    said: String,
    secret: Option<Written>,
}

#[derive(PartialEq)]
struct Written {
    data: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    kind: String,
    immutable: bool,
    owned: bool,
}

/// The outcomes by shape; none while one is still to come.
pub(crate) fn of(shapes: &[Shape], objects: &[Value], secrets: &[Value]) -> Option<BTreeMap<String, Outcome>> {
    let by_name = |objects: &[Value]| -> BTreeMap<String, Value> {
        let named = objects.iter().filter_map(|object| Some((object["metadata"]["name"].as_str()?, object)));
        named.map(|(name, object)| (name.to_owned(), object.clone())).collect()
    };
    let (objects, secrets) = (by_name(objects), by_name(secrets));
    let one = |shape: &Shape| {
        let secret = secrets.get(&shape.target()).map(written);
        let Some(object) = objects.get(&shape.name) else {
            return Some(Outcome { ready: false, said: "refused by the API server".to_owned(), secret });
        };
        let seen = object["status"]["observedGeneration"].as_i64();
        let conditions = object["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        if seen.is_some_and(|seen| Some(seen) != object["metadata"]["generation"].as_i64())
            || text("status") == "Unknown"
        {
            return None;
        }
        let said = format!("{}: {}", text("reason"), text("message"));
        Some(Outcome { ready: text("status") == "True", said, secret })
    };
    shapes.iter().map(|shape| Some((shape.name.clone(), one(shape)?))).collect()
}

fn written(secret: &Value) -> Written {
    let map = |value: &Value, read: fn(&str) -> String| -> BTreeMap<String, String> {
        let entries = value.as_object().into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), read(value.as_str().unwrap_or_default()))).collect()
    };
    let own = |value: &Value| {
        let mut all = map(value, str::to_owned);
        all.retain(|key, _| !BOOKS.iter().any(|book| key.starts_with(book)));
        all
    };
    let decode = |text: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("Secrets hold base64");
        bytes.escape_ascii().to_string()
    };
    let owners = secret["metadata"]["ownerReferences"].as_array();
    Written {
        data: map(&secret["data"], decode),
        labels: own(&secret["metadata"]["labels"]),
        annotations: own(&secret["metadata"]["annotations"]),
        kind: secret["type"].as_str().unwrap_or_default().to_owned(),
        immutable: secret["immutable"] == true,
        owned: owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true)),
    }
}

/// How the outcomes of both sides relate.
pub(crate) fn compare(theirs: &Outcome, ours: &Outcome) -> Verdict {
    match (theirs.ready, ours.ready) {
        (true, false) => return Verdict::OnlyEso,
        (false, true) => return Verdict::OnlyOurs,
        _ => {}
    }
    match (&theirs.secret, &ours.secret) {
        (theirs, ours) if theirs == ours => Verdict::Same,
        (Some(theirs), Some(ours)) if theirs.data != ours.data => Verdict::Data,
        (Some(theirs), Some(ours))
            if (theirs.immutable, theirs.owned, &theirs.kind) == (ours.immutable, ours.owned, &ours.kind) =>
        {
            Verdict::Metadata
        }
        _ => Verdict::Otherwise,
    }
}

/// What each side made.
pub(crate) fn details(theirs: &Outcome, ours: &Outcome) -> String {
    let mut text = String::new();
    for (side, outcome) in [("ESO ", theirs), ("ours", ours)] {
        let _ = writeln!(text, "  {side} {} {}", if outcome.ready { "ready" } else { "not ready" }, outcome.said);
    }
    let (Some(theirs), Some(ours)) = (&theirs.secret, &ours.secret) else {
        let there = |outcome: &Outcome| if outcome.secret.is_some() { "there" } else { "not there" };
        let _ = writeln!(text, "  Secret: ESO {}, ours {}", there(theirs), there(ours));
        return text;
    };
    let maps = [
        ("data", &theirs.data, &ours.data),
        ("label", &theirs.labels, &ours.labels),
        ("annotation", &theirs.annotations, &ours.annotations),
    ];
    for (what, theirs, ours) in maps {
        for key in theirs.keys().chain(ours.keys().filter(|key| !theirs.contains_key(*key))) {
            differ(&mut text, &format!("{what} {key}"), theirs.get(key), ours.get(key));
        }
    }
    differ(&mut text, "type", Some(&theirs.kind), Some(&ours.kind));
    differ(&mut text, "immutable", Some(&theirs.immutable), Some(&ours.immutable));
    differ(&mut text, "owned", Some(&theirs.owned), Some(&ours.owned));
    text
}

fn differ<T: PartialEq + Display>(text: &mut String, what: &str, theirs: Option<&T>, ours: Option<&T>) {
    let shown = |value: Option<&T>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.300}"));
    if theirs != ours {
        let _ = writeln!(text, "  {what}: ESO {}, ours {}", shown(theirs), shown(ours));
    }
}

/// How many outcomes there are of each kind.
pub(crate) fn tally([theirs, ours]: &[BTreeMap<String, Outcome>; 2]) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for (name, theirs) in theirs {
        *counts.entry(compare(theirs, &ours[name])).or_default() += 1;
    }
    let ready = |all: &BTreeMap<String, Outcome>| all.values().filter(|one| one.ready).count();
    format!("{counts:?}; ready: ESO {}, ours {}", ready(theirs), ready(ours))
}
