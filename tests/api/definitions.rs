//! Kinds that users define.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Answer, Server};

/// Close to what Kubernetes' documentation begins with.
const CRONTABS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
    selectableFields: [{jsonPath: .spec.image}]
    additionalPrinterColumns:
    - {name: Spec, type: string, description: The cron spec, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A job by the clock.
        properties:
          spec:
            type: object
            required: [cronSpec]
            properties:
              cronSpec: {type: string, description: When to run., pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'}
              image: {type: string}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
          status:
            type: object
            properties:
              replicas: {type: integer}
              labelSelector: {type: string}
              conditions:
                type: array
                items: {type: object, properties: {type: {type: string}, status: {type: string}}}
"#;

const TAB: &str = r#"
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: mine}
spec: {cronSpec: "* * * * */5", image: awesome}
"#;

const ALL: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

impl Server {
    fn define(&self, yaml: &str, name: &str) {
        self.write("crd.yaml", yaml);
        self.kubectl("apply -f crd.yaml").ok();
        self.kubectl(&format!("wait --for=condition=Established --timeout=10s crd/{name}")).ok();
    }

    fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path, &[("content-type", "application/merge-patch+json")], body.to_string())
    }
}

/// Asks until the answer is as wanted.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

fn definition(change: impl FnOnce(&mut Value)) -> Value {
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]
        }
    });
    change(&mut definition);
    definition
}

