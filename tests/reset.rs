//! `midge reset`: what a node has made goes, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE, Machine, entries, midge};
use common::command::{Answer, eventually, run};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ends at SIGTERM, which the first process of a container ignores unless it asks for it.
const POLITE: &str = "trap \"exit 0\" TERM; while true; do sleep 0.1; done";
const STUBBORN: &str = "while true; do sleep 1; done";

fn container(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "command": ["sh", "-c", script] })
}

fn pod(name: &str, node: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "nodeName": node, "containers": containers, "automountServiceAccountToken": false },
    })
}

/// `midge reset` for the agent of `machine`.
fn reset(machine: &Machine) -> Answer {
    let mut command = machine.host.command(&midge());
    command.arg("reset").arg("--data-dir").arg(machine.folder.join("data"));
    command.arg("--run-dir").arg(machine.folder.join("run"));
    command.arg("--container-runtime-endpoint").arg(machine.containerd.as_ref().unwrap().socket());
    // Leaves the machine's own configuration unread.
    command.env("MIDGE_CONFIG", "/dev/null");
    Answer::of(&mut command)
}

/// Runs a command on the machine and returns what it prints.
fn on(machine: &Machine, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = machine.host.command(words.next().unwrap());
    Answer::of(command.args(words)).success().stdout
}

/// containerd's own client in somebody else's namespace.
fn foreign(machine: &Machine, line: &str) -> String {
    let socket = machine.containerd.as_ref().unwrap().socket();
    on(machine, &format!("ctr --address {} -n foreign {line}", socket.display()))
}

/// Mount points of this machine, the innermost and latest first.
fn mounts(machine: &Machine) -> Vec<String> {
    let ours = [machine.folder.clone(), machine.containerd.as_ref().unwrap().folder().to_path_buf()];
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    let targets = text.lines().rev().filter_map(|line| line.split(' ').nth(1));
    targets
        .filter(|target| ours.iter().any(|folder| Path::new(target).starts_with(folder)))
        .map(String::from)
        .collect()
}

/// Files that containerd keeps of images and containers.
fn stored(machine: &Machine) -> Vec<PathBuf> {
    let root = machine.containerd.as_ref().unwrap().folder().join("root");
    let folders =
        ["io.containerd.content.v1.content/blobs/sha256", "io.containerd.snapshotter.v1.overlayfs/snapshots"];
    folders.iter().flat_map(|folder| entries(&root.join(folder))).collect()
}

/// What can be seen of agents on a machine.
#[derive(Debug, PartialEq)]
struct Traces {
    namespaces: Vec<String>,
    interfaces: Vec<String>,
    rules: String,
    mounts: Vec<String>,
    stored: Vec<PathBuf>,
    shims: Vec<i32>,
}

impl Traces {
    fn of(machine: &Machine) -> Traces {
        let mut traces = Traces {
            namespaces: machine.ctr("namespaces ls -q").split_whitespace().map(String::from).collect(),
            interfaces: machine.host.interfaces(),
            rules: ["filter", "nat"].map(|table| on(machine, &format!("iptables -t {table} -S"))).concat(),
            mounts: mounts(machine),
            stored: stored(machine),
            shims: machine.containerd.as_ref().unwrap().shims(),
        };
        traces.interfaces.sort();
        traces.stored.sort();
        traces.shims.sort();
        traces
    }
}

/// That nothing of this machine's agent is left outside its data folder.
#[track_caller]
fn assert_gone(machine: &Machine, others: &Traces) {
    // Processes and interfaces that have ended take a moment to go.
    let settled = || (Traces::of(machine) == *others).then_some(());
    let start = Instant::now();
    while settled().is_none() && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(Traces::of(machine), *others);
    let own = machine.own_name();
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = entries(root).into_iter().chain([root.to_path_buf()]);
    let left: Vec<PathBuf> =
        hierarchies.map(|folder| folder.join(&own)).filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "cgroups are left: {left:?}");
    assert!(!machine.folder.join("run").exists(), "{:?}", entries(&machine.folder.join("run")));
    assert_eq!(entries(&machine.folder.join("data/agent/pods")), Vec::<PathBuf>::new());
    assert_eq!(entries(&Path::new("/run/containerd/runc").join(&own)), Vec::<PathBuf>::new());
}

/// Runs the agent until a pod of each of these scripts runs, then kills it.
fn leave_pods(cluster: &mut Cluster, scripts: &[&str]) {
    cluster.start_agent(0);
    for (number, script) in scripts.iter().enumerate() {
        let manifest = pod(&format!("left-{number}"), "pi-1", &[container("main", script)]);
        cluster.apply(&manifest.to_string()).success();
    }
    for number in 0..scripts.len() {
        cluster.phase(&format!("left-{number}"), "Running");
    }
    cluster.agents[0].midge.as_mut().unwrap().kill();
}

