//! The agents' links, the server's end.
//!
//! ```text
//! GET /v1-midge/connect → admit (who is it?) → 101 → session (one task a link)
//! registry watch: pods → dirty set of the node's link → session → Put, Remove
//!                 ConfigMaps, Secrets → dirty set of each link → session, if its pods name it → Put, Remove
//!                 nodes → a deleted one's key is revoked, its link closed
//! link lost → away, with a deadline → Ready becomes Unknown
//! ```

mod admit;
mod configs;
mod index;
mod keys;
mod node;
mod pods;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_lite::future;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use smol::channel::{Receiver, Sender, bounded};
use smol::{Task, Timer};

use super::accounts::Accounts;
use super::attempts::Attempts;
use super::config::Cidr;
use super::registry::{From, Registry, Selectors, Watch, WatchEvent};
use super::tokens::Tokens;
use crate::Executor;
use crate::api::kinds::{NODE, POD};
use crate::api::{Kind, Status};
use crate::http::server::{Peer, Place};
use crate::http::{Body, body, unwrap_upgraded};
use crate::link::{Closed, Connection, End, Link, Patience, SUBPROTOCOL, Stream, StreamRequest, close};
use crate::store::Store;

/// How long after the end of a link its node counts as ready: an agent whose network changed is back within it.
const GRACE: Duration = Duration::from_secs(10);

/// What agents are told, and what their nodes get.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each node gets a /24 of it.
    pub cluster_cidr: Cidr,
    pub cluster_dns: String,
    pub cluster_domain: String,
}

/// The links of one server.
pub struct Links {
    options: Options,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    tokens: Arc<Tokens>,
    accounts: Arc<Accounts>,
    executor: Executor,
    state: Mutex<State>,
    attempts: Attempts,
    /// Wakes what waits for `State::away`.
    away: (Sender<()>, Receiver<()>),
    /// Says that a node has come, or come back.
    arrivals: (Sender<()>, Receiver<()>),
    /// Held while a pod range is chosen and written: those that nodes have, once that was looked up.
    ranges: smol::lock::Mutex<Option<BTreeSet<String>>>,
    index: Mutex<index::Index>,
    closing: AtomicBool,
}

#[derive(Default)]
struct State {
    links: HashMap<String, Entry>,
    next_id: u64,
    /// What nodes without a link were told last, for when they come back.
    known: HashMap<String, pods::Known>,
    /// When nodes without a link are to be marked, and why.
    away: HashMap<String, (Instant, String)>,
}

/// One link.
struct Entry {
    id: u64,
    link: Link,
    news: Arc<News>,
    task: Option<Task<()>>,
    place: Option<Place>,
}

/// What changed since the session looked; bounded by the number of objects.
#[derive(Debug)]
struct News {
    dirty: Mutex<BTreeSet<Dirty>>,
    wake: Sender<()>,
}

/// What a session is to compare anew. All comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dirty {
    All,
    Config(configs::Reference),
    Pod(pods::Name),
}

