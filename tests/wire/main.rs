//! Both ends of the wire together: a real server, the agent's session, and a core that is a test's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod joining;
mod outages;

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_lite::{StreamExt, future, stream};
use midge::Executor;
use midge::agent::session::{self, Core, Error, Options};
use midge::api::kinds::{NODE, POD};
use midge::api::{Object, Status};
use midge::http::client::Client;
use midge::http::server::{Limits, serve};
use midge::http::{Url, body};
use midge::link::{
    CONNECT_PATH, Chunk, Closed, Connection, End, Hello, HelloPod, LogRequest, Patience, PodRef, Received,
    Stream, StreamRequest, ToAgent, ToServer, close,
};
use midge::server::accounts::Accounts;
use midge::server::links::{self, Links};
use midge::server::registry::{DeleteOptions, Registry, WriteOptions};
use midge::server::tokens::Tokens;
use midge::store::Journal;
use midge::tls::{Authority, Names, ServerIdentity, client_config_pinned};
use midge::token::JoinToken;
use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, unbounded};
use smol::net::TcpListener;
use smol::{Task, Timer};

/// Held for writing by a test that measures the process, by all others for reading.
static PROCESS: RwLock<()> = RwLock::new(());

fn run<F: Future<Output = ()>>(test: impl FnOnce(Executor) -> F) {
    let _shared = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
    run_within(test);
}

fn run_alone<F: Future<Output = ()>>(test: impl FnOnce(Executor) -> F) {
    let _alone = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    run_within(test);
}

fn run_within<F: Future<Output = ()>>(test: impl FnOnce(Executor) -> F) {
    let executor = Executor::default();
    let patience = async {
        Timer::after(Duration::from_secs(120)).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(future::or(patience, test(executor.clone()))));
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("midge-wire-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The parts of a server that links need.
struct Server {
    folder: PathBuf,
    registry: Arc<Registry>,
    tokens: Arc<Tokens>,
    links: Arc<Links>,
    address: SocketAddr,
    _tasks: Vec<Task<()>>,
    _stop: Sender<()>,
}

impl Server {
    /// `address` is one to listen at again.
    async fn start(folder: PathBuf, address: Option<SocketAddr>, executor: &Executor) -> Server {
        let listen = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = loop {
            match TcpListener::bind(listen).await {
                Ok(listener) => break listener,
                Err(_) => drop(Timer::after(Duration::from_millis(20)).await),
            }
        };
        let address = listener.local_addr().unwrap();
        let authority = Arc::new(Authority::open_or_create(&folder.join("tls")).unwrap());
        let identity = ServerIdentity::new(authority.clone(), Names::default()).unwrap();
        let store = loop {
            match Journal::open(&folder.join("registry")) {
                Ok(journal) => break Arc::new(journal),
                Err(_) => drop(Timer::after(Duration::from_millis(20)).await),
            }
        };
        let registry =
            Arc::new(Registry::open(store.clone(), "10.43.0.0/16".parse().unwrap()).await.unwrap());
        let tokens = Arc::new(Tokens::open(&folder, authority.hash(), None, store.clone()).unwrap());
        let options = links::Options {
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            cluster_dns: "10.43.0.10".into(),
            cluster_domain: "cluster.local".into(),
        };
        let accounts = Accounts::open(&folder, registry.clone(), "cluster.local").unwrap();
        let accounts = Arc::new(accounts);
        let links = Links::new(options, registry.clone(), store, tokens.clone(), accounts, executor.clone());
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let handler = {
            let links = links.clone();
            move |request: hyper::Request<hyper::body::Incoming>, peer| {
                let (links, authority) = (links.clone(), authority.clone());
                async move {
                    if request.uri().path() == "/cacerts" {
                        let pem = authority.certificate_pem().to_owned();
                        return hyper::Response::new(body::full(pem));
                    }
                    links.connect(request, peer).await
                }
            }
        };
        let shutdown = async move {
            let _ = stopped.recv().await;
        };
        let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
        let serving = serve(listener, identity, limits, executor.clone(), handler, shutdown);
        let tasks = vec![executor.spawn(serving), executor.spawn(links.clone().run())];
        Server { folder, registry, tokens, links, address, _tasks: tasks, _stop: stop }
    }

    /// As SIGTERM would.
    async fn stop(self) -> PathBuf {
        self.links.close().await;
        self.folder
    }

    fn url(&self) -> Url {
        format!("https://{}", self.address).parse().unwrap()
    }

    fn node(&self, name: &str) -> Option<Object> {
        self.registry.get(NODE, "", name).ok()
    }

    async fn pod(&self, name: &str, node: &str) -> Object {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "busybox"}]},
        });
        self.registry.create(POD, Object::from_value(pod).unwrap(), WriteOptions::default()).await.unwrap()
    }
}

