//! The budgets of the design, measured: `just bench`. Nothing here fails on a number; the table says
//! what each is, beside its limit, on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "fleet/agents.rs"]
mod agents;
mod common;
#[path = "fleet/count.rs"]
#[allow(dead_code)]
mod count;
#[path = "bench/etcd.rs"]
mod etcd;
#[path = "bench/fleet.rs"]
mod fleet;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/rates.rs"]
mod rates;
#[path = "fleet/server.rs"]
mod server;

use common::api::Api;
use common::cluster::{Cluster, IMAGE, Machine};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long "idle" is watched, unless MIDGE_BENCH_IDLE says otherwise, in seconds: five of a link's pings.
const IDLE: u64 = 140;
const MONTH: f64 = 30.0 * 24.0 * 3600.0;

fn idle_seconds() -> u64 {
    std::env::var("MIDGE_BENCH_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(IDLE)
}

/// Rows of the table, printed as they come.
struct Table;

impl Table {
    fn new() -> Table {
        println!("\n| what | limit | measured |\n|---|---|---|");
        Table
    }

    fn row(&self, what: &str, limit: &str, measured: String) {
        println!("| {what} | {limit} | {measured} |");
    }
}

#[test]
#[ignore = "a benchmark: just bench"]
fn budgets() {
    let table = Table::new();
    let binary = std::fs::metadata(common::cluster::midge()).unwrap().len();
    table.row("binary, this machine's", "4 MB (armv7)", megabytes(binary));

    let mut cluster = Cluster::new("bench");
    let api = Api::new(&cluster);
    let mut ready = Vec::new();
    for _ in 0..5 {
        cluster.server.midge.as_mut().unwrap().stop(Duration::from_secs(5));
        let start = Instant::now();
        cluster.spawn_server(&["--disable-agent"]);
        api.until_ready();
        ready.push(start.elapsed());
    }
    table.row("API answering after start", "50 ms", milliseconds(median(&mut ready)));

    let start = Instant::now();
    cluster.add_agent("pi-1");
    api.until(|| api.node_is_ready("pi-1"));
    let first = start.elapsed();
    cluster.agents[0].midge.as_mut().unwrap().kill();
    table.row("join, from exec to Ready", "500 ms", milliseconds(first));

    // From a copy: of one file the server's process and the agent's would share the pages, and each be
    // charged with half of them.
    let copy = cluster.agents[0].folder.join("midge");
    std::fs::copy(common::cluster::midge(), &copy).unwrap();
    cluster.agents[0].program = copy.to_string_lossy().into_owned();
    cluster.start_agent(0);
    let cluster = cluster.up();
    // The image is imported, the bridge is there.
    api.create_pod("first");
    api.until(|| api.phase("first") == "Running");

    // One at a time, alternating with the peer, on the same containerd.
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for number in 0..7 {
        let name = format!("b{number}");
        let start = Instant::now();
        api.create_pod(&name);
        api.until(|| api.phase(&name) == "Running");
        ours.push(start.elapsed());
        let start = Instant::now();
        cluster.agents[0].ctr(&format!("run -d {IMAGE} peer{number} sleep 1000000"));
        peers.push(start.elapsed());
    }
    let (ours, peer) = (median(&mut ours), median(&mut peers));
    let ratio = ours.as_secs_f64() / peer.as_secs_f64();
    table.row(
        "create to Running, image present",
        "1.25 × `ctr run`",
        format!("{}, `ctr run -d` {}: {ratio:.2} ×", milliseconds(ours), milliseconds(peer)),
    );
    for number in 0..7 {
        cluster.agents[0].ctr(&format!("tasks kill -s 9 peer{number}"));
    }
    for number in 7..9 {
        api.create_pod(&format!("b{number}"));
        api.until(|| api.phase(&format!("b{number}")) == "Running");
    }

    // Longer than the registry's batch of lazy writes takes.
    std::thread::sleep(Duration::from_secs(45));
    let (server, agent) = (cluster.server.midge_id(), cluster.agents[0].midge_id());
    table.row("server, idle, 1 node, 10 pods, PSS", "5 MB (10 nodes, 100 pods)", memory(server));
    table.row("agent, idle, 10 pods, PSS", "3 MB", memory(agent));
    let loggers: u64 = processes_of(&copy).filter(|id| *id != agent).map(pss).sum();
    table.row("the log programs of these 10 pods, PSS", "", megabytes(loggers));

    let idle = idle_seconds();
    let written = |id| io(id, "write_bytes");
    let before =
        (written(server) + written(agent), cluster.agents[0].host.bytes(), ticks(server) + ticks(agent));
    std::thread::sleep(Duration::from_secs(idle));
    let after =
        (written(server) + written(agent), cluster.agents[0].host.bytes(), ticks(server) + ticks(agent));
    table.row(
        "idle disk writes, server and agent",
        "0 bytes in 10 minutes",
        format!("{} bytes in {idle} s", after.0 - before.0),
    );
    let link = (after.1 - before.1) as f64 / idle as f64 * MONTH;
    table.row("one idle link", "20 MB a month", format!("{:.1} MB a month, from {idle} s", link / 1e6));
    table.row("idle CPU, server and agent", "", format!("{} ms in {idle} s", (after.2 - before.2) * 10));

    cluster.kubectl("delete pods --all --timeout=60s").success();
    drop(api);
    drop(cluster);

    let cluster = Cluster::with_node("bench-one").up();
    std::thread::sleep(Duration::from_secs(15));
    let one = cluster.server.midge_id();
    table.row("server and agent in one process, idle, PSS", "6 MB", memory(one));
}

/// Requests a second, and what they cost.
#[test]
#[ignore = "a benchmark: just bench"]
fn api() {
    rates::rows(&Table::new());
}

/// A server with few nodes, and one with many.
#[test]
#[ignore = "a benchmark: just bench"]
fn fleets() {
    let table = Table::new();
    let number = |variable: &str| std::env::var(variable).ok()?.parse().ok();
    match (number("MIDGE_BENCH_NODES"), number("MIDGE_BENCH_PODS")) {
        (Some(nodes), Some(pods)) => fleet::rows(&table, nodes, pods),
        _ => {
            fleet::rows(&table, 20, 1000);
            fleet::rows(&table, 1000, 10_000);
        }
    }
}

/// What the controllers cost, and how fast they are.
#[test]
#[ignore = "a benchmark: just bench"]
fn deployments() {
    fleet::deployments(&Table::new(), 20, 1000);
}

/// Pods on one node, beside `ctr` on the same containerd.
#[test]
#[ignore = "a benchmark: just bench"]
fn pods() {
    const TOGETHER: usize = 20;
    const MANY: usize = 50;
    let mut cluster = Cluster::new("bench-pods");
    cluster.add_agent("pi-1");
    cluster.agents[0].midge.as_mut().unwrap().kill();
    // As in `budgets`: a program of its own.
    let copy = cluster.agents[0].folder.join("midge");
    std::fs::copy(common::cluster::midge(), &copy).unwrap();
    cluster.agents[0].program = copy.to_string_lossy().into_owned();
    cluster.start_agent(0);
    let cluster = cluster.up();
    let api = Api::new(&cluster);
    let node = &cluster.agents[0];
    api.create_pod("first");
    api.until(|| api.phase("first") == "Running");
    let table = Table::new();

    let names = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let create = |names: &[String]| {
        timed(|| {
            names.iter().for_each(|name| ending(&api, name));
            api.until(|| api.running(names) == names.len());
        })
    };
    let delete = |names: &[String]| {
        timed(|| {
            for name in names {
                api.ask("DELETE", &format!("/api/v1/namespaces/default/pods/{name}"), &Value::Null);
            }
            // Gone from the API: that is what people wait for. The node has nothing of it left then.
            api.until(|| api.present(names) == 0);
        })
    };
    let run = |names: &[String]| {
        timed(|| at_once(names, |name| drop(node.ctr(&format!("run -d {IMAGE} {name} sleep 1000000")))))
    };
    let remove = |names: &[String]| {
        timed(|| {
            at_once(names, |name| {
                node.ctr(&format!("tasks rm -f {name}"));
                node.ctr(&format!("containers rm {name}"));
            })
        })
    };
    for count in [1, TOGETHER] {
        let rounds = if count == 1 { 7 } else { 3 };
        let (mut started, mut peers, mut gone, mut peers_gone) = (vec![], vec![], vec![], vec![]);
        for round in 0..rounds {
            let (ours, theirs) =
                (names(&format!("r{round}-"), count), names(&format!("peer{round}-"), count));
            started.push(create(&ours));
            peers.push(run(&theirs));
            gone.push(delete(&ours));
            peers_gone.push(remove(&theirs));
        }
        let pods = if count == 1 { "a pod".to_string() } else { format!("{count} pods at once") };
        let limit = if count == 1 { "1.25 × `ctr run`" } else { "" };
        table.row(
            &format!("create to Running, {pods}"),
            limit,
            beside(&mut started, "ctr run -d", &mut peers),
        );
        table.row(
            &format!("delete to gone, {pods}"),
            "",
            beside(&mut gone, "ctr tasks rm, containers rm", &mut peers_gone),
        );
    }

    let first = node.ctr("containers ls -q").lines().next().unwrap().to_string();
    let (mut ours, mut peers) = (vec![], vec![]);
    for round in 0..7 {
        ours.push(timed(|| drop(cluster.kubectl("exec first -- true").success())));
        peers.push(timed(|| drop(node.ctr(&format!("tasks exec --exec-id e{round} {first} true")))));
    }
    table.row("`kubectl exec POD -- true`", "", beside(&mut ours, "ctr tasks exec", &mut peers));

    waiting(&api, node, "ends", "exit 0");
    let start = release(node, "ends");
    api.until(|| api.phase("ends") == "Succeeded");
    table.row("a container's end to its pod's status", "", milliseconds(start.elapsed()));

    const LINES: usize = 100_000;
    waiting(&api, node, "talks", &format!("seq 1 {LINES}; echo done; sleep 1000000"));
    let mut follow = cluster.kubectl_command("logs -f talks");
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let start = release(node, "talks");
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines().map_while(Result::ok);
    let count = lines.take_while(|line| line != "done").count();
    let speed = LINES as f64 / start.elapsed().as_secs_f64();
    assert_eq!(count, LINES, "lines are missing");
    follow.kill().unwrap();
    follow.wait().unwrap();
    table.row(
        "`kubectl logs -f` of a pod that writes at full speed",
        "",
        format!("{speed:.0} lines a second"),
    );

    let agent = node.midge_id();
    let shims =
        || -> u64 { node.containerd.as_ref().unwrap().shims().into_iter().map(|id| pss(id as u32)).sum() };
    let loggers = || -> u64 { processes_of(&copy).filter(|id| *id != agent).map(pss).sum() };
    std::thread::sleep(Duration::from_secs(10));
    let before = (pss(agent), loggers(), shims());
    let many = names("many-", MANY - 2);
    create(&many);
    std::thread::sleep(Duration::from_secs(10));
    table.row(&format!("agent, {MANY} pods, PSS"), "", memory(agent));
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / many.len() as f64 / 1e3;
    let cost = format!(
        "{:.0} kB in the agent, {:.0} kB log program, {:.0} kB shim",
        each(before.0, pss(agent)),
        each(before.1, loggers()),
        each(before.2, shims())
    );
    table.row("a pod of one container, beside its own process", "", cost);
    cluster.kubectl("delete pods --all --timeout=100s").success();
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn at_once(names: &[String], work: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for name in names {
            scope.spawn(|| work(name));
        }
    });
}

