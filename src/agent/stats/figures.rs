//! What is read of a node, before it is a document.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use crate::agent::desired;
use crate::api::Object;
use crate::sys::cgroup::Cgroups;
use crate::sys::cgroup::usage::{Memory, Usage};
use crate::sys::host;
use crate::sys::traffic::Interface;
use crate::sys::usage::{self, Used};

/// One reading.
pub struct Figures {
    pub at: Instant,
    pub time: SystemTime,
    pub node: Node,
    /// Those of which something runs.
    pub pods: Vec<Pod>,
    pub storage: Option<Storage>,
}

pub struct Node {
    pub usage: Usage,
    /// Billionths of a processor.
    pub cpu_rate: Option<u64>,
    /// Bytes that new work could take.
    pub available: Option<u64>,
    /// All pods together.
    pub pods: Usage,
}

pub struct Pod {
    pub desired: desired::Pod,
    pub started: Option<SystemTime>,
    pub usage: Usage,
    pub cpu_rate: Option<u64>,
    pub network: Vec<Interface>,
    pub containers: Vec<Container>,
    /// Its emptyDirs.
    pub volumes: Vec<Volume>,
}

pub struct Container {
    pub name: String,
    /// containerd's.
    pub id: String,
    pub started: Option<SystemTime>,
    pub usage: Usage,
    pub cpu_rate: Option<u64>,
    /// What it has written beside its volumes.
    pub rootfs: Option<Used>,
    pub logs: Option<Used>,
}

pub struct Volume {
    pub name: String,
    pub used: Used,
    /// Of memory: it takes no disk.
    pub is_memory: bool,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub capacity: u64,
    pub available: u64,
    pub inodes: Option<(u64, u64)>,
}

pub struct Storage {
    /// That of the pods' folders.
    pub node: Disk,
    pub images: Disk,
}

impl Pod {
    /// What it takes of the node's ephemeral storage.
    pub fn disk(&self) -> Used {
        let mut used = Used::default();
        for container in &self.containers {
            used += container.disk();
        }
        self.volumes.iter().filter(|volume| !volume.is_memory).for_each(|volume| used += volume.used);
        used
    }
}

impl Container {
    /// Its own part of that.
    pub fn disk(&self) -> Used {
        let mut used = self.rootfs.unwrap_or_default();
        used += self.logs.unwrap_or_default();
        used
    }
}

/// The machine, or the container that it is.
pub fn node(cgroups: &Cgroups, cgroup_parent: &str) -> Node {
    let root = cgroups.usage("/");
    // Version 2's root group has no memory of its own, and version 1's leaves out what the kernel takes.
    let memory = match memory_limit(cgroups) {
        Some(_) => root.memory,
        None => host::memory_used().ok().map(|(usage, working_set)| Memory {
            usage,
            working_set,
            ..root.memory.unwrap_or_default()
        }),
    };
    let usage =
        Usage { cpu_nanos: root.cpu_nanos.or_else(host::cpu_nanos), memory, processes: host::threads() };
    Node { usage, cpu_rate: None, available: memory_available(cgroups), pods: cgroups.usage(cgroup_parent) }
}

fn memory_limit(cgroups: &Cgroups) -> Option<u64> {
    let total = host::memory_total().unwrap_or(u64::MAX);
    cgroups.limits().memory.filter(|limit| *limit < total)
}

/// Bytes in all: the machine's, or those of the container that it is.
pub fn memory_total(cgroups: &Cgroups) -> Option<u64> {
    memory_limit(cgroups).or_else(|| host::memory_total().ok())
}

/// Bytes that new work could take. The kernel's own estimate counts the active page cache as the kernel would give
/// it up: on a small board most of the cache is active, and nothing lacks.
pub fn memory_available(cgroups: &Cgroups) -> Option<u64> {
    match memory_limit(cgroups) {
        Some(limit) => Some(limit.saturating_sub(cgroups.usage("/").memory?.working_set)),
        None => host::memory_available().ok(),
    }
}

pub fn disk(path: &Path) -> Option<Disk> {
    let disk = host::disk(path).ok()?;
    Some(Disk { capacity: disk.total, available: disk.available, inodes: host::inodes(path) })
}

/// The pod's emptyDirs with what is in them.
pub async fn volumes(pod: &Object, folder: PathBuf) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for volume in pod.array_at("/spec/volumes") {
        let (Some(name), Some(empty)) = (volume["name"].as_str(), volume.get("emptyDir")) else { continue };
        let path = folder.join(name);
        let used = smol::unblock(move || usage::measure(&path, u64::MAX).unwrap_or_default()).await;
        let is_memory = empty["medium"] == "Memory";
        volumes.push(Volume { name: name.to_owned(), used, is_memory });
    }
    volumes
}
