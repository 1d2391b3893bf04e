//! PID namespaces with a first process of their own.

use super::{mount, namespace};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use std::io::{self, Read, Write};
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
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        })?;
        let child = running.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;
        Ok(Init { child })
    })
}

impl Init {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// It stays from now on, whatever becomes of this process. Waits until it has confined itself: nothing else may be
    /// in its namespace before.
    pub fn release(mut self) -> io::Result<()> {
        self.child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(b"\n"))?;
        self.child.stdout.take().map_or(Ok(()), |mut stdout| stdout.read_exact(&mut [0]))
    }
}

/// Takes from a first process of one thread all that it has of the machine: mounts, network, IPC, capabilities. A
/// container in its PID namespace that may trace it finds nothing there.
pub fn confine() -> io::Result<()> {
    use UnshareFlags as Unshare;
    namespace::unshare(Unshare::NEWNS | Unshare::NEWNET | Unshare::NEWIPC | Unshare::NEWUTS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Any folder will do: it becomes the root.
    mount::tmpfs(Path::new("/proc"), 0o555, Some(4096))?;
    rustix::process::chdir("/proc")?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)?,
        // On an initramfs there is nothing to put the old root on.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/")?;
            rustix::process::chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    rustix::process::chdir("/")?;
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Takes note of the end of a first process, if this process started it.
pub fn reap(id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    // ECHILD: another agent process did, and init has it now.
    let _ = id.map(|id| rustix::process::waitpid(Some(id), WaitOptions::NOHANG));
}
