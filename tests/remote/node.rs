//! A server in this process, and a node whose programs are a test's.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_lite::{future, stream};
use midge::Executor;
use midge::agent::session::{self, Core, Options};
use midge::api::{Object, Status};
use midge::link::{Chunk, ExecRequest, HelloPod, PodRef, Stream, StreamRequest, ToAgent, ToServer, channel};
use midge::server::Ready;
use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, bounded, unbounded};

use super::command::{Answer, eventually};

pub struct Cluster {
    pub folder: PathBuf,
    pub ready: Ready,
    /// More of kubectl's environment.
    pub variables: Vec<(&'static str, &'static str)>,
    running: Arc<AtomicUsize>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cluster {
    /// A server with a node, and pods that run, have run, and are yet to run.
    pub fn start(name: &str) -> Cluster {
        let folder = std::env::temp_dir().join(format!("midge-remote-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut config = midge::server::Config::new(folder.join("data"));
        config.bind_address = "127.0.0.1".parse().unwrap();
        config.port = 0;
        config.kubeconfig = Some(folder.join("kubeconfig"));
        let (started, is_ready) = bounded(1);
        let (stop, stopped) = bounded::<()>(1);
        let running = Arc::new(AtomicUsize::new(0));
        let (core, home) = (Node::new(running.clone()), folder.join("pi"));
        let (told, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let executor = Executor::default();
            let inner = executor.clone();
            smol::block_on(executor.run(async move {
                let shutdown = async move {
                    let _ = stopped.recv().await;
                };
                let tell = move |ready| drop(started.try_send(ready));
                let server = inner.spawn(midge::server::run(config, inner.clone(), shutdown, tell));
                let ready: Ready = is_ready.recv().await.unwrap();
                let options = Options {
                    node_name: "pi".into(),
                    servers: vec![ready.url.parse().unwrap()],
                    token: Some(ready.token.clone()),
                    folder: home,
                    boot_id: "boot".into(),
                    set_clock: false,
                };
                let _agent = inner.spawn(session::run(options, core, stream::pending(), inner.clone()));
                told.send(ready).unwrap();
                server.await.unwrap();
            }));
        });
        let ready = ready.recv_timeout(Duration::from_secs(20)).unwrap();
        let cluster =
            Cluster { folder, ready, variables: Vec::new(), running, stop: Some(stop), thread: Some(thread) };
        eventually("the node", Duration::from_secs(20), || {
            cluster.kubectl("get node pi").stdout.contains(" Ready ").then_some(())
        });
        for (name, node) in [("web", "pi"), ("done", "pi"), ("waiting", "pi")] {
            cluster.pod(name, node);
        }
        let expected = ["Running", "Succeeded", "Pending"];
        eventually("the pods", Duration::from_secs(20), || {
            let pods = cluster.kubectl("get pods -o jsonpath={.items[*].status.phase}").stdout;
            expected.iter().all(|phase| pods.contains(phase)).then_some(())
        });
        cluster
    }

    fn pod(&self, name: &str, node: &str) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "nodeName": node, "containers": [
                {"name": "web", "image": "x", "stdin": true},
                {"name": "shell", "image": "x", "stdin": true, "tty": true}]}});
        let path = self.folder.join(format!("{name}.json"));
        fs::write(&path, pod.to_string()).unwrap();
        self.kubectl(&format!("create -f {}", path.display())).success();
    }

    pub fn kubectl(&self, line: &str) -> Answer {
        Answer::of(self.command(line).stdin(Stdio::null()))
    }

    pub fn command(&self, line: &str) -> Command {
        // Two containers: which one is meant must be said.
        let line = match line.split_once(' ') {
            Some((verb @ ("exec" | "attach"), rest)) if !line.contains(" -c ") => {
                format!("{verb} -c web {rest}")
            }
            _ => line.to_owned(),
        };
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.folder.join("kubeconfig"));
        command.env("HOME", &self.folder).env_remove("KUBERNETES_SERVICE_HOST");
        command.envs(self.variables.iter().copied());
        command.args(line.split_whitespace());
        command
    }

    /// Streams that are served now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        let _ = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// What the agent's session tells.
#[derive(Clone)]
struct Node(Arc<Inner>);

struct Inner {
    say: Sender<ToServer>,
    said: Receiver<ToServer>,
    again: Mutex<VecDeque<ToServer>>,
    running: Arc<AtomicUsize>,
}

impl Node {
    fn new(running: Arc<AtomicUsize>) -> Node {
        let (say, said) = unbounded();
        Node(Arc::new(Inner { say, said, again: Mutex::default(), running }))
    }
}

impl Core for Node {
    fn hello(&self) -> Vec<HelloPod> {
        Vec::new()
    }

    async fn next(&self) -> ToServer {
        let again = self.0.again.lock().unwrap().pop_front();
        match again {
            Some(message) => message,
            None => self.0.said.recv().await.unwrap(),
        }
    }

