//! An agent on a containerd of its own; the test plays the server.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use midge::agent::outbox::Outbox;
use midge::agent::session::Core;
use midge::agent::{self, Config, session};
use midge::containerd::{Client, Task, TaskStatus};
use midge::link::{Put, ToAgent, ToServer, Welcome};
use midge::{Executor, cni};
use serde_json::Value;
use smol::future::{self, block_on};

use super::containerd::Containerd;
use super::image::{self, Image};
use super::network;

/// A containerd, a data folder, and an agent on them that can be stopped and started again.
pub struct Node {
    agent: Option<Agent>,
    pub containerd: Containerd,
    pub config: Config,
    pod_range: String,
    pub statuses: BTreeMap<String, Value>,
    pub gone: Vec<String>,
    pub events: Vec<String>,
}

struct Agent {
    outbox: Outbox,
    stop: smol::channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl Node {
    /// With an image, `web:1`, that is busybox.
    pub fn new() -> Node {
        Node::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        network::own();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let containerd = Containerd::start();
        let folder = containerd.folder().to_path_buf();
        let mut config = Config {
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
            pod_max_pids: None,
            shutdown: midge::plan::shutdown::Grace::default(),
            eviction: Default::default(),
            bridge: format!("mg{}-{number}", std::process::id() % 1_000_000),
            executable: env!("CARGO_BIN_EXE_midge").into(),
            log_limits: Default::default(),
        };
        change(&mut config);
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

    pub fn start(&mut self) {
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
            let agent = agent::run_with(config, executor.clone(), link, shutdown);
            block_on(executor.run(agent)).unwrap();
        });
        let outbox: Outbox = outbox.recv_timeout(Duration::from_secs(10)).unwrap();
        self.agent = Some(Agent { outbox, stop, thread });
    }

    /// The server's first words.
    pub fn welcome(&self) {
        let outbox = self.outbox();
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

    pub fn stop(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.stop.send_blocking(()).unwrap();
        agent.thread.join().unwrap();
    }

    /// What a reboot takes of a node whose agent is stopped: processes, mounts, the run folders.
    pub fn reboot(&mut self) {
        let tasks = self.with_client(async |client| client.tasks().await.unwrap());
        // The number of one that has ended may be another's.
        let runs = |task: &&Task| task.status != TaskStatus::Stopped;
        let pids = tasks.iter().filter(runs).map(|task| task.pid);
        self.containerd.down();
        let shims = self.containerd.shims().into_iter().map(|pid| u32::try_from(pid).unwrap());
        // Shims first: they would note how their containers ended.
        for pid in shims.collect::<Vec<_>>().into_iter().chain(pids) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let state = self.containerd.folder().join("state");
        for target in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(target).starts_with(&self.config.run_dir) || Path::new(target).starts_with(&state) {
                rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH).unwrap();
            }
        }
        let runc = Path::new("/run/containerd/runc").join(self.containerd.namespace());
        for folder in [&self.config.run_dir, &state, &runc] {
            std::fs::remove_dir_all(folder).unwrap();
        }
        self.containerd.up();
        self.statuses.clear();
    }

    pub fn outbox(&self) -> &Outbox {
        &self.agent.as_ref().unwrap().outbox
    }

    pub fn put(&self, uid: &str, pod: &Value) {
        let put = Put {
            kind: "Pod".into(),
            namespace: "default".into(),
            name: uid.into(),
            uid: uid.into(),
            revision: 1,
        };
        let message = ToAgent::Put(put, pod.to_string().into_bytes());
        self.outbox().receive(message);
    }

    /// Takes what the agent says until `done`; 40 s at most.
    pub fn until(&mut self, what: &str, done: impl Fn(&Node) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !done(self) {
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

    pub fn phase(&self, uid: &str) -> &str {
        self.statuses.get(uid).and_then(|status| status["phase"].as_str()).unwrap_or("")
    }

    /// Of the pod's first container.
    pub fn container(&self, uid: &str) -> &Value {
        self.statuses.get(uid).map_or(&Value::Null, |status| &status["containerStatuses"][0])
    }

    /// Runs `test` with a client of the node's containerd; one that hangs fails.
    pub fn with_client<T, F: Future<Output = T>>(&self, test: impl FnOnce(Client) -> F) -> T {
        let executor = Executor::default();
        let limit = async {
            smol::Timer::after(Duration::from_secs(40)).await;
            panic!("the test takes too long");
        };
        let test = async {
            let (socket, namespace) = (self.containerd.socket(), self.containerd.namespace());
            test(Client::connect(&socket, namespace, &executor).await.unwrap()).await
        };
        block_on(executor.run(future::or(test, limit)))
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
