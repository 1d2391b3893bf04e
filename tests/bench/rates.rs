//! What the API answers a second, beside etcd on the same disk, and what it costs in memory.

use super::etcd::Etcd;
use super::load::{self, Client, Request, Target};
use super::server::Server;
use super::{Table, megabytes, memory, rollup, status, ticks};
use serde_json::{Value, json};
use std::sync::Barrier;
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";

/// A pod as charts have it, about 1 kB; on a node of its own choice, so that no scheduler is measured.
pub fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": name},
            "annotations": {"example.com/config-hash": "0f5b6cc4c0ad1e1f6d6bd3a1b1a9d2e8"}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 5, "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "registry.example.com/team/web:1.4.2", "ports": [{"containerPort": 8080}],
                "env": [{"name": "LISTEN", "value": ":8080"}, {"name": "LOG_LEVEL", "value": "info"}],
                "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 10}}],
        },
    })
}

fn create(name: &str, node: &str) -> Request {
    let body = pod(name, node).to_string().into_bytes();
    Request { method: "POST", path: PODS.to_owned(), content_type: JSON, body }
}

fn patch(name: &str, value: usize) -> Request {
    let body = json!({"metadata": {"annotations": {"example.com/turn": value.to_string()}}}).to_string();
    let content_type = "application/merge-patch+json";
    Request { method: "PATCH", path: format!("{PODS}/{name}"), content_type, body: body.into_bytes() }
}

/// Of a pod that is not measured otherwise: nothing runs anywhere here.
fn name(number: usize) -> String {
    format!("pod-{number:05}")
}

/// The memory of an idle server settles within this.
const SETTLE: Duration = Duration::from_secs(2);

pub fn rows(table: &Table) {
    let server = Server::start("bench-api");
    let target = server.target();
    let id = server.id();
    std::thread::sleep(SETTLE);
    let idle = rollup(id, "Pss_Anon:");
    table.row("API: memory of the server before", "", memory(id));

    let journal = server.journal();
    let before = ticks(id);
    let made = load::run(&target, CLIENTS, 3000, |number| create(&name(number), "away"));
    let cpu = (ticks(id) - before) as f64 * 10.0 / 3000.0;
    let text = format!("{}, {cpu:.2} ms of the server's CPU each", made.text());
    table.row("API: durable creates of pods, 64 clients", "3,000/s", text);
    table.row("API: memory of the server with 3,000 pods, at once", "", memory(id));
    std::thread::sleep(SETTLE);
    table.row(
        "API: a stored pod of 1 kB as sent",
        "",
        format!(
            "{:.0} bytes of memory, {:.0} bytes of journal",
            rollup(id, "Pss_Anon:").saturating_sub(idle) as f64 / 3000.0,
            (server.journal() - journal) as f64 / 3000.0
        ),
    );

    for clients in [1, CLIENTS] {
        let before = ticks(id);
        let count = if clients == 1 { 3000 } else { 30_000 };
        let got = load::run(&target, clients, count, |number| {
            Request::get(&format!("{PODS}/{}", name(number * 7 % 3000)))
        });
        let cpu = (ticks(id) - before) as f64 * 10_000.0 / count as f64;
        let text = format!("{}, {cpu:.0} µs of the server's CPU each", got.text());
        let limit = if clients == 1 { "" } else { "10,000/s" };
        table.row(&format!("API: gets of a pod, {clients} clients"), limit, text);
    }
    let listed = load::run(&target, 4, 100, |_| Request::get(&format!("{PODS}?limit=1000")));
    table.row("API: lists of 1,000 pods, 4 clients", "", listed.text());
    table.row("API: memory of the server after lists", "", memory(id));
    let patched = load::run(&target, CLIENTS, 3000, |number| patch(&name(number), number));
    table.row("API: durable merge patches, 64 clients", "", patched.text());

    watchers(table, &target, id);
    std::thread::sleep(SETTLE);
    table.row("API: memory of the server after", "", memory(id));
    drop(server);
    definition(table);

    let etcd = Etcd::start();
    let value = pod("of-etcd", "away").to_string();
    let put = load::run(&etcd.target, CLIENTS, 3000, |number| etcd.put(&name(number), &value));
    table.row("etcd: durable puts, 64 clients, plain JSON gateway", "", put.text());
    let got = load::run(&etcd.target, CLIENTS, 15_000, |number| etcd.get(&name(number * 7 % 3000)));
    table.row("etcd: gets, 64 clients, plain JSON gateway", "", got.text());
    table.row("etcd: memory after", "", megabytes(rollup(etcd.id(), "Pss:")));
    table.row(
        "these figures share",
        "",
        String::from("the CPUs between server, journal's thread and 64 clients with TLS of their own"),
    );
}

