use serde_json::{Value, json};
use smol::block_on;

use super::*;
use crate::server::registry::testing::{Cluster, node, pod};
use crate::server::registry::{DeleteOptions, Subresource};
use crate::server::scheduler;

const INTERNAL: WriteOptions = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::DEFAULT };

/// A cluster with the scheduler and this loop.
fn with_loops(name: &str, test: impl AsyncFnOnce(&Cluster)) {
    let cluster = Cluster::new(name);
    let executor = Executor::default();
    block_on(executor.run(async {
        let loops = [
            run(cluster.registry.clone(), false, &executor),
            scheduler::run(cluster.registry.clone(), Default::default(), &executor),
        ];
        test(&cluster).await;
        for one in loops {
            one.cancel().await;
        }
    }));
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        smol::Timer::after(Duration::from_millis(5)).await;
    }
    panic!("not within 10 s: {what}");
}

fn find(cluster: &Cluster, name: &str) -> Object {
    cluster.registry.get(POD, "default", name).unwrap()
}

fn on(cluster: &Cluster, name: &str) -> String {
    find(cluster, name).str_at("/spec/nodeName").to_owned()
}

fn condition(pod: &Object, kind: &str) -> Value {
    pod.condition(kind).cloned().unwrap_or_default()
}

async fn change(cluster: &Cluster, node: &str, change: impl Fn(&mut Object)) {
    let change = |object: &mut Object| {
        change(object);
        Ok(Change::Write)
    };
    cluster.registry.modify(NODE, "", node, INTERNAL, change).await.unwrap();
}

fn told(cluster: &Cluster, reason: &str) -> Vec<String> {
    let kind = crate::api::kinds::EVENT;
    let events = cluster.registry.all(kind, None).unwrap();
    let events = events.items.iter().map(|item| item.object().unwrap());
    events.filter(|e| e.str_at("/reason") == reason).map(|e| e.str_at("/message").to_owned()).collect()
}

#[test]
fn pods_go_from_nodes_that_repel_them() {
    with_loops("lifecycle-taints", async |cluster| {
        for name in ["a", "b"] {
            cluster.create(node(name)).await.unwrap();
        }
        let mut usual = pod("usual");
        usual["spec"]["nodeSelector"] = json!({});
        cluster.create(usual).await.unwrap();
        let mut patient = pod("patient");
        patient["spec"]["tolerations"] = json!([{"key": "lab", "operator": "Exists"}]);
        patient["spec"]["nodeName"] = "a".into();
        cluster.create(patient).await.unwrap();
        until("it is bound", || !on(cluster, "usual").is_empty()).await;
        let place = on(cluster, "usual");
        assert_eq!(find(cluster, "usual").array_at("/spec/tolerations").len(), 2);
        change(cluster, &place, |node| {
            node.set("/spec/taints", json!([{"key": "lab", "effect": "NoExecute"}]))
        })
        .await;
        until("it goes", || find(cluster, "usual").deletion_timestamp().is_some()).await;
        let reason = condition(&find(cluster, "usual"), "DisruptionTarget");
        assert_eq!(reason["reason"], "DeletionByTaintManager");
        until("it is told", || {
            told(cluster, "TaintManagerEviction") == ["Marking for deletion Pod default/usual"]
        })
        .await;
        assert_eq!(find(cluster, "patient").deletion_timestamp(), None);

        // Cordoned: the taint comes and goes with it.
        let taints = || cluster.registry.get(NODE, "", "b").unwrap().array_at("/spec/taints").to_vec();
        change(cluster, "b", |node| node.set("/spec/unschedulable", true)).await;
        until("a taint", || taints().iter().any(|taint| taint["key"] == "node.kubernetes.io/unschedulable"))
            .await;
        change(cluster, "b", |node| drop(node.remove("/spec/unschedulable"))).await;
        until("none", || !taints().iter().any(|taint| taint["key"] == "node.kubernetes.io/unschedulable"))
            .await;
    });
}

