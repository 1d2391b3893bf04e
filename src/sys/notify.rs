//! systemd's readiness protocol (sd_notify(3)) and journald detection. All are no-ops elsewhere, and
//! none fails: whether the service manager listens changes nothing for the service.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
    fn compares_device_and_inode() {
        assert!(names_file("8:1234", 8, 1234));
        assert!(!names_file("8:1235", 8, 1234));
        assert!(!names_file("8", 8, 1234));
    }
}
