//! Requests that make no sense are refused: none is a 500, and the server goes on.

use serde_json::{Value, json};

use crate::server::Server;

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: (&str, &str) = ("content-type", "application/json");

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["a.b/c"]},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "c", "image": "i", "command": ["x"], "ports": [{"containerPort": 80, "name": "w"}],
                "env": [{"name": "A", "value": "1"}],
                "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "5Gi"}}
            }],
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "nodeSelector": {"a": "b"}
        }
    })
}

/// What stands where something else should.
fn oddities() -> Vec<Value> {
    let long = "x".repeat(70_000);
    vec![
        Value::Null,
        json!(-1),
        json!(1.5e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!("\0"),
        json!(""),
        json!("99999999999Ei"),
        json!("1e-400"),
        json!("é"),
        json!(long),
        json!([null]),
        json!([[]]),
        json!({"": null}),
        json!([{"name": "c"}, {"name": "c"}]),
    ]
}

/// The places in a value, as JSON pointers.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), into));
        }
        _ => {}
    }
}

#[test]
fn objects() {
    let server = Server::start();
    server.ask("POST", PODS, &[JSON], pod().to_string()).is(201);
    let (mut all, oddities) = (Vec::new(), oddities());
    places(&pod(), "", &mut all);
    let (one, dry) = (format!("{PODS}/p?dryRun=All"), format!("{PODS}?dryRun=All"));
    for (number, place) in all.iter().enumerate() {
        for step in [0, 4, 9] {
            let odd = &oddities[(number + step) % oddities.len()];
            let mut changed = pod();
            *changed.pointer_mut(place).unwrap() = odd.clone();
            let body = changed.to_string();
            let jsonpatch = json!([{"op": "add", "path": place, "value": odd}, {"op": "copy", "from": place, "path": "/spec"}]);
            for (method, path, media, body) in [
                ("POST", &dry, "json", &body),
                ("PUT", &one, "json", &body),
                ("PATCH", &one, "strategic-merge-patch+json", &body),
                ("PATCH", &one, "merge-patch+json", &body),
                ("PATCH", &one, "json-patch+json", &jsonpatch.to_string()),
            ] {
                let media = format!("application/{media}");
                let answer = server.ask(method, path, &[("content-type", &media)], body);
                assert!(answer.code < 500, "{method} of {odd} at {place}: {}", answer.text);
            }
        }
    }
}

#[test]
fn texts() {
    let server = Server::start();
    let deep = [b"[".repeat(100_000), b"{\"a\":".repeat(5_000)];
    let texts: [&[u8]; 9] = [
        b"",
        b"\0\0\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"1e999999999",
        b"{\"metadata\":{\"name\":\"\\ud800\"}}",
        b"{\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
        &deep[0],
        &deep[1],
    ];
    for text in texts {
        for (method, path) in [
            ("POST", PODS.to_owned()),
            ("PUT", format!("{PODS}/p")),
            ("DELETE", format!("{PODS}/p")),
            ("POST", format!("{PODS}/p/eviction")),
            ("POST", "/v1-midge/tokens".to_owned()),
        ] {
            let answer = server.ask(method, &path, &[JSON], text);
            assert!(answer.code < 500, "{method} {path} {text:?}: {}", answer.text);
        }
        for media in ["json-patch", "merge-patch", "strategic-merge-patch"] {
            let media = format!("application/{media}+json");
            let path = "/api/v1/namespaces/default";
            let answer = server.ask("PATCH", path, &[("content-type", &media)], text);
            assert!(answer.code < 500, "{media} {text:?}: {}", answer.text);
        }
    }
}

#[test]
fn queries_and_paths() {
    let server = Server::start();
    let names = [
        "limit",
        "continue",
        "labelSelector",
        "fieldSelector",
        "resourceVersion",
        "timeoutSeconds",
        "dryRun",
    ];
    let values =
        ["", "-1", "99999999999999999999", "18446744073709551615", "%00", "%ff", "%zz", "a+in+(b", "!", "="];
    for name in names {
        for value in values {
            // A revision that is yet to come is a 504, as upstream.
            let answer = server.get(&format!("{PODS}?{name}={value}"));
            assert!(answer.code < 500 || answer.code == 504, "{name}={value}: {}", answer.text);
        }
    }
    for path in [
        "//",
        "/api//",
        "/apis//",
        "/apis/x/",
        "/openapi/v3/apis//",
        "/api/v1/namespaces//pods",
        "/%",
        "/%00",
    ] {
        assert!(server.get(path).code < 500, "{path}");
    }
    for accept in ["*/*;q=nan", "a,b,;;;==,", "application/json;q=-1,*/*;q=inf"] {
        assert!(server.ask("GET", PODS, &[("accept", accept)], "").code < 500, "{accept}");
    }
}
