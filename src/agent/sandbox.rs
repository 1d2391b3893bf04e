//! Pod sandboxes without a pause container: namespaces, network, control group.

use crate::cni;
use crate::sys::cgroup::Cgroups;
use crate::sys::namespace;
use std::net::IpAddr;
use std::path::PathBuf;

/// What a pod wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// What `hostname` says in the containers.
    pub hostname: String,
    /// The host's network (and UTS) namespace instead of an own one.
    pub host_network: bool,
    /// The host's IPC namespace instead of an own one.
    pub host_ipc: bool,
}

/// What a pod has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod's addresses, the first one is `status.podIP`. Empty on the host's network: the node's
    /// address is the pod's.
    pub ips: Vec<IpAddr>,
    /// Paths for the OCI spec's `linux.namespaces`; None: leave that namespace out (the host's).
    pub netns: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// The pod's control group; a container's `linux.cgroupsPath` is `<cgroup>/<container id>`.
    /// Starts with `/`.
    pub cgroup: String,
}

/// Everything sandboxes of this agent share.
#[derive(Debug, Clone)]
pub struct Options {
    /// `/run/midge`
    pub run_dir: PathBuf,
    /// Where the network's results are kept: under the data folder for a network of the machine's
    /// (its addresses outlive a reboot), under the run folder for midge's own.
    pub cache_dir: PathBuf,
    pub network: cni::Config,
    pub plugins: cni::Plugins,
    /// Parent of the pods' control groups, `/midge`.
    pub cgroup_parent: String,
    pub cgroups: Cgroups,
}

pub struct Sandboxes {
    options: Options,
}

#[derive(Debug)]
pub enum Error {
    Namespaces(namespace::Error),
}

impl Sandboxes {
    pub fn new(options: Options) -> Sandboxes {
        Sandboxes { options }
    }

    /// The network that new sandboxes get from now on.
    pub fn set_network(&mut self, network: cni::Config) {
        self.options.network = network;
    }

    /// What is there already for `spec`, whole. None: [`Sandboxes::ensure`] has work to do.
    pub fn observe(&self, spec: &SandboxSpec) -> Option<Sandbox> {
        let _ = spec;
        todo!()
    }

    /// Makes the sandbox unless it is there. Leftovers of an unfinished or rebooted one are removed
    /// first. An error leaves nothing behind.
    pub async fn ensure(&self, spec: &SandboxSpec) -> Result<Sandbox, Error> {
        let _ = spec;
        todo!()
    }

    /// Removes all there is for the pod `uid`. Goes on past failures and returns all of them. Fine
    /// when there is nothing. Its processes must have ended.
    pub async fn remove(&self, uid: &str) -> Result<(), Vec<Error>> {
        let _ = uid;
        todo!()
    }

    /// The uids of pods that have anything of a sandbox here, sorted.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        todo!()
    }
}
