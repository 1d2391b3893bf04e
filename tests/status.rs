//! `midge status`, and the service manager's watchdog.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, Machine, midge};
use common::command::{Answer, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn command(machine: &Machine, arguments: &[&str]) -> Command {
    let config = machine.folder.join("config.yaml");
    std::fs::write(&config, "").unwrap();
    let mut command = machine.host.command(&midge());
    command.arg("status").arg("--data-dir").arg(machine.folder.join("data")).env("MIDGE_CONFIG", config);
    command.arg("--run-dir").arg(machine.folder.join("run")).args(arguments);
    command
}

fn status(machine: &Machine, arguments: &[&str]) -> Answer {
    Answer::of(&mut command(machine, arguments))
}

/// It says nothing but this line on stdout, and ends with this code.
#[track_caller]
fn assert_says(answer: &Answer, code: i32, words: &[&str]) {
    assert_eq!(answer.code, Some(code), "{answer:?}");
    assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
    for word in words {
        assert!(answer.stdout.contains(word), "no `{word}` in {answer:?}");
    }
}

#[track_caller]
fn until_it_says(machine: &Machine, words: &str) {
    eventually(words, Duration::from_secs(20), || status(machine, &[]).stdout.contains(words).then_some(()));
}

fn signal(machine: &Machine, signal: Signal) {
    kill_process(Pid::from_raw(machine.midge_id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_node_from_nothing_to_ready_to_killed() {
    let mut cluster = Cluster::new("status");
    assert_says(&status(&cluster.server, &[]), 0, &["server answers at ", &cluster.url()]);
    cluster.server.midge.as_mut().unwrap().kill();
    assert_says(&status(&cluster.server, &[]), 1, &["the server does not run: it was killed"]);

    let machine = cluster.machine("pi-1", true);
    let folder = machine.folder.join("data");
    assert_says(&status(&machine, &[]), 1, &["midge does not run here", &folder.to_string_lossy()]);

    // The server is not there yet.
    cluster.agents.push(machine);
    cluster.start_agent(0);
    until_it_says(&cluster.agents[0], "Connection refused");
    assert_says(&status(&cluster.agents[0], &[]), 1, &["node pi-1 is not linked: ", "192.168.77.1:6443"]);
    let file = cluster.agents[0].folder.join("run/agent.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let begun = Instant::now();
    let waited = status(&cluster.agents[0], &["--wait", "1"]);
    assert_says(&waited, 1, &["node pi-1 is not linked: "]);
    assert!(waited.stderr.starts_with("waiting: node pi-1 is not linked: "), "{waited:?}");
    assert!((1..3).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());

    // It waits no longer than it must, and says what it waits for.
    let mut waiting = command(&cluster.agents[0], &["--wait=60"]);
    let waiting = std::thread::spawn(move || (Answer::of(&mut waiting), Instant::now()));
    cluster.start_server(&["--disable-agent"]);
    eventually("pi-1 is Ready", Duration::from_secs(20), || {
        cluster.kubectl("get nodes").stdout.contains(" Ready ").then_some(())
    });
    let ready = Instant::now();
    let (answer, ended) = waiting.join().unwrap();
    assert_says(&answer, 0, &[&format!("node pi-1 is Ready, linked to {}", cluster.url())]);
    assert!(answer.stderr.contains("waiting: node pi-1 is not linked: "), "{answer:?}");
    assert!(ended.saturating_duration_since(ready) < Duration::from_secs(1), "it waited on");
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&cluster.token()));

    // What stays as it is is not written again.
    let written =
        || (std::fs::metadata(&file).unwrap().ino(), std::fs::metadata(&file).unwrap().mtime_nsec());
    let before = written();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(written(), before);

    // A file that a killed agent left is seen to be stale; one that stops leaves none.
    cluster.agents[0].midge.as_mut().unwrap().kill();
    assert!(file.exists());
    assert_says(&status(&cluster.agents[0], &[]), 1, &["node pi-1 does not run: its agent was killed"]);
    cluster.start_agent(0);
    status(&cluster.agents[0], &["--wait", "20"]).success().says(&["node pi-1 is Ready"]);
    cluster.agents[0].midge.as_mut().unwrap().stop(Duration::from_secs(5));
    assert_says(&status(&cluster.agents[0], &[]), 1, &["midge does not run here"]);
}

#[test]
fn why_a_node_is_not_ready_as_kubectl_says_it() {
    let mut cluster = Cluster::new("status-not-ready").agent("pi-1").up();
    Arc::get_mut(cluster.agents[0].containerd.as_mut().unwrap()).unwrap().down();
    until_it_says(&cluster.agents[0], "node pi-1 is not Ready: container runtime is down: ");
    let said = status(&cluster.agents[0], &[]);
    let reason = said.stdout.trim().strip_prefix("node pi-1 is not Ready: ").unwrap().to_string();
    eventually("kubectl says so too", Duration::from_secs(5), || {
        cluster.kubectl("describe node pi-1").stdout.contains(&reason).then_some(())
    });
    assert_eq!(said.code, Some(1));
    Arc::get_mut(cluster.agents[0].containerd.as_mut().unwrap()).unwrap().up();
    status(&cluster.agents[0], &["--wait", "30"]).success();

    // An agent that gave up says why, after its end.
    cluster.kubectl("delete node pi-1").success();
    assert_eq!(cluster.agents[0].midge.as_mut().unwrap().ended(Duration::from_secs(20)), Some(2));
    assert_says(&status(&cluster.agents[0], &[]), 1, &["node pi-1 does not run: ", "deleted", "join token"]);
}

#[test]
fn a_server_with_its_node_has_two_lines() {
    let cluster = Cluster::with_node("status-both").up();
    let answer = status(&cluster.server, &["--wait=10"]).success();
    let lines: Vec<&str> = answer.stdout.lines().collect();
    let server = format!("server answers at {}", cluster.url());
    assert_eq!(lines, [server.as_str(), "node server is Ready, linked to https://127.0.0.1:6443"]);
    // One that does not answer is not well, whatever it has said.
    signal(&cluster.server, Signal::STOP);
    let answer = status(&cluster.server, &[]);
    signal(&cluster.server, Signal::CONT);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stdout.contains(&format!("server does not answer at {}: ", cluster.url())), "{answer:?}");
}

#[test]
fn agents_on_one_machine_are_told_apart() {
    let mut cluster = Cluster::new("status-several").agent("pi-1");
    let other = cluster.agents[0].neighbour("pi-2");
    cluster.agents.push(other);
    cluster.start_agent(1);
    let mut cluster = cluster.up();
    cluster.agents[1].midge.as_mut().unwrap().kill();
    status(&cluster.agents[0], &["--wait", "5"]).success().says(&["node pi-1 is Ready"]);
    assert_says(&status(&cluster.agents[1], &[]), 1, &["node pi-2 does not run"]);
    // Where nobody says so, the run folder follows from the data folder: this one has none.
    let mut command = cluster.agents[0].host.command(&midge());
    command.args(["status", "--data-dir"]).arg(cluster.agents[0].folder.join("data"));
    command.env("MIDGE_CONFIG", cluster.agents[0].folder.join("config.yaml"));
    assert_says(&Answer::of(&mut command), 1, &["midge does not run here"]);
    command.env("MIDGE_RUN_DIR", cluster.agents[0].folder.join("run"));
    assert_says(&Answer::of(&mut command), 0, &["node pi-1 is Ready"]);
}

/// Counts the watchdog's signs of life that come within `time`.
fn signs(socket: &UnixDatagram, time: Duration) -> usize {
    let (end, mut count, mut buffer) = (Instant::now() + time, 0, [0; 256]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return count;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        if let Ok(length) = socket.recv(&mut buffer) {
            count += usize::from(&buffer[..length] == b"WATCHDOG=1");
        }
    }
}

#[test]
fn the_watchdog_hears_of_an_executor_that_runs() {
    let mut cluster = Cluster::new("watchdog");
    let machine = cluster.machine("pi-1", true);
    let path = machine.folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let (url, token) = (cluster.url(), cluster.token());
    let start = |machine: &mut Machine, watched_process: Option<&str>| {
        let mut command = machine.command(&["agent"]);
        command.env("MIDGE_URL", &url).env("MIDGE_TOKEN", &token).env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
        command.envs(watched_process.map(|process| ("WATCHDOG_PID", process)));
        machine.midge = Some(common::process::Process::start(command, &machine.folder.join("midge.log")));
        // Only now, so that the time to start does not count.
        status(machine, &["--wait", "20"]).success();
        signs(&socket, Duration::from_millis(50));
    };
    let second = Duration::from_secs(1);
    cluster.agents.push(machine);
    let machine = &mut cluster.agents[0];
    start(machine, None);
    // Every 200 ms.
    let regular = signs(&socket, 2 * second);
    assert!((6..=11).contains(&regular), "{regular} in two seconds");
    signal(machine, Signal::STOP);
    signs(&socket, Duration::from_millis(100));
    assert_eq!(signs(&socket, second), 0, "a stopped process says that it is alive");
    signal(machine, Signal::CONT);
    assert!(signs(&socket, second) > 1);
    // Another process is meant.
    machine.midge.as_mut().unwrap().kill();
    start(machine, Some("1"));
    assert_eq!(signs(&socket, second), 0);
}
