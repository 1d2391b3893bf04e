//! Network, IPC and UTS namespaces that live without a process, by bind mounts.

use std::io;
use std::path::{Path, PathBuf};

/// Which namespaces to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    pub net: bool,
    pub ipc: bool,
    pub uts: bool,
}

/// Files onto which namespaces are bound, `<run_dir>/{netns,ipc,uts}/<name>`. None: the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins {
    pub net: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
}

#[derive(Debug)]
pub enum Error {
    Thread { source: io::Error },
    Unshare { source: io::Error },
    SetHostname { hostname: String, source: io::Error },
    LoopbackUp { source: io::Error },
    CreatePin { path: PathBuf, source: io::Error },
    BindPin { path: PathBuf, source: io::Error },
    RemovePin { path: PathBuf, source: io::Error },
    ReadPins { path: PathBuf, source: io::Error },
}

/// Makes new namespaces and pins them. `hostname` is set in the UTS namespace; loopback is up in the
/// network namespace. Nothing stays behind on an error. Blocks for about 2 ms.
pub fn pin(kinds: Kinds, run_dir: &Path, name: &str, hostname: &str) -> Result<Pins, Error> {
    let _ = (kinds, run_dir, name, hostname);
    todo!()
}

/// The pins of `name` if every one of `kinds` is there and is a namespace.
pub fn pinned(kinds: Kinds, run_dir: &Path, name: &str) -> Option<Pins> {
    let _ = (kinds, run_dir, name);
    todo!()
}

/// Takes the pins of `name` away, whichever exist. Goes on past failures and returns all of them.
pub fn unpin(run_dir: &Path, name: &str) -> Result<(), Vec<Error>> {
    let _ = (run_dir, name);
    todo!()
}

/// Every name with at least one pin, whole or not, sorted.
pub fn names(run_dir: &Path) -> Result<Vec<String>, Error> {
    let _ = run_dir;
    todo!()
}
