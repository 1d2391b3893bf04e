//! A fleet against one server.

use super::agents::Fleet;
use super::common::command::eventually;
use super::common::folder::Folder;
use super::count::{observed, ready_nodes, running_pods};
use super::load::{self, Request};
use super::rates::pod;
use super::server::Server;
use super::{MONTH, Table, idle_seconds, memory, rollup, ticks};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(240);

pub fn rows(table: &Table, nodes: usize, pods: usize) {
    let what = format!("fleet of {nodes} nodes");
    let mut server = Server::start("bench-fleet");
    // The nodes' keys cost the disk nothing that the server wants of it.
    let keys = Folder::new("fleet-keys");
    let shared = Path::new("/dev/shm").join(keys.path().file_name().unwrap());
    let folder = if Path::new("/dev/shm").exists() { &shared } else { keys.path() };
    let mut fleet = Fleet::new(server.url(), server.token(), folder);
    std::thread::sleep(Duration::from_secs(1));
    let empty = rollup(server.id(), "Pss_Anon:");

    let joined =
        storm(&server, &mut fleet, |fleet| fleet.grow(nodes), |_| ready_nodes(&server.target()) == nodes);
    table.row(&format!("{what}: join storm, until all are Ready"), "", joined);
    assert_eq!(fleet.linked(), nodes);
    std::thread::sleep(Duration::from_secs(3));
    let each = rollup(server.id(), "Pss_Anon:").saturating_sub(empty) / nodes as u64;
    table.row(&format!("{what}: memory of the server for each"), "", format!("{:.1} kB", each as f64 / 1e3));
    idle(table, &what, &server, nodes);

    let target = server.target();
    let before = ticks(server.id());
    let start = Instant::now();
    let made = load::run(&target, 16, pods, |number| {
        let body = pod(&format!("pod-{number:05}"), &format!("node-{:04}", number % nodes)).to_string();
        let path = String::from("/api/v1/namespaces/default/pods");
        Request { method: "POST", path, content_type: "application/json", body: body.into_bytes() }
    });
    eventually("all pods are told of", PATIENCE, || (fleet.pods() == pods).then_some(()));
    eventually("all pods are Running", PATIENCE, || (running_pods(&server.target()) == pods).then_some(()));
    let text = format!(
        "{:.1} s, {:.0} ms of the server's CPU; creating them took {:.1} s",
        start.elapsed().as_secs_f64(),
        (ticks(server.id()) - before) * 10,
        made.elapsed.as_secs_f64()
    );
    table.row(&format!("{what}: {pods} pods from create to reported Running"), "", text);
    let limit = match (nodes, pods) {
        (1000, 10_000) => "150 MB",
        (20, 1000) => "20 MB",
        _ => "",
    };
    table.row(&format!("{what}, {pods} pods: memory, at once"), limit, memory(server.id()));
    // Longer than the registry's batch of lazy writes takes.
    std::thread::sleep(Duration::from_secs(35));
    table.row(&format!("{what}, {pods} pods: memory, at rest"), limit, memory(server.id()));
    idle(table, &format!("{what}, {pods} pods"), &server, nodes);

    let links = fleet.sums();
    fleet.cut(0..nodes);
    let back = storm(&server, &mut fleet, |fleet| fleet.connect(0..nodes), |fleet| fleet.linked() == nodes);
    table.row(&format!("{what}, {pods} pods: all links lost and back"), "", back);
    let told = fleet.sums();
    assert_eq!((told.puts, told.removals), (links.puts, 0), "what a node has it was told again");
    let start = Instant::now();
    server.restart();
    eventually("all are back", PATIENCE, || {
        (fleet.sums().links >= 3 * nodes && fleet.linked() == nodes).then_some(())
    });
    table.row(
        &format!("{what}, {pods} pods: the server restarted, until all are back"),
        "",
        format!("{:.1} s", start.elapsed().as_secs_f64()),
    );
    std::thread::sleep(Duration::from_secs(3));
    table.row(&format!("{what}, {pods} pods: memory, after that"), limit, memory(server.id()));
    assert_eq!((running_pods(&server.target()), fleet.pods(), fleet.sums().removals), (pods, pods, 0));
    drop(fleet);
    let _ = std::fs::remove_dir_all(&shared);
}

/// Deployments that nobody changes, and one that is scaled.
pub fn deployments(table: &Table, nodes: usize, count: usize) {
    let server = Server::start("bench-deployments");
    let keys = Folder::new("deployments-keys");
    let mut fleet = Fleet::new(server.url(), server.token(), keys.path());
    fleet.grow(nodes);
    let target = server.target();
    eventually("all are there", PATIENCE, || (ready_nodes(&target) == nodes).then_some(()));
    let path = "/apis/apps/v1/namespaces/default/deployments";
    load::run(&target, 16, count, |number| {
        let body = deployment(&format!("app-{number:04}")).to_string().into_bytes();
        Request { method: "POST", path: path.to_owned(), content_type: "application/json", body }
    });
    eventually("all are looked after", PATIENCE, || (observed(&target, path) == count).then_some(()));
    // Longer than the registry's batch of lazy writes takes.
    std::thread::sleep(Duration::from_secs(35));
    let what = format!("{count} Deployments, {nodes} nodes");
    table.row(&format!("{what}: memory, at rest"), "", memory(server.id()));
    idle(table, &what, &server, nodes);

    let before = ticks(server.id());
    let start = Instant::now();
    let patch = br#"{"spec":{"replicas":1000}}"#;
    let answer = load::Client::connect(&target)
        .unwrap()
        .ask("PATCH", &format!("{path}/app-0000/scale"), "application/merge-patch+json", patch)
        .unwrap();
    assert_eq!(answer.code, 200);
    eventually("all pods are told of", PATIENCE, || (fleet.pods() == 1000).then_some(()));
    eventually("all pods are Running", PATIENCE, || (running_pods(&target) == 1000).then_some(()));
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), (ticks(server.id()) - before) * 10);
    let text = format!("{elapsed:.1} s, {cpu} ms of the server's CPU");
    table.row(&format!("{what}: one scaled to 1000, until all pods are reported Running"), "", text);
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "localhost/busybox:1"}]},
        }},
    })
}

/// How long it takes from `begin` until `done`, and the server's CPU.
fn storm(
    server: &Server,
    fleet: &mut Fleet,
    begin: impl FnOnce(&mut Fleet),
    done: impl Fn(&Fleet) -> bool,
) -> String {
    let before = ticks(server.id());
    let start = Instant::now();
    begin(fleet);
    eventually("all are there", PATIENCE, || done(fleet).then_some(()));
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), (ticks(server.id()) - before) * 10);
    format!("{elapsed:.1} s, {cpu} ms of the server's CPU")
}

/// Watches a fleet at rest.
fn idle(table: &Table, what: &str, server: &Server, nodes: usize) {
    let seconds = idle_seconds();
    let look = || (ticks(server.id()), loopback());
    let before = look();
    std::thread::sleep(Duration::from_secs(seconds));
    let after = look();
    let share = (after.0 - before.0) as f64 / seconds as f64;
    table.row(&format!("{what}: CPU at rest"), "5 % of one core", format!("{share:.1} %, from {seconds} s"));
    let month = (after.1 - before.1) as f64 / nodes as f64 / seconds as f64 * MONTH / 1e6;
    table.row(
        &format!("{what}: traffic of each"),
        "20 MB a month",
        format!("{month:.1} MB a month, from {seconds} s"),
    );
}

/// Bytes that the loopback interface of this thread's network has carried, headers included.
fn loopback() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
