//! Whether a Secret that is written stays as it is although its items changed.

use std::collections::BTreeMap;

use crate::{
    api::{
        common::{Duration, Time},
        external_secret::{Binding, ExternalSecret, RefreshPolicy, SyncWindowKind, SyncWindows},
    },
    core::{names, problem::Problem, schedule::Schedule},
};

/// Steps after which the search for the end of windows that follow each other gives up.
const MAX_STEPS: usize = 100;
/// The longest window that makes sense: longer ones never close.
const LONGEST: chrono::Duration = chrono::Duration::days(3660);

/// Whether a written Secret is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is.
    No,
    /// It is not, until the object changes.
    Yes,
    /// It is not before this time.
    Until(Time),
}

/// Whether the Secret, once written, is left alone although its items change. What a user changes in the object
/// itself is not held back by windows.
pub fn hold(object: &ExternalSecret, now: Time) -> Result<Hold, Problem> {
    let seed = object.metadata.uid.as_deref().unwrap_or_default();
    let opens = object.spec.sync_windows.as_ref().map(|windows| opens(windows, seed, now)).transpose()?;
    let Some(binding) = object.status.as_ref().and_then(|status| status.binding.as_ref()) else { return Ok(Hold::No) };
    let unchanged = is_as_bound(object, binding);
    let never = object.spec.refresh_interval.is_some_and(|interval| interval.as_std().is_zero());
    let held = match object.spec.refresh_policy {
        Some(RefreshPolicy::CreatedOnce) => true,
        Some(RefreshPolicy::OnChange) => never || unchanged,
        Some(RefreshPolicy::Periodic) | None => never,
    };
    Ok(match opens {
        _ if held => Hold::Yes,
        Some(None) if unchanged => Hold::Yes,
        Some(Some(at)) if unchanged && at > now => Hold::Until(at),
        _ => Hold::No,
    })
}

/// Whether an object is as it was when its Secret was made. Not by the observed generation, which a failure counts up
/// too.
pub fn is_as_bound(object: &ExternalSecret, binding: &Binding) -> bool {
    object.metadata.generation == binding.generation
        && binding.metadata.as_ref().is_none_or(|hash| metadata(object).is_none_or(|now| now == *hash))
}

/// Labels and annotations as one short text, where a change of them is one of the object: where refreshes are held back
/// until it changes, as External Secrets Operator has it.
pub fn metadata(object: &ExternalSecret) -> Option<String> {
    let spec = &object.spec;
    let counts = spec.refresh_policy == Some(RefreshPolicy::OnChange) || spec.sync_windows.is_some();
    let of = |map: &Option<BTreeMap<String, String>>| serde_json::to_string(&map.clone().unwrap_or_default());
    let texts = [of(&object.metadata.labels), of(&object.metadata.annotations)].map(Result::unwrap_or_default);
    counts.then(|| names::hash(&[&texts[0], &texts[1]], 8))
}

