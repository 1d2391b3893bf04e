//! Why a pod can't have a volume, in the kubelet's words where it has some.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::agent::configs::Kind;

/// Why a pod can't have its volumes, or a container can't be given one. Tried again later.
#[derive(Debug)]
pub struct Error {
    /// Its name; "" when it is about none of them.
    pub volume: String,
    pub problem: Problem,
}

#[derive(Debug)]
pub enum Problem {
    /// A name that can't be a folder's.
    Name,
    Unsupported(String),
    NotFound {
        kind: Kind,
        name: String,
    },
    Key {
        kind: Kind,
        key: String,
    },
    /// A file's path that leaves the volume.
    Path(String),
    /// Why there is none.
    Token(String),
    /// Of the downward API: what is not known.
    Field(String),
    HostPath {
        path: String,
        expected: &'static str,
    },
    /// A container mounts what the pod has not.
    NoVolume {
        container: String,
    },
    SubPath {
        container: String,
        source: io::Error,
    },
    /// `subPathExpr` can't be expanded, or to something that leaves the volume.
    SubPathText(String),
    Propagation {
        path: PathBuf,
        mount: PathBuf,
        wanted: &'static str,
    },
    Recursive,
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Problem {
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Problem {
        Problem::Io { what, path: path.into(), source }
    }

    /// Whether it is about one container's use of the volume.
    fn is_of_a_mount(&self) -> bool {
        matches!(
            self,
            Problem::NoVolume { .. }
                | Problem::SubPath { .. }
                | Problem::SubPathText(_)
                | Problem::Propagation { .. }
                | Problem::Recursive
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::NoVolume { container } => {
                write!(f, "the pod has no volume \"{}\" for container \"{container}\"", self.volume)
            }
            Problem::SubPath { container, .. } => write!(
                f,
                "failed to prepare subPath for volumeMount \"{}\" of container \"{container}\"",
                self.volume
            ),
            problem if self.volume.is_empty() || problem.is_of_a_mount() => problem.fmt(f),
            problem => write!(f, "MountVolume.SetUp failed for volume \"{}\" : {problem}", self.volume),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Name => write!(f, "its name must be a DNS label"),
            Problem::Unsupported(source) => write!(f, "midge does not support `{source}` yet"),
            Problem::NotFound { kind: Kind::PersistentVolumeClaim, name } => {
                write!(f, "persistentvolumeclaim \"{name}\" is not bound to a volume")
            }
            Problem::NotFound { kind, name } => write!(f, "{} \"{name}\" not found", kind.resource()),
            Problem::Key { kind: Kind::ConfigMap, key } => {
                write!(f, "configmap references non-existent config key: {key}")
            }
            Problem::Key { key, .. } => {
                write!(f, "references non-existent secret key: {key}")
            }
            Problem::Path(path) => {
                write!(
                    f,
                    "invalid path \"{path}\": it must be relative, and no part of it may be or start with \"..\""
                )
            }
            Problem::Token(why) => write!(f, "failed to fetch token: {why}"),
            Problem::Field(field) => write!(f, "{field}"),
            Problem::HostPath { path, expected } => {
                write!(f, "hostPath type check failed: {path} is not a {expected}")
            }
            Problem::NoVolume { container } => write!(f, "no such volume for container \"{container}\""),
            Problem::SubPath { container, .. } => {
                write!(f, "failed to prepare subPath of container \"{container}\"")
            }
            Problem::SubPathText(text) => write!(f, "{text}"),
            Problem::Propagation { path, mount, wanted } => write!(
                f,
                "path \"{}\" is mounted on \"{}\" but it is not a {wanted} mount",
                path.display(),
                mount.display()
            ),
            Problem::Recursive => {
                write!(f, "recursiveReadOnly needs Linux 5.12 or later, and this node has an older one")
            }
            Problem::Io { what, path, .. } => write!(f, "failed to {what} `{}`", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.problem)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Problem::Io { source, .. } | Problem::SubPath { source, .. } => Some(source),
            _ => None,
        }
    }
}
