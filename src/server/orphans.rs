//! The pod garbage collector: pods on a node that is not there end, since no agent is left to say so.
//! Woken by changes only; as upstream, a node that may yet come back has some time to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use smol::future::or;

use crate::Executor;
use crate::api::kinds::{NODE, POD};
use crate::api::object::PLACE;
use crate::api::selector::FieldSelector;
use crate::api::{Object, Reason, Status};
use crate::plan::control::pods;
use crate::server::failures::Failures;
use crate::server::registry::{
    Change, DeleteOptions, From, Page, Registry, Selectors, Subresource, WatchEvent, WriteOptions,
};
use crate::store::Durability;

/// How long a node must be missing (upstream's quarantineTime).
const QUARANTINE: Duration = Duration::from_secs(40);

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        let mut orphans = Orphans { registry, missing: BTreeMap::new() };
        loop {
            // Ends when its watches have fallen behind, or with a failure: everything is looked at anew.
            if let Err(status) = orphans.follow(&mut failures).await {
                failures.rest("look after the pods of missing nodes", &status).await;
            }
        }
    })
}

struct Orphans {
    registry: Arc<Registry>,
    /// Nodes that are not there and may have pods, and when these end.
    missing: BTreeMap<String, Instant>,
}

enum Wake {
    Pod(Result<WatchEvent, Status>),
    Node(Result<WatchEvent, Status>),
    Due,
}

impl Orphans {
    async fn follow(&mut self, failures: &mut Failures) -> Result<(), Status> {
        let mut pods = self.registry.watch(POD, None, Selectors::default(), From::Now)?;
        let mut nodes = self.registry.watch(NODE, None, Selectors::default(), From::Now)?;
        loop {
            let due = self.missing.values().min().copied();
            let due = async {
                match due {
                    Some(due) => _ = smol::Timer::at(due).await,
                    None => smol::future::pending().await,
                }
                Wake::Due
            };
            // All three are cancel-safe.
            let changed =
                or(async { Wake::Pod(pods.next().await) }, async { Wake::Node(nodes.next().await) });
            match or(changed, due).await {
                Wake::Pod(event) => self.pod(&event?, Instant::now())?,
                Wake::Node(event) => self.node(&event?, Instant::now())?,
                Wake::Due => {
                    self.collect(Instant::now()).await?;
                    failures.end();
                }
            }
        }
    }

    fn pod(&mut self, event: &WatchEvent, now: Instant) -> Result<(), Status> {
        if matches!(event, WatchEvent::Deleted(_)) {
            return Ok(());
        }
        let pod = event.item().part(PLACE)?;
        let node = pod.str_at("/spec/nodeName");
        // The news may be of what this loop itself wrote before it deleted the pod.
        let exists = || self.registry.item(POD, pod.namespace(), pod.name()).is_ok();
        if !node.is_empty() && !self.is_there(node) && exists() {
            self.missing.entry(node.to_owned()).or_insert(now + QUARANTINE);
        }
        Ok(())
    }

    fn node(&mut self, event: &WatchEvent, now: Instant) -> Result<(), Status> {
        // What matters is whether it is there now; it may have been made anew since.
        if matches!(event, WatchEvent::Deleted(_)) {
            let name = event.item().object()?.name().to_owned();
            self.missing.entry(name).or_insert(now + QUARANTINE);
        }
        self.missing.retain(|node, _| self.registry.item(NODE, "", node).is_err());
        Ok(())
    }

    fn is_there(&self, node: &str) -> bool {
        self.registry.item(NODE, "", node).is_ok()
    }

    /// Ends the pods of nodes that have been missing for long enough.
    async fn collect(&mut self, now: Instant) -> Result<(), Status> {
        let due: Vec<String> =
            self.missing.iter().filter(|(_, due)| **due <= now).map(|(node, _)| node.clone()).collect();
        for node in due {
            if !self.is_there(&node) {
                let fields = FieldSelector::parse(POD, &format!("spec.nodeName={node}"))?;
                let selectors = Selectors { fields, ..Selectors::default() };
                for item in self.registry.list(POD, None, &selectors, &Page::default())?.items {
                    self.end(&item.object()?).await?;
                }
            }
            self.missing.remove(&node);
        }
        Ok(())
    }

    /// Says why, for those who watch, and deletes.
    async fn end(&self, pod: &Object) -> Result<(), Status> {
        let (namespace, name) = (pod.namespace(), pod.name());
        log::info!("pod {namespace}/{name} ends: there is no node {:?}", pod.str_at("/spec/nodeName"));
        let said = WriteOptions {
            subresource: Subresource::Internal,
            durability: Durability::Lazy,
            ..WriteOptions::default()
        };
        let fail = |current: &mut Object| {
            if current.uid() != pod.uid() || pods::has_ended(current) {
                return Ok(Change::Keep);
            }
            current.set("/status/phase", "Failed");
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
            });
            current.set_condition(condition, SystemTime::now());
            Ok(Change::Write)
        };
        let options = DeleteOptions {
            grace_seconds: Some(0),
            uid: Some(pod.uid().to_owned()),
            ..DeleteOptions::default()
        };
        let ended = match self.registry.modify(POD, namespace, name, said, fail).await {
            Ok(_) => self.registry.delete(POD, namespace, name, options).await.map(drop),
            Err(status) => Err(status),
        };
        match ended {
            // Somebody else was faster, or made another of its name.
            Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
            ended => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::registry::testing::{Cluster, node, pod};
    use smol::block_on;

    #[test]
    fn pods_of_a_missing_node_end_after_a_while() {
        let cluster = Cluster::new("orphans");
        let registry = &cluster.registry;
        for name in ["here", "gone"] {
            block_on(cluster.create(node(name))).unwrap();
        }
        for (name, node) in [("a", "here"), ("b", "gone"), ("c", "never-there"), ("d", ""), ("e", "late")] {
            let mut pod = pod(name);
            pod["spec"]["nodeName"] = node.into();
            block_on(cluster.create(pod)).unwrap();
        }
        let mut orphans = Orphans { registry: registry.clone(), missing: BTreeMap::new() };
        let mut pods = registry.watch(POD, None, Selectors::default(), From::Now).unwrap();
        let mut nodes = registry.watch(NODE, None, Selectors::default(), From::Now).unwrap();
        let start = Instant::now();
        let mut look = |orphans: &mut Orphans, after: u64| {
            let now = start + Duration::from_secs(after);
            while let Some(event) = pods.try_next().unwrap() {
                orphans.pod(&event, now).unwrap();
            }
            while let Some(event) = nodes.try_next().unwrap() {
                orphans.node(&event, now).unwrap();
            }
            block_on(orphans.collect(now)).unwrap();
            let list = registry.all(POD, None).unwrap();
            list.items.iter().map(|item| item.object().unwrap().name().to_owned()).collect::<String>()
        };
        assert_eq!(look(&mut orphans, 0), "abcde");
        block_on(registry.delete(NODE, "", "gone", DeleteOptions::default())).unwrap();
        // Marked for its node's agent, which is no more.
        block_on(registry.delete(POD, "default", "b", DeleteOptions::default())).unwrap();
        assert_eq!(look(&mut orphans, 10), "abcde");
        block_on(cluster.create(node("late"))).unwrap();
        assert_eq!(look(&mut orphans, 41), "abde");
        assert_eq!(look(&mut orphans, 51), "ade");
        assert!(orphans.missing.is_empty());
    }
}
