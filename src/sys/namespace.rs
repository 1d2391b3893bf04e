//! Network, IPC and UTS namespaces that live without a process, by bind mounts, and the shared memory that
//! goes with the IPC one.
//!
//! The mounts get the propagation of the mount they are in, on purpose: a containerd with a mount
//! namespace of its own must see them come and go. A container that binds the host's `/run` may hold
//! copies of them which an unmount here does not reach; removing the file does, since the kernel
//! (3.18) then detaches it wherever it is a mount point.

use super::{mount, netlink};
use rustix::thread::UnshareFlags;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Which namespaces to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    pub net: bool,
    pub ipc: bool,
    pub uts: bool,
}

/// What is set in new namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inside {
    /// In the UTS namespace.
    pub hostname: String,
    /// Names, with dots, and values, in the network and IPC namespaces.
    pub sysctls: Vec<(String, String)>,
}

/// Files onto which namespaces are bound, `<run_dir>/{netns,ipc,uts}/<name>`. None: the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins {
    pub net: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// The tmpfs for /dev/shm of the IPC namespace, `<run_dir>/shm/<name>`.
    pub shm: Option<PathBuf>,
}

#[derive(Debug)]
pub enum Error {
    Thread { source: io::Error },
    Unshare { source: io::Error },
    SetHostname { hostname: String, source: io::Error },
    LoopbackUp { source: io::Error },
    Sysctl { name: String, value: String, source: io::Error },
    Shm { path: PathBuf, source: io::Error },
    CreatePin { path: PathBuf, source: io::Error },
    BindPin { path: PathBuf, source: io::Error },
    RemovePin { path: PathBuf, source: io::Error },
    ReadPins { path: PathBuf, source: io::Error },
}

/// Folder under the run folder and file under `/proc/thread-self/ns`, for each kind.
const FOLDERS: [(&str, &str); 3] = [("netns", "net"), ("ipc", "ipc"), ("uts", "uts")];

/// For a PID namespace, which the caller pins: see [`super::pid_namespace`].
pub const PID: &str = "pid";
const SHM: &str = "shm";
/// Bytes, as every runtime has it.
const SHM_SIZE: u64 = 64 << 20;

/// Set in every network namespace, where the kernel has it: a pod's ports are its own, whoever it runs as, and so
/// is its ping.
const DEFAULT_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0\t2147483647")];

/// The type of the kernel's namespace file system, `NSFS_MAGIC`.
const NSFS: u64 = 0x6e73_6673;

impl Kinds {
    fn each(self) -> impl Iterator<Item = (bool, &'static str, &'static str)> {
        [self.net, self.ipc, self.uts]
            .into_iter()
            .zip(FOLDERS)
            .map(|(wanted, (folder, file))| (wanted, folder, file))
    }

    fn flags(self) -> UnshareFlags {
        let mut flags = UnshareFlags::empty();
        flags.set(UnshareFlags::NEWNET, self.net);
        flags.set(UnshareFlags::NEWIPC, self.ipc);
        flags.set(UnshareFlags::NEWUTS, self.uts);
        flags
    }

    fn pins(self, run_dir: &Path, name: &str) -> Pins {
        let path = |wanted: bool, folder: &str| wanted.then(|| run_dir.join(folder).join(name));
        // A sandbox of an earlier midge has none.
        let shm = path(self.ipc, SHM).filter(|shm| is_mount(shm));
        Pins { net: path(self.net, "netns"), ipc: path(self.ipc, "ipc"), uts: path(self.uts, "uts"), shm }
    }
}

/// Makes new namespaces and pins them. Loopback is up in the network namespace. Nothing stays behind on an
/// error. Blocks for about 2 ms.
pub fn pin(kinds: Kinds, run_dir: &Path, name: &str, inside: &Inside) -> Result<Pins, Error> {
    // Namespaces belong to a thread until they are bound somewhere, so a thread is made for them:
    // one that were used again would stay in them.
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespaces".into()).stack_size(128 * 1024);
        match thread.spawn_scoped(scope, || pin_here(kinds, run_dir, name, inside)) {
            Ok(running) => running.join().unwrap_or_else(|_| {
                Err(Error::Thread { source: io::Error::other("the thread that makes namespaces panicked") })
            }),
            Err(source) => Err(Error::Thread { source }),
        }
    });
    if let Err(error) = outcome {
        // The cause says more than what else may fail now.
        let _ = unpin(run_dir, name);
        return Err(error);
    }
    Ok(kinds.pins(run_dir, name))
}

fn pin_here(kinds: Kinds, run_dir: &Path, name: &str, inside: &Inside) -> Result<(), Error> {
    // Before this thread leaves the host's namespaces: the mount is the machine's.
    if kinds.ipc {
        let path = run_dir.join(SHM).join(name);
        super::file::create_private_folder(&path)
            .and_then(|()| mount::tmpfs(&path, 0o1777, Some(SHM_SIZE)))
            .map_err(|source| Error::Shm { path, source })?;
    }
    unshare(kinds.flags()).map_err(|source| Error::Unshare { source })?;
    let hostname = &inside.hostname;
    if kinds.uts {
        rustix::system::sethostname(hostname.as_bytes())
            .map_err(|error| Error::SetHostname { hostname: hostname.clone(), source: error.into() })?;
    }
    if kinds.net {
        // What the loopback plugin does, without starting a process for it.
        netlink::loopback_up().map_err(|source| Error::LoopbackUp { source })?;
        for (name, value) in DEFAULT_SYSCTLS {
            if let Err(error) = sysctl(name, value) {
                log::debug!("sysctl {name} of a pod stays as it is: {error}");
            }
        }
    }
    for (name, value) in &inside.sysctls {
        sysctl(name, value).map_err(|source| Error::Sysctl {
            name: name.clone(),
            value: value.clone(),
            source,
        })?;
    }
    for (wanted, folder, file) in kinds.each() {
        if !wanted {
            continue;
        }
        bind(&Path::new("/proc/thread-self/ns").join(file), run_dir, folder, name)?;
    }
    Ok(())
}

