//! What Prometheus scrapes: what docs/metrics.md lists, and for each ExternalSecret as long as it is there.

use std::collections::BTreeSet;

use chrono::Utc;
use serde_json::json;

use crate::{
    secrets::{external_secret, put_item},
    support::{SOON, SYSTEM, apply, beside_others, eventually, kubectl, namespace, ready},
};

/// The page of the operator.
pub fn page() -> String {
    kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{SYSTEM}/services/strongroom:http/proxy/metrics")])
}

/// The value of an ExternalSecret's series, which may have a reason.
fn value(page: &str, metric: &str, namespace: &str, name: &str, reason: Option<&str>) -> Option<i64> {
    let reason = reason.map(|reason| format!(",reason=\"{reason}\"")).unwrap_or_default();
    let series = format!(
        "strongroom_external_secret_{metric}{{group=\"strongroom.dev\",namespace=\"{namespace}\",name=\"{name}\"{reason}}} "
    );
    page.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
}

#[test]
fn each_external_secret_has_its_series_as_long_as_it_is_there() {
    let _guard = beside_others();
    namespace("x-metrics");
    put_item("x-metrics", &json!({"KEY": "canary-metrics"}));
    apply(&external_secret("x-metrics", "good", "x-metrics"));
    apply(&external_secret("x-metrics", "bad", "x-metrics-absent"));
    ready("externalsecret", "x-metrics", "good", "True", "");
    ready("externalsecret", "x-metrics", "bad", "False", "ItemNotFound");
    let before = Utc::now().timestamp();
    let of = |page: &str, metric, name, reason| value(page, metric, "x-metrics", name, reason);
    eventually("what is in sync was so at a later look", SOON, || {
        let synced = of(&page(), "last_sync_timestamp_seconds", "good", None)?;
        (synced > before).then_some(())
    });
    let now = page();
    assert_eq!(of(&now, "ready", "good", Some("Synced")), Some(1));
    assert_eq!(of(&now, "ready", "bad", Some("ItemNotFound")), Some(0));
    let changed = of(&now, "last_change_timestamp_seconds", "good", None);
    assert!(changed.is_some() && changed <= of(&now, "last_sync_timestamp_seconds", "good", None));
    assert_eq!(of(&now, "last_sync_timestamp_seconds", "bad", None), None);
    assert!(of(&now, "failures_total", "bad", Some("ItemNotFound")).is_some_and(|count| count >= 1));
    kubectl(&["-n", "x-metrics", "delete", "externalsecrets.strongroom.dev", "--all"]);
    eventually("the series are gone", SOON, || (!page().contains("namespace=\"x-metrics\"")).then_some(()));
}

#[test]
fn the_page_of_metrics_lists_what_is_measured() {
    let _guard = beside_others();
    let documented: BTreeSet<String> = include_str!("../../docs/metrics.md")
        .split('`')
        .filter(|word| word.starts_with("strongroom_"))
        .map(str::to_owned)
        .collect();
    let families = |page: &str| -> BTreeSet<String> {
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let one = |line: &str| {
            let (family, kind) = line.split_once(' ')?;
            Some(if kind == "counter" { format!("{family}_total") } else { family.to_owned() })
        };
        types.filter_map(one).collect()
    };
    // What has not happened yet has no series: tests/docs.rs looks for those in the code.
    let left_out: Vec<String> = families(&page()).difference(&documented).cloned().collect();
    assert!(left_out.is_empty(), "docs/metrics.md does not list {left_out:?}");
}
