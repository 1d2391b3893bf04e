//! What nodes and pods use, and what happens when a node runs short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use serde_json::Value;
use std::time::Duration;

fn raw(cluster: &Cluster, path: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&format!("get --raw {path}")).success().stdout).unwrap()
}

/// A quantity as `kubectl top` prints it: `12m`, `34Mi`.
fn number(cell: &str) -> u64 {
    cell.trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .unwrap_or_else(|_| panic!("{cell:?} is no amount"))
}

#[test]
fn top_shows_what_is_used() {
    let cluster = Cluster::new("top").agent("pi-1").up();
    // One spins in a fifth of a processor, the other one holds 20 MiB.
    let manifest = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: busy, labels: {{app: busy}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: spin
    image: {IMAGE}
    command: [sh, -c, 'while true; do :; done']
    resources: {{limits: {{cpu: 200m, memory: 64Mi}}}}
  - name: hold
    image: {IMAGE}
    command: [sh, -c, 'dd if=/dev/zero of=/dev/shm/x bs=1M count=20; exec sleep 1000']
"#
    );
    cluster.apply(&manifest).success();
    cluster.phase("busy", "Running");

    let rows = eventually("top shows both containers at work", Duration::from_secs(40), || {
        let top = cluster.kubectl("top pod --containers --no-headers").stdout;
        let rows: Vec<Vec<String>> =
            top.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        let spin = rows.iter().find(|row| row.get(1).is_some_and(|name| name == "spin"))?;
        let hold = rows.iter().find(|row| row.get(1).is_some_and(|name| name == "hold"))?;
        (number(&spin[2]) >= 50 && number(&hold[3]) >= 20).then_some((spin.clone(), hold.clone()))
    });
    let (spin, hold) = rows;
    assert!(number(&spin[2]) <= 400, "a fifth of a processor at most: {spin:?}");
    assert!(number(&hold[2]) <= 50 && number(&hold[3]) < 40, "{hold:?}");

    let pods = cluster.kubectl("top pod -l app=busy").success();
    assert!(pods.stdout.contains("busy") && number(pods.stdout.split_whitespace().last().unwrap()) >= 20);
    cluster.kubectl("top pod -A --sort-by=cpu").success().says(&["default", "busy"]);
    let node = cluster.kubectl("top node pi-1 --no-headers").success();
    let cells: Vec<&str> = node.stdout.split_whitespace().collect();
    assert!(cells[0] == "pi-1" && number(cells[1]) > 0 && number(cells[3]) > 20, "{cells:?}");
    cluster.kubectl("top node").success().says(&["CPU(cores)", "MEMORY(%)"]);
    cluster.kubectl("top pod none").says(&["NotFound"]);
    cluster.kubectl("get pods.metrics.k8s.io").success().says(&["CPU", "busy", "15s"]);

    // As clients other than kubectl read it.
    let list = raw(&cluster, "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods");
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"]),
        (&"PodMetricsList".into(), &"busy".into())
    );
    let one = raw(&cluster, "/apis/metrics.k8s.io/v1beta1/nodes/pi-1");
    assert!(one["usage"]["cpu"].as_str().unwrap().ends_with('n'), "{one}");

    let metrics = cluster.kubectl("get --raw /metrics").success().stdout;
    for line in [
        "apiserver_storage_objects{resource=\"pods\"} 1",
        "midge_node_connected{node=\"pi-1\"} 1",
        "apiserver_request_total{verb=\"GET\",code=\"2xx\"}",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}
