use super::*;
use crate::api::time;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn node(name: &str, spec: Value) -> Object {
    Object::from_value(json!({
        "metadata": {"name": name, "labels": {"zone": name}}, "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap()
}

/// A set with what there is of it, on which plans are carried out.
struct Sim {
    set: Object,
    nodes: Vec<Object>,
    pods: Vec<Object>,
    revisions: Vec<Object>,
    made: u64,
}

impl Sim {
    fn new(nodes: usize, rolling: Value) -> Self {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "log", "namespace": "default", "uid": "set", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "log"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "c", "image": "1"}]}}},
        });
        let nodes = (0..nodes).map(|number| node(&format!("pi-{number}"), json!({}))).collect();
        let set = Object::from_value(set).unwrap();
        Self { set, nodes, pods: Vec::new(), revisions: Vec::new(), made: 0 }
    }

    fn plan(&self) -> Plan {
        let nodes: Vec<Node> = self.nodes.iter().map(Node::of).collect();
        plan(&self.set, self.pods.clone(), self.revisions.clone(), &nodes, now())
    }

    /// Carries out a plan as a server does, and says what became of pods.
    fn step(&mut self) -> Vec<String> {
        let plan = self.plan();
        let mut said = Vec::new();
        for action in plan.actions {
            match action {
                Action::Create(mut one, _) if one.kind() == "Pod" => {
                    said.push(format!("+{}", target(&one)));
                    self.made += 1;
                    one.set("/metadata/name", format!("log-{}", self.made));
                    one.set(
                        "/metadata/creationTimestamp",
                        time::format(now() - Duration::from_secs(1000 - self.made.min(1000))),
                    );
                    self.pods.push(one);
                }
                Action::Create(one, _) => self.revisions.push(one),
                Action::Update(one, _) => {
                    let list = if one.kind() == "Pod" { &mut self.pods } else { &mut self.revisions };
                    list.retain(|other| other.name() != one.name());
                    list.push(one);
                }
                Action::Delete(one, _) => {
                    said.push(format!("-{}", target(&one)));
                    let pod = self.pods.iter_mut().find(|pod| pod.name() == one.name()).unwrap();
                    pod.set("/metadata/deletionTimestamp", time::format(now()));
                }
                Action::Event { reason, .. } => said.push(reason.to_owned()),
            }
        }
        if let Some(status) = plan.status {
            self.set.set("/status", status);
        }
        said
    }

    /// Those that leave are gone, those that are there become ready.
    fn pass(&mut self) {
        self.pods.retain(|pod| pod.deletion_timestamp().is_none());
        self.pods.iter_mut().filter(|pod| !pods::has_ended(pod)).for_each(ready);
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            self.pass();
            let plan = self.plan();
            if plan.actions.is_empty() && plan.status.is_none() {
                return;
            }
            self.step();
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    fn status(&self) -> [i64; 6] {
        [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberMisscheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberUnavailable",
        ]
        .map(|name| self.set.i64_at(&format!("/status/{name}")).unwrap_or(0))
    }
}

fn ready(pod: &mut Object) {
    let node = target(pod).to_owned();
    pod.set("/spec/nodeName", node);
    pod.set("/status/phase", "Running");
    let since = time::format(now() - Duration::from_secs(60));
    pod.set("/status/conditions", json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]));
}

#[test]
fn each_node_gets_one_that_tolerates_what_daemons_do() {
    let mut sim = Sim::new(2, json!({"maxUnavailable": 1}));
    assert_eq!(sim.step(), ["+pi-0", "+pi-1"]);
    assert!(sim.step().is_empty());
    let pod = &sim.pods[1];
    assert_eq!((pod.str_at("/metadata/generateName"), target(pod)), ("log-", "pi-1"));
    let tolerations: Vec<_> = pod
        .array_at("/spec/tolerations")
        .iter()
        .map(|one| {
            format!(
                "{}:{}",
                one["key"].as_str().unwrap().replace("node.kubernetes.io/", ""),
                one["effect"].as_str().unwrap()
            )
        })
        .collect();
    let expected = [
        "not-ready:NoExecute",
        "unreachable:NoExecute",
        "disk-pressure:NoSchedule",
        "memory-pressure:NoSchedule",
        "pid-pressure:NoSchedule",
        "unschedulable:NoSchedule",
    ];
    assert_eq!(tolerations, expected);
    assert_eq!(pod.label(HASH), sim.revisions[0].label(HASH));
    sim.settle();
    assert_eq!(sim.status(), [2, 2, 0, 2, 2, 0]);
}

