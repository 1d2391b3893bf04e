//! Both ends of the wire together: a real server, the agent's session, and a core that is a test's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

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

#[test]
fn a_node_joins_runs_pods_and_survives_restarts_of_both_ends() {
    run(|executor| async move {
        let server = Server::start(folder("life"), None, &executor).await;
        let home = folder("life-agent");
        let core = Notes::new("pi");
        let joining = options("pi", server.url(), Some(server.tokens.server_token()), home.clone());
        let agent = session(&joining, &core, &executor);
        let ToAgent::Welcome(welcome) = core.heard().await else { panic!() };
        assert_eq!((welcome.pod_cidr.as_str(), welcome.node_key), ("10.42.0.0/24", None));
        let node = eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        assert_eq!(node.label("kubernetes.io/arch"), Some("arm64"));
        assert_eq!(welcome.node_uid, node.uid());

        // A pod: told, its status stored (and not told back), its log read.
        core.synced().await;
        let pod = server.pod("web", "pi").await;
        server.pod("other", "elsewhere").await;
        assert_eq!(core.put().await.1.uid(), pod.uid());
        let reference = PodRef { uid: pod.uid().into(), namespace: "default".into(), name: "web".into() };
        let status = br#"{"phase":"Running","podIP":"10.42.0.2"}"#.to_vec();
        core.0.say.send(ToServer::PodStatus(reference.clone(), status)).await.unwrap();
        let running = || {
            server
                .registry
                .get(POD, "default", "web")
                .ok()
                .filter(|pod| pod.str_at("/status/phase") == "Running")
        };
        eventually("the status", running).await;
        let log = LogRequest { pod: "web".into(), ..Default::default() };
        let stream = server.links.open("pi", &StreamRequest::Log(log)).await.unwrap();
        let Chunk::Data { data, .. } = stream.read().await.unwrap() else { panic!() };
        assert_eq!(data, "log of web\n");
        assert_eq!(stream.read().await.unwrap(), Chunk::End { status: Vec::new() });
        let away: Status =
            server.links.open("mars", &StreamRequest::Log(Default::default())).await.unwrap_err();
        assert_eq!(away.code, 503);

        // The agent restarts, without a token: its key opens the link, and nothing is told anew.
        drop(agent);
        let keyed = Options { token: None, ..joining.clone() };
        let agent = session(&keyed, &core, &executor);
        assert!(matches!(&core.synced().await[..], [ToAgent::Welcome(_)]));
        assert!(core.0.heard.is_empty());

        // The server restarts: the agent comes back by itself.
        let address = server.address;
        let server = Server::start(server.stop().await, Some(address), &executor).await;
        core.synced().await;
        eventually("the link", || server.links.connected("pi").then_some(())).await;

        // Deletion: a new Put with deletionTimestamp; the pod's end; the object goes; the agent forgets.
        while !core.0.heard.is_empty() {
            core.heard().await;
        }
        let deleted = DeleteOptions { grace_seconds: Some(5), ..Default::default() };
        server.registry.delete(POD, "default", "web", deleted).await.unwrap();
        assert!(core.put().await.1.deletion_timestamp().is_some());
        core.0.say.send(ToServer::PodGone(reference)).await.unwrap();
        assert!(matches!(core.heard().await, ToAgent::Remove(remove) if remove.uid == pod.uid()));
        assert!(server.registry.get(POD, "default", "web").is_err());

        // The node is deleted: its link ends, its key is of no use, a token lets it in again.
        server.registry.delete(NODE, "", "pi", DeleteOptions::default()).await.unwrap();
        let why = ends(agent).await;
        assert!(why.contains("was deleted"), "{why}");
        assert!(ends(session(&keyed, &core, &executor)).await.contains("revoked"));
        let rejoining = Options { token: Some(server.tokens.server_token()), ..keyed };
        let _agent = session(&rejoining, &core, &executor);
        eventually("Ready again", || server.node("pi").filter(|node| ready(node) == "True")).await;
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(home).unwrap();
    });
}

