//! Watches: what happens, what was missed, and how they end.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: (&str, &str) = ("content-type", "application/json");

fn create(server: &Server, name: &str, label: &str) -> Value {
    let body = json!({"metadata": {"name": name, "labels": {"color": label}}, "data": {}});
    server.ask("POST", CONFIG_MAPS, &[JSON], body.to_string()).is(201).json()
}

/// The events of a watch that ends by itself, but for what the server makes whenever it gets to it.
fn events(server: &Server, query: &str) -> Vec<(String, String, Value)> {
    let answer = server.get(&format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&{query}")).is(200);
    BufReader::new(answer.text.as_bytes())
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["type"]), text(&event["object"]["metadata"]["name"]), event["object"].clone())
        })
        .filter(|(_, name, _)| name != "kube-root-ca.crt")
        .collect()
}

fn short(events: &[(String, String, Value)]) -> Vec<(&str, &str)> {
    events.iter().map(|(name, object, _)| (name.as_str(), object.as_str())).collect()
}

#[test]
fn from_a_revision_nothing_is_missed() {
    let server = Server::start();
    let first = create(&server, "a", "red");
    let from = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    create(&server, "b", "red");
    let merge = [("content-type", "application/merge-patch+json")];
    let repaint = r#"{"metadata":{"labels":{"color":"blue"}}}"#;
    server.ask("PATCH", &format!("{CONFIG_MAPS}/b"), &merge, repaint).is(200);
    server.ask("DELETE", &format!("{CONFIG_MAPS}/a"), &[], "").is(200);
    let all = events(&server, &format!("resourceVersion={from}&labelSelector=color"));
    assert_eq!(short(&all)[..3], [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]);
    // What ceases to match is gone for the watcher.
    let red = events(&server, &format!("resourceVersion={from}&labelSelector=color%3Dred"));
    assert_eq!(short(&red), [("ADDED", "b"), ("DELETED", "b"), ("DELETED", "a")]);
    let named = events(&server, &format!("resourceVersion={from}&fieldSelector=metadata.name%3Da"));
    assert_eq!(short(&named), [("DELETED", "a")]);
    // Without a revision: what is there first.
    assert!(short(&events(&server, "labelSelector=color")).contains(&("ADDED", "b")));
    // The other shapes.
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path =
        format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion={from}&labelSelector=color");
    let answer = server.ask("GET", &path, &table, "").is(200);
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["object"]["rows"][0]["cells"][0], "b");
    assert!(lines[0]["object"]["columnDefinitions"].as_array().is_some_and(|columns| !columns.is_empty()));
    assert!(lines[1]["object"]["columnDefinitions"].as_array().is_none_or(Vec::is_empty), "{}", lines[1]);
}

#[test]
fn lists_that_stream() {
    let server = Server::start();
    create(&server, "a", "red");
    let query = "labelSelector=color&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let seen = events(&server, query);
    assert_eq!(short(&seen)[..2], [("ADDED", "a"), ("BOOKMARK", "")]);
    let bookmark = &seen[1].2["metadata"];
    assert_eq!(bookmark["annotations"]["k8s.io/initial-events-end"], "true");
    let revision: u64 = bookmark["resourceVersion"].as_str().unwrap().parse().unwrap();
    let listed = server.get(CONFIG_MAPS).json();
    assert!(revision <= listed["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap());
    // The last word of a watch is how far it came, whatever kinds changed meanwhile.
    let namespace = json!({"metadata": {"name": "elsewhere"}}).to_string();
    server.ask("POST", "/api/v1/namespaces", &[JSON], &namespace).is(201);
    let idle = events(&server, &format!("resourceVersion={revision}&allowWatchBookmarks=true"));
    assert_eq!(short(&idle), [("BOOKMARK", "")]);
    let reached: u64 = idle[0].2["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(reached > revision, "{reached} {revision}");
    assert_eq!(events(&server, &format!("resourceVersion={revision}")).len(), 0);
    server.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).is(422);
    server.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersionMatch=Exact")).is(422);
}

#[test]
fn a_revision_from_before_a_restart_is_gone() {
    let server = Server::start();
    let from = create(&server, "a", "red")["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let secret = server.secret();
    let server = server.restart();
    assert_eq!(server.secret(), secret);
    let kept = server.get(&format!("{CONFIG_MAPS}/a")).is(200).json();
    assert_eq!(kept["metadata"]["resourceVersion"], from.as_str());
    let gone = events(&server, &format!("resourceVersion={from}"));
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].0.as_str(), &gone[0].2["code"]), ("ERROR", &json!(410)));
    assert_eq!(gone[0].2["reason"], "Expired");
}

#[test]
fn watches_end_with_the_server() {
    let server = Server::start();
    let mut watch = server.kubectl_background("get namespaces -w -o name", "out");
    watch.until("namespace/default");
    let start = std::time::Instant::now();
    let server = server.restart();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    watch.ends();
    drop(server);
}
