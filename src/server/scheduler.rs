//! The scheduler loop: gives pods without a node one. Woken by changes only: a new pod, a node that
//! changed in what matters, a pod that freed room. The decision itself is `plan::schedule`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use smol::future::or;

use crate::Executor;
use crate::api::kinds::{NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS};
use crate::api::{Kind, Object, Reason, Status, time};
use crate::plan::schedule::{self, Claim, Decision, schedule};
use crate::plan::volume;
use crate::server::events::{self, Type};
use crate::server::registry::{
    Change, From, Page, Registry, Selectors, Subresource, Watch, WatchEvent, WriteOptions,
};
use crate::store::Durability;

/// The name that pods ask for, or leave out.
const NAME: &str = "default-scheduler";
/// How long the loop waits after a write that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let shared = executor.clone();
    executor.spawn(async move {
        loop {
            // Ends when its watches have fallen behind, or with a failure: everything is looked at anew.
            let mut scheduler = Scheduler::new(registry.clone(), shared.clone());
            match scheduler.run().await {
                Err(status) if status.reason != Reason::Expired => {
                    log::warn!("the scheduler starts again: {status}");
                    smol::Timer::after(PAUSE).await;
                }
                _ => {}
            }
        }
    })
}

/// A pod that waits for a node.
struct Pending {
    /// The revision at which it came: the order.
    since: u64,
    /// The newest revision that was looked at; our own writes are not news.
    seen: u64,
    /// What its condition and event say.
    reported: String,
}

struct Scheduler {
    registry: Arc<Registry>,
    executor: Executor,
    /// Empty nodes, by name.
    nodes: BTreeMap<String, schedule::Node>,
    /// By namespace and name.
    pending: BTreeMap<(String, String), Pending>,
    /// Something changed that could give a waiting pod a node.
    news: bool,
    /// A write failed; it is tried again even if nothing changes.
    failed: bool,
}

enum Wake {
    Pod(Result<WatchEvent, Status>),
    Node(Result<WatchEvent, Status>),
    Storage(Result<WatchEvent, Status>),
    Retry,
}

impl Scheduler {
    fn new(registry: Arc<Registry>, executor: Executor) -> Self {
        let (nodes, pending) = (BTreeMap::new(), BTreeMap::new());
        Self { registry, executor, nodes, pending, news: false, failed: false }
    }

    async fn run(&mut self) -> Result<(), Status> {
        let mut pods = self.registry.watch(POD, None, Selectors::default(), From::Now)?;
        let mut nodes = self.registry.watch(NODE, None, Selectors::default(), From::Now)?;
        let mut claims =
            self.registry.watch(PERSISTENT_VOLUME_CLAIM, None, Selectors::default(), From::Now)?;
        let mut volumes = self.registry.watch(PERSISTENT_VOLUME, None, Selectors::default(), From::Now)?;
        loop {
            self.drain(&mut pods, &mut nodes)?;
            if self.news && !self.pending.is_empty() {
                (self.news, self.failed) = (false, false);
                self.round().await?;
                continue;
            }
            self.news = false;
            // All of them are cancel-safe.
            let changed =
                or(async { Wake::Pod(pods.next().await) }, async { Wake::Node(nodes.next().await) });
            let storage = or(claims.next(), volumes.next());
            let changed = or(changed, async { Wake::Storage(storage.await) });
            let wake = if self.failed {
                let retry = async {
                    smol::Timer::after(PAUSE).await;
                    Wake::Retry
                };
                or(changed, retry).await
            } else {
                changed.await
            };
            match wake {
                Wake::Pod(event) => self.pod(&event?)?,
                Wake::Node(event) => self.node(&event?)?,
                // A claim or a volume may be what a pod waits for.
                Wake::Storage(event) => {
                    event?;
                    self.news = true;
                }
                Wake::Retry => self.news = true,
            }
        }
    }

    /// Takes in everything that has happened so far, so that one round answers all of it.
    fn drain(&mut self, pods: &mut Watch, nodes: &mut Watch) -> Result<(), Status> {
        while let Some(event) = nodes.try_next()? {
            self.node(&event)?;
        }
        while let Some(event) = pods.try_next()? {
            self.pod(&event)?;
        }
        Ok(())
    }

