//! What the pods of a DaemonSet have in common, and what binds each to its node.

use serde_json::{Value, json};

use crate::api::Object;
use crate::api::kinds::POD;
use crate::plan::control;
use crate::plan::control::revision::HASH;

const AFFINITY: &str =
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// A pod of the set, for no node yet.
pub fn pod(set: &Object, hash: &str) -> Object {
    let mut pod = control::from_template(POD, set.at("/spec/template").unwrap_or(&Value::Null), set);
    pod.set("/metadata/generateName", control::generate_name(set));
    pod.set(&format!("/metadata/labels/{HASH}"), hash);
    let host = pod.bool_at("/spec/hostNetwork");
    for (condition, effect) in [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        ("network-unavailable", "NoSchedule"),
    ] {
        let toleration =
            json!({"key": format!("node.kubernetes.io/{condition}"), "operator": "Exists", "effect": effect});
        let is_there = pod.array_at("/spec/tolerations").contains(&toleration);
        if !is_there && (host || condition != "network-unavailable") {
            let mut tolerations = pod.array_at("/spec/tolerations").to_vec();
            tolerations.push(toleration);
            pod.set("/spec/tolerations", tolerations);
        }
    }
    pod
}

/// Has the scheduler put a pod on this node.
pub fn bind(pod: &mut Object, node: &str) {
    pod.set(
        AFFINITY,
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]),
    );
}

/// The node that a pod is on or meant for; "" for none.
pub fn target(pod: &Object) -> &str {
    let node = pod.str_at("/spec/nodeName");
    if !node.is_empty() {
        return node;
    }
    let fields = pod.array_at(AFFINITY).iter().filter_map(|term| term["matchFields"].as_array()).flatten();
    let mut names = fields.filter(|field| field["key"] == "metadata.name" && field["operator"] == "In");
    names.find_map(|field| field["values"].as_array()?.first()?.as_str()).unwrap_or("")
}
