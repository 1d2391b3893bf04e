//! What people get wrong: each mistake gets one line that names the way out, and the right exit code:
//! 2 for what can't succeed until somebody changes something, 1 for what may be gone at the next try.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, Machine, midge as binary};
use common::command::{Answer, eventually};
use common::process::Process;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

/// Runs `midge agent` on `machine` until it ends by itself.
fn agent(machine: &Machine, variables: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let mut command = machine.command(&["agent"]);
    command.args(arguments).envs(variables.iter().copied());
    let mut limited = Command::new("timeout");
    limited.arg("20").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    Answer::of(&mut limited)
}

#[test]
fn an_agent_that_can_never_join_says_why_and_ends() {
    let mut cluster = Cluster::new("mistakes").agent("pi-1").up();
    let (url, token) = (cluster.url(), cluster.token());
    let machine = cluster.machine("pi-2", true);

    let wrong_secret = format!("{}::server:{}", token.split("::").next().unwrap(), "0".repeat(32));
    agent(&machine, &[("MIDGE_URL", &url), ("MIDGE_TOKEN", &wrong_secret)], &[])
        .refused(2, &["join token is wrong", "midge token create"]);

    let other_ca = format!("K10{}::{}", "ab".repeat(32), token.split("::").nth(1).unwrap());
    agent(&machine, &[("MIDGE_URL", &url), ("MIDGE_TOKEN", &other_ca)], &[]).refused(2, &["token", "CA"]);

    agent(&machine, &[("MIDGE_URL", &url), ("MIDGE_TOKEN", "K10nonsense")], &[]).refused(2, &["token"]);

    agent(&machine, &[("MIDGE_URL", &url), ("MIDGE_TOKEN", &token)], &["--node-name=pi-1"])
        .refused(2, &["pi-1", "kubectl delete node pi-1", "--node-name"]);

    let http = url.replace("https", "http");
    agent(&machine, &[("MIDGE_URL", &http), ("MIDGE_TOKEN", &token)], &[]).refused(2, &["https://"]);

    agent(&machine, &[("MIDGE_TOKEN", &token)], &[]).refused(2, &["MIDGE_URL"]);
    agent(&machine, &[("MIDGE_URL", &url)], &[]).refused(2, &["MIDGE_TOKEN"]);

    agent(
        &machine,
        &[("MIDGE_URL", &url), ("MIDGE_TOKEN", &token)],
        &["--container-runtime-endpoint=/nonexistent/containerd.sock"],
    )
    .refused(1, &["/nonexistent/containerd.sock", "containerd"]);

    agent(&machine, &[("MIDGE_URL", &url), ("MIDGE_TOKEN", &token)], &["--cni-bin-dir=/nonexistent"])
        .refused(1, &["/nonexistent", "containernetworking-plugins"]);

    // The tokens are in no log.
    let secret = token.rsplit(':').next().unwrap();
    assert!(!machine.log().contains(secret) && !cluster.server.log().contains(secret));
    assert!(cluster.server.log().contains(&machine.host.address), "the failed attempts are not logged");

    // k3s's names do as well.
    let mut command = machine.command(&["agent"]);
    command.env("K3S_URL", &url).env("K3S_TOKEN", &token);
    let joined = Process::start(command, &machine.folder.join("midge.log"));
    eventually("pi-2 is Ready", Duration::from_secs(20), || {
        cluster.kubectl("get node pi-2").stdout.contains(" Ready").then_some(())
    });
    drop(joined);
}

#[test]
fn a_server_that_is_not_there_is_waited_for() {
    let mut cluster = Cluster::new("absent");
    let (url, token) = (cluster.url(), cluster.token());
    cluster.server.midge.as_mut().unwrap().kill();
    let machine = cluster.machine("pi-1", true);
    let mut command = machine.command(&["agent"]);
    command.env("MIDGE_URL", &url).env("MIDGE_TOKEN", &token);
    let mut waiting = Process::start(command, &machine.folder.join("midge.log"));
    eventually("it says that nobody answers", Duration::from_secs(10), || {
        waiting.log().contains(url.trim_start_matches("https://")).then_some(())
    });
    assert!(waiting.is_running());
    cluster.start_server(&["--disable-agent"]);
    eventually("pi-1 is Ready", Duration::from_secs(20), || {
        cluster.kubectl("get node pi-1").stdout.contains(" Ready").then_some(())
    });
}

