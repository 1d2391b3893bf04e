//! What the pod loop has to say to the server, and what it is told: the seam between the loop and the
//! session. It is level-triggered: the latest status of each pod, not a queue of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::configs::{self, Pending};
use super::session::Core;
use super::standing::Standing;
use super::streams::Serve;
use super::volumes::tokens::Tokens;
use super::wake::Wake;
use crate::Executor;
use crate::api::Status;
use crate::http::Url;
use crate::link::{HelloPod, MAX_STREAMS, PodRef, Put, Stream, StreamRequest, ToAgent, ToServer};

/// Events that wait for a link; the oldest go first.
const MAX_EVENTS: usize = 128;
/// Pods that may wait to be taken by the loop: far more than a node holds.
const MAX_CHANGES: usize = 1024;

/// Shared by the pod loop and the session.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something is to be said.
    outgoing: Wake,
    /// Something was received: the loop's own wake.
    incoming: Wake,
    executor: Executor,
    serving: Serve,
    standing: Standing,
    streams: Mutex<Vec<smol::Task<()>>>,
    tokens: Tokens,
}

#[derive(Default)]
struct State {
    node: Option<Vec<u8>>,
    say_node: bool,
    pods: BTreeMap<String, Pod>,
    events: VecDeque<Vec<u8>>,
    changes: BTreeMap<String, Change>,
    configs: Pending,
    cluster: Option<Cluster>,
    /// The server of the link that is up.
    server: String,
    /// All pods are to go.
    withdrawn: bool,
}

struct Pod {
    namespace: String,
    name: String,
    revision: u64,
    status: Option<Box<[u8]>>,
    gone: bool,
    /// To be said.
    news: bool,
}

/// What the server wants of one pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Run it, or end it if it has a deletionTimestamp: the object as JSON.
    Put(Put, Vec<u8>),
    /// Remove it without grace and forget it.
    Remove,
}

/// What the server says of the cluster on each connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cluster {
    pub node_uid: String,
    /// `10.42.1.0/24`; "" until the server gave one.
    pub pod_cidr: String,
    pub dns: String,
    pub domain: String,
    /// Where this node finds the API: `https://…`; "" until it has.
    #[serde(default)]
    pub server: String,
}

