//! One link's session: Hello and Welcome, then both directions until the link is over.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_lite::future;
use smol::Timer;
use smol::channel::Receiver;

use super::admit::Admitted;
use super::configs::{Reference, Told};
use super::pods::Known;
use super::{Dirty, Links, News};
use crate::api::kinds::NODE;
use crate::api::{Object, Status};
use crate::link::{
    Closed, Connection, Hello, PROTOCOL, PodRef, Received, ToAgent, ToServer, Welcome, close, works_with,
};
use crate::server::accounts::without_token;

/// How long an agent may take for its Hello.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most bytes of an event.
const MAX_EVENT: usize = 16 << 10;
/// The most bytes of a node.
const MAX_NODE: usize = 64 << 10;
/// Messages at once; more come at [`PER_SECOND`]. Pods of a node that say everything again fit in.
const BURST: f64 = 1000.0;
const PER_SECOND: f64 = 50.0;
/// A lease is renewed at most so often, whatever the agent sends.
const RENEWAL: Duration = Duration::from_secs(5);

pub(super) struct Session {
    pub(super) links: Arc<Links>,
    pub(super) connection: Connection,
    pub(super) admitted: Admitted,
    pub(super) news: Arc<News>,
    pub(super) known: Known,
    pub(super) configs: Told,
    /// The agent asks for the tokens that its pods mount.
    pub(super) takes_tokens: bool,
    /// When the lease was renewed last.
    pub(super) renewed: Option<Instant>,
}

/// What keeps an agent that talks without end from taking the server's time and filling its disk.
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    /// Waits while too much was said. What comes meanwhile waits in the connection, then at the agent.
    async fn keep(&mut self) {
        let now = Instant::now();
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left, self.at) = ((self.left + earned).min(BURST) - 1.0, now);
        if self.left < 0.0 {
            Timer::after(Duration::from_secs_f64(-self.left / PER_SECOND)).await;
        }
    }
}

impl Session {
    /// Why the link ended, and what the node knows.
    pub(super) async fn run(mut self, changed: Receiver<()>) -> (Closed, Known) {
        let why = match self.talk(changed).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        (why, self.known)
    }

    async fn talk(&mut self, changed: Receiver<()>) -> Result<std::convert::Infallible, Closed> {
        let hello = self.hello().await?;
        self.welcome(&hello).await?;
        let mut pace = Pace { left: BURST, at: Instant::now() };
        loop {
            // Both arms are cancel-safe; what changed waits in `news`.
            let received = async { Some(self.connection.next().await) };
            let news = async {
                match changed.recv().await {
                    Ok(()) => None,
                    Err(_) => future::pending().await,
                }
            };
            match future::or(received, news).await {
                Some(Ok(Received::Alive)) => self.renew().await,
                Some(Ok(received)) => {
                    pace.keep().await;
                    self.take(received).await?;
                }
                Some(Err(why)) => return Err(why),
                None => self.tell().await?,
            }
        }
    }

    fn node(&self) -> &str {
        &self.admitted.node
    }

    async fn hello(&self) -> Result<Hello, Closed> {
        let first = async {
            loop {
                if let Received::Message(message) = self.connection.next().await? {
                    return Ok(message);
                }
            }
        };
        let late = async {
            Timer::after(PATIENCE).await;
            Err(Closed::Silence(PATIENCE))
        };
        let message = future::or(first, late).await?;
        let hello = match ToServer::decode(&message) {
            Ok(Some(ToServer::Hello(hello))) => hello,
            _ => return self.refuse(close::PROTOCOL, "the first message was no Hello").await,
        };
        if hello.protocol != PROTOCOL || !works_with(&hello.version) {
            let reason =
                format!("midge {} does not work with this server's {}", hello.version, crate::VERSION);
            return self.refuse(close::VERSION, &reason).await;
        }
        Ok(hello)
    }

    async fn refuse<T>(&self, code: u16, reason: &str) -> Result<T, Closed> {
        log::warn!("{}: node {}: {reason}", self.admitted.peer.address, self.node());
        let link = self.connection.link();
        link.close(code, reason);
        Err(link.closed().await)
    }

    async fn send(&self, message: &ToAgent) -> Result<(), Closed> {
        self.connection.link().send(message.encode()).await
    }

    async fn welcome(&mut self, hello: &Hello) -> Result<(), Closed> {
        self.takes_tokens = hello.tokens == Some(true);
        let node = self.node().to_owned();
        let object = match self.links.ensure_node(&node, self.admitted.new_key.is_some()).await {
            Ok(Some(object)) => object,
            // Deleted between the check of its key and now.
            Ok(None) => return self.refuse(close::REVOKED, "the node was deleted").await,
            Err(status) => return self.refuse(close::GOING_AWAY, &status.message).await,
        };
        let welcome = Welcome {
            node_key: self.admitted.new_key.clone(),
            node_uid: object.uid().to_owned(),
            pod_cidr: object.str_at("/spec/podCIDR").to_owned(),
            cluster_dns: self.links.options.cluster_dns.clone(),
            cluster_domain: self.links.options.cluster_domain.clone(),
            time: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
            server_version: crate::VERSION.to_owned(),
        };
        self.send(&ToAgent::Welcome(welcome)).await?;
        log::info!("node {node} is connected from {}", self.admitted.peer.address);
        self.links.renew_lease(&object).await;

        if let Some(known) = self.links.state().known.remove(&node) {
            self.known = known;
        }
        self.known.retain(&hello.pods);
        self.compare_all().await?;
        self.send(&ToAgent::Synced).await?;
        // Full: an arrival is waiting to be seen already.
        let _ = self.links.arrivals.0.try_send(());
        Ok(())
    }

