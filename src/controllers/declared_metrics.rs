//! What Prometheus scrapes about each ExternalSecret: read from the objects as they are known, so that the series are
//! there right after a start and vanish with their object.

use std::{fmt, sync::Arc};

use kube::{ResourceExt, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    api::{common::Time, eso::EsoExternalSecret, external_secret::ExternalSecret},
    core::{conditions::ready, takeover},
};

/// The ExternalSecrets of both groups.
pub(crate) struct DeclaredMetrics {
    pub(crate) ours: Store<ExternalSecret>,
    pub(crate) esos: Store<EsoExternalSecret>,
}

impl fmt::Debug for DeclaredMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeclaredMetrics")
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ObjectLabels {
    group: &'static str,
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    group: &'static str,
    namespace: String,
    name: String,
    reason: String,
}

impl Collector for DeclaredMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let ours = self.ours.state().into_iter();
        let esos = self.esos.state().into_iter().filter(|object| takeover::is_marked(object));
        let objects: Vec<_> = ours.chain(esos.map(|object| Arc::new(takeover::outline(&object)))).collect();
        let mut family = encoder.encode_descriptor(
            "external_secret_ready",
            "Whether an ExternalSecret is ready, with the reason of its condition",
            None,
            MetricType::Gauge,
        )?;
        for object in &objects {
            let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let (is_ready, reason) = ready(conditions);
            let labels = ReasonLabels {
                group: object.spec.group.as_str(),
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
                reason: reason.to_owned(),
            };
            ConstGauge::new(i64::from(is_ready)).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "external_secret_last_change_timestamp_seconds",
            "When the Secret of an ExternalSecret last changed because of its source",
            None,
            MetricType::Gauge,
        )?;
        for object in &objects {
            let changed: Option<Time> = object.status.as_ref().and_then(|status| status.refresh_time);
            let Some(changed) = changed else { continue };
            let labels = ObjectLabels {
                group: object.spec.group.as_str(),
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
            };
            ConstGauge::new(changed.timestamp()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
