//! The machine goes down: pods end by priority, and the same ones run again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE, Machine};
use common::command::{Answer, eventually};
use common::node::Node;
use common::process::Process;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

const GRACE: [&str; 2] = ["--shutdown-grace-period=6s", "--shutdown-grace-period-critical-pods=2s"];
/// What the others have of it.
const OTHERS: Duration = Duration::from_secs(4);

/// A pod whose container runs `script`, with `/out` on the host.
fn pod(name: &str, image: &str, out: &Path, script: &str, more: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "spec": {
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script], "volumeMounts": [{"name": "out", "mountPath": "/out"}]}],
            "volumes": [{"name": "out", "hostPath": {"path": out}}],
        },
    });
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// Ends well when it is told to, and leaves a line.
fn polite(name: &str) -> String {
    format!("trap 'echo {name} >>/out/ends; exit 0' TERM; while :; do sleep 0.1; done")
}

fn apply(cluster: &Cluster, mut pod: Value) {
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| key == "name");
    cluster.apply(&pod.to_string()).success();
}

fn shutdown(data_dir: &Path, run_dir: &Path) -> Answer {
    let mut command = Command::new(common::cluster::midge());
    command.arg("shutdown").arg("--data-dir").arg(data_dir).arg("--run-dir").arg(run_dir);
    Answer::of(command.env("MIDGE_CONFIG", "/dev/null"))
}

fn start(cluster: &Cluster, machine: &mut Machine) {
    let mut command = machine.command(&["agent", "--eviction-hard=memory.available<1Mi"]);
    command.args(GRACE).env("MIDGE_URL", cluster.url()).env("MIDGE_TOKEN", cluster.token());
    machine.midge = Some(Process::start(command, &machine.folder.join("midge.log")));
}

fn status(cluster: &Cluster, pod: &str) -> Value {
    cluster.object(&format!("pod {pod}")).unwrap()["status"].clone()
}

fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

#[test]
fn pods_end_by_priority_within_the_time_and_the_same_run_again() {
    let mut cluster = Cluster::new("shutdown");
    let mut machine = cluster.machine("pi-1", true);
    start(&cluster, &mut machine);
    cluster.agents.push(machine);
    let mut cluster = cluster.up();
    let out = cluster.agents[0].folder.join("out");
    std::fs::create_dir(&out).unwrap();
    let folders = ["data", "run"].map(|name| cluster.agents[0].folder.join(name));
    let [data, run] = &folders;
    let critical = json!({"priorityClassName": "system-node-critical"});
    let stubborn = json!({"terminationGracePeriodSeconds": 600});
    for (name, script, more) in [
        ("critical", polite("critical").as_str(), critical),
        ("polite", &polite("polite"), json!({})),
        ("stubborn", "trap '' TERM; exec sleep 1000", stubborn),
        ("once", &polite("once"), json!({"restartPolicy": "Never"})),
        ("task", &polite("task"), json!({"restartPolicy": "OnFailure"})),
    ] {
        apply(&cluster, pod(name, IMAGE, &out, script, more));
    }
    let names = ["critical", "polite", "stubborn", "task"];
    let before = names.map(|name| cluster.phase(name, "Running"));
    cluster.phase("once", "Running");

    let (began, clock) = (SystemTime::now(), Instant::now());
    let said = shutdown(data, run).success().stdout;
    let took = clock.elapsed();
    assert!(said.contains("waiting for 5 pod(s)"), "{said}");
    assert_eq!(said.lines().last(), Some("all pods have ended"), "{said}");
    assert!((OTHERS..Duration::from_secs(9)).contains(&took), "{took:?}");
    let ends = std::fs::read_to_string(out.join("ends")).unwrap();
    let mut lines: Vec<&str> = ends.lines().collect();
    assert_eq!(lines.pop(), Some("critical"), "{ends}");
    lines.sort_unstable();
    assert_eq!(lines, ["once", "polite", "task"]);
    // It was told to end only once the stubborn one was out of time.
    let last = std::fs::metadata(out.join("ends")).unwrap().modified().unwrap();
    assert!(last.duration_since(began).unwrap() >= OTHERS, "critical pods have ended too early");

    let node = eventually("the node says why", Duration::from_secs(5), || {
        let ready = condition(&cluster.object("node pi-1")?["status"], "Ready");
        (ready["status"] == "False").then_some(ready)
    });
    assert_eq!(
        (&node["reason"], &node["message"]),
        (&json!("KubeletNotReady"), &json!("node is shutting down"))
    );
    cluster.phase("once", "Failed");
    let once = status(&cluster, "once");
    assert_eq!(once["reason"], "Terminated");
    assert_eq!(once["message"], "Pod was terminated in response to imminent node shutdown.");
    assert_eq!(condition(&once, "DisruptionTarget")["reason"], "TerminationByKubelet");
    // What comes now waits.
    let mut late = pod("late", IMAGE, &out, &polite("late"), json!({"nodeName": "pi-1"}));
    late["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    apply(&cluster, late);
    let uid = cluster.object("pod late").unwrap()["metadata"]["uid"].as_str().unwrap().to_string();
    eventually("the node has the new pod", Duration::from_secs(10), || {
        data.join("agent/pods").join(&uid).join("state.json").exists().then_some(())
    });
    let again = shutdown(data, run).success().stdout;
    assert_eq!(again, "all pods have ended\n");
    assert!(!cluster.agents[0].ctr("tasks ls").contains("RUNNING"));

    cluster.agents[0].midge.as_mut().unwrap().kill();
    shutdown(data, run).refused(1, &["no node runs here"]);
    let mut machine = cluster.agents.pop().unwrap();
    start(&cluster, &mut machine);
    cluster.agents.push(machine);
    cluster.phase("late", "Running");
    for (name, before) in names.iter().zip(before) {
        let after = eventually(&format!("{name} runs again"), Duration::from_secs(20), || {
            let pod = cluster.object(&format!("pod {name}"))?;
            (pod["status"]["containerStatuses"][0]["ready"] == true).then_some(pod)
        });
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
        assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 1, "{name}");
    }
    assert_eq!(status(&cluster, "once")["phase"], "Failed");
    cluster.kubectl("delete pods --all --grace-period=1 --timeout=30s").success();
}

#[test]
fn the_same_pods_run_after_the_reboot() {
    let mut node = Node::new();
    let out = node.containerd.folder().join("out");
    std::fs::create_dir(&out).unwrap();
    let policies = ["Always", "OnFailure", "Never"];
    for policy in policies {
        let name = policy.to_lowercase();
        let pod = pod(&name, "web:1", &out, &polite(&name), json!({"restartPolicy": policy}));
        node.put(&name, &pod);
    }
    node.until("running", |node| policies.iter().all(|name| node.phase(&name.to_lowercase()) == "Running"));
    shutdown(&node.config.data_dir, &node.config.run_dir).success();
    node.until("failed", |node| node.phase("never") == "Failed");
    node.stop();
    node.reboot();
    node.start();
    node.until("running again", |node| {
        ["always", "onfailure"].iter().all(|name| node.container(name)["ready"] == true)
            && node.phase("never") == "Failed"
    });
    let last = |name: &str| {
        let container = node.container(name);
        let ended = &container["lastState"]["terminated"];
        (container["restartCount"].as_u64().unwrap(), ended["exitCode"].as_u64().unwrap())
    };
    assert_eq!(last("always"), (1, 0));
    // It has not done its work, although it ended well.
    assert_eq!(last("onfailure"), (1, 143));
    assert_eq!(node.statuses["never"]["reason"], "Terminated");
}
