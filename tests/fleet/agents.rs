//! Agents without containerd: the crate's own link over TLS, with a node behind it that only says that its pods run.

use midge::Executor;
use midge::agent::session::{self, Core, Options};
use midge::agent::wake::Wake;
use midge::http::Url;
use midge::link::{self, HelloPod, PodRef, StreamRequest, ToAgent, ToServer};
use midge::token::JoinToken;
use serde_json::{Value, json};
use smol::Task;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Nodes in this process, on one thread.
pub struct Fleet {
    executor: Executor,
    nodes: Vec<(Node, Option<Task<()>>)>,
    url: Url,
    token: JoinToken,
    folder: PathBuf,
    stop: smol::channel::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// One node; all of its state that outlives a link.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    name: String,
    state: Mutex<State>,
    outgoing: Wake,
    /// How often it was connected and had said its node.
    links: AtomicUsize,
    linked: std::sync::atomic::AtomicBool,
    /// Puts that it was sent: one that is told again what it has shows here.
    puts: AtomicUsize,
    /// Times at which it was told to stop a pod that nobody had deleted.
    removals: AtomicUsize,
}

#[derive(Default)]
struct State {
    say_node: bool,
    pods: BTreeMap<String, Pod>,
    /// Uids of those of which there is something to say.
    news: BTreeSet<String>,
}

struct Pod {
    namespace: String,
    name: String,
    revision: u64,
    containers: Vec<(String, String)>,
    gone: bool,
}

impl Fleet {
    /// `folder` keeps the nodes' keys. No node yet.
    pub fn new(url: Url, token: JoinToken, folder: &Path) -> Fleet {
        let executor = Executor::default();
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let running = executor.clone();
        let thread = std::thread::spawn(move || {
            let _ = smol::block_on(running.run(stopped.recv()));
        });
        let folder = folder.to_owned();
        Fleet { executor, nodes: Vec::new(), url, token, folder, stop, thread: Some(thread) }
    }

    /// Adds nodes `node-0000`, `node-0001`, … until there are `count`, and lets them all join at once.
    pub fn grow(&mut self, count: usize) {
        for number in self.nodes.len()..count {
            let inner = Inner {
                name: format!("node-{number:04}"),
                state: Mutex::default(),
                outgoing: Wake::default(),
                links: AtomicUsize::new(0),
                linked: Default::default(),
                puts: AtomicUsize::new(0),
                removals: AtomicUsize::new(0),
            };
            self.nodes.push((Node(Arc::new(inner)), None));
        }
        self.connect(0..count);
    }

    /// Starts the links of these nodes.
    pub fn connect(&mut self, which: std::ops::Range<usize>) {
        for (node, task) in &mut self.nodes[which] {
            let options = Options {
                node_name: node.0.name.clone(),
                servers: vec![self.url.clone()],
                token: Some(self.token.clone()),
                folder: self.folder.join(&node.0.name),
                boot_id: String::from("b0"),
                set_clock: false,
            };
            let (node, executor) = (node.clone(), self.executor.clone());
            let link = async move {
                let Err(error) = session::run(options, node, futures_lite::stream::pending(), executor).await;
                eprintln!("a node of the fleet has ended: {error}");
            };
            task.get_or_insert_with(|| self.executor.spawn(Box::pin(link)));
        }
    }

    /// Cuts the links of these nodes without a word.
    pub fn cut(&mut self, which: std::ops::Range<usize>) {
        for (node, task) in &mut self.nodes[which] {
            if let Some(task) = task.take() {
                smol::block_on(task.cancel());
            }
            node.0.linked.store(false, Ordering::SeqCst);
        }
    }

    /// How many are connected and have said their node.
    pub fn linked(&self) -> usize {
        self.nodes.iter().filter(|(node, _)| node.0.linked.load(Ordering::SeqCst)).count()
    }

    /// How many pods the nodes have.
    pub fn pods(&self) -> usize {
        self.nodes.iter().map(|(node, _)| node.state().pods.len()).sum()
    }

    pub fn sums(&self) -> Sums {
        let sum = |of: fn(&Inner) -> &AtomicUsize| -> usize {
            self.nodes.iter().map(|(node, _)| of(&node.0).load(Ordering::SeqCst)).sum()
        };
        Sums {
            links: sum(|node| &node.links),
            puts: sum(|node| &node.puts),
            removals: sum(|node| &node.removals),
        }
    }
}

