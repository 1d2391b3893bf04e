//! The document of a group that users define, or that is computed.

use serde_json::{Map, Value, json};

use super::schemas;
use super::{Kind, paths};
use crate::api::kinds::{NODE_METRICS, POD_METRICS};
use crate::api::schema::table;

/// OpenAPI v3 of kinds with the schemas that their definitions give.
pub fn document(kinds: Vec<(&'static Kind, Value)>) -> Vec<u8> {
    let mut all = Map::new();
    let mut components: Map<String, Value> =
        table::find("meta.v1", "ObjectMeta").map(schemas::closure).unwrap_or_default().into_iter().collect();
    let list_metadata = table::find("meta.v1", "ListMeta").map(schemas::reference).unwrap_or_default();
    for (kind, mut schema) in kinds {
        all.extend(paths::of(kind));
        complete(kind, &mut schema);
        components.insert(name(kind, kind.kind), schema);
        let item = json!({"$ref": format!("#/components/schemas/{}", name(kind, kind.kind))});
        let list = json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": list_metadata,
                "items": {"type": "array", "items": item},
            },
            "x-kubernetes-group-version-kind": [schemas::group_version_kind(kind.group, kind.version, kind.list_kind)],
        });
        components.insert(name(kind, kind.list_kind), list);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": all,
        "components": {"schemas": components},
    })
    .to_string()
    .into_bytes()
}

/// The schema of figures (metrics.k8s.io), which are no part of Kubernetes' own table. None for other kinds.
pub fn metrics(kind: &Kind) -> Option<Value> {
    let usage = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let (name, figures) = match kind {
        kind if kind == NODE_METRICS => ("usage", usage),
        kind if kind == POD_METRICS => {
            let container =
                json!({"type": "object", "properties": {"name": {"type": "string"}, "usage": usage}});
            ("containers", json!({"type": "array", "items": container}))
        }
        _ => return None,
    };
    let time = json!({"type": "string", "format": "date-time"});
    Some(json!({"properties": {name: figures, "timestamp": time, "window": {"type": "string"}}}))
}

/// `com.example.stable.v1.CronTab` of group `stable.example.com`.
fn name(kind: &Kind, last: &str) -> String {
    let group: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{last}", group.join("."), kind.version)
}

/// What every object has, whatever its schema says.
fn complete(kind: &Kind, schema: &mut Value) {
    if !schema.is_object() {
        *schema = json!({});
    }
    let metadata = table::find("meta.v1", "ObjectMeta").map(schemas::reference).unwrap_or_default();
    if schema.get("properties").is_none_or(|properties| !properties.is_object()) {
        schema["properties"] = json!({});
    }
    schema["properties"]["metadata"] = json!({"allOf": [metadata]});
    for key in ["apiVersion", "kind"] {
        if schema["properties"].get(key).is_none() {
            schema["properties"][key] = json!({"type": "string"});
        }
    }
    schema["type"] = "object".into();
    schema["x-kubernetes-group-version-kind"] =
        json!([schemas::group_version_kind(kind.group, kind.version, kind.kind)]);
}
