//! Pod sandboxes without a pause container: namespaces, network, control group.
//!
//! Nothing is remembered: what is there is read from the run folder, the network's results and the
//! control groups each time, so that an agent that starts anew finds what the last one made.

pub mod groups;
mod wanted;

use self::groups::Groups;
pub use self::wanted::SandboxSpec;
use super::pause;
use crate::cni::{self, Attachment};
use crate::sys::cgroup::{self, Cgroups};
use crate::sys::namespace::{self, Pins};
use crate::sys::pid_namespace;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a pod has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod's addresses, the first one is `status.podIP`. Empty on the host's network: the node's
    /// address is the pod's.
    pub ips: Vec<IpAddr>,
    /// Paths for the OCI spec's `linux.namespaces`; None: leave that namespace out (the host's).
    pub netns: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// For `shareProcessNamespace`; None: each container has its own, or the host's.
    pub pid: Option<PathBuf>,
    /// What /dev/shm is in all of the pod's containers. None: the host's.
    pub shm: Option<PathBuf>,
    /// What `hostname` says in the containers.
    pub hostname: String,
    /// The pod's control group; a container's `linux.cgroupsPath` is `<cgroup>/<container id>`.
    /// Starts with `/`.
    pub cgroup: String,
}

/// A sandbox without its network.
pub struct Begun {
    /// Its addresses come with the network.
    pub sandbox: Sandbox,
    /// To be connected to this one. None: there is nothing to do.
    network: Option<Arc<cni::Config>>,
}

/// Everything that the sandboxes of this agent share.
#[derive(Debug, Clone)]
pub struct Options {
    /// `/run/midge`
    pub run_dir: PathBuf,
    /// Where the network's results are kept: under the data folder for a network of the machine's
    /// (its addresses outlive a reboot), under the run folder for midge's own.
    pub cache_dir: PathBuf,
    /// None until it is known: a pod that needs it fails with [`Error::NoNetwork`].
    pub network: Option<cni::Config>,
    pub plugins: cni::Plugins,
    /// Parent of the pods' control groups, `/midge`.
    pub cgroup_parent: String,
    /// Processes and threads of a pod. None: no limit.
    pub pod_max_pids: Option<u64>,
    pub cgroups: Cgroups,
    /// The program of [`super::pause`].
    pub executable: PathBuf,
}

/// The sandboxes of this agent.
pub struct Sandboxes {
    options: Options,
    groups: Groups,
    network: Mutex<Option<Arc<cni::Config>>>,
}

