//! What a person types.

use crate::server::Server;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  nodeName: n1
  containers:
  - name: a
    image: busybox
    ports: [{containerPort: 80}]
";

const NODE: &str = "
apiVersion: v1
kind: Node
metadata:
  name: n1
";

#[test]
fn a_day_with_kubectl() {
    let server = Server::start();
    server.write("node.yaml", NODE);
    server.write("pod.yaml", POD);
    assert!(server.kubectl("get pods").ok().contains("No resources found in default namespace."));
    assert!(server.kubectl("create -f node.yaml").ok().contains("node/n1 created"));
    let nodes = server.kubectl("get nodes -o wide").ok();
    assert!(nodes.contains("NAME") && nodes.contains("n1"), "{nodes}");
    let watch = server.kubectl_background("get pods -w", "watch");
    assert!(server.kubectl("apply -f pod.yaml").ok().contains("pod/web created"));
    assert!(server.kubectl("apply -f pod.yaml").ok().contains("pod/web unchanged"));
    server.write("pod.yaml", &POD.replace("{app: web}", "{app: web, tier: front}"));
    assert!(server.kubectl("apply -f pod.yaml").ok().contains("pod/web configured"));
    assert!(server.kubectl("get pod web --show-labels").ok().contains("tier=front"));
    let seen = watch.until("web");
    assert!(seen.contains("STATUS") && seen.contains("Pending"), "{seen}");
    assert_eq!(server.kubectl("get pod web -o jsonpath={.spec.containers[0].image}").ok(), "busybox");
    assert!(server.kubectl("get pods -A -o json").ok().contains("\"name\": \"web\""));
    assert!(server.kubectl("get po -l app=web,tier -o name").ok().contains("pod/web"));
    server.kubectl("label pod web color=red").ok();
    server.kubectl("annotate pod web note=hello").ok();
    assert!(server.kubectl("get pods -l color=red").ok().contains("web"));
    server.kubectl("patch pod web -p {\"metadata\":{\"labels\":{\"color\":null}}}").ok();
    assert!(server.kubectl("get pods -l color=red").ok().contains("No resources"));
    let invalid = server.kubectl("patch pod web -p {\"spec\":{\"nodeName\":\"n2\"}}").fails();
    assert!(invalid.contains("invalid") || invalid.contains("Forbidden"), "{invalid}");
    let told = server.kubectl("describe pod web").ok();
    assert!(told.contains("Node:") && told.contains("busybox"), "{told}");
    assert!(server.kubectl("describe node n1").ok().contains("Non-terminated Pods"), "describe node");
    assert!(server.kubectl("logs web").fails().contains("is waiting to start"));
    assert!(server.kubectl("logs web -c b").fails().contains("container b is not valid for pod web"));
    let drained = server.kubectl("drain n1 --force --dry-run=server").ok();
    assert!(drained.contains("evicting pod default/web (server dry run)"), "{drained}");
    assert!(server.kubectl("delete pod web --now --wait=false").ok().contains("deleted"));
    assert!(server.kubectl("get pods").ok().contains("Terminating"));
    assert!(server.kubectl("delete pod web --force --grace-period=0").ok().contains("deleted"));
    assert!(server.kubectl("delete -f node.yaml").ok().contains("node \"n1\" deleted"));
    assert!(server.kubectl("get node n1").fails().contains("nodes \"n1\" not found"));
}

#[test]
fn finding_ones_way() {
    let server = Server::start();
    let resources = server.kubectl("api-resources").ok();
    for row in ["pods", "coordination.k8s.io/v1", "configmaps"] {
        assert!(resources.contains(row), "{resources}");
    }
    assert!(server.kubectl("api-versions").ok().contains("coordination.k8s.io/v1"));
    assert!(server.kubectl("version").ok().contains("+midge"));
    assert!(server.kubectl("explain pod.spec.containers").ok().contains("image"));
    assert!(server.kubectl("explain pod --recursive").ok().contains("nodeName"));
    assert!(server.kubectl("get gadgets").fails().contains("the server doesn't have a resource type"));
    server.write(
        "odd.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\ndata: {a: b}\ndada: {}\n",
    );
    assert!(server.kubectl("apply -f odd.yaml").fails().contains("unknown field \"dada\""));
    assert!(server.kubectl("apply -f odd.yaml --validate=warn").ok().contains("unknown field"));
    server.write("cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: b}\n");
    assert!(server.kubectl("diff -f cm.yaml").fails().contains("+  a: b"));
    server.kubectl("create -f cm.yaml").ok();
    server.kubectl("replace -f cm.yaml").ok();
    server.kubectl("delete cm cm --dry-run=server").ok();
    server.kubectl("get cm cm").ok();
    server.kubectl("delete configmaps --all").ok();
    assert!(server.kubectl("get ns").ok().contains("kube-system"));
    assert!(server.kubectl("get events -A").ok().len() > 1);
}

#[test]
fn waiting() {
    let server = Server::start();
    server.write("node.yaml", NODE);
    server.write("pod.yaml", POD);
    server.kubectl("create -f node.yaml").ok();
    server.kubectl("create -f pod.yaml").ok();
    let mut wait = server.kubectl_background("wait --for=condition=Ready pod/web --timeout=10s", "wait");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    let merge = [("content-type", "application/merge-patch+json")];
    server.ask("PATCH", "/api/v1/namespaces/default/pods/web/status", &merge, ready).is(200);
    wait.ends();
    wait.until("condition met");
    let mut wait = server.kubectl_background("delete pod web", "deleted");
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.ask("DELETE", "/api/v1/namespaces/default/pods/web?gracePeriodSeconds=0", &[], "").is(200);
    wait.ends();
}
