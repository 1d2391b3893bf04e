use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

fn pod(spec: Value) -> Pod {
    Pod::of(&object(json!({"metadata": {"name": "p"}, "spec": spec})))
}

/// A pod of one container with these requests.
fn asking(cpu: &str, memory: &str) -> Pod {
    pod(json!({"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}))
}

fn node(name: &str, extra: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    for (pointer, value) in extra.as_object().into_iter().flatten() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        node.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    Node::of(&object(node))
}

fn message(pod: &Pod, nodes: &[Node]) -> String {
    match schedule(pod, nodes) {
        Decision::Unschedulable(message) => message,
        Decision::Bind(node) => format!("-> {node}"),
    }
}

#[test]
fn each_filter_says_why() {
    let plain = || pod(json!({}));
    let taint = |effect: &str| json!({"/spec/taints": [{"key": "lab", "value": "x", "effect": effect}]});
    let tolerating = |toleration: Value| pod(json!({"tolerations": [toleration]}));
    let only = "0/1 nodes are available: 1 ";
    let table: Vec<(Pod, Value, &str)> = vec![
        (plain(), json!({}), "-> n"),
        (asking("2", "1Gi"), json!({}), "-> n"),
        (asking("2001m", "1"), json!({}), "Insufficient cpu."),
        (asking("3", "2Gi"), json!({}), "Insufficient cpu, 1 Insufficient memory."),
        (
            pod(json!({"containers": [{"resources": {"requests": {"x.io/gpu": 1}}}]})),
            json!({}),
            "Insufficient x.io/gpu.",
        ),
        (plain(), json!({"/status/allocatable": {"cpu": "2"}}), "Too many pods."),
        (plain(), json!({"/spec/unschedulable": true}), "node(s) were unschedulable."),
        (tolerating(json!({"operator": "Exists"})), json!({"/spec/unschedulable": true}), "-> n"),
        (plain(), taint("NoSchedule"), "node(s) had untolerated taint {lab: x}."),
        (plain(), taint("NoExecute"), "node(s) had untolerated taint {lab: x}."),
        (plain(), taint("PreferNoSchedule"), "-> n"),
        (tolerating(json!({"key": "lab", "value": "x"})), taint("NoSchedule"), "-> n"),
        (
            tolerating(json!({"key": "lab", "operator": "Equal", "value": "y"})),
            taint("NoSchedule"),
            "node(s) had untolerated taint {lab: x}.",
        ),
        (
            tolerating(json!({"key": "lab", "operator": "Exists", "effect": "NoSchedule"})),
            taint("NoExecute"),
            "node(s) had untolerated taint {lab: x}.",
        ),
        (
            tolerating(json!({"key": "", "operator": "Equal"})),
            taint("NoSchedule"),
            "node(s) had untolerated taint {lab: x}.",
        ),
        (pod(json!({"nodeSelector": {"kubernetes.io/hostname": "n"}})), json!({}), "-> n"),
        (
            pod(json!({"nodeSelector": {"disk": "ssd"}})),
            json!({}),
            "node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            plain(),
            json!({"/status/conditions": []}),
            "node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
        ),
        (
            plain(),
            json!({"/status/conditions": [{"type": "Ready", "status": "Unknown"}]}),
            "node(s) had untolerated taint {node.kubernetes.io/unreachable: }.",
        ),
    ];
    for (pod, extra, expected) in table {
        let expected =
            if expected.starts_with("->") { expected.to_owned() } else { format!("{only}{expected}") };
        assert_eq!(message(&pod, &[node("n", extra.clone())]), expected, "{extra}");
    }
    assert_eq!(message(&plain(), &[]), "no nodes available to schedule pods");
}

#[test]
fn reasons_are_counted_over_nodes() {
    let down = json!({"/status/conditions": [{"type": "Ready", "status": "False"}]});
    let small = json!({"/status/allocatable": {"cpu": "4", "memory": "64Mi", "pods": "9"}});
    let nodes = [node("a", small.clone()), node("b", small), node("c", down)];
    assert_eq!(
        message(&asking("1", "128Mi"), &nodes),
        "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient memory."
    );
}

#[test]
fn pods_on_a_node_take_room() {
    let mut nodes = [node("n", json!({}))];
    nodes[0].take(&asking("1500m", "1Mi"));
    assert_eq!(message(&asking("500m", "1Mi"), &nodes), "-> n");
    assert_eq!(message(&asking("501m", "1Mi"), &nodes), "0/1 nodes are available: 1 Insufficient cpu.");
    let port = pod(json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}));
    assert_eq!(message(&port, &nodes), "-> n");
    nodes[0].take(&port);
    let taken = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(message(&port, &nodes), taken);
    nodes[0].take(&pod(json!({})));
    assert_eq!(message(&pod(json!({})), &nodes), "0/1 nodes are available: 1 Too many pods.");
}

#[test]
fn init_containers_count_as_much_as_they_need_at_once() {
    let of = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
    let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    let cpu = |spec: Value| {
        let mut nodes = [node("n", json!({"/status/allocatable": {"cpu": "10", "pods": "3"}}))];
        nodes[0].take(&pod(spec));
        // What is left tells what was taken.
        (1..=100)
            .rev()
            .find(|left| message(&asking(&format!("{}m", left * 100), "0"), &nodes) == "-> n")
            .map(|left| 100 - left)
    };
    assert_eq!(cpu(json!({"containers": [of("1"), of("1")], "initContainers": [of("1500m")]})), Some(20));
    assert_eq!(cpu(json!({"containers": [of("1")], "initContainers": [of("1500m"), of("3")]})), Some(30));
    let mixed = json!({"containers": [of("1")], "initContainers": [sidecar("1"), of("1500m")]});
    assert_eq!(cpu(mixed), Some(25));
    assert_eq!(cpu(json!({"containers": [of("1")], "overhead": {"cpu": "500m"}})), Some(15));
}

#[test]
fn the_emptiest_node_wins() {
    let large = json!({"/status/allocatable": {"cpu": "8", "memory": "8Gi", "pods": "9"}});
    let mut nodes = [node("a", json!({})), node("b", large), node("c", json!({}))];
    assert_eq!(message(&pod(json!({})), &nodes), "-> b");
    nodes[1].take(&asking("7", "7Gi"));
    assert_eq!(message(&pod(json!({})), &nodes), "-> a", "of equals the first");
    nodes[0].take(&pod(json!({})));
    assert_eq!(message(&pod(json!({})), &nodes), "-> c", "the one with fewer pods");
    let disliked = json!({"/spec/taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    let nodes = [node("a", disliked), node("b", json!({"/status/allocatable": {"cpu": "1", "pods": "1"}}))];
    assert_eq!(message(&pod(json!({})), &nodes), "-> b", "a taint to be avoided weighs more than room");
}

#[test]
fn a_pod_goes_where_its_volumes_are() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let on = |host: &str| {
        json!({"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]})
    };
    let with = |claims: Vec<Claim>| message(&pod(json!({})).with_claims(claims), &nodes);
    let waits = |is_provisioned: bool, volumes: Vec<Value>| Claim::Waits { is_provisioned, volumes };
    for (claims, expected) in [
        (vec![Claim::Bound(on("b"))], "-> b"),
        (vec![Claim::Bound(Value::Null)], "-> a"),
        (vec![waits(true, vec![])], "-> a"),
        (vec![waits(false, vec![on("b")])], "-> b"),
        (
            vec![waits(false, vec![])],
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
        ),
        (
            vec![Claim::Bound(on("a")), Claim::Bound(on("b"))],
            "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity.",
        ),
        (vec![Claim::Refused("no claim".into())], "0/2 nodes are available: no claim."),
    ] {
        assert_eq!(with(claims), expected);
    }
}
