//! What a control group may take, and its share when others want the same.

use super::{Cgroups, Error, Hierarchy, Version, folders_in, group, inherit_cpuset, parts};
use crate::sys::host;
use std::fs;
use std::io;
use std::path::Path;

/// Of one group, with all below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Version 1's measure, 2 to 262144; 1024 is one processor's worth.
    pub cpu_shares: u64,
    /// Microseconds of every tenth of a second. None: no limit.
    pub cpu_quota: Option<u64>,
    /// Bytes. None: no limit.
    pub memory: Option<u64>,
    /// Bytes by size (`2MB`).
    pub huge_pages: Vec<(String, u64)>,
}

const CPU_PERIOD: u64 = 100_000;
pub const MIN_CPU_SHARES: u64 = 2;
const MAX_CPU_SHARES: u64 = 262_144;

impl Cgroups {
    /// Sets what the machine has controllers for. The rest is left out: who wants a limit is told elsewhere.
    pub fn set(&self, path: &str, settings: &Settings) -> Result<(), Error> {
        self.set_shares(path, settings.cpu_shares)?;
        if let Some(cpu) = self.with("cpu") {
            match (settings.cpu_quota, cpu.unified) {
                (None, true) => write(cpu, path, "cpu.max", format!("max {CPU_PERIOD}"))?,
                (Some(quota), true) => write(cpu, path, "cpu.max", format!("{quota} {CPU_PERIOD}"))?,
                (None, false) => write(cpu, path, "cpu.cfs_quota_us", "-1".into())?,
                (Some(quota), false) => {
                    write(cpu, path, "cpu.cfs_period_us", CPU_PERIOD.to_string())?;
                    write(cpu, path, "cpu.cfs_quota_us", quota.to_string())?;
                }
            }
        }
        if let Some(memory) = self.with("memory") {
            let (name, none) =
                if memory.unified { ("memory.max", "max") } else { ("memory.limit_in_bytes", "-1") };
            let limit = settings.memory.map_or(none.to_owned(), |bytes| bytes.to_string());
            write(memory, path, name, limit)?;
        }
        if let Some(pages) = self.with("hugetlb") {
            let name = if pages.unified { "max" } else { "limit_in_bytes" };
            for (size, bytes) in &settings.huge_pages {
                write(pages, path, &format!("hugetlb.{size}.{name}"), bytes.to_string())?;
            }
        }
        Ok(())
    }

    pub fn set_shares(&self, path: &str, shares: u64) -> Result<(), Error> {
        let Some(cpu) = self.with("cpu") else { return Ok(()) };
        let shares = shares.clamp(MIN_CPU_SHARES, MAX_CPU_SHARES);
        match cpu.unified {
            true => write(cpu, path, "cpu.weight", weight(shares).to_string()),
            false => write(cpu, path, "cpu.shares", shares.to_string()),
        }
    }

    /// Lets `path` have no more processes and threads than these.
    pub fn set_max_pids(&self, path: &str, most: u64) -> Result<(), Error> {
        let Some(pids) = self.with("pids") else { return Ok(()) };
        write(pids, path, "pids.max", most.to_string())
    }

    /// Gives `path` the sum of the shares of the groups in it.
    pub fn sum_shares(&self, path: &str) -> Result<(), Error> {
        let Some(cpu) = self.with("cpu") else { return Ok(()) };
        let file = if cpu.unified { "cpu.weight" } else { "cpu.shares" };
        let of = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        let folders = folders_in(&group(cpu, path))?;
        let all = folders.iter().filter_map(|folder| of(folder));
        let sum = all.map(|share| if cpu.unified { shares(share) } else { share }).sum();
        self.set_shares(path, sum)
    }

    /// Whether the kernel can hold a group to a part of the processors (CONFIG_CFS_BANDWIDTH). Version 2 shows
    /// it in no group that is there from the start; where it is that new, it is there.
    pub fn has_cpu_quota(&self) -> bool {
        self.with("cpu").is_some_and(|cpu| cpu.unified || cpu.root.join("cpu.cfs_quota_us").exists())
    }

    /// The sizes of huge pages that can be limited: `2MB`. runc limits them in version 2's hierarchy only when
    /// there is no other.
    pub fn huge_pages(&self) -> Vec<String> {
        let is_v2 = self.version == Version::V2;
        if self.with("hugetlb").is_none_or(|hierarchy| hierarchy.unified != is_v2) {
            return Vec::new();
        }
        host::huge_pages().iter().map(|pages| page_size(pages.size)).collect()
    }

    /// Puts a process into `path`, which is made where its parent is; nothing can be put below it.
    pub fn put(&self, path: &str, process: u32) -> Result<(), Error> {
        for hierarchy in self.hierarchies.iter().filter(|h| !h.controllers.is_empty()) {
            let group = group(hierarchy, path);
            match fs::create_dir(&group) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Create { path: group, source }),
            }
            if hierarchy.controllers.iter().any(|controller| controller == "cpuset") && !hierarchy.unified {
                inherit_cpuset(group.parent().unwrap_or(&group), &group)?;
            }
            write(hierarchy, path, "cgroup.procs", process.to_string())?;
        }
        Ok(())
    }

    /// Removes `path` if no group is left in it.
    pub fn remove_empty(&self, path: &str) {
        if parts(path).next().is_none() {
            return;
        }
        for hierarchy in &self.hierarchies {
            // EBUSY: there is one, or a process. It is tried again with the next one that goes.
            let _ = fs::remove_dir(group(hierarchy, path));
        }
    }
}

/// As the kernel's files of hugetlb name it: `2MB`, `64KB`, `1GB`.
pub fn page_size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
        bytes => format!("{}KB", bytes >> 10),
    }
}

/// Version 2's measure, 1 to 10000, as runc and the kubelet convert it.
fn weight(shares: u64) -> u64 {
    1 + (shares.saturating_sub(2) * 9999) / 262_142
}

fn shares(weight: u64) -> u64 {
    2 + ((weight.clamp(1, 10_000) - 1) * 262_142).div_ceil(9999)
}

fn write(hierarchy: &Hierarchy, path: &str, name: &str, value: String) -> Result<(), Error> {
    let path = group(hierarchy, path).join(name);
    match fs::write(&path, value) {
        // The kernel is built without, or the controller is kept from this part of the tree.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // cgroupfs refuses to create a file before it looks whether there is one.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !path.exists() => Ok(()),
        other => other.map_err(|source| Error::Set { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_measures() {
        for (of, expected) in [(2, 1), (1024, 39), (262_144, 10_000)] {
            assert_eq!(weight(of), expected);
        }
        for of in [1, 39, 10_000] {
            assert_eq!(weight(shares(of)), of);
        }
        assert_eq!([64 << 10, 2 << 20, 1 << 30].map(page_size), ["64KB", "2MB", "1GB"]);
    }
}
