//! The pod loop: one owner, level-triggered. It takes what the server wants, observes what runs, decides
//! by [`crate::plan::pod`], has the actions applied, and reports. Events merely wake it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_lite::future;
use smol::channel::{self, Receiver};

use super::container::{self, Live};
use super::desired;
use super::event::Event;
use super::outbox::{Change, Cluster, Outbox};
use super::pod::Pod;
use super::record::{Exit, Record};
use super::sandbox::SandboxSpec;
use super::wake::Wake;
use super::work::{Context, Outcome, Work, remove_folder};
use crate::containerd::{self, Client};
use crate::link::PodRef;
use crate::plan::pod::{self as plan, Signalled};
use crate::{Executor, chain};

/// Everything is looked at again after this long, whatever woke the loop or not.
const RESYNC: Duration = Duration::from_secs(120);
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
    observe_delay: Duration,
    on_network: OnNetwork,
    oom: Arc<Mutex<Vec<String>>>,
    _events: smol::Task<()>,
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
}

impl Pods {
    /// Reads the desired pods from the disk. Nothing is collected before that has succeeded.
    pub fn load(parts: Parts, now: SystemTime) -> Result<Pods, desired::Error> {
        let (sender, outcomes) = channel::unbounded();
        let context = Arc::new((parts.context)(sender));
        let loaded = desired::load(&context.runtime.pods_folder)?;
        let oom = Arc::default();
        let watch = watch(context.runtime.client.clone(), parts.wake, Arc::clone(&oom));
        let mut pods = Pods {
            _events: parts.executor.spawn(watch),
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
            observe_delay: Duration::ZERO,
            on_network: parts.on_network,
            oom,
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
            let retry_at = match self.observe().await {
                Ok(()) => {
                    self.observe_delay = Duration::ZERO;
                    self.health.set(None);
                    self.reconcile().await
                }
                Err(error) => {
                    self.observe_delay =
                        container::next_delay(self.observe_delay, OBSERVE_FIRST, OBSERVE_MAX);
                    self.health.set(Some(format!("container runtime is down: {}", chain(&error))));
                    SystemTime::now() + self.observe_delay
                }
            };
            let pause = retry_at.duration_since(SystemTime::now()).unwrap_or_default();
            let timer = async {
                // A clock that is set must not make it wait for ever.
                smol::Timer::after(pause.min(RESYNC)).await;
            };
            // Cancel-safe: a timer holds nothing, a wake that is not taken is kept.
            future::or(wake.wait(), timer).await;
        }
    }

    /// Applies what the server wants to the disk and to the loop's pods.
    async fn take_changes(&mut self) {
        let (changes, cluster) = self.outbox.take();
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
        pod.orphan();
        let (folder, uid) = (self.context.runtime.pods_folder.clone(), uid.to_owned());
        if let Err(error) = smol::unblock(move || desired::remove(&folder, &uid)).await {
            log::error!("{}", chain(&error));
        }
    }

