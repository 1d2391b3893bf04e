//! What people do to a cluster at work, and what happens to it: changes, drains, taints, nodes that are deleted or lose
//! their power. What it runs goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod outage;
mod traffic;
mod upkeep;

use common::cluster::{Cluster, IMAGE};
use serde_json::{Value, json};
use std::time::Duration;

/// For what takes a machine at work with several things a while.
const PATIENCE: Duration = Duration::from_secs(60);
const SLEEPS: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

/// Something of `apps/v1` whose pods are of one container that runs `script`, with `pod` added to their specification.
fn app(kind: &str, name: &str, script: &str, spec: Value, pod: Value) -> Value {
    let mut template = json!({
        "terminationGracePeriodSeconds": 2,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}],
    });
    template.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    let mut app = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template},
        },
    });
    app["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    app
}

/// The affinity of a pod that goes to `node` where it may.
fn prefers(node: &str) -> Value {
    let is = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]);
    let preferred = json!([{"weight": 100, "preference": {"matchExpressions": is}}]);
    json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})
}

/// An app's pods that are not on their way out.
fn pods(cluster: &Cluster, app: &str) -> Vec<Value> {
    let mut pods = cluster.items(&format!("pods -l app={app}"));
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The nodes of an app's pods, in order, once all of its pods are ready.
fn places(cluster: &Cluster, app: &str) -> Option<Vec<String>> {
    let pods = pods(cluster, app);
    let mut places: Vec<String> =
        pods.iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).collect();
    places.sort();
    pods.iter().all(is_ready).then_some(places)
}
