//! Streams of a real node: programs in containers, ports, logs. The test plays the server at the other end of a link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::containerd::Containerd;
use common::image::{self, Image};
use common::network;
use midge::agent::outbox::Outbox;
use midge::agent::session::Core;
use midge::agent::{self, Config, exec, session};
use midge::containerd::Client;
use midge::link::{Put, ToAgent, ToServer, Welcome};
use midge::{Executor, cni};
use serde_json::{Value, json};
use smol::future::{self, block_on};

/// An agent on a containerd of its own.
struct Node {
    agent: Option<Agent>,
    containerd: Containerd,
    config: Config,
    statuses: BTreeMap<String, Value>,
}

struct Agent {
    outbox: Outbox,
    stop: smol::channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl Node {
    fn new() -> Node {
        network::own();
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
            labels: vec![],
            taints: vec![],
            node_ip: Some("192.0.2.1".parse().unwrap()),
            cni_bin_dirs: cni::Plugins::default_folders(),
            cni_conf_dir: folder.join("net.d"),
            resolv_conf: "/etc/resolv.conf".into(),
            cgroup_parent: format!("/{}", containerd.namespace()),
            eviction: Default::default(),
            bridge: format!("ms{}", std::process::id() % 1_000_000),
            executable: env!("CARGO_BIN_EXE_midge").into(),
        };
        std::fs::create_dir_all(config.images_folder()).unwrap();
        let archive = config.images_folder().join("web.tar");
        image::docker_archive(&archive, &[Image::busybox("web:1", &["sh"])], false);
        let mut node = Node { agent: None, containerd, config, statuses: BTreeMap::new() };
        node.start();
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
        outbox.receive(ToAgent::Welcome(Welcome {
            node_key: None,
            node_uid: "node".into(),
            pod_cidr: "10.97.3.0/24".into(),
            cluster_dns: String::new(),
            cluster_domain: "cluster.local".into(),
            time: 0,
            server_version: String::new(),
        }));
        outbox.reconnected();
        self.agent = Some(Agent { outbox, stop, thread });
    }

    fn stop(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.stop.send_blocking(()).unwrap();
        agent.thread.join().unwrap();
    }

    fn outbox(&self) -> &Outbox {
        &self.agent.as_ref().unwrap().outbox
    }

    /// Runs a pod of one container, `web`, and waits until it has this phase.
    fn run(&mut self, uid: &str, phase: &str, container: Value) {
        let mut container = container;
        for (field, value) in [("name", "web"), ("image", "web:1"), ("imagePullPolicy", "Never")] {
            container[field] = value.into();
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"uid": uid, "name": uid, "namespace": "default", "resourceVersion": "1"},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]},
        });
        let (kind, namespace, name) = ("Pod".into(), "default".into(), uid.into());
        let put = Put { kind, namespace, name, uid: uid.into(), revision: 1 };
        self.outbox().receive(ToAgent::Put(put, pod.to_string().into_bytes()));
        self.until(uid, phase);
    }

    fn until(&mut self, uid: &str, phase: &str) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while self.statuses.get(uid).is_none_or(|status| status["phase"] != phase) {
            let outbox = self.outbox().clone();
            let next = async { Some(outbox.next().await) };
            let timeout = async {
                smol::Timer::at(deadline).await;
                None
            };
            match block_on(future::or(next, timeout)) {
                Some(ToServer::PodStatus(pod, status)) => {
                    self.statuses.insert(pod.uid, serde_json::from_slice(&status).unwrap());
                }
                Some(_) => {}
                None => panic!("pod {uid} is not {phase}: {:#?}", self.statuses),
            }
        }
    }

    /// containerd's id of the pod's container.
    fn container(&self, uid: &str) -> String {
        let id = self.statuses[uid]["containerStatuses"][0]["containerID"].as_str().unwrap();
        id.trim_start_matches("containerd://").to_owned()
    }

    /// Runs `test` with a client of the node's containerd; one that hangs fails.
    fn with_client<F: Future<Output = ()>>(&self, test: impl FnOnce(Client) -> F) {
        let executor = Executor::default();
        let limit = async {
            smol::Timer::after(Duration::from_secs(60)).await;
            panic!("the test takes too long");
        };
        let test = async {
            let (socket, namespace) = (self.containerd.socket(), self.containerd.namespace());
            test(Client::connect(&socket, namespace, &executor).await.unwrap()).await;
        };
        block_on(executor.run(future::or(test, limit)));
    }

    /// The folders of programs that run, or are not cleared yet.
    fn programs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.config.run_dir.join("exec"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.agent.is_some() && !std::thread::panicking() {
            self.stop();
        }
        let _ = std::process::Command::new("ip").args(["link", "delete", &self.config.bridge]).output();
    }
}

fn script(text: &str) -> Value {
    json!({"command": ["sh", "-c", text]})
}

/// How many processes have `argument` among theirs.
fn running(argument: &str) -> usize {
    let has = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| has(entry).then_some(())).count()
}

/// Waits until `done`.
async fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        smol::Timer::after(Duration::from_millis(20)).await;
    }
}

#[test]
fn programs_of_probes() {
    let mut node = Node::new();
    node.run("probed", "Running", script("exec sleep 1000"));
    let (id, run_dir) = (node.container("probed"), node.config.run_dir.clone());
    node.with_client(async |client| {
        let run = async |script: &str, seconds: u64| {
            let command = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
            exec::run(&client, &run_dir, &id, &command, Duration::from_secs(seconds), 10_000).await
        };
        let ran = run("echo out; echo err >&2; echo $COLOR; exit 3", 30).await.unwrap();
        let mut lines: Vec<_> = std::str::from_utf8(&ran.output).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!((ran.code, lines), (3, vec!["err", "green", "out"]));
        // Of much output the beginning is kept, and the program does not block on the rest.
        let ran = run("head -c 3000000 /dev/zero", 30).await.unwrap();
        assert_eq!((ran.code, ran.output.len()), (0, 10_000));
        assert_eq!(run("kill -9 $$", 30).await.unwrap().code, 137);
        // What it leaves behind holds its output, and nobody up.
        let begun = Instant::now();
        assert_eq!(run("sleep 4321 & exit 0", 30).await.unwrap().code, 0);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(running("4321"), 1);

        let late = run("sleep 4322 & sleep 4323; true", 1).await.unwrap_err();
        assert_eq!(late.to_string(), "command timed out after 1 s");
        eventually("the late program's children live", || running("4322") + running("4323") == 0).await;

        let command = ["/no/such".to_owned()];
        let missing = exec::run(&client, &run_dir, &id, &command, Duration::from_secs(30), 100).await;
        let missing = missing.unwrap_err().to_string();
        assert!(missing.contains("no such file"), "{missing}");
        let gone = exec::run(&client, &run_dir, "nobody", &command, Duration::from_secs(30), 100).await;
        assert_eq!(gone.unwrap_err().to_string(), "the container is gone");
        // Dropped at any time.
        for milliseconds in [1, 5, 20, 60, 200] {
            let timer = async {
                smol::Timer::after(Duration::from_millis(milliseconds)).await;
            };
            let running = async {
                let _ = run("sleep 4324", 30).await;
            };
            future::or(running, timer).await;
        }
        eventually("programs are left", || node.programs().is_empty()).await;
        assert_eq!(running("4324"), 0);
    });
}
