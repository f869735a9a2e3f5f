//! What a restore says to people.

use crate::{
    api::restore::{RestorePhase, RestoreVolume, StoppedWorkload, VolumeRestoreStatus},
    core::{names::short, size::size, workload::Workload},
};

/// A phase as a condition's reason.
pub(super) const fn phase(phase: RestorePhase) -> &'static str {
    match phase {
        RestorePhase::Resolving => "Resolving",
        RestorePhase::Queued => "Queued",
        RestorePhase::Restoring => "Restoring",
        RestorePhase::Checking => "Checking",
        RestorePhase::Stopping => "Stopping",
        RestorePhase::Swapping => "Swapping",
        RestorePhase::Starting => "Starting",
        RestorePhase::Succeeded => "Succeeded",
        RestorePhase::Failed => "Failed",
    }
}

/// What happens now.
pub(super) fn doing(status: &VolumeRestoreStatus) -> String {
    let claims = claims(&status.volumes);
    match status.phase {
        Some(RestorePhase::Resolving) => "looking for the snapshot; the app runs".to_owned(),
        Some(RestorePhase::Queued) => "waiting for a place; the app runs".to_owned(),
        Some(RestorePhase::Restoring | RestorePhase::Checking) => match &status.progress {
            None => format!("restoring {claims} into a new volume; the app runs"),
            Some(progress) => format!(
                "restoring {claims} into a new volume: {} % of {}; the app runs",
                progress.percent,
                size(progress.bytes_total)
            ),
        },
        Some(RestorePhase::Stopping) => "stopping the app".to_owned(),
        Some(RestorePhase::Swapping) => format!("binding the new volume under the name of {claims}"),
        Some(RestorePhase::Starting) => "starting the app".to_owned(),
        Some(RestorePhase::Succeeded | RestorePhase::Failed) | None => String::new(),
    }
}

/// What was found.
pub(super) fn found(volumes: &[RestoreVolume]) -> String {
    let found = volumes.iter().map(|volume| {
        let size = volume.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
        format!("snapshot {} of {} ({}{size})", short(&volume.snapshot), volume.claim, time(volume.time))
    });
    format!("found {}", found.collect::<Vec<_>>().join(" and "))
}

/// What was restored.
pub(super) fn restored(entries: i64, bytes: i64) -> String {
    format!("restored {} into a new volume and checked {}", size(bytes), counted(entries))
}

/// What is stopped.
pub(super) fn stopping(workloads: &[&Workload]) -> String {
    let titles = workloads.iter().map(|workload| {
        let replicas = workload.own_replicas();
        format!("{} ({replicas} {})", workload.title(), if replicas == 1 { "replica" } else { "replicas" })
    });
    format!("stopping {}", titles.collect::<Vec<_>>().join(" and "))
}

/// What came of it all.
pub(super) fn succeeded(status: &VolumeRestoreStatus, unready: &[&Workload]) -> String {
    let volumes = status.volumes.iter().map(|volume| {
        let entries = volume.checked.map(|entries| format!(", {} checked", counted(entries))).unwrap_or_default();
        format!("{} is as in snapshot {} of {}{entries}", volume.claim, short(&volume.snapshot), time(volume.time))
    });
    let volumes = volumes.collect::<Vec<_>>().join("; ");
    let app = if let Some(workload) = unready.first() {
        let (title, ready, replicas) = (workload.title(), workload.ready, workload.replicas);
        format!("{title} was started but only {ready} of {replicas} replicas are ready: see its pods")
    } else if let Some(downtime) = &status.downtime {
        format!("the app was down for {downtime}")
    } else {
        "nothing had to be stopped".to_owned()
    };
    format!("{volumes}; {app}")
}

/// What became of the app when it failed.
pub(super) fn after_failure(message: &str, stopped: &[StoppedWorkload]) -> String {
    let message = message.trim_end_matches('.');
    if stopped.is_empty() {
        format!("{message}; the app was not touched")
    } else {
        format!("{message}; everything was put back, the app runs on what it had")
    }
}

/// Names of claims.
pub(super) fn claims(volumes: &[RestoreVolume]) -> String {
    volumes.iter().map(|volume| volume.claim.as_str()).collect::<Vec<_>>().join(", ")
}

/// A time.
pub(super) fn time(time: crate::api::common::Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A number of seconds: `9s`, `1m12s`, `2h5m`.
pub(super) fn elapsed(duration: chrono::Duration) -> String {
    let seconds = u64::try_from(duration.num_seconds()).unwrap_or_default();
    crate::api::common::Duration::from_secs(seconds).to_string()
}

fn counted(entries: i64) -> String {
    format!("{} {}", count(entries), if entries == 1 { "entry" } else { "entries" })
}

/// A number with its thousands apart.
pub(super) fn count(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 10_213, 1_000_000].map(count), ["0", "999", "1,000", "10,213", "1,000,000"]);
        assert_eq!(elapsed(chrono::Duration::seconds(72)), "1m12s");
    }
}
