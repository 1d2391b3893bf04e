//! What the agent has made on the machine itself: namespaces, control groups, network, folders.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::{GRACE, KILL_LIMIT, POLL, Reset, Step};
use crate::agent::desired::is_uid;
use crate::agent::sandbox::{Options, Sandboxes};
use crate::agent::{network, volumes, work};
use crate::chain;
use crate::cni::{self, Plugins};
use crate::sys::cgroup::{self, Cgroups};
use crate::sys::{mount, namespace, netlink};

/// What the agent keeps in its run folder.
const RUN_FOLDERS: [&str; 9] = ["netns", "ipc", "uts", "pid", "shm", "cni", "leases", "exec", "stdio"];
/// What a killed midge last said of itself.
const RUN_FILES: [&str; 3] = ["agent.json", "server.json", "shutdown.sock"];

impl<S: FnMut(Step)> Reset<'_, S> {
    /// Ends what still runs in the pods' control groups.
    pub(super) async fn end_processes(&mut self, cgroups: &Cgroups) {
        match self.try_end_processes(cgroups).await {
            Ok(0) => {}
            Ok(count) => self.removed(format!("{count} processes of pods")),
            Err(error) => self.failed(chain(&error)),
        }
    }

    async fn try_end_processes(&mut self, cgroups: &Cgroups) -> Result<usize, cgroup::Error> {
        let parent = &self.config.cgroup_parent;
        let count = cgroups.signal(parent, false)?;
        let start = Instant::now();
        while !cgroups.processes(parent)?.is_empty() && start.elapsed() < GRACE + KILL_LIMIT {
            if start.elapsed() > GRACE {
                cgroups.signal(parent, true)?;
            }
            smol::Timer::after(POLL).await;
        }
        // Those that are left keep their groups, which are told.
        Ok(count - cgroups.processes(parent)?.len().min(count))
    }

    /// Takes back the pods' addresses, namespaces and control groups.
    pub(super) async fn remove_sandboxes(&mut self, cgroups: Cgroups) {
        let config = self.config;
        // A pod's network is deleted as it was added: the machine's CNI configuration and midge's own bridge
        // keep their results apart, and the node may have had one after the other.
        for cache_dir in [config.cni_folder(), config.run_dir.join("cni")] {
            let sandboxes = self.sandboxes(&cache_dir, &cgroups);
            match cni::cached_ids(&cache_dir) {
                Ok(uids) => self.remove_each(&sandboxes, uids).await,
                Err(error) => self.failed(chain(&error)),
            }
        }
        let sandboxes = self.sandboxes(&config.run_dir.join("cni"), &cgroups);
        match sandboxes.list() {
            Ok(uids) => self.remove_each(&sandboxes, uids).await,
            Err(error) => self.failed(chain(&error)),
        }
        let parent = &config.cgroup_parent;
        if cgroups.exists(parent) {
            self.tell(format!("control group {parent}"), cgroups.remove(parent));
        }
    }

    fn sandboxes(&self, cache_dir: &Path, cgroups: &Cgroups) -> Sandboxes {
        let config = self.config;
        Sandboxes::new(Options {
            run_dir: config.run_dir.clone(),
            cache_dir: cache_dir.into(),
            network: None,
            plugins: Plugins::new(config.cni_bin_dirs.clone()),
            cgroup_parent: config.cgroup_parent.clone(),
            pod_max_pids: None,
            cgroups: cgroups.clone(),
            executable: config.executable.clone(),
        })
    }

    async fn remove_each(&mut self, sandboxes: &Sandboxes, uids: Vec<String>) {
        for uid in uids {
            match sandboxes.remove(&uid).await {
                Ok(()) => self.removed(format!("sandbox of pod {uid}")),
                Err(errors) => errors.iter().for_each(|error| self.failed(chain(error))),
            }
        }
    }

    /// Their logs and what they were to be. After a reset nobody wants them here but the server.
    pub(super) fn remove_pod_folders(&mut self) {
        let pods = self.config.pods_folder();
        let uids = match names(&pods) {
            Ok(uids) => uids,
            Err(error) => return self.failed(format!("`{}`: {error}", pods.display())),
        };
        for uid in uids.into_iter().filter(|uid| is_uid(uid)) {
            let folder = pods.join(&uid);
            for error in volumes::unmount_all(&folder) {
                self.failed(chain(&error));
            }
            self.tell(format!("folder {}", folder.display()), work::remove_folder(&folder));
        }
    }

    /// midge's own bridge, and the rules for it.
    pub(super) fn remove_network(&mut self) {
        let bridge = &self.config.bridge;
        match network::close(bridge) {
            Ok(rules) => {
                for (rule, outcome) in rules {
                    let outcome = outcome.map_err(io::Error::other);
                    self.tell(format!("iptables rule {rule}"), outcome);
                }
            }
            Err(error) => self.failed(format!("the iptables rules of {bridge}: {error}")),
        }
        match netlink::delete_link(bridge) {
            Ok(true) => self.removed(format!("bridge {bridge}")),
            Ok(false) => {}
            Err(error) => self.failed(format!("bridge {bridge}: {error}")),
        }
    }

    pub(super) fn remove_run_folder(&mut self) {
        let run_dir = &self.config.run_dir;
        if !run_dir.exists() {
            return;
        }
        self.unpin_the_rest();
        for folder in RUN_FOLDERS.map(|folder| run_dir.join(folder)) {
            if let Err(error) = mount::remove_folder(&folder) {
                self.failed(format!("folder {}: {error}", folder.display()));
            }
        }
        for file in RUN_FILES.map(|file| run_dir.join(file)) {
            if let Err(error) = fs::remove_file(&file)
                && error.kind() != io::ErrorKind::NotFound
            {
                self.failed(format!("file {}: {error}", file.display()));
            }
        }
        // What else is in it is not the agent's.
        self.tell(format!("folder {}", run_dir.display()), fs::remove_dir(run_dir));
    }

    /// Namespaces that are left because their network could not be deleted. With midge's own bridge nothing of
    /// that is left; what the machine's own plugins have given out is only found again by them.
    fn unpin_the_rest(&mut self) {
        let run_dir = &self.config.run_dir;
        let kept = cni::cached_ids(&self.config.cni_folder()).unwrap_or_default();
        let names = namespace::names(run_dir).unwrap_or_default();
        for name in names.into_iter().filter(|name| !kept.contains(name)) {
            for error in namespace::unpin(run_dir, &name).err().unwrap_or_default() {
                self.failed(chain(&error));
            }
        }
    }
}

/// Names of what is in `folder`, sorted; nothing when it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
