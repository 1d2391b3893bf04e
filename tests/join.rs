//! Nodes join with a token, go away and come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use std::time::{Duration, Instant};

#[test]
fn two_hosts_are_ready_with_what_kubectl_shows_of_them() {
    let cluster = Cluster::with_node("two").agent("pi-1").up();
    let nodes = cluster.kubectl("get nodes -o wide").success().stdout;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for (name, address) in
        [("server", &cluster.server.host.address), ("pi-1", &cluster.agents[0].host.address)]
    {
        let line = nodes.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{nodes}"));
        for word in ["Ready", "v1.37", address, "Debian GNU/Linux", kernel.trim(), "containerd://"] {
            assert!(line.contains(word), "no {word} in {line}");
        }
    }
    let node = cluster.object("node pi-1").unwrap();
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "pi-1");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/os"], "linux");
    assert!(node["status"]["allocatable"]["memory"].as_str().is_some());
    cluster.kubectl("describe node pi-1").success().says(&["Ready", "KubeletReady", "Allocatable", "Lease"]);
    let ranges: Vec<_> = ["server", "pi-1"]
        .map(|name| cluster.object(&format!("node {name}")).unwrap()["spec"]["podCIDR"].to_string())
        .to_vec();
    assert_ne!(ranges[0], ranges[1]);
}

#[test]
fn a_host_that_is_cut_off_is_not_ready_and_comes_back_at_once() {
    let cluster = Cluster::new("cut").agent("pi-1").up();
    cluster.agents[0].host.unplug();
    let cut = Instant::now();
    eventually("pi-1 is not Ready", Duration::from_secs(45), || {
        (cluster.ready("pi-1").0 != "True").then_some(())
    });
    println!("NotReady after {:?}", cut.elapsed());
    let (status, reason) = cluster.ready("pi-1");
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "NodeStatusUnknown"));
    cluster.kubectl("get nodes").success().says(&["NotReady"]);

    cluster.agents[0].host.plug_in();
    let back = Instant::now();
    eventually("pi-1 is Ready again", Duration::from_secs(5), || {
        (cluster.ready("pi-1").0 == "True").then_some(())
    });
    println!("Ready after {:?}", back.elapsed());
}

#[test]
fn a_deleted_node_needs_a_join_token() {
    let mut cluster = Cluster::new("deleted").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    cluster.kubectl(&format!("run sleeper --image={IMAGE} --command -- sleep 1000")).success();
    cluster.phase("sleeper", "Running");
    // While the agent is away, its containers run on.
    cluster.agents[0].midge.as_mut().unwrap().kill();
    cluster.kubectl("delete node pi-1").success();
    assert_ne!(cluster.agents[0].ctr("tasks ls -q"), "");

    // Its old key alone does not open the link any more.
    let mut command = cluster.agents[0].command(&["agent"]);
    let keyed = Answer::of(command.env("MIDGE_URL", cluster.url()));
    keyed.refused(2, &["pi-1"]);
    // They may run elsewhere by now.
    cluster.agents[0].assert_nothing_left(&before);
    // With a join token it joins anew, as a new node.
    cluster.start_agent(0);
    let cluster = cluster.up();
    assert_eq!(cluster.ready("pi-1").0, "True");
}
