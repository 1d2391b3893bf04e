//! The budgets of the design, measured: `just bench`. Nothing here fails on a number; the table says
//! what each is, beside its limit, on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::api::Api;
use common::cluster::{Cluster, IMAGE};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long "idle" is watched, unless MIDGE_BENCH_IDLE says otherwise, in seconds.
const IDLE: u64 = 120;
const MONTH: f64 = 30.0 * 24.0 * 3600.0;

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
    table.row("server, idle, 1 node, 10 pods, PSS", "5 MB (10 nodes, 100 pods)", megabytes(pss(server)));
    table.row("agent, idle, 10 pods, PSS", "3 MB", megabytes(pss(agent)));
    let loggers: u64 = processes_of(&copy).filter(|id| *id != agent).map(pss).sum();
    table.row("the log programs of these 10 pods, PSS", "", megabytes(loggers));

    let idle = std::env::var("MIDGE_BENCH_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(IDLE);
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
    table.row("server and agent in one process, idle, PSS", "6 MB", megabytes(pss(one)));
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
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
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
