//! Control groups, versions 1 and 2.

use std::io;
use std::path::PathBuf;

/// Which hierarchies the machine has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
    /// Controllers on version 1, with an empty version 2 hierarchy beside them.
    Hybrid,
}

/// The control groups of this machine, as found by [`detect`].
#[derive(Debug, Clone)]
pub struct Cgroups {
    pub version: Version,
}

/// Limits that hold for everything in the hierarchy (this machine is itself a container).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
}

#[derive(Debug)]
pub enum Error {
    NotMounted,
    Read { path: PathBuf, source: io::Error },
    Create { path: PathBuf, source: io::Error },
    Remove { path: PathBuf, source: io::Error },
    /// Still in use after every retry.
    Busy { path: PathBuf, processes: Vec<u32> },
}

/// Reads what is mounted.
pub fn detect() -> Result<Cgroups, Error> {
    todo!()
}

impl Cgroups {
    /// Whether `controller` ("memory", "cpu", "pids" …) can be used for pods.
    pub fn has(&self, controller: &str) -> bool {
        let _ = controller;
        todo!()
    }

    /// When the memory controller is off: one line with the file and the words that turn it on.
    pub fn memory_advice(&self) -> Option<String> {
        todo!()
    }

    pub fn limits(&self) -> Limits {
        todo!()
    }

    /// Creates the group `path` ("midge/pod<uid>") in every hierarchy; fine if it is there.
    pub fn create(&self, path: &str) -> Result<(), Error> {
        let _ = path;
        todo!()
    }

    /// Removes the group `path` and all groups below it from every hierarchy. Blocks up to about a
    /// second while the kernel lets go of dead processes. Fine if it is gone.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        let _ = path;
        todo!()
    }

    /// The processes in `path` and below.
    pub fn processes(&self, path: &str) -> Result<Vec<u32>, Error> {
        let _ = path;
        todo!()
    }

    /// The names of the groups directly below `path`, over all hierarchies.
    pub fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let _ = path;
        todo!()
    }
}