    fn event(&self, uid: &str, event: &Event) {
        let pod = self.pods.get(uid).and_then(|pod| pod.desired.as_ref());
        if let Some(pod) = pod {
            say(&self.outbox, &self.node_name, &pod.reference, event);
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

    /// Returns whether the pod is gone.
    fn settle_outcome(&mut self, uid: &str, outcome: Outcome) -> bool {
        let now = SystemTime::now();
        let Some(pod) = self.pods.get_mut(uid) else { return false };
        match outcome {
            Outcome::Event(_) => {}
            Outcome::Signalled { id, kill } => {
                pod.signalled.insert(id, Signalled { kill, at: now });
            }
            Outcome::SandboxReady(sandbox) => {
                pod.sandbox_wait = None;
                (pod.sandbox, pod.sandbox_removed) = (Some(sandbox), false);
            }
            Outcome::SandboxFailed { message } => {
                pod.wait_for_sandbox(message, now);
                // The whole node may lack a network.
                self.health.1.wake();
            }
            Outcome::SandboxRemoved => (pod.sandbox, pod.sandbox_removed) = (None, true),
            Outcome::Started { name, attempt, back_off } => {
                pod.waits.remove(&name);
                pod.live.push(Live::started(&name, &attempt));
                pod.record.containers.entry(name).or_default().started(attempt, back_off);
            }
            Outcome::NotStarted { name, mut attempt, message, back_off } => {
                attempt.exit = Some(Exit::not_started(message, now));
                pod.waits.remove(&name);
                pod.record.containers.entry(name).or_default().started(attempt, back_off);
            }
            Outcome::Waits { name, reason, message } => pod.wait_for_container(&name, reason, message, now),
            Outcome::Failed { message } => pod.wait_for_removal(message, now),
            Outcome::TornDown if pod.is_wanted() => pod.begin_anew(),
            Outcome::TornDown => return true,
            Outcome::Done { failed } => {
                pod.work = None;
                if !failed {
                    pod.removal_wait = None;
                }
            }
        }
        false
    }

    /// Looks at all containers and sandboxes. Pods with work under way are left as they are: what was
    /// seen of them may be half done.
    async fn observe(&mut self) -> Result<(), containerd::Error> {
        let now = SystemTime::now();
        let busy: Vec<String> =
            self.pods.iter().filter(|(_, pod)| pod.work.is_some()).map(|(uid, _)| uid.clone()).collect();
        let mut seen = container::observe(&self.context.runtime.client).await?;
        if now >= self.resync_at || self.resync_at > now + 2 * RESYNC {
            self.resync_at = now + RESYNC;
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

    /// Decides for each pod, has it done, and reports. Returns when to look again.
    async fn reconcile(&mut self) -> SystemTime {
        let now = SystemTime::now();
        let mut retry_at = now + RESYNC;
        let host_ips: Vec<IpAddr> =
            self.node_ip.or_else(crate::sys::host::default_address).into_iter().collect();
        let uids: Vec<String> = self.pods.keys().cloned().collect();
        for uid in uids {
            let folder = self.context.runtime.pod_folder(&uid);
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            let object = pod.desired.as_ref().and_then(|desired| desired.object().ok());
            let mut events = Vec::new();
            if pod.work.is_none() {
                events = pod.settle(&folder, now);
                let plan = plan::plan(pod.desired_plan().as_ref(), &pod.observed(), now);
                retry_at = plan.retry_at.into_iter().fold(retry_at, SystemTime::min);
                if !plan.actions.is_empty() {
                    log::debug!("pod {uid}: {:?}", plan.actions);
                    pod.is_torn_down = plan.actions.contains(&plan::Action::TearDown);
                    if plan.actions.iter().any(|action| matches!(action, plan::Action::Clear { .. })) {
                        // On disk before it is acted upon: what is cleared can't be asked how it ended.
                        save(pod, &folder).await;
                    }
                    let work = Work {
                        context: Arc::clone(&self.context),
                        uid: uid.clone(),
                        actions: plan.actions,
                        pod: object.clone(),
                        sandbox: pod.sandbox.clone(),
                        containers: pod
                            .live
                            .iter()
                            .map(|live| (live.id.clone(), live.stop_signal, live.name.clone()))
                            .collect(),
                        signalled: pod.signalled.keys().cloned().collect(),
                        host_ips: host_ips.clone(),
                        cluster: self.cluster.clone(),
                        has_failed: false,
                    };
                    pod.work = Some(self.executor.spawn(work.run()));
                }
            }
            let reference = pod.desired.as_ref().map(|desired| desired.reference.clone());
            // Before the status: whoever sees that finds its reason.
            for (event, reference) in events.iter().zip(reference.iter().cycle()) {
                say(&self.outbox, &self.node_name, reference, event);
            }
            if let (Some(object), Some(reference)) = (object, reference) {
                let (status, changes_at) = pod.status(&object, &host_ips, now);
                retry_at = changes_at.into_iter().fold(retry_at, SystemTime::min);
                save(pod, &folder).await;
                self.outbox.set_status(&reference, status);
            }
        }
        retry_at
    }
}

fn say(outbox: &Outbox, node_name: &str, pod: &PodRef, event: &Event) {
    log::debug!("pod {}/{}: {}", pod.namespace, pod.name, event.message);
    outbox.event(event.object(pod, node_name, SystemTime::now()));
}

/// Writes the pod's record if it has changed.
async fn save(pod: &mut Pod, folder: &Path) {
    // Its folder is just being removed, and would be there again.
    let is_torn_down = pod.work.is_some() && pod.is_torn_down;
    if pod.record == pod.saved || pod.desired.is_none() || is_torn_down {
        return;
    }
    let (record, path) = (pod.record.clone(), folder.to_path_buf());
    match smol::unblock(move || record.save(&path).map(|()| record)).await {
        Ok(record) => pod.saved = record,
        Err(error) => log::error!("{}", chain(&error)),
    }
}

/// Wakes the loop for each event of the runtime, for ever.
async fn watch(client: Client, wake: Wake, oom: Arc<Mutex<Vec<String>>>) {
    let mut lost = false;
    loop {
        let events = client.events().await;
        // That nothing answers is seen at once, not only at the next look.
        if !std::mem::replace(&mut lost, events.is_err()) && lost {
            wake.wake();
        }
        if let Ok(mut events) = events {
            // Whatever happened before the subscription is seen now.
            wake.wake();
            while let Ok(event) = events.next().await {
                match event {
                    containerd::Event::TaskExit { container_id, id, .. } if container_id == id => wake.wake(),
                    containerd::Event::TaskOom { container_id } => {
                        let mut hit = oom.lock().unwrap_or_else(PoisonError::into_inner);
                        if hit.len() < 1024 {
                            hit.push(container_id);
                        }
                        drop(hit);
                        wake.wake();
                    }
                    _ => {}
                }
            }
        }
        smol::Timer::after(Duration::from_secs(1)).await;
    }
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