#[test]
fn nodes_come_change_and_go() {
    let mut sim = Sim::new(2, json!({"maxUnavailable": 1}));
    sim.settle();
    sim.nodes.push(node("pi-9", json!({"unschedulable": true})));
    assert_eq!(sim.step(), ["+pi-9"]);
    sim.settle();
    // (what becomes of the first node, what is done, desired and misplaced)
    let taint = |effect| json!({"taints": [{"key": "gpu", "effect": effect}]});
    for (spec, said, counts) in [
        (taint("PreferNoSchedule"), vec![], [3, 0]),
        (taint("NoSchedule"), vec![], [2, 1]),
        (taint("NoExecute"), vec!["-pi-0"], [2, 0]),
        (json!({}), vec!["+pi-0"], [3, 0]),
    ] {
        sim.nodes[0].set("/spec", spec);
        assert_eq!(sim.step(), said);
        sim.settle();
        assert_eq!([sim.status()[0], sim.status()[2]], counts);
    }
    sim.nodes[1].set("/status/conditions/0/status", "Unknown");
    sim.settle();
    assert_eq!(sim.pods.len(), 3);
    sim.set.set("/spec/template/spec/nodeSelector", json!({"zone": "pi-0"}));
    let mut said = sim.step();
    said.sort();
    assert_eq!(said, ["-pi-1", "-pi-9"]);
    // One that waits for a node that is gone goes; what ran there is left to others.
    let mut sim = Sim::new(2, json!({"maxUnavailable": 1}));
    sim.step();
    ready(&mut sim.pods[0]);
    sim.nodes.clear();
    assert_eq!(sim.step(), ["-pi-1"]);
}

