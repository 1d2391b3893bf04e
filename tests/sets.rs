//! DaemonSets and StatefulSets as kubectl's users have them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use common::process::Process;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn template(app: &str, script: &str, mounts: Value) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts,
        }]},
    })
}

/// Adds a node that no full disk of the test's host keeps from taking pods.
fn add_node(cluster: &mut Cluster, name: &str) {
    let (url, token) = (cluster.url(), cluster.token());
    let mut machine = cluster.machine(name, true);
    let mut command = machine.command(&["agent", "--eviction-hard=memory.available<1Mi"]);
    command.env("MIDGE_URL", url).env("MIDGE_TOKEN", token);
    machine.midge = Some(Process::start(command, &machine.folder.join("midge.log")));
    cluster.agents.push(machine);
}

fn cluster(name: &str) -> Cluster {
    let mut cluster = Cluster::new(name);
    add_node(&mut cluster, "pi-1");
    cluster.up()
}

/// Names of pods, where they are, and what the label says of their revision.
fn pods(cluster: &Cluster, app: &str) -> Vec<[String; 3]> {
    let columns =
        "NAME:.metadata.name,NODE:.spec.nodeName,REVISION:.metadata.labels.controller-revision-hash";
    let text =
        cluster.kubectl(&format!("get pods -l app={app} --no-headers -o custom-columns={columns}")).stdout;
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        [(); 3].map(|()| words.next().unwrap_or_default())
    };
    text.lines().map(line).collect()
}

#[test]
fn a_stateful_pod_comes_back_with_its_name_and_its_data() {
    let cluster = cluster("sets-stateful");
    let script = "echo $(hostname) >> /data/file; trap exit TERM; while :; do sleep 1; done";
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": template("db", script, json!([{"name": "data", "mountPath": "/data"}])),
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
            }],
        },
    });
    let answer = cluster.apply(&set.to_string()).success();
    assert!(!answer.stderr.contains("no controller"), "{}", answer.stderr);
    cluster.kubectl("rollout status sts/db --timeout=30s").success().says(&["partitioned roll out complete"]);
    let before = cluster.object("pod db-0").unwrap();
    assert_eq!(before["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
    assert!(cluster.object("pod db-1").is_some());
    assert_eq!(cluster.kubectl("get pvc -o name").stdout.lines().count(), 2);

    cluster.kubectl("delete pod db-0 --timeout=30s").success();
    eventually("db-0 is another pod", PATIENCE, || {
        let pod = cluster.object("pod db-0")?;
        (pod["metadata"]["uid"] != before["metadata"]["uid"] && pod["status"]["phase"] == "Running")
            .then_some(())
    });
    eventually("it has what the first one wrote", PATIENCE, || {
        (cluster.kubectl("exec db-0 -- cat /data/file").stdout == "db-0\ndb-0\n").then_some(())
    });

    // A change rolls through, and back.
    cluster.kubectl("set env sts/db MARK=2").success();
    cluster.kubectl("rollout status sts/db --timeout=30s").success();
    let env = "get pod db-0 -o jsonpath={.spec.containers[0].env[*].value}";
    assert_eq!(cluster.kubectl(env).stdout, "2");
    cluster.kubectl("rollout undo sts/db").success();
    cluster.kubectl("rollout status sts/db --timeout=30s").success();
    assert_eq!(cluster.kubectl(env).stdout, "");
    cluster.kubectl("rollout history sts/db").success().says(&["2", "3"]);

    assert_eq!(cluster.kubectl("get controllerrevisions -o name").stdout.lines().count(), 2);

    // Claims stay when their pods go.
    cluster.kubectl("scale sts/db --replicas=0").success();
    eventually("no pods are left", PATIENCE, || pods(&cluster, "db").is_empty().then_some(()));
    assert_eq!(cluster.kubectl("get pvc -o name").stdout.lines().count(), 2);
    cluster.kubectl("get events").success().says(&[
        "create Claim data-db-0 Pod db-0 in StatefulSet db success",
        "create Pod db-1 in StatefulSet db successful",
        "delete Pod db-1 in StatefulSet db successful",
    ]);

    // Somebody else's pod is in the way.
    cluster.kubectl(&format!("run db-0 --image={IMAGE} --command -- sleep 600")).success();
    cluster.kubectl("scale sts/db --replicas=1").success();
    let said = r#"create Pod db-0 in StatefulSet db failed error: pods "db-0" already exists"#;
    eventually("an event says so", PATIENCE, || {
        cluster.kubectl("get events").stdout.contains(said).then_some(())
    });
    cluster.kubectl("delete pod db-0 --now").success();
    eventually("the set's pod is there", PATIENCE, || {
        (cluster.object("pod db-0")?["metadata"]["ownerReferences"][0]["name"] == "db").then_some(())
    });
}

#[test]
fn a_daemon_runs_on_each_node_and_rolls() {
    let mut cluster = cluster("sets-daemon");
    let script = "trap exit TERM; while :; do sleep 1; done";
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "log"},
        "spec": {"selector": {"matchLabels": {"app": "log"}}, "template": template("log", script, json!([]))},
    });
    cluster.apply(&set.to_string()).success();
    cluster.kubectl("rollout status ds/log --timeout=30s").success().says(&["successfully rolled out"]);
    let nodes = |cluster: &Cluster| {
        let mut nodes: Vec<String> = pods(cluster, "log").into_iter().map(|[_, node, _]| node).collect();
        nodes.sort();
        nodes
    };
    assert_eq!(nodes(&cluster), ["pi-1"]);
    add_node(&mut cluster, "pi-2");
    eventually("the new node has one", PATIENCE, || (nodes(&cluster) == ["pi-1", "pi-2"]).then_some(()));

    let first = pods(&cluster, "log");
    cluster.kubectl("set env ds/log MARK=2").success();
    cluster.kubectl("rollout status ds/log --timeout=30s").success();
    let second = pods(&cluster, "log");
    assert_eq!(second.len(), 2);
    assert!(second.iter().all(|[_, _, revision]| *revision != first[0][2]), "{first:?} {second:?}");
    cluster.kubectl("rollout undo ds/log").success();
    cluster.kubectl("rollout status ds/log --timeout=30s").success();
    assert!(pods(&cluster, "log").iter().all(|[_, _, revision]| *revision == first[0][2]));
    cluster.kubectl("rollout history ds/log").success().says(&["2", "3"]);

    cluster.kubectl("taint node pi-2 only=others:NoExecute").success();
    eventually("it leaves the tainted node", PATIENCE, || (nodes(&cluster) == ["pi-1"]).then_some(()));
    cluster.kubectl("delete ds log --timeout=30s").success();
    eventually("its pods go with it", PATIENCE, || pods(&cluster, "log").is_empty().then_some(()));
}