#[test]
fn all_of_a_node_goes_and_nothing_of_others() {
    let mut cluster = Cluster::new("reset");
    let machine = cluster.machine("pi-1", true);
    let neighbour = machine.neighbour("pi-2");
    cluster.agents.extend([machine, neighbour]);
    cluster.start_agent(1);
    cluster.apply(&pod("other", "pi-2", &[container("main", POLITE)]).to_string()).success();
    cluster.phase("other", "Running");
    // Somebody else's container on the same containerd, and a rule in the same chain.
    let archive = cluster.agents[0].folder.join("data/agent/images/busybox.tar");
    foreign(&cluster.agents[0], &format!("images import {}", archive.display()));
    foreign(&cluster.agents[0], &format!("run -d {IMAGE} reset-{} sleep 1000", std::process::id()));
    on(&cluster.agents[0], "iptables -A FORWARD -i other0 -j ACCEPT");
    // What that import left over goes at some time: now.
    foreign(&cluster.agents[0], "leases create --id collect");
    foreign(&cluster.agents[0], "leases delete --sync collect");
    let others = Traces::of(&cluster.agents[0]);
    let state_of_others = |cluster: &Cluster| {
        let status = &cluster.object("pod other").unwrap()["status"]["containerStatuses"][0];
        let state = (status["containerID"].clone(), status["restartCount"].clone());
        (state, cluster.agents[1].ctr("tasks ls"), foreign(&cluster.agents[0], "tasks ls"))
    };
    let before = state_of_others(&cluster);

    cluster.start_agent(0);
    let mut cluster = cluster.up();
    let main = |script| container("main", script);
    let mut hosts = pod("hosts", "pi-1", &[main(POLITE)]);
    hosts["spec"]["hostNetwork"] = true.into();
    let mut done = pod("done", "pi-1", &[main("exit 0")]);
    done["spec"]["restartPolicy"] = "Never".into();
    for manifest in [
        hosts,
        done,
        pod("own", "pi-1", &[main(POLITE)]),
        pod("pair", "pi-1", &[main(POLITE), container("second", POLITE)]),
        pod("crashes", "pi-1", &[main("exit 1")]),
    ] {
        cluster.apply(&manifest.to_string()).success();
    }
    for name in ["own", "hosts", "pair"] {
        cluster.phase(name, "Running");
    }
    cluster.phase("done", "Succeeded");

    reset(&cluster.agents[0]).refused(1, &["stop midge first", "data/agent/lock", "another midge"]);
    assert_eq!(cluster.agents[0].ctr("tasks ls").matches("RUNNING").count(), 4);
    // What somebody has put into the agent's namespace by hand is kept from garbage collection.
    cluster.agents[0].ctr("snapshots prepare lower");
    cluster.agents[0].ctr("snapshots commit base lower");
    cluster.agents[0].ctr("snapshots prepare upper base");

    cluster.agents[0].midge.as_mut().unwrap().kill();
    let start = Instant::now();
    let said = reset(&cluster.agents[0]).success().says(&[
        "removed container main of pod default/own\n",
        "removed container second of pod default/pair\n",
        "removed image localhost/busybox:1\n",
        "removed snapshot upper of overlayfs\n",
        "removed snapshot base of overlayfs\n",
        "removed bridge midge-",
        "removed iptables rule nat POSTROUTING -s 10.42.",
        "removed containerd's namespace midge-",
    ]);
    let took = start.elapsed();
    assert!(said.stdout.lines().all(|line| line.starts_with("removed ")), "{}", said.stdout);
    assert_eq!(said.stderr, "");
    assert!(took < Duration::from_secs(9), "pods that end at SIGTERM took {took:?}");
    assert_gone(&cluster.agents[0], &others);
    assert_eq!(state_of_others(&cluster), before);
    let key = cluster.agents[0].folder.join("data/agent/node-key");
    assert!(key.exists() && archive.exists(), "the data folder is not kept");

    assert_eq!(reset(&cluster.agents[0]).success().stdout, "nothing to remove\n");

    // The node is what it was, and the server still wants its pods.
    cluster.start_agent(0);
    eventually("the pods run again", Duration::from_secs(40), || {
        (cluster.agents[0].ctr("tasks ls").matches("RUNNING").count() == 4).then_some(())
    });
    cluster.kubectl("delete pods --all --timeout=60s").success();
}

