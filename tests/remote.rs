//! exec, attach, port-forward and what else a client reaches a node through, with the real kubectl and with
//! hand-made clients: a real server, and a node that is a test's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "common/command.rs"]
mod command;
#[path = "remote/node.rs"]
mod node;

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use command::eventually;
use node::Cluster;

#[test]
fn kubectl_exec() {
    let cluster = Cluster::start("exec");
    cluster.kubectl("exec web -- echo one two").success().says(&["one two\n"]);
    cluster.kubectl("exec web -c web -- complain a b").success().says(&["a b\n"]);
    let failed = cluster.kubectl("exec web -- exit 7");
    assert_eq!(failed.code, Some(7), "{failed:?}");
    cluster.kubectl("exec web -- missing").refused(1, &["no such program"]);
    // More words than anybody types, none lost.
    let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let many = many.join(" ");
    assert_eq!(cluster.kubectl(&format!("exec web -- echo {many}")).success().stdout, format!("{many}\n"));

    // Input, its end, and more of both directions at once than is buffered on the way.
    let mut child = cluster
        .command("exec -i web -- cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let input = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());

    // What can't be.
    let refused = |line: &str, words: &[&str]| drop(cluster.kubectl(line).refused(1, words));
    refused("exec web -c nobody -- echo", &["container nobody is not valid for pod web"]);
    refused("exec nobody -- echo", &["\"nobody\" not found"]);
    refused("exec done -- echo", &["completed pod"]);
    refused("exec waiting -- echo", &["not found (\"web\")", "ContainerCreating"]);
}

/// A client that vanishes: what it started is told.
#[test]
fn a_client_that_vanishes() {
    let cluster = Cluster::start("vanish");
    let mut child =
        cluster.command("exec -i web -- cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(cluster.running(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the program's end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));
}