#[test]
fn a_defined_kind_is_used_as_any_other() {
    let server = Server::start();
    server.define(CRONTABS, "crontabs.stable.example.com");
    server.write("tab.yaml", TAB);
    assert!(server.kubectl("apply -f tab.yaml").ok().contains("crontab.stable.example.com/mine created"));
    assert!(server.kubectl("apply -f tab.yaml").ok().contains("unchanged"));
    let table = server.kubectl("get ct").ok();
    let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["NAME", "SPEC", "REPLICAS", "READY", "AGE"], "{table}");
    assert!(table.contains("* * * * */5   1"), "{table}");
    assert!(server.kubectl("get all").ok().contains("crontab.stable.example.com/mine"));
    let resources = server.kubectl("api-resources --api-group=stable.example.com").ok();
    assert!(resources.contains("crontabs") && resources.contains("ct"), "{resources}");
    let told = server.kubectl("explain crontab.spec.cronSpec").ok();
    assert!(told.contains("When to run.") && told.contains("<string>"), "{told}");
    assert!(server.kubectl("explain crontab.metadata.labels").ok().contains("map[string]string"));
    assert!(server.kubectl("describe ct mine").ok().contains("awesome"));
    assert!(server.kubectl("get ct --field-selector spec.image=awesome -o name").ok().contains("mine"));
    assert!(server.kubectl("get ct --field-selector spec.image!=awesome").ok().contains("No resources"));
    let refused = server.kubectl("get ct --field-selector spec.cronSpec=a").fails();
    assert!(refused.contains("field label not supported: spec.cronSpec"), "{refused}");

    // Scale and status are written apart, and each counts generations as it should.
    assert!(server.kubectl("scale --replicas=4 ct/mine").ok().contains("scaled"));
    let mine = format!("{ALL}/mine");
    let object = server.get(&mine).is(200).json();
    assert_eq!(object["spec"]["replicas"], 4);
    assert_eq!(object["metadata"]["generation"], 2);
    let answer = server.patch(
        &format!("{mine}/status"),
        &json!({"spec": {"replicas": 9}, "status": {"replicas": 3, "labelSelector": "app=x", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let object = answer.is(200).json();
    assert_eq!((&object["spec"]["replicas"], &object["status"]["replicas"]), (&json!(4), &json!(3)));
    assert_eq!(object["metadata"]["generation"], 2);
    let scale = server.get(&format!("{mine}/scale")).is(200).json();
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["spec"], json!({"replicas": 4}));
    assert_eq!(scale["status"], json!({"replicas": 3, "selector": "app=x"}));
    server.patch(&format!("{mine}/scale"), &json!({"spec": {"replicas": 11}})).is(422);
    assert!(server.kubectl("get ct mine").ok().contains("True"));
    assert_eq!(
        server.patch(&mine, &json!({"status": {"replicas": 8}})).is(200).json()["status"]["replicas"],
        3
    );

    // It is all still there after a restart, from the first request on.
    let server = server.restart();
    assert_eq!(server.get(&mine).is(200).json()["spec"]["replicas"], 4);
    let conditions =
        server.get(&format!("{DEFINITIONS}/crontabs.stable.example.com")).json()["status"].clone();
    assert_eq!(conditions["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(conditions["storedVersions"], json!(["v1"]));

    // With the definition go its objects, once no finalizer holds them.
    server.patch(&mine, &json!({"metadata": {"finalizers": ["example.com/hold"]}})).is(200);
    server.kubectl("delete crd crontabs.stable.example.com --wait=false").ok();
    until("the object is marked", || server.get(&mine).json()["metadata"]["deletionTimestamp"].is_string());
    let refused = server.post(ALL, tab("late", json!({"cronSpec": "* * * * *"}))).is(405);
    assert_eq!(refused.message(), "create not allowed while custom resource definition is terminating");
    server.patch(&mine, &json!({"metadata": {"finalizers": null}})).is(200);
    server.kubectl("wait --for=delete crd/crontabs.stable.example.com --timeout=10s").ok();
    until("the kind is gone", || server.get(ALL).code == 404);
    assert!(!server.kubectl("api-resources").ok().contains("crontabs"));
}

#[test]
fn objects_are_held_against_their_schema() {
    let server = Server::start();
    server.define(CRONTABS, "crontabs.stable.example.com");
    for (spec, message) in [
        (
            json!({"cronSpec": "* * * *", "replicas": 15}),
            r#"CronTab.stable.example.com "a" is invalid: [spec.cronSpec: Invalid value: "* * * *": spec.cronSpec in body should match '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$', spec.replicas: Invalid value: 15: spec.replicas in body should be less than or equal to 10]"#,
        ),
        (json!({}), r#"CronTab.stable.example.com "a" is invalid: spec.cronSpec: Required value"#),
        (
            json!({"cronSpec": "* * * * *", "replicas": "2"}),
            r#"CronTab.stable.example.com "a" is invalid: spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
        ),
    ] {
        assert_eq!(server.post(ALL, tab("a", spec)).is(422).message(), message);
    }
    let typo = tab("a", json!({"cronSpec": "* * * * *", "imag": "x"}));
    let strict = server.post(&format!("{ALL}?fieldValidation=Strict"), &typo).is(400).message();
    assert_eq!(
        strict,
        r#"CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.imag""#
    );
    let created = server.post(ALL, &typo).is(201);
    assert!(created.headers["warning"].to_str().unwrap().contains(r#"unknown field \"spec.imag\""#));
    assert_eq!(created.json()["spec"], json!({"cronSpec": "* * * * *", "replicas": 1}));
    let strategic = server.ask(
        "PATCH",
        &format!("{ALL}/a"),
        &[("content-type", "application/strategic-merge-patch+json")],
        "{}",
    );
    strategic.is(415);
    let dry = server.post(&format!("{ALL}?dryRun=All"), tab("dry", json!({"cronSpec": "* * * * *"}))).is(201);
    assert_eq!(dry.json()["metadata"]["generation"], 1);
    server.get(&format!("{ALL}/dry")).is(404);
}

#[test]
fn definitions_are_checked_and_share_names_out() {
    let server = Server::start();
    for (change, message) in [
        (
            (|d| d["metadata"]["name"] = "x.example.com".into()) as fn(&mut Value),
            r#"metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group"#,
        ),
        (
            |d| d["spec"]["versions"][0]["storage"] = false.into(),
            r#"spec.versions: Invalid value: ["v1"]: must have exactly one version marked as storage version"#,
        ),
        (
            |d| d["spec"]["scope"] = "World".into(),
            r#"spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced""#,
        ),
        (
            |d| drop(d["spec"]["versions"][0].as_object_mut().unwrap().remove("schema")),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
                    json!({"type": "object", "properties": {"spec": {}}})
            },
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            |d| d["spec"]["conversion"] = json!({"strategy": "Webhook"}),
            "spec.conversion.strategy: Forbidden: conversion by webhooks is not supported by midge",
        ),
        (
            |d| {
                d["spec"]["group"] = "gadgets.k8s.io".into();
                d["metadata"]["name"] = "gadgets.gadgets.k8s.io".into();
            },
            r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#,
        ),
    ] {
        let found = server.post(DEFINITIONS, definition(change)).is(422).message();
        assert!(found.contains(message), "{found}");
    }
    server.get("/apis/example.com/v1/gadgets").is(404);
    let created = server.post(
        DEFINITIONS,
        definition(|d| {
            d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
                json!([{"rule": "true"}]);
        }),
    );
    assert!(created.is(201).headers["warning"].to_str().unwrap().contains("x-kubernetes-validations"));
    until("it is served", || server.get("/apis/example.com/v1/gadgets").code == 200);
    let mut list = server.get("/apis/example.com/v1/gadgets").json();
    assert_eq!((list["kind"].take(), list["items"].take()), (json!("GadgetList"), json!([])));

    // The second to ask for a name gets it when the first is gone.
    let second = definition(|d| {
        d["metadata"]["name"] = "widgets.example.com".into();
        d["spec"]["names"] = json!({"plural": "widgets", "kind": "Gadget", "listKind": "WidgetList"});
    });
    server.post(DEFINITIONS, &second).is(201);
    let condition = |of: &str| {
        let object = server.get(&format!("{DEFINITIONS}/widgets.example.com")).json();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == of).unwrap_or_default()
    };
    until("it is judged", || condition("Established")["status"] == "False");
    assert_eq!(condition("NamesAccepted")["reason"], "KindConflict");
    assert_eq!(condition("NamesAccepted")["message"], "\"Gadget\" is already in use");
    assert_eq!(condition("Established")["reason"], "NotAccepted");
    server.get("/apis/example.com/v1/widgets").is(404);
    server.kubectl("delete crd gadgets.example.com").ok();
    until("its turn comes", || condition("Established")["status"] == "True");
    server.get("/apis/example.com/v1/widgets").is(200);
}

#[test]
fn versions_show_the_same_objects() {
    let server = Server::start();
    let version = |name: &str, storage: bool, properties: Value| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}})
    };
    let both = definition(|d| {
        let mut old = version("v1beta1", false, json!({"a": {"type": "string"}}));
        old["deprecated"] = true.into();
        d["spec"]["versions"] = json!([
            old,
            version("v1", true, json!({"a": {"type": "string"}, "b": {"type": "integer", "default": 5}}))
        ]);
    });
    server.post(DEFINITIONS, &both).is(201);
    until("it is served", || server.get("/apis/example.com/v1/gadgets").code == 200);
    let group = server.get("/apis/example.com").is(200).json();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let old = json!({"apiVersion": "example.com/v1beta1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"a": "x"}});
    let created = server.post("/apis/example.com/v1beta1/gadgets", &old).is(201);
    let warning = created.headers["warning"].to_str().unwrap();
    assert!(
        warning.contains("example.com/v1beta1 Gadget is deprecated; use example.com/v1 Gadget"),
        "{warning}"
    );
    assert_eq!(created.json()["spec"], json!({"a": "x"}));
    let new = server.get("/apis/example.com/v1/gadgets/g").is(200).json();
    assert_eq!((&new["apiVersion"], &new["spec"]), (&json!("example.com/v1"), &json!({"a": "x", "b": 5})));
    let patched = server.patch("/apis/example.com/v1/gadgets/g", &json!({"spec": {"b": 6}})).is(200).json();
    assert_eq!(patched["spec"], json!({"a": "x", "b": 6}));
    let list = server.get("/apis/example.com/v1beta1/gadgets").is(200).json();
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1beta1");
    assert_eq!(list["items"][0]["spec"], json!({"a": "x"}));
    // A version in which objects are stored can't be taken away.
    let mut without = server.get(&format!("{DEFINITIONS}/gadgets.example.com")).json();
    without["spec"]["versions"].as_array_mut().unwrap().remove(1);
    without["spec"]["versions"][0]["storage"] = true.into();
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    let refused =
        server.ask("PUT", &path, &[("content-type", "application/json")], without.to_string()).is(422);
    assert!(refused.message().contains("v1 was previously a storage version"), "{}", refused.message());
}

#[test]
fn server_side_apply_merges_lists_by_the_keys_of_the_schema() {
    let server = Server::start();
    let keyed = definition(|d| {
        d["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"],
                    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
            "words": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "whole": {"type": "array", "items": {"type": "string"}}
        }}}});
    });
    server.post(DEFINITIONS, &keyed).is(201);
    until("it is served", || server.get("/apis/example.com/v1/gadgets").code == 200);
    let apply = |manager: &str, spec: Value| {
        let body = json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": spec});
        let path = format!("/apis/example.com/v1/gadgets/g?fieldManager={manager}");
        let headers = [("content-type", "application/apply-patch+yaml")];
        server.ask("PATCH", &path, &headers, body.to_string())
    };
    apply("one", json!({"ports": [{"name": "a", "port": 1}], "words": ["x"], "whole": ["1"]})).is(201);
    let both = apply("two", json!({"ports": [{"name": "b", "port": 2}], "words": ["y"]})).is(200).json();
    assert_eq!(
        both["spec"],
        json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "words": ["x", "y"], "whole": ["1"]})
    );
    let conflict =
        apply("two", json!({"ports": [{"name": "a", "port": 3}], "whole": ["2"]})).is(409).message();
    assert!(conflict.contains("conflicts with \"one\""), "{conflict}");
    assert!(
        conflict.contains(".spec.ports[name=\"a\"].port") && conflict.contains(".spec.whole"),
        "{conflict}"
    );
    let left = apply("two", json!({"words": ["y"]})).is(200).json();
    assert_eq!(left["spec"]["ports"], json!([{"name": "a", "port": 1}]));
}
