use std::sync::Arc;
use std::time::Instant as Clock; // a measurement needs one

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

fn node(name: &str, extra: Value) -> Object {
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
    object(node)
}

fn cluster(nodes: impl IntoIterator<Item = Object>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        assert!(cluster.set_node(&node));
        assert!(!cluster.set_node(&node));
    }
    cluster
}

/// Puts a pod of this name onto a node.
fn put(cluster: &mut Cluster, node: &str, name: &str, pod: Value) {
    let mut pod = object(pod);
    pod.set("/metadata/name", name);
    pod.set("/metadata/namespace", "default");
    cluster.place(node, Arc::new(Facts::of(&pod)));
}

fn spec(cpu: &str, memory: &str) -> Value {
    json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}})
}

fn message(pod: &Pod, cluster: &Cluster) -> String {
    match schedule(pod, cluster) {
        Decision::Unschedulable(refused) => refused.message,
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
        assert_eq!(message(&pod, &cluster([node("n", extra.clone())])), expected, "{extra}");
    }
    assert_eq!(message(&plain(), &cluster([])), "no nodes available to schedule pods");
}

#[test]
fn reasons_are_counted_over_nodes() {
    let down = json!({"/status/conditions": [{"type": "Ready", "status": "False"}]});
    let small = json!({"/status/allocatable": {"cpu": "4", "memory": "64Mi", "pods": "9"}});
    let nodes = cluster([node("a", small.clone()), node("b", small), node("c", down)]);
    assert_eq!(
        message(&asking("1", "128Mi"), &nodes),
        "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient memory."
    );
}

