//! Facts about the machine. A fact that can't be read is empty, so that a strange board still joins.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    /// What an unprivileged process may still write.
    pub available: u64,
}

/// 2026-01-01T00:00:00Z: no midge is older.
const OLDEST_SANE: Duration = Duration::from_secs(1_767_225_600);

/// The kernel's release, for instance `6.1.0-13-arm64`.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Major and minor number of [`kernel_release`].
pub fn kernel_version() -> Option<(u32, u32)> {
    parse_version(&kernel_release())
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// `PRETTY_NAME` of os-release (os-release(5)), or `Linux`.
pub fn os_name() -> String {
    let text =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok());
    text.as_deref().and_then(pretty_name).unwrap_or_else(|| "Linux".into())
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?.trim();
    let value = value.trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.replace('\\', ""))
}

/// `/etc/machine-id` (or D-Bus's), or "" where there is none.
pub fn machine_id() -> String {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .map(|path| first_line(path))
        .find(|id| !id.is_empty())
        .unwrap_or_default()
}

/// The kernel's id of this boot.
pub fn boot_id() -> String {
    first_line("/proc/sys/kernel/random/boot_id")
}

/// The host name, lower-case.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

/// The kernel's bits of the capabilities that this process has in effect (proc_pid_status(5)).
pub fn capabilities() -> u64 {
    effective(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn effective(status: &str) -> u64 {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// This process's (proc_pid_oom_score_adj(5)).
pub fn oom_score_adjustment() -> i64 {
    first_line("/proc/self/oom_score_adj").trim().parse().unwrap_or(0)
}

/// AppArmor is built in and on.
pub fn has_apparmor() -> bool {
    first_line("/sys/module/apparmor/parameters/enabled").starts_with('Y')
}

/// Huge pages of one size that the kernel has set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Bytes.
    pub size: u64,
    pub count: u64,
}

/// Of all sizes that the kernel knows, the smallest first.
pub fn huge_pages() -> Vec<HugePages> {
    let folders = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let pages = folders.filter_map(|folder| {
        let name = folder.file_name();
        let kib: u64 = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = fs::read_to_string(folder.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
        Some(HugePages { size: kib.saturating_mul(1024), count })
    });
    let mut pages: Vec<HugePages> = pages.collect();
    pages.sort_unstable_by_key(|pages| pages.size);
    pages
}

/// Bytes of memory.
pub fn memory_total() -> io::Result<u64> {
    memory("MemTotal:")
}

/// Bytes of memory that new work could take (`MemAvailable`).
pub fn memory_available() -> io::Result<u64> {
    memory("MemAvailable:")
}

/// Bytes in use, the page cache included, and those of them that Kubernetes calls the working set: all but the
/// inactive part of the cache.
pub fn memory_used() -> io::Result<(u64, u64)> {
    let used = memory("MemTotal:")?.saturating_sub(memory("MemFree:")?);
    Ok((used, used.saturating_sub(memory("Inactive(file):")?)))
}

fn memory(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// When the machine was started, to the second.
pub fn boot_time() -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Time that the processors have worked since the start, in nanoseconds.
pub fn cpu_nanos() -> Option<u64> {
    // user nice system idle iowait irq softirq steal, in hundredths of a second: proc_stat(5).
    const TICK: u64 = 10_000_000;
    let text = fs::read_to_string("/proc/stat").ok()?;
    let numbers = text.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace();
    let numbers = numbers.map_while(|word| word.parse::<u64>().ok()).enumerate().take(8);
    let busy: u64 = numbers.filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks).sum();
    busy.checked_mul(TICK)
}

/// Processors that may be used.
pub fn cpus() -> usize {
    // Read without glibc or std: std's answer also takes cgroup quotas in, which are Limits' part.
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let count = text.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    count.max(1)
}

/// The processor architecture in Kubernetes' words: `amd64`, `arm64`, `arm`, `riscv64` …
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        same => same,
    }
}

/// The file system that holds `path`.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(Disk {
        total: facts.f_blocks.saturating_mul(facts.f_frsize),
        available: facts.f_bavail.saturating_mul(facts.f_frsize),
    })
}

