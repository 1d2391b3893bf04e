//! The namespace loop: empties terminating namespaces. Woken by changes only.

use std::sync::Arc;
use std::time::SystemTime;

use crate::Executor;
use crate::api::kinds::NAMESPACE;
use crate::api::{Kind, Object, Reason, Status};
use crate::plan::garbage::Propagation;
use crate::plan::termination::{self, Remaining};
use crate::server::failures::Failures;
use crate::server::registry::{Change, DeleteOptions, Deleted, Registry, WriteOptions};
use crate::store;

/// How many objects are deleted at the same time: they share one fsync.
const TOGETHER: usize = 64;

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let namespaces = Namespaces { registry, executor: executor.clone() };
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            let revision = namespaces.registry.store().revision();
            match namespaces.pass().await {
                Ok(terminating) => {
                    failures.end();
                    namespaces.changed(revision, terminating).await;
                }
                Err(status) => {
                    failures.rest("look after the namespaces", &status).await;
                }
            }
        }
    })
}

struct Namespaces {
    registry: Arc<Registry>,
    executor: Executor,
}

impl Namespaces {
    /// Waits for a change that this loop acts on.
    async fn changed(&self, revision: u64, terminating: bool) {
        let namespaces = NAMESPACE.prefix(None);
        // Contents of every kind may be what a terminating namespace waits for.
        let Ok(mut watch) = self.registry.store().watch("", revision) else { return };
        let concerns =
            |event: &store::Event| event.key.starts_with(&namespaces) || event.new.is_none() && terminating;
        loop {
            match watch.next().await {
                Ok(event) if concerns(&event) => break,
                Ok(_) => {}
                // Fallen behind: look at everything.
                Err(_) => return,
            }
        }
    }

    /// Looks at all namespaces once. True if one is still terminating.
    async fn pass(&self) -> Result<bool, Status> {
        let mut terminating = false;
        let mut failure = Ok(());
        let list = self.registry.all(NAMESPACE, None)?;
        for item in list.items {
            let namespace = item.object()?;
            if namespace.deletion_timestamp().is_some() {
                // One that can't be emptied holds up no other.
                match self.empty(namespace.name()).await {
                    Ok(gone) => terminating |= !gone,
                    Err(status) => failure = Err(status),
                }
            }
        }
        failure.map(|()| terminating)
    }

    /// Deletes what is in a namespace, and the namespace once it is empty. True if it is gone.
    async fn empty(&self, namespace: &str) -> Result<bool, Status> {
        if let Ok(found) = self.registry.get(NAMESPACE, "", namespace)
            && found.array_at("/spec/finalizers").iter().all(|finalizer| finalizer != "kubernetes")
        {
            // Emptied already: somebody else's finalizer holds it.
            return Ok(false);
        }
        let mut remaining = Remaining::default();
        let emptied = self.empty_all(namespace, &mut remaining).await;
        if emptied.is_ok() && remaining.is_empty() {
            return self.registry.remove_namespace(namespace).await;
        }
        let failure = emptied.as_ref().err().map(ToString::to_string);
        let tell = |found: &mut Object| {
            let conditions = termination::conditions(
                found.array_at("/status/conditions"),
                &remaining,
                failure.as_deref(),
                SystemTime::now(),
            );
            found.set("/status/conditions", conditions);
            Ok(Change::Write)
        };
        match self.registry.modify(NAMESPACE, "", namespace, WriteOptions::STATUS, tell).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
        emptied.map(|()| false)
    }

    async fn empty_all(&self, namespace: &str, remaining: &mut Remaining) -> Result<(), Status> {
        let mut failure = Ok(());
        for kind in self.registry.kinds().stored().into_iter().filter(|kind| kind.namespaced) {
            let list = self.registry.all(kind, Some(namespace))?;
            for items in list.items.chunks(TOGETHER) {
                let mut tasks = Vec::with_capacity(items.len());
                for item in items {
                    tasks.push(self.executor.spawn(delete(self.registry.clone(), kind, item.object()?)));
                }
                for task in tasks {
                    match task.await {
                        Ok(Some(left)) => remaining.add(kind, &left),
                        Ok(None) => {}
                        Err(status) => failure = Err(status),
                    }
                }
            }
        }
        failure
    }
}

/// The object if it is still there.
async fn delete(
    registry: Arc<Registry>,
    kind: &'static Kind,
    object: Object,
) -> Result<Option<Object>, Status> {
    let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    match registry.delete(kind, object.namespace(), object.name(), options).await {
        Ok(Deleted::Gone(_)) => Ok(None),
        Ok(Deleted::Marked(left)) => Ok(Some(left)),
        Err(status) if status.reason == Reason::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