#[test]
fn pods_of_a_node_that_is_away() {
    with_loops("lifecycle-away", async |cluster| {
        for name in ["a", "b"] {
            cluster.create(node(name)).await.unwrap();
        }
        let mut hasty = pod("hasty");
        hasty["spec"]["nodeName"] = "a".into();
        hasty["spec"]["tolerations"] = json!([{"key": node_lifecycle::UNREACHABLE, "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": 0}]);
        cluster.create(hasty.clone()).await.unwrap();
        let mut calm = pod("calm");
        calm["spec"]["nodeName"] = "a".into();
        cluster.create(calm).await.unwrap();
        let ready = |pod: &mut Object| {
            pod.set("/status/conditions", json!([{"type": "Ready", "status": "True"}]));
            Ok(Change::Write)
        };
        cluster.registry.modify(POD, "default", "calm", LAZY, ready).await.unwrap();
        let keep = |keeps: &'static str| {
            move |node: &mut Object| {
                node.set("/metadata/annotations/edge.midge.dev~1keep-pods", keeps);
                node.set("/status/conditions", json!([{"type": "Ready", "status": "Unknown"}]));
            }
        };
        change(cluster, "a", keep("true")).await;
        until("it is not ready", || condition(&find(cluster, "calm"), "Ready")["status"] == "False").await;
        let taints = || cluster.registry.get(NODE, "", "a").unwrap().array_at("/spec/taints").to_vec();
        until("one taint", || taints().len() == 1).await;
        assert_eq!(find(cluster, "hasty").deletion_timestamp(), None, "its node keeps it");
        change(cluster, "a", keep("false")).await;
        until("it goes", || find(cluster, "hasty").deletion_timestamp().is_some()).await;
        assert_eq!(taints().len(), 2);
        assert_eq!(find(cluster, "calm").deletion_timestamp(), None);
        // With the last node away nobody is evicted.
        change(cluster, "b", keep("false")).await;
        until("no more evictions", || taints().len() == 1).await;
        change(cluster, "a", |node| {
            node.set("/status/conditions", json!([{"type": "Ready", "status": "True"}]))
        })
        .await;
        until("no taints", || taints().is_empty()).await;
    });
}

#[test]
fn gates_and_preemption() {
    with_loops("lifecycle-preemption", async |cluster| {
        cluster.create(node("a")).await.unwrap();
        let class = |name: &str, value: i64| json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
        cluster.create(class("high", 100)).await.unwrap();
        let of = |name: &str, class: &str| {
            let mut pod = pod(name);
            pod["spec"]["priorityClassName"] = class.into();
            pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
            pod
        };
        cluster.create(of("low", "")).await.unwrap();
        until("it is bound", || on(cluster, "low") == "a").await;
        let mut gated = of("gated", "high");
        gated["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
        cluster.create(gated).await.unwrap();
        cluster.create(of("next", "")).await.unwrap();
        let message = |name: &str| condition(&find(cluster, name), "PodScheduled")["message"].clone();
        let refused = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
        until("it is told", || message("next") == refused).await;
        let scheduled = condition(&find(cluster, "gated"), "PodScheduled");
        assert_eq!(
            (&scheduled["status"], &scheduled["reason"]),
            (&json!("False"), &json!("SchedulingGated"))
        );
        let open = |pod: &mut Object| {
            pod.set("/spec/schedulingGates", json!([]));
            Ok(Change::Write)
        };
        cluster.registry.modify(POD, "default", "gated", WriteOptions::default(), open).await.unwrap();
        until("the other goes", || find(cluster, "low").deletion_timestamp().is_some()).await;
        until("it is nominated", || find(cluster, "gated").str_at("/status/nominatedNodeName") == "a").await;
        let target = condition(&find(cluster, "low"), "DisruptionTarget");
        assert_eq!(target["reason"], "PreemptionByScheduler");
        assert_eq!(target["message"], "default-scheduler: preempting to accommodate a higher priority pod");
        until("it is told", || {
            told(cluster, "Preempted")
                == [format!("Preempted by pod {} on node a", find(cluster, "gated").uid())]
        })
        .await;
        let gone = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        cluster.registry.delete(POD, "default", "low", gone).await.unwrap();
        until("it has its place", || on(cluster, "gated") == "a").await;
        assert_eq!(on(cluster, "next"), "", "what came first is less important");
    });
}
