//! What nodes and pods use (`metrics.k8s.io`).

use serde_json::Value;

use super::Column;
use super::columns::NAME;
use crate::api::Object;
use crate::api::quantity::Quantity;

pub const METRICS: &[Column] = &[
    NAME,
    Column::text("Cpu", "Processor time that is used.", |object, _| {
        let millis = amounts(object, "cpu").map(|amount| amount.nanos()).sum::<i128>() / 1_000_000;
        format!("{millis}m").into()
    }),
    Column::text("Memory", "Working set.", |object, _| {
        let bytes = amounts(object, "memory").map(|amount| i128::from(amount.value())).sum::<i128>();
        format!("{}Ki", bytes / 1024).into()
    }),
    Column::text("Window", "What the rates are over.", |object, _| object.str_at("/window").into()),
];

/// The node's one, or one for each of the pod's containers.
fn amounts<'o>(object: &'o Object, resource: &'static str) -> impl Iterator<Item = Quantity> + 'o {
    let containers = object.array_at("/containers").iter().filter_map(|container| container.get("usage"));
    let usages = object.at("/usage").into_iter().chain(containers);
    usages.filter_map(move |usage: &Value| Quantity::from_json(usage.get(resource)?).ok())
}