#[test]
fn a_failed_one_is_replaced_ever_later() {
    let mut sim = Sim::new(1, json!({"maxUnavailable": 1}));
    sim.settle();
    let mut pauses = Vec::new();
    for _ in 0..13 {
        let pod = sim.pods.first_mut().unwrap();
        pod.set("/status/phase", "Failed");
        pod.set("/metadata/creationTimestamp", time::format(now()));
        let plan = sim.plan();
        pauses.push(plan.again.map_or(0, |again| again.duration_since(now()).unwrap().as_secs()));
        let pod = sim.pods.first_mut().unwrap();
        pod.set("/metadata/creationTimestamp", time::format(now() - Duration::from_secs(1000)));
        assert_eq!(sim.step(), ["FailedDaemonPod", "+pi-0", "-pi-0"]);
        assert!(sim.step().is_empty());
        sim.pods.remove(0);
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    // One that lasted starts over.
    sim.pods[0].set("/status/phase", "Failed");
    sim.pods[0].set("/metadata/creationTimestamp", time::format(now() - Duration::from_secs(3600)));
    sim.step();
    assert_eq!(sim.pods[1].annotation(FAILURES), Some("1"));
}

#[test]
fn a_rollout_keeps_what_is_available() {
    for (rolling, most) in [
        (json!({"maxUnavailable": 1, "maxSurge": 0}), 1),
        (json!({"maxUnavailable": "50%", "maxSurge": 0}), 2),
        (json!({"maxUnavailable": 0, "maxSurge": 1}), 1),
        (json!({"maxUnavailable": 0, "maxSurge": "75%"}), 3),
    ] {
        let surges = rolling["maxUnavailable"] == 0;
        let mut sim = Sim::new(4, rolling.clone());
        sim.settle();
        sim.set.set("/spec/template/spec/containers/0/image", "2");
        for round in 0.. {
            assert!(round < 20, "it does not end: {:?}", sim.plan());
            let said = sim.step();
            let available =
                sim.pods.iter().filter(|pod| pods::is_ready(pod) && pod.deletion_timestamp().is_none());
            let nodes: std::collections::BTreeSet<_> = available.map(target).collect();
            let there = sim.pods.iter().filter(|pod| pod.deletion_timestamp().is_none()).count();
            assert!(nodes.len() + if surges { 0 } else { most } >= 4, "{rolling}: {nodes:?}");
            assert!(there <= 4 + if surges { most } else { 0 }, "{rolling}: {there}");
            if said.is_empty() && sim.pods.iter().all(|pod| pod.str_at("/spec/containers/0/image") == "2") {
                break;
            }
            assert!(round > 0 || said.len() == most, "{rolling}: {said:?}");
            sim.pass();
        }
        sim.settle();
        assert_eq!(sim.status(), [4, 4, 0, 4, 4, 0]);
        assert_eq!(sim.revisions.len(), 2);
    }
}

#[test]
fn what_is_unavailable_is_replaced_at_once() {
    for (rolling, said) in [
        (json!({"maxUnavailable": 1, "maxSurge": 0}), ["-pi-1", "-pi-2"]),
        (json!({"maxUnavailable": 0, "maxSurge": 1}), ["+pi-0", "+pi-1"]),
    ] {
        let mut sim = Sim::new(3, rolling);
        sim.settle();
        let ends = said[0].starts_with('-');
        for pod in sim
            .pods
            .iter_mut()
            .filter(|pod| ends || target(pod) == "pi-1")
            .filter(|pod| target(pod) != "pi-0")
        {
            pod.set("/status/conditions", json!([]));
        }
        sim.set.set("/spec/template/spec/containers/0/image", "2");
        let mut found = sim.step();
        found.sort();
        assert_eq!(found, said);
    }
}

#[test]
fn pods_on_delete_stay_as_they_are() {
    let mut sim = Sim::new(2, json!({}));
    sim.set.set("/spec/updateStrategy", json!({"type": "OnDelete"}));
    sim.settle();
    sim.set.set("/spec/template/spec/containers/0/image", "2");
    assert!(sim.step().is_empty());
    assert_eq!(sim.status()[4], 0);
    sim.pods.remove(0);
    sim.settle();
    assert_eq!((sim.status()[4], sim.pods[1].str_at("/spec/containers/0/image")), (1, "2"));
}

#[test]
fn random_sequences_come_to_rest() {
    let mut seed = 11_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..100 {
        let rolling = if round % 2 == 0 { json!({"maxUnavailable": 1}) } else { json!({"maxSurge": 1}) };
        let mut sim = Sim::new(4, rolling);
        for _ in 0..30 {
            let (index, at) = (random(6) as usize, random(4) as usize);
            match (random(8), sim.pods.get_mut(index)) {
                (0, Some(pod)) if pod.deletion_timestamp().is_none() => pod.set("/status/phase", "Failed"),
                (1, Some(pod)) => pod.set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z"),
                (2, Some(pod)) if pod.deletion_timestamp().is_some() => drop(sim.pods.remove(index)),
                (3, _) => sim.set.set("/spec/template/spec/containers/0/image", random(3).to_string()),
                (4, _) => {
                    sim.nodes[at].set("/spec", json!({"taints": [{"key": "x", "effect": "NoExecute"}]}))
                }
                (5, _) => sim.nodes[at].set("/spec", json!({})),
                (_, Some(pod)) if !pods::has_ended(pod) => ready(pod),
                _ => {}
            }
            sim.step();
            for node in &sim.nodes {
                let there = sim.pods.iter().filter(|pod| target(pod) == node.name() && pods::is_active(pod));
                assert!(there.count() <= 1 + round % 2, "too many on {}", node.name());
            }
        }
        sim.settle();
        let image = sim.set.str_at("/spec/template/spec/containers/0/image");
        let mut nodes: Vec<_> = sim.pods.iter().map(|pod| target(pod).to_owned()).collect();
        nodes.sort();
        let wanted: Vec<_> = sim
            .nodes
            .iter()
            .filter(|node| node.array_at("/spec/taints").is_empty())
            .map(Object::name)
            .collect();
        assert_eq!(nodes, wanted);
        assert!(sim.pods.iter().all(|pod| pod.str_at("/spec/containers/0/image") == image));
    }
}
