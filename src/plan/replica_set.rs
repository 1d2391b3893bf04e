//! ReplicaSets: as many pods as are asked for, those that serve least ended first, as upstream ranks them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::control::{self, Action, Plan, Told, pods};
use crate::api::kinds::POD;
use crate::api::{Object, Status, time};

/// So many pods are created or deleted at once (upstream's BurstReplicas).
const BURST: usize = 500;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `found` are the pods that the set controls, and those of its namespace that nothing does.
pub fn plan(set: &Object, found: Vec<Object>, failure: Option<&Status>, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    let Some(selector) = control::selector(set) else { return plan };
    let mine = control::claim(set, &selector, found, &mut plan);
    let active: Vec<&Object> = mine.iter().filter(|pod| pods::is_active(pod)).collect();
    let wanted = usize::try_from(set.i64_at("/spec/replicas").unwrap_or(1)).unwrap_or(0);
    let status = status(set, &mine, &active, wanted, failure, now, &mut plan);
    plan.set_status(set, status);
    if set.deletion_timestamp().is_some() {
        return plan;
    }
    let told = |verb| Told::usual(verb, "pod");
    if active.len() < wanted {
        let mut pod = control::from_template(POD, set.at("/spec/template").unwrap_or(&Value::Null), set);
        pod.set("/metadata/generateName", control::generate_name(set));
        let missing = (wanted - active.len()).min(control::burst(set, BURST));
        plan.actions.extend(std::iter::repeat_n(Action::Create(pod, told("Created")), missing));
    } else if active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST);
        let ended = ranked(active, now).into_iter().take(surplus);
        plan.actions.extend(ended.map(|pod| Action::Delete(pod.clone(), told("Deleted"))));
    }
    plan
}

fn status(
    set: &Object,
    mine: &[Object],
    active: &[&Object],
    wanted: usize,
    failure: Option<&Status>,
    now: SystemTime,
    plan: &mut Plan,
) -> Value {
    let min_ready = set.i64_at("/spec/minReadySeconds").unwrap_or(0);
    let labels = set.map_at("/spec/template/metadata/labels");
    let labelled =
        |pod: &&&Object| labels.into_iter().flatten().all(|(key, value)| pod.label(key) == value.as_str());
    let ready = active.iter().filter(|pod| pods::is_ready(pod)).count();
    let mut available = 0;
    for at in active.iter().filter_map(|pod| pods::available_at(pod, min_ready)) {
        if at <= now { available += 1 } else { plan.look_at(at) }
    }
    let mut status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": active.iter().filter(labelled).count(),
        "readyReplicas": ready,
        "availableReplicas": available,
        "terminatingReplicas": mine.iter().filter(|pod| pods::is_terminating(pod)).count(),
        "observedGeneration": set.generation(),
    });
    if let Value::Object(counts) = &mut status {
        if set.kind() == "ReplicationController" {
            counts.remove("terminatingReplicas"); // it has no such field
        }
        counts
            .retain(|name, count| *count != 0 || matches!(name.as_str(), "replicas" | "terminatingReplicas"));
    }
    let mut conditions = set.array_at("/status/conditions").to_vec();
    let failed = failure.filter(|_| active.len() != wanted);
    match failed {
        None => conditions.retain(|condition| condition["type"] != "ReplicaFailure"),
        Some(failure) if conditions.iter().all(|condition| condition["type"] != "ReplicaFailure") => {
            conditions.push(json!({
                "type": "ReplicaFailure", "status": "True",
                "reason": if active.len() < wanted { "FailedCreate" } else { "FailedDelete" },
                "message": failure.message.clone(), "lastTransitionTime": time::format(now),
            }));
        }
        Some(_) => {}
    }
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    status
}