/// What a definition as large as those of well-known operators costs while it is applied, and afterwards.
fn definition(table: &Table) {
    const MANAGER: &str = "fieldManager=bench&force=true";
    let path = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.bench.example.com?{MANAGER}"
    );
    let field = |number: usize| {
        let description = format!("Field {number} is {}", "described at length, ".repeat(3));
        (format!("field{number}"), json!({"type": "string", "description": description}))
    };
    let apply = |turn: usize| {
        let fields: serde_json::Map<_, _> = (0..60).map(field).collect();
        let group = |number: usize| {
            let description = format!("Group {number} of turn {turn}");
            (
                format!("group{number}"),
                json!({"type": "object", "description": description, "properties": fields}),
            )
        };
        let groups: serde_json::Map<_, _> = (0..140).map(group).collect();
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": groups}});
        let body = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.bench.example.com"},
            "spec": {"group": "bench.example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
        });
        body.to_string().into_bytes()
    };
    let server = Server::start("bench-definition");
    let mut client = Client::connect(&server.target()).unwrap();
    for turn in 0..2 {
        let body = apply(turn);
        let size = body.len();
        let answer = client.ask("PATCH", &path, "application/apply-patch+yaml", &body).unwrap();
        assert_eq!(answer.code, [201, 200][turn]);
        let what = format!(
            "API: a definition of {} is applied, turn {}: memory at most",
            megabytes(size as u64),
            turn + 1
        );
        table.row(&what, "", megabytes(status(server.id(), "VmHWM:")));
    }
    // Whatever is asked then.
    for _ in 0..3 {
        std::thread::sleep(SETTLE);
        client.ask("GET", "/api/v1/namespaces", "", b"").unwrap();
    }
    table.row("API: memory of the server after that", "", memory(server.id()));
}

/// 200 watchers, each of which must see every change.
fn watchers(table: &Table, target: &Target, id: u32) {
    const WATCHERS: usize = 200;
    const CHANGES: usize = 500;
    let mut lister = Client::connect(target).unwrap();
    let list = lister.ask("GET", &format!("{PODS}?limit=1"), "", b"").unwrap().body;
    let list: Value = serde_json::from_slice(&list).unwrap();
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{PODS}?watch=1&resourceVersion={from}");
    let gate = Barrier::new(WATCHERS + 1);
    std::thread::scope(|scope| {
        let watch = || {
            let mut client = Client::connect(target).unwrap();
            assert_eq!(client.send("GET", &path, "", b"").unwrap(), 200);
            gate.wait();
            let first = client.piece().unwrap().map(|_| Instant::now());
            for _ in 1..CHANGES {
                client.piece().unwrap().unwrap();
            }
            (first.unwrap(), Instant::now())
        };
        let small = || std::thread::Builder::new().stack_size(512 << 10);
        let threads: Vec<_> = (0..WATCHERS).map(|_| small().spawn_scoped(scope, watch).unwrap()).collect();
        gate.wait();
        table.row("API: memory of the server with 200 watchers", "", memory(id));
        let start = Instant::now();
        let mut one = Client::connect(target).unwrap();
        let Request { method, path, content_type, body } = patch(&name(0), 1_000_000);
        one.ask(method, &path, content_type, &body).unwrap();
        // The other changes only once all have had time to see the first one by itself.
        std::thread::sleep(Duration::from_secs(1));
        let burst = Instant::now();
        load::run(target, 8, CHANGES - 1, |number| patch(&name(number), number + 5000));
        let times: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let first = times.iter().map(|(first, _)| *first).max().unwrap() - start;
        let all = times.iter().map(|(_, last)| *last).max().unwrap() - burst;
        let rate = (WATCHERS * (CHANGES - 1)) as f64 / all.as_secs_f64();
        table.row(
            "API: one change to all of 200 watchers",
            "",
            format!("{:.1} ms", first.as_secs_f64() * 1e3),
        );
        table.row("API: events to 200 watchers", "", format!("{rate:.0}/s, {CHANGES} changes by 8 clients"));
    });
}