#[test]
fn pods_on_a_node_take_room() {
    let mut nodes = cluster([node("n", json!({}))]);
    put(&mut nodes, "n", "first", spec("1500m", "1Mi"));
    put(&mut nodes, "n", "first", spec("1500m", "1Mi"));
    assert_eq!(message(&asking("500m", "1Mi"), &nodes), "-> n");
    assert_eq!(message(&asking("501m", "1Mi"), &nodes), "0/1 nodes are available: 1 Insufficient cpu.");
    let port = json!({"spec": {"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let wants = Pod::of(&object(port.clone()));
    assert_eq!(message(&wants, &nodes), "-> n");
    put(&mut nodes, "n", "port", port);
    let taken = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(message(&wants, &nodes), taken);
    put(&mut nodes, "n", "third", json!({}));
    assert_eq!(message(&pod(json!({})), &nodes), "0/1 nodes are available: 1 Too many pods.");
    for name in ["first", "port", "third"] {
        assert!(nodes.remove(&format!("default/{name}")));
    }
    assert!(!nodes.remove("default/first"));
    assert_eq!(message(&wants, &nodes), "-> n");
    assert_eq!(message(&asking("2", "1Gi"), &nodes), "-> n");
}

#[test]
fn init_containers_count_as_much_as_they_need_at_once() {
    let of = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
    let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    let cpu = |spec: Value| {
        let mut nodes = cluster([node("n", json!({"/status/allocatable": {"cpu": "10", "pods": "3"}}))]);
        put(&mut nodes, "n", "p", json!({"spec": spec}));
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
    let mut nodes = cluster([node("a", json!({})), node("b", large), node("c", json!({}))]);
    assert_eq!(message(&pod(json!({"containers": [{}]})), &nodes), "-> b");
    put(&mut nodes, "b", "large", spec("7", "7Gi"));
    assert_eq!(message(&asking("0", "0"), &nodes), "-> a", "of equals the first");
    put(&mut nodes, "a", "small", json!({}));
    assert_eq!(message(&asking("0", "0"), &nodes), "-> c", "the one with fewer pods");
    let disliked = json!({"/spec/taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    let small = json!({"/status/allocatable": {"cpu": "1", "pods": "1"}});
    let nodes = cluster([node("a", disliked), node("b", small)]);
    assert_eq!(message(&pod(json!({})), &nodes), "-> b", "a taint to be avoided weighs more than room");
}

#[test]
fn a_pod_goes_where_its_volumes_are() {
    let nodes = cluster([node("a", json!({})), node("b", json!({}))]);
    let on = |host: &str| {
        json!({"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]})
    };
    let with = |claims: Vec<Claim>| message(&pod(json!({})).with_claims(claims), &nodes);
    let waits =
        |is_provisioned: bool, volumes: Vec<Value>| Claim::Waits { is_provisioned, volumes, chosen: None };
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

/// Three nodes; `a` and `b` are in the zone `left`, `c` is in `right`.
fn zones() -> Cluster {
    let zone = |zone: &str| json!({"/metadata/labels/zone": zone});
    let nodes = [("a", "left"), ("b", "left"), ("c", "right")];
    let mut cluster = cluster([]);
    for (name, in_zone) in nodes {
        let mut node =
            node(name, json!({"/status/allocatable": {"cpu": "8", "memory": "8Gi", "pods": "99"}}));
        node.set("/metadata/labels/zone", zone(in_zone)["/metadata/labels/zone"].clone());
        cluster.set_node(&node);
    }
    cluster
}

fn labelled(app: &str, more: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "default", "labels": {"app": app}}, "spec": more})
}

#[test]
fn node_affinity() {
    let nodes = zones();
    let required = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let expression =
        |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
    let preferred = |weight: i64, zone: &str| json!({"weight": weight, "preference": {"matchExpressions": [expression("zone", "In", zone)]}});
    for (spec, expected) in [
        (required(json!([{"matchExpressions": [expression("zone", "In", "right")]}])), "-> c"),
        (required(json!([{"matchExpressions": [expression("zone", "NotIn", "left")]}])), "-> c"),
        (required(json!([{"matchFields": [expression("metadata.name", "In", "b")]}])), "-> b"),
        (
            required(json!([{"matchExpressions": [expression("zone", "In", "none")]}])),
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            required(json!([{"matchFields": [expression("metadata.name", "In", "none")]}])),
            "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity].",
        ),
        (
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                [preferred(1, "left"), preferred(9, "right")]}}}),
            "-> c",
        ),
    ] {
        assert_eq!(message(&pod(spec.clone()), &nodes), expected, "{spec}");
    }
}

#[test]
fn pods_spread() {
    let mut nodes = zones();
    put(&mut nodes, "a", "1", labelled("web", json!({})));
    put(&mut nodes, "c", "2", labelled("web", json!({})));
    put(&mut nodes, "c", "3", labelled("db", json!({})));
    let constrained = |key: &str, skew: i64, when: &str, more: Value| {
        let mut constraint = json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "web"}}});
        constraint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        labelled("web", json!({"topologySpreadConstraints": [constraint]}))
    };
    let refused = "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints";
    let host = "kubernetes.io/hostname";
    let hard = "DoNotSchedule";
    for (pod, expected) in [
        (constrained(host, 1, hard, json!({})), "-> b".to_owned()),
        (constrained("zone", 1, hard, json!({})), "-> b".to_owned()),
        (constrained("rack", 1, hard, json!({})), format!("{refused} (missing required label).")),
        (constrained("zone", 1, hard, json!({"minDomains": 3})), format!("{refused}.")),
        (constrained(host, 1, "ScheduleAnyway", json!({})), "-> b".to_owned()),
        (constrained("rack", 1, "ScheduleAnyway", json!({})), "-> b".to_owned()),
    ] {
        assert_eq!(message(&Pod::of(&object(pod.clone())), &nodes), expected, "{pod}");
    }
    // Only the pods of the same revision count.
    let by_hash = |hash: &str| {
        let mut pod = constrained("zone", 1, hard, json!({"matchLabelKeys": ["hash"], "minDomains": 2}));
        pod["metadata"]["labels"]["hash"] = hash.into();
        pod
    };
    put(&mut nodes, "c", "4", by_hash("x"));
    put(&mut nodes, "c", "5", by_hash("y"));
    assert_eq!(message(&Pod::of(&object(by_hash("x"))), &nodes), "-> b");
    // Nodes that the pod can't use do not count as empty domains, unless it says so.
    let tainted = json!({"/spec/taints": [{"key": "k", "effect": "NoSchedule"}]});
    let mut nodes = cluster([node("a", json!({})), node("b", tainted)]);
    put(&mut nodes, "a", "1", labelled("web", json!({})));
    let honoring = constrained(host, 1, hard, json!({"nodeTaintsPolicy": "Honor"}));
    assert_eq!(message(&Pod::of(&object(honoring)), &nodes), "-> a");
    assert_eq!(
        message(&Pod::of(&object(constrained(host, 1, hard, json!({})))), &nodes),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) had untolerated taint {k: }."
    );
}

#[test]
fn replicas_spread_unasked() {
    let mut nodes = zones();
    let owned = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "default", "ownerReferences": [{"uid": "u-1", "controller": true}]},
            "spec": {"containers": [{}]}})
    };
    for (index, expected) in ["a", "b", "c", "a"].into_iter().enumerate() {
        let name = format!("p{index}");
        assert_eq!(message(&Pod::of(&object(owned(&name))), &nodes), format!("-> {expected}"));
        put(&mut nodes, expected, &name, owned(&name));
    }
}

