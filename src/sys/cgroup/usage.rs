//! What a control group has used: cpuacct, memory and pids of version 1, `cpu.stat`, `memory.*` and `pids.current`
//! of version 2 (the kernel's cgroup-v1 and cgroup-v2 documents).

use std::fs;

use super::{Cgroups, Hierarchy, group};

/// Of a group and all below it. None: the controller is missing, or the group is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the group was made, in nanoseconds.
    pub cpu_nanos: Option<u64>,
    pub memory: Option<Memory>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

/// Bytes, but for the faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// With the page cache.
    pub usage: u64,
    /// Without the part of the page cache that the kernel gives up first: what Kubernetes judges by.
    pub working_set: u64,
    pub rss: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub limit: Option<u64>,
}

/// Version 1 says "no limit" with the greatest multiple of a page.
const NO_LIMIT: u64 = 1 << 60;

impl Cgroups {
    /// What the group `path` has used so far. Reads at most six small files.
    pub fn usage(&self, path: &str) -> Usage {
        // Version 2 counts processor time in every group, with its controller or without.
        let unified = || self.hierarchies.iter().find(|hierarchy| hierarchy.unified);
        let cpu = self.with("cpuacct").or_else(unified);
        Usage {
            cpu_nanos: cpu.and_then(|hierarchy| cpu_nanos(hierarchy, path)),
            memory: self.with("memory").and_then(|hierarchy| memory(hierarchy, path)),
            processes: self.with("pids").and_then(|hierarchy| number(hierarchy, path, "pids.current")),
        }
    }
}

fn text(hierarchy: &Hierarchy, path: &str, file: &str) -> Option<String> {
    fs::read_to_string(group(hierarchy, path).join(file)).ok()
}

fn number(hierarchy: &Hierarchy, path: &str, file: &str) -> Option<u64> {
    text(hierarchy, path, file)?.trim().parse().ok()
}

fn cpu_nanos(hierarchy: &Hierarchy, path: &str) -> Option<u64> {
    match hierarchy.unified {
        true => field(&text(hierarchy, path, "cpu.stat")?, "usage_usec")?.checked_mul(1000),
        false => number(hierarchy, path, "cpuacct.usage"),
    }
}

fn memory(hierarchy: &Hierarchy, path: &str) -> Option<Memory> {
    let files = match hierarchy.unified {
        true => ["memory.current", "memory.max"],
        false => ["memory.usage_in_bytes", "memory.limit_in_bytes"],
    };
    let usage = number(hierarchy, path, files[0])?;
    let limit = number(hierarchy, path, files[1]).filter(|bytes| *bytes < NO_LIMIT);
    Some(Memory { limit, ..measure(usage, &text(hierarchy, path, "memory.stat")?, hierarchy.unified) })
}

fn measure(usage: u64, stat: &str, unified: bool) -> Memory {
    let names = match unified {
        true => ["inactive_file", "anon", "pgfault", "pgmajfault"],
        false => ["total_inactive_file", "total_rss", "total_pgfault", "total_pgmajfault"],
    };
    let [inactive, rss, page_faults, major_page_faults] = names.map(|name| field(stat, name).unwrap_or(0));
    let working_set = usage.saturating_sub(inactive);
    Memory { usage, working_set, rss, page_faults, major_page_faults, limit: None }
}

/// A line `<name> <number>`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cgroup::Version;
    use std::path::Path;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    fn hierarchy(root: &Path, controllers: &[&str], unified: bool) -> Hierarchy {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        Hierarchy { root: root.into(), controllers, unified }
    }

    #[test]
    fn both_versions_say_the_same() {
        let root = std::env::temp_dir().join(format!("midge-cgroup-usage-{}", std::process::id()));
        write(
            &root.join("memory/midge/pod1"),
            &[
                ("memory.usage_in_bytes", "5000\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                (
                    "memory.stat",
                    "inactive_file 1\ntotal_inactive_file 1000\ntotal_rss 700\ntotal_pgfault 9\ntotal_pgmajfault 2\n",
                ),
            ],
        );
        write(&root.join("cpuacct/midge/pod1"), &[("cpuacct.usage", "12000\n")]);
        write(&root.join("pids/midge/pod1"), &[("pids.current", "3\n")]);
        write(
            &root.join("unified/midge/pod1"),
            &[
                ("cpu.stat", "usage_usec 12\nuser_usec 5\n"),
                ("memory.current", "5000\n"),
                ("memory.max", "max\n"),
                ("memory.stat", "anon 700\nfile 4000\ninactive_file 1000\npgfault 9\npgmajfault 2\n"),
                ("pids.current", "3\n"),
            ],
        );
        let v1 = ["memory", "cpuacct", "pids"].map(|name| hierarchy(&root.join(name), &[name], false));
        let v1 = Cgroups { version: Version::V1, hierarchies: v1.to_vec() };
        let v2 = hierarchy(&root.join("unified"), &["cpu", "memory", "pids"], true);
        let v2 = Cgroups { version: Version::V2, hierarchies: vec![v2] };
        let expected = Usage {
            cpu_nanos: Some(12_000),
            memory: Some(Memory {
                usage: 5000,
                working_set: 4000,
                rss: 700,
                page_faults: 9,
                major_page_faults: 2,
                limit: None,
            }),
            processes: Some(3),
        };
        assert_eq!(v1.usage("/midge/pod1"), expected);
        assert_eq!(v2.usage("/midge/pod1"), expected);
        assert_eq!(v2.usage("/midge/gone"), Usage::default());
        // Without the controllers processor time is still counted.
        let bare =
            Cgroups { version: Version::V2, hierarchies: vec![hierarchy(&root.join("unified"), &[], true)] };
        assert_eq!(bare.usage("/midge/pod1"), Usage { cpu_nanos: Some(12_000), ..Usage::default() });
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn more_cache_than_use_is_no_working_set() {
        assert_eq!(measure(10, "inactive_file 20\n", true).working_set, 0);
    }
}