#[derive(Debug)]
pub enum Error {
    /// Not one that can name a file.
    InvalidUid {
        uid: String,
    },
    NoNetwork {
        uid: String,
    },
    Namespaces {
        uid: String,
        source: namespace::Error,
    },
    Network {
        uid: String,
        source: cni::Error,
    },
    /// The plugins succeeded and gave none.
    NoAddress {
        uid: String,
    },
    Cgroup {
        uid: String,
        source: cgroup::Error,
    },
    /// The first process of its PID namespace.
    Pause {
        uid: String,
        source: io::Error,
    },
    /// The kernel takes 64 bytes.
    LongHostname {
        hostname: String,
    },
    /// What an earlier sandbox of the pod left can't be removed, so that there can be no new one.
    Leftovers {
        uid: String,
        errors: Vec<Error>,
    },
    List {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

const INTERFACE: &str = "eth0";

impl Sandboxes {
    pub fn new(mut options: Options) -> Sandboxes {
        let network = Mutex::new(options.network.take().map(Arc::new));
        let groups =
            Groups::new(options.cgroups.clone(), &options.cgroup_parent).limited(options.pod_max_pids);
        Sandboxes { options, groups, network }
    }

    /// The network that new sandboxes get from now on. The ones that are there keep theirs.
    pub fn set_network(&self, network: cni::Config) {
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(network));
    }

    fn network(&self) -> Option<Arc<cni::Config>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is there already for `spec`, whole. None: [`Sandboxes::ensure`] has work to do.
    pub fn observe(&self, spec: &SandboxSpec) -> Option<Sandbox> {
        check_uid(&spec.uid).ok()?;
        let pins = namespace::pinned(spec.kinds(), &self.options.run_dir, &spec.uid)?;
        let mut ips = Vec::new();
        if !spec.host_network {
            let attached = cni::cached(&self.options.cache_dir, &spec.uid, INTERFACE).ok()??;
            ips.extend(attached.ips.iter().map(|ip| ip.address));
        }
        let sandbox = self.sandbox(spec, pins, ips);
        let has_pid =
            |path: &PathBuf| namespace::is_namespace(path) && self.groups.has_pause(&sandbox.cgroup);
        // Of a pod that has none of its own, its group says that it was made, and that the machine runs since.
        let has_own = sandbox.netns.is_some() || sandbox.ipc.is_some() || sandbox.pid.is_some();
        let is_made = has_own || self.groups.exists(&sandbox.cgroup);
        (is_made && sandbox.pid.as_ref().is_none_or(has_pid)).then_some(sandbox)
    }

    /// Makes the sandbox unless it is there. An error leaves nothing behind, or says in the log what.
    pub async fn ensure(&self, spec: &SandboxSpec) -> Result<Sandbox, Error> {
        let begun = self.begin(spec).await?;
        let connected = self.connect(spec, begun).await;
        if connected.is_err() {
            self.remove_failed(&spec.uid).await;
        }
        connected
    }

    /// The first half of [`Sandboxes::ensure`]: all but the network, which containers need when they are
    /// started and not before. Leftovers of an unfinished sandbox, or of one from before a reboot, are
    /// removed first. An error leaves nothing behind, or says in the log what.
    pub async fn begin(&self, spec: &SandboxSpec) -> Result<Begun, Error> {
        check_uid(&spec.uid)?;
        if spec.inside.hostname.len() > wanted::LONGEST_HOSTNAME {
            return Err(Error::LongHostname { hostname: spec.inside.hostname.clone() });
        }
        if let Some(sandbox) = self.observe(spec) {
            self.create_cgroup(spec).await?;
            return Ok(Begun { sandbox, network: None });
        }
        // What can be known to fail does so before anything is made.
        let network = match spec.host_network {
            true => None,
            false => {
                let network = self.network().ok_or_else(|| Error::NoNetwork { uid: spec.uid.clone() })?;
                Some(if spec.port_mappings.is_empty() {
                    network
                } else {
                    Arc::new(network.with_host_ports())
                })
            }
        };
        if let Some(network) = &network {
            let checked = network.check(&self.options.plugins);
            checked.map_err(|source| Error::Network { uid: spec.uid.clone(), source })?;
        }
        self.remove(&spec.uid).await.map_err(|errors| Error::Leftovers { uid: spec.uid.clone(), errors })?;
        match self.pin(spec).await {
            Ok(pins) => Ok(Begun { sandbox: self.sandbox(spec, pins, Vec::new()), network }),
            Err(error) => {
                self.remove_failed(&spec.uid).await;
                Err(error)
            }
        }
    }

    async fn pin(&self, spec: &SandboxSpec) -> Result<Pins, Error> {
        let uid = &spec.uid;
        self.create_cgroup(spec).await?;
        let (kinds, run_dir) = (spec.kinds(), self.options.run_dir.clone());
        let (name, inside) = (uid.clone(), spec.inside.clone());
        let pins = smol::unblock(move || namespace::pin(kinds, &run_dir, &name, &inside)).await;
        let pins = pins.map_err(|source| Error::Namespaces { uid: uid.clone(), source })?;
        if spec.share_pid {
            let (groups, run_dir) = (self.groups.clone(), self.options.run_dir.clone());
            let (spec, executable) = (spec.clone(), self.options.executable.clone());
            smol::unblock(move || share_pid(&spec, &groups, &run_dir, &executable)).await?;
        }
        Ok(pins)
    }

    /// The second half: the pod's network and its addresses. After an error the caller removes the sandbox,
    /// once nothing runs in it.
    pub async fn connect(&self, spec: &SandboxSpec, begun: Begun) -> Result<Sandbox, Error> {
        let Begun { mut sandbox, network } = begun;
        if let (Some(netns), Some(network)) = (&sandbox.netns, network) {
            let uid = &spec.uid;
            let args = [
                ("K8S_POD_NAMESPACE", &*spec.namespace),
                ("K8S_POD_NAME", &spec.name),
                ("K8S_POD_INFRA_CONTAINER_ID", uid),
                ("K8S_POD_UID", uid),
            ];
            let runtime = [("portMappings", spec.port_mappings.clone().into())];
            let runtime = if spec.port_mappings.is_empty() { &runtime[..0] } else { &runtime[..] };
            let attachment = Attachment { args: &args, runtime, ..self.attachment(uid, netns) };
            let attached = network.add(&self.options.plugins, &attachment).await;
            let attached = attached.map_err(|source| Error::Network { uid: uid.clone(), source })?;
            sandbox.ips.extend(attached.ips.iter().map(|ip| ip.address));
            if sandbox.ips.is_empty() {
                return Err(Error::NoAddress { uid: uid.clone() });
            }
        }
        Ok(sandbox)
    }

    /// [`Sandboxes::remove`] after a failure, which says more than what fails now.
    pub async fn remove_failed(&self, uid: &str) {
        for left in self.remove(uid).await.err().unwrap_or_default() {
            log::warn!("pod {uid}: {left}");
        }
    }

    /// Removes all there is for the pod `uid`. Goes on past failures and returns all of them. Fine
    /// when there is nothing. Its processes must have ended. When the network can't be deleted, the
    /// namespaces stay: the next attempt needs them.
    pub async fn remove(&self, uid: &str) -> Result<(), Vec<Error>> {
        check_uid(uid).map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        let netns = self.options.run_dir.join("netns").join(uid);
        let deleted =
            cni::del(&self.options.plugins, &self.attachment(uid, &netns), self.network().as_deref()).await;
        let network_gone = deleted.is_ok();
        for source in deleted.err().unwrap_or_default() {
            errors.push(Error::Network { uid: uid.into(), source });
        }
        let (run_dir, name) = (self.options.run_dir.clone(), uid.to_string());
        let groups = self.groups.clone();
        let (unpinned, removed) = smol::unblock(move || {
            let unpinned = if network_gone { namespace::unpin(&run_dir, &name) } else { Ok(()) };
            (unpinned, groups.remove(&name))
        })
        .await;
        for source in unpinned.err().unwrap_or_default() {
            errors.push(Error::Namespaces { uid: uid.into(), source });
        }
        errors.extend(removed.err().map(|source| Error::Cgroup { uid: uid.into(), source }));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The uids of pods that have anything of a sandbox here, sorted.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut uids = namespace::names(&self.options.run_dir)
            .map_err(|source| Error::List { source: source.into() })?;
        uids.extend(
            cni::cached_ids(&self.options.cache_dir)
                .map_err(|source| Error::List { source: source.into() })?,
        );
        uids.extend(self.groups.list().map_err(|source| Error::List { source: source.into() })?);
        uids.sort_unstable();
        uids.dedup();
        Ok(uids)
    }

    async fn create_cgroup(&self, spec: &SandboxSpec) -> Result<(), Error> {
        let (groups, uid) = (self.groups.clone(), spec.uid.clone());
        let (class, settings) = (spec.class, spec.settings.clone());
        let created = smol::unblock(move || groups.create(&uid, class, &settings)).await;
        created.map_err(|source| Error::Cgroup { uid: spec.uid.clone(), source })
    }

    fn attachment<'a>(&'a self, uid: &'a str, netns: &'a Path) -> Attachment<'a> {
        let cache_dir = &self.options.cache_dir;
        Attachment { container_id: uid, netns, ifname: INTERFACE, args: &[], runtime: &[], cache_dir }
    }

    fn sandbox(&self, spec: &SandboxSpec, pins: Pins, ips: Vec<IpAddr>) -> Sandbox {
        Sandbox {
            ips,
            netns: pins.net,
            ipc: pins.ipc,
            uts: pins.uts,
            pid: spec.share_pid.then(|| self.options.run_dir.join(namespace::PID).join(&spec.uid)),
            shm: pins.shm,
            hostname: spec.inside.hostname.clone(),
            cgroup: self.groups.of(&spec.uid, spec.class),
        }
    }
}

