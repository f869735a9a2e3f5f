//! What Prometheus scrapes of what VolumeBackups and repository objects say in their statuses.

use std::{fmt, sync::Arc};

use chrono::Utc;
use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    api::{
        backup::VolumeBackup,
        repository::{ClusterResticRepository, ResticRepository},
    },
    controllers::queue::Queue,
    core::{
        backup, repository,
        series::{Metric, Page},
    },
};

/// The objects, and where those stand that wait.
pub(crate) struct StatusMetrics {
    pub(crate) backups: Store<VolumeBackup>,
    pub(crate) repositories: Store<ResticRepository>,
    pub(crate) cluster_repositories: Store<ClusterResticRepository>,
    pub(crate) queue: Arc<Queue>,
}

impl fmt::Debug for StatusMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusMetrics")
    }
}

impl Collector for StatusMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = Utc::now();
        let places = self.queue.places(now);
        let mut page = Page::default();
        backup::measure(&mut page, &self.backups.state(), |uid| places.get(uid).copied(), now);
        repository::measure(&mut page, &self.repositories.state(), &self.cluster_repositories.state());
        for (Metric(name, help), samples) in page.0 {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