impl Links {
    pub fn new(
        options: Options,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
        tokens: Arc<Tokens>,
        accounts: Arc<Accounts>,
        executor: Executor,
    ) -> Arc<Links> {
        Arc::new(Self {
            options,
            registry,
            store,
            tokens,
            accounts,
            executor,
            state: Mutex::default(),
            attempts: Attempts::default(),
            away: bounded(1),
            arrivals: bounded(1),
            ranges: smol::lock::Mutex::default(),
            index: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the nodes told and their conditions true; runs for as long as the server does.
    pub async fn run(self: Arc<Self>) {
        let [config_maps, secrets, claims] = configs::Of::ALL.map(|of| self.watch_configs(of));
        let configs = future::or(config_maps, future::or(secrets, claims));
        let nodes = future::or(self.watch_nodes(), self.watch_away());
        future::or(self.watch_pods(), future::or(configs, nodes)).await;
    }

    /// Answers `GET /v1-midge/connect`: `101` and a link, or a Status that says why not.
    pub async fn connect(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let admitted = match self.admit(&request, peer).await {
            Ok(admitted) => admitted,
            Err(status) => return refusal(&status),
        };
        let place = request.extensions().get::<Place>().cloned();
        let accept = admitted.accept.clone();
        let links = self.clone();
        let upgrade = hyper::upgrade::on(request);
        // Detached until the link is registered; it waits for the answer below to be written.
        let begin = async move {
            let upgraded = future::or(async { upgrade.await.ok() }, async {
                Timer::after(Duration::from_secs(10)).await;
                None
            });
            let Some((io, ahead)) = upgraded.await.and_then(unwrap_upgraded) else { return };
            links.begin(io, ahead, admitted, place).await;
        };
        self.executor.spawn(begin).detach();
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        if let Ok(accept) = HeaderValue::try_from(accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }

    /// Registers a link instead of the node's older one, and starts its session.
    async fn begin(
        self: &Arc<Self>,
        io: crate::http::Io,
        ahead: Bytes,
        admitted: admit::Admitted,
        place: Option<Place>,
    ) {
        let connection = Connection::start(io, ahead, End::Server, Patience::SERVER, &self.executor).await;
        let (wake, woken) = bounded(1);
        let news = Arc::new(News { dirty: Mutex::default(), wake });
        let link = connection.link().clone();
        let node = admitted.node.clone();
        let mut state = self.state();
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        state.next_id += 1;
        let id = state.next_id;
        let session = session::Session {
            links: self.clone(),
            connection,
            admitted,
            news: news.clone(),
            known: pods::Known::default(),
            configs: configs::Told::default(),
            takes_tokens: false,
            renewed: None,
        };
        let links = self.clone();
        let name = node.clone();
        let task = self.executor.spawn(async move {
            let (why, known) = Box::pin(session.run(woken)).await;
            links.ended(&name, id, &why, known);
        });
        // A node has one connection that its address does not answer for: this one, from now on.
        if let Some(place) = &place {
            place.vouch();
        }
        if let Some(older) = state.links.insert(node, Entry { id, link, news, task: Some(task), place }) {
            older.link.close(close::REPLACED, "the node has connected again");
            if let Some(place) = older.place {
                place.recount();
            }
            if let Some(task) = older.task {
                task.detach();
            }
        }
    }

    /// A session is over.
    fn ended(&self, node: &str, id: u64, why: &Closed, known: pods::Known) {
        let mut state = self.state();
        if state.links.get(node).is_none_or(|entry| entry.id != id) {
            return;
        }
        if let Some(Entry { task: Some(task), .. }) = state.links.remove(node) {
            // This runs in it.
            task.detach();
        }
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        log::info!("node {node}: link lost: {why}");
        let (grace, message) = match why {
            Closed::Silence(after) => {
                (Duration::ZERO, format!("no word from the agent for {} s", after.as_secs()))
            }
            why => (GRACE, format!("the agent's link was lost: {why}")),
        };
        state.known.insert(node.to_owned(), known);
        state.away.insert(node.to_owned(), (Instant::now() + grace, message));
        drop(state);
        let _ = self.away.0.try_send(());
    }

    /// Opens a stream to a node, for instance a container's log.
    ///
    /// Errors: 503 when the node is not connected or has as many streams as it may.
    pub async fn open(&self, node: &str, request: &StreamRequest) -> Result<Stream, Status> {
        let link = self.state().links.get(node).map(|entry| entry.link.clone());
        let Some(link) = link else {
            return Err(Status::service_unavailable(format!("node {node} is not connected")));
        };
        link.open(request)
            .ok_or_else(|| Status::service_unavailable(format!("node {node} has as many streams as it may")))
    }

    /// Whether the node's link is up.
    pub fn connected(&self, node: &str) -> bool {
        self.state().links.contains_key(node)
    }

    /// Waits until a node has come, or come back, since the last call: for one caller. Cancel-safe.
    pub async fn arrival(&self) {
        let _ = self.arrivals.1.recv().await; // never closed: both ends are here
    }

    /// Tells every agent that the server ends (they redial), and closes the links.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let links: Vec<Link> = self.state().links.values().map(|entry| entry.link.clone()).collect();
        for link in &links {
            link.close(close::GOING_AWAY, "the server stops");
        }
        for link in links {
            link.closed().await;
        }
        self.state().links.clear();
    }

    /// A watch of all objects of a kind, from what is there now: tried until there is one.
    async fn watch(&self, kind: &'static Kind) -> Watch {
        loop {
            match self.registry.watch(kind, None, Selectors::default(), From::Now) {
                Ok(watch) => return watch,
                Err(error) => log::error!("failed to watch {}: {error}", kind.plural),
            }
            Timer::after(Duration::from_secs(1)).await;
        }
    }

    /// Tells the links which pods changed.
    async fn watch_pods(&self) {
        loop {
            // Before the look, which then misses nothing.
            let news = self.store.watch(&POD.prefix(None), self.store.revision());
            match (self.take_pod_news(), news) {
                (Ok(()), Ok(mut news)) => {
                    while news.next().await.is_ok() && self.take_pod_news().is_ok() {}
                    // It has fallen behind.
                    continue;
                }
                (Ok(()), Err(_)) => continue,
                (Err(status), _) => log::error!("failed to watch pods: {status}"),
            }
            Timer::after(Duration::from_secs(1)).await;
        }
    }

    /// Brings the index up to now.
    fn take_pod_news(&self) -> Result<(), Status> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = index.catch_up(&self.registry, |node, pod| {
            if let Some(entry) = self.state().links.get(node) {
                entry.news.changed(Dirty::Pod(pod));
            }
        })?;
        if anew {
            // Deletions may have been missed: every link compares anew.
            self.state().links.values().for_each(|entry| entry.news.changed(Dirty::All));
        }
        Ok(())
    }

    /// Tells the links which ConfigMaps, Secrets or claims changed. Each session knows whether its pods name them.
    async fn watch_configs(&self, of: configs::Of) {
        loop {
            let mut watch = self.watch(of.kind()).await;
            self.state().links.values().for_each(|entry| entry.news.changed(Dirty::All));
            while let Ok(event) = watch.next().await {
                if self.state().links.is_empty() {
                    continue;
                }
                let Ok(object) = event.item().object() else { continue };
                let changed = Dirty::Config(configs::Reference {
                    of,
                    namespace: object.namespace().to_owned(),
                    name: object.name().to_owned(),
                });
                self.state().links.values().for_each(|entry| entry.news.changed(changed.clone()));
            }
        }
    }

    /// Revokes the keys of deleted nodes and closes their links.
    async fn watch_nodes(&self) {
        let started = Instant::now();
        loop {
            let mut watch = self.watch(NODE).await;
            // Deletions may have been missed.
            *self.ranges.lock().await = None;
            for node in self.saved_keys() {
                if self.registry.item(NODE, "", &node).is_err() {
                    self.revoke(&node).await;
                }
            }
            while let Ok(event) = watch.next().await {
                let Ok(node) = event.item().object() else { continue };
                self.note_range(&event, &node).await;
                match event {
                    WatchEvent::Deleted(_) => self.revoke(node.name()).await,
                    // A node that was ready when the server stopped gets the time of a silent link to return.
                    WatchEvent::Added(_) if !self.connected(node.name()) && !node::is_marked(&node) => {
                        let deadline = started + Patience::SERVER.silence;
                        let why = String::from("the agent has not connected since the server started");
                        self.state().away.entry(node.name().to_owned()).or_insert((deadline, why));
                        let _ = self.away.0.try_send(());
                    }
                    _ => {}
                }
            }
        }
    }

    async fn revoke(&self, node: &str) {
        // The key first: what the link's end makes the agent do must find it gone.
        self.delete_key(node).await;
        {
            let mut state = self.state();
            state.known.remove(node);
            state.away.remove(node);
            if let Some(entry) = state.links.get(node) {
                log::info!("node {node} was deleted: its link is closed, its key revoked");
                entry.link.close(close::REVOKED, "the node was deleted");
            }
        }
        self.delete_lease(node).await;
    }

    /// Marks nodes whose agents stay away.
    async fn watch_away(&self) {
        loop {
            let now = Instant::now();
            let (due, next) = {
                let mut state = self.state();
                let State { links, away, .. } = &mut *state;
                away.retain(|node, _| !links.contains_key(node));
                let due: Vec<(String, String)> = away
                    .iter()
                    .filter(|(_, (deadline, _))| *deadline <= now)
                    .map(|(node, (_, why))| (node.clone(), why.clone()))
                    .collect();
                due.iter().for_each(|(node, _)| drop(away.remove(node)));
                (due, away.values().map(|(deadline, _)| *deadline).min())
            };
            for (node, why) in due {
                self.mark_away(&node, &why, SystemTime::now()).await;
            }
            let timer = async {
                match next {
                    Some(deadline) => drop(Timer::at(deadline).await),
                    None => future::pending().await,
                }
            };
            let news = async {
                let _ = self.away.1.recv().await;
            };
            future::or(timer, news).await;
        }
    }
}

impl News {
    fn changed(&self, what: Dirty) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
        let _ = self.wake.try_send(());
    }

    fn take(&self) -> BTreeSet<Dirty> {
        std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refusal(status: &Status) -> Response<Body> {
    let mut response = Response::new(body::full(status.to_vec()));
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = status.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

#[cfg(test)]
mod tests;
