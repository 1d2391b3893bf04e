//! What the node says of itself: the Node object.

use crate::agent::config::Taint;
use serde_json::Value as Object; // crate::api::Object once it is there
use crate::sys::cgroup::Cgroups;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

/// What the description needs beside what the machine says.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    pub name: String,
    /// `--node-ip`; None: the address of the default route, else none.
    pub node_ip: Option<IpAddr>,
    /// `key`, `value`.
    pub labels: Vec<(String, String)>,
    /// Taints that it registers with.
    pub taints: Vec<Taint>,
    /// `containerd`'s version, for instance `1.6.20`; "" when unknown.
    pub containerd_version: String,
    /// Its file system is the node's ephemeral storage.
    pub data_dir: PathBuf,
    /// 110 in Kubernetes.
    pub max_pods: u32,
    pub cgroups: Cgroups,
    /// Why pods can't run just now (no containerd, no network); None: Ready.
    pub not_ready: Option<String>,
    pub now: SystemTime,
}

/// The Node object with labels, taints and status. Conditions carry `now` as their heartbeat and as
/// their transition; whoever stores them keeps the transition of an unchanged one. Reads /proc and
/// blocks for well under a millisecond.
pub fn describe(options: &NodeOptions) -> Object {
    let _ = options;
    todo!()
}
