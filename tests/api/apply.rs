//! Who owns which fields, and server-side apply, as kubectl and bare requests see them.

use serde_json::{Value, json};

use crate::server::Server;

const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: m, labels: {app: x}}
data: {a: '1', b: '1'}
";

fn owners(object: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| (text(entry, "manager"), text(entry, "operation"))).collect()
}

#[test]
fn kubectl_applies_on_the_server() {
    let server = Server::start();
    server.write("map.yaml", MAP);
    let applied = server.kubectl("apply --server-side -f map.yaml").ok();
    assert!(applied.contains("configmap/m serverside-applied"), "{applied}");
    let version = server.kubectl("get cm m -o jsonpath={.metadata.resourceVersion}").ok();
    server.kubectl("apply --server-side -f map.yaml").ok();
    let again = server.kubectl("get cm m -o jsonpath={.metadata.resourceVersion}").ok();
    assert_eq!(version, again, "an apply that changes nothing writes nothing");

    server.kubectl("patch cm m --type=merge -p {\"data\":{\"a\":\"2\"}}").ok();
    let refused = server.kubectl("apply --server-side -f map.yaml").fails();
    let expected = "Apply failed with 1 conflict: conflict with \"kubectl-patch\" using v1: .data.a";
    assert!(refused.contains(expected), "{refused}");
    let differs = server.kubectl("diff --server-side --force-conflicts -f map.yaml").fails();
    assert!(differs.contains("-  a: \"2\"") && differs.contains("+  a: \"1\""), "{differs}");
    server.kubectl("apply --server-side --force-conflicts -f map.yaml").ok();
    assert_eq!(server.kubectl("get cm m -o jsonpath={.data}").ok(), r#"{"a":"1","b":"1"}"#);

    server.write("map.yaml", &MAP.replace(", b: '1'", ""));
    server.kubectl("apply --server-side -f map.yaml").ok();
    assert_eq!(server.kubectl("get cm m -o jsonpath={.data}").ok(), r#"{"a":"1"}"#);
    assert!(!server.kubectl("get cm m -o yaml").ok().contains("managedFields"));
    let shown = server.kubectl("get cm m -o yaml --show-managed-fields").ok();
    assert!(shown.contains("manager: kubectl") && shown.contains("f:data"), "{shown}");
}

#[test]
fn kubectl_goes_over_from_its_own_account() {
    let server = Server::start();
    server.write("map.yaml", MAP);
    server.kubectl("apply -f map.yaml").ok();
    let map = server.get(&format!("{MAPS}/m")).is(200).json();
    assert_eq!(owners(&map), [("kubectl-client-side-apply".into(), "Update".into())]);
    server.write("map.yaml", &MAP.replace("a: '1', b: '1'", "a: '2'"));
    server.kubectl("apply --server-side -f map.yaml").ok();
    let map = server.get(&format!("{MAPS}/m")).is(200).json();
    // kubectl keeps the annotation of `apply` without --server-side, under a name of its own.
    let apply = |manager: &str| (manager.to_owned(), "Apply".to_owned());
    assert_eq!(owners(&map), [apply("kubectl"), apply("kubectl-last-applied")]);
    assert_eq!(map["data"], json!({"a": "2"}));
}

#[test]
fn bare_requests() {
    let server = Server::start();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}}).to_string();
    let path = format!("{MAPS}/n");
    let apply = |query: &str, body: &str| server.ask("PATCH", &format!("{path}?{query}"), &[APPLY], body);
    let nobody = apply("", &body).is(422).message();
    assert!(nobody.ends_with("fieldManager: Required value: is required for apply patch"), "{nobody}");
    apply("fieldManager=a&dryRun=All", &body).is(201);
    server.get(&path).is(404);
    apply("fieldManager=a", &body).is(201);
    apply("fieldManager=a", &body).is(200);
    let merge = ("content-type", "application/merge-patch+json");
    let forced = server.ask("PATCH", &format!("{path}?force=true"), &[merge], "{}").is(422).message();
    assert!(forced.ends_with("force: Forbidden: may not be specified for non-apply patch"), "{forced}");
    let unknown = apply("fieldManager=a", r#"{"apiVersion":"v1","kind":"ConfigMap","foo":1}"#).is(500);
    assert_eq!(
        unknown.message(),
        "failed to create typed patch object (default/n; /v1, Kind=ConfigMap): .foo: field not declared in schema"
    );
    let other = apply("fieldManager=a", r#"{"apiVersion":"v2","kind":"ConfigMap"}"#).is(400).message();
    assert!(other.starts_with("Incorrect version specified in apply patch."), "{other}");
    apply("fieldManager=b", r#"{"metadata":{"resourceVersion":"1"},"data":{"b":"1"}}"#).is(409);
    // A client may end the account; a write of its own then begins no new one.
    let reset = [("content-type", "application/json-patch+json"), ("user-agent", "tester/1.0")];
    let ops = r#"[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]"#;
    let map = server.ask("PATCH", &path, &reset, ops).is(200).json();
    assert!(owners(&map).is_empty(), "{map}");
    let made = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"o"}}"#;
    let agent = [("content-type", "application/json"), ("user-agent", "tester/1.0 (x)")];
    let map = server.ask("POST", MAPS, &agent, made.replace("}}", r#"},"data":{"k":"v"}}"#)).is(201).json();
    assert_eq!(owners(&map), [("tester".into(), "Update".into())]);
}
