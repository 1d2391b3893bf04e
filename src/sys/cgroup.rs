//! Control groups, versions 1 and 2 (cgroups(7)).

mod advice;
mod settings;
pub mod usage;

pub use settings::{MIN_CPU_SHARES, Settings, page_size};

use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which hierarchies the machine has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
    /// Controllers on version 1, with an empty version 2 hierarchy beside them.
    Hybrid,
}

/// The control groups of this machine, as found by [`detect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    pub version: Version,
    hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    /// For version 2, and for systemd's own hierarchy, none of version 1's.
    controllers: Vec<String>,
    unified: bool,
}

/// Limits that hold for everything in the hierarchy (this machine is itself a container).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
}

#[derive(Debug)]
pub enum Error {
    NotMounted,
    Read {
        path: PathBuf,
        source: io::Error,
    },
    Create {
        path: PathBuf,
        source: io::Error,
    },
    Set {
        path: PathBuf,
        source: io::Error,
    },
    Remove {
        path: PathBuf,
        source: io::Error,
    },
    /// Still in use after every retry.
    Busy {
        path: PathBuf,
        processes: Vec<u32>,
    },
}

/// What is passed down to pods' groups on version 2, where the kernel has it.
const DELEGATED: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// The kernel lets go of a group some time after its last process is gone: 1, 2, 4 … 256 ms, half a
/// second in all.
const REMOVE_ATTEMPTS: u32 = 10;

/// Reads what is mounted.
pub fn detect() -> Result<Cgroups, Error> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for mut hierarchy in text.lines().filter_map(parse_mount) {
        if hierarchy.unified {
            let path = hierarchy.root.join("cgroup.controllers");
            let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
            hierarchy.controllers = text.split_whitespace().map(str::to_string).collect();
        }
        // A hierarchy can be mounted twice, and below pods' root folders; the first is the host's.
        let known = hierarchies.iter().any(|other| {
            other.unified == hierarchy.unified
                && other.controllers == hierarchy.controllers
                && (hierarchy.unified || !other.controllers.is_empty())
        });
        if !known {
            hierarchies.push(hierarchy);
        }
    }
    let unified = hierarchies.iter().any(|h| h.unified);
    let split = hierarchies.iter().any(|h| !h.unified && !h.controllers.is_empty());
    let version = match (split, unified) {
        (true, true) => Version::Hybrid,
        (true, false) => Version::V1,
        (false, true) => Version::V2,
        (false, false) => return Err(Error::NotMounted),
    };
    Ok(Cgroups { version, hierarchies })
}

/// One line of proc_pid_mountinfo(5); None when it is no control group hierarchy.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (before, after) = line.split_once(" - ")?;
    let root = PathBuf::from(before.split(' ').nth(4)?);
    let mut after = after.split(' ');
    let unified = match after.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let options = after.nth(1)?.split(',');
    let controllers =
        options.filter(|o| !unified && !matches!(*o, "rw" | "ro" | "xattr" | "clone_children" | "none"));
    // Named hierarchies (`name=systemd`) have no controllers and are not ours to put groups into, but
    // runc does.
    let controllers = controllers.filter(|o| !o.contains('=')).map(str::to_string).collect();
    Some(Hierarchy { root, controllers, unified })
}

impl Cgroups {
    /// Those of a machine without any: nothing can be made, and nothing is there to be removed.
    pub fn none() -> Cgroups {
        Cgroups { version: Version::V2, hierarchies: Vec::new() }
    }

    /// Whether `controller` ("memory", "cpu", "pids" …) can be used for pods.
    pub fn has(&self, controller: &str) -> bool {
        self.with(controller).is_some()
    }

    fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// What the hierarchy's visible root is limited to. On a machine that is no container the root
    /// has no such files, or says "no limit".
    pub fn limits(&self) -> Limits {
        let read = |controller: &str, v2: &str, v1: &str| {
            let hierarchy = self.with(controller)?;
            let text =
                fs::read_to_string(hierarchy.root.join(if hierarchy.unified { v2 } else { v1 })).ok()?;
            Some(text.trim().to_string())
        };
        let memory = read("memory", "memory.max", "memory.limit_in_bytes").and_then(|t| t.parse().ok());
        let quota = read("cpu", "cpu.max", "cpu.cfs_quota_us");
        let period = read("cpu", "cpu.max", "cpu.cfs_period_us");
        Limits {
            // Version 1 says "none" with the greatest multiple of a page.
            memory: memory.filter(|bytes: &u64| *bytes < 1 << 60),
            cpu_millis: quota.zip(period).and_then(|(quota, period)| cpu_millis(&quota, &period)),
        }
    }

