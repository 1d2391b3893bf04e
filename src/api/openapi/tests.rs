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