fn ready(node: &Object) -> String {
    let conditions = node.array_at("/status/conditions").iter();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    ready.next().and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

/// Waits until `check` gives something.
async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1500 {
        if let Some(found) = check() {
            return found;
        }
        Timer::after(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}

/// An agent without containers: it remembers what it is told.
#[derive(Clone)]
struct Notes(Arc<Inner>);

struct Inner {
    node: Value,
    pods: Mutex<Vec<HelloPod>>,
    received: Sender<ToAgent>,
    heard: Receiver<ToAgent>,
    say: Sender<ToServer>,
    said: Receiver<ToServer>,
    again: Mutex<VecDeque<ToServer>>,
    /// What a log without end has sent, and whether its reader has gone.
    flooded: Arc<Mutex<(usize, bool)>>,
}

impl Core for Notes {
    fn hello(&self) -> Vec<HelloPod> {
        self.0.pods.lock().unwrap().clone()
    }

    async fn next(&self) -> ToServer {
        if let Some(message) = self.0.again.lock().unwrap().pop_front() {
            return message;
        }
        self.0.said.recv().await.unwrap()
    }

    fn reconnected(&self) {
        let node = serde_json::to_vec(&self.0.node).unwrap();
        self.0.again.lock().unwrap().push_back(ToServer::Node(node));
    }

    fn receive(&self, message: ToAgent) {
        if let ToAgent::Put(put, _) = &message {
            let mut pods = self.0.pods.lock().unwrap();
            pods.retain(|pod| pod.uid != put.uid);
            pods.push(HelloPod { uid: put.uid.clone(), revision: put.revision, gone: false });
        }
        if let ToAgent::Remove(remove) = &message {
            self.0.pods.lock().unwrap().retain(|pod| pod.uid != remove.uid);
        }
        self.0.received.try_send(message).unwrap();
    }

    fn open(&self, request: StreamRequest, stream: Stream) {
        let StreamRequest::Log(log) = request else { panic!("{request:?}") };
        let flooded = self.0.flooded.clone();
        smol::spawn(async move {
            if log.container == "flood" {
                let line = [b'x'; 8000];
                while stream.write(1, &line).await.is_ok() {
                    flooded.lock().unwrap().0 += line.len();
                }
                flooded.lock().unwrap().1 = true;
                return;
            }
            stream.write(1, format!("log of {}\n", log.pod).as_bytes()).await.unwrap();
            stream.end(b"").await.unwrap();
        })
        .detach();
    }
}

impl Notes {
    fn new(name: &str) -> Notes {
        let ((received, heard), (say, said)) = (unbounded(), unbounded());
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/arch": "arm64"}},
            "status": {"nodeInfo": {"kernelVersion": "6.1"}, "capacity": {"cpu": "4"}},
        });
        Notes(Arc::new(Inner {
            node,
            pods: Mutex::default(),
            received,
            heard,
            say,
            said,
            again: Mutex::default(),
            flooded: Arc::default(),
        }))
    }

    async fn heard(&self) -> ToAgent {
        self.0.heard.recv().await.unwrap()
    }

    async fn put(&self) -> (String, Object) {
        loop {
            if let ToAgent::Put(put, object) = self.heard().await {
                return (put.name, Object::from_slice(&object).unwrap());
            }
        }
    }

    async fn synced(&self) -> Vec<ToAgent> {
        let mut before = Vec::new();
        loop {
            match self.heard().await {
                ToAgent::Synced => return before,
                message => before.push(message),
            }
        }
    }
}

fn options(name: &str, server: Url, token: Option<JoinToken>, folder: PathBuf) -> Options {
    Options {
        node_name: name.into(),
        servers: vec![server],
        token,
        folder,
        boot_id: "boot".into(),
        set_clock: false,
    }
}

fn session(
    options: &Options,
    core: &Notes,
    executor: &Executor,
) -> Task<Result<std::convert::Infallible, Error>> {
    let (options, core) = (options.clone(), core.clone());
    executor.spawn(session::run(options, core, stream::pending(), executor.clone()))
}

async fn ends(task: Task<Result<std::convert::Infallible, Error>>) -> String {
    match task.await {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    }
}

/// An agent's end without the agent: `headers` over the good ones.
async fn dial(
    server: &Server,
    headers: &[(&'static str, &str)],
    executor: &Executor,
) -> Result<Connection, (u16, String)> {
    let pem = fs::read_to_string(server.folder.join("tls/ca.crt")).unwrap();
    let tls = client_config_pinned(&pem).unwrap();
    let mut client = Client::connect(&server.url(), tls, Duration::from_secs(10), executor).await.unwrap();
    let mut request = hyper::Request::get(CONNECT_PATH).body(http_body_util::Full::default()).unwrap();
    let bearer = format!("Bearer {}", server.tokens.server_token().credential.reveal());
    let good = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "midge.v1"),
        ("midge-node", "bad"),
        ("midge-version", midge::VERSION),
        ("authorization", &bearer),
    ];
    for (name, value) in good.iter().chain(headers) {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    if code != 101 {
        let body = body::read(response.into_body(), 9999, Duration::from_secs(5)).await.unwrap();
        return Err((code, Status::from_slice(&body).unwrap().message));
    }
    // RFC 6455's own example.
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let (io, ahead) = client.upgraded(response).await.unwrap();
    Ok(Connection::start(io, ahead, End::Agent, Patience::AGENT, executor).await)
}

async fn farewell(connection: &Connection) -> u16 {
    loop {
        match connection.next().await {
            Ok(_) => {}
            Err(Closed::Peer { code, .. }) => return code,
            Err(other) => panic!("{other}"),
        }
    }
}

fn hello() -> Vec<u8> {
    let hello = Hello {
        protocol: 1,
        version: midge::VERSION.into(),
        boot_id: String::new(),
        pods: Vec::new(),
        tokens: None,
    };
    ToServer::Hello(hello).encode()
}

/// Joins up to the Welcome, as far as an agent comes that is killed before it says that its key is saved.
async fn joins(
    server: &Server,
    node: &str,
    bearer: &str,
    executor: &Executor,
) -> Result<Option<String>, u16> {
    let bearer = format!("Bearer {bearer}");
    let headers = [("midge-node", node), ("authorization", bearer.as_str())];
    let connection = dial(server, &headers, executor).await.map_err(|(code, _)| code)?;
    connection.link().send(hello()).await.unwrap();
    loop {
        if let Received::Message(message) = connection.next().await.unwrap() {
            let Ok(Some(ToAgent::Welcome(welcome))) = ToAgent::decode(&message) else { panic!() };
            return Ok(welcome.node_key);
        }
    }
}
