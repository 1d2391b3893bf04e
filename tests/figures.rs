//! What nodes and pods use, and what happens when a node runs short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use common::process::Process;
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

    let summary = raw(&cluster, "/api/v1/nodes/pi-1/proxy/stats/summary");
    let node = &summary["node"];
    assert_eq!(node["nodeName"], "pi-1");
    for number in [
        "/cpu/usageNanoCores",
        "/memory/workingSetBytes",
        "/memory/availableBytes",
        "/fs/capacityBytes",
        "/runtime/imageFs/usedBytes",
        "/rlimit/curproc",
    ] {
        assert!(
            node.pointer(number).and_then(Value::as_u64).is_some_and(|number| number > 0),
            "{number}: {node}"
        );
    }
    let pod = &summary["pods"][0];
    assert_eq!(pod["podRef"]["name"], "busy");
    assert_eq!(pod["network"]["name"], "eth0");
    let hold = pod["containers"].as_array().unwrap().iter().find(|each| each["name"] == "hold").unwrap();
    assert!(hold["memory"]["workingSetBytes"].as_u64().unwrap() >= 20 << 20, "{hold}");
    assert!(
        hold["rootfs"]["inodesUsed"].is_u64() && hold["logs"]["usedBytes"].as_u64().unwrap() > 0,
        "{hold}"
    );
    assert!(pod["memory"]["workingSetBytes"].as_u64() >= hold["memory"]["workingSetBytes"].as_u64(), "{pod}");

    let metrics = cluster.kubectl("get --raw /api/v1/nodes/pi-1/proxy/metrics").success().stdout;
    for line in [
        "container_memory_working_set_bytes{container=\"hold\",namespace=\"default\",pod=\"busy\"} ",
        "pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"busy\"} ",
        "kubelet_running_pods 1",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
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

/// Starts the only agent, with these flags.
fn start(cluster: &mut Cluster, flags: &[&str]) {
    let (url, token) = (cluster.url(), cluster.token());
    let machine = &mut cluster.agents[0];
    machine.midge = None;
    let mut command = machine.command(&["agent"]);
    command.args(flags).env("MIDGE_URL", url).env("MIDGE_TOKEN", token);
    machine.midge = Some(Process::start(command, &machine.folder.join("midge.log")));
}

fn pod(name: &str, script: &str, resources: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {IMAGE}
    command: [sh, -c, '{script}']
    resources: {resources}
"#
    )
}

#[test]
fn a_node_that_runs_short_ends_the_pod_that_is_furthest_over_its_requests() {
    let mut cluster = Cluster::new("short");
    let machine = cluster.machine("pi-1", true);
    cluster.agents.push(machine);
    start(&mut cluster, &[]);
    let mut cluster = cluster.up();

    let writer = "dd if=/dev/zero of=/big bs=1M count=3; exec sleep 1000";
    cluster.apply(&pod("writer", writer, "{limits: {ephemeral-storage: 1Mi}}")).success();
    let hold = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20; exec sleep 1000";
    cluster.apply(&pod("greedy", hold, "{}")).success();
    cluster.apply(&pod("modest", hold, "{requests: {memory: 64Mi}}")).success();
    for name in ["greedy", "modest"] {
        cluster.phase(name, "Running");
    }

    // Over its limit of the disk.
    let writer = cluster.phase("writer", "Failed");
    let said = writer["status"]["message"].as_str().unwrap();
    assert_eq!(writer["status"]["reason"], "Evicted");
    assert!(
        said.contains("ephemeral local storage usage exceeds the total limit of containers 1Mi"),
        "{said}"
    );

    start(&mut cluster, &["--eviction-hard=memory.available<100%"]);
    let greedy = cluster.phase("greedy", "Failed");
    assert_eq!(cluster.object("pod modest").unwrap()["status"]["phase"], "Running");
    let said = greedy["status"]["message"].as_str().unwrap();
    assert_eq!(greedy["status"]["reason"], "Evicted");
    for words in [
        "The node was low on resource: memory. Threshold quantity: ",
        "Container main was using ",
        "request is 0, has larger consumption of memory.",
    ] {
        assert!(said.contains(words), "no {words} in {said}");
    }
    cluster
        .kubectl("describe pod greedy")
        .success()
        .says(&["Evicted", "The node was low on resource: memory"]);
    let node = cluster.object("node pi-1").unwrap();
    assert_eq!(node["status"]["conditions"][0]["reason"], "KubeletHasInsufficientMemory");
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/memory-pressure");
    cluster
        .kubectl("describe node pi-1")
        .success()
        .says(&["EvictionThresholdMet", "NodeHasInsufficientMemory"]);

    // New pods stay away until it is over.
    cluster.apply(&pod("late", "exec sleep 1000", "{}")).success();
    eventually("it can't be scheduled", Duration::from_secs(10), || {
        let late = cluster.kubectl("describe pod late").stdout;
        late.contains("untolerated taint {node.kubernetes.io/memory-pressure: }").then_some(())
    });
    start(&mut cluster, &[]);
    cluster.phase("late", "Running");
    assert!(cluster.object("node pi-1").unwrap()["spec"]["taints"].is_null());
    // What was evicted stays so after a restart of the agent.
    assert_eq!(cluster.object("pod greedy").unwrap()["status"]["reason"], "Evicted");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for (flag, value) in [
        ("--eviction-hard", "memory.available<a lot"),
        ("--eviction-hard", "memory<5%"),
        ("--eviction-pressure-transition-period", "soon"),
        ("--pod-max-pids", "none"),
        ("--pod-max-pids", "0"),
    ] {
        let mut command = std::process::Command::new(common::cluster::midge());
        command.args(["agent", "--server", "https://127.0.0.1:1", flag, value]);
        command.env("MIDGE_CONFIG", "/dev/null");
        common::command::Answer::of(&mut command).refused(2, &[flag, value]);
    }
}
