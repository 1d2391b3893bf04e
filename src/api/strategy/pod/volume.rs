//! A pod's volumes: names and sources.

use serde_json::Value;

use super::{has, text};
use crate::api::quantity::Quantity;
use crate::api::{Cause, Object, names};

pub fn validate(pod: &Object, causes: &mut Vec<Cause>) {
    let volumes = pod.array_at("/spec/volumes");
    for (index, volume) in volumes.iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let name = text(volume, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if let Err(message) = names::is_dns_label(name) {
            causes.push(Cause::invalid(format!("{field}.name"), name, &message));
        } else if volumes.iter().take(index).any(|other| text(other, "name") == name) {
            causes.push(Cause::duplicate(format!("{field}.name"), name));
        }
        sources(&field, volume, causes);
    }
}

fn sources(field: &str, volume: &Value, causes: &mut Vec<Cause>) {
    // Whatever is no name is a source: the schema knows which ones there are.
    let sources = volume.as_object().into_iter().flatten();
    let sources: Vec<&str> = sources
        .filter(|(key, value)| key.as_str() != "name" && !value.is_null())
        .map(|(key, _)| key.as_str())
        .collect();
    if sources.is_empty() {
        causes.push(Cause::required(field, "must specify a volume type"));
    }
    for source in sources.iter().skip(1) {
        causes.push(Cause::forbidden(format!("{field}.{source}"), "may not specify more than 1 volume type"));
    }
    for source in sources {
        let body = volume.get(source).unwrap_or(&Value::Null);
        let field = format!("{field}.{source}");
        let required = match source {
            "hostPath" => "path",
            "configMap" => "name",
            "secret" => "secretName",
            "persistentVolumeClaim" => "claimName",
            "emptyDir" => {
                empty_dir(&field, body, causes);
                continue;
            }
            "downwardAPI" | "projected" => "",
            _ => continue,
        };
        if !required.is_empty() && text(body, required).is_empty() {
            causes.push(Cause::required(format!("{field}.{required}"), ""));
        }
        match source {
            "hostPath" => host_path(&field, body, causes),
            "projected" => projected(&field, body, causes),
            _ => files(&field, source == "downwardAPI", body, causes),
        }
        mode(&field, body, "defaultMode", causes);
    }
}

fn empty_dir(field: &str, source: &Value, causes: &mut Vec<Cause>) {
    let limit = source.get("sizeLimit").and_then(|limit| Quantity::from_json(limit).ok());
    if limit.is_some_and(|limit| limit.nanos() < 0) {
        let detail = "SizeLimit field must be a valid resource quantity";
        causes.push(Cause::forbidden(format!("{field}.sizeLimit"), detail));
    }
}

fn host_path(field: &str, source: &Value, causes: &mut Vec<Cause>) {
    const TYPES: &[&str] = &[
        "",
        "DirectoryOrCreate",
        "Directory",
        "FileOrCreate",
        "File",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ];
    let (path, kind) = (text(source, "path"), text(source, "type"));
    if path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(format!("{field}.path"), path, BACKSTEPS));
    }
    if !TYPES.contains(&kind) {
        causes.push(Cause::not_supported(format!("{field}.type"), kind, TYPES));
    }
}

fn projected(field: &str, source: &Value, causes: &mut Vec<Cause>) {
    let sources = super::list(source, "sources");
    if sources.is_empty() {
        causes.push(Cause::required(format!("{field}.sources"), ""));
    }
    for (index, projection) in sources.iter().enumerate() {
        let field = format!("{field}.sources[{index}]");
        let given = projection.as_object().into_iter().flatten().filter(|(_, body)| !body.is_null());
        let given: Vec<_> = given.collect();
        if given.is_empty() {
            causes.push(Cause::required(field.as_str(), "must specify a volume type"));
        }
        for (kind, body) in &given {
            let field = format!("{field}.{kind}");
            if given.len() > 1 {
                causes.push(Cause::forbidden(field.as_str(), "may not specify more than 1 volume type"));
            }
            match kind.as_str() {
                "configMap" | "secret" if text(body, "name").is_empty() => {
                    causes.push(Cause::required(format!("{field}.name"), ""));
                }
                "configMap" | "secret" | "downwardAPI" => files(&field, *kind == "downwardAPI", body, causes),
                "serviceAccountToken" => token(&field, body, causes),
                _ => {}
            }
        }
    }
}

