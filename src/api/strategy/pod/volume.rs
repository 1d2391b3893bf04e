//! A pod's volumes: names and sources.

use serde_json::Value;

use super::{has, text};
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
        let required = match source {
            "hostPath" => "path",
            "configMap" => "name",
            "secret" => "secretName",
            "persistentVolumeClaim" => "claimName",
            _ => continue,
        };
        let body = volume.get(source).unwrap_or(&Value::Null);
        if text(body, required).is_empty() {
            causes.push(Cause::required(format!("{field}.{source}.{required}"), ""));
        }
        for (index, item) in super::list(body, "items").iter().enumerate() {
            for key in ["key", "path"] {
                if text(item, key).is_empty() {
                    causes.push(Cause::required(format!("{field}.{source}.items[{index}].{key}"), ""));
                }
            }
            let path = text(item, "path");
            relative(&format!("{field}.{source}.items[{index}].path"), path, causes);
        }
        if has(body, "defaultMode") {
            let mode = body.get("defaultMode").and_then(Value::as_i64).unwrap_or(-1);
            if !(0..=0o777).contains(&mode) {
                let detail = "must be a number between 0 and 0777 (octal), both inclusive";
                causes.push(Cause::invalid(format!("{field}.{source}.defaultMode"), mode, detail));
            }
        }
    }
    if volume.get("hostPath").is_some_and(|body| text(body, "path").split('/').any(|part| part == "..")) {
        let path = volume.pointer("/hostPath/path").cloned().unwrap_or_default();
        causes.push(Cause::invalid(format!("{field}.hostPath.path"), path, "must not contain '..'"));
    }
}

/// A path that stays where it is put.
pub fn relative(field: &str, path: &str, causes: &mut Vec<Cause>) {
    if path.starts_with('/') {
        causes.push(Cause::invalid(field, path, "must be a relative path"));
    }
    if path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(field, path, "must not contain '..'"));
    }
}
