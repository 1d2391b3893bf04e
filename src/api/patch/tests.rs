use serde_json::{Value, json};

use super::*;
use crate::api::kinds::{CONFIG_MAP, NODE, POD};

/// Strategic merge patches whose results upstream's API server gives: kind, current, patch, result.
fn cases() -> Vec<(&'static str, &'static Kind, Value, Value, Value)> {
    let containers = json!({"spec": {"containers": [
        {"name": "a", "image": "a:1", "args": ["x", "y"]},
        {"name": "b", "image": "b:1", "env": [{"name": "E", "value": "1"}]},
        {"name": "c", "image": "c:1"},
    ]}});
    vec![
        (
            "maps merge, null removes",
            CONFIG_MAP,
            json!({"data": {"a": "1", "b": "2"}, "immutable": true}),
            json!({"data": {"a": null, "c": "3", "d": null}, "immutable": null}),
            json!({"data": {"b": "2", "c": "3"}}),
        ),
        (
            "items merge by key, in the patch's order; a list of scalars is replaced",
            POD,
            containers.clone(),
            json!({"spec": {"containers": [
                {"name": "b", "env": [{"name": "F", "value": "2"}]},
                {"name": "a", "args": ["z"]},
                {"name": "d", "image": "d:1", "stdin": null},
            ]}}),
            json!({"spec": {"containers": [
                {"name": "b", "image": "b:1", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
                {"name": "a", "image": "a:1", "args": ["z"]},
                {"name": "d", "image": "d:1"},
                {"name": "c", "image": "c:1"},
            ]}}),
        ),
        (
            "$patch: delete takes an item out",
            POD,
            containers.clone(),
            json!({"spec": {"containers": [{"$patch": "delete", "name": "b"}, {"name": "c", "image": "c:2"}]}}),
            json!({"spec": {"containers": [
                {"name": "a", "image": "a:1", "args": ["x", "y"]}, {"name": "c", "image": "c:2"},
            ]}}),
        ),
        (
            "$patch: replace in a list",
            POD,
            containers.clone(),
            json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z", "image": "z"}]}}),
            json!({"spec": {"containers": [{"name": "z", "image": "z"}]}}),
        ),
        (
            "$patch: replace and delete in a map",
            POD,
            json!({"metadata": {"labels": {"a": "1"}, "annotations": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}, "annotations": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {"b": "2"}, "annotations": {}}}),
        ),
        (
            "$setElementOrder orders what the client knows, the server's own keep their place",
            POD,
            containers.clone(),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "d"}, {"name": "c"}, {"name": "a"}],
                "containers": [{"name": "d", "image": "d:1"}, {"name": "a", "image": "a:2"}],
            }}),
            json!({"spec": {"containers": [
                {"name": "d", "image": "d:1"},
                {"name": "b", "image": "b:1", "env": [{"name": "E", "value": "1"}]},
                {"name": "c", "image": "c:1"},
                {"name": "a", "image": "a:2", "args": ["x", "y"]},
            ]}}),
        ),
        (
            "$setElementOrder alone",
            POD,
            json!({"spec": {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}}),
            json!({"spec": {"$setElementOrder/imagePullSecrets": [{"name": "b"}, {"name": "a"}]}}),
            json!({"spec": {"imagePullSecrets": [{"name": "b"}, {"name": "a"}]}}),
        ),
        (
            "scalars with merge strategy: add, delete, order",
            POD,
            json!({"metadata": {"finalizers": ["x/a", "x/b", "x/c"]}}),
            json!({"metadata": {
                "$deleteFromPrimitiveList/finalizers": ["x/b"],
                "$setElementOrder/finalizers": ["x/d", "x/a"],
                "finalizers": ["x/d"],
            }}),
            json!({"metadata": {"finalizers": ["x/d", "x/a", "x/c"]}}),
        ),
        (
            "$retainKeys clears the other source of a volume",
            POD,
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [
                {"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}},
            ]}}),
            json!({"spec": {"volumes": [
                {"name": "v", "configMap": {"name": "c"}}, {"name": "w", "emptyDir": {}},
            ]}}),
        ),
        (
            "ports merge by containerPort, whatever the protocol",
            POD,
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "TCP"}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]}}),
        ),
        (
            "taints are atomic, conditions merge by type",
            NODE,
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
                   "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}}),
            json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}], "unschedulable": true},
                   "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
            json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}], "unschedulable": true},
                   "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}]}}),
        ),
        (
            "what is new is taken without nulls and directives",
            POD,
            json!({}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "nodeName": null,
                            "containers": [{"name": "a", "image": "i"}, {"name": "b", "$patch": "delete"}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "i"}]}}),
        ),
    ]
}

#[test]
fn strategic_merge_gives_what_upstream_gives() {
    for (title, kind, current, patch, expected) in cases() {
        let result = strategic(kind, &current, &patch).unwrap_or_else(|error| panic!("{title}: {error}"));
        assert_eq!(result, expected, "{title}");
    }
}

