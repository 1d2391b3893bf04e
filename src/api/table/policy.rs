//! The columns of quotas, limits and classes.

use serde_json::Value;

use super::Column;
use super::columns::{AGE, NAME};
use crate::api::Object;

/// What kubectl shows instead of an age for a few old kinds.
pub(super) const CREATED_AT: Column =
    Column::text("Created At", "Time at which the object was created.", |object, _| {
        object.str_at("/metadata/creationTimestamp").into()
    });

pub const LIMIT_RANGE: &[Column] = &[NAME, CREATED_AT];

pub const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    Column::text("Request", "What is used of what is allowed.", |quota, _| used(quota, false).into()),
    Column::text("Limit", "What limits are used of those allowed.", |quota, _| used(quota, true).into()),
    AGE,
];

pub const PRIORITY_CLASS: &[Column] = &[
    NAME,
    Column::text("Value", "The priority.", |class, _| class.i64_at("/value").unwrap_or(0).into()).integer(),
    Column {
        kind: "boolean",
        ..Column::text("Global-Default", "Whether pods without a class get it.", |class, _| {
            class.bool_at("/globalDefault").into()
        })
    },
    AGE,
    Column::text("PreemptionPolicy", "Whether its pods may displace others.", |class, _| {
        class.str_at("/preemptionPolicy").into()
    }),
];

pub const RUNTIME_CLASS: &[Column] = &[
    NAME,
    Column::text("Handler", "The runtime's name on the nodes.", |class, _| class.str_at("/handler").into()),
    AGE,
];

/// `pods: 1/2, requests.cpu: 0/1`.
fn used(quota: &Object, limits: bool) -> String {
    let hard = quota.map_at("/status/hard").into_iter().flatten();
    let parts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, most)| {
            let used = quota.map_at("/status/used").and_then(|used| used.get(name));
            let used = used.and_then(Value::as_str).unwrap_or("0");
            format!("{name}: {used}/{}", most.as_str().unwrap_or("0"))
        })
        .collect();
    parts.join(", ")
}
