//! A container's environment.

use serde_json::Value;

use crate::api::strategy::pod::{has, list, text};
use crate::api::{Cause, names};

const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What `fieldRef` can name, apart from single labels and annotations.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub fn validate(field: &str, container: &Value, causes: &mut Vec<Cause>) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let field = format!("{field}.env[{index}]");
        let name = text(variable, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if let Err(message) = names::is_env_name(name) {
            causes.push(Cause::invalid(format!("{field}.name"), name, &message));
        }
        if let Some(source) = variable.get("valueFrom").filter(|source| !source.is_null()) {
            if !text(variable, "value").is_empty() {
                let detail = "may not be specified when `value` is not empty";
                causes.push(Cause::invalid(format!("{field}.valueFrom"), "", detail));
            }
            value_from(&format!("{field}.valueFrom"), source, causes);
        }
    }
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let field = format!("{field}.envFrom[{index}]");
        let prefix = text(source, "prefix");
        if let (false, Err(message)) = (prefix.is_empty(), names::is_env_name(prefix)) {
            causes.push(Cause::invalid(format!("{field}.prefix"), prefix, &message));
        }
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|key| has(source, key)).collect();
        match given.as_slice() {
            [] => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                causes.push(Cause::invalid(field, "", detail));
            }
            [one] => {
                if source.get(one).is_none_or(|source| text(source, "name").is_empty()) {
                    causes.push(Cause::required(format!("{field}.{one}.name"), ""));
                }
            }
            _ => {
                causes.push(Cause::invalid(field, "", "may not have more than one field specified at a time"))
            }
        }
    }
}

fn value_from(field: &str, source: &Value, causes: &mut Vec<Cause>) {
    let given: Vec<&str> = SOURCES.iter().copied().filter(|key| has(source, key)).collect();
    let [one] = given.as_slice() else {
        let detail = match given.is_empty() {
            true => {
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                 `fileKeyRef`"
            }
            false => "may not have more than one field specified at a time",
        };
        causes.push(Cause::invalid(field, "", detail));
        return;
    };
    let field = format!("{field}.{one}");
    let body = source.get(one).unwrap_or(&Value::Null);
    match *one {
        "fieldRef" => field_path(&format!("{field}.fieldPath"), text(body, "fieldPath"), causes),
        "resourceFieldRef" if text(body, "resource").is_empty() => {
            causes.push(Cause::required(format!("{field}.resource"), ""));
        }
        "configMapKeyRef" | "secretKeyRef" => {
            if text(body, "name").is_empty() {
                causes.push(Cause::required(format!("{field}.name"), ""));
            }
            match text(body, "key") {
                "" => causes.push(Cause::required(format!("{field}.key"), "")),
                key => {
                    if let Err(message) = names::is_config_key(key) {
                        causes.push(Cause::invalid(format!("{field}.key"), key, &message));
                    }
                }
            }
        }
        _ => {}
    }
}

fn field_path(field: &str, path: &str, causes: &mut Vec<Cause>) {
    let subscript = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .find_map(|start| path.strip_prefix(start)?.strip_suffix("']"));
    match (path, subscript) {
        ("", _) => causes.push(Cause::required(field, "")),
        (_, Some(key)) => {
            if let Err(message) = names::is_label_key(&key.to_lowercase()) {
                causes.push(Cause::invalid(field, key, &message));
            }
        }
        _ if FIELDS.contains(&path) => {}
        _ => causes.push(Cause::not_supported(field, path, FIELDS)),
    }
}