#[test]
fn pods_together_and_apart() {
    let mut nodes = zones();
    let term = |app: &str, key: &str, more: Value| {
        let mut term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
        term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        term
    };
    let asks = |app: &str, side: &str, terms: Value| {
        labelled(app, json!({"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}))
    };
    let prefers = |side: &str, term: Value| {
        let weighted = json!([{"weight": 50, "podAffinityTerm": term}]);
        labelled(
            "x",
            json!({"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}),
        )
    };
    let host = "kubernetes.io/hostname";
    let (near, far) = ("podAffinity", "podAntiAffinity");
    put(&mut nodes, "b", "db", labelled("db", json!({})));
    put(&mut nodes, "c", "lonely", asks("lonely", far, json!([term("guest", "zone", json!({}))])));
    let refused = |reason: &str| format!("0/3 nodes are available: 3 node(s) {reason}.");
    let labels =
        |name: &str, team: &str| object(json!({"metadata": {"name": name, "labels": {"team": team}}}));
    nodes.set_namespace(&labels("default", "one"));
    let of_team = |team: &str| json!({"namespaceSelector": {"matchLabels": {"team": team}}});
    for (pod, expected) in [
        (asks("web", near, json!([term("db", host, json!({}))])), "-> b".to_owned()),
        (asks("web", near, json!([term("db", "zone", json!({}))])), "-> a".to_owned()),
        (asks("web", near, json!([term("none", "zone", json!({}))])), refused("didn't match pod affinity rules")),
        (asks("web", near, json!([term("web", "zone", json!({}))])), "-> a".to_owned()),
        (asks("web", near, json!([term("web", "rack", json!({}))])), refused("didn't match pod affinity rules")),
        (asks("web", near, json!([term("db", host, json!({"namespaces": ["other"]}))])), refused("didn't match pod affinity rules")),
        (asks("web", near, json!([term("db", host, of_team("one"))])), "-> b".to_owned()),
        (asks("web", near, json!([term("db", host, of_team("two"))])), refused("didn't match pod affinity rules")),
        (asks("web", near, json!([term("db", host, json!({"namespaceSelector": {}}))])), "-> b".to_owned()),
        (asks("web", far, json!([term("db", "zone", json!({}))])), "-> c".to_owned()),
        (labelled("guest", json!({"nodeSelector": {"zone": "right"}})),
            "0/3 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, 2 node(s) didn't match Pod's node affinity/selector.".to_owned()),
        (asks("web", far, json!([term("db", "zone", json!({})), term("lonely", host, json!({}))])),
            refused("didn't match pod anti-affinity rules")),
        (prefers(near, term("lonely", host, json!({}))), "-> c".to_owned()),
        (prefers(far, term("db", "zone", json!({}))), "-> c".to_owned()),
    ] {
        assert_eq!(message(&Pod::of(&object(pod.clone())), &nodes), expected, "{pod}");
    }
}

#[test]
fn the_node_that_has_the_image_wins() {
    let images = json!({"/status/images": [{"names": ["docker.io/library/web:latest"], "sizeBytes": 900}]});
    let mut nodes = cluster([node("a", json!({})), node("b", images), node("c", json!({}))]);
    put(&mut nodes, "b", "busy", spec("100m", "10Mi"));
    let of = |image: &str| pod(json!({"containers": [{"image": image}]}));
    assert_eq!(message(&of("web"), &nodes), "-> b");
    assert_eq!(message(&of("web:2"), &nodes), "-> a");
    for (name, full) in [
        ("a/b", "docker.io/a/b:latest"),
        ("localhost/b:1", "localhost/b:1"),
        ("r:5000/b", "r:5000/b:latest"),
        ("b@sha256:0", "docker.io/library/b@sha256:0"),
    ] {
        assert_eq!(pod::image(name), full);
    }
}

fn preempts(pod: &Pod, nodes: &Cluster, budgets: &[Budget]) -> String {
    let Decision::Unschedulable(refused) = schedule(pod, nodes) else { panic!("it fits") };
    match preempt(pod, nodes, &refused, budgets) {
        Ok(preemption) => format!("{}: {}", preemption.node, preemption.victims.join(" ")),
        Err(why) => why,
    }
}

#[test]
fn the_less_important_make_room() {
    let of = |name: &str, cpu: &str, priority: i64| {
        json!({"metadata": {"name": name, "namespace": "default", "labels": {"name": name}},
            "spec": {"priority": priority, "containers": [{"resources": {"requests": {"cpu": cpu}}}]}})
    };
    let wants = |cpu: &str, priority: i64| Pod::of(&object(of("new", cpu, priority)));
    let fill = |pods: &[(&str, &str, &str, i64)]| {
        let mut nodes = cluster([node("a", json!({})), node("b", json!({}))]);
        for (node, name, cpu, priority) in pods {
            put(&mut nodes, node, name, of(name, cpu, *priority));
        }
        nodes
    };
    let budget = |name: &str, allowed: i64| {
        Budget::of(&object(json!({"metadata": {"namespace": "default"},
            "spec": {"selector": {"matchLabels": {"name": name}}}, "status": {"disruptionsAllowed": allowed}})))
    };
    let full = [("a", "one", "1", 5), ("a", "two", "1", 1), ("b", "three", "2", 3)];
    assert_eq!(preempts(&wants("1", 9), &fill(&full), &[]), "a: default/two");
    assert_eq!(
        preempts(&wants("2", 9), &fill(&full), &[]),
        "b: default/three",
        "the least important at the top"
    );
    assert_eq!(preempts(&wants("1", 9), &fill(&full), &[budget("two", 0)]), "b: default/three");
    assert_eq!(preempts(&wants("1", 9), &fill(&full), &[budget("two", 1)]), "a: default/two");
    assert_eq!(
        preempts(&wants("1", 9), &fill(&full), &[budget("two", 0), budget("one", 0), budget("three", 0)]),
        "a: default/two"
    );
    assert_eq!(
        preempts(&wants("1", 1), &fill(&full), &[]),
        "0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
    assert_eq!(
        preempts(&wants("3", 9), &fill(&full), &[]),
        "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        preempts(
            &wants("2", 4),
            &fill(&[("a", "one", "1", 5), ("a", "two", "1", 1), ("b", "three", "2", 4)]),
            &[]
        ),
        "0/2 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod."
    );
    let mut never = of("new", "1", 9);
    never["spec"]["preemptionPolicy"] = "Never".into();
    assert_eq!(
        preempts(&Pod::of(&object(never)), &fill(&full), &[]),
        "not eligible due to preemptionPolicy=Never."
    );
    // What is freed for one is kept from those that are no more important.
    let mut nodes = fill(&full);
    let first = wants("1", 9);
    nodes.nominate(&first, Some("a"));
    nodes.end("default/two");
    let mut second = of("second", "1", 9);
    second["status"] = json!({"nominatedNodeName": "a"});
    assert_eq!(
        preempts(&Pod::of(&object(second)), &nodes, &[]),
        "not eligible due to a terminating pod on the nominated node."
    );
    nodes.remove("default/two");
    assert_eq!(message(&first, &nodes), "-> a");
    let refused = "0/2 nodes are available: 2 Insufficient cpu.";
    assert_eq!(message(&Pod::of(&object(of("second", "1", 9))), &nodes), refused);
    assert_eq!(message(&Pod::of(&object(of("second", "1", 10))), &nodes), "-> a");
    // Pods that keep it away go, too.
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"name": "one"}}}]}});
    let mut alone = of("new", "0", 9);
    alone["spec"]["affinity"] = apart;
    let mut nodes = cluster([node("a", json!({}))]);
    put(&mut nodes, "a", "one", of("one", "1", 0));
    put(&mut nodes, "a", "two", of("two", "1", 0));
    assert_eq!(preempts(&Pod::of(&object(alone)), &nodes, &[]), "a: default/one");
}

