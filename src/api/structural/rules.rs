//! The rules that make a schema structural (apiextensions `schema/validation.go` and `validation.go`).

use serde_json::Value;

use super::Node;
use super::words::words;
use crate::api::Cause;

/// What is wrong with the schema at `path` (`spec.versions[0].schema.openAPIV3Schema`). As upstream, its structure is
/// only looked at where its single words are right.
pub fn check(schema: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    words(schema, path, true, &mut causes);
    if causes.is_empty() {
        structure(schema, path, Level::Root, &mut causes);
        complete(schema, schema, path, path, &mut causes);
        causes.sort_by(|left, right| (&left.field, &left.message).cmp(&(&right.field, &right.message)));
    }
    if causes.is_empty() {
        let mut defaults = Vec::new();
        self::defaults(schema, path, &mut defaults);
        causes = defaults;
    }
    causes
}

/// Whether a schema has `x-kubernetes-validations`, anywhere.
pub fn uses_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            map.get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .is_some_and(|rules| !rules.is_empty())
                || map.values().any(uses_rules)
        }
        Value::Array(items) => items.iter().any(uses_rules),
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Whether a word is said: to all but a default, false is the same as nothing.
pub(super) fn has(schema: &Value, key: &str) -> bool {
    schema
        .get(key)
        .is_some_and(|value| !value.is_null() && (*value != Value::Bool(false) || key == "default"))
}

pub(super) fn text<'v>(schema: &'v Value, key: &str) -> &'v str {
    schema.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn map<'v>(schema: &'v Value, key: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    schema.get(key).and_then(Value::as_object).into_iter().flatten()
}

pub(super) fn list<'v>(schema: &'v Value, key: &str) -> &'v [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// All schemas below one, with their paths.
pub(super) fn children<'v>(schema: &'v Value, path: &str) -> Vec<(&'v Value, String)> {
    let mut children = Vec::new();
    for key in ["items", "additionalProperties", "not"] {
        children.extend(
            schema.get(key).filter(|child| child.is_object()).map(|child| (child, format!("{path}.{key}"))),
        );
    }
    children
        .extend(map(schema, "properties").map(|(name, child)| (child, format!("{path}.properties[{name}]"))));
    for key in JUNCTORS {
        let nested = list(schema, key).iter().enumerate();
        children.extend(nested.map(|(index, child)| (child, format!("{path}.{key}[{index}]"))));
    }
    children
}

/// `ValidateStructural`'s invariants.
fn structure(schema: &Value, path: &str, level: Level, causes: &mut Vec<Cause>) {
    let of = text(schema, "type");
    let embedded = has(schema, "x-kubernetes-embedded-resource");
    let int_or_string = has(schema, "x-kubernetes-int-or-string");
    let preserves = has(schema, "x-kubernetes-preserve-unknown-fields");
    let at = |key: &str| format!("{path}.{key}");
    if of == "array" && !has(schema, "items") {
        causes.push(Cause::required(at("items"), "must be specified"));
    }
    if level == Level::Root && has(schema, "additionalProperties") {
        causes.push(Cause::forbidden(at("additionalProperties"), "must not be used at the root"));
    }
    for (key, set) in
        [("x-kubernetes-preserve-unknown-fields", preserves), ("x-kubernetes-embedded-resource", embedded)]
    {
        if int_or_string && set {
            causes.push(Cause::invalid(at(key), true, "must be false if x-kubernetes-int-or-string is true"));
        }
    }
    if int_or_string && !of.is_empty() {
        causes.push(Cause::invalid(at("type"), of, "must be empty if x-kubernetes-int-or-string is true"));
    }
    if embedded && of != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        causes.push(if of.is_empty() {
            Cause::required(at("type"), detail)
        } else {
            Cause::invalid(at("type"), of, detail)
        });
    } else if of.is_empty() && !int_or_string && !preserves {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(Cause::required(at("type"), detail));
    }
    if embedded && has(schema, "additionalProperties") {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        causes.push(Cause::forbidden(at("additionalProperties"), detail));
    }
    if level == Level::Root && !matches!(of, "" | "object") {
        causes.push(Cause::invalid(at("type"), of, "must be object at the root"));
    }
    let properties = map(schema, "properties").count();
    if embedded && !preserves && properties == 0 {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.push(Cause::required(at("properties"), detail));
    }
    if level == Level::Root || embedded {
        implied(schema, path, level, causes);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        structure(items, &at("items"), Level::Item, causes);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|value| value.is_object()) {
        structure(additional, &at("additionalProperties"), Level::Field, causes);
    }
    for (name, property) in map(schema, "properties") {
        structure(property, &format!("{path}.properties[{name}]"), Level::Field, causes);
    }
    let skip_any = is_int_or_string(list(schema, "anyOf"));
    let skip_all = list(schema, "allOf").first().is_some_and(|first| is_int_or_string(list(first, "anyOf")));
    for (child, path) in nested(schema, path, skip_any) {
        values(child, &path, skip_all && path.ends_with(".allOf[0]"), causes);
    }
}