#[test]
fn bad_strategic_patches_are_refused() {
    let current = json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]},
                         "metadata": {"finalizers": ["a"]}});
    for (patch, expected) in [
        (json!({"spec": {"containers": [{"image": "x"}]}}), "merge key: name"),
        (json!({"spec": {"containers": ["x"]}}), "must be maps"),
        (json!({"spec": {"$patch": "explode"}}), "unknown patch type found: \"explode\""),
        (json!({"spec": {"containers": [{"name": "a", "$patch": 3}]}}), "unknown patch type"),
        (
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]}}),
            "retainKeys",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}}),
            "order",
        ),
        (json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}), "must be a list"),
        (json!([]), "invalid JSON document"),
    ] {
        let status = strategic(POD, &current, &patch).unwrap_err();
        assert_eq!(status.code, 400, "{patch}");
        assert!(status.message.contains(expected), "{patch}: {}", status.message);
    }
}

#[test]
fn merge_patch_follows_the_rfcs_appendix() {
    for (current, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(merge(&current, &patch).unwrap(), expected, "{patch}");
    }
}

#[test]
fn json_patch_follows_the_rfcs_appendix() {
    let apply = |current: Value, patch: Value| json(&current, &patch).map_err(|status| status.code);
    for (current, patch, expected) in [
        (
            json!({"a": [1, 3]}),
            json!([{"op": "add", "path": "/a/1", "value": 2}]),
            Ok(json!({"a": [1, 2, 3]})),
        ),
        (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": 2}]), Ok(json!({"a": [1, 2]}))),
        (json!({"a": [1]}), json!([{"op": "add", "path": "/a/2", "value": 2}]), Err(422)),
        (json!({"a": [1]}), json!([{"op": "add", "path": "/a/01", "value": 2}]), Err(422)),
        (json!({"a": 1, "b": 2}), json!([{"op": "remove", "path": "/b"}]), Ok(json!({"a": 1}))),
        (json!({"a": 1}), json!([{"op": "remove", "path": "/b"}]), Err(422)),
        (json!({"a": 1}), json!([{"op": "replace", "path": "/b", "value": 1}]), Err(422)),
        (
            json!({"a": {"b": 1}, "c": {}}),
            json!([{"op": "move", "from": "/a/b", "path": "/c/d"}]),
            Ok(json!({"a": {}, "c": {"d": 1}})),
        ),
        (
            json!({"a": [1, 2, 3]}),
            json!([{"op": "move", "from": "/a/0", "path": "/a/2"}]),
            Ok(json!({"a": [2, 3, 1]})),
        ),
        (json!({"a": {}}), json!([{"op": "move", "from": "/a", "path": "/a/b"}]), Err(422)),
        (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), Ok(json!({"a": 1, "b": 1}))),
        (
            json!({"a/b": {"~": 1}}),
            json!([{"op": "test", "path": "/a~1b/~0", "value": 1}]),
            Ok(json!({"a/b": {"~": 1}})),
        ),
        (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": "1"}]), Err(422)),
        (json!({"a": 1}), json!([{"op": "test", "path": "/b", "value": null}]), Ok(json!({"a": 1}))),
        (json!({"a": 1}), json!([{"op": "frob", "path": "/a"}]), Err(400)),
        (json!({"a": 1}), json!([{"op": "add", "path": "a", "value": 1}]), Err(400)),
        (json!({"a": 1}), json!([{"op": "add", "path": "/a"}]), Err(400)),
        (json!({"a": 1}), json!({}), Err(400)),
    ] {
        assert_eq!(apply(current, patch.clone()), expected, "{patch}");
    }
}

#[test]
fn small_patches_make_no_large_objects() {
    let doubling: Vec<Value> =
        (0..60).map(|step| json!({"op": "copy", "from": "/a", "path": format!("/a/{step}")})).collect();
    let status = json(&json!({"a": {"x": 1}}), &doubling.into()).unwrap_err();
    assert!(status.message.contains("too much") || status.message.contains("deeper"), "{}", status.message);

    let beside: Vec<Value> =
        (0..60).map(|step| json!({"op": "copy", "from": "", "path": format!("/{step}")})).collect();
    assert!(json(&json!({"a": "x".repeat(1000)}), &beside.into()).is_err());

    let deeper = vec![json!({"op": "copy", "from": "/a", "path": "/a/a/a/a/a/a/a/a"}); 40];
    let start = json!({"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}});
    assert_eq!(json(&start, &deeper.into()).unwrap_err().code, 422);

    let shifting = vec![json!({"op": "add", "path": "/a/0", "value": 0}); MAX_OPERATIONS];
    assert!(json(&json!({"a": []}), &shifting.clone().into()).unwrap_err().message.contains("too much"));
    let more = vec![json!({"op": "test", "path": "", "value": {}}); MAX_OPERATIONS + 1];
    assert_eq!(json(&json!({}), &more.into()).unwrap_err().code, 413);
}

/// What kubectl sends to make one object of another: lists that merge are patched by item, with their order.
fn difference(
    of: Option<table::Type>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Map<String, Value> {
    let mut patch = Map::new();
    for (name, _) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
        let field = of.and_then(|of| of.field(name));
        let merge = field.and_then(|field| field.merge());
        let item = field.map(|field| match field.shape.form() {
            table::Form::List(item) | table::Form::Map(item) => item.form(),
            other => other,
        });
        let item = match item {
            Some(table::Form::Struct(of)) => Some(of),
            _ => None,
        };
        match (old.get(name), value, merge) {
            (Some(Value::Object(old)), Value::Object(new), _) => {
                let mut inner = difference(item, old, new);
                if field.is_some_and(|field| field.retains_keys()) {
                    inner.insert("$retainKeys".to_owned(), new.keys().cloned().collect());
                }
                patch.insert(name.clone(), Value::Object(inner));
            }
            (Some(Value::Array(old)), Value::Array(new), Some(table::Merge::Scalars)) => {
                let only = |one: &[Value], other: &[Value]| -> Value {
                    one.iter().filter(|item| !other.contains(item)).cloned().collect()
                };
                patch.insert(format!("$setElementOrder/{name}"), value.clone());
                patch.insert(format!("$deleteFromPrimitiveList/{name}"), only(old, new));
                patch.insert(name.clone(), only(new, old));
            }
            (Some(Value::Array(old)), Value::Array(new), Some(table::Merge::Key(key))) => {
                let retains = field.is_some_and(|field| field.retains_keys());
                let find = |items: &[Value], id: &Value| items.iter().find(|item| item[key] == *id).cloned();
                let mut changes = Vec::new();
                for is in new {
                    let mut change = match find(old, &is[key]) {
                        Some(was) => difference(item, was.as_object().unwrap(), is.as_object().unwrap()),
                        None => is.as_object().unwrap().clone(),
                    };
                    if retains {
                        change.insert(
                            "$retainKeys".to_owned(),
                            is.as_object().unwrap().keys().cloned().collect(),
                        );
                    }
                    change.insert(key.to_owned(), is[key].clone());
                    changes.push(Value::Object(change));
                }
                let gone = old.iter().filter(|was| find(new, &was[key]).is_none());
                changes.extend(gone.map(|was| json!({"$patch": "delete", key: was[key]})));
                let order = new.iter().map(|is| json!({key: is[key]})).collect();
                patch.insert(format!("$setElementOrder/{name}"), order);
                patch.insert(name.clone(), changes.into());
            }
            _ => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    patch
}

/// Some pod, the same for the same seed.
fn some_pod(seed: &mut u64) -> Value {
    let mut below = |end: u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % end
    };
    let mut pod = json!({"metadata": {"labels": {}, "finalizers": []},
        "spec": {"containers": [], "volumes": [], "tolerations": [], "hostAliases": []}});
    for name in ["a", "b", "c", "d"] {
        let mut put = |pointer: &str, item: Value, place: u64| {
            let list = pod.pointer_mut(pointer).unwrap().as_array_mut().unwrap();
            list.insert(usize::try_from(place).unwrap().min(list.len()), item);
        };
        let place = below(4);
        if below(3) > 0 {
            let mut container =
                json!({"name": name, "image": below(2), "args": [below(2), below(2)], "env": []});
            for name in ["E", "F"] {
                if below(2) == 0 {
                    let variable = json!({"name": name, "value": below(2)});
                    container["env"].as_array_mut().unwrap().push(variable);
                }
            }
            put("/spec/containers", container, place);
        }
        if below(2) == 0 {
            let source = ["emptyDir", "configMap", "secret"][usize::try_from(below(3)).unwrap()];
            put("/spec/volumes", json!({"name": name, source: {"x": below(2)}}), place);
        }
        if below(2) == 0 {
            put("/metadata/finalizers", name.into(), place);
        }
        if below(2) == 0 {
            put("/spec/tolerations", json!({"key": name}), place);
        }
        if below(2) == 0 {
            pod["metadata"]["labels"][name] = below(2).into();
        }
    }
    pod
}

#[test]
fn a_strategic_merge_of_a_difference_gives_the_target() {
    let mut seed = 11;
    let of = table::kind("v1", "Pod");
    for round in 0..500 {
        let (old, new) = (some_pod(&mut seed), some_pod(&mut seed));
        let patch = Value::Object(difference(of, old.as_object().unwrap(), new.as_object().unwrap()));
        let merged = strategic(POD, &old, &patch).unwrap_or_else(|error| panic!("{round}: {patch}: {error}"));
        assert_eq!(merged, new, "{round}: {old} with {patch}");
        assert_eq!(strategic(POD, &merged, &patch).unwrap(), new, "{round}: again {patch}");
    }
}