/// The median of ours, and what part of the peer's it is.
fn beside(ours: &mut [Duration], peer: &str, peers: &mut [Duration]) -> String {
    let (ours, peers) = (median(ours), median(peers));
    let ratio = ours.as_secs_f64() / peers.as_secs_f64();
    format!("{}, `{peer}` {}: {ratio:.2} ×", milliseconds(ours), milliseconds(peers))
}

/// Starts a pod that ends when it is told to: deleting it takes what its node takes.
fn ending(api: &Api, name: &str) {
    api.create(
        name,
        json!({"containers": [{"name": "main", "image": IMAGE,
        "command": ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"]}]}),
    );
}

/// Starts a pod that does `then` once it is [released](release).
fn waiting(api: &Api, node: &Machine, name: &str, then: &str) {
    let folder = node.folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    api.create(name, json!({
        "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
        "volumes": [{"name": "gate", "hostPath": {"path": folder}}],
        "containers": [{"name": "main", "image": IMAGE, "volumeMounts": [{"name": "gate", "mountPath": "/gate"}],
            "command": ["sh", "-c", format!("mkfifo /gate/open; cat /gate/open; {then}")]}]}));
    api.until(|| api.phase(name) == "Running" && folder.join("open").exists());
}

/// Lets it go on, and says when.
fn release(node: &Machine, name: &str) -> Instant {
    let gate = std::fs::File::options().write(true).open(node.folder.join(name).join("open")).unwrap();
    let now = Instant::now();
    drop(gate);
    now
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Proportional set size, in bytes (proc(5), smaps_rollup).
fn pss(id: u32) -> u64 {
    rollup(id, "Pss:")
}

/// All of it, and the part that no file backs: the kernel maps what it has cached of the program around what is
/// used of it, and takes that back when memory is short.
fn memory(id: u32) -> String {
    format!("{}, {} of it not the program's text", megabytes(pss(id)), megabytes(rollup(id, "Pss_Anon:")))
}

fn rollup(id: u32, field: &str) -> u64 {
    kilobytes(&format!("/proc/{id}/smaps_rollup"), field)
}

fn status(id: u32, field: &str) -> u64 {
    kilobytes(&format!("/proc/{id}/status"), field)
}

fn kilobytes(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The processes that run this program.
fn processes_of(program: &Path) -> impl Iterator<Item = u32> {
    let ids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(move |id: &u32| {
        std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|path| path == *program)
    })
}

/// A counter of /proc/<id>/io.
fn io(id: u32, counter: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/io")).unwrap();
    let line = text.lines().find(|line| line.starts_with(counter)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Hundredths of a second of CPU, user and system.
fn ticks(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
