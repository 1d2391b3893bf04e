//! The node lifecycle loop: taints nodes by their conditions, ends pods that do not tolerate a node's taints, and marks
//! those of nodes that nothing is heard of. Woken by changes only; pods are read only while a node has taints that evict
//! or is unreachable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smol::future::or;

use super::disrupt::disrupt;
use crate::Executor;
use crate::api::kinds::{NODE, POD};
use crate::api::{Object, Reason, Status};
use crate::plan::node_lifecycle::{self, Node, Pace, State};
use crate::plan::schedule::Taint;
use crate::server::events::{self, Type};
use crate::server::failures::Failures;
use crate::server::registry::{Change, From, Registry, Selectors, WatchEvent, WriteOptions};
use crate::store::{self, Durability};

/// So many pods are looked at before others get their turn.
const TURN: usize = 64;
/// A pod that could not be evicted is tried again after this long.
const RETRY: Duration = Duration::from_secs(30);
const LAZY: WriteOptions = WriteOptions { durability: Durability::Lazy, ..WriteOptions::STATUS };

/// Runs the loop until the task is dropped. `keep_pods`: nodes keep their pods while they are away, unless they say.
pub fn run(registry: Arc<Registry>, keep_pods: bool, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        let (nodes, seen, pods) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (pace, paced) = (Pace::default(), None);
        let mut lifecycle = Lifecycle { registry, keep_pods, nodes, pace, paced, seen, pods, news: true };
        loop {
            // Ends when its watches have fallen behind, or with a failure: everything is looked at anew.
            lifecycle.nodes.clear();
            lifecycle.news = true;
            if let Err(status) = lifecycle.follow(&mut failures).await {
                failures.rest("look after the nodes", &status).await;
            }
        }
    })
}

struct Lifecycle {
    registry: Arc<Registry>,
    keep_pods: bool,
    nodes: BTreeMap<String, Node>,
    pace: Pace,
    /// When another node may begin to evict its pods.
    paced: Option<Instant>,
    /// When the taints that evict were first seen, by node.
    seen: BTreeMap<String, Vec<(Taint, Instant)>>,
    /// When pods of such nodes were first seen, by uid.
    pods: BTreeMap<String, Instant>,
    /// Pods are to be looked at.
    news: bool,
}

enum Wake {
    Node(Result<WatchEvent, Status>),
    Pod(Result<store::Event, store::Error>),
    Due,
}

impl Lifecycle {
    async fn follow(&mut self, failures: &mut Failures) -> Result<(), Status> {
        let behind = |_| Status::expired("the node lifecycle loop has fallen behind");
        let store = self.registry.store().clone();
        let mut pods = store.watch(&POD.prefix(None), store.revision()).map_err(behind)?;
        let mut nodes = self.registry.watch(NODE, None, Selectors::default(), From::Now)?;
        let mut due: Option<Instant> = None;
        loop {
            while let Some(event) = nodes.try_next()? {
                self.node(&event)?;
            }
            while let Some(event) = pods.try_next().map_err(behind)? {
                self.pod(&event);
            }
            if self.taint().await? {
                continue; // what was written is about to be seen
            }
            if std::mem::take(&mut self.news) {
                due = self.look(Instant::now()).await?;
                continue;
            }
            failures.end();
            let next = due.into_iter().chain(self.paced).min();
            let timer = async {
                match next {
                    Some(due) => _ = smol::Timer::at(due).await,
                    None => smol::future::pending().await,
                }
                Wake::Due
            };
            // All three are cancel-safe.
            let changed =
                or(async { Wake::Node(nodes.next().await) }, async { Wake::Pod(pods.next().await) });
            match or(changed, timer).await {
                Wake::Node(event) => self.node(&event?)?,
                Wake::Pod(event) => self.pod(&event.map_err(behind)?),
                // Otherwise it is time for the taints of another node.
                Wake::Due => self.news = due.is_some_and(|due| due <= Instant::now()),
            }
        }
    }

    fn node(&mut self, event: &WatchEvent) -> Result<(), Status> {
        let object = event.item().object()?;
        let name = object.name().to_owned();
        if matches!(event, WatchEvent::Deleted(_)) {
            self.nodes.remove(&name);
            self.seen.remove(&name);
            return Ok(());
        }
        let node = Node::of(&object);
        if self.nodes.get(&name) == Some(&node) {
            return Ok(());
        }
        let before = self.seen.remove(&name).unwrap_or_default();
        let since = |taint: &Taint| {
            let known = before.iter().find(|(known, _)| known == taint);
            known.map_or_else(Instant::now, |(_, since)| *since)
        };
        let seen: Vec<_> = node.taints.iter().map(|taint| (taint.clone(), since(taint))).collect();
        self.news |= !seen.is_empty() || !before.is_empty() || node.state == State::Unreachable;
        if !seen.is_empty() {
            self.seen.insert(name.clone(), seen);
        }
        self.nodes.insert(name, node);
        Ok(())
    }

    /// Whether the pods of a node matter.
    fn concerns(&self, node: &str) -> bool {
        self.seen.contains_key(node)
            || self.nodes.get(node).is_some_and(|node| node.state == State::Unreachable)
    }

    fn is_quiet(&self) -> bool {
        self.seen.is_empty() && self.nodes.values().all(|node| node.state != State::Unreachable)
    }

