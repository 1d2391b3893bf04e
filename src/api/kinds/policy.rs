//! Kinds that bound what others may use.

use super::{CORE, Kind, READ_WRITE, Subresource};
use crate::api::{strategy, table};

const NODE: Kind = Kind { group: "node.k8s.io", ..CORE };

const SCHEDULING: Kind = Kind { group: "scheduling.k8s.io", ..CORE };

pub static LIMIT_RANGE: &Kind = &Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    list_kind: "LimitRangeList",
    short_names: &["limits"],
    columns: table::LIMIT_RANGE,
    strategy: &strategy::LimitRangeStrategy,
    ..CORE
};

pub static RESOURCE_QUOTA: &Kind = &Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    list_kind: "ResourceQuotaList",
    short_names: &["quota"],
    subresources: &[Subresource::new("status", "ResourceQuota", READ_WRITE)],
    columns: table::RESOURCE_QUOTA,
    strategy: &strategy::ResourceQuotaStrategy,
    ..CORE
};

pub static RUNTIME_CLASS: &Kind = &Kind {
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    list_kind: "RuntimeClassList",
    namespaced: false,
    columns: table::RUNTIME_CLASS,
    strategy: &strategy::RuntimeClassStrategy,
    is_inert: true,
    ..NODE
};

pub static PRIORITY_CLASS: &Kind = &Kind {
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    list_kind: "PriorityClassList",
    short_names: &["pc"],
    namespaced: false,
    columns: table::PRIORITY_CLASS,
    strategy: &strategy::PriorityClassStrategy,
    ..SCHEDULING
};
