//! The paths of one kind and their operations.

use serde_json::{Map, Value, json};

use super::{root, schemas};
use crate::api::Kind;
use crate::api::schema::table;

const JSON: &str = "application/json";
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Query parameters of the operations that write, and their types.
const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// Every path of a kind, with its path item.
pub fn of(kind: &Kind) -> Vec<(String, Value)> {
    let root = root(kind);
    let plural = kind.plural;
    let all = format!("/{root}/{plural}");
    let collection =
        if kind.namespaced { format!("/{root}/namespaces/{{namespace}}/{plural}") } else { all.clone() };
    let item = format!("{collection}/{{name}}");
    let mut paths = Vec::new();
    if kind.namespaced {
        paths.push((all, path_item(kind, &[], [("get", "list", LIST)].as_slice())));
    }
    let scope: &[&str] = if kind.namespaced { &["namespace"] } else { &[] };
    let named: &[&str] = if kind.namespaced { &["name", "namespace"] } else { &["name"] };
    paths.push((
        collection,
        path_item(
            kind,
            scope,
            &[("get", "list", LIST), ("post", "post", WRITE), ("delete", "deletecollection", DELETE)],
        ),
    ));
    let read_write = [("get", "get", &[] as &[_]), ("put", "put", WRITE), ("patch", "patch", PATCH)];
    let mut whole = read_write.to_vec();
    whole.push(("delete", "delete", DELETE));
    paths.push((item.clone(), path_item(kind, named, &whole)));
    if kind.subresource("status").is_some() {
        paths.push((format!("{item}/status"), path_item(kind, named, &read_write)));
    }
    paths.retain(|(_, item)| item.get("get").or(item.get("post")).is_some());
    paths
}

type Operation = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

fn path_item(kind: &Kind, scope: &[&str], operations: &[Operation]) -> Value {
    let mut item = Map::new();
    for (method, action, query) in operations {
        if kind.verbs.contains(verb(action)) {
            item.insert((*method).to_owned(), operation(kind, action, query));
        }
    }
    let parameters = scope.iter().map(|name| {
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
    });
    if !scope.is_empty() {
        item.insert("parameters".to_owned(), parameters.collect());
    }
    Value::Object(item)
}

/// The kind table's word for an OpenAPI action.
fn verb<'a>(action: &'a &'a str) -> &'a &'a str {
    match *action {
        "post" => &"create",
        "put" => &"update",
        _ => action,
    }
}

fn operation(kind: &Kind, action: &str, query: &[(&str, &str)]) -> Value {
    let api_version = kind.api_version();
    let object = table::kind(&api_version, kind.kind).map(schemas::reference).unwrap_or_default();
    let result = match action {
        "list" => schemas::list_reference(kind),
        "delete" | "deletecollection" => {
            table::find("meta.v1", "Status").map(schemas::reference).unwrap_or_default()
        }
        _ => object.clone(),
    };
    let parameters = query
        .iter()
        .map(|(name, of)| json!({"name": name, "in": "query", "schema": {"type": of, "uniqueItems": true}}));
    let mut operation = json!({
        "parameters": parameters.collect::<Value>(),
        "responses": {"200": {"description": "OK", "content": {JSON: {"schema": result}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": schemas::group_version_kind(kind.group, kind.version, kind.kind),
    });
    let body: Value = match action {
        "post" | "put" => json!({"required": true, "content": {JSON: {"schema": object}}}),
        "patch" => {
            let content: Map<String, Value> = PATCHES
                .iter()
                .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
                .collect();
            json!({"required": true, "content": content})
        }
        _ => return operation,
    };
    operation["requestBody"] = body;
    operation
}
