//! The columns of nodes.

use serde_json::Value;

use super::columns::{AGE, NAME};
use super::{Column, or};
use crate::api::Object;

pub const NODE: &[Column] = &[
    NAME,
    Column::text("Status", "Whether the node takes pods.", |node, _| status(node).into()),
    Column::text("Roles", "The node's roles, from its labels.", |node, _| roles(node).into()),
    AGE,
    Column::text("Version", "The agent's version.", |node, _| {
        node.str_at("/status/nodeInfo/kubeletVersion").into()
    }),
    Column::text("Internal-IP", "Address inside the cluster.", |node, _| address(node, "InternalIP")).wide(),
    Column::text("External-IP", "Address outside of it.", |node, _| address(node, "ExternalIP")).wide(),
    Column::text("OS-Image", "Operating system.", |node, _| info(node, "/status/nodeInfo/osImage")).wide(),
    Column::text("Kernel-Version", "Kernel.", |node, _| info(node, "/status/nodeInfo/kernelVersion")).wide(),
    Column::text("Container-Runtime", "Container runtime and its version.", |node, _| {
        info(node, "/status/nodeInfo/containerRuntimeVersion")
    })
    .wide(),
];

fn status(node: &Object) -> String {
    let ready = node
        .array_at("/status/conditions")
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let mut text = match ready.map(|condition| condition.get("status").and_then(Value::as_str)) {
        None => "Unknown",
        Some(Some("True")) => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if node.bool_at("/spec/unschedulable") {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(node: &Object) -> String {
    let mut roles = Vec::new();
    for (key, value) in node.labels().into_iter().flatten() {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => roles.push(role),
            Some(_) => {}
            None if key == "kubernetes.io/role" => {
                roles.extend(value.as_str().filter(|role| !role.is_empty()))
            }
            None => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address(node: &Object, kind: &str) -> Value {
    let text = |address: &'_ Value, name: &str| address.get(name).and_then(Value::as_str).map(str::to_owned);
    let found = node
        .array_at("/status/addresses")
        .iter()
        .find(|address| text(address, "type").as_deref() == Some(kind))
        .and_then(|address| text(address, "address"));
    found.map_or_else(|| "<none>".into(), Value::String)
}

fn info(node: &Object, pointer: &str) -> Value {
    or(node.str_at(pointer), "<unknown>")
}
