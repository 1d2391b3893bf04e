//! Descriptors and signal dispositions that a parent process chose for this one.

use std::fs::File;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over descriptors 3 to 5, as containerd's shim passes them to a log program: the container's
/// stdout, its stderr, and a pipe whose closing says "ready". Call it before the process opens anything.
/// None if one of them is not a pipe, or when called again.
#[allow(unsafe_code)]
pub fn log_pipes() -> Option<[File; 3]> {
    const FIRST: RawFd = 3;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    let is_pipe = |fd: RawFd| {
        // SAFETY: the borrow ends with this call; fstat(2) on a descriptor that is not open fails.
        let facts = rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(fd) });
        facts.is_ok_and(|facts| rustix::fs::FileType::from_raw_mode(facts.st_mode).is_fifo())
    };
    if !(FIRST..FIRST + 3).all(is_pipe) {
        return None;
    }
    // SAFETY: they are open, inherited, and TAKEN lets this happen once in the process, at whose start
    // nothing else owns them.
    Some([FIRST, FIRST + 1, FIRST + 2].map(|fd| unsafe { File::from_raw_fd(fd) }))
}

/// Ignores SIGTERM and SIGHUP from now on: containerd's shim sends SIGTERM to a log program as soon as
/// the container is deleted, when its pipes may still hold lines.
#[allow(unsafe_code)]
pub fn ignore_termination() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        // SAFETY: SIG_IGN is no handler, so no code of ours runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Has the kernel forget processes that end, of this one and of those it adopts, from now on.
#[allow(unsafe_code)]
pub fn ignore_children() {
    // SAFETY: SIG_IGN is no handler, so no code of ours runs in signal context.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}