#[test]
fn refusals_name_the_way_out() {
    run(|executor| async move {
        let server = Server::start(folder("refuse"), None, &executor).await;
        let homes = folder("refuse-agents");
        let token = server.tokens.server_token();
        let try_joining = |name: &str, token: JoinToken, home: &str| {
            let core = Notes::new(name);
            let options = options(name, server.url(), Some(token), homes.join(home));
            let executor = executor.clone();
            async move { ends(session(&options, &core, &executor)).await }
        };
        let wrong: JoinToken = format!("{}x", token.reveal()).parse().unwrap();
        let why = try_joining("pi", wrong, "a").await;
        assert!(why.contains("(401)") && why.contains("midge token create"), "{why}");
        assert!(!why.contains(&token.credential.reveal()), "{why}");
        assert!(server.node("pi").is_none());

        let mut elsewhere = token.clone();
        elsewhere.ca_hash = Some([1; 32]);
        assert!(try_joining("pi", elsewhere, "a").await.contains("not for the cluster"), "other CA");
        assert!(try_joining("Pi_1", token.clone(), "a").await.contains("--node-name"), "bad name");
        assert!(!homes.join("a/node-key").exists());

        // A taken name, unless the first is deleted.
        let core = Notes::new("pi");
        let first = options("pi", server.url(), Some(token.clone()), homes.join("first"));
        let agent = session(&first, &core, &executor);
        core.synced().await;
        // KeySaved and what comes after it are in order: once the node is ready, the key is settled.
        eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        let why = try_joining("pi", token.clone(), "second").await;
        assert!(why.contains("(409)") && why.contains("kubectl delete node pi"), "{why}");
        assert!(server.links.connected("pi"), "the first is left alone");
        drop(agent);

        // A token for one node admits one.
        let once = server.tokens.create("", None, Some(1)).await.unwrap();
        let core = Notes::new("one");
        let agent =
            session(&options("one", server.url(), Some(once.clone()), homes.join("one")), &core, &executor);
        core.synced().await;
        let why = try_joining("two", once, "two").await;
        assert!(why.contains("used as often"), "{why}");
        let (one, pi) = (server.node("one").unwrap(), server.node("pi").unwrap());
        assert_ne!(one.str_at("/spec/podCIDR"), pi.str_at("/spec/podCIDR"));
        drop(agent);

        let core = Notes::new("x");
        let none = options("x", server.url(), None, homes.join("x"));
        assert!(ends(session(&none, &core, &executor)).await.contains("MIDGE_TOKEN"));
        // A server that is not there: the agent goes on trying.
        let nowhere = options("x", "https://127.0.0.1:1".parse().unwrap(), Some(token), homes.join("x"));
        let trying = session(&nowhere, &core, &executor);
        Timer::after(Duration::from_millis(500)).await;
        assert!(!trying.is_finished());
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(homes).unwrap();
    });
}

#[test]
fn a_key_that_was_never_confirmed_locks_nobody_out() {
    run(|executor| async move {
        let server = Server::start(folder("pending"), None, &executor).await;
        let home = folder("pending-agent");
        let token = server.tokens.server_token();
        // The agent can't save its key: something is in the way of its files. It is refused by nobody, and tries again.
        let broken = home.join("broken");
        fs::create_dir_all(broken.join("server-ca.crt.tmp")).unwrap();
        let core = Notes::new("pi");
        let failing = session(&options("pi", server.url(), Some(token.clone()), broken), &core, &executor);
        eventually("a first attempt", || server.node("pi")).await;
        drop(failing);
        let agent = session(&options("pi", server.url(), Some(token), home.join("good")), &core, &executor);
        core.synced().await;
        drop(agent);
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(home).unwrap();
    });
}

