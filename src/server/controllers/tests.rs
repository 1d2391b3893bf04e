use std::time::Duration;

use serde_json::{Value, json};
use smol::block_on;

use super::*;
use crate::api::kinds::{POD, REPLICA_SET};
use crate::server::registry::testing::Cluster;
use crate::server::registry::{Change, DeleteOptions, Subresource, WriteOptions};

/// A cluster whose controllers run until the end of `test`.
fn with_controllers(name: &str, test: impl AsyncFnOnce(&Cluster)) {
    let cluster = Cluster::new(name);
    let executor = Executor::default();
    block_on(executor.run(async {
        let loops = run(cluster.registry.clone(), Default::default(), &executor);
        test(&cluster).await;
        loops.cancel().await;
    }));
}

fn set(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}},
    })
}

fn pods(cluster: &Cluster) -> Vec<Object> {
    let list = cluster.registry.all(POD, Some("default")).unwrap();
    list.items.iter().map(|item| item.object().unwrap()).collect()
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

#[test]
fn pods_are_made_adopted_released_and_ended() {
    with_controllers("controllers-pods", async |cluster| {
        let mut orphan = crate::server::registry::testing::pod("orphan");
        orphan["metadata"]["labels"] = json!({"app": "web"});
        cluster.create(orphan).await.unwrap();
        let web = cluster.create(set("web", 40)).await.unwrap();
        until("40 pods", || pods(cluster).len() == 40).await;
        until("the status", || {
            let set = cluster.registry.get(REPLICA_SET, "default", "web").unwrap();
            set.i64_at("/status/replicas") == Some(40) && set.i64_at("/status/observedGeneration") == Some(1)
        })
        .await;
        assert!(pods(cluster).iter().all(|pod| control::is_controlled_by(pod, &web)));

        // One is relabelled: it is released, and another made.
        let relabel = |pod: &mut Object| {
            pod.set("/metadata/labels/app", "debug");
            Ok(Change::Write)
        };
        cluster.registry.modify(POD, "default", "orphan", WriteOptions::default(), relabel).await.unwrap();
        until("one more", || {
            let pods = pods(cluster);
            pods.len() == 41 && pods.iter().filter(|pod| control::controller(pod).is_none()).count() == 1
        })
        .await;

        let scale = |set: &mut Object| {
            set.set("/spec/replicas", 0);
            Ok(Change::Write)
        };
        cluster.registry.modify(REPLICA_SET, "default", "web", WriteOptions::default(), scale).await.unwrap();
        // Those on no node are gone at once.
        until("one is left", || pods(cluster).len() == 1).await;
        cluster.registry.delete(REPLICA_SET, "default", "web", DeleteOptions::default()).await.unwrap();
    });
}

#[test]
fn what_may_not_be_made_holds_up_nothing_else() {
    with_controllers("controllers-quota", async |cluster| {
        // Without its account no pod may be made.
        let mut robots = set("web", 100);
        robots["spec"]["template"]["spec"]["serviceAccountName"] = "robot".into();
        cluster.create(robots).await.unwrap();
        until("the condition", || {
            let set = cluster.registry.get(REPLICA_SET, "default", "web").unwrap();
            set.str_at("/status/conditions/0/type") == "ReplicaFailure"
                && set.str_at("/status/conditions/0/message").contains("serviceaccount \"robot\" not found")
        })
        .await;
        cluster.create(set("none", 0)).await.unwrap();
        until("another is looked after", || {
            let set = cluster.registry.get(REPLICA_SET, "default", "none").unwrap();
            set.i64_at("/status/observedGeneration") == Some(1)
        })
        .await;
        assert!(pods(cluster).is_empty());
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "robot", "namespace": "default"}});
        cluster.create(account).await.unwrap();
        until("all of them, once they may", || pods(cluster).len() == 100).await;
        until("no condition", || {
            let set = cluster.registry.get(REPLICA_SET, "default", "web").unwrap();
            set.array_at("/status/conditions").is_empty() && set.i64_at("/status/replicas") == Some(100)
        })
        .await;
    });
}

/// Nothing is made twice, however often the loop starts again in the middle of its work.
#[test]
fn a_loop_that_starts_again_makes_nothing_twice() {
    let cluster = Cluster::new("controllers-again");
    let executor = Executor::default();
    block_on(executor.run(async {
        cluster.create(set("web", 60)).await.unwrap();
        for round in 0..30 {
            let mut controllers = Controllers::new(CONTROLLERS, cluster.registry.clone(), executor.clone());
            let pause = async {
                smol::Timer::after(Duration::from_micros(300 * round)).await;
                Ok(())
            };
            or(controllers.follow(&Default::default()), pause).await.unwrap();
            controllers.finish().await;
            assert!(pods(&cluster).len() <= 60);
        }
        let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
        let scale = |set: &mut Object| {
            set.set("/spec/replicas", 60);
            Ok(Change::Write)
        };
        cluster.registry.modify(REPLICA_SET, "default", "web", options, scale).await.unwrap();
        let loops = run(cluster.registry.clone(), Default::default(), &executor);
        until("60 pods", || pods(&cluster).len() == 60).await;
        loops.cancel().await;
    }));
}
