//! Between Kubernetes' own time type and the project's: the one place.

use chrono::{DateTime, Utc};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1, jiff::Timestamp};

use crate::api::common::Time;

/// A time of Kubernetes' own objects.
pub fn from_k8s(time: &v1::Time) -> Time {
    let (seconds, nanos) = (time.0.as_second(), time.0.subsec_nanosecond());
    DateTime::from_timestamp(seconds, nanos.try_into().unwrap_or_default()).unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
}

/// A time for Kubernetes' own objects with microseconds, such as a Lease.
pub fn to_micro(time: Time) -> v1::MicroTime {
    v1::MicroTime(Timestamp::from_microsecond(time.timestamp_micros()).unwrap_or(Timestamp::UNIX_EPOCH))
}
