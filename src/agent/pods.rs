//! The pod loop: one owner, level-triggered. It takes what the server wants, observes what runs, decides
//! by [`crate::plan::pod`], has the actions applied, and reports. Events merely wake it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_lite::future;
use smol::channel::{self, Receiver};

use super::container::{self, Runtime};
use super::desired;
use super::event::Event;
use super::evictions::Evictions;
use super::outbox::{Change, Cluster, Outbox};
use super::pod::Pod;
use super::probes::Probes;
use super::record::Record;
use super::sandbox::SandboxSpec;
use super::shims;
use super::shutdown::Shutdown;
use super::wake::Wake;
use super::work::{Context, Outcome, remove_folder};
use crate::containerd;
use crate::link::PodRef;
use crate::plan::pod::Role;
use crate::{Executor, chain, plan};

mod outcome;
mod reconcile;
mod turns;
mod watch;

/// Everything is looked at again after this long, whatever woke the loop or not.
const RESYNC: Duration = Duration::from_secs(120);
/// The second time comes sooner: what containerd was asked for by an agent before this one is settled by then.
const RESYNC_FIRST: Duration = Duration::from_secs(5);
/// Waits after a failed observation.
const OBSERVE_FIRST: Duration = Duration::from_millis(500);
const OBSERVE_MAX: Duration = Duration::from_secs(10);

/// Why pods can't run just now; None when they can. The node's Ready condition says so.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Option<String>>>, pub Wake);

impl Health {
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != trouble {
            match &trouble {
                Some(trouble) => log::error!("{trouble}"),
                None => log::info!("the container runtime is there again"),
            }
            *current = trouble;
            self.1.wake();
        }
    }
}

/// The loop's own state. Nothing of what runs is in it: that is observed each time.
pub struct Pods {
    context: Arc<Context>,
    outcomes: Receiver<(String, Outcome)>,
    outbox: Outbox,
    executor: Executor,
    health: Health,
    node_name: String,
    node_ip: Option<IpAddr>,
    /// `<data>/agent`.
    folder: PathBuf,
    cluster: Cluster,
    pods: BTreeMap<String, Pod>,
    /// Pods on disk that could not be read: nothing of them is touched.
    unreadable: Vec<String>,
    resync_at: SystemTime,
    resync_pause: Duration,
    observe_delay: Duration,
    on_network: OnNetwork,
    oom: Arc<Mutex<Vec<String>>>,
    probes: Probes,
    evictions: Evictions,
    shutdown: Shutdown,
    /// Since the machine goes down.
    turns: Option<plan::shutdown::Shutdown>,
    arrivals: Wake,
    _events: [smol::Task<()>; 2],
}

/// Takes what the server says of the cluster into use.
pub type OnNetwork = Box<dyn Fn(&Cluster, &Context) + Send>;
/// Makes the context of the loop's work, with the channel that the work reports to.
pub type MakeContext = Box<dyn FnOnce(channel::Sender<(String, Outcome)>) -> Context + Send>;

/// What the loop is made of.
pub struct Parts {
    pub outbox: Outbox,
    pub executor: Executor,
    pub health: Health,
    pub node_name: String,
    pub node_ip: Option<IpAddr>,
    pub folder: PathBuf,
    pub cluster: Cluster,
    /// Called when the server says something new of the cluster, for instance the node's pod range.
    pub on_network: OnNetwork,
    pub context: MakeContext,
    pub wake: Wake,
    /// Woken when there is news of an image that containers wait for.
    pub arrivals: Wake,
    pub probes: Probes,
    /// What probes say, by pod uid.
    pub probe_events: Receiver<(String, Event)>,
    pub evictions: Evictions,
    pub shutdown: Shutdown,
}

