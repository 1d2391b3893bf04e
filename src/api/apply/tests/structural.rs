use serde_json::json;

use super::*;
use crate::api::structural;

#[test]
fn structural_schemas_say_how_to_own() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "properties": {"id": {"type": "integer"}, "v": {"type": "string"}}}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "plain": {"type": "array", "items": {"type": "string"}},
    }}}});
    let schema = structural::Node::compile(&schema);
    let object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"labels": {"l": "1"}}, "spec": {
        "set": ["x"], "map": [{"id": 1, "v": "y"}], "whole": {"a": "b"}, "free": {"a": {"b": [1]}}, "plain": ["p"],
    }});
    let (set, errors) = walk::fields(Node::Custom(&schema), &object);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        set.clone().into_fields()["f:spec"],
        json!({
            "f:set": {"v:\"x\"": {}}, "f:whole": {}, "f:plain": {},
            "f:map": {"k:{\"id\":1}": {".": {}, "f:id": {}, "f:v": {}}},
            "f:free": {"f:a": {".": {}, "f:b": {}}},
        })
    );
    assert_eq!(Set::from_fields(&set.clone().into_fields().into()), Some(set));
    let (_, errors) = walk::fields(Node::Custom(&schema), &json!({"spec": {"other": 1}}));
    assert_eq!(errors, [".spec.other: field not declared in schema"]);
}
