//! What the downward API says of a pod in files.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::agent::env::{metadata_field, resource};
use crate::agent::node::Resources;
use crate::api::Object;

/// The content of one file (`DownwardAPIVolumeFile`). An error is what is not known.
pub fn value(pod: &Object, item: &Value, allocatable: &Resources) -> Result<String, String> {
    match item.get("resourceFieldRef").filter(|from| !from.is_null()) {
        Some(from) => resource(pod, &Value::Null, from, allocatable).map_err(|error| error.to_string()),
        None => field(pod, item.pointer("/fieldRef/fieldPath").and_then(Value::as_str).unwrap_or("")),
    }
}

fn field(pod: &Object, path: &str) -> Result<String, String> {
    match path {
        "metadata.labels" => Ok(lines(pod.map_at("/metadata/labels"))),
        "metadata.annotations" => Ok(lines(pod.map_at("/metadata/annotations"))),
        _ => metadata_field(pod, path).ok_or_else(|| format!("unsupported fieldPath: {path}")),
    }
}

/// `key="value"` on a line each, in the order of the keys.
fn lines(map: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<(&String, &str)> =
        map.into_iter().flatten().map(|(key, value)| (key, value.as_str().unwrap_or(""))).collect();
    pairs.sort_unstable();
    let lines: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// As Go's `%q` writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            c if c.is_ascii_control() => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_resources() {
        let pod = Object::from_value(json!({
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "labels": {"b": "2", "a": "1"},
                "annotations": {"note": "say \"hi\"\n\u{1}é\\"},
            },
            "spec": {
                "initContainers": [{"name": "init"}],
                "containers": [{"name": "main", "resources": {
                    "limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"memory": "33000k"},
                }}],
            },
        }))
        .unwrap();
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let resource = |container: &str, resource: &str, divisor: &str| json!({"resourceFieldRef": {"containerName": container, "resource": resource, "divisor": divisor}});
        let allocatable = Resources { cpu_millis: 4000, ..Resources::default() };
        for (item, wanted) in [
            (field("metadata.name"), Ok("web")),
            (field("metadata.labels"), Ok("a=\"1\"\nb=\"2\"")),
            (field("metadata.labels['b']"), Ok("2")),
            (field("metadata.labels['c']"), Ok("")),
            (field("metadata.annotations"), Ok("note=\"say \\\"hi\\\"\\n\\x01é\\\\\"")),
            (field("status.podIP"), Err("unsupported fieldPath: status.podIP")),
            (resource("main", "limits.cpu", "1m"), Ok("1250")),
            (resource("main", "limits.memory", "1Mi"), Ok("64")),
            (resource("init", "limits.cpu", "1"), Ok("4")),
            (resource("nobody", "limits.cpu", "1"), Err("container nobody not found")),
        ] {
            let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(value(&pod, &item, &allocatable), wanted, "{item}");
        }
    }
}
