//! Persistent volumes as kubectl's users have them: data that stays when pods go, on the node where it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE, entries};
use common::command::eventually;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn claim(name: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
    .to_string()
}

/// A pod that runs `script` with the claim at `/data`, as nobody of its node's.
fn pod(name: &str, claim: &str, script: &str, rest: Value) -> String {
    let mut spec = json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsUser": 4000, "runAsGroup": 4000, "fsGroup": 4001},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        "containers": [{
            "name": "main", "image": IMAGE, "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
    });
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn said(cluster: &Cluster, name: &str) -> String {
    cluster.phase(name, "Succeeded");
    cluster.kubectl(&format!("logs {name}")).success().stdout
}

#[test]
fn data_stay_with_their_claim_and_pods_stay_with_their_data() {
    let cluster = Cluster::new("claims").agent("pi-1").agent("pi-2").up();
    let before = cluster.agents[0].host.interfaces();
    let classes = cluster.kubectl("get storageclass").success().stdout;
    assert!(
        classes.contains(
            "local-path (default)   edge.midge.dev/local-path   Delete          WaitForFirstConsumer"
        ),
        "{classes}"
    );

    cluster.apply(&claim("data")).success();
    eventually("it waits for a pod", PATIENCE, || {
        let text = cluster.kubectl("describe pvc data").stdout;
        text.contains("waiting for first consumer to be created before binding").then_some(())
    });
    let on_second = json!({"nodeSelector": {"kubernetes.io/hostname": "pi-2"}});
    let write = "echo kept > /data/file; stat -c %u:%g /data/file";
    cluster.apply(&pod("writer", "data", write, on_second)).success();
    assert_eq!(said(&cluster, "writer"), "4000:4001\n");
    let bound = cluster.kubectl("get pvc data --no-headers").success().stdout;
    assert!(bound.contains("Bound") && bound.contains("1Gi") && bound.contains("RWO"), "{bound}");
    cluster.kubectl("delete pod writer").success();

    // Nothing but the claim says where this one goes.
    cluster
        .apply(&pod("reader", "data", "cat /data/file; echo more >> /data/file; sleep 600", json!({})))
        .success();
    cluster.phase("reader", "Running");
    assert_eq!(cluster.object("pod reader").unwrap()["spec"]["nodeName"], "pi-2");
    let storage = cluster.agents[1].folder.join("data/storage");
    assert_eq!(entries(&storage).len(), 1);

    // A claim in use goes with its last pod, and its data with it.
    cluster.kubectl("delete pvc data --wait=false").success();
    assert!(cluster.kubectl("get pvc data --no-headers").success().stdout.contains("Terminating"));
    assert_eq!(std::fs::read_to_string(entries(&storage)[0].join("file")).unwrap(), "kept\nmore\n");
    cluster.kubectl("delete pod reader --timeout=30s").success();
    eventually("the data is removed", PATIENCE, || entries(&storage).is_empty().then_some(()));
    eventually("the volume is gone", PATIENCE, || {
        cluster.kubectl("get pv --no-headers").stdout.is_empty().then_some(())
    });
    assert!(!cluster.kubectl("get pvc --no-headers").stdout.contains("data"));
    cluster.agents[0].assert_nothing_left(&before);
}

#[test]
fn a_volume_that_is_kept_stays_while_its_node_is_away() {
    let mut cluster = Cluster::new("kept").agent("pi-1").up();
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "kept"},
        "provisioner": "rancher.io/local-path", "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
    });
    cluster.apply(&class.to_string()).success();
    for (name, class) in [("keep", "kept"), ("drop", "local-path")] {
        let mut claim: Value = serde_json::from_str(&claim(name)).unwrap();
        claim["spec"]["storageClassName"] = class.into();
        cluster.apply(&claim.to_string()).success();
        cluster.apply(&pod(name, name, "echo x > /data/file", json!({}))).success();
        cluster.phase(name, "Succeeded");
    }
    let storage = cluster.agents[0].folder.join("data/storage");
    assert_eq!(entries(&storage).len(), 2);
    cluster.kubectl("delete pods --all").success();
    cluster.agents[0].midge.take().unwrap().stop(PATIENCE);
    cluster.kubectl("delete pvc --all").success();
    eventually("both are released", PATIENCE, || {
        (cluster.kubectl("get pv --no-headers").stdout.matches("Released").count() == 2).then_some(())
    });
    assert_eq!(entries(&storage).len(), 2);
    cluster.start_agent(0);
    eventually("one is removed", PATIENCE, || (entries(&storage).len() == 1).then_some(()));
    let left = entries(&storage)[0].clone();
    assert!(left.to_str().unwrap().ends_with("_default_keep"), "{left:?}");
    eventually("one volume is left", PATIENCE, || {
        (cluster.kubectl("get pv --no-headers").stdout.lines().count() == 1).then_some(())
    });
}
