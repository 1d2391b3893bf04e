//! The pod loop on a real containerd with real CNI plugins; the test plays the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::containerd::Containerd;
use common::image::{self, Image};
use common::network;
use midge::agent::outbox::Outbox;
use midge::agent::session::Core;
use midge::agent::{self, Config, container, session};
use midge::containerd::{Client, Task};
use midge::link::{Put, ToAgent, ToServer, Welcome};
use midge::{Executor, cni};
use serde_json::{Value, json};
use smol::future::{self, block_on};

/// A containerd, a data folder, and an agent on them that can be stopped and started again.
struct Node {
    agent: Option<Agent>,
    containerd: Containerd,
    config: Config,
    pod_range: String,
    statuses: BTreeMap<String, Value>,
    gone: Vec<String>,
    events: Vec<String>,
}

struct Agent {
    outbox: Outbox,
    stop: smol::channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl Node {
    fn new() -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        network::own();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let containerd = Containerd::start();
        let folder = containerd.folder().to_path_buf();
        let config = Config {
            data_dir: folder.join("data"),
            run_dir: folder.join("run"),
            node_name: "pi-1".into(),
            servers: vec![],
            token: None,
            set_clock: false,
            containerd_socket: containerd.socket(),
            containerd_namespace: containerd.namespace().into(),
            snapshotter: "overlayfs".into(),
            images: Default::default(),
            labels: vec![],
            taints: vec![],
            node_ip: Some("192.0.2.1".parse().unwrap()),
            cni_bin_dirs: cni::Plugins::default_folders(),
            cni_conf_dir: folder.join("net.d"),
            resolv_conf: "/etc/resolv.conf".into(),
            cgroup_parent: format!("/{}", containerd.namespace()),
            eviction: Default::default(),
            bridge: format!("mg{}-{number}", std::process::id() % 1_000_000),
            executable: env!("CARGO_BIN_EXE_midge").into(),
            log_limits: Default::default(),
        };
        std::fs::create_dir_all(config.images_folder()).unwrap();
        let archive = config.images_folder().join("web.tar");
        image::docker_archive(&archive, &[Image::busybox("web:1", &["sh"])], false);
        let (statuses, gone, events) = Default::default();
        let pod_range = format!("10.98.{}.0/24", 7 + number);
        let mut node = Node { agent: None, containerd, config, pod_range, statuses, gone, events };
        node.start();
        node.welcome();
        node
    }

    fn start(&mut self) {
        let (sender, outbox) = std::sync::mpsc::channel();
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let config = self.config.clone();
        let thread = std::thread::spawn(move || {
            let executor = Executor::default();
            let link = move |outbox| {
                sender.send(outbox).unwrap();
                future::pending::<Result<Infallible, session::Error>>()
            };
            let shutdown = async move {
                let _ = stopped.recv().await;
            };
            let agent = agent::run_with(config, Arc::clone(&executor), link, shutdown);
            block_on(executor.run(agent)).unwrap();
        });
        let outbox: Outbox = outbox.recv_timeout(Duration::from_secs(10)).unwrap();
        self.agent = Some(Agent { outbox, stop, thread });
    }

    /// The server's first words.
    fn welcome(&self) {
        let outbox = &self.agent.as_ref().unwrap().outbox;
        outbox.receive(ToAgent::Welcome(Welcome {
            node_key: None,
            node_uid: "node".into(),
            pod_cidr: self.pod_range.clone(),
            cluster_dns: String::new(),
            cluster_domain: "cluster.local".into(),
            time: 0,
            server_version: String::new(),
        }));
        outbox.reconnected();
    }

    fn stop(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.stop.send_blocking(()).unwrap();
        agent.thread.join().unwrap();
    }

    fn put(&self, uid: &str, pod: &Value) {
        let put = Put {
            kind: "Pod".into(),
            namespace: "default".into(),
            name: uid.into(),
            uid: uid.into(),
            revision: 1,
        };
        let message = ToAgent::Put(put, pod.to_string().into_bytes());
        self.agent.as_ref().unwrap().outbox.receive(message);
    }

    /// Takes what the agent says until `done`; 40 s at most.
    fn until(&mut self, what: &str, done: impl Fn(&Node) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !done(self) {
            let outbox = self.agent.as_ref().unwrap().outbox.clone();
            let next = async { Some(outbox.next().await) };
            let timeout = async {
                smol::Timer::at(deadline).await;
                None
            };
            match block_on(future::or(next, timeout)) {
                Some(ToServer::PodStatus(pod, status)) => {
                    self.statuses.insert(pod.uid, serde_json::from_slice(&status).unwrap());
                }
                Some(ToServer::PodGone(pod)) => self.gone.push(pod.uid),
                Some(ToServer::Event(event)) => {
                    let event: Value = serde_json::from_slice(&event).unwrap();
                    self.events.push(format!("{} {}", event["reason"], event["message"]));
                }
                Some(_) => {}
                None => panic!(
                    "not {what}: {:#?} {:#?}\n{}",
                    self.statuses,
                    self.events,
                    self.containerd.log().lines().rev().take(20).collect::<Vec<_>>().join("\n")
                ),
            }
        }
    }