impl Pods {
    /// Reads the desired pods from the disk. Nothing is collected before that has succeeded.
    pub fn load(parts: Parts, now: SystemTime) -> Result<Pods, desired::Error> {
        let (sender, outcomes) = channel::unbounded();
        let context = Arc::new((parts.context)(sender));
        let loaded = desired::load(&context.runtime.pods_folder)?;
        let oom = Arc::default();
        let Runtime { client, images, .. } = &context.runtime;
        let watch = watch::watch(client.clone(), parts.wake.clone(), images.changes(), Arc::clone(&oom));
        let forward = watch::forward(parts.probe_events, Arc::clone(&context), parts.wake);
        let mut pods = Pods {
            _events: [parts.executor.spawn(watch), parts.executor.spawn(forward)],
            context,
            outcomes,
            outbox: parts.outbox,
            executor: parts.executor,
            health: parts.health,
            node_name: parts.node_name,
            node_ip: parts.node_ip,
            folder: parts.folder,
            cluster: parts.cluster,
            pods: BTreeMap::new(),
            unreadable: loaded.unreadable,
            resync_at: now,
            resync_pause: RESYNC_FIRST,
            observe_delay: Duration::ZERO,
            on_network: parts.on_network,
            oom,
            probes: parts.probes,
            evictions: parts.evictions,
            shutdown: parts.shutdown,
            turns: None,
            arrivals: parts.arrivals,
        };
        (pods.on_network)(&pods.cluster, &pods.context);
        for pod in loaded.pods {
            pods.outbox.set_pod(&pod.reference, pod.revision);
            let uid = pod.reference.uid.clone();
            pods.entry(&uid).put(pod, now);
        }
        for uid in loaded.left {
            pods.entry(&uid);
        }
        Ok(pods)
    }

    fn entry(&mut self, uid: &str) -> &mut Pod {
        let folder = self.context.runtime.pod_folder(uid);
        self.pods.entry(uid.to_owned()).or_insert_with(|| {
            let record = Record::load(&folder).unwrap_or_else(|error| {
                // Restart counts begin anew; what runs is adopted all the same.
                log::error!("{}", chain(&error));
                Record::default()
            });
            Pod { saved: record.clone(), record, ..Pod::default() }
        })
    }

    /// Runs until it is dropped. That stops no container.
    pub async fn run(&mut self, wake: &Wake) {
        loop {
            self.take_changes().await;
            self.take_outcomes().await;
            self.take_evictions();
            let retry_at = match self.observe().await {
                Ok(()) => {
                    self.observe_delay = Duration::ZERO;
                    self.health.set(None);
                    self.reconcile().await.min(self.resync_at)
                }
                Err(error) => {
                    self.observe_delay =
                        container::next_delay(self.observe_delay, OBSERVE_FIRST, OBSERVE_MAX);
                    self.health.set(Some(format!("container runtime is down: {}", chain(&error))));
                    SystemTime::now() + self.observe_delay
                }
            };
            let mut pause = retry_at.duration_since(SystemTime::now()).unwrap_or_default();
            if let Some(renewal) = self.context.runtime.volumes.tokens.renew() {
                pause = pause.min(renewal.saturating_duration_since(Instant::now()));
            }
            let timer = async {
                // A clock that is set must not make it wait for ever.
                smol::Timer::after(pause.min(RESYNC)).await;
            };
            let arrivals = self.arrivals.clone();
            let arrived = async {
                arrivals.wait().await;
                true
            };
            let woken = async {
                future::or(wake.wait(), timer).await;
                false
            };
            // Cancel-safe: a timer holds nothing, a wake that is not taken is kept.
            if future::or(arrived, woken).await {
                let now = SystemTime::now();
                self.pods.values_mut().for_each(|pod| pod.take_news(now));
                if self.context.runtime.images.take_archived() {
                    self.pods.values_mut().for_each(|pod| pod.take_images(now));
                }
            }
        }
    }

