//! Clients in other languages, and Helm: tests/setup.sh puts them into target/tools.

use std::path::Path;

use crate::server::Server;

/// A program or folder of target/tools.
fn tool(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(path.exists(), "{} is not there: run tests/setup.sh", path.display());
    path.to_string_lossy().into_owned()
}

fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn python() {
    let server = Server::start();
    assert!(
        server
            .run(&tool("clients/python/bin/python"), &[&script("python.py")])
            .ok()
            .ends_with("python: ok\n")
    );
}

#[test]
#[ignore = "needs npm: tests/setup.sh javascript"]
fn javascript() {
    let server = Server::start();
    assert!(
        server
            .run("node", &[&script("javascript.mjs"), &tool("clients/node_modules")])
            .ok()
            .ends_with("javascript: ok\n")
    );
}

const CHART: &[(&str, &str)] = &[
    ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\nappVersion: '1'\n"),
    ("values.yaml", "color: red\n"),
    (
        "templates/all.yaml",
        "apiVersion: v1
kind: ConfigMap
metadata: {name: '{{ .Release.Name }}'}
data: {color: '{{ .Values.color }}', revision: '{{ .Release.Revision }}'}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: '{{ .Release.Name }}', labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: busybox, ports: [{containerPort: 80}]}]
",
    ),
];

/// A release's life, with objects written by server-side apply or not.
fn release(server_side: &str) {
    let helm = tool("bin/helm");
    let server = Server::start();
    std::fs::create_dir_all(server.folder().join("web/templates")).unwrap();
    for (name, text) in CHART {
        server.write(&format!("web/{name}"), text);
    }
    let helm = |line: &str| {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        server.run(&helm, &arguments).ok()
    };
    let color = || server.kubectl("get configmap one -o jsonpath={.data}").ok();
    let installed = helm(&format!("install one ./web {server_side}"));
    assert!(installed.contains("STATUS: deployed"), "{installed}");
    assert_eq!(color(), r#"{"color":"red","revision":"1"}"#);
    let upgraded = helm(&format!("upgrade one ./web --set color=blue {server_side}"));
    assert!(upgraded.contains("REVISION: 2"), "{upgraded}");
    assert_eq!(color(), r#"{"color":"blue","revision":"2"}"#);
    assert!(helm("list").contains("web-0.1.0"));
    assert!(helm("status one").contains("STATUS: deployed"));
    assert!(helm("get manifest one").contains("color: 'blue'"));
    assert!(helm(&format!("rollback one 1 {server_side}")).contains("Rollback was a success"));
    assert_eq!(color(), r#"{"color":"red","revision":"1"}"#);
    let history = helm("history one");
    assert!(history.contains("superseded") && history.contains("Rollback to 1"), "{history}");
    assert!(helm("uninstall one").contains("uninstalled"));
    assert!(server.kubectl("get configmap one").fails().contains("not found"));
    assert!(server.kubectl("get deployment one").fails().contains("not found"));
    assert!(!server.kubectl("get secrets").ok().contains("helm.sh/release"));
}

#[test]
fn helm() {
    release("--server-side=false");
    release("");
}
