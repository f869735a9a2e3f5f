//! The machine that is measured on, and the memory that programs have on it.

use std::{fs, path::Path, thread};

use crate::support::on_node;

/// The machine, in a line.
pub fn machine() -> String {
    let read = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {}, {} of memory", read("/proc/cpuinfo", "model name"), read("/proc/meminfo", "MemTotal"))
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    /// What it has.
    pub resident: u64,
    /// The most that it had.
    pub peak: u64,
}

impl Memory {
    /// The operator's.
    pub fn of_operator() -> Self {
        let status = "for process in /proc/[0-9]*; do \
            if tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -q '^/strongroom controller '; \
            then cat $process/status; fi; done";
        Self::of(&on_node(&["sh", "-c", status]))
    }

    /// That of the child of a process.
    pub fn of_child(id: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs");
        let status = fs::read_to_string(Path::new("/proc").join(children.trim()).join("status"));
        Self::of(&status.expect("it runs"))
    }

    /// Of what the kernel says of the process.
    fn of(status: &str) -> Self {
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("its memory is known");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Self { resident: number("VmRSS:"), peak: number("VmHWM:") }
    }
}

/// For people.
#[allow(clippy::cast_precision_loss, reason = "it is shown with one digit")]
pub fn megabytes(kib: u64) -> f64 {
    (kib * 1024) as f64 / 1e6
}
