//! Why a container's image can't be used.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::failure::Failure;
use crate::chain;
use crate::containerd::{self, reference};

/// Texts follow the kubelet's; they end up in the container's status.
#[derive(Debug)]
pub enum Error {
    /// Not a reference.
    InvalidName { image: String, source: reference::Invalid },
    /// Not here, and the policy forbids pulling.
    NeverPull { image: String },
    /// Not to be had from its registry. `archive` is one in `folder` that could not be imported, and why:
    /// perhaps the one meant.
    Pull { image: String, source: Arc<Failure>, folder: PathBuf, archive: Option<(String, String)> },
    /// containerd can't say, or the image is damaged or for another platform.
    Inspect { image: String, source: containerd::Error },
}

impl Error {
    /// The container's waiting reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::InvalidName { .. } => "InvalidImageName",
            Error::NeverPull { .. } => "ErrImageNeverPull",
            Error::Pull { .. } => "ErrImagePull",
            Error::Inspect { .. } => "ImageInspectError",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidName { image, .. } => write!(f, "failed to apply default image tag \"{image}\""),
            Error::NeverPull { image } => {
                write!(f, "container image \"{image}\" is not present with pull policy of Never")
            }
            Error::Pull { image, source, folder, archive } => {
                write!(f, "failed to pull image \"{image}\": {}", chain(source))?;
                match archive {
                    Some((name, text)) => {
                        write!(f, " (`{name}` in {} was not imported either: {text})", folder.display())
                    }
                    None => Ok(()),
                }
            }
            Error::Inspect { image, .. } => write!(f, "failed to inspect image \"{image}\""),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::InvalidName { source, .. } => Some(source),
            Error::Inspect { source, .. } => Some(source),
            _ => None,
        }
    }
}