    /// Creates the group `path` ("/midge/pod<uid>") in every hierarchy with controllers; fine if it is
    /// there.
    pub fn create(&self, path: &str) -> Result<(), Error> {
        for hierarchy in self.hierarchies.iter().filter(|h| !h.controllers.is_empty()) {
            let mut group = hierarchy.root.clone();
            for part in parts(path) {
                if hierarchy.unified {
                    delegate(&group, &hierarchy.controllers);
                }
                let parent = group.clone();
                group.push(part);
                match fs::create_dir(&group) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(source) => return Err(Error::Create { path: group, source }),
                }
                if hierarchy.controllers.iter().any(|c| c == "cpuset") && !hierarchy.unified {
                    inherit_cpuset(&parent, &group)?;
                }
            }
            if hierarchy.unified {
                delegate(&group, &hierarchy.controllers);
            }
        }
        Ok(())
    }

    /// Removes the group `path` and all groups below it from every hierarchy. Blocks up to about a
    /// second while the kernel lets go of dead processes. Fine if it is gone.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        // All hierarchies are tried, the first failure is told: the others fail for the same process.
        let mut outcome = Ok(());
        for hierarchy in &self.hierarchies {
            let removed = remove_tree(&group(hierarchy, path));
            outcome = outcome.and(removed);
        }
        outcome
    }

    /// Whether any hierarchy has the group `path`.
    pub fn exists(&self, path: &str) -> bool {
        self.hierarchies.iter().any(|hierarchy| group(hierarchy, path).is_dir())
    }

    /// The processes in `path` and below, sorted.
    pub fn processes(&self, path: &str) -> Result<Vec<u32>, Error> {
        let mut found = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            for folder in tree(&group(hierarchy, path))? {
                found.extend(read_processes(&folder)?);
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Sends a signal to processes in `path` and below: SIGKILL to all of them, or SIGTERM to those that
    /// were started by none of the others, as a container runtime does. Returns how many there are.
    pub fn signal(&self, path: &str, kill: bool) -> Result<usize, Error> {
        // The hierarchy's root holds all processes of the machine.
        if parts(path).next().is_none() {
            return Ok(0);
        }
        let processes = self.processes(path)?;
        let signal = if kill { Signal::KILL } else { Signal::TERM };
        for process in &processes {
            let is_inner = || parent(*process).is_some_and(|parent| processes.contains(&parent));
            if kill || !is_inner() {
                let id = i32::try_from(*process).ok().and_then(Pid::from_raw);
                // It may have ended meanwhile; who is left is seen the next time.
                let _ = id.map(|id| rustix::process::kill_process(id, signal));
            }
        }
        Ok(processes.len())
    }

    /// The names of the groups directly below `path`, over all hierarchies, sorted.
    pub fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let mut found = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            let folders = folders_in(&group(hierarchy, path))?;
            found.extend(folders.iter().filter_map(|f| Some(f.file_name()?.to_str()?.to_string())));
        }
        Ok(found.into_iter().collect())
    }
}

/// Version 2 has `<quota or max> <period>` in one file, version 1 a file for each, -1 for none.
fn cpu_millis(quota: &str, period: &str) -> Option<u64> {
    let quota: u64 = quota.split(' ').next()?.parse().ok()?;
    let period: u64 = period.split(' ').next_back()?.parse().ok()?;
    quota.checked_mul(1000)?.checked_div(period)
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    // "." and ".." would lead out of the hierarchy.
    path.split('/').filter(|part| !matches!(*part, "" | "." | ".."))
}

fn group(hierarchy: &Hierarchy, path: &str) -> PathBuf {
    let mut group = hierarchy.root.clone();
    group.extend(parts(path));
    group
}

/// Lets the children of `group` have controllers. One at a time, since one that is refused (a process
/// sits in `group`, real-time threads hold cpu) must not keep the others away; runc tells what lacks.
fn delegate(group: &Path, available: &[String]) {
    for controller in DELEGATED.iter().filter(|c| available.iter().any(|a| a == *c)) {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A new version 1 cpuset is empty, and takes no process until it has processors and memory nodes.
fn inherit_cpuset(parent: &Path, group: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
            Ok(text.trim().to_string())
        };
        if read(group.join(file))?.is_empty() {
            let path = group.join(file);
            fs::write(&path, read(parent.join(file))?).map_err(|source| Error::Create { path, source })?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    let mut attempt = 0;
    loop {
        // Innermost first: only leaves can be removed. Read anew each time, since a container
        // runtime may be at work below.
        let failed = tree(path)?.into_iter().rev().find_map(|folder| match fs::remove_dir(&folder) {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some((folder, error)),
        });
        let Some((folder, source)) = failed else { return Ok(()) };
        if source.kind() != io::ErrorKind::ResourceBusy {
            return Err(Error::Remove { path: folder, source });
        }
        if attempt == REMOVE_ATTEMPTS {
            let processes = read_processes(&folder).unwrap_or_default();
            return Err(Error::Busy { path: folder, processes });
        }
        std::thread::sleep(Duration::from_millis(1 << attempt.min(8)));
        attempt += 1;
    }
}

/// `path` and every folder below it, outer ones first. Empty when it is not there.
fn tree(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = vec![path.to_path_buf()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let inner = folders_in(folder)?;
        found.extend(inner);
        next += 1;
    }
    Ok(found)
}

fn folders_in(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn read_processes(group: &Path) -> Result<Vec<u32>, Error> {
    let path = group.join("cgroup.procs");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect()),
        // ENODEV: removed while it was read. EOPNOTSUPP: a threaded group, whose parent lists it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if matches!(error.raw_os_error(), Some(19 | 95)) => Ok(Vec::new()),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// The fourth field of proc_pid_stat(5); the second, in brackets, may hold anything.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotMounted => write!(
                f,
                "no control group hierarchy is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup`, or \
                 install Debian's cgroupfs-mount on a system without systemd"
            ),
            Error::Read { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::Create { path, .. } => {
                write!(f, "failed to create the control group `{}`", path.display())
            }
            Error::Set { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Error::Remove { path, .. } => {
                write!(f, "failed to remove the control group `{}`", path.display())
            }
            Error::Busy { path, processes } => {
                write!(
                    f,
                    "the control group `{}` is still in use, by processes {processes:?}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::NotMounted | Error::Busy { .. } => None,
            Error::Read { source, .. }
            | Error::Create { source, .. }
            | Error::Set { source, .. }
            | Error::Remove { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