    /// Applies what the server wants to the disk and to the loop's pods.
    async fn take_changes(&mut self) {
        let (changes, cluster) = self.outbox.take();
        // What the pods name, before the pods.
        let configs = self.outbox.take_configs();
        let volumes = &self.context.runtime.volumes;
        let changed = volumes.configs.apply(configs).await | volumes.tokens.take_news();
        if let Some(cluster) = cluster.filter(|cluster| *cluster != self.cluster) {
            if let Err(error) = save_cluster(&self.folder, &cluster) {
                log::error!("{}: {error}", self.folder.display());
            }
            (self.on_network)(&cluster, &self.context);
            self.cluster = cluster;
            for pod in self.pods.values_mut() {
                pod.sandbox_wait = None;
            }
        }
        for (uid, change) in changes {
            match change {
                Change::Put(..) if self.outbox.is_gone(&uid) => self.say_gone_again(&uid),
                Change::Put(put, text) => match desired::Pod::parse(&text, put.revision) {
                    Ok(pod) if pod.reference.uid == uid => self.put(pod).await,
                    Ok(_) => log::error!("pod {uid} came with another uid in it"),
                    Err(error) => log::error!("pod {}/{}: {}", put.namespace, put.name, chain(&error)),
                },
                Change::Remove => self.remove(&uid).await,
            }
        }
        if changed {
            let now = SystemTime::now();
            self.pods.values_mut().for_each(|pod| pod.take_news(now));
        }
    }

    fn say_gone_again(&self, uid: &str) {
        let reference = PodRef { uid: uid.to_owned(), namespace: String::new(), name: String::new() };
        self.outbox.set_gone(&reference);
    }

    async fn put(&mut self, pod: desired::Pod) {
        let uid = pod.reference.uid.clone();
        self.unreadable.retain(|unreadable| *unreadable != uid);
        self.outbox.set_pod(&pod.reference, pod.revision);
        let before = self.pods.get(&uid).and_then(|known| known.desired.clone());
        if before.as_ref().is_some_and(|before| before.text == pod.text) {
            return; // the node's own report, come back
        }
        let folder = self.context.runtime.pods_folder.clone();
        let saved = pod.clone();
        if let Err(error) = smol::unblock(move || saved.save(&folder, before.as_ref())).await {
            // It runs all the same; after a restart the server says it again.
            log::error!("{}", chain(&error));
        }
        self.entry(&uid).put(pod, SystemTime::now());
    }

    async fn remove(&mut self, uid: &str) {
        self.outbox.forget(uid);
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if let Some(object) = pod.desired.as_ref().and_then(|desired| desired.object().ok()) {
            self.probes.sync(&object, &[], None);
        }
        pod.orphan();
        let (folder, uid) = (self.context.runtime.pods_folder.clone(), uid.to_owned());
        if let Err(error) = smol::unblock(move || desired::remove(&folder, &uid)).await {
            log::error!("{}", chain(&error));
        }
    }

    fn event(&self, uid: &str, event: &Event) {
        let pod = self.pods.get(uid).and_then(|pod| pod.desired.as_ref());
        if let Some(pod) = pod {
            say(&self.outbox, &self.node_name, pod, event);
        }
    }

    fn take_evictions(&mut self) {
        let now = SystemTime::now();
        for eviction in self.evictions.take() {
            let Some(pod) = self.pods.get_mut(&eviction.uid) else { continue };
            let Some(desired) = &pod.desired else { continue };
            let grace = eviction.grace_seconds.min(desired.grace_of_containers);
            if pod.fail(eviction.reason, eviction.message.clone(), grace, now) {
                self.event(&eviction.uid, &Event::warning(eviction.reason, eviction.message));
            }
        }
    }

    async fn take_outcomes(&mut self) {
        while let Ok((uid, outcome)) = self.outcomes.try_recv() {
            match &outcome {
                Outcome::Event(event) => self.event(&uid, event),
                Outcome::Done { .. } => self.keep(&uid).await,
                _ => {}
            }
            if self.settle_outcome(&uid, outcome) {
                if let Some(pod) = self.pods.remove(&uid).and_then(|pod| pod.desired) {
                    // It may have been put once more while its folder was removed.
                    let folder = self.context.runtime.pod_folder(&uid);
                    if let Err(error) = smol::unblock(move || remove_folder(&folder)).await {
                        log::error!("pod {uid}: failed to remove its folder: {error}");
                    }
                    self.outbox.set_gone(&pod.reference);
                }
            }
        }
    }