#[test]
fn two_servers_do_not_share_a_port_or_a_folder() {
    let cluster = Cluster::new("taken");
    let second = |port: &str, data: &str| {
        let mut command = cluster.server.host.command(&binary());
        command.args(["server", "--disable-agent", "--https-listen-port", port]);
        command.arg("--data-dir").arg(cluster.server.folder.join(data));
        command.arg("--write-kubeconfig").arg(cluster.server.folder.join("kubeconfig-2"));
        command.env("MIDGE_CONFIG", "/dev/null");
        Answer::of(&mut command)
    };
    second("6443", "other").refused(1, &["6443", "taken", "--https-listen-port"]);
    second("6444", "data").refused(1, &["data/server", "another"]);
}

#[test]
fn a_server_whose_own_node_can_not_run_names_both_ways_out() {
    let mut cluster = Cluster::new("nonode");
    cluster.server.midge.as_mut().unwrap().kill();
    let mut command = cluster.server.command(&["server"]);
    command.arg("--write-kubeconfig").arg(cluster.server.folder.join("kubeconfig"));
    command.arg("--container-runtime-endpoint=/nonexistent.sock");
    Answer::of(&mut command).refused(1, &["/nonexistent.sock", "install it", "--disable-agent"]);
}

#[test]
fn an_agent_keeps_its_data_folder_to_itself() {
    let cluster = Cluster::new("lock").agent("pi-1").up();
    agent(&cluster.agents[0], &[("MIDGE_URL", &cluster.url()), ("MIDGE_TOKEN", &cluster.token())], &[])
        .refused(1, &["data/agent", "another"]);
}

/// sd-daemon(3): the ready message, and a priority before each line that goes to the journal.
#[test]
fn under_systemd_it_says_when_it_is_ready_and_how_bad_a_line_is() {
    let mut cluster = Cluster::new("systemd");
    cluster.server.midge.as_mut().unwrap().kill();
    let path = cluster.server.folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let journal = cluster.server.folder.join("journal");
    let stat = std::fs::File::create(&journal).unwrap().metadata().unwrap();
    let mut command = cluster.server.command(&["server", "--disable-agent"]);
    command.arg("--write-kubeconfig").arg(cluster.server.folder.join("kubeconfig"));
    command.env("NOTIFY_SOCKET", &path).env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()));
    let server = Process::start(command, &journal);
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert!(message[..length].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&message[..length]));
    assert!(server.log().starts_with("<6>listening"), "{}", server.log());
}

#[test]
fn the_command_line_and_the_file_are_checked() {
    let midge = |arguments: &[&str]| {
        Answer::of(Command::new(binary()).args(arguments).env("MIDGE_CONFIG", "/dev/null"))
    };
    midge(&["serve"]).refused(2, &["serve"]);
    midge(&["server", "--https-listen-port", "70000"]).refused(2, &["https-listen-port", "70000"]);
    midge(&["server", "--cluster-cidr=banana"]).refused(2, &["cluster-cidr", "banana"]);
    midge(&["server", "--config", "/nonexistent.yaml"]).refused(2, &["/nonexistent.yaml"]);
    midge(&["agent", "--server=ftp://x", "--token-file=/dev/null"]).refused(2, &["https://"]);
    midge(&["version"]).success().says(&["midge 0."]);
    midge(&["--help"]).success().says(&["server", "agent", "token", "check"]);
    midge(&["server", "--help"]).success().says(&["--cluster-cidr", "--data-dir"]);
}
