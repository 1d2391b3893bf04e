//! What this machine gives to containers.

use super::config::Config;
use super::node;
use super::spec::Machine;
use crate::sys::cgroup::{self, Cgroups};
use crate::sys::host;

/// What the specifications of containers depend on.
pub fn machine(cgroups: &Cgroups, config: &Config) -> Machine {
    let capabilities = host::capabilities();
    Machine {
        cgroup_v2: cgroups.version == cgroup::Version::V2,
        memory_advice: cgroups.memory_advice(),
        has_cpu_quota: cgroups.has_cpu_quota(),
        huge_pages: cgroups.huge_pages(),
        memory: host::memory_total().unwrap_or(0),
        allocatable: node::allocatable(node::measure(cgroups, &config.data_dir)),
        oom_floor: oom_floor(capabilities),
        capabilities,
        apparmor_profiles: host::has_apparmor().then(|| "/sys/kernel/security/apparmor/profiles".into()),
        seccomp_folder: config.folder().join("seccomp"),
    }
}

/// Without CAP_SYS_RESOURCE no process may be protected more than this one is (proc_pid_oom_score_adj(5)).
fn oom_floor(capabilities: u64) -> i64 {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    if capabilities & CAP_SYS_RESOURCE != 0 {
        return -1000;
    }
    let floor = host::oom_score_adjustment();
    log::warn!("no CAP_SYS_RESOURCE: containers get an OOM score adjustment of {floor} at least");
    floor
}