/// Pods in the order in which they may go: without a node, not running, not ready, cheap, many on one node, ready
/// for a short time, often restarted, young.
pub(super) fn ranked(active: Vec<&Object>, now: SystemTime) -> Vec<&Object> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &active {
        *on_node.entry(pod.str_at("/spec/nodeName")).or_default() += 1;
    }
    let mut ranked = active;
    // Ages count by their magnitude, so that which of many alike goes is left to their names, which are random.
    let magnitude = |since: Option<SystemTime>| {
        since
            .and_then(|since| now.duration_since(since).ok())
            .map_or(0, |age| age.as_secs().checked_ilog2().map_or(0, |log| log + 1))
    };
    ranked.sort_by_cached_key(|pod| {
        let node = pod.str_at("/spec/nodeName");
        let phase = match pod.str_at("/status/phase") {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let cost = pod.annotation(DELETION_COST).and_then(|cost| cost.parse::<i32>().ok()).unwrap_or(0);
        (
            !node.is_empty(),
            phase,
            pods::is_ready(pod),
            cost,
            Reverse(on_node.get(node).copied().unwrap_or(0)),
            magnitude(pods::ready_since(pod)),
            Reverse(pods::restarts(pod)),
            magnitude(pod.creation_timestamp()),
            pod.name().to_owned(),
        )
    });
    ranked
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + NOW
    }

    fn set(replicas: i64) -> Object {
        Object::from_value(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 2},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "minReadySeconds": 10,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}},
        }))
        .unwrap()
    }

    /// A pod of the set that has been ready for so many seconds.
    fn pod(name: &str, node: &str, phase: &str, ready: Option<u64>) -> Object {
        let since = ready.map(|seconds| time::format(now() - Duration::from_secs(seconds)));
        let conditions =
            since.map(|since| json!({"type": "Ready", "status": "True", "lastTransitionTime": since}));
        Object::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
                "creationTimestamp": time::format(now() - Duration::from_secs(900)),
                "ownerReferences": [control::owner_reference(&set(0))]},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": Vec::from_iter(conditions)},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_missing_is_created_and_counted() {
        let mut leaving = pod("leaving", "pi", "Running", Some(60));
        leaving.set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");
        let found = vec![
            pod("a", "pi", "Running", Some(60)),
            pod("b", "pi", "Running", Some(4)),
            pod("c", "pi", "Failed", None),
            leaving,
        ];
        let plan = plan(&set(4), found, None, now());
        let [Action::Create(made, _), Action::Create(..)] = &plan.actions[..] else { panic!("{plan:?}") };
        assert_eq!(
            (made.str_at("/metadata/generateName"), made.name(), made.label("app")),
            ("web-", "", Some("web"))
        );
        assert!(control::is_controlled_by(made, &set(4)));
        assert_eq!(plan.again, Some(now() + Duration::from_secs(6)));
        let status = json!({"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 1,
            "terminatingReplicas": 1, "observedGeneration": 2});
        assert_eq!(plan.status, Some(status));
    }

    #[test]
    fn a_replication_controller_selects_by_a_map() {
        let mut controller = set(1);
        controller.set("/kind", "ReplicationController");
        controller.set("/apiVersion", "v1");
        controller.set("/spec/selector", json!({"app": "web"}));
        let other = Object::from_value(json!({"metadata": {"name": "db", "labels": {"app": "db"}}})).unwrap();
        let plan = plan(&controller, vec![other], None, now());
        let [Action::Create(made, _)] = &plan.actions[..] else { panic!("{plan:?}") };
        assert!(control::is_controlled_by(made, &controller));
        assert_eq!(plan.status, Some(json!({"replicas": 0, "observedGeneration": 2})));
    }

    #[test]
    fn what_serves_least_goes_first() {
        let mut cheap = pod("cheap", "a", "Running", Some(5000));
        cheap.set("/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost", "-1");
        let found = vec![
            pod("old", "b", "Running", Some(5000)),
            pod("young", "b", "Running", Some(60)),
            cheap,
            pod("alone", "c", "Running", Some(60)),
            pod("unready", "c", "Running", None),
            pod("pending", "d", "Pending", None),
            pod("nowhere", "", "Pending", None),
        ];
        let gone = |replicas| {
            let plan = plan(&set(replicas), found.clone(), None, now());
            let names = plan.actions.iter().map(|action| match action {
                Action::Delete(pod, _) => pod.name().to_owned(),
                other => panic!("{other:?}"),
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(gone(0), ["nowhere", "pending", "unready", "cheap", "alone", "young", "old"]);
        assert_eq!(gone(5), ["nowhere", "pending"]);
        assert!(gone(7).is_empty());
    }

    #[test]
    fn a_failure_is_a_condition_until_it_is_mended() {
        let quota = Status::forbidden("exceeded quota".to_owned());
        let mut set = set(1);
        let failed = plan(&set, Vec::new(), Some(&quota), now());
        let status = failed.status.unwrap();
        let condition = &status["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["reason"]),
            (&json!("ReplicaFailure"), &json!("FailedCreate"))
        );
        assert_eq!(condition["message"], "exceeded quota");
        set.set("/status", status);
        let mended = plan(&set, vec![pod("a", "pi", "Running", Some(60))], None, now());
        assert_eq!(mended.status.unwrap().get("conditions"), None);
    }
}
