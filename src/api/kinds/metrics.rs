//! Kinds of metrics.k8s.io: computed.

use super::{CORE, Kind};
use crate::api::table;

/// What computed kinds have.
const METRICS: Kind = Kind {
    group: "metrics.k8s.io",
    version: "v1beta1",
    verbs: &["get", "list"],
    columns: table::METRICS,
    ..CORE
};

pub static NODE_METRICS: &Kind = &Kind {
    kind: "NodeMetrics",
    plural: "nodes",
    list_kind: "NodeMetricsList",
    namespaced: false,
    ..METRICS
};

pub static POD_METRICS: &Kind =
    &Kind { kind: "PodMetrics", plural: "pods", list_kind: "PodMetricsList", ..METRICS };
