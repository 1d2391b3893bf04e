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
    let once = |node: &Object| -> Vec<Option<bool>> {
        let nodes = BTreeMap::from([("n".to_owned(), Node::of(node))]);
        let changes = changes(&nodes, false, &mut Pace::default(), Clock::now());
        changes.nodes.iter().map(|(_, evicts)| *evicts).collect()
    };
    assert_eq!(once(&cordoned), [Some(false)]);
    taint(&mut cordoned, None, later());
    assert_eq!(keys(&cordoned), ["unschedulable:NoSchedule"]);
    assert!(once(&cordoned).is_empty());
    cordoned.remove("/spec/unschedulable");
    taint(&mut cordoned, None, later());
    assert_eq!(keys(&cordoned), [""; 0]);
}

/// When nodes begin to evict, in seconds from `start`, within an hour: as the loop would have them.
fn evictions(mut nodes: BTreeMap<String, Node>, start: Clock) -> Vec<u64> {
    let (mut pace, mut now, mut begun) = (Pace::default(), start, Vec::new());
    while now < start + Duration::from_secs(3600) {
        let Changes { nodes: changed, again } = changes(&nodes, false, &mut pace, now);
        let changed: Vec<String> = changed.into_iter().map(|(name, _)| name.to_owned()).collect();
        assert!(changed.is_empty() || again.is_none_or(|again| again > now));
        for name in changed {
            begun.push((now - start).as_secs());
            nodes.get_mut(&name).unwrap().evicts = true;
        }
        let Some(again) = again else { break };
        now = again;
    }
    begun
}

#[test]
fn nodes_are_evicted_one_by_one_and_not_when_most_seem_away() {
    let every = |seconds: u64, count: u64| -> Vec<u64> { (0..count).map(|nth| nth * seconds).collect() };
    // Zones with how many nodes there are and how many are away; when these begin to evict.
    for (zones, expected) in [
        (&[("a", 1, 1)][..], vec![]),
        (&[("a", 2, 1)], vec![0]),
        (&[("a", 3, 2)], every(10, 2)),
        (&[("a", 5, 3)], vec![]),
        (&[("a", 6, 3)], every(10, 3)),
        (&[("a", 3, 3)], vec![]),
        // A zone that is away as a whole goes at the usual rate; each zone has its own.
        (&[("a", 3, 3), ("b", 3, 0)], every(10, 3)),
        (&[("a", 4, 2), ("b", 4, 2)], vec![0, 0, 10, 10]),
        (&[("a", 3, 3), ("b", 2, 2)], vec![]),
        // Most of 50 nodes: none. Most of 51: slowly. Fewer than 55 % of them: as usual.
        (&[("a", 50, 28)], vec![]),
        (&[("a", 51, 30)], every(100, 30)),
        (&[("a", 51, 28)], every(10, 28)),
    ] {
        let mut nodes = BTreeMap::new();
        for (zone, all, away) in zones {
            for index in 0..*all {
                let mut node = node(if index < *away { "Unknown" } else { "True" }, zone, json!([]));
                taint(&mut node, None, later());
                nodes.insert(format!("{zone}{index}"), Node::of(&node));
            }
        }
        assert_eq!(evictions(nodes, Clock::now()), expected, "{zones:?}");
    }
    // All of them away: those that evict stop it.
    let mut gone = node("Unknown", "", json!([]));
    taint(&mut gone, Some(true), later());
    let gone = BTreeMap::from([("n".to_owned(), Node::of(&gone))]);
    assert_eq!(changes(&gone, false, &mut Pace::default(), Clock::now()).nodes, [("n", Some(false))]);
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
        assert_eq!(
            changes(&nodes, flag, &mut Pace::default(), Clock::now()).nodes,
            expected,
            "{says:?} {flag}"
        );
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
    let marked = lost(&pod, now).unwrap();
    assert_eq!(marked.condition("Ready").unwrap()["lastTransitionTime"], "1970-01-01T00:00:00Z");
    assert_eq!(marked.condition_status("Ready"), "False");
    assert_eq!(lost(&marked, now), None);
}
