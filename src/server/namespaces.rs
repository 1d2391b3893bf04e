//! The namespace loop: empties terminating namespaces. Woken by changes only.

use std::sync::Arc;
use std::time::Duration;

use crate::Executor;
use crate::api::kinds::NAMESPACE;
use crate::api::{Kind, Object, Reason, Status};
use crate::server::registry::{DeleteOptions, Deleted, Page, Registry, Selectors};
use crate::store;

/// How many objects are deleted at the same time: they share one fsync.
const TOGETHER: usize = 64;
/// How long the loop waits after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let namespaces = Namespaces { registry, executor: executor.clone() };
    executor.spawn(async move {
        loop {
            let revision = namespaces.registry.store().revision();
            match namespaces.pass().await {
                Ok(terminating) => namespaces.changed(revision, terminating).await,
                Err(status) => {
                    log::warn!("failed to look after the namespaces: {status}");
                    smol::Timer::after(PAUSE).await;
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
        let list = self.registry.list(NAMESPACE, None, &Selectors::default(), &Page::default())?;
        for item in list.items {
            let namespace = item.object()?;
            if namespace.deletion_timestamp().is_some() {
                terminating |= !self.empty(namespace.name()).await?;
            }
        }
        Ok(terminating)
    }

    /// Deletes what is in a namespace, and the namespace once it is empty. True if it is gone.
    async fn empty(&self, namespace: &str) -> Result<bool, Status> {
        let mut left = false;
        for kind in self.registry.kinds().stored().into_iter().filter(|kind| kind.namespaced) {
            let list = self.registry.list(kind, Some(namespace), &Selectors::default(), &Page::default())?;
            for items in list.items.chunks(TOGETHER) {
                let mut tasks = Vec::with_capacity(items.len());
                for item in items {
                    tasks.push(self.executor.spawn(delete(self.registry.clone(), kind, item.object()?)));
                }
                for task in tasks {
                    left |= !task.await?;
                }
            }
        }
        if left { Ok(false) } else { self.registry.remove_namespace(namespace).await }
    }
}

/// True if the object is gone.
async fn delete(registry: Arc<Registry>, kind: &'static Kind, object: Object) -> Result<bool, Status> {
    match registry.delete(kind, object.namespace(), object.name(), DeleteOptions::default()).await {
        Ok(Deleted::Gone(_)) => Ok(true),
        Ok(Deleted::Marked(_)) => Ok(false),
        Err(status) if status.reason == Reason::NotFound => Ok(true),
        Err(status) => Err(status),
    }
}