/// When routine refreshes are allowed: now, later, or (none) never.
fn opens(windows: &SyncWindows, seed: &str, now: Time) -> Result<Option<Time>, Problem> {
    let mut parsed = Vec::new();
    for (index, window) in windows.windows.iter().enumerate() {
        let schedule = Schedule::parse(&window.schedule, None, Some(Duration::from_secs(0)), seed)
            .map_err(|problem| problem.within(&format!("spec.syncWindows.windows[{index}]")))?;
        parsed.push((schedule, window.duration.as_chrono().min(LONGEST)));
    }
    // A window that opened at `start` is open from then until before `start + duration`.
    let end_of = |at: Time| {
        let open =
            parsed.iter().filter_map(|(schedule, duration)| Some(schedule.last(at - *duration, at)? + *duration));
        open.max()
    };
    if windows.kind == SyncWindowKind::Allow {
        let next = || parsed.iter().filter_map(|(schedule, _)| schedule.next(now)).min();
        return Ok(if end_of(now).is_some() { Some(now) } else { next() });
    }
    let mut at = now;
    for _ in 0..MAX_STEPS {
        let Some(end) = end_of(at) else { return Ok(Some(at)) };
        at = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::external_secret::ExternalSecretStatus, core::problem::Reason};

    fn held(spec: &serde_json::Value, synced_generation: Option<i64>, now: &str) -> Result<Hold, Problem> {
        let mut object: ExternalSecret = serde_json::from_value(serde_json::json!({
            "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
            "metadata": {"name": "radarr", "namespace": "media", "uid": "uid-1", "generation": 3}, "spec": spec,
        }))
        .unwrap();
        object.status = synced_generation.map(|generation| ExternalSecretStatus {
            observed_generation: 3,
            binding: Some(Binding {
                name: "radarr".into(),
                resource_version: None,
                generation: Some(generation),
                metadata: metadata(&object),
            }),
            ..ExternalSecretStatus::default()
        });
        hold(&object, now.parse().unwrap())
    }

    #[test]
    fn holds_only_after_the_first_sync() {
        for (spec, synced_generation, expected) in [
            (serde_json::json!({}), Some(3), Hold::No),
            (serde_json::json!({"refreshInterval": "1h"}), Some(3), Hold::No),
            (serde_json::json!({"refreshInterval": "0"}), None, Hold::No),
            (serde_json::json!({"refreshInterval": "0"}), Some(2), Hold::Yes),
            (serde_json::json!({"refreshPolicy": "CreatedOnce"}), None, Hold::No),
            (serde_json::json!({"refreshPolicy": "CreatedOnce"}), Some(2), Hold::Yes),
            (serde_json::json!({"refreshPolicy": "OnChange"}), Some(2), Hold::No),
            (serde_json::json!({"refreshPolicy": "OnChange"}), Some(3), Hold::Yes),
        ] {
            let found = held(&spec, synced_generation, "2026-11-03T07:08:09Z").unwrap();
            assert_eq!(found, expected, "{spec} {synced_generation:?}");
        }
    }

    #[test]
    fn labels_and_annotations_are_of_the_object() {
        let night = "2026-11-03T02:30:00Z".parse().unwrap();
        let closed = serde_json::json!({"kind": "deny", "windows": [{"schedule": "0 2 * * *", "duration": "1h"}]});
        for (spec, held) in [
            (serde_json::json!({"refreshPolicy": "OnChange"}), true),
            (serde_json::json!({"syncWindows": closed}), true),
            (serde_json::json!({"refreshPolicy": "CreatedOnce"}), false),
            (serde_json::json!({"refreshInterval": "0"}), false),
        ] {
            let mut object: ExternalSecret = serde_json::from_value(serde_json::json!({
                "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret", "spec": spec,
                "metadata": {"name": "radarr", "namespace": "media", "uid": "uid-1", "generation": 3,
                             "labels": {"app": "radarr"}, "annotations": {"note": "a"}},
            }))
            .unwrap();
            let binding = |object: &ExternalSecret| Binding {
                name: "radarr".into(),
                resource_version: None,
                generation: Some(3),
                metadata: metadata(object),
            };
            object.status = Some(ExternalSecretStatus { binding: Some(binding(&object)), ..Default::default() });
            assert_ne!(hold(&object, night).unwrap(), Hold::No, "{spec}");
            let relabel: fn(&mut ExternalSecret) = |object| object.metadata.labels = None;
            let annotate: fn(&mut ExternalSecret) = |object| object.metadata.annotations = None;
            for change in [relabel, annotate] {
                let mut changed = object.clone();
                change(&mut changed);
                assert_eq!(hold(&changed, night).unwrap() == Hold::No, held, "{spec}");
            }
        }
    }

    #[test]
    fn windows_open_again_and_again() {
        let spec = |kind: &str| {
            serde_json::json!({"syncWindows": {"kind": kind, "windows": [
                {"schedule": "0 2 * * *", "duration": "1h"}, {"schedule": "0 14 * * MON", "duration": "30m"}]}})
        };
        // What opens is what was said before, and then it closes until the next one.
        let mut now: Time = "2026-11-01T00:00:00Z".parse().unwrap();
        let mut opened = vec![];
        for _ in 0..4 {
            let Hold::Until(at) = held(&spec("allow"), Some(3), &now.to_rfc3339()).unwrap() else { panic!("closed") };
            assert_eq!(held(&spec("allow"), Some(3), &at.to_rfc3339()).unwrap(), Hold::No);
            let before = (at - chrono::Duration::seconds(1)).to_rfc3339();
            assert_eq!(held(&spec("allow"), Some(3), &before).unwrap(), Hold::Until(at));
            // Where the same windows are denied, it is closed at that moment.
            assert!(matches!(held(&spec("deny"), Some(3), &at.to_rfc3339()).unwrap(), Hold::Until(end) if end > at));
            opened.push(at.format("%dT%H:%M").to_string());
            now = at + chrono::Duration::hours(1);
        }
        assert_eq!(opened, ["01T02:00", "02T02:00", "02T14:00", "03T02:00"]);
    }

    #[test]
    fn windows_allow_or_deny_to_the_second() {
        let spec = |kind: &str, windows: &[(&str, &str)]| {
            let windows: Vec<_> = windows
                .iter()
                .map(|(schedule, duration)| serde_json::json!({"schedule": schedule, "duration": duration}))
                .collect();
            serde_json::json!({"syncWindows": {"kind": kind, "windows": windows}})
        };
        let night = &[("0 2 * * *", "1h")][..];
        let joined = &[("0 2 * * *", "1h"), ("0 3 * * *", "30m")][..];
        let until = |time: &str| Hold::Until(time.parse().unwrap());
        for (spec, now, expected) in [
            (spec("allow", night), "2026-11-03T01:59:59Z", until("2026-11-03T02:00:00Z")),
            (spec("allow", night), "2026-11-03T02:00:00Z", Hold::No),
            (spec("allow", night), "2026-11-03T02:59:59Z", Hold::No),
            (spec("allow", night), "2026-11-03T03:00:00Z", until("2026-11-04T02:00:00Z")),
            (spec("deny", night), "2026-11-03T01:59:59Z", Hold::No),
            (spec("deny", night), "2026-11-03T02:00:00Z", until("2026-11-03T03:00:00Z")),
            (spec("deny", joined), "2026-11-03T02:30:00Z", until("2026-11-03T03:30:00Z")),
            (spec("deny", &[("@hourly", "1h")]), "2026-11-03T02:30:00Z", Hold::Yes),
            (spec("allow", &[]), "2026-11-03T02:30:00Z", Hold::Yes),
            (spec("deny", &[]), "2026-11-03T02:30:00Z", Hold::No),
        ] {
            assert_eq!(held(&spec, Some(3), now).unwrap(), expected, "{spec} {now}");
            assert_eq!(held(&spec, Some(2), now).unwrap(), Hold::No, "a changed object is looked at: {spec} {now}");
            assert_eq!(held(&spec, None, now).unwrap(), Hold::No);
        }
        let wrong = held(&spec("deny", &[("often", "1h")]), Some(3), "2026-11-03T02:30:00Z").unwrap_err();
        assert_eq!(wrong.reason, Reason::InvalidSchedule);
        assert!(wrong.message.starts_with("spec.syncWindows.windows[0]: "), "{}", wrong.message);
    }
}
