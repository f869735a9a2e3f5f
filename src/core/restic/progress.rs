//! How often a mover tells how far it is.

use std::time::Duration;

/// The shortest time between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// Decides which of restic's status messages are passed on: at most one every 5 seconds and every percent, so that
/// a run costs the log and whoever reads it little.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<(Duration, i64)>,
}

impl Meter {
    /// Whether to tell, so long after the start. The first 5 seconds are silent.
    pub fn is_due(&mut self, elapsed: Duration, percent: i64) -> bool {
        let (since, told) = self.last.unwrap_or((Duration::ZERO, -1));
        let due = elapsed.saturating_sub(since) >= EVERY && percent > told;
        if due {
            self.last = Some((elapsed, percent));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_every_five_seconds_and_every_percent() {
        let mut meter = Meter::default();
        let told: Vec<_> = [(0, 0), (4, 1), (5, 1), (9, 9), (10, 9), (15, 9), (20, 10), (21, 20), (25, 20)]
            .into_iter()
            .filter(|(seconds, percent)| meter.is_due(Duration::from_secs(*seconds), *percent))
            .collect();
        assert_eq!(told, [(5, 1), (10, 9), (20, 10), (25, 20)]);
    }
}
