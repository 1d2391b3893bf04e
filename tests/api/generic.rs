//! What holds for every kind: lists, deletes, namespaces, evictions, manifests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Answer, Server};

/// Of these a namespace has none of its own.
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

impl Server {
    fn make(&self, name: &str, metadata: Value) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        for (key, value) in metadata.as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        self.post(SECRETS, object).is(201).json()
    }

    fn merge(&self, path: &str, body: Value) -> Answer {
        self.ask("PATCH", path, &MERGE, body.to_string())
    }

    fn delete(&self, path: &str, options: Value) -> Answer {
        self.ask("DELETE", path, &JSON, options.to_string())
    }

    /// Names of what is listed.
    fn names(&self, path: &str) -> String {
        names(&self.get(path).is(200).json())
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn names(list: &Value) -> String {
    let names = list["items"].as_array().unwrap().iter();
    names.map(|item| item["metadata"]["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

fn owner(of: &Value, blocks: bool) -> Value {
    let metadata = &of["metadata"];
    json!([{"apiVersion": "v1", "kind": "Secret", "name": metadata["name"], "uid": metadata["uid"],
            "blockOwnerDeletion": blocks}])
}

#[test]
fn all_pages_show_one_state() {
    let server = Server::start();
    for name in ["a", "b", "c", "d"] {
        server.make(name, json!({}));
    }
    let first = server.get(&format!("{SECRETS}?limit=2")).is(200).json();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), ("a b".to_owned(), &json!(2)));
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    server.delete(&format!("{SECRETS}/c"), json!({})).is(200);
    server.make("bb", json!({}));
    server.merge(&format!("{SECRETS}/d"), json!({"data": {"k": "dg=="}})).is(200);
    let rest = server.get(&format!("{SECRETS}?limit=2&continue={token}")).is(200).json();
    assert_eq!(names(&rest), "c d");
    assert_eq!(rest["metadata"]["resourceVersion"], revision);
    assert_eq!((&rest["items"][1]["data"], &rest["metadata"]["continue"]), (&Value::Null, &Value::Null));
    for exact in ["&resourceVersionMatch=Exact", "&limit=9"] {
        let then = format!("{SECRETS}?resourceVersion={revision}{exact}");
        assert_eq!(server.names(&then), "a b c d", "{exact}");
    }
    assert_eq!(
        server.names(&format!("{SECRETS}?resourceVersion={revision}&labelSelector=x!%3Dy")),
        "a b bb d"
    );
    let newer = format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
    assert_eq!(server.names(&newer), "a b bb d");
    let both = server.get(&format!("{SECRETS}?limit=2&continue={token}&resourceVersion={revision}")).is(400);
    assert_eq!(both.message(), "specifying resource version is not allowed when using continue");
    let future = server.get(&format!("{SECRETS}?resourceVersion=99999999999999")).is(504);
    assert_eq!(future.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert!(future.message().starts_with("Timeout: Too large resource version: 99999999999999, current: "));

    // A new process knows nothing of before.
    let server = server.restart();
    let old = server.get(&format!("{SECRETS}?limit=2&continue={token}")).is(410);
    assert!(old.message().starts_with("The provided continue parameter is too old to display a consistent"));
    let fresh = old.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(server.names(&format!("{SECRETS}?limit=9&continue={fresh}")), "bb d");
    let exact = format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(server.get(&exact).is(410).message(), "The resourceVersion for the provided list is too old.");
}

#[test]
fn shapes_in_both_versions() {
    let server = Server::start();
    server.make("a", json!({}));
    for version in ["v1", "v1beta1"] {
        let as_shape = |shape: &str| format!("application/json;as={shape};v={version};g=meta.k8s.io");
        let wanted = format!("meta.k8s.io/{version}");
        let table = as_shape("Table");
        let list = server.ask("GET", SECRETS, &[("accept", &table)], "").is(200).json();
        assert_eq!((&list["apiVersion"], &list["kind"]), (&json!(wanted), &json!("Table")));
        assert_eq!(list["rows"][0]["object"]["apiVersion"], wanted);
        let metadata = as_shape("PartialObjectMetadataList");
        let list = server.ask("GET", SECRETS, &[("accept", &metadata)], "").is(200).json();
        assert_eq!((&list["apiVersion"], &list["items"][0]["apiVersion"]), (&json!(wanted), &json!(wanted)));
        let metadata = as_shape("PartialObjectMetadata");
        let watch = format!("{SECRETS}?watch=1&timeoutSeconds=1");
        let events = server.ask("GET", &watch, &[("accept", &metadata)], "").is(200).text;
        let event: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
        assert_eq!((&event["type"], &event["object"]["apiVersion"]), (&json!("ADDED"), &json!(wanted)));
        assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    }
}

#[test]
fn deletes_propagate() {
    let server = Server::start();
    let parent = |name: &str, blocks: bool| {
        let parent = server.make(name, json!({}));
        server.make(&format!("{name}-child"), json!({"ownerReferences": owner(&parent, blocks)}));
    };
    parent("back", false);
    server.kubectl("delete secret back").ok();
    server.until("the child goes", || server.names(SECRETS).is_empty());
    parent("fore", true);
    server
        .merge(&format!("{SECRETS}/fore-child"), json!({"metadata": {"finalizers": ["example.org/wait"]}}))
        .is(200);
    server.kubectl("delete secret fore --cascade=foreground --wait=false").ok();
    let child =
        || server.get(&format!("{SECRETS}/fore-child")).json()["metadata"]["deletionTimestamp"].is_string();
    server.until("the child is told", child);
    let waiting = server.get(&format!("{SECRETS}/fore")).is(200).json();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    server.merge(&format!("{SECRETS}/fore-child"), json!({"metadata": {"finalizers": null}})).is(200);
    server.until("both go", || server.names(SECRETS).is_empty());
    parent("left", true);
    server.kubectl("delete secret left --cascade=orphan").ok();
    let orphan = server.get(&format!("{SECRETS}/left-child")).is(200).json();
    assert_eq!(orphan["metadata"]["ownerReferences"], Value::Null);
    // Nothing of a dry run happens.
    server.delete(&format!("{SECRETS}?dryRun=All"), json!({})).is(200);
    server
        .delete(
            &format!("{SECRETS}/left-child"),
            json!({"dryRun": ["All"], "propagationPolicy": "Foreground"}),
        )
        .is(200);
    assert_eq!(server.get(&format!("{SECRETS}/left-child")).is(200).json(), orphan);
    let both = json!({"orphanDependents": true, "propagationPolicy": "Orphan"});
    let refused = server.delete(&format!("{SECRETS}/left-child"), both).is(422);
    assert!(refused.message().contains("orphanDependents and deletionPropagation cannot be both set"));
    for name in ["x", "y"] {
        server.make(name, json!({"labels": {"of": name}}));
    }
    let deleted = server.delete(&format!("{SECRETS}?labelSelector=of"), json!({})).is(200).json();
    assert_eq!((names(&deleted), server.names(SECRETS)), ("x y".to_owned(), "left-child".to_owned()));
}

#[test]
fn a_namespace_says_what_holds_it() {
    let server = Server::start();
    server.kubectl("create namespace lab").ok();
    let lab = server.get("/api/v1/namespaces/lab").is(200).json();
    assert_eq!(lab["metadata"]["labels"]["kubernetes.io/metadata.name"], "lab");
    let path = "/api/v1/namespaces/lab/configmaps";
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.org/wait"]}});
    server.post(path, held).is(201);
    server.post(path, json!({"metadata": {"name": "b"}})).is(201);
    server.kubectl("delete namespace lab --wait=false").ok();
    let conditions = || server.get("/api/v1/namespaces/lab").json()["status"]["conditions"].clone();
    server.until("its conditions are told", || conditions().is_array());
    let told = conditions();
    let messages: Vec<&str> =
        told.as_array().unwrap().iter().map(|condition| condition["message"].as_str().unwrap()).collect();
    assert_eq!(messages[3], "Some resources are remaining: configmaps. has 1 resource instances");
    assert_eq!(
        messages[4],
        "Some content in the namespace has finalizers remaining: example.org/wait in 1 resource instances"
    );
    let late = server.post(path, json!({"metadata": {"name": "c"}})).is(403);
    assert!(late.message().contains("because it is being terminated"), "{}", late.message());
    assert_eq!(late.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    server.merge(&format!("{path}/a"), json!({"metadata": {"finalizers": null}})).is(200);
    server.until("it goes", || server.get("/api/v1/namespaces/lab").code == 404);

    // By the finalize subresource, and held by a finalizer of its own.
    let named = json!({"metadata": {"name": "den", "finalizers": ["example.org/wait"]}});
    server.post("/api/v1/namespaces", named).is(201);
    server.kubectl("delete namespace den --wait=false").ok();
    let finalizers =
        || server.get("/api/v1/namespaces/den").json()["spec"]["finalizers"].as_array().map_or(0, Vec::len);
    server.until("it is emptied", || finalizers() == 0);
    let mut den = server.get("/api/v1/namespaces/den").is(200).json();
    den["spec"]["finalizers"] = json!(["kubernetes"]);
    server.ask("PUT", "/api/v1/namespaces/den/finalize", &JSON, den.to_string()).is(200);
    assert_eq!(server.get("/api/v1/namespaces/den/finalize").code, 405);
    server.until("it is emptied again", || finalizers() == 0);
    server.merge("/api/v1/namespaces/den", json!({"metadata": {"finalizers": null}})).is(200);
    assert_eq!(server.get("/api/v1/namespaces/den").code, 404);
}

#[test]
fn budgets_refuse_evictions() {
    let server = Server::start();
    let pods = "/api/v1/namespaces/default/pods";
    server.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).is(201);
    for name in ["p1", "p2"] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "busybox"}]}});
        server.post(pods, pod).is(201);
        let ready =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        server.merge(&format!("{pods}/{name}/status"), ready).is(200);
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    server.post(budgets, budget).is(201);
    let status = |name: &str| server.get(&format!("{budgets}/web")).json()["status"][name].clone();
    server.until("the budget is counted", || status("disruptionsAllowed") == 1);
    assert_eq!((status("currentHealthy"), status("desiredHealthy")), (json!(2), json!(1)));
    let evict = |name: &str, options: Value| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name},
                          "deleteOptions": options});
        server.post(&format!("{pods}/{name}/eviction"), body)
    };
    evict("p1", json!({"dryRun": ["All"]})).is(201);
    assert_eq!(status("disruptionsAllowed"), 1);
    evict("p1", json!({"preconditions": {"uid": "other"}})).is(409);
    evict("p1", json!({})).is(201);
    let evicted = server.get(&format!("{pods}/p1")).is(200).json();
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(evicted["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
    let refused = evict("p2", json!({})).is(429);
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    let told = "The disruption budget web needs 1 healthy pods and has 1 currently";
    server.until("the loop has counted", || status("currentHealthy") == 1);
    assert_eq!(evict("p2", json!({})).is(429).json()["details"]["causes"][0]["message"], told);
    let second = json!({"metadata": {"name": "too"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    server.post(budgets, second).is(201);
    assert!(
        evict("p2", json!({}))
            .is(500)
            .message()
            .starts_with("This pod has more than one PodDisruptionBudget")
    );
    server.kubectl("delete pdb web too").ok();
    evict("p2", json!({})).is(201);
}

#[test]
fn manifests_are_applied_and_removed() {
    let server = Server::start();
    let folder = server.folder().join("data/server/manifests");
    server.until("the folder is there", || folder.is_dir());
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let map = |name: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: site}}\ndata: {{k: {value}}}\n---\n"
        )
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: site}\n";
    let path = "/api/v1/namespaces/site/configmaps";
    let value = |name: &str| server.get(&format!("{path}/{name}")).json()["data"]["k"].clone();
    write("site.yaml", &format!("{}{}{namespace}", map("a", "one"), map("b", "one")));
    server.until("it is applied", || value("a") == "one" && value("b") == "one");
    let events = || server.kubectl("get events").ok();
    write("broken.yaml", "kind: [");
    write("odd.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\ndada: {}\n");
    server.until("it is told", || {
        let told = events();
        told.contains("broken.yaml: error converting YAML to JSON") && told.contains("dada")
    });
    std::fs::remove_file(folder.join("broken.yaml")).unwrap();
    std::fs::remove_file(folder.join("odd.yaml")).unwrap();
    write("site.yaml", &format!("{}{namespace}", map("a", "two")));
    server.until("it is changed", || value("a") == "two" && server.get(&format!("{path}/b")).code == 404);

    // What is skipped stays as it is; what is the same is not written again.
    write("site.yaml.skip", "");
    write("site.yaml", &map("a", "three"));
    let before = server.get(&format!("{path}/a")).json()["metadata"]["resourceVersion"].clone();
    let server = server.restart();
    write("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n");
    server.until("the other is there", || {
        server.get("/api/v1/namespaces/default/configmaps/other").code == 200
    });
    let a = server.get(&format!("{path}/a")).is(200).json();
    assert_eq!((&a["data"]["k"], &a["metadata"]["resourceVersion"]), (&json!("two"), &before));
    std::fs::remove_file(folder.join("other.yaml")).unwrap();
    server.until("the other goes", || server.get("/api/v1/namespaces/default/configmaps/other").code == 404);
    std::fs::remove_file(folder.join("site.yaml")).unwrap();
    std::fs::remove_file(folder.join("site.yaml.skip")).unwrap();
    server.until("the namespace goes", || server.get("/api/v1/namespaces/site").code == 404);
}
