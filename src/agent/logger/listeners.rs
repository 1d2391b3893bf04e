//! Those who are attached to a container: each gets a copy of its output from now on.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Of a piece of output: 1 for stdout and 2 for stderr, then the length of what follows, big endian. The first one
/// has zeros: from there on nothing is missed.
pub const HEADER: usize = 3;
/// One who takes nothing for so long is left behind; meanwhile the container waits, so that nothing is lost to
/// one who is merely slow.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX: usize = 8;

pub struct Listeners {
    /// None: nobody can attach; the log is written nevertheless.
    door: Option<UnixListener>,
    inside: Vec<UnixStream>,
}

impl Listeners {
    pub fn new(path: &Path) -> Listeners {
        // One that was there belongs to a log program that is gone.
        let _ = std::fs::remove_file(path);
        let door = UnixListener::bind(path).and_then(|door| door.set_nonblocking(true).map(|()| door));
        Listeners { door: door.ok(), inside: Vec::new() }
    }

    /// What is to be polled, in the order that [`Listeners::serve`] takes.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.door.iter().map(AsFd::as_fd).chain(self.inside.iter().map(AsFd::as_fd))
    }

    /// Lets in who waits, and drops who has left.
    pub fn serve(&mut self, mut ready: impl Iterator<Item = bool>) {
        let waits = self.door.is_some() && ready.next() == Some(true);
        self.inside.retain_mut(|one| ready.next() != Some(true) || is_there(one));
        let Some(door) = self.door.as_ref().filter(|_| waits) else { return };
        if let Ok((mut one, _)) = door.accept()
            && self.inside.len() < MAX
        {
            let patient = one.set_nonblocking(false).and_then(|()| one.set_write_timeout(Some(PATIENCE)));
            let greeted = patient.and_then(|()| one.write_all(&[0; HEADER]));
            if greeted.is_ok() {
                self.inside.push(one);
            }
        }
    }

    pub fn say(&mut self, stream: &str, text: &[u8]) {
        let (Ok(length), false) = (u16::try_from(text.len()), text.is_empty()) else { return };
        let [high, low] = length.to_be_bytes();
        let header = [if stream == "stdout" { 1 } else { 2 }, high, low];
        self.inside.retain_mut(|one| one.write_all(&header).and_then(|()| one.write_all(text)).is_ok());
    }
}

/// They have nothing to say: what comes is their end.
fn is_there(one: &mut UnixStream) -> bool {
    match one.set_nonblocking(true).and_then(|()| one.read(&mut [0; 64])) {
        Ok(0) => false,
        Ok(_) => one.set_nonblocking(false).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock && one.set_nonblocking(false).is_ok(),
    }
}