#[test]
fn without_containerd_and_data_folder_the_rest_goes() {
    let mut cluster = Cluster::new("resetless");
    let machine = cluster.machine("pi-1", true);
    cluster.agents.push(machine);
    let others = Traces::of(&cluster.agents[0]);
    assert_eq!(
        reset(&cluster.agents[0]).success().stdout,
        format!("removed folder {}\n", cluster.agents[0].folder.join("run").display())
    );
    leave_pods(&mut cluster, &[STUBBORN, POLITE]);
    let machine = &mut cluster.agents[0];
    fs::remove_dir_all(machine.folder.join("data")).unwrap();
    Arc::get_mut(machine.containerd.as_mut().unwrap()).unwrap().down();

    let start = Instant::now();
    let said = reset(machine).says(&[" processes of pods\n", "removed bridge midge-"]);
    let took = start.elapsed();
    let namespace = machine.own_name();
    let words = ["containerd does not listen", &namespace, "is left"];
    assert!(words.iter().all(|word| said.stderr.contains(word)), "{}", said.stderr);
    said.refused(1, &["1 step(s) failed"]);
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(18), "10 s of grace took {took:?}");
    assert_eq!(machine.cgroups(), Vec::<PathBuf>::new());
    assert!(!machine.folder.join("run").exists());

    Arc::get_mut(machine.containerd.as_mut().unwrap()).unwrap().up();
    assert_ne!(Traces::of(machine), others, "what containerd keeps is not seen");
    reset(machine).success().says(&["removed container main of pod default/left-0\n"]);
    assert_gone(machine, &others);
    assert_eq!(others.stored, Vec::<PathBuf>::new());
}

#[test]
fn after_a_reboot_addresses_of_the_machines_own_network_are_given_back() {
    let mut cluster = Cluster::new("resetboot");
    let machine = cluster.machine("pi-1", true);
    cluster.agents.push(machine);
    let machine = &cluster.agents[0];
    // Leases that outlive a reboot, as on a machine with a network plugin of its own.
    let leases = machine.folder.join("leases");
    let network = format!(
        r#"{{"cniVersion":"0.4.0","name":"own","plugins":[{{"type":"bridge","bridge":"own0","isGateway":true,
            "ipam":{{"type":"host-local","dataDir":"{}","ranges":[[{{"subnet":"10.88.0.0/24"}}]]}}}}]}}"#,
        leases.display()
    );
    fs::write(machine.folder.join("cni/10-own.conflist"), network).unwrap();
    let leased = || {
        let names = entries(&leases.join("own"));
        names.iter().filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("10.88.")).count()
    };
    leave_pods(&mut cluster, &[POLITE, STUBBORN]);
    assert_eq!(leased(), 2);

    // What a reboot takes: processes, mounts, the run folders, interfaces.
    let machine = &mut cluster.agents[0];
    let own = machine.own_name();
    let pids: Vec<String> = machine
        .ctr("tasks ls")
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(1).unwrap().into())
        .collect();
    let containerd = Arc::get_mut(machine.containerd.as_mut().unwrap()).unwrap();
    containerd.down();
    // Shims first: they would note how their containers ended.
    let shims = containerd.shims().iter().map(i32::to_string).collect::<Vec<_>>();
    for pid in shims.iter().chain(&pids) {
        run("kill", ["-9", pid]);
    }
    let state = containerd.folder().join("state");
    for mount in mounts(machine) {
        run("umount", ["-l", &mount]);
    }
    for folder in [&machine.folder.join("run"), &state, &Path::new("/run/containerd/runc").join(&own)] {
        fs::remove_dir_all(folder).unwrap();
    }
    on(machine, "ip link del own0");
    Arc::get_mut(machine.containerd.as_mut().unwrap()).unwrap().up();

    let others = Traces { namespaces: vec![], stored: vec![], ..Traces::of(machine) };
    let start = Instant::now();
    reset(machine).success().says(&["removed container main of pod default/left-0\n"]);
    assert!(start.elapsed() < Duration::from_secs(8), "nothing runs, and it took {:?}", start.elapsed());
    assert_gone(machine, &others);
    assert_eq!(leased(), 0);
}

#[test]
fn what_others_have_mounted_is_kept() {
    let mut cluster = Cluster::new("resetmount");
    let machine = cluster.machine("pi-1", true);
    cluster.agents.push(machine);
    let others = Traces::of(&cluster.agents[0]);
    leave_pods(&mut cluster, &[POLITE]);
    let machine = &cluster.agents[0];
    let precious = machine.folder.join("precious");
    fs::create_dir_all(&precious).unwrap();
    fs::write(precious.join("file"), "kept").unwrap();
    let pod = entries(&machine.folder.join("data/agent/pods")).pop().unwrap();
    let places = [pod.join("logs/disk"), machine.folder.join("run/leases/disk")];
    for place in &places {
        fs::create_dir_all(place).unwrap();
        run("mount", ["--bind", precious.to_str().unwrap(), place.to_str().unwrap()]);
    }
    // A path by which the kernel does not know it.
    let real = machine.folder.join("data");
    fs::rename(&real, machine.folder.join("moved")).unwrap_or_else(|error| panic!("{error}"));
    std::os::unix::fs::symlink(machine.folder.join("moved"), &real).unwrap();

    let said = reset(machine).says(&["removed container main of pod default/left-0\n", "removed bridge"]);
    for place in ["logs/disk", "run/leases/disk"] {
        assert!(said.stderr.contains(place), "{}", said.stderr);
    }
    said.refused(1, &["failed"]);
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
    for mount in mounts(machine) {
        run("umount", [mount]);
    }
    reset(machine).success();
    assert_gone(machine, &others);
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
}
