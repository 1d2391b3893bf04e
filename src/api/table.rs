//! Table output (`meta.k8s.io/v1` Table): the columns that kubectl prints.

use std::time::SystemTime;

use serde_json::Value;

use super::{Kind, Object};

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
}

/// What rows carry beside their cells (`includeObject` of the request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    /// The default: a PartialObjectMetadata.
    Metadata,
    Object,
}

/// A Table of the objects. `list_metadata` is the list's `metadata` (resourceVersion, continue, …); for
/// a single object or a watch event the object's resourceVersion belongs there. A watch sends the
/// definitions once: `headers` is false for later events.
pub fn render(
    kind: &Kind,
    objects: &[Object],
    now: SystemTime,
    include: IncludeObject,
    list_metadata: Value,
    headers: bool,
) -> Value {
    let _ = (kind, objects, now, include, list_metadata, headers);
    todo!()
}
pub const NAME_AND_AGE: &[Column] = &[];
pub const NODE: &[Column] = &[];
pub const NAMESPACE: &[Column] = &[];
pub const POD: &[Column] = &[];
pub const EVENT: &[Column] = &[];
pub const CONFIG_MAP: &[Column] = &[];
pub const SECRET: &[Column] = &[];
pub const SERVICE_ACCOUNT: &[Column] = &[];
pub const LEASE: &[Column] = &[];