/// Pins the PID namespace of the process `id`.
pub fn pin_pid(id: u32, run_dir: &Path, name: &str) -> Result<(), Error> {
    bind(&PathBuf::from(format!("/proc/{id}/ns/pid")), run_dir, PID, name)
}

fn bind(namespace: &Path, run_dir: &Path, folder: &str, name: &str) -> Result<(), Error> {
    let folder = run_dir.join(folder);
    let path = folder.join(name);
    super::file::create_private_folder(&folder)
        .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).open(&path))
        .map_err(|source| Error::CreatePin { path: path.clone(), source })?;
    mount::bind(namespace, &path).map_err(|source| Error::BindPin { path, source })
}

/// Of this thread's namespaces.
fn sysctl(name: &str, value: &str) -> io::Result<()> {
    let name = name.replace('.', "/");
    if name.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fs::write(Path::new("/proc/sys").join(name), value)
}

#[allow(unsafe_code)]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unshare(2) is unsafe in general since CLONE_FILES breaks assumptions that threads make
    // of shared descriptors. Only NEWNET, NEWIPC, NEWUTS, NEWNS and NEWPID get here, which touch no descriptor and
    // no memory, in a thread that is made for this and ends after it.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// The pins of `name` if every one of `kinds` is there and is a namespace.
pub fn pinned(kinds: Kinds, run_dir: &Path, name: &str) -> Option<Pins> {
    let whole = kinds.each().filter(|(wanted, ..)| *wanted).all(|(_, folder, _)| {
        // A pin whose mount is gone (a reboot, with a run folder that outlives it) is an empty file.
        is_namespace(&run_dir.join(folder).join(name))
    });
    whole.then(|| kinds.pins(run_dir, name))
}

/// Whether `path` is a namespace, and not the empty file that a lost pin leaves.
pub fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|facts| facts.f_type as u64 == NSFS)
}

fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).map(|facts| facts.st_dev).ok();
    path.parent().is_some_and(|parent| device(path).is_some_and(|own| device(parent) != Some(own)))
}

/// Takes the pins of `name` away, whichever exist. Goes on past failures and returns all of them.
pub fn unpin(run_dir: &Path, name: &str) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    for folder in FOLDERS.map(|(folder, _)| folder).into_iter().chain([PID]) {
        let path = run_dir.join(folder).join(name);
        let removed = mount::unmount(&path).and_then(|()| match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        });
        if let Err(source) = removed {
            errors.push(Error::RemovePin { path, source });
        }
    }
    let shm = run_dir.join(SHM).join(name);
    let removed = mount::unmount(&shm).and_then(|()| match fs::remove_dir(&shm) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    });
    errors.extend(removed.err().map(|source| Error::RemovePin { path: shm, source }));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Every name with at least one pin, whole or not, sorted.
pub fn names(run_dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for folder in FOLDERS.map(|(folder, _)| folder).into_iter().chain([PID, SHM]) {
        let path = run_dir.join(folder);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::ReadPins { path, source }),
            Ok(entries) => entries,
        };
        for entry in entries {
            let entry = entry.map_err(|source| Error::ReadPins { path: path.clone(), source })?;
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Thread { .. } => write!(f, "failed to start a thread for namespaces"),
            Error::Unshare { .. } => write!(
                f,
                "failed to make namespaces: midge needs root (CAP_SYS_ADMIN), and CONFIG_NET_NS, CONFIG_IPC_NS and \
                 CONFIG_UTS_NS in the kernel"
            ),
            Error::SetHostname { hostname, .. } => write!(f, "failed to set the host name `{hostname}`"),
            Error::LoopbackUp { .. } => write!(f, "failed to bring the loopback interface up"),
            Error::Sysctl { name, value, .. } => write!(f, "failed to set the sysctl {name} to `{value}`"),
            Error::Shm { path, .. } => {
                write!(f, "failed to mount a tmpfs for shared memory on `{}`", path.display())
            }
            Error::CreatePin { path, .. } => write!(f, "failed to create `{}`", path.display()),
            Error::BindPin { path, .. } => write!(f, "failed to bind a namespace onto `{}`", path.display()),
            Error::RemovePin { path, .. } => write!(f, "failed to remove the namespace `{}`", path.display()),
            Error::ReadPins { path, .. } => write!(f, "failed to read the folder `{}`", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Thread { source }
            | Error::Unshare { source }
            | Error::SetHostname { source, .. }
            | Error::LoopbackUp { source }
            | Error::Sysctl { source, .. }
            | Error::Shm { source, .. }
            | Error::CreatePin { source, .. }
            | Error::BindPin { source, .. }
            | Error::RemovePin { source, .. }
            | Error::ReadPins { source, .. } => Some(source),
        }
    }
}
