//! Facts about the machine.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

/// Bytes of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    /// What an unprivileged process may still write.
    pub available: u64,
}

/// The kernel's release, for instance `6.1.0-13-arm64`.
pub fn kernel_release() -> String {
    todo!()
}

/// Major and minor number of [`kernel_release`].
pub fn kernel_version() -> Option<(u32, u32)> {
    todo!()
}

/// `PRETTY_NAME` of os-release, or `Linux`.
pub fn os_name() -> String {
    todo!()
}

/// `/etc/machine-id`, or "" where there is none.
pub fn machine_id() -> String {
    todo!()
}

/// The kernel's id of this boot.
pub fn boot_id() -> String {
    todo!()
}

/// The host name, lower-case.
pub fn hostname() -> String {
    todo!()
}

/// Bytes of memory.
pub fn memory_total() -> io::Result<u64> {
    todo!()
}

/// Bytes of memory that new work could take (`MemAvailable`).
pub fn memory_available() -> io::Result<u64> {
    todo!()
}

/// Processors that may be used.
pub fn cpus() -> usize {
    todo!()
}

/// The processor architecture in Kubernetes' words: `amd64`, `arm64`, `arm`, `riscv64` …
pub fn architecture() -> &'static str {
    todo!()
}

pub fn disk(path: &Path) -> io::Result<Disk> {
    let _ = path;
    todo!()
}

/// The address that packets to the outside leave from; None without a default route.
pub fn default_address() -> Option<IpAddr> {
    todo!()
}

/// Whether the kernel knows the file system `name`, loaded or as a module.
pub fn has_file_system(name: &str) -> bool {
    let _ = name;
    todo!()
}

/// Whether bridged packets pass iptables; None when `br_netfilter` is not loaded.
pub fn bridge_netfilter() -> Option<bool> {
    todo!()
}

/// Whether the kernel forwards IPv4 packets.
pub fn ip_forward() -> bool {
    todo!()
}

/// Whether `now` can be right: not before this midge was made.
pub fn clock_is_sane(now: SystemTime) -> bool {
    let _ = now;
    todo!()
}
