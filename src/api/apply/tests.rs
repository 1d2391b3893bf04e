use serde_json::json;

use super::*;
use crate::api::Reason;
use crate::api::kinds::{CONFIG_MAP, DEPLOYMENT, POD, SERVICE};

mod structural;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// One object and what is done to it.
struct Case {
    kind: &'static Kind,
    object: Object,
}

impl Case {
    /// Made by an update of `manager`.
    fn made(kind: &'static Kind, manager: &str, body: Value) -> Case {
        let mut case = Case { kind, object: Object::new(kind, "ns", "x") };
        case.put(None, manager, body, None);
        case.object.set("/metadata/uid", "u");
        case
    }

    fn empty(kind: &'static Kind) -> Case {
        Case { kind, object: Object::new(kind, "ns", "x") }
    }

    fn put(&mut self, old: Option<&Object>, manager: &str, body: Value, submitted: Option<Value>) {
        let mut new = Object::from_value(body).unwrap();
        for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
            new.set(pointer, self.object.at(pointer).cloned().unwrap_or_default());
        }
        if let Some(uid) = self.object.at("/metadata/uid") {
            new.set("/metadata/uid", uid.clone());
        }
        let writer = Writer { manager, operation: Operation::Update, subresource: "" };
        with_root(self.kind, |node| record(self.kind, node, &mut new, old, submitted, writer, NOW));
        self.object = new;
    }

    fn update(&mut self, manager: &str, body: Value) -> &mut Case {
        let old = self.object.clone();
        self.put(Some(&old), manager, body, None);
        self
    }

    fn try_apply(&mut self, manager: &str, body: Value, force: bool) -> Result<(), Status> {
        let mut config = Object::from_value(body).unwrap();
        for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
            config.set(pointer, self.object.at(pointer).cloned().unwrap_or_default());
        }
        let writer = Writer { manager, operation: Operation::Apply, subresource: "" };
        let mut live = self.object.clone();
        self.object =
            with_root(self.kind, |node| apply(self.kind, node, &mut live, &config, writer, force, NOW))?;
        self.object.set("/metadata/uid", "u");
        Ok(())
    }

    fn apply(&mut self, manager: &str, body: Value) -> &mut Case {
        self.try_apply(manager, body, false).unwrap();
        self
    }

    fn fields(&self, manager: &str) -> Value {
        let mut entries = self.object.array_at(MANAGED_FIELDS).iter();
        let entry = entries.find(|entry| entry["manager"] == manager);
        entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn a_new_object_is_its_makers() {
    let pod = Case::made(
        POD,
        "kubectl-run",
        json!({"metadata": {"labels": {"run": "x"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
               "spec": {"containers": [{"name": "a", "image": "i", "resources": {},
                                        "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                        "securityContext": {}, "dnsPolicy": "ClusterFirst"},
               "status": {"phase": "Pending"}}),
    );
    let port = r#"k:{"containerPort":80,"protocol":"TCP"}"#;
    assert_eq!(
        pod.object.array_at(MANAGED_FIELDS),
        [json!({
            "manager": "kubectl-run", "operation": "Update", "apiVersion": "v1",
            "time": "1970-01-01T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:run": {}}},
                "f:spec": {
                    "f:containers": {r#"k:{"name":"a"}"#: {
                        ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                        "f:ports": {".": {}, port: {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    }},
                    "f:dnsPolicy": {}, "f:securityContext": {},
                },
            },
        })]
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut map = Case::made(CONFIG_MAP, "one", json!({"data": {"a": "1", "b": "1", "c": "1"}}));
    map.update("two", json!({"data": {"a": "1", "b": "2"}}));
    assert_eq!(map.fields("one"), json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(map.fields("two"), json!({"f:data": {"f:b": {}}}));
    let before = map.object.clone();
    map.update("three", json!({"data": {"a": "1", "b": "2"}}));
    assert!(map.object == before, "nothing changed");
    map.update("one", json!({"data": {}}));
    assert_eq!(map.fields("two"), Value::Null, "it owns nothing any more");
}

#[test]
fn an_apply_owns_what_it_says_and_takes_back_what_it_says_no_more() {
    let mut map = Case::empty(CONFIG_MAP);
    map.apply("a", json!({"metadata": {"labels": {"l": "1"}}, "data": {"x": "1", "y": "1"}}));
    assert_eq!(
        map.fields("a"),
        json!({"f:metadata": {"f:labels": {"f:l": {}}}, "f:data": {"f:x": {}, "f:y": {}}})
    );
    map.apply("b", json!({"data": {"y": "1", "z": "1"}}));
    map.apply("a", json!({"data": {"x": "2"}}));
    // y is b's still, the label nobody's.
    assert_eq!(map.object.at("/data"), Some(&json!({"x": "2", "y": "1", "z": "1"})));
    assert_eq!(map.object.at("/metadata/labels"), None);
    let writer = map.object.array_at(MANAGED_FIELDS).len();
    assert_eq!(writer, 2);
    map.apply("a", json!({}));
    assert_eq!(map.object.at("/data"), Some(&json!({"y": "1", "z": "1"})));
    assert_eq!(map.fields("a"), Value::Null);
}

#[test]
fn what_another_set_by_update_stays_when_it_is_applied_no_more() {
    let mut map = Case::empty(CONFIG_MAP);
    map.apply("a", json!({"data": {"x": "1"}})).update("u", json!({"data": {"x": "1", "own": "1"}}));
    map.apply("a", json!({"data": {"z": "1"}}));
    assert_eq!(map.object.at("/data"), Some(&json!({"own": "1", "z": "1"})));
}

#[test]
fn conflicts_are_upstreams() {
    let mut map = Case::made(CONFIG_MAP, "kubectl-create", json!({"data": {"x": "1", "y": "1"}}));
    map.apply("a", json!({"data": {"x": "1"}}));
    let status = map.try_apply("a", json!({"data": {"x": "2"}}), false).unwrap_err();
    assert_eq!((status.code, status.reason), (409, Reason::Conflict));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: .data.x"
    );
    assert_eq!(
        status.to_value()["details"],
        json!({"causes": [{"reason": "FieldManagerConflict", "field": ".data.x",
                           "message": "conflict with \"kubectl-create\" using v1"}]})
    );
    let status = map.try_apply("b", json!({"data": {"x": "2", "y": "3"}}), false).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .data.x\n\
         conflicts with \"kubectl-create\" using v1:\n- .data.x\n- .data.y"
    );
    map.try_apply("b", json!({"data": {"x": "2"}}), true).unwrap();
    assert_eq!(map.object.str_at("/data/x"), "2");
    assert_eq!(map.fields("a"), Value::Null);
    assert_eq!(map.fields("kubectl-create"), json!({"f:data": {".": {}, "f:y": {}}}));
}

#[test]
fn lists_are_owned_by_item_and_atomic_ones_as_a_whole() {
    let mut pod = Case::empty(POD);
    pod.apply(
        "a",
        containers(json!([{"name": "one", "image": "1", "args": ["x"]}, {"name": "two", "image": "2"}])),
    );
    assert_eq!(
        pod.fields("a")["f:spec"]["f:containers"][r#"k:{"name":"one"}"#],
        json!({".": {}, "f:name": {}, "f:image": {}, "f:args": {}})
    );
    pod.apply("b", containers(json!([{"name": "side", "image": "s"}, {"name": "two", "tty": true}])));
    let names: Vec<&str> =
        pod.object.array_at("/spec/containers").iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["one", "side", "two"]);
    pod.apply("a", containers(json!([{"name": "two", "image": "2"}])));
    let names: Vec<&str> =
        pod.object.array_at("/spec/containers").iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["side", "two"]);
    assert_eq!(pod.object.at("/spec/containers/1"), Some(&json!({"name": "two", "image": "2", "tty": true})));
    let status = pod
        .try_apply("c", json!({"metadata": {"finalizers": ["x/y"]}, "spec": {"containers": [{"name": "two", "image": "3"}]}}), false)
        .unwrap_err();
    assert!(
        status.message.ends_with("conflict with \"a\": .spec.containers[name=\"two\"].image"),
        "{status}"
    );

    pod.apply("c", json!({"metadata": {"finalizers": ["x/y"]}}))
        .apply("d", json!({"metadata": {"finalizers": ["x/z"]}}));
    assert_eq!(pod.object.at("/metadata/finalizers"), Some(&json!(["x/y", "x/z"])));
    assert_eq!(pod.fields("d"), json!({"f:metadata": {"f:finalizers": {"v:\"x/z\"": {}}}}));
    pod.apply("c", json!({}));
    assert_eq!(pod.object.at("/metadata/finalizers"), Some(&json!(["x/z"])));
}

#[test]
fn a_status_is_not_the_configurations_to_say() {
    for status in [json!(null), json!({"replicas": 3})] {
        let mut deployment = Case::empty(DEPLOYMENT);
        deployment.apply("a", json!({"spec": {"replicas": 1}, "status": status}));
        assert_eq!(deployment.object.as_map().get("status"), None);
        assert_eq!(deployment.fields("a"), json!({"f:spec": {"f:replicas": {}}}));
    }
}

#[test]
fn a_key_that_is_left_out_has_its_default() {
    let mut service = Case::empty(SERVICE);
    service.apply("a", json!({"spec": {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}}));
    let ports = &service.fields("a")["f:spec"]["f:ports"];
    assert!(
        ports[r#"k:{"port":53,"protocol":"TCP"}"#].is_object()
            && ports[r#"k:{"port":53,"protocol":"UDP"}"#].is_object()
    );
}

#[test]
fn what_does_not_fit_the_schema_is_refused_as_upstream_does() {
    for (body, expected) in [
        (
            containers(json!([{"name": "a", "foo": 1}])),
            "failed to create typed patch object (ns/x; /v1, Kind=Pod): .spec.containers[name=\"a\"].foo: field not declared in schema",
        ),
        (containers(json!({})), ".spec.containers: expected list, got {}"),
        (containers(json!([{"name": "a", "env": [{"name": "E"}, {"name": "E"}]}])), "errors"),
        (
            containers(json!([{"image": "a"}])),
            "element 0: associative list with keys has an element that omits key field \"name\"",
        ),
        (json!({"metadata": {"labels": {"a": 1}}}), ".metadata.labels.a: expected string, got 1"),
        (json!({"metadata": {"managedFields": [{"manager": "x"}]}}), "metadata.managedFields must be nil"),
    ] {
        let status = Case::empty(POD).try_apply("a", body.clone(), false).unwrap_err();
        let expected = if expected == "errors" {
            ".spec.containers[name=\"a\"].env: duplicate entries for key [name=\"E\"]"
        } else {
            expected
        };
        assert!(status.message.contains(expected), "{body}: {status}");
    }
}

#[test]
fn kubectls_own_account_is_taken_over() {
    let config = json!({"data": {"x": "1"}});
    let said = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}}).to_string();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let body = json!({"metadata": {"annotations": {annotation: said}}, "data": {"x": "1", "y": "1"}});
    let mut map = Case::made(CONFIG_MAP, "kubectl-client-side-apply", body);
    map.apply("kubectl", json!({"data": {"x": "2"}}));
    assert!(map.object.annotation(annotation).unwrap().contains(r#""data":{"x":"2"}"#));
    let status = map.try_apply("kubectl", json!({"data": {"x": "2", "y": "2"}}), false).unwrap_err();
    assert!(status.message.ends_with(": .data.y"), "{status}");
    let status = map.try_apply("another", config, false).unwrap_err();
    assert!(status.message.contains("conflict with \"kubectl\": .data.x"), "{status}");
}

#[test]
fn an_object_without_an_account_gets_one_at_the_first_apply() {
    let mut map = Case::empty(CONFIG_MAP);
    map.object.set("/metadata/uid", "u");
    map.object.set("/data", json!({"x": "1"}));
    let mut other = Case { kind: CONFIG_MAP, object: map.object.clone() };
    other.update("u", json!({"data": {"x": "2"}}));
    assert_eq!(other.object.at(MANAGED_FIELDS), None, "an update begins none");
    let status = map.try_apply("a", json!({"data": {"x": "2"}}), false).unwrap_err();
    assert!(status.message.contains("conflict with \"before-first-apply\" using v1: .data.x"), "{status}");
}

#[test]
fn the_account_can_be_written() {
    let mut map = Case::made(CONFIG_MAP, "m", json!({"data": {"x": "1"}}));
    let body = json!({"data": {"x": "1"}});
    let entry = |operation: &str| json!([{"manager": "n", "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}}}]);
    for (submitted, owner) in [
        (None, "m"),
        (Some(entry("Frobnicate")), "m"),
        (
            Some(
                json!([{"manager": "n", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": 3}}]),
            ),
            "m",
        ),
        (Some(entry("Apply")), "n"),
        (Some(json!([])), ""),
    ] {
        let old = map.object.clone();
        map.put(Some(&old), "m", body.clone(), submitted.clone());
        let found = map.object.str_at("/metadata/managedFields/0/manager");
        assert_eq!(found, owner, "{submitted:?}");
    }
}

#[test]
fn old_updaters_are_put_together() {
    let mut map = Case::made(CONFIG_MAP, "m", json!({"data": {"k": "0"}}));
    let mut data = Map::new();
    for number in 0..20 {
        data.insert(format!("k{number}"), "v".into());
        map.update(&format!("u{number:02}"), json!({"data": data}));
    }
    assert_eq!(map.object.array_at(MANAGED_FIELDS).len(), 10);
    assert!(map.fields("ancient-changes").is_object());
    let owned = Managers::parse(map.object.at(MANAGED_FIELDS).unwrap()).unwrap().union();
    assert!((0..20).all(|number| owned.paths().contains(&format!(".data.k{number}"))));
}

/// A small generator, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn config(&mut self) -> Value {
        let mut labels = Map::new();
        let mut containers = Vec::new();
        for name in ["a", "b", "c", "d"] {
            if self.below(2) == 0 {
                labels.insert(name.to_owned(), self.below(2).to_string().into());
            }
            if self.below(2) == 0 {
                let mut container = json!({"name": name, "image": self.below(2).to_string()});
                if self.below(2) == 0 {
                    container["env"] = json!([{"name": "E", "value": self.below(2).to_string()}]);
                }
                containers.insert(self.below(containers.len() as u64 + 1) as usize, container);
            }
        }
        // Nobody owns an empty list.
        if containers.is_empty() {
            containers.push(json!({"name": "a", "image": "0"}));
        }
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
        json!({"spec": {"replicas": self.below(3), "template": template}})
    }
}

#[test]
fn applying_twice_changes_nothing_and_all_that_is_said_is_there() {
    let mut random = Random(7);
    for round in 0..20 {
        let mut case = Case::empty(DEPLOYMENT);
        for step in 0..6 {
            let manager = ["one", "two", "three"][random.below(3) as usize];
            let config = random.config();
            case.try_apply(manager, config.clone(), true).unwrap();
            let once = case.object.clone();
            case.apply(manager, config.clone());
            assert!(case.object == once, "{round}.{step}: {} {}", once.as_value(), case.object.as_value());
            let said = once.array_at("/spec/template/spec/containers");
            for container in config["spec"]["template"]["spec"]["containers"].as_array().unwrap() {
                assert!(
                    said.iter()
                        .any(|found| found["name"] == container["name"]
                            && found["image"] == container["image"])
                );
            }
        }
        for manager in ["one", "two", "three"] {
            case.apply(manager, json!({}));
        }
        assert_eq!(case.object.at("/spec"), None, "{round}: {}", case.object.as_value());
        assert_eq!(case.object.at(MANAGED_FIELDS), None);
    }
}

#[test]
fn no_configuration_makes_it_fail_hard() {
    let deep = (0..100).fold(json!(1), |inner, _| json!({"a": inner, "b": [inner.clone().is_null()]}));
    for body in [
        json!({"spec": deep}),
        json!({"spec": [deep]}),
        json!({"metadata": {"labels": deep}}),
        json!({"spec": null}),
    ] {
        let _ = Case::empty(POD).try_apply("a", body.clone(), true);
        let mut pod = Case::made(POD, "u", body.clone());
        pod.update("v", containers(json!([{"name": "a"}, {"name": "a"}, 3, null, {"name": null}])));
        pod.update("w", containers(json!([{"name": "a", "image": "x"}, {}])));
        let _ = pod.try_apply("a", containers(json!([{"name": "a", "image": "y"}])), true);
    }
}
