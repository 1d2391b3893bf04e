//! What newer recorders, older watchers and `kubectl apply --subresource` use.

use serde_json::{Value, json};

use crate::server::Server;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const CORE: &str = "/api/v1/namespaces/default/events";
const MERGE: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];
const APPLY: &[(&str, &str)] = &[("content-type", "application/apply-patch+yaml")];

/// Old events expire.
fn now() -> String {
    midge::api::time::format(std::time::SystemTime::now()).replace('Z', ".000006Z")
}

fn event(name: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "eventTime": now(), "reportingController": "example.org/x",
        "reportingInstance": "x-1", "action": "Start", "reason": "Started", "type": "Normal", "note": "it runs",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "default"},
    })
}

#[test]
fn events_have_two_names() {
    let server = Server::start();
    let made = server.post(EVENTS, event("a")).is(201).json();
    assert_eq!((&made["note"], &made["apiVersion"]), (&json!("it runs"), &json!("events.k8s.io/v1")));
    let core = server.get(&format!("{CORE}/a")).is(200).json();
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("it runs"), &json!("web")));
    assert_eq!((&core["apiVersion"], &core["reportingComponent"]), (&json!("v1"), &json!("example.org/x")));
    assert_eq!(core.get("note"), None);
    // And the other way round.
    let old = json!({"metadata": {"name": "b"}, "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
        "message": "old", "reason": "Old", "type": "Warning", "count": 3, "source": {"component": "x"}, "lastTimestamp": now().replace(".000006", "")});
    server.post(CORE, old).is(201);
    let list =
        server.get(&format!("{EVENTS}?fieldSelector=regarding.name%3Dweb,type%3DWarning")).is(200).json();
    assert_eq!((&list["kind"], &list["items"].as_array().map(Vec::len)), (&json!("EventList"), &Some(1)));
    let item = &list["items"][0];
    assert_eq!((&item["note"], &item["deprecatedCount"]), (&json!("old"), &json!(3)));
    assert_eq!(item["regarding"]["name"], "web");
    // A series is a patch: what newer recorders send.
    let series = json!({"series": {"count": 2, "lastObservedTime": now()}, "note": "again"});
    let patched = server.ask("PATCH", &format!("{EVENTS}/a"), MERGE, series.to_string()).is(200).json();
    assert_eq!((&patched["note"], &patched["series"]["count"]), (&json!("again"), &json!(2)));
    assert_eq!(server.get(&format!("{CORE}/a")).json()["message"], "again");
    let seen = server.get(&format!("{EVENTS}?watch=1&timeoutSeconds=1")).is(200).text;
    assert!(seen.contains("\"note\":\"again\"") && !seen.contains("involvedObject"), "{seen}");
    let mut bad = event("c");
    bad["action"] = json!("");
    let refused = server.post(EVENTS, bad).is(422).message();
    assert_eq!(refused, "Event.events.k8s.io \"c\" is invalid: action: Required value");
    assert!(server.kubectl("get events.events.k8s.io").ok().contains("pod/web"), "the table");
    assert!(server.kubectl("get events").ok().contains("again"));
    assert!(server.kubectl("events").ok().contains("again"));
    assert!(
        server
            .kubectl("explain events.regarding --api-version=events.k8s.io/v1")
            .ok()
            .contains("ObjectReference")
    );
    server.ask("DELETE", &format!("{EVENTS}/a"), &[], "").is(200);
    assert_eq!(server.get(&format!("{CORE}/a")).code, 404);
}

#[test]
fn watches_by_their_old_paths() {
    let server = Server::start();
    let seen = server.get("/api/v1/watch/namespaces/default?timeoutSeconds=1").is(200).text;
    assert!(seen.starts_with("{\"type\":\"ADDED\"") && seen.contains("\"name\":\"default\""), "{seen}");
    assert_eq!(seen.lines().filter(|line| line.contains("ADDED")).count(), 1, "{seen}");
    server.get("/api/v1/watch/gadgets").is(404);
}

