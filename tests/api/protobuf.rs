//! What typed clients send and what nobody's browser does: protobuf and YAML.

use std::io::Read;

use flate2::read::GzDecoder;
use midge::api::protobuf::{CONTENT_TYPE, decode};
use serde_json::json;

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: (&str, &str) = ("content-type", "application/yaml");
const ACCEPT: (&str, &str) = ("accept", CONTENT_TYPE);

#[test]
fn typed_commands() {
    let server = Server::start();
    let run = |arguments: &str| server.kubectl(arguments).ok();
    run("create namespace other");
    run("create configmap settings --from-literal=a=1 --from-literal=b=");
    assert_eq!(run("get configmap settings -o jsonpath={.data}"), r#"{"a":"1","b":""}"#);
    run("create secret generic key --from-literal=password=hunter2");
    assert_eq!(run("get secret key -o jsonpath={.type}/{.data.password}"), "Opaque/aHVudGVyMg==");
    run("create serviceaccount robot");
    run("create deployment web --image=busybox --replicas=0 --port=80");
    let spec =
        run("get deployment web -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].ports}");
    assert!(spec.starts_with("0/") && spec.contains("80"), "{spec}");
    run("create job once --image=busybox -- echo hi");
    assert_eq!(
        run("get job once -o jsonpath={.spec.template.spec.containers[0].command}"),
        r#"["echo","hi"]"#
    );
    run("create cronjob often --image=busybox --schedule=@hourly -- true");
    run("create role reader --verb=get,list --resource=pods,deployments.apps");
    let rules = run("get role reader -o jsonpath={.rules[*].apiGroups[*]}/{.rules[0].verbs}");
    assert_eq!(rules.trim(), r#"apps/["get","list"]"#);
    run("create rolebinding reads --role=reader --serviceaccount=default:robot");
    run("create clusterrole all --verb=* --resource=*");
    run("create ingress web --rule=example.org/*=web:http,tls=secret");
    let path = run("get ingress web -o jsonpath={.spec.rules[0].http.paths[0].backend.service.port.name}");
    assert_eq!(path, "http");
    run("create quota limit --hard=pods=3,memory=2Gi");
    assert_eq!(run("get quota limit -o jsonpath={.spec.hard.memory}"), "2Gi");
    run("create priorityclass high --value=100");
    run("create poddisruptionbudget calm --selector=app=web --min-available=50%");
    assert_eq!(run("get pdb calm -o jsonpath={.spec.minAvailable}"), "50%");
    run("create service clusterip web --tcp=80:8080");
    assert_eq!(run("get service web -o jsonpath={.spec.ports[0].targetPort}"), "8080");
    run("autoscale deployment web --min=1 --max=3 --cpu=50%");
    assert_eq!(run("get hpa web -o jsonpath={.spec.minReplicas}/{.spec.maxReplicas}"), "1/3");
}

#[test]
fn yaml_bodies() {
    let server = Server::start();
    let text =
        "# comment\nkind: ConfigMap\nmetadata: &m\n  name: a\n  labels: {x: 'yes'}\ndata:\n  k: |\n    v\n";
    let created = server.ask("POST", CONFIG_MAPS, &[YAML], text).is(201).json();
    assert_eq!(
        (&created["data"], &created["metadata"]["labels"]),
        (&json!({"k": "v\n"}), &json!({"x": "yes"}))
    );
    let twice = "metadata: {name: b}\ndata: {k: a, k: b}\nmore: 1\n";
    let answer = server.ask("POST", CONFIG_MAPS, &[YAML], twice).is(201);
    let warnings: Vec<&str> =
        answer.headers.get_all("warning").iter().filter_map(|w| w.to_str().ok()).collect();
    assert_eq!(warnings, [r#"299 - "unknown field \"more\"""#, r#"299 - "duplicate field \"data.k\"""#]);
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let refused = server.ask("POST", &strict, &[YAML], twice.replace("name: b", "name: c")).is(400).message();
    assert!(
        refused.contains(r#"strict decoding error: unknown field "more", duplicate field "data.k""#),
        "{refused}"
    );
    for (text, expected) in [
        ("kind: ConfigMap\n  a: b\n", "error converting YAML to JSON: yaml: line 2"),
        ("a: &a [*a]\n", "anchor value contains itself"),
        ("- a\n", "must be a JSON map"),
        ("a: 1\n---\nb: 1\n", "more than one document"),
        ("metadata: {name: true}\n", "cannot unmarshal bool into Go struct field"),
    ] {
        let message = server.ask("POST", CONFIG_MAPS, &[YAML], text).is(400).message();
        assert!(message.contains(expected), "{message}");
    }
    let options = server.ask("DELETE", &format!("{CONFIG_MAPS}/a"), &[YAML], "gracePeriodSeconds: 0\n");
    options.is(200);
    let refused = server.ask("POST", CONFIG_MAPS, &[("content-type", "text/csv")], "a,b").is(415).message();
    assert!(refused.starts_with("the body of the request was in an unknown format"), "{refused}");
}

#[test]
fn protobuf_bodies_that_are_none() {
    let server = Server::start();
    let content = [("content-type", CONTENT_TYPE)];
    for (body, expected) in [
        (&b"{}"[..], "expected prefix [107, 56, 115, 0]"),
        (b"k8s\0", "Object 'Kind' is missing"),
        (b"k8s\0\x0a\x0b\x0a\x02v1\x12\x05Thing", "no kind \"Thing\" is registered for version \"v1\""),
        (b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x05\x0a\xff\xff\xff\x0f", "unexpected EOF"),
        // A pod where a config map is wanted.
        (b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod", "Pod in version \"v1\" cannot be handled as a ConfigMap"),
    ] {
        let message = server.ask("POST", CONFIG_MAPS, &content, body).is(400).message();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn answers_in_protobuf_and_yaml() {
    let server = Server::start();
    let body = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}}).to_string();
    let created = server.ask("POST", CONFIG_MAPS, &[ACCEPT], body).is(201);
    assert_eq!(created.headers["content-type"], CONTENT_TYPE);
    let path = format!("{CONFIG_MAPS}/a");
    let read = server.ask("GET", &path, &[ACCEPT], "").is(200);
    let plain = server.get(&path).is(200).json();
    assert_eq!(decode(&read.bytes).unwrap().as_value(), &plain);
    let missing = server.ask("GET", &format!("{CONFIG_MAPS}/b"), &[ACCEPT], "").is(404);
    assert!(missing.bytes.starts_with(b"k8s\0") && missing.text.contains("configmaps \"b\" not found"));
    let list = server.ask("GET", CONFIG_MAPS, &[ACCEPT], "").is(200);
    assert!(list.bytes.starts_with(b"k8s\0") && list.text.contains("ConfigMapList"));
    let partial = format!("{CONTENT_TYPE};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let partial = server.ask("GET", &path, &[("accept", partial.as_str())], "").is(200);
    assert!(partial.text.contains("PartialObjectMetadata") && !partial.text.contains("k1"));
    let watch = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&labelSelector=x%3Dy");
    let watch = server.ask("GET", &watch, &[ACCEPT], "").is(200);
    assert_eq!(watch.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let length = u32::from_be_bytes(watch.bytes[..4].try_into().unwrap()) as usize;
    assert_eq!(watch.bytes.len(), length + 4);
    assert!(watch.bytes[4..].starts_with(b"\x0a\x05ADDED\x12"), "{}", watch.text);
    // Discovery has no protobuf here; no client asks for it so.
    server.ask("GET", "/apis", &[ACCEPT], "").is(406);
    let yaml = server.ask("GET", &path, &[("accept", "application/yaml")], "").is(200);
    assert_eq!((yaml.headers["content-type"].as_bytes(), yaml.json()), (&b"application/yaml"[..], plain));
    let html = server.ask("GET", &path, &[("accept", "text/html")], "").is(406);
    assert!(html.message().starts_with("only the following media types are accepted: application/json"));
}

#[test]
fn large_answers_are_compressed() {
    let server = Server::start();
    let gzip = [("accept-encoding", "gzip")];
    assert!(!server.ask("GET", CONFIG_MAPS, &gzip, "").is(200).headers.contains_key("content-encoding"));
    let body = json!({"metadata": {"name": "a"}, "data": {"k": "lorem ipsum ".repeat(20_000)}}).to_string();
    server.ask("POST", CONFIG_MAPS, &[], body).is(201);
    for path in [CONFIG_MAPS, "/api/v1/namespaces/default/configmaps/a", "/openapi/v3/api/v1"] {
        let plain = server.get(path).is(200);
        assert!(!plain.headers.contains_key("content-encoding"));
        let small = server.ask("GET", path, &gzip, "").is(200);
        assert_eq!(
            (&small.headers["content-encoding"], &small.headers["vary"]),
            (&"gzip", &"Accept-Encoding")
        );
        assert!(small.bytes.len() * 4 < plain.bytes.len(), "{path}");
        let mut text = String::new();
        GzDecoder::new(&small.bytes[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, plain.text, "{path}");
    }
}

#[test]
fn openapi_two() {
    let server = Server::start();
    let json = server.get("/openapi/v2").is(200);
    assert_eq!(json.json()["swagger"], "2.0");
    let tag = json.headers["etag"].to_str().unwrap().to_owned();
    server.ask("GET", "/openapi/v2", &[("if-none-match", tag.as_str())], "").is(304);
    let spelling = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let protobuf = server.ask("GET", "/openapi/v2", &[("accept", spelling)], "").is(200);
    assert_eq!(
        protobuf.headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert!(protobuf.text.contains("io.k8s.api.core.v1.Pod"));
    server.ask("GET", "/openapi/v2", &[("accept", "text/html")], "").is(406);
    for kind in ["deployment.spec.strategy", "cronjob.spec.jobTemplate", "hpa.spec.metrics", "role.rules"] {
        assert!(server.kubectl(&format!("explain {kind}")).ok().contains("FIELD"), "{kind}");
    }
}