/// Inodes in all and left over on the file system that holds `path`; None where it has no such count.
pub fn inodes(path: &Path) -> Option<(u64, u64)> {
    let facts = rustix::fs::statvfs(path).ok()?;
    (facts.f_files > 0).then_some((facts.f_files, facts.f_favail))
}

/// The address that packets to the outside leave from; None without a default route.
pub fn default_address() -> Option<IpAddr> {
    // Connecting a datagram socket only looks up the route: nothing is sent. The targets are of the
    // documentation ranges (RFC 5737, RFC 3849), which only a default route leads to.
    let v4 = source_address((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into());
    v4.or_else(|| {
        let target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        source_address((Ipv6Addr::UNSPECIFIED, 0).into(), (target, 9).into())
    })
}

fn source_address(any: SocketAddr, target: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

/// Whether the kernel knows the file system `name`, loaded or as a module.
pub fn has_file_system(name: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().next_back() == Some(name)) || has_module(name)
}

/// Whether the running kernel has the module `name`, built in, loaded, or to be loaded on demand.
pub fn has_module(name: &str) -> bool {
    if Path::new("/sys/module").join(name).exists() {
        return true;
    }
    let folder = Path::new("/lib/modules").join(kernel_release());
    ["modules.builtin", "modules.dep"].iter().any(|list| {
        let text = fs::read_to_string(folder.join(list)).unwrap_or_default();
        text.lines().any(|line| module_name(line) == Some(name))
    })
}

/// `kernel/fs/overlayfs/overlay.ko.xz: …` → `overlay`
fn module_name(line: &str) -> Option<&str> {
    let file = line.split(':').next()?.rsplit('/').next()?;
    Some(file.split_once(".ko")?.0)
}

/// Whether the kernel forwards IPv4 packets.
pub fn ip_forward() -> bool {
    first_line("/proc/sys/net/ipv4/ip_forward") == "1"
}

/// Where the program `name` is: on `PATH`, and where it lacks them in the folders for administrators'
/// programs (`su` without `-` leaves them out). midge's own network needs `iptables`.
pub fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&program_path()).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// `PATH` for programs that are run, with the folders that it may lack.
pub fn program_path() -> OsString {
    let mut path =
        std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/bin:/bin".into());
    path.push(":/usr/sbin:/sbin");
    path
}

/// Highest process id plus one: the number of processes and threads the machine takes.
pub fn pid_max() -> Option<u64> {
    first_line("/proc/sys/kernel/pid_max").parse().ok()
}

/// Processes and threads there are now.
pub fn threads() -> Option<u64> {
    // The fourth field is `<runnable>/<all>`: proc_loadavg(5).
    first_line("/proc/loadavg").split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// Whether `now` can be right: not before this midge was made. A board without a battery-backed
/// clock wakes up in 1970, or at its last shutdown.
pub fn clock_is_sane(now: SystemTime) -> bool {
    now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|age| age >= OLDEST_SANE)
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_and_names() {
        assert_eq!(parse_version("6.1.0-13-arm64"), Some((6, 1)));
        assert_eq!(parse_version("5.10+rpt"), Some((5, 10)));
        assert_eq!(parse_version("strange"), None);
        let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(text).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\n"), None);
        assert_eq!(module_name("kernel/fs/overlayfs/overlay.ko.xz: kernel/a.ko"), Some("overlay"));
    }

    #[test]
    fn this_machine_has_memory_processors_and_a_disk() {
        assert!(memory_total().unwrap() >= memory_available().unwrap());
        assert!(cpus() >= 1);
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.total >= disk.available && disk.total > 0);
        assert_eq!(boot_id().len(), 36);
        assert!(threads().unwrap() > 0);
        assert!(!clock_is_sane(SystemTime::UNIX_EPOCH));
    }
}
