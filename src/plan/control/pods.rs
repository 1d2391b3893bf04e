//! How controllers count pods.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::api::{Object, time};

/// Neither ended nor about to be deleted.
pub fn is_active(pod: &Object) -> bool {
    !has_ended(pod) && pod.deletion_timestamp().is_none()
}

pub fn has_ended(pod: &Object) -> bool {
    matches!(pod.str_at("/status/phase"), "Succeeded" | "Failed")
}

/// Deleted, but its node has not said yet that it has ended.
pub fn is_terminating(pod: &Object) -> bool {
    !has_ended(pod) && pod.deletion_timestamp().is_some()
}

pub fn is_ready(pod: &Object) -> bool {
    ready(pod).is_some()
}

/// Since when a pod is ready; one that does not say since when is so since ever.
pub fn ready_since(pod: &Object) -> Option<SystemTime> {
    let since = ready(pod)?["lastTransitionTime"].as_str().and_then(time::parse);
    Some(since.unwrap_or(SystemTime::UNIX_EPOCH))
}

fn ready(pod: &Object) -> Option<&Value> {
    pod.condition("Ready").filter(|condition| condition["status"] == "True")
}

/// When a pod that is ready counts as available: `minReadySeconds` after it became ready, by its node's clock. Without
/// such a wait no clock is asked.
pub fn available_at(pod: &Object, min_ready_seconds: i64) -> Option<SystemTime> {
    let since = ready_since(pod)?;
    match u64::try_from(min_ready_seconds).unwrap_or(0) {
        0 => Some(SystemTime::UNIX_EPOCH),
        wait => since.checked_add(Duration::from_secs(wait)),
    }
}

/// The restarts of all its containers.
pub fn restarts(pod: &Object) -> i64 {
    pod.array_at("/status/containerStatuses").iter().filter_map(|one| one["restartCount"].as_i64()).sum()
}
