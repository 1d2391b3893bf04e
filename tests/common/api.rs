//! Requests to the API without kubectl, for what must be timed more finely than a program's start.

use super::cluster::{Cluster, IMAGE};
use data_encoding::BASE64;
use http_body_util::{BodyExt, Full};
use midge::Executor;
use midge::http::Url;
use midge::http::client::Client;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The admin's view of a cluster, from its server's host.
pub struct Api {
    netns: PathBuf,
    url: Url,
    certificate: String,
    token: String,
}

impl Api {
    pub fn new(cluster: &Cluster) -> Api {
        let kubeconfig = std::fs::read_to_string(cluster.server.folder.join("kubeconfig")).unwrap();
        let field = |name: &str| {
            let line = kubeconfig.lines().find(|line| line.trim().starts_with(name)).unwrap();
            line.trim().trim_start_matches(name).trim().to_string()
        };
        let certificate = BASE64.decode(field("certificate-authority-data:").as_bytes()).unwrap();
        Api {
            netns: cluster.server.host.netns_path(),
            url: field("server:").parse().unwrap(),
            certificate: String::from_utf8(certificate).unwrap(),
            token: field("token:"),
        }
    }

    /// The answer's JSON, or `Null` when there is none.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        std::thread::scope(|scope| scope.spawn(|| self.ask_here(method, path, body)).join().unwrap())
    }

    /// On this thread, which moves to the host for good.
    fn ask_here(&self, method: &str, path: &str, body: &Value) -> Value {
        let netns = File::open(&self.netns).unwrap();
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let tls = midge::tls::client_config_pinned(&self.certificate).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        let executor = Executor::default();
        smol::block_on(executor.run(async {
            let mut client = Client::connect(&self.url, tls, Duration::from_secs(2), &executor).await.ok()?;
            let answer = client.send(request).await.ok()?;
            serde_json::from_slice(&answer.into_body().collect().await.ok()?.to_bytes()).ok()
        }))
        .unwrap_or_default()
    }

    pub fn create_pod(&self, name: &str) {
        self.create(
            name,
            json!({"terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "1000000"]}]}),
        );
    }

    /// Creates a pod with this spec.
    pub fn create(&self, name: &str, spec: Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let made = self.ask("POST", "/api/v1/namespaces/default/pods", &pod);
        assert_eq!(made["kind"], "Pod", "{made}");
    }

    pub fn phase(&self, pod: &str) -> String {
        let pod = self.ask("GET", &format!("/api/v1/namespaces/default/pods/{pod}"), &Value::Null);
        pod["status"]["phase"].as_str().unwrap_or_default().to_string()
    }

    /// How many of the pods `names` run.
    pub fn running(&self, names: &[String]) -> usize {
        self.count(names, |pod| pod["status"]["phase"] == "Running")
    }

    /// How many of the pods `names` there are.
    pub fn present(&self, names: &[String]) -> usize {
        self.count(names, |_| true)
    }

    fn count(&self, names: &[String], which: impl Fn(&Value) -> bool) -> usize {
        let list = self.ask("GET", "/api/v1/namespaces/default/pods", &Value::Null);
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let named = |pod: &&Value| names.iter().any(|name| pod["metadata"]["name"] == name.as_str());
        pods.iter().filter(named).filter(|pod| which(pod)).count()
    }

    pub fn node_is_ready(&self, node: &str) -> bool {
        let node = self.ask("GET", &format!("/api/v1/nodes/{node}"), &Value::Null);
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    /// Looks again and again, without a pause, until `done`.
    #[track_caller]
    pub fn until(&self, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s");
        }
    }

    pub fn until_ready(&self) {
        self.until(|| self.ask("GET", "/api/v1/namespaces/default", &Value::Null)["kind"] == "Namespace");
    }
}