/// Prints how long a placement takes: `cargo test --release --lib placement_takes -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_placement_takes_less_than_a_millisecond() {
    let room = json!({"/status/allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"}});
    let mut nodes = cluster((0..500).map(|index| node(&format!("n{index:03}"), room.clone())));
    let of = |index: usize, more: Value| {
        let mut pod = labelled(&format!("app{}", index % 100), more);
        pod["metadata"]["ownerReferences"] =
            json!([{"uid": format!("u{}", index % 100), "controller": true}]);
        pod["spec"]["containers"] =
            json!([{"image": "busybox", "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}}}]);
        pod
    };
    for index in 0..10_000 {
        put(&mut nodes, &format!("n{:03}", index % 500), &format!("p{index}"), of(index, json!({})));
    }
    let spread = json!({"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 2,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "app1"}}}]});
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "app1"}}}]}}});
    for (what, more) in [("plain", json!({})), ("spread", spread), ("apart", apart)] {
        let began = Clock::now();
        for index in 0..100 {
            let text = of(1, more.clone()).to_string();
            let mut waiting = Object::from_slice(text.as_bytes()).unwrap();
            waiting.set("/metadata/name", format!("{what}-{index}"));
            let waiting = Pod::of(&waiting);
            let Decision::Bind(node) = schedule(&waiting, &nodes) else { panic!("it fits") };
            nodes.place(&node, waiting.facts().clone());
        }
        let each = began.elapsed() / 100;
        println!("{what}: {each:?} for each pod, with 500 nodes and 10,000 pods");
        assert!(cfg!(debug_assertions) || each.as_micros() < 1000);
    }
}
