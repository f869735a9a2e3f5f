//! Whether a Secret that is written stays as it is although its items changed.

use super::object::own;
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
    // Not the observed generation, which a failure counts up too.
    let unchanged = is_made_for(binding, object);
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

/// Whether a Secret was made for the object as it is. One whose labels were not noted counts as made for the present ones.
pub fn is_made_for(binding: &Binding, object: &ExternalSecret) -> bool {
    let same_metadata = |noted: &String| *noted == metadata_hash(object);
    binding.generation == object.metadata.generation && binding.metadata_hash.as_ref().is_none_or(same_metadata)
}

/// A hash of an object's labels and annotations, without those that tools keep for themselves.
pub fn metadata_hash(object: &ExternalSecret) -> String {
    let of = |map| serde_json::to_string(&own(map)).unwrap_or_default();
    let (labels, annotations) = (object.metadata.labels.as_ref(), object.metadata.annotations.as_ref());
    names::hash(&[&of(labels), &of(annotations)], 16)
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
                metadata_hash: Some(metadata_hash(&object)),
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
    fn a_changed_label_counts_as_a_change_and_what_tools_note_does_not() {
        let holds = |labels: serde_json::Value, annotations: serde_json::Value| {
            let mut object: ExternalSecret = serde_json::from_value(serde_json::json!({
                "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
                "metadata": {"name": "radarr", "generation": 3, "labels": {"a": "1"}}, "spec": {"refreshPolicy": "OnChange"},
            }))
            .unwrap();
            let (generation, metadata_hash) = (Some(3), Some(metadata_hash(&object)));
            let binding = Binding { name: "radarr".into(), resource_version: None, generation, metadata_hash };
            object.status = Some(ExternalSecretStatus { binding: Some(binding), ..ExternalSecretStatus::default() });
            object.metadata.labels = serde_json::from_value(labels).unwrap();
            object.metadata.annotations = serde_json::from_value(annotations).unwrap();
            hold(&object, "2026-11-03T07:08:09Z".parse().unwrap()).unwrap()
        };
        let (one, none) = (serde_json::json!({"a": "1"}), serde_json::json!({}));
        assert_eq!(holds(one.clone(), none.clone()), Hold::Yes);
        assert_eq!(holds(one.clone(), serde_json::json!({"force-sync": "1", "argocd.argoproj.io/x": "y"})), Hold::Yes);
        assert_eq!(holds(one, serde_json::json!({"note": "1"})), Hold::No);
        assert_eq!(holds(serde_json::json!({"a": "2"}), none), Hold::No);
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
