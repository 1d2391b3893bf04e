//! Defaults of a pod that are computed; constants are the schema's.

use serde_json::{Map, Value};

use super::list;
use crate::api::{Object, quantity::Quantity};

/// Sets what follows from other fields and is absent: what [`of_template`] does, requests from limits.
/// Upstream leaves the latter, and enableServiceLinks, to the pods that a template makes.
pub fn apply(pod: &mut Object) {
    of_template(pod);
    if pod.at("/spec/enableServiceLinks").is_none() {
        pod.set("/spec/enableServiceLinks", true);
    }
    for containers in CONTAINERS {
        let Some(Value::Array(containers)) = pod.at_mut(containers) else { continue };
        containers.iter_mut().filter_map(Value::as_object_mut).for_each(requests);
    }
}

const CONTAINERS: [&str; 3] = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];

/// The pull policy from the image's tag, host ports from container ports in the host's network, `emptyDir`
/// for a volume of no type.
pub fn of_template(pod: &mut Object) {
    if let Some(Value::Array(volumes)) = pod.at_mut("/spec/volumes") {
        volumes.iter_mut().filter_map(Value::as_object_mut).for_each(volume_type);
    }
    let host_network = pod.bool_at("/spec/hostNetwork");
    for containers in CONTAINERS {
        let Some(Value::Array(containers)) = pod.at_mut(containers) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            pull_policy(container);
            if host_network {
                host_ports(container);
            }
        }
    }
}

fn volume_type(volume: &mut Map<String, Value>) {
    if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
        volume.insert("emptyDir".to_owned(), Value::Object(Map::new()));
    }
}

fn pull_policy(container: &mut Map<String, Value>) {
    let given = container.get("imagePullPolicy").and_then(Value::as_str).unwrap_or("");
    if !given.is_empty() {
        return;
    }
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    container.insert("imagePullPolicy".to_owned(), policy.into());
}

/// No digest, and the tag `latest` or none at all. A colon before the last slash belongs to a port.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn requests(container: &mut Map<String, Value>) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = resources.entry("requests").or_insert(Value::Null);
    if requests.is_null() {
        *requests = Value::Object(Map::new());
    }
    if let Value::Object(requests) = requests {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

fn host_ports(container: &mut Map<String, Value>) {
    let Some(Value::Array(ports)) = container.get_mut("ports") else { return };
    for port in ports.iter_mut().filter_map(Value::as_object_mut) {
        let given = port.get("hostPort").and_then(Value::as_i64).unwrap_or(0);
        if let (0, Some(number)) = (given, port.get("containerPort").cloned()) {
            port.insert("hostPort".to_owned(), number);
        }
    }
}

/// `Guaranteed` when every container limits CPU and memory and requests as much; `BestEffort` when none
/// says anything about either; else `Burstable`. Zero says nothing.
pub fn qos_class(pod: &Object) -> &'static str {
    let (mut guaranteed, mut best_effort) = (true, true);
    let spec = pod.at("/spec").unwrap_or(&Value::Null);
    for container in list(spec, "initContainers").iter().chain(list(spec, "containers")) {
        for name in ["cpu", "memory"] {
            let amount = |table: &str| {
                let value = container.pointer(&format!("/resources/{table}/{name}"))?;
                Quantity::from_json(value).ok().filter(|amount| amount.nanos() > 0)
            };
            let (limit, request) = (amount("limits"), amount("requests"));
            best_effort &= limit.is_none() && request.is_none();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (guaranteed, best_effort) {
        (_, true) => "BestEffort",
        (true, false) => "Guaranteed",
        (false, false) => "Burstable",
    }
}