/// What all nodes together have seen since they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    pub links: usize,
    pub puts: usize,
    pub removals: usize,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let count = self.nodes.len();
        self.cut(0..count);
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Node {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn put(&self, put: link::Put, payload: &[u8]) {
        let pod: Value = serde_json::from_slice(payload).unwrap();
        self.0.puts.fetch_add(1, Ordering::SeqCst);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let containers = containers.map(|c| (text(&c["name"]), text(&c["image"]))).collect();
        let gone = pod["metadata"]["deletionTimestamp"].is_string();
        let (namespace, name, revision) = (put.namespace, put.name, put.revision);
        let mut state = self.state();
        state.news.insert(put.uid.clone());
        state.pods.insert(put.uid, Pod { namespace, name, revision, containers, gone });
        self.0.outgoing.wake();
    }
}

impl Core for Node {
    fn hello(&self) -> Vec<HelloPod> {
        let state = self.state();
        let hello = |(uid, pod): (&String, &Pod)| HelloPod {
            uid: uid.clone(),
            revision: pod.revision,
            gone: pod.gone,
        };
        state.pods.iter().map(hello).collect()
    }

    async fn next(&self) -> ToServer {
        loop {
            {
                let mut state = self.state();
                if std::mem::take(&mut state.say_node) {
                    return ToServer::Node(node(&self.0.name));
                }
                while let Some(uid) = state.news.pop_first() {
                    let Some(pod) = state.pods.get(&uid) else { continue };
                    let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
                    let reference = PodRef { uid, namespace, name };
                    return match pod.gone {
                        true => ToServer::PodGone(reference),
                        false => ToServer::PodStatus(reference, status(pod)),
                    };
                }
            }
            self.0.outgoing.wait().await;
        }
    }

    fn reconnected(&self) {
        let mut state = self.state();
        state.say_node = true;
        state.news = state.pods.keys().cloned().collect();
        drop(state);
        self.0.outgoing.wake();
    }

    fn receive(&self, message: ToAgent) {
        match message {
            ToAgent::Put(put, payload) if put.kind == "Pod" => self.put(put, &payload),
            ToAgent::Remove(remove) if remove.kind == "Pod" => {
                let removed = self.state().pods.remove(&remove.uid);
                if removed.is_some_and(|pod| !pod.gone) {
                    self.0.removals.fetch_add(1, Ordering::SeqCst);
                }
            }
            _ => {}
        }
    }

    fn link(&self, link: Result<&Url, &str>) {
        // Said after each Node message; the first of a link counts.
        if !self.0.linked.swap(link.is_ok(), Ordering::SeqCst) && link.is_ok() {
            self.0.links.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn open(&self, _: StreamRequest, stream: link::Stream) {
        // Nothing runs here; dropping a stream cuts it off.
        drop(stream);
    }
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Fleet", "message": "a node of the fleet"})
}

/// As an agent describes a small board.
fn node(name: &str) -> Vec<u8> {
    let resources =
        json!({"cpu": "4", "memory": "948304Ki", "pods": "110", "ephemeral-storage": "30450528Ki"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": name}},
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [{"type": "InternalIP", "address": "10.9.9.9"}, {"type": "Hostname", "address": name}],
            "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True")],
            "nodeInfo": {"architecture": "arm64", "operatingSystem": "linux", "bootID": "b0", "machineID": "m0",
                "systemUUID": "s0", "kernelVersion": "6.12.0", "osImage": "Debian GNU/Linux 13",
                "containerRuntimeVersion": "containerd://2.1.0", "kubeletVersion": "v1.37.0",
                "kubeProxyVersion": ""},
        },
    })
    .to_string()
    .into_bytes()
}

const SINCE: &str = "2026-11-22T12:00:00Z";

/// Running, all of it ready.
fn status(pod: &Pod) -> Vec<u8> {
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
    let condition = |kind| json!({"type": kind, "status": "True", "lastTransitionTime": SINCE});
    let container = |(name, image): &(String, String)| {
        json!({"name": name, "image": image, "imageID": format!("{image}@sha256:{:064}", 7), "ready": true,
            "started": true, "restartCount": 0, "containerID": format!("containerd://{:064}", 8),
            "state": {"running": {"startedAt": SINCE}}, "lastState": {}})
    };
    json!({
        "phase": "Running", "podIP": "10.42.0.7", "podIPs": [{"ip": "10.42.0.7"}], "hostIP": "10.9.9.9",
        "startTime": SINCE,
        "conditions": conditions.map(condition),
        "containerStatuses": pod.containers.iter().map(container).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes()
}
