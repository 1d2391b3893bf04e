//! Several agents on one machine, in one network namespace and on one containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE, entries};
use common::command::{Answer, eventually};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// A pod on `node` that serves its own name.
fn server(name: &str, node: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {IMAGE}
    command: [sh, -c, 'mkdir /www; echo "I am $HOSTNAME" > /www/index.html; exec httpd -f -p 80 -h /www']
"#
    )
}

/// A pod on `node` that asks `ip` and ends.
fn asker(name: &str, node: &str, ip: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}, restartPolicy: Never, \
         containers: [{{name: main, image: '{IMAGE}', command: [sh, -c, 'wget -qO- http://{ip}']}}]}}}}"
    )
}

fn run_on(cluster: &Cluster, line: &str) {
    let mut words = line.split(' ');
    let mut command = cluster.agents[0].host.command(words.next().unwrap());
    Answer::of(command.args(words)).success();
}

fn ip(cluster: &Cluster, pod: &str) -> String {
    cluster.phase(pod, "Running")["status"]["podIP"].as_str().unwrap().to_string()
}

#[test]
fn two_agents_on_one_machine_and_one_containerd_leave_each_other_alone() {
    let mut cluster = Cluster::new("several").agent("pi-1");
    let other = cluster.agents[0].neighbour("pi-2");
    cluster.agents.push(other);
    // As Docker leaves it; packets from one bridge to the other go through there.
    run_on(&cluster, "iptables -P FORWARD DROP");
    cluster.start_agent(1);
    let mut cluster = cluster.up();

    for (name, node) in [("one", "pi-1"), ("two", "pi-2")] {
        cluster.apply(&server(name, node)).success();
    }
    let (one, two) = (ip(&cluster, "one"), ip(&cluster, "two"));
    for (name, node, ip, answer) in
        [("ask-two", "pi-1", &two, "I am two"), ("ask-one", "pi-2", &one, "I am one")]
    {
        cluster.apply(&asker(name, node, ip)).success();
        cluster.phase(name, "Succeeded");
        cluster.kubectl(&format!("logs {name}")).success().says(&[answer]);
    }

    // A pod goes where its image is.
    let own = "example.org/own:1";
    let lists = |at: usize| {
        let node = cluster.object(&format!("node pi-{at}")).unwrap();
        let names = node["status"]["images"].as_array().into_iter().flatten().flat_map(|image| {
            assert!(image["sizeBytes"].as_u64() > Some(0), "{image}");
            image["names"].as_array().unwrap().clone()
        });
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect::<Vec<String>>()
    };
    cluster.agents[1].ctr(&format!("images tag {IMAGE} {own}"));
    eventually("the node says that it has it", Duration::from_secs(10), || {
        lists(2).iter().any(|name| name == own).then_some(())
    });
    assert!(lists(2).iter().any(|name| name.contains("@sha256:")), "{:?}", lists(2));
    assert!(!lists(1).iter().any(|name| name == own));
    let local =
        json!({"image": own, "imagePullPolicy": "Never", "name": "main", "command": ["sleep", "100"]});
    let mut local = json!({"metadata": {"name": "local"}, "spec": {"containers": [local]}});
    (local["apiVersion"], local["kind"]) = ("v1".into(), "Pod".into());
    local["spec"]["terminationGracePeriodSeconds"] = 0.into();
    cluster.apply(&local.to_string()).success();
    assert_eq!(cluster.phase("local", "Running")["spec"]["nodeName"], "pi-2");
    cluster.kubectl("delete pod local --timeout=30s").success();
    cluster.agents[1].ctr(&format!("images rm {own}"));
    eventually("the node says that it is gone", Duration::from_secs(10), || {
        (!lists(2).iter().any(|name| name == own)).then_some(())
    });

    // Each has names of its own for whatever they share.
    let names: Vec<String> = cluster.agents.iter().map(|machine| machine.own_name()).collect();
    assert_ne!(names[0], names[1]);
    let bridges = cluster.agents[0].host.interfaces();
    for name in &names {
        assert!(bridges.contains(name), "no bridge {name} in {bridges:?}");
    }
    assert!(cluster.agents.iter().all(|machine| !machine.cgroups().is_empty()));

    // One that starts anew, or has nothing to do any more, does not clear away what is the other's.
    let identity = |cluster: &Cluster| {
        let status = &cluster.object("pod two").unwrap()["status"]["containerStatuses"][0];
        (status["containerID"].clone(), status["restartCount"].clone())
    };
    let before = identity(&cluster);
    cluster.agents[0].midge.as_mut().unwrap().kill();
    cluster.start_agent(0);
    cluster.kubectl("delete pod one ask-two --timeout=30s").success();
    assert_eq!(cluster.agents[0].ctr("tasks ls -q"), "");
    assert!(cluster.agents[0].cgroups().is_empty());
    assert!(entries(&cluster.agents[0].folder.join("run/netns")).is_empty());
    cluster.apply(&asker("ask-again", "pi-1", &two)).success();
    cluster.phase("ask-again", "Succeeded");
    cluster.kubectl("delete pod ask-again --timeout=30s").success();
    cluster.agents[1].midge.as_mut().unwrap().kill();
    cluster.start_agent(1);
    let cluster = cluster.up();
    assert_eq!(identity(&cluster), before);

    // The data folder is one agent's.
    let mut second = cluster.agents[0].command(&["agent"]);
    second.env("MIDGE_URL", cluster.url()).env("MIDGE_TOKEN", cluster.token());
    let folder = cluster.agents[0].folder.join("data/agent/lock");
    Answer::of(&mut second).refused(1, &[&folder.to_string_lossy(), "another midge"]);

    cluster.kubectl("delete pods --all --timeout=30s").success();
    eventually("all of the second's is gone", Duration::from_secs(5), || {
        cluster.agents[1].cgroups().is_empty().then_some(())
    });
    cluster.agents[0].assert_nothing_left(&bridges_only(&bridges));
    let left = entries(&Path::new("/run/containerd/runc").join(&names[1]));
    assert!(left.is_empty(), "{left:?}");
}

fn bridges_only(interfaces: &[String]) -> Vec<String> {
    interfaces.iter().filter(|name| !name.starts_with("veth")).cloned().collect()
}
