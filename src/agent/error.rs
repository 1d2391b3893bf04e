//! Why an agent can't run.

use std::path::PathBuf;
use std::{fmt, io};

use super::{desired, session};
use crate::sys::{cgroup, lock};
use crate::{cni, containerd};

/// Why an agent can't run.
#[derive(Debug)]
pub enum Error {
    Folder { path: PathBuf, source: io::Error },
    Lock(lock::Error),
    Cgroups(cgroup::Error),
    Containerd(containerd::Error),
    Network(cni::Error),
    Desired(desired::Error),
    Session(session::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Folder { path, .. } => write!(f, "failed to create the folder `{}`", path.display()),
            Error::Lock(error) => error.fmt(f),
            Error::Cgroups(error) => error.fmt(f),
            Error::Containerd(error) => error.fmt(f),
            Error::Network(error) => error.fmt(f),
            Error::Desired(error) => error.fmt(f),
            Error::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Folder { source, .. } => Some(source),
            Error::Lock(error) => error.source(),
            Error::Cgroups(error) => error.source(),
            Error::Containerd(error) => error.source(),
            Error::Network(error) => error.source(),
            Error::Desired(error) => error.source(),
            Error::Session(error) => error.source(),
        }
    }
}
