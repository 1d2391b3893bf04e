use std::collections::BTreeSet;

use super::*;

fn parsed(group: &str, version: &str) -> Value {
    let chunks: Vec<Vec<u8>> = document(&Catalogue::default(), group, version).unwrap().collect();
    assert!(chunks.iter().all(|chunk| chunk.len() < 4 * CHUNK), "chunks stay small");
    serde_json::from_slice(&chunks.concat()).unwrap()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_index_names_documents_in_which_every_reference_resolves() {
    let index: Value = serde_json::from_slice(&index(&Catalogue::default())).unwrap();
    let paths: Vec<&String> = index["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths[..3], ["api/v1", "apis/apiextensions.k8s.io/v1", "apis/apps/v1"]);
    for path in paths {
        let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
            [_, group, version] => (group, version),
            _ => ("", "v1"),
        };
        let document = parsed(group, version);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 5);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{reference}");
        }
    }
    assert!(document(&Catalogue::default(), "apps", "v9").is_none());
}

#[test]
fn kubectl_finds_what_it_looks_for() {
    let document = parsed("", "v1");
    let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    let patch = &pods["patch"];
    let kind = json!({"group": "", "kind": "Pod", "version": "v1"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
    for name in ["dryRun", "fieldValidation"] {
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == "query"));
    }
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert!(document["paths"]["/api/v1/nodes/{name}"]["put"].is_object());
    assert!(document["paths"]["/api/v1/namespaces"]["delete"].is_null());

    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"], json!([kind]));
    let spec = &schemas["io.k8s.api.core.v1.PodSpec"];
    assert_eq!(spec["required"], json!(["containers"]));
    assert_eq!(
        spec["properties"]["volumes"],
        json!({
            "type": "array",
            "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.Volume"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "x-kubernetes-patch-strategy": "merge,retainKeys",
            "x-kubernetes-patch-merge-key": "name",
        })
    );
}

#[test]
fn version_two_has_the_same_types() {
    let kinds = Catalogue::default();
    let chunks: Vec<Vec<u8>> = document_v2(&kinds, Format::Json).collect();
    assert!(chunks.iter().all(|chunk| chunk.len() < 4 * CHUNK), "chunks stay small");
    let document: Value = serde_json::from_slice(&chunks.concat()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 300, "{}", found.len());
    for reference in found {
        let name = reference.strip_prefix("#/definitions/").unwrap();
        assert!(document["definitions"].get(name).is_some(), "{reference}");
    }
    let container = &document["definitions"]["io.k8s.api.core.v1.Container"]["properties"];
    assert_eq!(
        container["resources"],
        json!({"$ref": "#/definitions/io.k8s.api.core.v1.ResourceRequirements", "default": {}})
    );
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(
        parameters.contains(&json!({"name": "force", "in": "query", "type": "boolean", "uniqueItems": true}))
    );
    assert_eq!(parameters.last().unwrap()["in"], "body");
    assert_eq!(
        document["paths"]["/api/v1/nodes"]["get"]["responses"]["200"]["schema"],
        json!({"$ref": "#/definitions/io.k8s.api.core.v1.NodeList"})
    );
}

#[test]
fn version_two_in_protobuf() {
    use crate::api::protobuf::wire::{Reader, Wire};
    /// The messages in a field of a message.
    fn parts(message: &[u8], wanted: u64) -> Vec<&[u8]> {
        let mut reader = Reader::new(message);
        let mut found = Vec::new();
        while let Some((number, wire)) = reader.field().unwrap() {
            match wire {
                Wire::Bytes(bytes) if number == wanted => found.push(bytes),
                _ => {}
            }
        }
        found
    }
    let text = document_v2(&Catalogue::default(), Format::Protobuf).collect::<Vec<_>>().concat();
    assert_eq!(parts(&text, 1), [b"2.0"]);
    let schemas: Vec<&[u8]> = parts(&text, 9).iter().flat_map(|part| parts(part, 1)).collect();
    let pod = schemas.iter().find(|named| parts(named, 1) == [b"io.k8s.api.core.v1.Pod"]).unwrap();
    let pod = parts(pod, 2)[0];
    let extension = parts(pod, 31)[0];
    assert_eq!(parts(extension, 1), [b"x-kubernetes-group-version-kind"]);
    let yaml = parts(parts(extension, 2)[0], 2)[0];
    assert_eq!(yaml, br#"[{"group":"","kind":"Pod","version":"v1"}]"#);
    let properties = parts(parts(pod, 25)[0], 1);
    assert_eq!(properties.len(), 5);
    let paths: Vec<&[u8]> = parts(&text, 8).iter().flat_map(|part| parts(part, 2)).collect();
    let item = paths.iter().find(|named| parts(named, 1) == [b"/api/v1/nodes/{name}"]).unwrap();
    let patch = parts(parts(item, 2)[0], 8)[0];
    let names: Vec<&[u8]> =
        parts(patch, 8).iter().map(|item| parts(parts(parts(parts(item, 1)[0], 2)[0], 3)[0], 4)[0]).collect();
    assert_eq!(names, [&b"dryRun"[..], b"fieldManager", b"fieldValidation", b"force"]);
}
