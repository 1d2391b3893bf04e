//! Sets what the client left out.

use serde_json::{Map, Value};

use super::table::{Default, Form, Shape, Type};
use crate::api::Object;

/// Fills an object of type `of` in, down to its last struct, with the table's constants.
pub fn fill(of: Type, map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    for field in of.fields() {
        let default = field.default();
        match map.get_mut(field.name) {
            None => {
                if let Some(value) = default.and_then(parse) {
                    map.insert(field.name.to_owned(), value);
                }
            }
            Some(value) => {
                if let Some(default) = default.filter(|default| default.replaces_empty)
                    && (value.as_str() == Some("") || value.as_i64() == Some(0))
                    && let Some(constant) = parse(default)
                {
                    *value = constant;
                }
                fill_value(field.shape, value);
            }
        }
    }
}

fn parse(default: Default) -> Option<Value> {
    serde_json::from_str(default.json).ok()
}

fn fill_value(shape: Shape, value: &mut Value) {
    match (shape.form(), value) {
        (Form::Struct(of), Value::Object(map)) => fill(of, map),
        (Form::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| fill_value(item, value)),
        (Form::Map(item), Value::Object(map)) => map.values_mut().for_each(|value| fill_value(item, value)),
        // Upstream writes a quantity as a string, whatever it was sent as; readers rely on it.
        (Form::Quantity, value @ Value::Number(_)) => *value = value.to_string().into(),
        // In a map of strings, null is the empty string to Go's decoder.
        (Form::String, value @ Value::Null) => *value = "".into(),
        _ => {}
    }
}

/// What a pod's fields imply for others. `spec` has the table's defaults.
pub fn pod(pod: &mut Object) {
    let host_network = pod.bool_at("/spec/hostNetwork");
    for list in ["/spec/initContainers", "/spec/containers"] {
        let Some(Value::Array(containers)) = pod.at_mut(list) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            pull_policy(container);
            requests(container);
            if host_network {
                host_ports(container);
            }
        }
    }
    // Two names for one field: serviceAccount is the old one, and both are shown.
    let name = [pod.str_at("/spec/serviceAccountName"), pod.str_at("/spec/serviceAccount")]
        .into_iter()
        .find(|name| !name.is_empty())
        .map(str::to_owned);
    if let Some(name) = name {
        pod.set("/spec/serviceAccountName", name.as_str());
        pod.set("/spec/serviceAccount", name);
    }
}

/// `Always` for a tag that moves (`latest`, or none), unless a digest pins the image.
fn pull_policy(container: &mut Map<String, Value>) {
    let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
    let image = text("image");
    if image.is_empty() || !text("imagePullPolicy").is_empty() {
        return;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    let moves = match name.split_once('@') {
        Some(_) => false,
        None => name.split_once(':').is_none_or(|(_, tag)| tag == "latest"),
    };
    let policy = if moves { "Always" } else { "IfNotPresent" };
    container.insert("imagePullPolicy".to_owned(), policy.into());
}

/// A limit without a request is the request too.
fn requests(container: &mut Map<String, Value>) {
    let Some(Value::Object(resources)) = container.get_mut("resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits") else { return };
    if limits.is_empty() {
        return;
    }
    let limits = limits.clone();
    let requests = resources.entry("requests").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(requests) = requests {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// In the host's network a container's port is the host's.
fn host_ports(container: &mut Map<String, Value>) {
    let Some(Value::Array(ports)) = container.get_mut("ports") else { return };
    for port in ports.iter_mut().filter_map(Value::as_object_mut) {
        let unset = port.get("hostPort").is_none_or(|port| port.as_i64() == Some(0));
        if let Some(number) = port.get("containerPort").filter(|_| unset).cloned() {
            port.insert("hostPort".to_owned(), number);
        }
    }
}