    fn pod(&mut self, event: &store::Event) {
        if self.news || self.is_quiet() {
            return;
        }
        let pod = event.new.as_deref().and_then(|text| Object::from_slice(text).ok());
        self.news |= pod.is_some_and(|pod| self.concerns(pod.str_at("/spec/nodeName")));
    }

    /// Brings the nodes' taints up to date. True if one was written.
    async fn taint(&mut self) -> Result<bool, Status> {
        let changes = node_lifecycle::changes(&self.nodes, self.keep_pods, &mut self.pace, Instant::now());
        self.paced = changes.again;
        let changes: Vec<(String, Option<bool>)> =
            changes.nodes.into_iter().map(|(name, evicts)| (name.to_owned(), evicts)).collect();
        let mut written = false;
        for (name, evicts) in changes {
            let mut changed = false;
            let change = |node: &mut Object| {
                let before = node.at("/spec/taints").cloned();
                node_lifecycle::taint(node, evicts, SystemTime::now());
                changed = node.at("/spec/taints") != before.as_ref();
                Ok(if changed { Change::Write } else { Change::Keep })
            };
            match self.registry.modify(NODE, "", &name, LAZY, change).await {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => written |= changed,
            }
        }
        Ok(written)
    }

    /// Looks at the pods of the nodes that are not well; returns when the next one must go.
    async fn look(&mut self, now: Instant) -> Result<Option<Instant>, Status> {
        // Nodes may have gone while nobody looked.
        self.seen.retain(|name, _| self.nodes.contains_key(name));
        if self.is_quiet() {
            self.pods.clear();
            return Ok(None);
        }
        let mut next: Option<Instant> = None;
        let before = std::mem::take(&mut self.pods);
        let all = self.registry.all(POD, None)?;
        for (index, item) in all.items.iter().enumerate() {
            if index % TURN == TURN - 1 {
                smol::future::yield_now().await;
            }
            let pod = item.object()?;
            let name = pod.str_at("/spec/nodeName");
            if !self.concerns(name) {
                continue;
            }
            let since = before.get(pod.uid()).copied().unwrap_or(now);
            self.pods.insert(pod.uid().to_owned(), since);
            if self.nodes.get(name).is_some_and(|node| node.state == State::Unreachable) {
                told(&pod, self.lose(&pod).await);
            }
            let taints = self.seen.get(name).filter(|_| pod.deletion_timestamp().is_none());
            let again = match taints.and_then(|taints| node_lifecycle::eviction(&pod, taints, since)) {
                Some(due) if due <= now && self.still_evicts(name) => {
                    (!told(&pod, self.evict(&pod).await)).then_some(now + RETRY)
                }
                due => due.filter(|due| *due > now),
            };
            next = next.into_iter().chain(again).min();
        }
        Ok(next)
    }

    /// Whether a node, as it is now, has all the taints that were seen: one that has come back meanwhile, or lost one of
    /// them, is looked at anew.
    fn still_evicts(&self, name: &str) -> bool {
        let (Some(node), Some(seen)) = (self.as_it_is(name), self.seen.get(name)) else { return false };
        seen.iter().all(|(taint, _)| node.taints.contains(taint))
    }

    fn as_it_is(&self, name: &str) -> Option<Node> {
        self.registry.get(NODE, "", name).ok().map(|node| Node::of(&node))
    }

    /// Says that nothing is known of a pod: it is not ready for those who would use it.
    async fn lose(&self, pod: &Object) -> Result<(), Status> {
        let node = pod.str_at("/spec/nodeName");
        if node_lifecycle::lost(pod, SystemTime::now()).is_none() {
            return Ok(());
        }
        let mut changed = false;
        let change = |current: &mut Object| {
            let there = current.uid() == pod.uid()
                && current.str_at("/spec/nodeName") == node
                && self.as_it_is(node).is_some_and(|node| node.state == State::Unreachable);
            let lost = node_lifecycle::lost(current, SystemTime::now()).filter(|_| there);
            changed = lost.is_some();
            Ok(lost.map_or(Change::Keep, |lost| {
                *current = lost;
                Change::Write
            }))
        };
        match self.registry.modify(POD, pod.namespace(), pod.name(), LAZY, change).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
        if changed {
            self.tell(pod, Type::Warning, "NodeNotReady", "Node is not ready", "node-controller").await;
        }
        Ok(())
    }

    /// Says why, for those who watch, and deletes.
    async fn evict(&self, pod: &Object) -> Result<(), Status> {
        let why = "Taint manager: deleting due to NoExecute taint";
        if disrupt(&self.registry, pod, "DeletionByTaintManager", why).await? {
            let message = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
            let source = "taint-eviction-controller";
            self.tell(pod, Type::Normal, "TaintManagerEviction", &message, source).await;
        }
        Ok(())
    }

    async fn tell(&self, pod: &Object, kind: Type, reason: &str, message: &str, source: &str) {
        if let Err(status) = events::record(&self.registry, pod, kind, reason, message, source).await {
            log::debug!("failed to record an event: {}", status.message);
        }
    }
}

/// One pod's failure holds up no other.
fn told(pod: &Object, outcome: Result<(), Status>) -> bool {
    if let Err(status) = &outcome {
        log::warn!("failed to look after {}/{}: {status}", pod.namespace(), pod.name());
    }
    outcome.is_ok()
}

#[cfg(test)]
mod tests;
