//! What the single words of a schema may say (apiextensions `validation.go`).

use serde_json::{Map, Value};

use super::pattern;
use super::rules::{children, has, list, map, text};
use super::{AT_LEAST, AT_MOST, Of, TYPES};
use crate::api::Cause;

/// What a schema's single words may say.
pub(super) fn words(schema: &Value, path: &str, root: bool, causes: &mut Vec<Cause>) {
    let Some(members) = schema.as_object() else {
        return causes.push(Cause::invalid(path, schema.clone(), "must be a schema"));
    };
    for key in [
        "definitions",
        "dependencies",
        "deprecated",
        "discriminator",
        "id",
        "patternProperties",
        "readOnly",
        "writeOnly",
        "xml",
    ] {
        if has(schema, key) {
            causes.push(Cause::forbidden(format!("{path}.{key}"), &format!("{key} is not supported")));
        }
    }
    if has(schema, "$ref") {
        causes.push(Cause::forbidden(format!("{path}.$ref"), "$ref is not supported"));
    }
    if has(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(format!("{path}.uniqueItems"), detail));
    }
    match members.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            let detail = "additionalProperties cannot be set to false";
            causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
        }
        Some(value) if !value.is_null() && map(schema, "properties").next().is_some() => {
            let detail = "additionalProperties and properties are mutual exclusive";
            causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
        }
        _ => {}
    }
    if schema.get("items").is_some_and(Value::is_array) {
        let detail = "items must be a schema object and not an array";
        causes.push(Cause::forbidden(format!("{path}.items"), detail));
    }
    match text(schema, "type") {
        "" => {}
        "null" => {
            let detail = "type cannot be set to null, use nullable as an alternative";
            causes.push(Cause::forbidden(format!("{path}.type"), detail));
        }
        of if Of::parse(of).is_none() => {
            let known: Vec<&str> = TYPES.iter().map(|row| row.0).collect();
            causes.push(Cause::not_supported(format!("{path}.type"), of, &known));
        }
        _ => {}
    }
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if members.get(preserve) == Some(&Value::Bool(false)) {
        causes.push(Cause::invalid(format!("{path}.{preserve}"), false, "must be true or undefined"));
    }
    let expression = text(schema, "pattern");
    if let Err(error) = pattern::compile(expression) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(Cause::invalid(format!("{path}.pattern"), expression, &detail));
    }
    numbers(members, path, causes);
    list_type(schema, path, causes);
    let map_type = text(schema, "x-kubernetes-map-type");
    if !matches!(map_type, "" | "atomic" | "granular") {
        causes.push(Cause::not_supported(
            format!("{path}.x-kubernetes-map-type"),
            map_type,
            &["atomic", "granular"],
        ));
    } else if !map_type.is_empty() && text(schema, "type") != "object" {
        let detail = "must be object if x-kubernetes-map-type is specified";
        causes.push(Cause::invalid(format!("{path}.type"), text(schema, "type"), detail));
    }
    if root && text(schema, "type") == "object" && members.get("nullable") == Some(&Value::Bool(true)) {
        causes.push(Cause::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    for (child, path) in children(schema, path) {
        words(child, &path, false, causes);
    }
}

/// Bounds must be numbers, and lengths not negative: what is compiled leaves out what is neither.
fn numbers(members: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    for key in ["minimum", "maximum", "multipleOf"] {
        if let Some(value) = members.get(key).filter(|value| !value.is_number() && !value.is_null()) {
            causes.push(Cause::invalid(format!("{path}.{key}"), value.clone(), "must be a number"));
        }
    }
    for key in AT_LEAST.iter().chain(&AT_MOST) {
        if let Some(value) = members.get(*key).filter(|value| !value.is_u64() && !value.is_null()) {
            causes.push(Cause::invalid(
                format!("{path}.{key}"),
                value.clone(),
                "must be greater than or equal to 0",
            ));
        }
    }
}

fn list_type(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    const TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let (of, keys) = (text(schema, TYPE), list(schema, KEYS));
    if !of.is_empty() && text(schema, "type") != "array" {
        causes.push(Cause::invalid(
            format!("{path}.type"),
            text(schema, "type"),
            &format!("must be array if {TYPE} is specified"),
        ));
    }
    let items = schema.get("items").unwrap_or(&Value::Null);
    match of {
        "" | "atomic" | "set" | "map" => {}
        _ => causes.push(Cause::not_supported(format!("{path}.{TYPE}"), of, &["atomic", "map", "set"])),
    }
    if of != "map" {
        if !keys.is_empty() {
            let detail = format!("must be map if {KEYS} is non-empty");
            causes.push(match of {
                "" => Cause::required(format!("{path}.{TYPE}"), &detail),
                _ => Cause::invalid(format!("{path}.{TYPE}"), of, &detail),
            });
        }
        let granular = |of: &str| match of {
            "object" => text(items, "x-kubernetes-map-type") != "atomic",
            "array" => !matches!(text(items, TYPE), "" | "atomic"),
            _ => false,
        };
        if of == "set" && granular(text(items, "type")) {
            let what = if text(items, "type") == "object" { "x-kubernetes-map-type" } else { TYPE };
            let detail = format!("{what} must be atomic as item of a list with {TYPE}=set");
            causes.push(Cause::forbidden(format!("{path}.items.{what}"), &detail));
        }
        return;
    }
    if keys.is_empty() {
        causes
            .push(Cause::required(format!("{path}.{KEYS}"), &format!("must not be empty if {TYPE} is map")));
    }
    if !items.is_null() && text(items, "type") != "object" {
        let detail = format!("must be object if parent array's {TYPE} is map");
        causes.push(Cause::invalid(format!("{path}.items.type"), text(items, "type"), &detail));
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{path}.{KEYS}[{index}]");
        let name = key.as_str().unwrap_or("");
        if keys.iter().take(index).any(|before| before == key) {
            causes.push(Cause::duplicate(field, key.clone()));
            continue;
        }
        let Some(property) = items.pointer("/properties").and_then(|properties| properties.get(name)) else {
            let detail = "entries must all be names of item properties";
            causes.push(Cause::invalid(field, key.clone(), detail));
            continue;
        };
        if matches!(text(property, "type"), "array" | "object") {
            let detail = format!("must be a scalar type if parent array's {TYPE} is map");
            causes.push(Cause::invalid(
                format!("{path}.items.properties[{name}].type"),
                text(property, "type"),
                &detail,
            ));
        }
        let required = list(items, "required").iter().any(|required| required == name);
        if !required && !has(property, "default") {
            let detail =
                format!("this property is in {KEYS}, so it must have a default or be a required property");
            causes.push(Cause::required(format!("{path}.items.properties[{name}].default"), &detail));
        }
    }
}
