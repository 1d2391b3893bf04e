//! What nobody asks of a server, it does not do: no wakeups, no writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::Cluster;
use common::command::eventually;
use std::time::Duration;

/// How often the threads of a process went to sleep, which is how often they woke.
fn wakeups(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")).ok())
        .map(|status| number(&status, "voluntary_ctxt_switches:"))
        .sum()
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[test]
fn an_idle_server_sleeps() {
    let cluster = Cluster::new("idle");
    let process = cluster.server.midge_id();
    let written = || number(&std::fs::read_to_string(format!("/proc/{process}/io")).unwrap(), "write_bytes:");
    // What starting it has begun, ends.
    eventually("the server sleeps", Duration::from_secs(20), || {
        let (before, bytes) = (wakeups(process), written());
        std::thread::sleep(Duration::from_secs(4));
        (wakeups(process) <= before + 2 && written() == bytes).then_some(())
    });
}