    fn reconnected(&self) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "pi"},
            "status": {"capacity": {"cpu": "4"}}});
        self.0.again.lock().unwrap().push_back(ToServer::Node(node.to_string().into_bytes()));
    }

    fn receive(&self, message: ToAgent) {
        let ToAgent::Put(put, object) = message else { return };
        if put.kind != "Pod" {
            return;
        }
        let pod = Object::from_slice(&object).unwrap();
        let reference = PodRef { uid: put.uid, namespace: put.namespace, name: put.name };
        let status = status(&pod).to_string().into_bytes();
        self.0.say.try_send(ToServer::PodStatus(reference, status)).unwrap();
    }

    fn open(&self, request: StreamRequest, stream: Stream) {
        let running = self.0.running.clone();
        running.fetch_add(1, Ordering::SeqCst);
        smol::spawn(async move {
            let reader = stream.closed();
            let served = future::or(async { Some(serve(request, &stream).await) }, async {
                reader.await;
                None
            });
            if let Some(status) = served.await {
                let _ = stream.end(&status).await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
        })
        .detach();
    }
}

fn status(pod: &Object) -> Value {
    let (phase, state) = match pod.name() {
        "done" => ("Succeeded", json!({"terminated": {"exitCode": 0, "reason": "Completed"}})),
        "waiting" => ("Pending", json!({"waiting": {"reason": "ContainerCreating"}})),
        _ => ("Running", json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}})),
    };
    let list = |list: &str| -> Value {
        let containers = pod.array_at(list).iter();
        containers
            .map(|container| {
                json!({"name": container["name"], "image": "x", "imageID": "", "ready": true,
                    "restartCount": 0, "state": state})
            })
            .collect()
    };
    json!({"phase": phase, "containerStatuses": list("/spec/containers"),
        "ephemeralContainerStatuses": list("/spec/ephemeralContainers")})
}

fn failure(message: &str) -> Vec<u8> {
    Status::internal(message).to_vec()
}

/// Plays the program that is asked for; what is returned ends the stream.
async fn serve(request: StreamRequest, stream: &Stream) -> Vec<u8> {
    match request {
        StreamRequest::Exec(exec) => program(&exec, stream).await,
        StreamRequest::Attach(attach) => {
            let greeting = format!("attached to {} tty={}\n", attach.container, attach.tty);
            let _ = stream.write(channel::STDOUT, greeting.as_bytes()).await;
            if attach.stdin { echo(stream).await } else { Vec::new() }
        }
        StreamRequest::Reclaim(_) => Vec::new(),
        StreamRequest::PortForward(forward) if forward.port == 81 => {
            failure(&format!("error forwarding port 81 to pod {}: connection refused", forward.pod))
        }
        StreamRequest::PortForward(_) => echo_port(stream).await,
        StreamRequest::Read(read) => {
            let _ = stream.write(channel::STDOUT, format!("figures of {}", read.path).as_bytes()).await;
            Vec::new()
        }
        StreamRequest::Log(_) => Vec::new(),
    }
}

async fn program(exec: &ExecRequest, stream: &Stream) -> Vec<u8> {
    let words = exec.command[1..].join(" ");
    match exec.command[0].as_str() {
        "echo" => {
            let _ = stream.write(channel::STDOUT, format!("{words}\n").as_bytes()).await;
            Vec::new()
        }
        "complain" => {
            let _ = stream.write(channel::STDERR, format!("{words}\n").as_bytes()).await;
            Vec::new()
        }
        "exit" => json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("command terminated with non-zero exit code: {words}"),
            "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": words}]}})
        .to_string()
        .into_bytes(),
        "cat" => echo(stream).await,
        // Says the size of the terminal, once.
        "size" => loop {
            if let Ok(Chunk::Data { channel: channel::RESIZE, data }) = stream.read().await {
                let _ = stream.write(channel::STDOUT, &data).await;
                return Vec::new();
            }
        },
        _ => failure("no such program"),
    }
}

/// Gives back what it gets, until there is no more, or until it hears `bye`.
async fn echo(stream: &Stream) -> Vec<u8> {
    while let Ok(Chunk::Data { channel, data }) = stream.read().await {
        match channel {
            channel::STDIN => {
                let _ = stream.write(channel::STDOUT, &data).await;
                if data.windows(3).any(|word| word == b"bye") {
                    break;
                }
            }
            channel::CLOSE => break,
            _ => {}
        }
    }
    Vec::new()
}

/// A peer that answers when it has heard all.
async fn echo_port(stream: &Stream) -> Vec<u8> {
    let mut heard = 0;
    while let Ok(Chunk::Data { channel, data }) = stream.read().await {
        match channel {
            channel::STDIN => {
                heard += data.len();
                let _ = stream.write(channel::STDIN, &data).await;
            }
            channel::CLOSE => {
                let _ = stream.write(channel::STDIN, format!("{heard} bytes\n").as_bytes()).await;
                let _ = stream.write(channel::CLOSE, &[channel::STDIN]).await;
                break;
            }
            _ => {}
        }
    }
    Vec::new()
}
