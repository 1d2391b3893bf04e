//! What `midge reset` does: ends all pods of this machine, and takes back all that its agent has made
//! outside the data folder. The agent must not run.
//!
//! Everything is found by the agent's names for it, whatever the data folder knows: that may be gone. A step
//! that fails keeps no other from being tried.

mod host;
mod runtime;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use crate::containerd::{self, Client};
use crate::sys::cgroup::{self, Cgroups};
use crate::{Executor, chain};

/// What processes have between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long a SIGKILL may take: a process may wait for its disk.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// One thing of the agent's.
#[derive(Debug)]
pub enum Step {
    Removed(String),
    Failed(String),
}

/// Tells `say` of each thing as it goes, or why it stays.
pub async fn run(config: &Config, executor: &Executor, say: impl FnMut(Step)) {
    let mut reset = Reset { config, say };
    let cgroups = cgroup::detect().unwrap_or_else(|error| {
        reset.failed(chain(&error));
        Cgroups::none()
    });
    let client = reset.connect(executor, &cgroups).await;
    let client = match client {
        Some(client) => reset.end_containers(client).await,
        None => None,
    };
    // What is left runs without containerd, or in spite of it.
    reset.end_processes(&cgroups).await;
    let client = match client {
        Some(client) => reset.remove_containers(client).await,
        None => None,
    };
    reset.remove_sandboxes(cgroups).await;
    reset.remove_pod_folders();
    reset.remove_network();
    reset.remove_run_folder();
    if let Some(client) = client
        && reset.remove_namespace(client).await.is_some()
    {
        // From here on nothing says that an agent has ever run here. One with pods in it stays.
        let _ = fs::remove_dir(config.pods_folder());
    }
}

struct Reset<'a, S> {
    config: &'a Config,
    say: S,
}

impl<S: FnMut(Step)> Reset<'_, S> {
    fn removed(&mut self, what: impl Into<String>) {
        (self.say)(Step::Removed(what.into()));
    }

    fn failed(&mut self, why: impl Into<String>) {
        (self.say)(Step::Failed(why.into()));
    }

    /// Tells how the removal of `what` went.
    fn tell<E: std::error::Error>(&mut self, what: impl Into<String>, outcome: Result<(), E>) {
        match outcome {
            Ok(()) => self.removed(what),
            Err(error) => self.failed(format!("{}: {}", what.into(), chain(&error))),
        }
    }

    async fn connect(&mut self, executor: &Executor, cgroups: &Cgroups) -> Option<Client> {
        let config = self.config;
        let opened = Client::open(&config.containerd_socket, &config.containerd_namespace, executor).await;
        match opened {
            Ok(client) => Some(client),
            // Where no agent has ever run there need be no containerd either.
            Err(containerd::Error::NoSocket { .. }) if !self.has_run(cgroups) => None,
            Err(error) => {
                self.without_containerd(&error);
                None
            }
        }
    }

    /// Whether anything says that the agent has run here.
    fn has_run(&self, cgroups: &Cgroups) -> bool {
        let config = self.config;
        let folders: [PathBuf; 2] = [config.pods_folder(), config.run_dir.clone()];
        folders.iter().any(|folder| folder.exists()) || cgroups.exists(&config.cgroup_parent)
    }

    fn without_containerd(&mut self, error: &containerd::Error) {
        let namespace = &self.config.containerd_namespace;
        let text = format!(
            "{}; what containerd keeps in its namespace `{namespace}` (containers, images, snapshots) is left: \
             run this again when it runs",
            chain(error)
        );
        self.failed(text);
    }
}