impl Outbox {
    /// `wake` is the pod loop's; `serving` takes the streams that the server opens.
    pub fn new(executor: Executor, serving: Serve, wake: Wake, standing: Standing) -> Outbox {
        let outgoing = Wake::default();
        Outbox(Arc::new(Inner {
            state: Mutex::default(),
            tokens: Tokens::new(outgoing.clone()),
            outgoing,
            incoming: wake,
            executor,
            serving,
            standing,
            streams: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What pods get of their service accounts.
    pub fn tokens(&self) -> Tokens {
        self.0.tokens.clone()
    }

    /// What was received since the last call.
    pub fn take(&self) -> (BTreeMap<String, Change>, Option<Cluster>) {
        let mut state = self.state();
        let mut changes = std::mem::take(&mut state.changes);
        if state.withdrawn {
            changes = state.pods.keys().map(|uid| (uid.clone(), Change::Remove)).collect();
        }
        (changes, state.cluster.take())
    }

    /// The ConfigMaps and Secrets that were received since the last call. Asked for after [`Outbox::take`], it has
    /// all that its pods name.
    pub fn take_configs(&self) -> Pending {
        self.state().configs.take()
    }

    /// The Node object, said when it differs from the last.
    pub fn set_node(&self, node: Vec<u8>) {
        let mut state = self.state();
        if state.node.as_ref() != Some(&node) {
            state.node = Some(node);
            state.say_node = true;
            drop(state);
            self.0.outgoing.wake();
        }
    }

    /// The agent has this revision of a pod.
    pub fn set_pod(&self, pod: &PodRef, revision: u64) {
        let mut state = self.state();
        state.pod(pod).revision = revision;
        // One that was under way.
        if state.withdrawn {
            self.0.incoming.wake();
        }
    }

    /// A pod's status, said when it differs from the last.
    pub fn set_status(&self, pod: &PodRef, status: Vec<u8>) {
        let mut state = self.state();
        let entry = state.pod(pod);
        if entry.status.as_deref() != Some(&status) {
            entry.status = Some(status.into_boxed_slice());
            entry.news = true;
            drop(state);
            self.0.outgoing.wake();
        }
    }

    /// The pod has ended and left nothing; said again after each connect until [`Outbox::forget`].
    pub fn set_gone(&self, pod: &PodRef) {
        let mut state = self.state();
        let entry = state.pod(pod);
        (entry.gone, entry.news, entry.status) = (true, true, None);
        drop(state);
        self.0.outgoing.wake();
    }

    pub fn is_gone(&self, uid: &str) -> bool {
        self.state().pods.get(uid).is_some_and(|pod| pod.gone)
    }

    /// Nothing is said of the pod any more.
    pub fn forget(&self, uid: &str) {
        self.state().pods.remove(uid);
    }

    /// The cluster has no such node any more: all of its pods are to go.
    pub fn withdraw(&self) {
        self.state().withdrawn = true;
        self.0.incoming.wake();
    }

    /// An Event object, JSON.
    pub fn event(&self, event: Vec<u8>) {
        let mut state = self.state();
        if state.events.len() == MAX_EVENTS {
            state.events.pop_front();
        }
        state.events.push_back(event);
        drop(state);
        self.0.outgoing.wake();
    }
}

impl State {
    fn pod(&mut self, pod: &PodRef) -> &mut Pod {
        self.pods.entry(pod.uid.clone()).or_insert_with(|| Pod {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            revision: 0,
            status: None,
            gone: false,
            news: false,
        })
    }

    fn next(&mut self) -> Option<ToServer> {
        // The node first: its server refuses pods of a node that it does not know.
        if std::mem::take(&mut self.say_node) {
            if let Some(node) = &self.node {
                return Some(ToServer::Node(node.clone()));
            }
        }
        // Events before statuses: a pod's last ones must come before the pod is gone.
        if let Some(event) = self.events.pop_front() {
            return Some(ToServer::Event(event));
        }
        let (uid, pod) = self.pods.iter_mut().find(|(_, pod)| pod.news)?;
        pod.news = false;
        let reference = PodRef { uid: uid.clone(), namespace: pod.namespace.clone(), name: pod.name.clone() };
        match &pod.status {
            _ if pod.gone => Some(ToServer::PodGone(reference)),
            Some(status) => Some(ToServer::PodStatus(reference, status.to_vec())),
            None => self.next(),
        }
    }
}

impl Core for Outbox {
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
            if let Some(message) = self.state().next() {
                return message;
            }
            if let Some(ask) = self.0.tokens.next_ask() {
                return ToServer::TokenAsk(ask);
            }
            self.0.outgoing.wait().await;
        }
    }

    fn link(&self, link: Result<&Url, &str>) {
        self.0.tokens.set_linked(link.is_ok());
        self.0.standing.link(link);
    }

    fn reconnected(&self) {
        let mut state = self.state();
        state.say_node = state.node.is_some();
        for pod in state.pods.values_mut() {
            pod.news = pod.gone || pod.status.is_some();
        }
        drop(state);
        self.0.tokens.say_again();
        self.0.outgoing.wake();
    }

    fn server(&self, server: &Url) {
        self.state().server = server.to_string();
    }

    fn receive(&self, message: ToAgent) {
        let mut state = self.state();
        let (uid, change) = match message {
            ToAgent::Put(put, payload) if put.kind == "Pod" => (put.uid.clone(), Change::Put(put, payload)),
            ToAgent::Remove(remove) if remove.kind == "Pod" => (remove.uid, Change::Remove),
            ToAgent::Welcome(welcome) => {
                state.cluster = Some(Cluster {
                    node_uid: welcome.node_uid,
                    pod_cidr: welcome.pod_cidr,
                    dns: welcome.cluster_dns,
                    domain: welcome.cluster_domain,
                    server: state.server.clone(),
                });
                state.configs.begin();
                self.0.incoming.wake();
                return;
            }
            ToAgent::Put(put, payload) => {
                // Other kinds are for a later agent.
                let Some(kind) = configs::Kind::parse(&put.kind) else { return };
                state.configs.put(kind, &put.namespace, &put.name, payload);
                self.0.incoming.wake();
                return;
            }
            ToAgent::Remove(remove) => {
                if configs::Kind::parse(&remove.kind).is_some() {
                    state.configs.remove(remove.uid);
                    self.0.incoming.wake();
                }
                return;
            }
            ToAgent::Token(given) => {
                self.0.tokens.put(given);
                self.0.incoming.wake();
                return;
            }
            // Of pods, Removes came before it.
            ToAgent::Synced => {
                state.configs.end();
                self.0.incoming.wake();
                return;
            }
        };
        if state.changes.len() < MAX_CHANGES || state.changes.contains_key(&uid) {
            state.changes.insert(uid, change);
        } else {
            log::error!("more than {MAX_CHANGES} pods at a time from the server: pod {uid} is left out");
        }
        drop(state);
        self.0.incoming.wake();
    }

    fn open(&self, request: StreamRequest, stream: Stream) {
        let mut streams = self.0.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|task| !task.is_finished());
        let full = streams.len() >= MAX_STREAMS;
        if full && streams.len() >= 2 * MAX_STREAMS {
            return; // dropping the stream cuts it off
        }
        let serving = Arc::clone(&self.0.serving);
        streams.push(self.0.executor.spawn(async move {
            if full {
                let status = Status::too_many_requests("the node serves too many streams", 5);
                // Its reader may have gone.
                let _ = stream.end(&status.to_vec()).await;
                return;
            }
            if let Err(error) = serving(request, stream).await {
                log::debug!("a stream of the server's: {error}");
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, poll_once};

    fn outbox() -> Outbox {
        let run_dir = std::env::temp_dir().join(format!("midge-outbox-{}", std::process::id()));
        let standing = Standing::new(&run_dir, "pi-1");
        let serving: Serve = Arc::new(|_, _| Box::pin(async { Ok(()) }));
        Outbox::new(Executor::default(), serving, Wake::default(), standing)
    }

    fn pod(uid: &str) -> PodRef {
        PodRef { uid: uid.into(), namespace: "default".into(), name: "web".into() }
    }

    #[test]
    fn says_the_latest_once_and_everything_again_after_a_reconnect() {
        block_on(async {
            let outbox = outbox();
            outbox.set_status(&pod("a"), b"1".to_vec());
            outbox.set_status(&pod("a"), b"2".to_vec());
            outbox.set_gone(&pod("b"));
            let status = ToServer::PodStatus(pod("a"), b"2".to_vec());
            assert_eq!(outbox.next().await, status);
            assert_eq!(outbox.next().await, ToServer::PodGone(pod("b")));
            outbox.set_status(&pod("a"), b"2".to_vec());
            assert_eq!(poll_once(outbox.next()).await, None);
            outbox.reconnected();
            assert_eq!(outbox.next().await, status);
            outbox.forget("b");
            assert_eq!(poll_once(outbox.next()).await, None);
        });
    }

    #[test]
    fn the_last_change_of_a_pod_counts_and_events_are_bounded() {
        let outbox = outbox();
        let put = Put {
            kind: "Pod".into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "a".into(),
            revision: 3,
        };
        outbox.receive(ToAgent::Put(put, b"{}".to_vec()));
        outbox.receive(ToAgent::Remove(crate::link::Remove { kind: "Pod".into(), uid: "a".into() }));
        assert_eq!(outbox.take().0.into_iter().collect::<Vec<_>>(), [("a".into(), Change::Remove)]);
        for number in 0..=MAX_EVENTS {
            outbox.event(number.to_string().into_bytes());
        }
        assert_eq!(block_on(outbox.next()), ToServer::Event(b"1".to_vec()));
    }
}