    fn node(&mut self, event: &WatchEvent) -> Result<(), Status> {
        let object = event.item().object()?;
        let name = object.name().to_owned();
        self.news |= match event {
            WatchEvent::Deleted(_) => self.nodes.remove(&name).is_some(),
            _ => {
                // A heartbeat changes nothing that counts here.
                let node = schedule::Node::of(&object);
                self.nodes.insert(name, node.clone()).is_none_or(|before| before != node)
            }
        };
        Ok(())
    }

    fn pod(&mut self, event: &WatchEvent) -> Result<(), Status> {
        let item = event.item();
        let pod = item.object()?;
        let key = (pod.namespace().to_owned(), pod.name().to_owned());
        let gone = matches!(event, WatchEvent::Deleted(_));
        if gone || !waits(&pod) {
            self.pending.remove(&key);
            // A pod that has a node and is gone or has ended made room.
            self.news |= !pod.str_at("/spec/nodeName").is_empty() && (gone || ended(&pod));
            return Ok(());
        }
        let pending = self.pending.entry(key).or_insert_with(|| {
            let reported = condition(&pod).map(|condition| condition["message"].clone());
            let reported = reported.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            Pending { since: item.revision, seen: 0, reported }
        });
        if item.revision > pending.seen {
            pending.seen = item.revision;
            self.news = true;
        }
        Ok(())
    }

    /// Decides on all waiting pods, those that came first before others, and then writes.
    async fn round(&mut self) -> Result<(), Status> {
        let mut nodes: Vec<_> = self.nodes.values().cloned().collect();
        self.take_room(&mut nodes)?;
        let mut waiting: Vec<_> =
            self.pending.iter().map(|(key, pending)| (pending.since, key.clone())).collect();
        waiting.sort_unstable();
        let mut tasks = Vec::new();
        for (_, key) in waiting {
            let Ok(pod) = self.registry.get(POD, &key.0, &key.1) else {
                continue; // its deletion is on its way here
            };
            if !waits(&pod) {
                continue;
            }
            let needs = schedule::Pod::of(&pod).with_claims(self.claims(&pod)?);
            let decision = schedule(&needs, &nodes);
            if let (Decision::Bind(chosen), true) = (&decision, needs.waits_for_volumes()) {
                // The pod follows once they are bound.
                nodes.iter_mut().filter(|node| node.name() == chosen).for_each(|node| node.take(&needs));
                self.select_node(&pod, chosen).await?;
                continue;
            }
            match &decision {
                Decision::Bind(name) => {
                    nodes.iter_mut().filter(|node| node.name() == name).for_each(|node| node.take(&needs));
                }
                Decision::Unschedulable(message) => {
                    if self.pending.get(&key).is_some_and(|pending| pending.reported == *message) {
                        continue;
                    }
                }
            }
            // Together, so that they share an fsync.
            let registry = self.registry.clone();
            let task = self.executor.spawn(async move { carry_out(&registry, &pod, &decision).await });
            tasks.push((key, task));
        }
        for (key, task) in tasks {
            match task.await {
                Ok((revision, reported)) => {
                    if let Some(pending) = self.pending.get_mut(&key) {
                        (pending.seen, pending.reported) = (revision, reported);
                    }
                }
                // It changed meanwhile: a change that comes here by itself.
                Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => {}
                Err(status) => {
                    log::warn!("failed to schedule {}/{}: {status}", key.0, key.1);
                    self.failed = true;
                }
            }
        }
        Ok(())
    }