    async fn compare_all(&mut self) -> Result<(), Closed> {
        let node = self.admitted.node.clone();
        let messages = self.links.compare_all(&node, &mut self.known);
        let messages = self.logged("compare its pods", messages).unwrap_or_default();
        self.send_pods(&messages).await?;
        let needed: Vec<Reference> = self.known.configs().cloned().collect();
        for reference in needed {
            self.send_config(&reference).await?;
        }
        Ok(())
    }

    /// What pods name goes before them, and what none names any more after them.
    async fn send_pods(&mut self, messages: &[ToAgent]) -> Result<(), Closed> {
        let new = |reference: &&Reference| !self.configs.has(reference);
        let missing: Vec<Reference> = self.known.configs().filter(new).cloned().collect();
        for reference in missing {
            self.send_config(&reference).await?;
        }
        for message in messages {
            match message {
                ToAgent::Put(put, pod) if put.kind == "Pod" && !self.takes_tokens => {
                    let pod = without_token(pod).unwrap_or_else(|| pod.clone());
                    self.send(&ToAgent::Put(put.clone(), pod)).await?;
                }
                message => self.send(message).await?,
            }
        }
        let known = &self.known;
        let left = self.configs.release(|reference| known.configs().any(|needed| needed == reference));
        for message in left {
            self.send(&message).await?;
        }
        Ok(())
    }

    /// One at a time: each may be large.
    async fn send_config(&mut self, reference: &Reference) -> Result<(), Closed> {
        let messages = self.links.compare_config(&mut self.configs, reference);
        for message in self.logged("compare a ConfigMap or Secret", messages).unwrap_or_default() {
            self.send(&message).await?;
        }
        Ok(())
    }

    /// Tells what changed.
    async fn tell(&mut self) -> Result<(), Closed> {
        let node = self.admitted.node.clone();
        for changed in self.news.take() {
            match changed {
                Dirty::All => self.compare_all().await?,
                Dirty::Config(reference) => {
                    if self.known.configs().any(|needed| *needed == reference) {
                        self.send_config(&reference).await?;
                    }
                }
                Dirty::Pod(name) => {
                    let message = self.links.compare(&node, &mut self.known, &name);
                    let message = self.logged("compare a pod", message).flatten();
                    self.send_pods(message.as_slice()).await?;
                }
            }
        }
        Ok(())
    }

    async fn renew(&mut self) {
        if self.renewed.is_some_and(|renewed| renewed.elapsed() < RENEWAL) {
            return;
        }
        if let Ok(object) = self.links.registry.get(NODE, "", self.node()) {
            self.links.renew_lease(&object).await;
            self.renewed = Some(Instant::now());
        }
    }

    async fn take(&mut self, received: Received) -> Result<(), Closed> {
        let message = match received {
            Received::Message(message) => message,
            // Agents open no streams: the connection has refused it already.
            Received::Alive | Received::Open(..) => return Ok(()),
        };
        let message = match ToServer::decode(&message) {
            Ok(Some(message)) => message,
            Ok(None) => {
                log::debug!("node {}: a message of an unknown type was skipped", self.node());
                return Ok(());
            }
            Err(error) => return self.refuse(close::PROTOCOL, &error.to_string()).await,
        };
        match message {
            ToServer::Hello(_) => return self.refuse(close::PROTOCOL, "a second Hello").await,
            ToServer::KeySaved => {
                if let Some(key) = self.admitted.new_key.take() {
                    let settled = self.links.settle_key(&self.admitted.node, &key).await;
                    self.logged("settle its key", settled);
                }
            }
            ToServer::Node(object) => {
                let applied = match Object::from_slice(&object) {
                    Ok(_) if object.len() > MAX_NODE => Err(Status::request_entity_too_large(MAX_NODE)),
                    Ok(object) => self.links.apply_node(self.node(), &object, SystemTime::now()).await,
                    Err(error) => Err(Status::bad_request(error.to_string())),
                };
                self.logged("store its node", applied);
            }
            ToServer::PodStatus(pod, status) => {
                let applied = self.links.apply_status(self.node(), &pod, &status).await;
                self.logged("store a pod's status", applied);
            }
            ToServer::PodGone(pod) => self.gone(&pod).await?,
            ToServer::TokenAsk(ask) => {
                let given = self.links.accounts.for_node(self.node(), &ask);
                self.send(&ToAgent::Token(given)).await?;
            }
            ToServer::Event(event) => {
                let accepted = match Object::from_slice(&event) {
                    Ok(_) if event.len() > MAX_EVENT => Err(Status::request_entity_too_large(MAX_EVENT)),
                    Ok(object) => self.links.accept_event(self.node(), object).await,
                    Err(error) => Err(Status::bad_request(error.to_string())),
                };
                self.logged("store an event", accepted);
            }
        }
        Ok(())
    }

    async fn gone(&mut self, pod: &PodRef) -> Result<(), Closed> {
        let applied = self.links.apply_gone(self.node(), pod).await;
        if self.logged("remove a pod", applied) == Some(true) {
            let message = self.known.remove(&pod.uid);
            self.send_pods(&[message]).await?;
        }
        Ok(())
    }

    /// An agent's bad input, or a full disk, must not end its link: it is logged, and said again later.
    fn logged<T>(&self, what: &str, outcome: Result<T, Status>) -> Option<T> {
        outcome
            .map_err(|status| log::warn!("node {}: failed to {what}: {}", self.node(), status.message))
            .ok()
    }
}