/// Makes the PID namespace that the pod's containers share.
fn share_pid(spec: &SandboxSpec, groups: &Groups, run_dir: &Path, executable: &Path) -> Result<(), Error> {
    let failed = |source| Error::Pause { uid: spec.uid.clone(), source };
    let init = pid_namespace::start(executable, pause::ARGUMENT).map_err(failed)?;
    groups
        .put_pause(&groups.of(&spec.uid, spec.class), init.id())
        .map_err(|source| Error::Cgroup { uid: spec.uid.clone(), source })?;
    namespace::pin_pid(init.id(), run_dir, &spec.uid)
        .map_err(|source| Error::Namespaces { uid: spec.uid.clone(), source })?;
    init.release().map_err(failed)
}

/// A uid comes from the server, and names files here.
fn check_uid(uid: &str) -> Result<(), Error> {
    let fine = uid.len() <= 128
        && uid.starts_with(|c: char| c.is_ascii_alphanumeric())
        && uid.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if fine { Ok(()) } else { Err(Error::InvalidUid { uid: uid.into() }) }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidUid { uid } => write!(f, "`{uid}` can't be a pod's uid"),
            Error::NoNetwork { uid } => write!(
                f,
                "no network for pod {uid} yet: the server has not given this node a pod range, and there is no CNI \
                 configuration"
            ),
            Error::Namespaces { uid, .. } => write!(f, "namespaces of pod {uid}"),
            Error::Network { uid, .. } => write!(f, "network of pod {uid}"),
            Error::NoAddress { uid } => write!(f, "the CNI plugins gave pod {uid} no address"),
            Error::Cgroup { uid, .. } => write!(f, "control group of pod {uid}"),
            Error::Pause { uid, .. } => write!(f, "first process of the PID namespace of pod {uid}"),
            Error::LongHostname { hostname } => write!(
                f,
                "failed to construct FQDN from pod hostname and cluster domain, FQDN {hostname} is too long ({} characters \
                 is the max, {} characters requested)",
                wanted::LONGEST_HOSTNAME,
                hostname.len()
            ),
            Error::Leftovers { uid, errors } => {
                write!(f, "an earlier sandbox of pod {uid} can't be removed")?;
                for error in errors {
                    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
                    write!(f, "; {error}{}", source.unwrap_or_default())?;
                }
                Ok(())
            }
            Error::List { .. } => write!(f, "failed to list the pods' sandboxes"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::InvalidUid { .. }
            | Error::NoNetwork { .. }
            | Error::NoAddress { .. }
            | Error::LongHostname { .. }
            | Error::Leftovers { .. } => None,
            Error::Namespaces { source, .. } => Some(source),
            Error::Pause { source, .. } => Some(source),
            Error::Network { source, .. } => Some(source),
            Error::Cgroup { source, .. } => Some(source),
            Error::List { source } => Some(&**source),
        }
    }
}
