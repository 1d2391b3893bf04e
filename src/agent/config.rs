//! What an agent is told at its start: validated by the command line, never checked again.

use std::net::IpAddr;
use std::path::PathBuf;

use super::images;
use super::logger::Limits;
use super::pressure;
use crate::http::Url;
use crate::plan::shutdown;
use crate::token::JoinToken;

/// A taint that the node registers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// Everything that tells one agent from another: several agents on one machine differ in `data_dir`,
/// `run_dir`, `containerd_namespace`, `cgroup_parent` and `bridge`, and never touch what is another's.
#[derive(Debug, Clone)]
pub struct Config {
    /// `/var/lib/midge`; the agent owns the folder `agent` in it and locks it.
    pub data_dir: PathBuf,
    /// `/run/midge`: pinned namespaces and sockets, lost at a reboot.
    pub run_dir: PathBuf,
    /// A DNS subdomain.
    pub node_name: String,
    /// `https://host:port`, tried in turn. Empty: no link, the agent runs what is on its disk.
    pub servers: Vec<Url>,
    /// Needed for the first connect; later the node key is used.
    pub token: Option<JoinToken>,
    /// Set the machine's clock from the server's when it is plainly wrong. Never in tests.
    pub set_clock: bool,
    /// `/run/containerd/containerd.sock`.
    pub containerd_socket: PathBuf,
    /// `midge`.
    pub containerd_namespace: String,
    /// `overlayfs`.
    pub snapshotter: String,
    pub images: images::Settings,
    /// Further labels of the node, as `--node-label` gives them.
    pub labels: Vec<(String, String)>,
    pub taints: Vec<Taint>,
    /// The node's InternalIP; otherwise that of the default route's interface.
    pub node_ip: Option<IpAddr>,
    /// The folders that CNI plugins are looked for in.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// `/etc/cni/net.d`: its first configuration wins over our own bridge.
    pub cni_conf_dir: PathBuf,
    /// The file that the pods' resolv.conf comes from for dnsPolicy Default.
    pub resolv_conf: PathBuf,
    /// The cgroup below which each pod has its own: `/midge`, relative to the hierarchy's root.
    pub cgroup_parent: String,
    /// Processes and threads of a pod. None: no limit.
    pub pod_max_pids: Option<u64>,
    /// The bridge of our own network configuration: `midge0`, at most 15 bytes.
    pub bridge: String,
    /// When the node counts as short of something, and ends pods for it.
    pub eviction: pressure::Options,
    /// How long pods have when the machine goes down.
    pub shutdown: shutdown::Grace,
    /// The program that containerd starts as a container's logger: midge's own. It is found in
    /// `/proc/self/exe` by the command line; tests name their build's.
    pub executable: PathBuf,
    /// How much of each container's output is kept.
    pub log_limits: Limits,
}

impl Config {
    /// `<data>/agent`.
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join("agent")
    }

    /// `<data>/agent/pods`: a folder for each pod's uid.
    pub fn pods_folder(&self) -> PathBuf {
        self.folder().join("pods")
    }

    /// `<data>/storage`: the folders of persistent volumes, which outlive the agent's own.
    pub fn storage_folder(&self) -> PathBuf {
        self.data_dir.join("storage")
    }

    /// `<data>/agent/node-key`, mode 0600.
    pub fn node_key_path(&self) -> PathBuf {
        self.folder().join("node-key")
    }

    /// `<data>/agent/images`: image archives that are imported at start.
    pub fn images_folder(&self) -> PathBuf {
        self.folder().join("images")
    }

    /// `<data>/agent/cni`: cached results of the CNI plugins.
    pub fn cni_folder(&self) -> PathBuf {
        self.folder().join("cni")
    }
}
