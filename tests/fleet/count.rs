//! What the API says of a fleet.

use crate::load::{Client, Target};
use serde_json::Value;

/// Looks at all objects of a list, in pages.
fn count(target: &Target, path: &str, which: impl Fn(&Value) -> bool) -> usize {
    let mut client = Client::connect(target).unwrap();
    let (mut found, mut token) = (0, String::new());
    loop {
        let answer = client.ask("GET", &format!("{path}?limit=500&continue={token}"), "", b"").unwrap();
        let list: Value = serde_json::from_slice(&answer.body).unwrap();
        found += list["items"].as_array().unwrap().iter().filter(|item| which(item)).count();
        match list["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => return found,
        }
    }
}

pub fn ready_nodes(target: &Target) -> usize {
    count(target, "/api/v1/nodes", |node| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

pub fn running_pods(target: &Target) -> usize {
    count(target, "/api/v1/pods", |pod| pod["status"]["phase"] == "Running")
}

/// Objects whose controller has seen them as they are.
pub fn observed(target: &Target, path: &str) -> usize {
    count(target, path, |object| object["status"]["observedGeneration"] == object["metadata"]["generation"])
}

/// Name, uid and resourceVersion of every pod.
pub fn pods(target: &Target) -> Vec<[String; 3]> {
    let mut client = Client::connect(target).unwrap();
    let list = client.ask("GET", "/api/v1/pods", "", b"").unwrap().body;
    let list: Value = serde_json::from_slice(&list).unwrap();
    let field = |pod: &Value, name: &str| pod["metadata"][name].as_str().unwrap().to_owned();
    let pods = list["items"].as_array().unwrap().iter();
    pods.map(|pod| ["name", "uid", "resourceVersion"].map(|name| field(pod, name))).collect()
}
