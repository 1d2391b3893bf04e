//! What the downward API says of a pod in files.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::text;
use crate::api::Object;
use crate::api::quantity::Quantity;
use crate::sys::host;

/// The content of one file (`DownwardAPIVolumeFile`). An error is what is not known.
pub fn value(pod: &Object, item: &Value) -> Result<String, String> {
    match item.get("resourceFieldRef").filter(|from| !from.is_null()) {
        Some(from) => resource(pod, from),
        None => field(pod, item.pointer("/fieldRef/fieldPath").and_then(Value::as_str).unwrap_or("")),
    }
}

fn field(pod: &Object, path: &str) -> Result<String, String> {
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(pod.map_at("/metadata/labels")),
        "metadata.annotations" => lines(pod.map_at("/metadata/annotations")),
        _ => match (key("metadata.labels"), key("metadata.annotations")) {
            (Some(key), _) => pod.label(key).unwrap_or("").to_owned(),
            (_, Some(key)) => pod.annotation(key).unwrap_or("").to_owned(),
            _ => return Err(path.to_owned()),
        },
    })
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

/// A request or limit of one container, in units of the divisor, rounded up. Without a limit it is what the node has.
fn resource(pod: &Object, from: &Value) -> Result<String, String> {
    let name = text(from, "containerName");
    let named = |container: &&Value| text(container, "name") == name;
    let containers = ["/spec/containers", "/spec/initContainers"].map(|list| pod.array_at(list));
    let container =
        containers.into_iter().flatten().find(named).ok_or_else(|| format!("container {name}"))?;
    let path = text(from, "resource");
    let unknown = || path.to_owned();
    let (group, resource) = path.split_once('.').ok_or_else(unknown)?;
    if !matches!(group, "limits" | "requests")
        || !(matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-"))
    {
        return Err(unknown());
    }
    let of = |group: &str| {
        let amount = container.get("resources")?.get(group)?.get(resource)?;
        Quantity::from_json(amount).ok().map(Quantity::nanos).filter(|amount| *amount > 0)
    };
    let amount = match group {
        "limits" => of("limits").unwrap_or_else(|| nodes(resource)),
        _ => of("requests").or_else(|| of("limits")).unwrap_or(0),
    };
    let divisor = from.get("divisor").and_then(|divisor| Quantity::from_json(divisor).ok());
    let divisor = divisor.map_or(0, Quantity::nanos);
    let divisor = if divisor > 0 { divisor } else { ONE };
    Ok(((amount + divisor - 1) / divisor).to_string())
}

/// In the unit of [`Quantity::nanos`].
const ONE: i128 = 1_000_000_000;

fn nodes(resource: &str) -> i128 {
    ONE * match resource {
        "cpu" => host::cpus() as i128,
        "memory" => host::memory_total().unwrap_or(0).into(),
        _ => 0,
    }
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
        let cpus = host::cpus().to_string();
        for (item, wanted) in [
            (field("metadata.name"), Ok("web")),
            (field("metadata.labels"), Ok("a=\"1\"\nb=\"2\"")),
            (field("metadata.labels['b']"), Ok("2")),
            (field("metadata.labels['c']"), Ok("")),
            (field("metadata.annotations"), Ok("note=\"say \\\"hi\\\"\\n\\x01é\\\\\"")),
            (field("status.podIP"), Err("status.podIP")),
            (resource("main", "limits.cpu", "1"), Ok("2")),
            (resource("main", "limits.cpu", "1m"), Ok("1250")),
            (resource("main", "requests.cpu", "0"), Ok("2")),
            (resource("main", "limits.memory", "1Mi"), Ok("64")),
            (resource("main", "requests.memory", "1Mi"), Ok("32")),
            (resource("main", "limits.memory", ""), Ok("67108864")),
            (resource("init", "limits.cpu", "1"), Ok(cpus.as_str())),
            (resource("init", "requests.memory", "1"), Ok("0")),
            (resource("main", "limits.gpu", "1"), Err("limits.gpu")),
            (resource("nobody", "limits.cpu", "1"), Err("container nobody")),
        ] {
            let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(value(&pod, &item), wanted, "{item}");
        }
    }
}