    /// Writes a pod again that was put while leftovers of its, and the folder with them, were removed.
    async fn keep(&self, uid: &str) {
        let folder = &self.context.runtime.pods_folder;
        let Some(pod) = self.pods.get(uid).and_then(|pod| pod.desired.clone()) else { return };
        if folder.join(uid).join("pod.json").exists() {
            return;
        }
        let folder = folder.clone();
        if let Err(error) = smol::unblock(move || pod.save(&folder, None)).await {
            log::error!("{}", chain(&error));
        }
    }

    /// Looks at all containers and sandboxes. Pods with work under way are left as they are: what was
    /// seen of them may be half done.
    async fn observe(&mut self) -> Result<(), containerd::Error> {
        let now = SystemTime::now();
        let busy: Vec<String> =
            self.pods.iter().filter(|(_, pod)| pod.work.is_some()).map(|(uid, _)| uid.clone()).collect();
        let mut seen = self.context.runtime.observe().await?;
        if now >= self.resync_at || self.resync_at > now + 2 * RESYNC {
            self.resync_at = now + std::mem::replace(&mut self.resync_pause, RESYNC);
            if let Err(error) = shims::end_strays(&self.context.runtime.client).await {
                log::warn!("failed to look for shims that serve nothing: {}", chain(&error));
            }
            match self.context.sandboxes.list() {
                Ok(uids) => seen.extend(
                    uids.into_iter()
                        .filter(|uid| !seen.contains_key(uid))
                        .map(|uid| (uid, Vec::new()))
                        .collect::<Vec<_>>(),
                ),
                Err(error) => log::warn!("{}", chain(&error)),
            }
        }
        seen.retain(|uid, _| desired::is_uid(uid) && !self.unreadable.contains(uid));
        // What no desired pod owns becomes a pod that nobody wants, and is removed.
        for uid in seen.keys() {
            self.entry(uid);
        }
        let oom = std::mem::take(&mut *self.oom.lock().unwrap_or_else(PoisonError::into_inner));
        for (uid, pod) in &mut self.pods {
            pod.oom.extend(oom.iter().filter(|id| pod.live.iter().any(|live| live.id == **id)).cloned());
            if busy.contains(uid) {
                continue;
            }
            pod.live = seen.remove(uid).unwrap_or_default();
            let object = pod.desired.as_ref().and_then(|desired| desired.object().ok());
            if let Some(object) = object.filter(|_| !pod.sandbox_removed) {
                pod.sandbox = self.context.sandboxes.observe(&SandboxSpec::of(&object, &self.cluster.domain));
            }
        }
        Ok(())
    }
}

fn say(outbox: &Outbox, node_name: &str, pod: &desired::Pod, event: &Event) {
    let reference = &pod.reference;
    log::debug!("pod {}/{}: {}", reference.namespace, reference.name, event.message);
    let wanted = event.container.as_ref().and_then(|name| pod.container(name));
    let list = match wanted.map(|wanted| wanted.role) {
        Some(Role::Init | Role::Sidecar) => "initContainers",
        Some(Role::Ephemeral) => "ephemeralContainers",
        Some(Role::Main) | None => "containers",
    };
    outbox.event(event.object(reference, list, node_name, SystemTime::now()));
}

/// What the server said of the cluster, for a start without it.
pub fn load_cluster(folder: &Path) -> Cluster {
    let text = std::fs::read(folder.join("cluster.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn save_cluster(folder: &Path, cluster: &Cluster) -> std::io::Result<()> {
    let text = serde_json::to_vec(cluster)?;
    crate::sys::file::write_atomic(&folder.join("cluster.json"), &text, 0o600)
}
