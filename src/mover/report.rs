//! How far a backup or restore is, on standard output.

use std::{io::Write as _, time::Instant};

use tokio::sync::mpsc;

use crate::core::{
    restic::{
        messages::{Line, Status, Summary},
        progress::Meter,
    },
    task::Told,
};

/// Tells how far a run over some volumes is.
pub(super) struct Report {
    started: Instant,
    meter: Meter,
    volumes: usize,
    done: usize,
}

impl Report {
    pub(super) fn new(volumes: usize) -> Self {
        Self { started: Instant::now(), meter: Meter::default(), volumes: volumes.max(1), done: 0 }
    }

    /// A volume is done.
    pub(super) fn next_volume(&mut self) {
        self.done += 1;
    }

    /// Reads restic's output to its end and passes on how far it is. Returns the summary.
    pub(super) async fn follow(&mut self, mut output: mpsc::Receiver<Vec<u8>>) -> Option<Summary> {
        let mut summary = None;
        while let Some(line) = output.recv().await {
            match Line::parse(&line) {
                Some(Line::Status(status)) => self.tell(&status),
                Some(Line::Summary(last)) => summary = Some(last),
                _ => {}
            }
        }
        summary
    }

    /// The percentage is of the whole run; what is counted is of the volume at hand.
    fn tell(&mut self, status: &Status) {
        let mut progress = status.progress();
        let (done, volumes) = (i64::try_from(self.done), i64::try_from(self.volumes));
        if let (Ok(done), Ok(volumes)) = (done, volumes) {
            progress.percent = (done * 100 + progress.percent) / volumes;
        }
        if self.meter.is_due(self.started.elapsed(), progress.percent) {
            tell(&Told::Progress(progress));
        }
    }
}

/// Tells whoever looks meanwhile.
pub(super) fn tell(told: &Told) {
    if let Ok(line) = serde_json::to_string(told) {
        // Nobody may be reading: that must not stop the run.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}
