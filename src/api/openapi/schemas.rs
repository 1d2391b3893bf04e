//! The table's types as OpenAPI v3 schemas, with Kubernetes' extensions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::Kind;
use crate::api::schema::table::{self, Field, Form, Merge, Package, Shape, Type};

pub const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
pub const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// The structs of a package and those of other packages that they use, by their OpenAPI names.
pub fn reachable(package: &'static Package) -> Vec<Type> {
    let mut found = BTreeMap::new();
    let mut open: Vec<Type> = package.types().filter(|of| !of.is_string()).collect();
    open.extend(
        ["DeleteOptions", "Status", "ListMeta"].iter().filter_map(|name| table::find("meta.v1", name)),
    );
    while let Some(of) = open.pop() {
        if found.insert(of.openapi_name(), of).is_none() {
            open.extend(of.fields().filter_map(|field| inner(field.shape)));
        }
    }
    found.into_values().collect()
}

/// The schemas of a struct and of all that it uses, and of lists' metadata, by their names.
pub fn closure(root: Type) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![root];
    open.extend(
        ["DeleteOptions", "Status", "ListMeta"].iter().filter_map(|name| table::find("meta.v1", name)),
    );
    while let Some(next) = open.pop() {
        if found.insert(next.openapi_name(), of(next)).is_none() {
            open.extend(next.fields().filter_map(|field| inner(field.shape)));
        }
    }
    found
}

fn inner(shape: Shape) -> Option<Type> {
    match shape.form() {
        Form::Struct(of) => Some(of),
        Form::List(item) | Form::Map(item) => inner(item),
        _ => None,
    }
}

/// The schema of a struct.
pub fn of(of: Type) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in of.fields() {
        properties.insert(field.name.to_owned(), property(&field));
        if field.is_required() {
            required.push(field.name);
        }
    }
    let mut schema = json!({"type": "object"});
    if !properties.is_empty() {
        schema["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if of.is_atomic() {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if of.is_kind() {
        // What belongs to every group (DeleteOptions, Status) is in the core group, version v1.
        let (group, version) = match of.package.api_version.split_once('/') {
            Some(("meta.k8s.io", version)) => ("", version),
            Some(both) => both,
            None => ("", of.package.api_version),
        };
        schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(group, version, of.name())]);
    }
    schema
}

/// The schema of a kind's list, with its name.
pub fn list(kind: &Kind) -> Option<(String, Value)> {
    let item = table::kind(&kind.api_version(), kind.kind)?;
    let metadata = table::find("meta.v1", "ListMeta").map(reference)?;
    let schema = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata,
            "items": {"type": "array", "items": reference(item)},
        },
        "x-kubernetes-group-version-kind": [group_version_kind(kind.group, kind.version, kind.list_kind)],
    });
    Some((format!("{}.{}", item.package.openapi_prefix, kind.list_kind), schema))
}

/// What Go writes by itself: types that are neither structs nor strings.
pub fn builtins() -> [(String, Value); 2] {
    [
        (QUANTITY.to_owned(), json!({"oneOf": [{"type": "string"}, {"type": "number"}]})),
        (
            INT_OR_STRING.to_owned(),
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
    ]
}

pub fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

pub fn reference(of: Type) -> Value {
    refer(&of.openapi_name())
}

pub fn list_reference(kind: &Kind) -> Value {
    match table::kind(&kind.api_version(), kind.kind) {
        Some(item) => refer(&format!("{}.{}", item.package.openapi_prefix, kind.list_kind)),
        None => json!({}),
    }
}

fn refer(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn property(field: &Field) -> Value {
    let mut schema = shape(field.shape);
    let is_list = matches!(field.shape.form(), Form::List(_));
    let mut set = |key: &str, value: Value| {
        if let Some(reference) = schema.get("$ref").cloned() {
            // Next to `$ref` nothing counts.
            schema = json!({"allOf": [{"$ref": reference}]});
        }
        schema[key] = value;
    };
    if let Some(default) = field.default().and_then(|default| serde_json::from_str(default.json).ok()) {
        set("default", default);
    }
    if let Some(keys) = field.list_keys() {
        set("x-kubernetes-list-type", "map".into());
        set("x-kubernetes-list-map-keys", keys.split(',').collect());
    } else if is_list && field.is_set() {
        set("x-kubernetes-list-type", "set".into());
    } else if field.is_atomic() {
        set(if is_list { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" }, "atomic".into());
    }
    if let Some(merge) = field.merge() {
        let strategy = if field.retains_keys() { "merge,retainKeys" } else { "merge" };
        set("x-kubernetes-patch-strategy", strategy.into());
        if let Merge::Key(key) = merge {
            set("x-kubernetes-patch-merge-key", key.into());
        }
    }
    schema
}

fn shape(of: Shape) -> Value {
    match of.form() {
        Form::List(item) => json!({"type": "array", "items": shape(item)}),
        Form::Map(item) => json!({"type": "object", "additionalProperties": shape(item)}),
        Form::Struct(of) => reference(of),
        Form::Named(of) => {
            let values: Vec<&str> = of.values().collect();
            if values.is_empty() {
                json!({"type": "string"})
            } else {
                json!({"type": "string", "enum": values})
            }
        }
        Form::String => json!({"type": "string"}),
        Form::Bool => json!({"type": "boolean"}),
        Form::Int32 => json!({"type": "integer", "format": "int32"}),
        Form::Int64 => json!({"type": "integer", "format": "int64"}),
        Form::Double => json!({"type": "number", "format": "double"}),
        Form::Bytes => json!({"type": "string", "format": "byte"}),
        Form::Time | Form::MicroTime => json!({"type": "string", "format": "date-time"}),
        Form::Quantity => refer(QUANTITY),
        Form::IntOrString => refer(INT_OR_STRING),
        Form::Any => json!({"type": "object"}),
    }
}
