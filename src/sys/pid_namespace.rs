//! PID namespaces with a first process of their own.

use super::namespace;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::UnshareFlags;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A first process that waits to be told that it may stay: dropped before, it ends.
pub struct Init {
    child: Child,
}

/// Starts `program argument` as the first process of a new PID namespace, with nothing of this process but a
/// pipe for its stdin.
pub fn start(program: &Path, argument: &str) -> io::Result<Init> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("pid-namespace".into()).stack_size(128 * 1024);
        // What this thread starts from here on is in the new namespace; the thread itself stays where it is.
        let running = thread.spawn_scoped(scope, || {
            namespace::unshare(UnshareFlags::NEWPID)?;
            let mut command = Command::new(program);
            command.arg(argument).env_clear().current_dir("/").stdin(Stdio::piped());
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        })?;
        let child = running.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;
        Ok(Init { child })
    })
}

impl Init {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// It stays from now on, whatever becomes of this process.
    pub fn release(mut self) -> io::Result<()> {
        self.child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(b"\n"))
    }
}

/// Takes note of the end of a first process, if this process started it.
pub fn reap(id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    // ECHILD: another agent process did, and init has it now.
    let _ = id.map(|id| rustix::process::waitpid(Some(id), WaitOptions::NOHANG));
}
