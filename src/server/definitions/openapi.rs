//! OpenAPI v3 of defined kinds, made from their definitions as they are stored: descriptions included.

use serde_json::{Map, Value};

use crate::api::kinds::{CUSTOM_RESOURCE_DEFINITION, Kind};
use crate::api::openapi;
use crate::server::registry::Registry;

/// The document of one group and version; None if users define nothing there.
pub fn document(registry: &Registry, group: &str, version: &str) -> Option<Vec<u8>> {
    let kinds: Vec<&'static Kind> = registry.kinds().stored();
    let kinds = kinds.into_iter().filter(|kind| kind.group == group && kind.version == version);
    let defined: Vec<(&'static Kind, Value)> =
        kinds.filter(|kind| kind.definition.is_some()).map(|kind| (kind, schema(registry, kind))).collect();
    (!defined.is_empty()).then(|| openapi::defined(defined))
}

fn schema(registry: &Registry, kind: &Kind) -> Value {
    let name = format!("{}.{}", kind.plural, kind.group);
    let Ok(mut definition) = registry.get(CUSTOM_RESOURCE_DEFINITION, "", &name) else { return empty() };
    let index =
        definition.array_at("/spec/versions").iter().position(|version| version["name"] == kind.version);
    let pointer = format!("/spec/versions/{}/schema/openAPIV3Schema", index.unwrap_or(usize::MAX));
    definition.at_mut(&pointer).map_or_else(empty, Value::take)
}

fn empty() -> Value {
    Value::Object(Map::new())
}