/// Of `apiVersion`, `kind` and `metadata` a schema says next to nothing.
fn implied(schema: &Value, path: &str, level: Level, causes: &mut Vec<Cause>) {
    for (name, of) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let Some(property) = schema.pointer("/properties").and_then(|properties| properties.get(name)) else {
            continue;
        };
        let found = text(property, "type");
        if found != of {
            causes.push(Cause::invalid(
                format!("{path}.properties[{name}].type"),
                found,
                &format!("must be {of}"),
            ));
        }
        if name != "metadata" || level != Level::Root {
            continue;
        }
        let plain = property.as_object().into_iter().flatten().all(|(key, value)| match key.as_str() {
            "type" | "description" => true,
            "properties" => value
                .as_object()
                .is_some_and(|map| map.keys().all(|key| matches!(key.as_str(), "name" | "generateName"))),
            _ => value.is_null(),
        });
        if !plain {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            causes.push(Cause::forbidden(format!("{path}.properties[metadata]"), detail));
        }
    }
}

/// The value validations right below a schema or a value validation.
fn nested<'v>(schema: &'v Value, path: &str, skip_any: bool) -> Vec<(&'v Value, String)> {
    let mut nested: Vec<_> = schema.get("not").map(|not| (not, format!("{path}.not"))).into_iter().collect();
    for key in JUNCTORS.into_iter().filter(|key| *key != "anyOf" || !skip_any) {
        let items = list(schema, key).iter().enumerate();
        nested.extend(items.map(|(index, child)| (child, format!("{path}.{key}[{index}]"))));
    }
    nested
}

/// `validateNestedValueValidation`: what may not stand under a junctor.
fn values(schema: &Value, path: &str, skip_any: bool, causes: &mut Vec<Cause>) {
    for (key, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
    ] {
        if has(schema, key) && schema.get(key) != Some(&Value::String(String::new())) {
            causes.push(Cause::forbidden(format!("{path}.{key}"), detail));
        }
    }
    for (name, property) in map(schema, "properties") {
        let path = format!("{path}.properties[{name}]");
        if name == "metadata" {
            causes.push(Cause::forbidden(path.as_str(), "must not be specified in a nested context"));
        }
        values(property, &path, false, causes);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        values(items, &format!("{path}.items"), false, causes);
    }
    for (child, path) in nested(schema, path, skip_any) {
        values(child, &path, false, causes);
    }
}

/// `anyOf: [{type: integer}, {type: string}]`
fn is_int_or_string(list: &[Value]) -> bool {
    let only = |value: &Value, of: &str| {
        value.as_object().is_some_and(|map| map.len() == 1) && text(value, "type") == of
    };
    matches!(list, [integer, string] if only(integer, "integer") && only(string, "string"))
}

/// Fields and items that value validations speak of must be specified outside of them.
fn complete(schema: &Value, outside: &Value, path: &str, outside_path: &str, causes: &mut Vec<Cause>) {
    let is_value = path != outside_path;
    for (name, property) in map(schema, "properties") {
        let (path, missing) =
            (format!("{path}.properties[{name}]"), format!("{outside_path}.properties[{name}]"));
        let found = outside.pointer("/properties").and_then(|properties| properties.get(name));
        match found.or_else(|| outside.get("additionalProperties").filter(|value| value.is_object())) {
            Some(found) => complete(property, found, &path, &missing, causes),
            None if is_value => {
                causes.push(Cause::required(missing, &format!("because it is defined in {path}")))
            }
            None => {}
        }
    }
    for key in ["items", "additionalProperties"] {
        let Some(child) = schema.get(key).filter(|child| child.is_object()) else { continue };
        let (path, missing) = (format!("{path}.{key}"), format!("{outside_path}.{key}"));
        match outside.get(key).filter(|child| child.is_object()) {
            Some(found) => complete(child, found, &path, &missing, causes),
            None if is_value => {
                causes.push(Cause::required(missing, &format!("because it is defined in {path}")))
            }
            None => {}
        }
    }
    for (child, path) in nested(schema, path, false) {
        complete(child, outside, &path, outside_path, causes);
    }
}

/// A default must be what its schema allows.
fn defaults(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(default) = schema.get("default").filter(|value| !value.is_null()) {
        let node = Node::compile(schema);
        let mut pruned = default.clone();
        let unknown =
            if default.is_object() || default.is_array() { node.prune(&mut pruned) } else { Vec::new() };
        let field = format!("{path}.default");
        if !unknown.is_empty() {
            causes.push(Cause::invalid(field.as_str(), default.clone(), "must not have unknown fields"));
        }
        causes.extend(node.validate_at(default, "").into_iter().map(|cause| {
            let within = if cause.field.is_empty() { String::new() } else { format!(".{}", cause.field) };
            Cause { field: format!("{field}{within}"), ..cause }
        }));
    }
    for (child, path) in children(schema, path) {
        defaults(child, &path, causes);
    }
}
