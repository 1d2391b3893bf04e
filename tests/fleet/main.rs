//! A fleet of nodes without containerd, over the real link: joins, holds, loses links and returns. `just bench`
//! has the same with 1,000 nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agents;
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
mod count;
#[path = "../bench/load.rs"]
#[allow(dead_code)]
mod load;
#[allow(dead_code)]
mod server;

use agents::Fleet;
use common::command::eventually;
use load::{Request, Target, run};
use serde_json::json;
use server::Server;
use std::time::Duration;

const NODES: usize = 50;
const PODS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_fleet_joins_holds_loses_its_links_and_returns() {
    let mut server = Server::start("fleet");
    let target = server.target();
    let mut fleet = Fleet::new(server.url(), server.token(), &server.folder.join("nodes"));
    fleet.grow(NODES);
    let all_ready = || (count::ready_nodes(&target) == NODES).then_some(());
    eventually("all nodes are Ready", PATIENCE, all_ready);
    assert_eq!(fleet.sums().links, NODES, "nobody had to dial twice");

    create(&target, 0..PODS);
    eventually("all pods run", PATIENCE, || (count::running_pods(&target) == PODS).then_some(()));
    let (pods, told) = (count::pods(&target), fleet.sums());
    assert_eq!((fleet.pods(), told.puts), (PODS, PODS));

    // Half of them lose their links at once, as on a network that fails; then the server restarts under all, and
    // knows no more what it had told them.
    fleet.cut(0..NODES / 2);
    assert_eq!(fleet.linked(), NODES / 2);
    fleet.connect(0..NODES / 2);
    eventually("they are back", PATIENCE, || (fleet.linked() == NODES).then_some(()));
    assert_eq!(fleet.sums().puts, told.puts, "what a node has is not told again");
    server.restart();
    let links = told.links + NODES / 2 + NODES;
    eventually("all are back", PATIENCE, || (fleet.sums().links >= links).then_some(()));
    eventually("all nodes are Ready again", PATIENCE, all_ready);

    // One more on each: what a node said again before it has been heard then.
    create(&target, PODS..PODS + NODES);
    eventually("these run, too", PATIENCE, || (count::running_pods(&target) == PODS + NODES).then_some(()));
    assert_eq!(fleet.sums().removals, 0, "nothing that runs is ended");
    assert_eq!(count::pods(&target)[..PODS], pods, "no pod changed");
    assert_eq!((fleet.linked(), fleet.pods()), (NODES, PODS + NODES));
}

fn create(target: &Target, which: std::ops::Range<usize>) {
    run(target, 8, which.len(), |number| {
        let number = which.start + number;
        let spec = json!({"nodeName": format!("node-{:04}", number % NODES),
            "containers": [{"name": "main", "image": "example.com/web:1"}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod-{number:04}")}, "spec": spec});
        let path = String::from("/api/v1/namespaces/default/pods");
        Request { method: "POST", path, content_type: "application/json", body: pod.to_string().into_bytes() }
    });
}
