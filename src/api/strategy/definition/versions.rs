//! The versions of a definition: their schemas, subresources, columns and selectable fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{flag, text};
use crate::api::structural::{self, Path};
use crate::api::{Cause, Object, names};

/// What upstream allows of selectable fields in a version.
const SELECTABLE_LIMIT: usize = 8;

pub fn check(new: &Object, causes: &mut Vec<Cause>) {
    let versions = new.array_at("/spec/versions");
    let names: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    if versions.is_empty() {
        causes.push(Cause::required(
            "spec.versions",
            "must have exactly one version marked as storage version",
        ));
        return;
    }
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        causes.push(Cause::invalid("spec.versions", names.clone(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", names, detail));
    }
    for (index, version) in versions.iter().enumerate() {
        one_version(version, &format!("spec.versions[{index}]"), causes);
    }
}

fn one_version(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = text(version, "name");
    if let Err(message) = names::is_dns_1035_label(name) {
        causes.push(Cause::invalid(format!("{path}.name"), name, &message));
    }
    let schema_path = format!("{path}.schema.openAPIV3Schema");
    match version.pointer("/schema/openAPIV3Schema").filter(|schema| !schema.is_null()) {
        Some(schema) => causes.extend(structural::check(schema, &schema_path)),
        None => causes.push(Cause::required(schema_path, "schemas are required")),
    }
    if version.get("deprecationWarning").is_some_and(|text| !text.is_null()) {
        let (field, warning) = (format!("{path}.deprecationWarning"), text(version, "deprecationWarning"));
        if !flag(version, "deprecated") {
            causes.push(Cause::invalid(field, warning, "can only be set for deprecated versions"));
        } else if warning.len() > 256 {
            causes.push(Cause::too_long(field, 256));
        } else if warning.is_empty() || warning.chars().any(char::is_control) {
            let detail =
                "must be between 1 and 256 characters, and contain only UTF-8 characters that can be printed";
            causes.push(Cause::invalid(field, warning, detail));
        }
    }
    if let Some(scale) = version.pointer("/subresources/scale").filter(|scale| !scale.is_null()) {
        for (key, prefixes, required) in [
            ("specReplicasPath", &["spec"] as &[&str], true),
            ("statusReplicasPath", &["status"], true),
            ("labelSelectorPath", &["spec", "status"], false),
        ] {
            let (field, value) = (format!("{path}.subresources.scale.{key}"), text(scale, key));
            match value {
                "" if required => causes.push(Cause::required(field, "")),
                "" => {}
                _ => {
                    let parsed = Path::parse(value).ok().filter(|_| value.starts_with('.'));
                    let below = parsed.and_then(|path| {
                        let fields = path.fields()?;
                        Some(fields.len() > 1 && fields.first().is_some_and(|first| prefixes.contains(first)))
                    });
                    let wanted: Vec<String> = prefixes.iter().map(|prefix| format!(".{prefix}")).collect();
                    match below {
                        Some(true) => {}
                        Some(false) => {
                            let detail = format!("should be a json path under {}", wanted.join(" or "));
                            causes.push(Cause::invalid(field, value, &detail));
                        }
                        None => causes.push(Cause::invalid(
                            field,
                            value,
                            "must be a simple json path without array notation",
                        )),
                    }
                }
            }
        }
    }
    columns(version, path, causes);
    selectable(version, path, causes);
}

fn columns(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten();
    for (index, column) in columns.enumerate() {
        let at = |key: &str| format!("{path}.additionalPrinterColumns[{index}].{key}");
        if text(column, "name").is_empty() {
            causes.push(Cause::required(at("name"), ""));
        }
        match text(column, "type") {
            "" => causes.push(Cause::required(at("type"), &format!("must be one of {}", TYPES.join(",")))),
            of if !TYPES.contains(&of) => causes.push(Cause::not_supported(at("type"), of, TYPES)),
            _ => {}
        }
        match text(column, "format") {
            format if !format.is_empty() && !FORMATS.contains(&format) => {
                causes.push(Cause::not_supported(at("format"), format, FORMATS));
            }
            _ => {}
        }
        match text(column, "jsonPath") {
            "" => causes.push(Cause::required(at("jsonPath"), "")),
            value if !value.starts_with('.') => {
                causes.push(Cause::invalid(
                    at("jsonPath"),
                    value,
                    "must be a json path and start with \".\"",
                ));
            }
            value => {
                if let Err(error) = Path::parse(value) {
                    causes.push(Cause::invalid(at("jsonPath"), value, &error));
                }
            }
        }
    }
}

fn selectable(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let fields =
        version.get("selectableFields").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    if fields.len() > SELECTABLE_LIMIT {
        causes.push(Cause::too_many(format!("{path}.selectableFields"), fields.len(), SELECTABLE_LIMIT));
    }
    for (index, field) in fields.iter().enumerate() {
        let (at, value) = (format!("{path}.selectableFields[{index}].jsonPath"), text(field, "jsonPath"));
        if value.is_empty() {
            causes.push(Cause::required(at, ""));
            continue;
        }
        let parsed = Path::parse(value).ok().filter(|_| value.starts_with('.'));
        let Some(names) = parsed.as_ref().and_then(Path::fields).filter(|names| !names.is_empty()) else {
            causes.push(Cause::invalid(
                at,
                value,
                "is an invalid path: must be a simple json path without array notation",
            ));
            continue;
        };
        if names.first() == Some(&"metadata") {
            causes.push(Cause::invalid(at.as_str(), value, "must not point to fields in metadata"));
        }
        if fields.iter().take(index).any(|before| text(before, "jsonPath") == value) {
            causes.push(Cause::duplicate(at.as_str(), value));
        }
        let mut schema = version.pointer("/schema/openAPIV3Schema");
        for name in names {
            schema = schema.and_then(|schema| schema.get("properties")?.get(name));
        }
        match schema {
            None => {
                causes.push(Cause::invalid(at, value, "is an invalid path: does not refer to a valid field"))
            }
            Some(schema) if !matches!(text(schema, "type"), "string" | "boolean" | "integer") => {
                causes.push(Cause::invalid(at, value, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."));
            }
            Some(_) => {}
        }
    }
}
