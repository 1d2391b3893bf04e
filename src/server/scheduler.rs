//! The scheduler loop: gives pods without a node one. Woken by changes only: a new pod, a node that
//! changed in what matters, a pod that freed room. The decision itself is `plan::schedule`, on few facts of each pod
//! that the watches keep true.

mod write;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use smol::future::or;

use crate::Executor;
use crate::api::kinds::{
    NAMESPACE, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, POD_DISRUPTION_BUDGET, STORAGE_CLASS,
};
use crate::api::object::NO_ACCOUNT;
use crate::api::{Object, Reason, Status};
use crate::plan::control::pods;
use crate::plan::schedule::{self, Budget, Claim, Cluster, Decision, Facts, Refused, preempt, schedule};
use crate::plan::volume;
use crate::server::failures::Failures;
use crate::server::health::Working;
use crate::server::registry::{
    Change, From, Registry, Selectors, Subresource, Watch, WatchEvent, WriteOptions,
};
use write::Verdict;

/// The name that pods ask for, or leave out.
const NAME: &str = "default-scheduler";
/// How long the loop waits after a write that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// So many pods are decided on before others get their turn.
const TURN: usize = 16;

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, working: Working, executor: &Executor) -> smol::Task<()> {
    let shared = executor.clone();
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            // Ends when its watches have fallen behind, or with a failure: everything is looked at anew.
            let mut scheduler = Scheduler::new(registry.clone(), shared.clone());
            if let Err(status) = scheduler.run(&working, &mut failures).await {
                if status.reason != Reason::Expired {
                    working.set(false);
                }
                failures.rest("schedule", &status).await;
            }
        }
    })
}

/// A pod that waits for a node.
struct Pending {
    /// The revision at which it came: the order of those that are equally important.
    since: u64,
    priority: i64,
    /// The newest revision that was looked at; our own writes are not news.
    seen: u64,
    /// What its condition and event say.
    reported: String,
}

struct Scheduler {
    registry: Arc<Registry>,
    executor: Executor,
    cluster: Cluster,
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
    Namespace(Result<WatchEvent, Status>),
    Storage(Result<WatchEvent, Status>),
    Retry,
}

impl Scheduler {
    fn new(registry: Arc<Registry>, executor: Executor) -> Self {
        let (cluster, pending) = (Cluster::default(), BTreeMap::new());
        Self { registry, executor, cluster, pending, news: false, failed: false }
    }

