//! What outlives a killed process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use std::time::Duration;

/// A pod that counts, several times a second.
fn counter(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, \
         containers: [{{name: main, image: '{IMAGE}', command: [sh, -c, 'n=0; while true; do n=$((n+1)); echo $n; sleep 0.1; done']}}]}}}}"
    )
}

/// The numbers that a counter's log has, which must be 1, 2, 3, …
fn counted(cluster: &Cluster, pod: &str) -> usize {
    let log = cluster.kubectl(&format!("logs {pod}")).success().stdout;
    for (at, line) in log.lines().enumerate() {
        assert_eq!(line, (at + 1).to_string(), "a line of the log is lost");
    }
    log.lines().count()
}

fn identity(cluster: &Cluster, pod: &str) -> (String, String, i64) {
    let pod = cluster.object(&format!("pod {pod}")).unwrap();
    let container = &pod["status"]["containerStatuses"][0];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    (
        text(&pod["metadata"]["uid"]),
        text(&container["containerID"]),
        container["restartCount"].as_i64().unwrap(),
    )
}

#[test]
fn an_agent_that_is_killed_finds_its_pods_again() {
    let mut cluster = Cluster::new("agentkill").agent("pi-1").up();
    cluster.apply(&counter("counter")).success();
    cluster.phase("counter", "Running");
    let before = identity(&cluster, "counter");
    let pids = cluster.agents[0].ctr("tasks ls");
    cluster.agents[0].midge.as_mut().unwrap().kill();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.agents[0].ctr("tasks ls"), pids, "the container did not go on without its agent");

    cluster.start_agent(0);
    let cluster = cluster.up();
    eventually("the log is served again", Duration::from_secs(10), || {
        (cluster.kubectl("logs counter").code == Some(0)).then_some(())
    });
    assert!(counted(&cluster, "counter") > 20);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(identity(&cluster, "counter"), before);
    assert_eq!(cluster.agents[0].ctr("tasks ls"), pids);
    cluster.kubectl("delete pod counter --timeout=30s").success();
}

#[test]
fn a_server_that_is_killed_has_everything_again() {
    let mut cluster = Cluster::new("serverkill").agent("pi-1").up();
    cluster.apply(&counter("counter")).success();
    cluster.phase("counter", "Running");
    cluster.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}, data: {a: b}}").success();
    let before = identity(&cluster, "counter");
    let version = cluster.object("configmap kept").unwrap()["metadata"]["resourceVersion"].clone();

    cluster.server.midge.as_mut().unwrap().kill();
    cluster.start_server(&["--disable-agent"]);
    let kept = cluster.object("configmap kept").unwrap();
    assert_eq!((&kept["data"]["a"], &kept["metadata"]["resourceVersion"]), (&"b".into(), &version));
    let old = version.as_str().unwrap();
    let watched = cluster.kubectl(&format!(
        "get --raw /api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=2&resourceVersion={old}"
    ));
    watched.says(&["410"]);

    eventually("the agent is linked again by itself", Duration::from_secs(15), || {
        (cluster.kubectl("logs counter").code == Some(0)).then_some(())
    });
    assert_eq!(identity(&cluster, "counter"), before);
    // The link works both ways.
    cluster.apply(&counter("second")).success();
    cluster.phase("second", "Running");
    cluster.kubectl("delete pods --all --timeout=30s").success();
}

#[test]
fn containerd_may_restart_under_running_pods() {
    let mut cluster = Cluster::new("ctrdkill").agent("pi-1").up();
    cluster.apply(&counter("counter")).success();
    cluster.phase("counter", "Running");
    let before = identity(&cluster, "counter");
    cluster.agents[0].restart_containerd();
    cluster.apply(&counter("second")).success();
    cluster.phase("second", "Running");
    assert_eq!(identity(&cluster, "counter"), before);
    assert!(counted(&cluster, "counter") > 5);
    cluster.kubectl("delete pods --all --timeout=30s").success();
}
