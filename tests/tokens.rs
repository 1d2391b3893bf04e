//! `midge token` and `midge check`, as an operator uses them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, Machine, midge};
use common::command::{Answer, eventually};
use common::process::Process;
use std::time::Duration;

fn token(cluster: &Cluster, line: &str) -> Answer {
    let mut command = cluster.server.host.command(&midge());
    command.arg("token").args(line.split_whitespace());
    Answer::of(command.env("KUBECONFIG", cluster.server.folder.join("kubeconfig")))
}

/// Starts an agent that joins with `token`.
fn join(cluster: &Cluster, machine: &Machine, token: &str) -> Process {
    let mut command = machine.command(&["agent"]);
    command.env("MIDGE_URL", cluster.url()).env("MIDGE_TOKEN", token);
    Process::start(command, &machine.folder.join("midge.log"))
}

#[test]
fn a_token_for_one_node_admits_one() {
    let mut cluster = Cluster::new("uses");
    let made = token(&cluster, "create --uses 1 --ttl 1h --description attic").success().stdout;
    let made = made.trim();
    let hash = cluster.token().split("::").next().unwrap().to_string();
    assert!(made.starts_with(&hash), "{made} does not pin the cluster's CA");
    let id = made.split("::").nth(1).unwrap().split('.').next().unwrap().to_string();
    let secret = made.split('.').next_back().unwrap();
    let listed = token(&cluster, "list").success().says(&[&id, "attic"]);
    assert!(!listed.stdout.contains(secret), "the list shows a secret");

    let (first, second) = (cluster.machine("pi-1", true), cluster.machine("pi-2", true));
    let _first = join(&cluster, &first, made);
    eventually("pi-1 is Ready", Duration::from_secs(20), || {
        cluster.kubectl("get node pi-1").stdout.contains(" Ready").then_some(())
    });
    let mut refused = join(&cluster, &second, made);
    assert_eq!(refused.ended(Duration::from_secs(10)), Some(2), "{}", refused.log());
    assert!(refused.log().contains("midge token create"), "{}", refused.log());

    token(&cluster, &format!("delete {id}")).success();
    token(&cluster, &format!("delete {id}")).refused(1, &[&id]);
    assert!(!token(&cluster, "list").success().stdout.contains(&id));
}

#[test]
fn a_rotated_token_keeps_nodes_and_stops_newcomers() {
    let mut cluster = Cluster::new("rotate").agent("pi-1").up();
    let old = cluster.token();
    let new = token(&cluster, "rotate").success().stdout.trim().to_string();
    assert_ne!(new, old);
    assert_eq!(cluster.token(), new, "the file holds another token than the one that was printed");
    let late = cluster.machine("pi-2", true);
    assert_eq!(join(&cluster, &late, &old).ended(Duration::from_secs(10)), Some(2));
    let _late = join(&cluster, &late, &new);
    eventually("pi-2 is Ready", Duration::from_secs(20), || {
        cluster.kubectl("get node pi-2").stdout.contains(" Ready").then_some(())
    });
    // pi-1 has a key of its own: its token does not matter any more.
    cluster.agents[0].midge.as_mut().unwrap().kill();
    let mut command = cluster.agents[0].command(&["agent"]);
    command.env("MIDGE_URL", cluster.url()).env("MIDGE_TOKEN", &old);
    let _again = Process::start(command, &cluster.agents[0].folder.join("midge.log"));
    eventually("pi-1 is linked again", Duration::from_secs(15), || {
        (cluster.agents[0].log().matches("connected to").count() >= 2).then_some(())
    });
}

#[test]
fn tokens_are_the_admins_business() {
    let cluster = Cluster::new("admin");
    let kubeconfig = cluster.server.folder.join("kubeconfig");
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let secret = text.split("token: ").nth(1).unwrap().trim();
    let wrong = cluster.server.folder.join("wrong");
    std::fs::write(&wrong, text.replace(secret, "nonsense")).unwrap();
    let mut command = cluster.server.host.command(&midge());
    Answer::of(command.args(["token", "list", "--kubeconfig"]).arg(&wrong)).refused(1, &["refused"]);
    let mut command = cluster.server.host.command(&midge());
    Answer::of(command.args(["token", "list", "--kubeconfig", "/nonexistent"])).refused(2, &["/nonexistent"]);
    // Every flag has a default.
    token(&cluster, "create").success().says(&["K10"]);
    token(&cluster, "create --ttl 24h --uses 1").success().says(&["K10"]);
    token(&cluster, "create --ttl soon").refused(2, &["ttl", "soon"]);
    for file in ["kubeconfig", "data/server/token", "data/server/tls/admin-token"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(cluster.server.folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn the_preflight_says_what_is_wrong() {
    let mut cluster = Cluster::new("check");
    let machine = cluster.machine("pi-1", true);
    let check = |arguments: &[&str]| {
        let mut command = machine.host.command(&midge());
        command.arg("check").arg("--cni-conf-dir").arg(machine.folder.join("cni")).args(arguments);
        Answer::of(&mut command)
    };
    let socket = machine.containerd.as_ref().unwrap().socket();
    let socket = socket.to_str().unwrap();
    let good = check(&["--container-runtime-endpoint", socket]).success();
    let names = ["kernel", "cgroups", "containerd", "CNI", "clock", "disk"];
    assert_eq!(
        good.stdout.lines().filter(|line| line.starts_with("ok")).count(),
        names.len(),
        "{}",
        good.stdout
    );
    good.says(&names);
    let bad = check(&["--container-runtime-endpoint", "/nonexistent.sock", "--cni-bin-dir", "/nonexistent"]);
    assert_eq!(bad.code, Some(1));
    bad.says(&[
        "FAILED   containerd",
        "/nonexistent.sock",
        "FAILED   CNI",
        "containernetworking-plugins",
        "2 check",
    ]);
}
