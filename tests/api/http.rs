//! What no well-behaved client sends, and what every one relies on.

use serde_json::json;

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: (&str, &str) = ("content-type", "application/json");

fn config_map(name: &str) -> String {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"n": name}}, "data": {"a": "1"}})
        .to_string()
}

#[test]
fn who_may_ask() {
    let server = Server::start();
    server.until_ready();
    for open in ["/healthz", "/livez", "/readyz", "/version", "/cacerts"] {
        server.ask_as("GET", open, &[], "").is(200);
        server.ask_as("POST", open, &[], "").is(405);
    }
    for closed in ["/", "/api", "/apis", "/api/v1/pods", "/openapi/v3", "/v1-midge/tokens", "/api/v1/gadgets"]
    {
        let answer = server.ask_as("GET", closed, &[], "").is(401);
        assert_eq!(answer.json()["reason"], "Unauthorized", "{closed}");
    }
    let join = format!("Bearer {}", server.ready.token.reveal());
    server.ask_as("GET", "/api/v1/pods", &[("authorization", &join)], "").is(401);
    server.get("/api/v1/pods").is(200);
}

#[test]
fn refusals() {
    let server = Server::start();
    let missing = server.get("/api/v1/namespaces/default/pods/web").is(404);
    assert_eq!(missing.message(), "pods \"web\" not found");
    assert_eq!(missing.json()["details"], json!({"name": "web", "kind": "pods"}));
    let unknown = server.get("/api/v1/gadgets").is(404).message();
    assert!(unknown.starts_with("the server could not find the requested resource: "), "{unknown}");
    assert!(unknown.ends_with("/api/v1/gadgets"), "{unknown}");
    assert!(server.get("/somewhere").is(404).json()["paths"].is_array());
    server.ask("POST", "/api/v1/pods", &[JSON], "{}").is(405);
    server.ask("PUT", CONFIG_MAPS, &[JSON], "{}").is(405);
    server.ask("DELETE", "/api/v1/namespaces", &[], "").is(405);
    server.ask("POST", "/api", &[], "").is(405);
    server.ask("GET", CONFIG_MAPS, &[("accept", "application/cbor")], "").is(406);
    server
        .ask("GET", CONFIG_MAPS, &[("accept", "application/vnd.kubernetes.protobuf,application/json")], "")
        .is(200);
    let cbor = [("content-type", "application/cbor")];
    let refused = server.ask("POST", CONFIG_MAPS, &cbor, "k8s").is(415);
    assert!(refused.message().contains("application/json"), "{}", refused.text);
    let apply = [("content-type", "application/apply-patch+cbor")];
    let refused = server.ask("PATCH", &format!("{CONFIG_MAPS}/a"), &apply, "{}").is(415);
    assert!(refused.message().contains("application/apply-patch+yaml"), "{}", refused.text);
    server.ask("POST", CONFIG_MAPS, &[JSON], "x".repeat((3 << 20) + 1)).is(413);
    server.ask("POST", CONFIG_MAPS, &[JSON], "not json").is(400);
    server.ask("POST", CONFIG_MAPS, &[JSON], config_map("Not_A_Name")).is(422);
    let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#;
    server.ask("POST", CONFIG_MAPS, &[JSON], pod).is(400);
    server.ask("POST", "/api/v1/namespaces/nowhere/configmaps", &[JSON], config_map("a")).is(404);
    server.get("/api/v1/namespaces/default/pods?labelSelector=%3D%3D").is(400);
    server.get("/api/v1/namespaces/default/pods?fieldSelector=spec.color=red").is(400);
    server.get("/api/v1/namespaces/default/pods?limit=many").is(400);
    server.get("/api/v1/namespaces/default/pods?continue=nonsense").is(400);
    server.get("/api/v1/pods?resourceVersionMatch=Exact").is(422);
    server.get("/api/v1/pods?resourceVersion=99999999999").is(504);
    server.ask("POST", &format!("{CONFIG_MAPS}?dryRun=Some"), &[JSON], config_map("a")).is(422);
}