#[test]
fn a_node_without_its_agent_becomes_not_ready_and_ready_again() {
    run(|executor| async move {
        let server = Server::start(folder("away"), None, &executor).await;
        let home = folder("away-agent");
        let core = Notes::new("pi");
        let joining = options("pi", server.url(), Some(server.tokens.server_token()), home.clone());
        let agent = session(&joining, &core, &executor);
        eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        drop(agent);
        eventually("the link's end", || (!server.links.connected("pi")).then_some(())).await;
        let node = eventually("Unknown", || server.node("pi").filter(|node| ready(node) == "Unknown")).await;
        assert_eq!(node.array_at("/spec/taints")[0]["key"], "node.kubernetes.io/unreachable");
        assert_eq!(node.array_at("/status/conditions")[0]["reason"], "NodeStatusUnknown");
        let _agent = session(&joining, &core, &executor);
        let node = eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        assert!(node.array_at("/spec/taints").is_empty());
        let events =
            server.registry.list(midge::api::kinds::EVENT, None, &Default::default(), &Default::default());
        let reasons: Vec<String> = events
            .unwrap()
            .items
            .iter()
            .map(|item| item.object().unwrap().str_at("/reason").to_owned())
            .collect();
        assert!(
            reasons.contains(&"NodeNotReady".into()) && reasons.contains(&"NodeReady".into()),
            "{reasons:?}"
        );
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(home).unwrap();
        // `changes` that end are no reason to stop.
        assert!(stream::iter([()]).next().await.is_some());
    });
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

#[test]
fn what_no_agent_of_ours_sends() {
    run(|executor| async move {
        let server = Server::start(folder("bad"), None, &executor).await;
        for (header, code) in [
            (("midge-version", "0.9.0"), 400),
            (("midge-version", ""), 400),
            (("midge-node", "../x"), 400),
            (("midge-node", ""), 400),
            (("sec-websocket-protocol", "midge.v9"), 400),
            (("upgrade", "h2c"), 400),
            (("authorization", "Bearer "), 401),
            (("authorization", "Basic eA=="), 401),
            (("authorization", "Bearer node:00"), 401),
        ] {
            let refused = dial(&server, &[header], &executor).await.err();
            assert_eq!(refused.map(|refused| refused.0), Some(code), "{header:?}");
        }

        let first = dial(&server, &[], &executor).await.unwrap();
        first.link().send(ToServer::KeySaved.encode()).await.unwrap();
        assert_eq!(farewell(&first).await, close::PROTOCOL);

        let hello = |protocol| {
            let (version, boot_id) = (midge::VERSION.to_owned(), String::new());
            ToServer::Hello(Hello { protocol, version, boot_id, pods: Vec::new(), tokens: None }).encode()
        };
        let newer = dial(&server, &[], &executor).await.unwrap();
        newer.link().send(hello(99)).await.unwrap();
        assert_eq!(farewell(&newer).await, close::VERSION);

        // Another node's pod, what is no JSON or of other types, an unknown message: the link goes on, and
        // nothing is changed.
        let pod = server.pod("web", "good").await;
        let mine = server.pod("mine", "bad").await;
        let own = PodRef { uid: mine.uid().into(), namespace: "default".into(), name: "mine".into() };
        let node = |status: Value| {
            let node = json!({"metadata": {"name": "bad"}, "status": status});
            ToServer::Node(node.to_string().into()).encode()
        };
        let status = |pod: &PodRef, status: Value| {
            ToServer::PodStatus(pod.clone(), status.to_string().into()).encode()
        };
        let event = |kind: &str, name: &str, uid: &str| {
            let about = json!({"kind": kind, "namespace": "default", "name": name, "uid": uid});
            let event = json!({"involvedObject": about, "reason": "Said", "message": name});
            ToServer::Event(event.to_string().into()).encode()
        };
        let link = dial(&server, &[], &executor).await.unwrap();
        link.link().send(hello(1)).await.unwrap();
        let name = PodRef { uid: pod.uid().into(), namespace: "default".into(), name: "web".into() };
        for message in [
            ToServer::PodStatus(name.clone(), b"{\"phase\":\"Failed\"}".to_vec()).encode(),
            ToServer::PodStatus(name.clone(), b"[".repeat(100_000)).encode(),
            ToServer::PodGone(name).encode(),
            ToServer::Node(b"{\"metadata\":{\"name\":\"good\"}}".to_vec()).encode(),
            ToServer::Event(b"{}".to_vec()).encode(),
            vec![15, 1, 2, 3],
            node(json!({"conditions": 7})),
            node(json!({"conditions": [7, "Ready", []]})),
            node(json!({"addresses": "all of them"})),
            node(json!({"images": [{"names": ["x".repeat(100_000)]}]})),
            event("Pod", "web", pod.uid()),
            event("Node", "good", "u"),
            event("Secret", "web", "u"),
            status(&own, json!({"containerStatuses": [7]})),
            status(&own, json!({"phase": {}})),
            event("Pod", "mine", mine.uid()),
            node(json!({"nodeInfo": {"kernelVersion": "6.1"}})),
        ] {
            link.link().send(message).await.unwrap();
        }
        eventually("Ready", || server.node("bad").filter(|node| ready(node) == "True")).await;
        let after = server.registry.get(POD, "default", "web").unwrap();
        assert_eq!(after.resource_version(), pod.resource_version());
        let after = server.registry.get(POD, "default", "mine").unwrap();
        assert_eq!(after.resource_version(), mine.resource_version());
        assert!(server.node("good").is_none());
        let events =
            server.registry.list(midge::api::kinds::EVENT, None, &Default::default(), &Default::default());
        let events: Vec<Object> = events.unwrap().items.iter().map(|item| item.object().unwrap()).collect();
        let said: Vec<&str> = events
            .iter()
            .filter(|event| event.str_at("/reason") == "Said")
            .map(|event| event.str_at("/message"))
            .collect();
        assert_eq!(said, ["mine"]);
        link.link().send(vec![5, b'{']).await.unwrap();
        assert_eq!(farewell(&link).await, close::PROTOCOL);
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
    });
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

#[test]
fn a_crash_at_any_step_of_joining_locks_nobody_out() {
    run(|executor| async move {
        let mut server = Server::start(folder("crash"), None, &executor).await;
        let once = server.tokens.create("", None, Some(1)).await.unwrap().credential.reveal();
        // The agent is killed before it saves its key: a token for one node is still good for this one.
        let first = joins(&server, "a", &once, &executor).await.unwrap().unwrap();
        let second = joins(&server, "a", &once, &executor).await.unwrap().unwrap();
        assert_ne!(first, second);
        assert_eq!(joins(&server, "b", &once, &executor).await, Err(401), "it is no other node's");
        let other = server.tokens.create("", None, Some(1)).await.unwrap().credential.reveal();
        assert!(joins(&server, "a", &other, &executor).await.unwrap().is_some());
        assert_eq!(joins(&server, "b", &other, &executor).await, Err(401), "a use was taken off it");
        // The server is killed before it hears of the key: the next one takes the key, and a token.
        let key = joins(&server, "c", &server_token(&server), &executor).await.unwrap().unwrap();
        let folder = server.folder.clone();
        drop(server);
        server = Server::start(folder, None, &executor).await;
        assert!(joins(&server, "c", &server_token(&server), &executor).await.unwrap().is_some());
        assert_eq!(joins(&server, "c", &format!("node:{key}"), &executor).await, Err(401), "it was replaced");
        let key = joins(&server, "d", &server_token(&server), &executor).await.unwrap().unwrap();
        let folder = server.folder.clone();
        drop(server);
        server = Server::start(folder, None, &executor).await;
        // The agent was killed between saving its key and saying so: the key settles itself.
        assert_eq!(joins(&server, "d", &format!("node:{key}"), &executor).await, Ok(None));
        assert_eq!(joins(&server, "d", &server_token(&server), &executor).await, Err(409));
        fs::remove_dir_all(server.stop().await).unwrap();
    });
}

fn server_token(server: &Server) -> String {
    server.tokens.server_token().credential.reveal()
}

#[test]
fn a_token_for_so_many_nodes_admits_no_more_at_once() {
    run(|executor| async move {
        let server = Arc::new(Server::start(folder("uses"), None, &executor).await);
        let token = server.tokens.create("", None, Some(3)).await.unwrap().credential.reveal();
        let attempts: Vec<_> = (0..8)
            .map(|number| {
                let (server, token, inner) = (server.clone(), token.clone(), executor.clone());
                let join = async move { joins(&server, &format!("n{number}"), &token, &inner).await };
                executor.spawn(join)
            })
            .collect();
        let mut refused = Vec::new();
        for attempt in attempts {
            refused.extend(attempt.await.err());
        }
        assert_eq!(refused, [401; 5]);
        fs::remove_dir_all(&server.folder).unwrap();
    });
}

#[test]
fn an_attacker_locks_out_no_neighbour() {
    run(|executor| async move {
        let server = Arc::new(Server::start(folder("neighbour"), None, &executor).await);
        let key = joins(&server, "pi", &server_token(&server), &executor).await.unwrap().unwrap();
        // Guesses from the same address, until so many wait for their answers that one is turned away.
        let turned_away = Arc::new(AtomicBool::new(false));
        let mut guesses = Vec::new();
        while !turned_away.load(Ordering::Relaxed) {
            let (server, inner, turned_away) = (server.clone(), executor.clone(), turned_away.clone());
            guesses.push(executor.spawn(async move {
                let answer = joins(&server, "x", "server:guess", &inner).await;
                turned_away.fetch_or(answer == Err(429), Ordering::Relaxed);
                answer
            }));
            Timer::after(Duration::from_millis(50)).await;
        }
        let start = std::time::Instant::now();
        assert_eq!(joins(&server, "pi", &format!("node:{key}"), &executor).await, Ok(None));
        assert!(joins(&server, "new", &server_token(&server), &executor).await.is_ok());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        for guess in guesses {
            assert!(matches!(guess.await, Err(401 | 429)));
        }
        fs::remove_dir_all(&server.folder).unwrap();
    });
}

#[test]
fn a_deleted_nodes_link_ends_even_if_it_takes_nothing() {
    run(|executor| async move {
        let server = Server::start(folder("deaf"), None, &executor).await;
        for number in 0..30 {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("p{number}"), "namespace": "default",
                    "annotations": {"much": "x".repeat(240_000)}},
                "spec": {"nodeName": "bad", "containers": [{"name": "c", "image": "busybox"}]},
            });
            let pod = Object::from_value(pod).unwrap();
            server.registry.create(POD, pod, WriteOptions::default()).await.unwrap();
        }
        let connection = dial(&server, &[], &executor).await.unwrap();
        connection.link().send(hello()).await.unwrap();
        eventually("the link", || server.links.connected("bad").then_some(())).await;
        // Nobody calls `next`: what the server says fills the connection.
        Timer::after(Duration::from_secs(1)).await;
        let start = std::time::Instant::now();
        server.registry.delete(NODE, "", "bad", DeleteOptions::default()).await.unwrap();
        eventually("the end", || (!server.links.connected("bad")).then_some(())).await;
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        fs::remove_dir_all(server.stop().await).unwrap();
    });
}