#[test]
fn replicas_are_applied() {
    let server = Server::start();
    let path = "/apis/apps/v1/namespaces/default/replicasets/web";
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let owner = |query: &str, replicas: Value| {
        let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
            "spec": {"replicas": replicas}});
        server.ask("PATCH", &format!("{path}/scale?{query}"), APPLY, scale.to_string())
    };
    assert_eq!(owner("fieldManager=a", json!(2)).code, 404, "there is nothing to scale");
    server.post("/apis/apps/v1/namespaces/default/replicasets", set).is(201);
    let refused = owner("", json!(2)).is(422).message();
    assert!(refused.contains("fieldManager: Required value: is required for apply patch"), "{refused}");
    // Who made it said nothing of replicas, and owns their default.
    let scaled = owner("fieldManager=a&force=true", json!(2)).is(200).json();
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    let live = server.get(path).json();
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "a").unwrap();
    assert_eq!((&entry["subresource"], &entry["operation"]), (&json!("scale"), &json!("Apply")));
    assert_eq!(entry["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(entry["apiVersion"], "apps/v1");
    let conflict = owner("fieldManager=b", json!(3)).is(409).message();
    assert_eq!(
        conflict,
        "Apply failed with 1 conflict: conflict with \"a\" with subresource \"scale\": .spec.replicas"
    );
    assert_eq!(owner("fieldManager=b&force=true", json!(3)).is(200).json()["spec"]["replicas"], 3);
    let negative = owner("fieldManager=b", json!(-1)).is(422).message();
    assert!(negative.contains("spec.replicas: Invalid value: -1"), "{negative}");
}

#[test]
fn every_group_has_a_document() {
    let server = Server::start();
    let index = server.get("/openapi/v3").is(200).json();
    for (group, path) in [
        ("authentication.k8s.io/v1", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("authorization.k8s.io/v1", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("events.k8s.io/v1", "/apis/events.k8s.io/v1/namespaces/{namespace}/events"),
        ("metrics.k8s.io/v1beta1", "/apis/metrics.k8s.io/v1beta1/nodes"),
    ] {
        let url = index["paths"][format!("apis/{group}")]["serverRelativeURL"]
            .as_str()
            .unwrap_or_else(|| panic!("{group}"));
        let document = server.get(url).is(200).json();
        assert!(document["paths"][path].is_object(), "{path}: {}", document["paths"]);
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{group}: {name}");
        }
    }
}

#[test]
fn a_definition_ends_with_its_watches_and_keeps_its_names() {
    let server = Server::start();
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.org"},
        "spec": {
            "group": "example.org", "scope": "Cluster", "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    server.post(all, definition).is(201);
    server.kubectl("wait --for=condition=Established crd/gadgets.example.org --timeout=20s").ok();
    let one = format!("{all}/gadgets.example.org");
    let lie = json!({"status": {"acceptedNames": {"plural": "pods", "kind": "Pod"}, "conditions": []}});
    let kept = server.ask("PATCH", &format!("{one}/status"), MERGE, lie.to_string()).is(200).json();
    assert_eq!(kept["status"]["acceptedNames"]["plural"], "gadgets");
    assert!(!kept["status"]["conditions"].as_array().unwrap().is_empty());
    let none = json!({"status": {"storedVersions": []}});
    let refused = server.ask("PATCH", &format!("{one}/status"), MERGE, none.to_string()).is(422).message();
    assert!(refused.contains("must have the storage version v1"), "{refused}");
    // A watch of half a minute ends long before, with the definition.
    let before = std::time::Instant::now();
    let seen = std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| server.get("/apis/example.org/v1/gadgets?watch=1&timeoutSeconds=25").is(200).text);
        server.kubectl("delete crd gadgets.example.org").ok();
        waiting.join().unwrap()
    });
    assert!(before.elapsed().as_secs() < 20, "it waited");
    assert!(!seen.contains("ERROR"), "{seen}");
}

#[test]
fn all_that_is_wrong_with_an_object_is_told_at_once() {
    let server = Server::start();
    let pod = json!({"metadata": {"name": "Web", "labels": {"a b": "c"}}, "spec": {"restartPolicy": "Sometimes",
        "containers": [{"image": "web", "ports": [{"containerPort": 70000}]}]}});
    let refused = server.post("/api/v1/namespaces/default/pods", pod).is(422).json();
    let causes = refused["details"]["causes"].as_array().unwrap();
    let mut fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    let expected = [
        "metadata.labels",
        "metadata.name",
        "spec.containers[0].name",
        "spec.containers[0].ports[0].containerPort",
        "spec.restartPolicy",
    ];
    assert_eq!(fields, expected, "{refused}");
    // A name that is still to be made is no fault.
    let pod = json!({"metadata": {"generateName": "web-"}, "spec": {"containers": [{"image": "web"}]}});
    let refused = server.post("/api/v1/namespaces/default/pods", pod).is(422).message();
    assert_eq!(refused, "Pod \"\" is invalid: spec.containers[0].name: Required value");
    // No more than people read.
    let many = json!({"metadata": {"name": "web"}, "spec": {"containers": vec![json!({}); 500]}});
    let refused = server.post("/api/v1/namespaces/default/pods", many).is(422).json();
    assert_eq!(refused["details"]["causes"].as_array().map(Vec::len), Some(100));
    // What may be changed is not judged as if it were new.
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
    server.post("/api/v1/namespaces/default/pods", pod).is(201);
    let debugger = json!({"spec": {"ephemeralContainers": [{"image": "busybox"}]}}).to_string();
    let path = "/api/v1/namespaces/default/pods/web/ephemeralcontainers";
    let refused = server.ask("PATCH", path, MERGE, debugger).is(422).message();
    assert_eq!(refused, "Pod \"web\" is invalid: spec.ephemeralContainers[0].name: Required value");
}