#[test]
fn writes() {
    let server = Server::start();
    let one = format!("{CONFIG_MAPS}/one");
    let dry = server.ask("POST", &format!("{CONFIG_MAPS}?dryRun=All"), &[JSON], config_map("one")).is(201);
    assert!(dry.json()["metadata"]["uid"].is_string());
    server.get(&one).is(404);
    let created = server.ask("POST", CONFIG_MAPS, &[JSON], config_map("one")).is(201).json();
    let again = server.ask("POST", CONFIG_MAPS, &[JSON], config_map("one")).is(409);
    assert_eq!(again.message(), "configmaps \"one\" already exists");
    assert_eq!(server.get(&one).is(200).json(), created);
    // Optimistic concurrency.
    let mut newer = created.clone();
    newer["data"]["a"] = json!("2");
    let updated = server.ask("PUT", &one, &[JSON], newer.to_string()).is(200).json();
    assert_ne!(updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);
    let stale = server.ask("PUT", &one, &[JSON], newer.to_string()).is(409);
    assert_eq!(stale.json()["reason"], "Conflict");
    server.ask("PUT", &format!("{CONFIG_MAPS}/two"), &[JSON], newer.to_string()).is(400);
    // Three kinds of patches.
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = server.ask("PATCH", &one, &merge, r#"{"data":{"a":null,"b":"3"}}"#).is(200).json();
    assert_eq!(patched["data"], json!({"b": "3"}));
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    server.ask("PATCH", &one, &strategic, r#"{"metadata":{"labels":{"x":"y"}}}"#).is(200);
    let operations = [("content-type", "application/json-patch+json")];
    let replace = r#"[{"op":"replace","path":"/data/b","value":"4"}]"#;
    assert_eq!(server.ask("PATCH", &one, &operations, replace).is(200).json()["data"]["b"], "4");
    let stale = r#"{"metadata":{"resourceVersion":"1"},"data":{"b":"5"}}"#;
    server.ask("PATCH", &one, &merge, stale).is(409);
    server.ask("PATCH", &format!("{CONFIG_MAPS}/two"), &merge, "{}").is(404);
    // Fields that Kubernetes does not have.
    let unknown = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"odd"},"dada":{},"data":{"k":"v","k":"w"}}"#;
    let strict =
        server.ask("POST", &format!("{CONFIG_MAPS}?fieldValidation=Strict"), &[JSON], unknown).is(400);
    assert!(strict.message().contains("unknown field \"dada\""), "{}", strict.text);
    assert!(strict.message().contains("duplicate field \"data.k\""), "{}", strict.text);
    let warned = server.ask("POST", CONFIG_MAPS, &[JSON], unknown).is(201);
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().collect();
    assert!(warnings.contains(&&"299 - \"unknown field \\\"dada\\\"\"".parse().unwrap()), "{warnings:?}");
    let ignored =
        server.ask("PUT", &format!("{CONFIG_MAPS}/odd?fieldValidation=Ignore"), &[JSON], unknown).is(200);
    assert!(!ignored.headers.contains_key("warning"));
    // Preconditions of a delete.
    server.ask("DELETE", &one, &[JSON], r#"{"preconditions":{"uid":"other"}}"#).is(409);
    let gone = server.ask("DELETE", &one, &[], "").is(200).json();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["uid"], created["metadata"]["uid"]);
    server.ask("DELETE", &one, &[], "").is(404);
}