    fn phase(&self, uid: &str) -> &str {
        self.statuses.get(uid).and_then(|status| status["phase"].as_str()).unwrap_or("")
    }

    /// Of the pod's first container.
    fn container(&self, uid: &str) -> &Value {
        self.statuses.get(uid).map_or(&Value::Null, |status| &status["containerStatuses"][0])
    }

    fn log(&self, uid: &str, name: &str, attempt: u32) -> String {
        let path = container::files::log_path(&self.config.pods_folder().join(uid), name, attempt);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn tasks(&self) -> Vec<Task> {
        let executor = Executor::default();
        block_on(executor.run(async {
            let client =
                Client::connect(&self.containerd.socket(), self.containerd.namespace(), &executor).await;
            let mut tasks = client.unwrap().tasks().await.unwrap();
            // containerd lists them in any order.
            tasks.sort_by(|a, b| a.id.cmp(&b.id));
            tasks
        }))
    }

    fn containers(&self) -> usize {
        let executor = Executor::default();
        block_on(executor.run(async {
            let client =
                Client::connect(&self.containerd.socket(), self.containerd.namespace(), &executor).await;
            client.unwrap().containers(&[]).await.unwrap().len()
        }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.agent.is_some() && !std::thread::panicking() {
            self.stop();
        }
        // The bridge is the agent's for good; the test's goes with it.
        let _ = std::process::Command::new("ip").args(["link", "delete", &self.config.bridge]).output();
    }
}

fn pod(uid: &str, policy: &str, containers: &[(&str, &str)]) -> Value {
    let container = |(name, script): &(&str, &str)| json!({"name": name, "image": "web:1", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": uid, "name": uid, "namespace": "default", "resourceVersion": "1"},
        "spec": {"restartPolicy": policy, "containers": containers.iter().map(container).collect::<Vec<_>>()},
    })
}

fn deleted(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 1.into();
    pod
}

fn entries(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_pods_life() {
    let mut node = Node::new();
    let web = pod(
        "web",
        "Always",
        &[
            ("server", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"),
            (
                "client",
                "until wget -qO- http://127.0.0.1:8080/index.html; do sleep 0.1; done; hostname; exec sleep 1000",
            ),
        ],
    );
    node.put("web", &web);
    node.until("running", |node| node.phase("web") == "Running" && node.container("web")["ready"] == true);
    let status = node.statuses["web"].clone();
    assert!(status["podIP"].as_str().unwrap().starts_with("10.98."));
    assert_eq!(status["hostIP"], "192.0.2.1");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !node.log("web", "client", 0).contains(" stdout F web\n") {
        assert!(Instant::now() < deadline, "{}", node.log("web", "client", 0));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(node.log("web", "client", 0).contains(" stdout F hello\n"));
    assert_eq!(node.containerd.shims().len(), 1, "all containers of a pod share one shim");
    for expected in ["already present on machine", "Created container: server", "Started container client"] {
        assert!(node.events.iter().any(|event| event.contains(expected)), "{expected}: {:?}", node.events);
    }

    // A crash: restarted at once, then after 10 s.
    let crash = pod("crash", "Always", &[("crash", "echo try; exit 3")]);
    node.put("crash", &crash);
    node.until("backing off", |node| {
        node.container("crash")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    assert_eq!(node.container("crash")["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(node.container("crash")["restartCount"], 1);
    assert!(node.events.iter().any(|event| event.contains("Back-off restarting failed container crash")));
    let before = Instant::now();
    node.until("restarted", |node| node.container("crash")["restartCount"] == 2);
    assert!(before.elapsed() > Duration::from_secs(7), "{:?}", before.elapsed());
    assert!(node.log("crash", "crash", 1).contains(" stdout F try\n"));

    // Stopped, it leaves everything running; started, it adopts it.
    // The crashing pod's come and go.
    let of_web = |node: &Node| {
        let containers = node.statuses["web"]["containerStatuses"].as_array().unwrap();
        let ids: Vec<String> = containers
            .iter()
            .map(|container| container["containerID"].as_str().unwrap()[13..].to_owned())
            .collect();
        move |tasks: Vec<Task>| tasks.into_iter().filter(|task| ids.contains(&task.id)).collect::<Vec<_>>()
    };
    let of_web = of_web(&node);
    let before = of_web(node.tasks());
    assert_eq!(before.len(), 2);
    let known = node.container("web").clone();
    node.stop();
    assert_eq!(of_web(node.tasks()), before);
    node.statuses.clear();
    node.start();
    node.welcome();
    node.until("adopted", |node| node.phase("web") == "Running" && node.phase("crash") == "Running");
    assert_eq!(*node.container("web"), known);
    assert!(node.container("crash")["restartCount"].as_u64().unwrap() >= 2);
    assert_eq!(of_web(node.tasks()), before);
    node.containerd.restart();

    // Done for good, and without an image.
    let once = pod("once", "Never", &[("once", "echo last words > /dev/termination-log; exit 4")]);
    node.put("once", &once);
    let mut missing = pod("missing", "Always", &[("missing", "true")]);
    missing["spec"]["containers"][0]["image"] = "nobody.example/has:it".into();
    missing["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    node.put("missing", &missing);
    node.until("failed", |node| {
        node.phase("once") == "Failed"
            && node.phase("missing") == "Pending"
            && node.container("missing")["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    });
    let terminated = &node.container("once")["state"]["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["message"]), (&json!(4), &json!("last words\n")));

    for (uid, pod) in [("web", web), ("crash", crash), ("once", once), ("missing", missing)] {
        node.put(uid, &deleted(pod));
    }
    node.until("gone", |node| {
        ["web", "crash", "once", "missing"].iter().all(|uid| node.gone.iter().any(|gone| gone == uid))
    });
    assert_eq!((node.containers(), node.tasks().len()), (0, 0));
    assert_eq!(entries(&node.config.pods_folder()), [] as [PathBuf; 0]);
    for folder in ["netns", "ipc", "uts", "cni"] {
        assert_eq!(entries(&node.config.run_dir.join(folder)), [] as [PathBuf; 0], "{folder}");
    }
    let leases = entries(&node.config.run_dir.join("leases").join(&node.config.bridge));
    let addresses = leases.iter().filter(|path| path.to_string_lossy().contains("10.98."));
    assert_eq!(addresses.filter(|path| !path.to_string_lossy().contains("last_reserved")).count(), 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !node.containerd.shims().is_empty() {
        assert!(Instant::now() < deadline, "a shim is left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_debugger_comes_later_and_sees_what_it_looks_into() {
    let mut node = Node::new();
    let mut web = pod("web", "Always", &[("server", "exec sleep 1234")]);
    node.put("web", &web);
    node.until("running", |node| node.phase("web") == "Running");
    web["spec"]["ephemeralContainers"] = json!([{
        "name": "debug", "image": "web:1", "imagePullPolicy": "IfNotPresent", "targetContainerName": "server",
        "command": ["sh", "-c", "ps; exit 3"],
    }]);
    node.put("web", &web);
    let ended = |node: &Node| {
        node.statuses["web"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    };
    node.until("debugged", ended);
    assert!(node.log("web", "debug", 0).contains("sleep 1234"), "{}", node.log("web", "debug", 0));
    assert_eq!(node.phase("web"), "Running");
    node.put("web", &deleted(web));
    node.until("gone", |node| node.gone == ["web"]);
    assert_eq!(node.containers(), 0);
}

#[test]
fn what_nobody_wants_is_collected() {
    let mut node = Node::new();
    node.put("web", &pod("web", "Always", &[("web", "exec sleep 1000")]));
    node.until("running", |node| node.phase("web") == "Running");
    node.stop();
    // As a forced removal that a crash cut off leaves it.
    std::fs::remove_file(node.config.pods_folder().join("web/pod.json")).unwrap();
    node.start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.containers() > 0 || !entries(&node.config.pods_folder()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", entries(&node.config.pods_folder()));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(entries(&node.config.run_dir.join("netns")), [] as [PathBuf; 0]);
}

#[test]
fn after_a_reboot_pods_start_without_a_server() {
    let mut node = Node::new();
    node.put("web", &pod("web", "Always", &[("web", "echo up; exec sleep 1000")]));
    node.put("once", &pod("once", "Never", &[("once", "exec sleep 1000")]));
    node.until("running", |node| node.phase("web") == "Running" && node.phase("once") == "Running");
    node.stop();
    let pids: Vec<u32> = node.tasks().iter().map(|task| task.pid).collect();
    node.containerd.down();
    let shims = node.containerd.shims().into_iter().map(|pid| u32::try_from(pid).unwrap());
    // Shims first: they would note how their containers ended.
    for pid in shims.collect::<Vec<_>>().into_iter().chain(pids) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let state = node.containerd.folder().join("state");
    for target in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(target).starts_with(&node.config.run_dir) || Path::new(target).starts_with(&state) {
            rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
    for folder in
        [&node.config.run_dir, &state, &Path::new("/run/containerd/runc").join(node.containerd.namespace())]
    {
        std::fs::remove_dir_all(folder).unwrap();
    }
    node.containerd.up();
    node.statuses.clear();
    node.start();
    node.until("running again", |node| {
        node.phase("web") == "Running"
            && node.phase("once") == "Failed"
            && node.container("web")["ready"] == true
    });
    let web = node.container("web");
    assert_eq!((&web["restartCount"], &web["lastState"]["terminated"]["exitCode"]), (&json!(1), &json!(255)));
    assert_eq!(node.container("once")["state"]["terminated"]["reason"], "ContainerStatusUnknown");
    for uid in ["web", "once"] {
        node.put(uid, &deleted(pod(uid, "Always", &[("web", "")])));
    }
    node.until("gone", |node| node.gone.len() == 2);
    assert_eq!(node.containers(), 0);
}