/// A whole server.
async fn api(folder: PathBuf, executor: &Executor) -> (midge::server::Ready, Task<()>) {
    let mut config = midge::server::Config::new(folder);
    config.bind_address = "127.0.0.1".parse().unwrap();
    config.port = 0;
    config.kubeconfig = None;
    let (ready, is_ready) = smol::channel::bounded(1);
    let inner = executor.clone();
    let task = executor.spawn(async move {
        let told = |facts| ready.try_send(facts).unwrap();
        midge::server::run(config, inner, future::pending(), told).await.unwrap();
    });
    (is_ready.recv().await.unwrap(), task)
}

fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_log_that_nobody_reads_slows_nothing_else() {
    run_alone(|executor| async move {
        let home = folder("flood");
        let (ready, _server) = api(home.join("data"), &executor).await;
        let core = Notes::new("pi");
        let joining = options("pi", ready.url.parse().unwrap(), Some(ready.token.clone()), home.join("pi"));
        let _agent = session(&joining, &core, &executor);
        core.synced().await;

        let pem = fs::read_to_string(home.join("data/server/tls/ca.crt")).unwrap();
        let admin = fs::read_to_string(home.join("data/server/tls/admin-token")).unwrap();
        let call = async |method: &str, path: &str, body: String| {
            let tls = client_config_pinned(&pem).unwrap();
            let url: Url = ready.url.parse().unwrap();
            let mut client = Client::connect(&url, tls, Duration::from_secs(5), &executor).await.unwrap();
            let request = hyper::Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", format!("Bearer {}", admin.trim()))
                .header("content-type", "application/json")
                .body(http_body_util::Full::from(body))
                .unwrap();
            let response = client.send(request).await.unwrap();
            (client, response)
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"nodeName": "pi", "automountServiceAccountToken": false, "containers": [
                {"name": "flood", "image": "busybox"}, {"name": "quiet", "image": "busybox"}]},
        });
        let pods = "/api/v1/namespaces/default/pods";
        assert_eq!(call("POST", pods, pod.to_string()).await.1.status(), 201);
        let (_, pod) = core.put().await;
        let reference = PodRef { uid: pod.uid().into(), namespace: "default".into(), name: "web".into() };
        let running = |phase: &str| {
            let container = |name: &str| {
                json!({"name": name, "image": "busybox", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}})
            };
            let statuses = [container("flood"), container("quiet")];
            let status = json!({"phase": phase, "containerStatuses": statuses}).to_string();
            ToServer::PodStatus(reference.clone(), status.into())
        };
        core.0.say.send(running("Running")).await.unwrap();
        let text = async |path: &str| {
            let (_client, response) = call("GET", path, String::new()).await;
            let bytes = body::read(response.into_body(), 1 << 20, Duration::from_secs(5)).await.unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let web = format!("{pods}/web");
        while !text(&web).await.contains("startedAt") {
            Timer::after(Duration::from_millis(10)).await;
        }

        // Several readers that read nothing.
        let before = resident();
        let mut readers = Vec::new();
        for _ in 0..4 {
            let reader = call("GET", &format!("{web}/log?container=flood&follow=true"), String::new()).await;
            assert_eq!(reader.1.status(), 200);
            readers.push(reader);
        }
        let mut sent = 0;
        let stalled = async {
            loop {
                Timer::after(Duration::from_millis(700)).await;
                let now = core.0.flooded.lock().unwrap().0;
                if std::mem::replace(&mut sent, now) == now {
                    return;
                }
            }
        };
        stalled.await;
        let grown = resident().saturating_sub(before);
        eprintln!("4 readers that read nothing: {sent} bytes under way, {grown} bytes of memory");
        assert!(grown < 4 << 20, "{grown} bytes");
        // Another stream, a status on the same link, and a second pod's way to the node.
        let start = std::time::Instant::now();
        assert_eq!(text(&format!("{web}/log?container=quiet")).await, "log of web\n");
        core.0.say.send(running("Failed")).await.unwrap();
        while !text(&web).await.contains("Failed") {
            Timer::after(Duration::from_millis(10)).await;
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        // The readers vanish: the agent's ends are told.
        assert!(!core.0.flooded.lock().unwrap().1);
        drop(readers);
        eventually("the streams' end", || core.0.flooded.lock().unwrap().1.then_some(())).await;
        fs::remove_dir_all(home).unwrap();
    });
}
