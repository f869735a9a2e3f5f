//! What Prometheus scrapes. Families that belong to one kind are defined beside its controller.

use std::sync::{Mutex, PoisonError};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Labels of a reconcile.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabels {
    /// Kind of the object.
    pub kind: &'static str,
}

/// Labels of a problem.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ProblemLabels {
    /// Kind of the object.
    pub kind: &'static str,
    /// The problem's reason.
    pub reason: &'static str,
}

/// Every metric of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Reconciles.
    pub reconciles: Family<KindLabels, Counter>,
    /// Reconciles that ended in a problem.
    pub problems: Family<ProblemLabels, Counter>,
    /// Seconds a reconcile took.
    pub duration: Family<KindLabels, Histogram>,
    /// Stored objects that cannot be understood, and so are left alone.
    pub invalid: Family<KindLabels, Counter>,
    memory: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("strongroom");
        let duration: Family<KindLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new([0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0]));
        let (reconciles, problems, invalid, memory) =
            (Family::default(), Family::default(), Family::default(), Gauge::default());
        registry.register("reconciles", "Looks at an object", Family::clone(&reconciles));
        registry.register("problems", "Looks at an object that ended in a problem", Family::clone(&problems));
        registry.register("reconcile_duration_seconds", "Seconds that a look took", duration.clone());
        registry.register("invalid_objects", "Stored objects that cannot be understood", Family::clone(&invalid));
        registry.register("resident_memory_bytes", "Memory of the controller", Gauge::clone(&memory));
        Self { registry: Mutex::new(registry), reconciles, problems, duration, invalid, memory }
    }
}

impl Metrics {
    /// Adds the families of one kind.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> String {
        if let Some(bytes) = resident_memory() {
            self.memory.set(bytes);
        }
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String cannot fail.
        let _ = encode(&mut page, &registry);
        page
    }
}

/// Bytes of memory that this process holds, as the kernel counts them.
fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
