//! What Prometheus scrapes about each VolumeBackup.

use std::{fmt, sync::Arc};

use chrono::Utc;
use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    api::backup::VolumeBackup,
    controllers::queue::Queue,
    core::{backup, series::Family},
};

/// The VolumeBackups, and where those stand that wait.
pub(crate) struct BackupMetrics {
    pub(crate) backups: Store<VolumeBackup>,
    pub(crate) queue: Arc<Queue>,
}

impl fmt::Debug for BackupMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupMetrics")
    }
}

impl Collector for BackupMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = Utc::now();
        let places = self.queue.places(now);
        for Family { name, help, samples } in
            backup::families(&self.backups.state(), |uid| places.get(uid).copied(), now)
        {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