    async fn run(&mut self, working: &Working, failures: &mut Failures) -> Result<(), Status> {
        let mut pods = self.registry.watch(POD, None, Selectors::default(), From::Now)?;
        let mut nodes = self.registry.watch(NODE, None, Selectors::default(), From::Now)?;
        let mut namespaces = self.registry.watch(NAMESPACE, None, Selectors::default(), From::Now)?;
        let mut claims =
            self.registry.watch(PERSISTENT_VOLUME_CLAIM, None, Selectors::default(), From::Now)?;
        let mut volumes = self.registry.watch(PERSISTENT_VOLUME, None, Selectors::default(), From::Now)?;
        loop {
            self.drain(&mut pods, &mut nodes, &mut namespaces)?;
            if self.news && !self.pending.is_empty() {
                (self.news, self.failed) = (false, false);
                self.round().await?;
                working.set(true);
                continue;
            }
            self.news = false;
            working.set(true);
            failures.end();
            // All of them are cancel-safe.
            let changed =
                or(async { Wake::Pod(pods.next().await) }, async { Wake::Node(nodes.next().await) });
            let storage = or(claims.next(), volumes.next());
            let others = or(async { Wake::Storage(storage.await) }, async {
                Wake::Namespace(namespaces.next().await)
            });
            let changed = or(changed, others);
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
                Wake::Namespace(event) => self.namespace(&event?)?,
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
    fn drain(&mut self, pods: &mut Watch, nodes: &mut Watch, namespaces: &mut Watch) -> Result<(), Status> {
        while let Some(event) = namespaces.try_next()? {
            self.namespace(&event)?;
        }
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
        self.news |= match event {
            WatchEvent::Deleted(_) => {
                self.cluster.remove_node(object.name());
                true
            }
            // A heartbeat changes nothing that counts here.
            _ => self.cluster.set_node(&object),
        };
        Ok(())
    }

    fn namespace(&mut self, event: &WatchEvent) -> Result<(), Status> {
        let object = event.item().object()?;
        match event {
            WatchEvent::Deleted(_) => self.cluster.remove_namespace(object.name()),
            _ => self.cluster.set_namespace(&object),
        }
        Ok(())
    }

    fn pod(&mut self, event: &WatchEvent) -> Result<(), Status> {
        let item = event.item();
        let pod = item.part(NO_ACCOUNT)?;
        let key = (pod.namespace().to_owned(), pod.name().to_owned());
        let gone = matches!(event, WatchEvent::Deleted(_));
        // What was bound meanwhile is known as it is now.
        if !gone && self.pending.get(&key).is_some_and(|pending| item.revision < pending.seen) {
            return Ok(());
        }
        let node = pod.str_at("/spec/nodeName");
        if gone || !waits(&pod) {
            self.pending.remove(&key);
            let facts = Facts::of(&pod);
            self.cluster.forget(facts.key());
            // A pod that is gone or has ended made room; one that came may be what others are to be near.
            self.news |= match gone || ended(&pod) {
                true => self.cluster.remove(facts.key()),
                false => !node.is_empty() && self.cluster.place(node, Arc::new(facts)),
            };
            return Ok(());
        }
        let pending = self.pending.entry(key).or_insert_with(|| {
            let reported = pod.condition("PodScheduled").map(|condition| condition["message"].clone());
            let reported = reported.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            let priority = pod.i64_at("/spec/priority").unwrap_or(0);
            if let node @ Some(_) =
                Some(pod.str_at("/status/nominatedNodeName")).filter(|node| !node.is_empty())
            {
                self.cluster.nominate(&schedule::Pod::of(&pod), node);
            }
            Pending { since: item.revision, priority, seen: 0, reported }
        });
        if item.revision > pending.seen {
            pending.seen = item.revision;
            self.news = true;
        }
        Ok(())
    }

    /// Decides on all waiting pods, the more important and then those that came first before others, and then writes.
    async fn round(&mut self) -> Result<(), Status> {
        let order = |pending: &Pending| (Reverse(pending.priority), pending.since);
        let mut waiting: Vec<_> =
            self.pending.iter().map(|(key, pending)| (order(pending), key.clone())).collect();
        waiting.sort_unstable();
        let mut tasks = Vec::new();
        let mut budgets: Option<Vec<Budget>> = None;
        let mut refused_before: Option<(schedule::Pod, String)> = None;
        for (index, (_, key)) in waiting.into_iter().enumerate() {
            if index % TURN == TURN - 1 {
                smol::future::yield_now().await;
            }
            let Ok(pod) = self.registry.get(POD, &key.0, &key.1) else {
                continue; // its deletion is on its way here
            };
            if !waits(&pod) {
                continue;
            }
            let needs = schedule::Pod::of(&pod).with_claims(self.claims(&pod)?);
            let known = refused_before.as_ref().filter(|(other, _)| needs.resembles(other));
            let verdict = match known {
                Some((_, message)) => Verdict::waits(message.clone()),
                None => match schedule(&needs, &self.cluster) {
                    Decision::Bind(chosen) if needs.waits_for_volumes() => {
                        // The pod follows once they are bound.
                        self.select_node(&pod, &chosen).await?;
                        continue;
                    }
                    Decision::Bind(node) => Verdict::Bind(node),
                    Decision::Unschedulable(refused) => self.make_room(&needs, refused, &mut budgets)?,
                },
            };
            match &verdict {
                Verdict::Bind(node) => drop(self.cluster.place(node, needs.facts().clone())),
                Verdict::Waits { nominated, victims, message } => {
                    if let Some(nominated) = nominated {
                        self.cluster
                            .nominate(&needs, Some(nominated.as_str()).filter(|node| !node.is_empty()));
                    }
                    victims.iter().for_each(|victim| self.cluster.end(victim));
                    let told = self.pending.get(&key).is_some_and(|pending| pending.reported == *message);
                    if victims.is_empty() {
                        refused_before = Some((needs.clone(), message.clone()));
                        if told {
                            continue;
                        }
                    }
                }
            }
            // Together, so that they share an fsync.
            let registry = self.registry.clone();
            let task = self.executor.spawn(async move {
                let written = write::carry_out(&registry, &pod, &verdict).await;
                (written, matches!(verdict, Verdict::Bind(_)))
            });
            tasks.push((key, needs, task));
        }
        for (key, needs, task) in tasks {
            let (written, binds) = task.await;
            if binds && written.is_err() {
                self.cluster.remove(needs.facts().key());
            }
            match written {
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

    /// What becomes of a pod that fits nowhere: others may go for it.
    fn make_room(
        &self,
        needs: &schedule::Pod,
        refused: Refused,
        budgets: &mut Option<Vec<Budget>>,
    ) -> Result<Verdict, Status> {
        if !refused.has_nodes {
            return Ok(Verdict::waits(refused.message));
        }
        let budgets = match budgets {
            Some(budgets) => budgets,
            None => budgets
                .insert(self.registry.objects(POD_DISRUPTION_BUDGET, None)?.iter().map(Budget::of).collect()),
        };
        Ok(match preempt(needs, &self.cluster, &refused, budgets) {
            Ok(preemption) => Verdict::Waits {
                message: refused.message,
                nominated: Some(preemption.node),
                victims: preemption.victims,
            },
            Err(why) => {
                // One that waits for those who go keeps its place.
                let nominated = (!why.starts_with("not eligible")).then(String::new);
                let message = format!("{} preemption: {why}", refused.message);
                Verdict::Waits { message, nominated, victims: Vec::new() }
            }
        })
    }

    /// What is known of the claims that a pod mounts.
    fn claims(&self, pod: &Object) -> Result<Vec<Claim>, Status> {
        let mut names = claim_names(pod).peekable();
        if names.peek().is_none() {
            return Ok(Vec::new());
        }
        let (classes, volumes) =
            (self.registry.objects(STORAGE_CLASS, None)?, self.registry.objects(PERSISTENT_VOLUME, None)?);
        let claim = |name: &str| {
            let claim = self.registry.get(PERSISTENT_VOLUME_CLAIM, pod.namespace(), name).ok();
            let chosen = claim.as_ref().and_then(|claim| claim.annotation(volume::SELECTED_NODE));
            let chosen = chosen.and_then(|node| self.registry.get(NODE, "", node).ok());
            let nodes = chosen.as_slice();
            Claim::of(name, claim.as_ref(), &volume::Cluster { classes: &classes, volumes: &volumes, nodes })
        };
        Ok(names.map(claim).collect())
    }

    /// Says on the pod's claims that are not bound yet where the pod will be: the claims loop acts on it.
    async fn select_node(&self, pod: &Object, node: &str) -> Result<(), Status> {
        for name in claim_names(pod) {
            let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
            let select = |claim: &mut Object| {
                let is_said = claim.annotation(volume::SELECTED_NODE) == Some(node);
                if is_said || !claim.str_at("/spec/volumeName").is_empty() {
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
}

/// Whether a pod is this scheduler's to place.
fn waits(pod: &Object) -> bool {
    pod.str_at("/spec/nodeName").is_empty()
        && pod.deletion_timestamp().is_none()
        && matches!(pod.str_at("/spec/schedulerName"), "" | NAME)
        && pod.array_at("/spec/schedulingGates").is_empty()
        && !ended(pod)
}

/// The PersistentVolumeClaims that a pod mounts.
fn claim_names(pod: &Object) -> impl Iterator<Item = &str> {
    let volumes = pod.array_at("/spec/volumes").iter();
    volumes.filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
}

fn ended(pod: &Object) -> bool {
    pods::has_ended(pod)
}