    /// What is known of the claims that a pod mounts.
    fn claims(&self, pod: &Object) -> Result<Vec<Claim>, Status> {
        let mut names = claim_names(pod).peekable();
        if names.peek().is_none() {
            return Ok(Vec::new());
        }
        let all = |kind: &'static Kind| -> Result<Vec<Object>, Status> {
            let list = self.registry.list(kind, None, &Selectors::default(), &Page::default())?;
            list.items.iter().map(|item| item.object()).collect()
        };
        let (classes, volumes) = (all(STORAGE_CLASS)?, all(PERSISTENT_VOLUME)?);
        let cluster = volume::Cluster { classes: &classes, volumes: &volumes, nodes: &[] };
        let claim = |name: &str| self.registry.get(PERSISTENT_VOLUME_CLAIM, pod.namespace(), name).ok();
        Ok(names.map(|name| Claim::of(name, claim(name).as_ref(), &cluster)).collect())
    }

    /// Says on the pod's claims that are not bound yet where the pod will be: the claims loop acts on it.
    async fn select_node(&self, pod: &Object, node: &str) -> Result<(), Status> {
        for name in claim_names(pod) {
            let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
            let select = |claim: &mut Object| {
                if !claim.str_at("/spec/volumeName").is_empty() {
                    return Ok(Change::Keep);
                }
                let mut annotations = claim.annotations().cloned().unwrap_or_default();
                annotations.insert(volume::SELECTED_NODE.to_owned(), node.into());
                claim.set("/metadata/annotations", annotations);
                Ok(Change::Write)
            };
            match self.registry.modify(PERSISTENT_VOLUME_CLAIM, pod.namespace(), name, options, select).await
            {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes from the nodes what the pods on them need.
    fn take_room(&self, nodes: &mut [schedule::Node]) -> Result<(), Status> {
        for item in self.registry.list(POD, None, &Selectors::default(), &Page::default())?.items {
            let pod = item.object()?;
            let place = nodes.iter_mut().find(|node| node.name() == pod.str_at("/spec/nodeName"));
            if let Some(node) = place.filter(|_| !ended(&pod)) {
                node.take(&schedule::Pod::of(&pod));
            }
        }
        Ok(())
    }
}

/// Whether a pod is this scheduler's to place.
fn waits(pod: &Object) -> bool {
    pod.str_at("/spec/nodeName").is_empty()
        && pod.deletion_timestamp().is_none()
        && matches!(pod.str_at("/spec/schedulerName"), "" | NAME)
        && !ended(pod)
}

/// The PersistentVolumeClaims that a pod mounts.
fn claim_names(pod: &Object) -> impl Iterator<Item = &str> {
    let volumes = pod.array_at("/spec/volumes").iter();
    volumes.filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
}

fn ended(pod: &Object) -> bool {
    matches!(pod.str_at("/status/phase"), "Succeeded" | "Failed")
}

fn condition(pod: &Object) -> Option<&Value> {
    pod.array_at("/status/conditions").iter().find(|condition| condition["type"] == "PodScheduled")
}

/// Writes a decision down: the pod's node or its condition, and the event. Returns the pod's revision and what
/// was reported.
async fn carry_out(registry: &Registry, pod: &Object, decision: &Decision) -> Result<(u64, String), Status> {
    let options = WriteOptions {
        subresource: Subresource::Internal,
        // A condition can be said again.
        durability: match decision {
            Decision::Bind(_) => Durability::Synced,
            Decision::Unschedulable(_) => Durability::Lazy,
        },
        ..WriteOptions::DEFAULT
    };
    let (namespace, name) = (pod.namespace(), pod.name());
    let written = registry
        .modify(POD, namespace, name, options, |current| {
            if current.uid() != pod.uid() || !waits(current) {
                return Err(Status::conflict(POD, name, "the pod is no longer waiting for a node"));
            }
            match decision {
                Decision::Bind(node) => {
                    current.set("/spec/nodeName", node.as_str());
                    set_condition(current, json!({"type": "PodScheduled", "status": "True"}));
                }
                Decision::Unschedulable(message) => set_condition(
                    current,
                    json!({
                        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message
                    }),
                ),
            }
            Ok(Change::Write)
        })
        .await?;
    let (kind, reason, message) = match decision {
        Decision::Bind(node) => {
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            (Type::Normal, "Scheduled", message)
        }
        Decision::Unschedulable(message) => (Type::Warning, "FailedScheduling", message.clone()),
    };
    if let Err(status) = events::record(registry, &written, kind, reason, &message, NAME).await {
        log::debug!("failed to record the event {reason} of {namespace}/{name}: {status}");
    }
    Ok((written.resource_version().unwrap_or(0), message))
}

/// Puts the condition in the place of the one of its type. The time of its transition is kept while its
/// status stays.
fn set_condition(pod: &mut Object, mut condition: Value) {
    let mut conditions = pod.array_at("/status/conditions").to_vec();
    let before = conditions.iter().position(|other| other["type"] == condition["type"]);
    let kept = before.map(|index| &conditions[index]).filter(|old| old["status"] == condition["status"]);
    condition["lastTransitionTime"] = kept
        .map(|old| old["lastTransitionTime"].clone())
        .unwrap_or_else(|| time::format(SystemTime::now()).into());
    match before {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    pod.set("/status/conditions", conditions);
}
