//! Table output (`meta.k8s.io/v1` Table): what kubectl prints for `get`.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{Kind, Object};

mod access;
mod columns;
mod defined;
mod metrics;
mod network;
mod node;
mod pod;
mod policy;
mod storage;
mod workloads;

pub use access::{ROLE, ROLE_BINDING};
pub use columns::{CONFIG_MAP, EVENT, LEASE, NAME_AND_AGE, NAMESPACE, SECRET, SERVICE_ACCOUNT};
pub use defined::{column, name};
pub use metrics::METRICS;
pub use network::{ENDPOINT_SLICE, ENDPOINTS, INGRESS, INGRESS_CLASS, NETWORK_POLICY, SERVICE};
pub use node::NODE;
pub use pod::POD;
pub use policy::{LIMIT_RANGE, PRIORITY_CLASS, RESOURCE_QUOTA, RUNTIME_CLASS};
pub use storage::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS};
pub use workloads::{
    CONTROLLER_REVISION, CRON_JOB, DAEMON_SET, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, JOB,
    POD_DISRUPTION_BUDGET, POD_TEMPLATE, REPLICA_SET, REPLICATION_CONTROLLER, STATEFUL_SET,
};

/// One column. Priority 0 is always printed, 1 with `-o wide`.
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, …
    pub kind: &'static str,
    /// `name` for the column that names the object, else "".
    pub format: &'static str,
    pub description: &'static str,
    pub priority: u8,
    pub cell: fn(&Object, SystemTime) -> Value,
    /// The JSONPath that a definition gives for the cell, instead of `cell`; "" for the table's kinds.
    pub path: &'static str,
}

impl Column {
    /// A text column that is always printed.
    const fn text(
        name: &'static str,
        description: &'static str,
        cell: fn(&Object, SystemTime) -> Value,
    ) -> Column {
        Column { name, kind: "string", format: "", description, priority: 0, cell, path: "" }
    }

    fn value(&self, object: &Object, now: SystemTime) -> Value {
        if self.path.is_empty() { (self.cell)(object, now) } else { defined::cell(self, object, now) }
    }

    const fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }

    const fn integer(self) -> Column {
        Column { kind: "integer", ..self }
    }
}

/// What rows carry beside their cells (`includeObject` of the request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    /// The default: a PartialObjectMetadata.
    Metadata,
    Object,
}

impl IncludeObject {
    /// The query parameter's value; "" is the default.
    pub fn parse(text: &str) -> Option<IncludeObject> {
        match text {
            "" | "Metadata" => Some(IncludeObject::Metadata),
            "None" => Some(IncludeObject::None),
            "Object" => Some(IncludeObject::Object),
            _ => None,
        }
    }
}

/// A Table of the objects. `list_metadata` is the list's `metadata` (resourceVersion, continue, …); for
/// a single object or a watch event it holds the object's resourceVersion. A watch sends the column
/// definitions with its first event: `headers` is false for later ones.
pub fn render(
    kind: &Kind,
    objects: &[Object],
    now: SystemTime,
    include: IncludeObject,
    list_metadata: Value,
    headers: bool,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(kind, object, now, include)).collect();
    let definitions: Vec<Value> =
        if headers { kind.columns.iter().map(definition).collect() } else { Vec::new() };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// One row; the server writes long lists row by row with it.
pub fn row(kind: &Kind, object: &Object, now: SystemTime, include: IncludeObject) -> Value {
    let cells: Vec<Value> = kind.columns.iter().map(|column| column.value(object, now)).collect();
    let mut row = Map::new();
    row.insert("cells".to_owned(), cells.into());
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            let metadata = object.at("/metadata").cloned().unwrap_or_else(|| json!({}));
            row.insert("object".to_owned(), partial(metadata));
        }
        IncludeObject::Object => {
            row.insert("object".to_owned(), object.as_value().clone());
        }
    }
    Value::Object(row)
}

fn partial(metadata: Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

/// The text, or a stand-in when it is empty.
fn or(text: &str, empty: &str) -> Value {
    if text.is_empty() { empty.into() } else { text.into() }
}

/// How long ago, as kubectl says it; `<unknown>` for no time.
pub fn age(then: Option<SystemTime>, now: SystemTime) -> String {
    match then {
        None => "<unknown>".to_owned(),
        Some(then) => match now.duration_since(then) {
            Ok(passed) => human_duration(passed),
            // Clocks differ by a little; more than that is worth a look.
            Err(ahead) if ahead.duration() < Duration::from_secs(2) => "0s".to_owned(),
            Err(_) => "<invalid>".to_owned(),
        },
    }
}

/// Two to three digits' worth of a duration (apimachinery `HumanDuration`): `119s`, `4m30s`, `3h`, `2d5h`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let pair = |big: u64, unit: char, small: u64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => pair(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests;
