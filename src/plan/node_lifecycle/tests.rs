use std::time::Instant as Clock; // one to count from: plans read none

use super::*;

fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(9)
}

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

fn node(ready: &str, zone: &str, taints: Value) -> Object {
    object(json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
}

fn keys(node: &Object) -> Vec<String> {
    let text = |taint: &Value, key: &str| taint[key].as_str().unwrap().to_owned();
    let name = |taint: &Value| {
        format!("{}:{}", text(taint, "key").trim_start_matches("node.kubernetes.io/"), text(taint, "effect"))
    };
    node.array_at("/spec/taints").iter().map(name).collect()
}

#[test]
fn conditions_become_taints() {
    let own = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    let mut away =
        json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]);
    for (mut node, evicts, expected) in [
        (node("True", "", own.clone()), None, &["gpu:NoSchedule"][..]),
        (node("False", "", own.clone()), None, &["gpu:NoSchedule", "not-ready:NoSchedule"]),
        (node("Unknown", "", json!([])), Some(true), &["unreachable:NoSchedule", "unreachable:NoExecute"]),
        (node("Unknown", "", away.clone()), None, &["unreachable:NoSchedule", "unreachable:NoExecute"]),
        (node("Unknown", "", away.clone()), Some(false), &["unreachable:NoSchedule"]),
        (node("False", "", away.clone()), None, &["not-ready:NoSchedule", "not-ready:NoExecute"]),
        (node("True", "", away.take()), Some(true), &[]),
    ] {
        taint(&mut node, evicts, SystemTime::UNIX_EPOCH);
        assert_eq!(keys(&node), expected);
        let before = node.clone();
        taint(&mut node, None, later());
        assert_eq!(node, before, "it stays as it is");
    }
    let mut cordoned = node("True", "", json!([]));
    cordoned.set("/spec/unschedulable", true);
    assert_eq!(
        changes(&BTreeMap::from([("n".to_owned(), Node::of(&cordoned))]), false),
        [("n", Some(false))]
    );
    taint(&mut cordoned, None, later());
    assert_eq!(keys(&cordoned), ["unschedulable:NoSchedule"]);
    assert!(changes(&BTreeMap::from([("n".to_owned(), Node::of(&cordoned))]), false).is_empty());
    cordoned.remove("/spec/unschedulable");
    taint(&mut cordoned, None, later());
    assert_eq!(keys(&cordoned), [""; 0]);
}

#[test]
fn nobody_is_evicted_when_most_nodes_seem_away() {
    // Zones with how many nodes there are and how many are away; how many of these are to evict.
    for (zones, expected) in [
        (&[("a", 1, 1)][..], 0),
        (&[("a", 2, 1)], 1),
        (&[("a", 3, 2)], 2),
        (&[("a", 5, 3)], 0),
        (&[("a", 6, 3)], 3),
        (&[("a", 3, 3)], 0),
        (&[("a", 3, 3), ("b", 3, 0)], 3),
        (&[("a", 3, 3), ("b", 2, 2)], 0),
    ] {
        let mut nodes = BTreeMap::new();
        for (zone, all, away) in zones {
            for index in 0..*all {
                let mut node = node(if index < *away { "Unknown" } else { "True" }, zone, json!([]));
                taint(&mut node, None, later());
                nodes.insert(format!("{zone}{index}"), Node::of(&node));
            }
        }
        assert_eq!(changes(&nodes, false).len(), expected, "{zones:?}");
    }
    // All of them away: those that evict stop it.
    let mut gone = node("Unknown", "", json!([]));
    taint(&mut gone, Some(true), later());
    assert_eq!(changes(&BTreeMap::from([("n".to_owned(), Node::of(&gone))]), false), [("n", Some(false))]);
    // What the annotation says, and the server's flag; whether the node's pods go.
    for (says, flag, goes) in [
        (None, false, true),
        (None, true, false),
        (Some("true"), false, false),
        (Some("true"), true, false),
        (Some("false"), true, true),
        (Some(""), false, true),
    ] {
        let mut away = node("Unknown", "", json!([]));
        taint(&mut away, None, later());
        if let Some(says) = says {
            away.set("/metadata/annotations/edge.midge.dev~1keep-pods", says);
        }
        let ready = Node::of(&node("True", "", Value::Null));
        let nodes = BTreeMap::from([("a".to_owned(), Node::of(&away)), ("b".to_owned(), ready)]);
        let expected = if goes { vec![("a", Some(true))] } else { Vec::new() };
        assert_eq!(changes(&nodes, flag), expected, "{says:?} {flag}");
    }
}

#[test]
fn pods_stay_for_as_long_as_they_tolerate() {
    let start = Clock::now();
    let taint = |key: &str| Taint::of(&json!({"key": key, "effect": "NoExecute"})).unwrap();
    let pod = |tolerations: Value| object(json!({"spec": {"tolerations": tolerations}}));
    let tolerating = |key: &str, seconds: Value| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    let mut usual = pod(json!([]));
    tolerate(&mut usual);
    let said = pod(json!([{"operator": "Exists"}]));
    let mut same = said.clone();
    tolerate(&mut same);
    assert_eq!(same, said);
    for (pod, taints, expected) in [
        (&usual, vec![(NOT_READY, 10)], Some(310)),
        (&usual, vec![(UNREACHABLE, 0)], Some(300)),
        (&usual, vec![("lab", 7)], Some(7)),
        (&usual, vec![], None),
        (&said, vec![("lab", 7), (UNREACHABLE, 9)], None),
        (
            &pod(json!([tolerating("lab", json!(60)), tolerating("x", json!(5))])),
            vec![("lab", 1), ("x", 90)],
            Some(61),
        ),
        (&pod(json!([tolerating("lab", json!(-5))])), vec![("lab", 2)], Some(2)),
        (&pod(json!([tolerating("lab", Value::Null)])), vec![("lab", 2)], None),
        (&pod(json!([tolerating("lab", json!(i64::MAX))])), vec![("lab", 2)], None),
    ] {
        let taints: Vec<_> =
            taints.into_iter().map(|(key, at)| (taint(key), start + Duration::from_secs(at))).collect();
        let due = eviction(pod, &taints, start).map(|due| (due - start).as_secs());
        assert_eq!(due.filter(|due| *due < 1 << 40), expected, "{taints:?}");
    }
}

#[test]
fn pods_of_a_lost_node() {
    let now = SystemTime::UNIX_EPOCH;
    let pod = object(
        json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let marked = lost(&pod, "n", now).unwrap();
    assert_eq!(
        (marked.str_at("/status/conditions/0/status"), marked.str_at("/status/reason")),
        ("False", "")
    );
    assert_eq!(lost(&marked, "n", now), None);
    let mut ends = marked.clone();
    ends.set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");
    let marked = lost(&ends, "n", now).unwrap();
    assert_eq!(marked.str_at("/status/message"), "Node n which was running pod p is unresponsive");
    assert_eq!(lost(&marked, "n", now), None);
}