fn token(field: &str, source: &Value, causes: &mut Vec<Cause>) {
    let seconds = source.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(3600);
    let wrong = match seconds {
        ..600 => Some("may not specify a duration less than 10 minutes"),
        4_294_967_297.. => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(detail) = wrong {
        causes.push(Cause::invalid(format!("{field}.expirationSeconds"), seconds, detail));
    }
    let (path, path_field) = (text(source, "path"), format!("{field}.path"));
    if path.is_empty() {
        causes.push(Cause::required(path_field.as_str(), ""));
    }
    relative(&path_field, path, causes);
    if path.starts_with("..") && !path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(path_field, path, "must not start with '..'"));
    }
}

/// The `items` of a source: which key, field or resource becomes which file.
fn files(field: &str, is_downward: bool, source: &Value, causes: &mut Vec<Cause>) {
    for (index, item) in super::list(source, "items").iter().enumerate() {
        let field = format!("{field}.items[{index}]");
        if is_downward {
            downward(&field, item, causes);
        } else if text(item, "key").is_empty() {
            causes.push(Cause::required(format!("{field}.key"), ""));
        }
        let (path, path_field) = (text(item, "path"), format!("{field}.path"));
        if path.is_empty() {
            causes.push(Cause::required(path_field.as_str(), ""));
        }
        relative(&path_field, path, causes);
        if path.starts_with("..") && !path.split('/').any(|part| part == "..") {
            causes.push(Cause::invalid(path_field, path, "must not start with '..'"));
        }
        mode(&field, item, "mode", causes);
    }
}

fn downward(field: &str, item: &Value, causes: &mut Vec<Cause>) {
    const FIELDS: &[&str] =
        &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    match (item.get("fieldRef").filter(|from| !from.is_null()), has(item, "resourceFieldRef")) {
        (None, false) => {
            causes.push(Cause::required(field, "one of fieldRef and resourceFieldRef is required"));
        }
        (Some(_), true) => {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            causes.push(Cause::invalid(field, "resource", detail));
        }
        (Some(from), false) => {
            let path = text(from, "fieldPath");
            let keyed = ["metadata.labels['", "metadata.annotations['"];
            let is_keyed = keyed.iter().any(|start| path.starts_with(start) && path.ends_with("']"));
            if !FIELDS.contains(&path) && !is_keyed {
                causes.push(Cause::not_supported(format!("{field}.fieldRef.fieldPath"), path, FIELDS));
            }
        }
        (None, true) => {
            for key in ["containerName", "resource"] {
                if item
                    .pointer(&format!("/resourceFieldRef/{key}"))
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
                {
                    causes.push(Cause::required(format!("{field}.resourceFieldRef.{key}"), ""));
                }
            }
        }
    }
}

fn mode(field: &str, value: &Value, key: &str, causes: &mut Vec<Cause>) {
    if has(value, key) {
        let mode = value.get(key).and_then(Value::as_i64).unwrap_or(-1);
        if !(0..=0o777).contains(&mode) {
            let detail = "must be a number between 0 and 0777 (octal), both inclusive";
            causes.push(Cause::invalid(format!("{field}.{key}"), mode, detail));
        }
    }
}

/// How one of a container's `volumeMounts` is mounted.
pub fn mount(field: &str, container: &Value, mount: &Value, causes: &mut Vec<Cause>) {
    let propagation = text(mount, "mountPropagation");
    let propagation_field = format!("{field}.mountPropagation");
    let is_privileged = container.pointer("/securityContext/privileged") == Some(&Value::Bool(true));
    match propagation {
        "" | "None" | "HostToContainer" => {}
        "Bidirectional" if is_privileged => {}
        "Bidirectional" => {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            causes.push(Cause::forbidden(propagation_field, detail));
        }
        other => {
            let supported = &["Bidirectional", "HostToContainer", "None"];
            causes.push(Cause::not_supported(propagation_field, other, supported));
        }
    }
    let field = format!("{field}.recursiveReadOnly");
    match text(mount, "recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if mount.get("readOnly") != Some(&Value::Bool(true)) {
                causes.push(Cause::forbidden(field.as_str(), "may only be specified when readOnly is true"));
            }
            if !matches!(propagation, "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                causes.push(Cause::forbidden(field, detail));
            }
        }
        other => causes.push(Cause::not_supported(field, other, &["Disabled", "Enabled", "IfPossible"])),
    }
}

const BACKSTEPS: &str = "must not contain '..'";

/// A path that stays where it is put.
pub fn relative(field: &str, path: &str, causes: &mut Vec<Cause>) {
    if path.starts_with('/') {
        causes.push(Cause::invalid(field, path, "must be a relative path"));
    }
    if path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(field, path, BACKSTEPS));
    }
}
