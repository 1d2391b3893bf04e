//! systemd's readiness protocol (sd_notify(3)) and journald detection. All are no-ops elsewhere, and
//! none fails: whether the service manager listens changes nothing for the service.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service is ready.
pub fn ready() {
    send("READY=1");
}

/// The service is stopping.
pub fn stopping() {
    send("STOPPING=1");
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    send(&format!("STATUS={}", text.replace('\n', " ")));
}

/// How long the service manager lets this process be silent before it kills it (sd_watchdog_enabled(3));
/// None when it does not look.
pub fn watchdog() -> Option<Duration> {
    let variable = |name: &str| std::env::var(name).ok();
    watched(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id())
}

/// The variables are inherited: those that name another process are not for this one.
fn watched(microseconds: Option<&str>, meant: Option<&str>, own: u32) -> Option<Duration> {
    let limit = microseconds?.parse().ok().filter(|limit| *limit > 0).map(Duration::from_micros)?;
    meant.is_none_or(|process| process.parse() == Ok(own)).then_some(limit)
}

/// Tells the service manager, for ever and twice in each `limit`, that the executor runs. Spawn it on the
/// executor that does the work.
///
/// What it covers: that executor's one thread, with all that the process decides, on the pod loop, the
/// links, the scheduler and the API; whatever blocks that thread or spins on it ends the service, and a
/// restart may heal it. What it does not cover, on purpose: the store's writer and the pool's threads,
/// which hang where the disk does, where being killed helps nobody and a slow card would end a healthy
/// service; and containerd, for which every call of the pod loop has a time limit and after which the
/// node is not Ready.
pub async fn watch(limit: Duration) {
    loop {
        send("WATCHDOG=1");
        smol::Timer::after(limit / 2).await;
    }
}

fn send(message: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(hidden) => SocketAddr::from_abstract_name(hidden),
        None => SocketAddr::from_pathname(&name),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        // Ready would rather be lost than block on a full queue.
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}

/// Whether standard error goes to the journal: `JOURNAL_STREAM` is `<device>:<inode>` of its socket
/// (systemd.exec(5)), and stays set in shells that redirect it, hence the comparison.
pub fn stderr_is_journal() -> bool {
    let Ok(value) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(facts) = rustix::fs::fstat(std::io::stderr()) else { return false };
    names_file(&value, facts.st_dev, facts.st_ino)
}

fn names_file(value: &str, device: u64, inode: u64) -> bool {
    let Some((named_device, named_inode)) = value.split_once(':') else { return false };
    named_device.parse() == Ok(device) && named_inode.parse() == Ok(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_is_watched_answers() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watched(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watched(Some("1000000"), None, 7), second);
        assert_eq!(watched(Some("1000000"), Some("8"), 7), None);
        for none in [None, Some("0"), Some(""), Some("-1"), Some("soon")] {
            assert_eq!(watched(none, None, 7), None);
        }
    }

    #[test]
    fn compares_device_and_inode() {
        assert!(names_file("8:1234", 8, 1234));
        assert!(!names_file("8:1235", 8, 1234));
        assert!(!names_file("8", 8, 1234));
    }
}