#[test]
fn lists() {
    let server = Server::start();
    for number in 0..7 {
        server.ask("POST", CONFIG_MAPS, &[JSON], config_map(&format!("c{number}"))).is(201);
    }
    let first = server.get(&format!("{CONFIG_MAPS}?limit=3")).is(200).json();
    assert_eq!((&first["kind"], &first["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert_eq!(first["items"].as_array().unwrap().len(), 3);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{CONFIG_MAPS}?limit=30&continue={token}")).is(200).json();
    assert_eq!(second["items"][0]["metadata"]["name"], "c3");
    assert!(second["metadata"].get("continue").is_none());
    let one = server.get(&format!("{CONFIG_MAPS}?labelSelector=n%20in%20(c1,c2),n!%3Dc2")).is(200).json();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(one["items"][0]["metadata"]["name"], "c1");
    let named =
        server.get("/api/v1/configmaps?fieldSelector=metadata.name%3Dc5,metadata.namespace%3Ddefault");
    assert_eq!(named.is(200).json()["items"].as_array().unwrap().len(), 1);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let table = server.ask("GET", CONFIG_MAPS, &table, "").is(200).json();
    assert_eq!((&table["kind"], &table["rows"][6]["cells"][0]), (&json!("Table"), &json!("c6")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let metadata = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let metadata = server.ask("GET", CONFIG_MAPS, &metadata, "").is(200).json();
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert!(metadata["items"][0].get("data").is_none());
    assert_eq!(metadata["items"][0]["metadata"]["name"], "c0");
    // A list of several pieces is one JSON text still.
    for number in 0..20 {
        let big = json!({"metadata": {"name": format!("big{number}")}, "data": {"x": "y".repeat(5000)}});
        server.ask("POST", CONFIG_MAPS, &[JSON], big.to_string()).is(201);
    }
    // With kube-root-ca.crt.
    assert_eq!(server.get(CONFIG_MAPS).is(200).json()["items"].as_array().unwrap().len(), 28);
    let gone = server.ask("DELETE", &format!("{CONFIG_MAPS}?labelSelector=n"), &[], "").is(200).json();
    assert_eq!(gone["items"].as_array().unwrap().len(), 7);
    assert_eq!(server.get(CONFIG_MAPS).is(200).json()["items"].as_array().unwrap().len(), 21);
}

#[test]
fn pods() {
    let server = Server::start();
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "web"}, "spec": {"nodeSelector": {"no": "node"}, "containers": [
        {"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}});
    server.ask("POST", pods, &[JSON], pod.to_string()).is(201);
    let log = |query: &str| server.get(&format!("{pods}/web/log{query}"));
    let which = "a container name must be specified for pod web, choose one of: [a b]";
    assert_eq!(log("").is(400).message(), which);
    assert_eq!(log("?container=c").is(400).message(), "container c is not valid for pod web");
    log("?container=a&tailLines=-1").is(422);
    assert_eq!(log("?container=a").is(200).text, "");
    server.get(&format!("{pods}/nobody/log")).is(404);
    for stream in ["exec", "attach"] {
        assert_eq!(server.ask("POST", &format!("{pods}/web/{stream}"), &[], "").is(400).message(), which);
    }
    let bind = |node: &str| {
        let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "web"},
            "target": {"kind": "Node", "name": node}});
        server.ask("POST", &format!("{pods}/web/binding"), &[JSON], binding.to_string())
    };
    bind("n1").is(404);
    let node = json!({"metadata": {"name": "n1"}});
    server.ask("POST", "/api/v1/nodes", &[JSON], node.to_string()).is(201);
    bind("n1").is(201);
    assert!(bind("n1").is(409).message().contains("already assigned to node \"n1\""));
    let bound = server.get(&format!("{pods}/web")).json();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert!(log("?container=a").is(400).message().contains("waiting to start"));
    // The status alone, through its own door.
    let status = json!({"status": {"phase": "Running", "containerStatuses": [
        {"name": "a", "image": "x", "imageID": "", "ready": true, "restartCount": 0,
         "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]}, "metadata": {"labels": {"no": "no"}}});
    let merge = [("content-type", "application/merge-patch+json")];
    server.ask("PATCH", &format!("{pods}/web/status"), &merge, status.to_string()).is(200);
    let running = server.get(&format!("{pods}/web")).json();
    assert_eq!(running["status"]["phase"], "Running");
    // Its node has no link.
    log("?container=a").is(503);
    // A delete waits for the node; without grace it does not.
    let marked = server.ask("DELETE", &format!("{pods}/web"), &[], "").is(200).json();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    server.get(&format!("{pods}/web")).is(200);
    server.ask("DELETE", &format!("{pods}/web?gracePeriodSeconds=0"), &[], "").is(200);
    server.get(&format!("{pods}/web")).is(404);
}

#[test]
fn tokens() {
    let server = Server::start();
    let made =
        server.ask("POST", "/v1-midge/tokens", &[], r#"{"description":"shed","ttlSeconds":60,"uses":1}"#);
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let id = token.rsplit("::").next().unwrap().split('.').next().unwrap().to_owned();
    let list = server.get("/v1-midge/tokens").is(200);
    assert_eq!(list.json()["tokens"][0]["id"], id);
    assert!(!list.text.contains(token.rsplit('.').next().unwrap()), "{}", list.text);
    server.ask("DELETE", &format!("/v1-midge/tokens/{id}"), &[], "").is(200);
    server.ask("DELETE", &format!("/v1-midge/tokens/{id}"), &[], "").is(404);
    server.ask("POST", "/v1-midge/tokens", &[], r#"{"uses":0}"#).is(400);
    server.ask("PUT", "/v1-midge/tokens", &[], "").is(405);
    let rotated = server.ask("POST", "/v1-midge/tokens/rotate", &[], "").is(200).json();
    assert_ne!(rotated["token"].as_str().unwrap(), server.ready.token.reveal());
}
