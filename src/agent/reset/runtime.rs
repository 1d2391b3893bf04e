//! The agent's namespace in containerd: what runs in it, and all that it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::{Duration, Instant};

use super::{GRACE, KILL_LIMIT, POLL, Reset, Step};
use crate::agent::container::{SIGKILL, SIGTERM, label};
use crate::agent::shims;
use crate::chain;
use crate::containerd::{Client, Container, Error, TaskStatus};

impl<S: FnMut(Step)> Reset<'_, S> {
    /// Ends all that runs in the namespace. None when containerd is not there any more.
    pub(super) async fn end_containers(&mut self, client: Client) -> Option<Client> {
        let ended = self.try_end(&client).await;
        self.unless_gone(client, ended)
    }

    /// Removes all containers, which have ended.
    pub(super) async fn remove_containers(&mut self, client: Client) -> Option<Client> {
        let removed = self.try_remove_containers(&client).await;
        self.unless_gone(client, removed)
    }

    /// Removes the namespace with all that it keeps: images, their layers and contents, leases.
    pub(super) async fn remove_namespace(&mut self, client: Client) -> Option<Client> {
        let removed = self.try_remove_namespace(&client).await;
        self.unless_gone(client, removed)
    }

    fn unless_gone(&mut self, client: Client, outcome: Result<(), Error>) -> Option<Client> {
        match outcome {
            Ok(()) => Some(client),
            Err(error) => {
                self.without_containerd(&error);
                None
            }
        }
    }

    /// Tells of what failed and goes on; but not when containerd can't be reached any more.
    fn past<T>(&mut self, what: impl Display, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_unavailable() => Err(error),
            Err(error) => {
                self.failed(format!("{what}: {}", chain(&error)));
                Ok(None)
            }
        }
    }

    async fn try_end(&mut self, client: &Client) -> Result<(), Error> {
        let running = running(client).await?;
        if running.is_empty() {
            return Ok(());
        }
        let containers = client.containers(&[]).await?;
        let known: BTreeMap<&str, &Container> =
            containers.iter().map(|container| (container.id.as_str(), container)).collect();
        for id in &running {
            let signal = known.get(id.as_str()).and_then(|known| known.labels.get(label::STOP_SIGNAL));
            let signal = signal.and_then(|signal| signal.parse().ok()).unwrap_or(SIGTERM);
            self.past(format!("container {id}"), client.kill_task(id, signal, false).await)?;
        }
        let stubborn = wait(client, GRACE).await?;
        for id in &stubborn {
            self.past(format!("container {id}"), client.kill_task(id, SIGKILL, true).await)?;
        }
        for id in wait(client, KILL_LIMIT).await? {
            self.failed(format!("container {id} does not end, {} s after SIGKILL", KILL_LIMIT.as_secs()));
        }
        Ok(())
    }

    async fn try_remove_containers(&mut self, client: &Client) -> Result<(), Error> {
        let tasks: BTreeSet<String> = client.tasks().await?.into_iter().map(|task| task.id).collect();
        let containers = client.containers(&[]).await?;
        let strays = tasks.iter().filter(|id| !containers.iter().any(|container| container.id == **id));
        for id in strays {
            let deleted = client.delete_task(id).await;
            if self.past(format!("task {id}"), deleted)?.is_some() {
                self.removed(format!("task {id}"));
            }
        }
        for container in &containers {
            let title = title(container);
            if self.past(&title, client.delete_task(&container.id).await)?.is_some()
                && self.past(&title, client.delete_container(&container.id).await)?.is_some()
            {
                self.removed(title);
            }
        }
        shims::end_strays(client).await?;
        Ok(())
    }

    async fn try_remove_namespace(&mut self, client: &Client) -> Result<(), Error> {
        if !client.has_namespace().await? {
            return Ok(());
        }
        for image in client.images(&[]).await? {
            let title = format!("image {}", image.name);
            if self.past(&title, client.remove_image(&image.name).await)?.is_some() {
                self.removed(title);
            }
        }
        for lease in client.leases().await? {
            let title = format!("lease {}", lease.id);
            if self.past(&title, client.delete_lease(&lease, false).await)?.is_some() {
                self.removed(title);
            }
        }
        // Takes what nothing refers to, which is all but what somebody has put here by hand.
        self.past("collecting garbage", client.collect_garbage().await)?;
        if self.remove_the_rest(client).await? {
            self.past("collecting garbage", client.collect_garbage().await)?;
        }
        let title = format!("containerd's namespace {}, its layers and blobs", client.namespace());
        if self.past(&title, client.delete_namespace().await)?.is_some() {
            self.removed(title);
        }
        Ok(())
    }

    /// Removes snapshots and blobs that are kept from garbage collection. Whether there were any.
    async fn remove_the_rest(&mut self, client: &Client) -> Result<bool, Error> {
        let mut removed = false;
        for snapshotter in client.snapshotters().await? {
            removed |= self.remove_snapshots(client, &snapshotter).await?;
        }
        for digest in client.contents().await? {
            let title = format!("blob {digest}");
            if self.past(&title, client.remove_content(&digest).await)?.is_some() {
                self.removed(title);
                removed = true;
            }
        }
        Ok(removed)
    }

    /// Upper layers first: those that another lies on can't be removed. What fails is tried again as long as
    /// anything else goes: containerd may still be collecting what lies on it.
    async fn remove_snapshots(&mut self, client: &Client, snapshotter: &str) -> Result<bool, Error> {
        let mut removed = false;
        loop {
            let snapshots = client.snapshots(snapshotter, &[]).await?;
            let parents: BTreeSet<&str> = snapshots.iter().map(|snapshot| &*snapshot.parent).collect();
            let mut failures = Vec::new();
            let mut progress = false;
            for snapshot in snapshots.iter().filter(|snapshot| !parents.contains(&*snapshot.name)) {
                let title = format!("snapshot {} of {snapshotter}", snapshot.name);
                match client.remove_snapshot(snapshotter, &snapshot.name).await {
                    Ok(()) => {
                        self.removed(title);
                        progress = true;
                    }
                    outcome => failures.push((title, outcome)),
                }
            }
            if !progress {
                for (title, outcome) in failures {
                    self.past(title, outcome)?;
                }
                return Ok(removed);
            }
            removed = true;
        }
    }
}

/// Waits until nothing runs, `limit` at most. Returns what still does.
async fn wait(client: &Client, limit: Duration) -> Result<Vec<String>, Error> {
    let deadline = Instant::now() + limit;
    loop {
        let left = running(client).await?;
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        smol::Timer::after(POLL).await;
    }
}

/// Ids of the containers whose program runs.
async fn running(client: &Client) -> Result<Vec<String>, Error> {
    let runs = |status| !matches!(status, TaskStatus::Stopped | TaskStatus::Created);
    Ok(client.tasks().await?.into_iter().filter(|task| runs(task.status)).map(|task| task.id).collect())
}

fn title(container: &Container) -> String {
    let text = |key: &str| container.labels.get(key).map_or("", String::as_str);
    match text(label::NAME) {
        "" => format!("container {}", container.id),
        name => format!("container {name} of pod {}/{}", text(label::NAMESPACE), text(label::POD)),
    }
}
