//! What Prometheus scrapes about each ExternalSecret: read from the objects as they are known, so that the series are
//! there right after a start and vanish with their object.

use std::{fmt, sync::Arc};

use kube::{ResourceExt, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    api::{
        common::Time,
        eso::EsoExternalSecret,
        external_secret::{ExternalSecret, RefreshPolicy},
    },
    controllers::connect::Hub,
    core::{
        conditions::{is_ready, ready},
        problem::{Problem, Reason},
        secret,
        store::StoreKey,
        takeover,
    },
};

/// The ExternalSecrets of both groups.
pub(crate) struct DeclaredMetrics {
    pub(crate) connect: Arc<Hub>,
    pub(crate) ours: Store<ExternalSecret>,
    pub(crate) esos: Store<EsoExternalSecret>,
}

/// How often looks at each ExternalSecret ended in a problem.
#[derive(Debug, Default)]
pub(crate) struct Failures(Family<ReasonLabels, Counter>);

impl Failures {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Looks at an ExternalSecret that ended in a problem, by reason";
        registry.register("external_secret_failures", help, self.0.clone());
    }

    /// Counts a problem.
    pub(crate) fn note(&self, object: &ExternalSecret, problem: &Problem) {
        self.0.get_or_create(&ReasonLabels::of(object, problem.reason.as_str())).inc();
    }

    /// Forgets an ExternalSecret that is gone.
    pub(crate) fn forget(&self, object: &ExternalSecret) {
        for reason in Reason::ALL {
            self.0.remove(&ReasonLabels::of(object, reason.as_str()));
        }
    }
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

impl ObjectLabels {
    fn of(object: &ExternalSecret) -> Self {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        Self { group: object.spec.group.as_str(), namespace, name }
    }
}

impl ReasonLabels {
    fn of(object: &ExternalSecret, reason: &str) -> Self {
        let ObjectLabels { group, namespace, name } = ObjectLabels::of(object);
        Self { group, namespace, name, reason: reason.to_owned() }
    }
}

impl DeclaredMetrics {
    /// All ExternalSecrets that are ours, as far as they are understood.
    fn objects(&self) -> Vec<Arc<ExternalSecret>> {
        let esos = self.esos.state().into_iter().filter(|object| takeover::is_marked(object));
        let esos = esos.map(|object| takeover::declared(&object).unwrap_or_else(|_| takeover::outline(&object)));
        self.ours.state().into_iter().chain(esos.map(Arc::new)).collect()
    }

    /// When the Secret last was known to be what its source says: while it is ready, that is when its servers were last
    /// asked for changes.
    fn synced(&self, object: &ExternalSecret) -> Option<Time> {
        let status = object.status.as_ref()?;
        let follows = !object.spec.suspend && object.spec.refresh_policy != Some(RefreshPolicy::CreatedOnce);
        if !follows || !is_ready(&status.conditions) {
            return status.refresh_time;
        }
        let namespace = object.namespace().unwrap_or_default();
        let stores = secret::wanted(&object.spec).ok()?;
        let asked = stores.iter().map(|wanted| self.connect.looked_at(&StoreKey::of(&wanted.store, &namespace)));
        // The one that was asked least lately counts; one that has not been asked yet says nothing.
        let asked = asked.collect::<Option<Vec<Time>>>().and_then(|all| all.into_iter().min());
        status.refresh_time.max(asked)
    }
}

impl Collector for DeclaredMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let objects = self.objects();
        let help = "Whether an ExternalSecret is ready, with the reason of its condition";
        let mut family = encoder.encode_descriptor("external_secret_ready", help, None, MetricType::Gauge)?;
        for object in &objects {
            let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let (is_ready, reason) = ready(conditions);
            let labels = ReasonLabels::of(object, reason);
            ConstGauge::new(i64::from(is_ready)).encode(family.encode_family(&labels)?)?;
        }
        let name = "external_secret_last_sync_timestamp_seconds";
        let help = "When the Secret of an ExternalSecret was last known to be as its source says";
        times(&mut encoder, name, help, &objects, |object| self.synced(object))?;
        let name = "external_secret_last_change_timestamp_seconds";
        let help = "When the Secret of an ExternalSecret last changed because of its source";
        times(&mut encoder, name, help, &objects, |object| object.status.as_ref()?.refresh_time)
    }
}

/// One time for each ExternalSecret that has it.
fn times(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    objects: &[Arc<ExternalSecret>],
    of: impl Fn(&ExternalSecret) -> Option<Time>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for object in objects {
        if let Some(time) = of(object) {
            ConstGauge::new(time.timestamp()).encode(family.encode_family(&ObjectLabels::of(object))?)?;
        }
    }
    Ok(())
}
