//! Why an archive was not imported.

use std::path::PathBuf;
use std::{fmt, io};

use super::super::{Error as ContainerdError, reference};

#[derive(Debug)]
pub enum Error {
    Open {
        path: PathBuf,
        source: io::Error,
    },
    /// Unreadable, damaged, or cut off.
    Read {
        path: PathBuf,
        source: io::Error,
    },
    /// More entries than an image archive has.
    TooManyEntries {
        path: PathBuf,
        limit: usize,
    },
    /// More JSON than an image archive has; `limit` in bytes.
    TooManyDocuments {
        path: PathBuf,
        limit: usize,
    },
    /// A tar, but neither of `docker save` nor an OCI layout.
    NoImages {
        path: PathBuf,
    },
    /// A document of the archive can't be parsed.
    Document {
        path: PathBuf,
        entry: String,
        source: serde_json::Error,
    },
    /// A document names an entry that the archive does not have.
    Missing {
        path: PathBuf,
        entry: String,
    },
    /// An image's name in the archive is none.
    Name {
        name: String,
        source: reference::Invalid,
    },
    /// The importer is gone; nobody sees this.
    Cancelled,
    /// containerd failed or refused.
    Containerd(ContainerdError),
}

impl From<ContainerdError> for Error {
    fn from(source: ContainerdError) -> Error {
        Error::Containerd(source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Open { path, .. } => write!(f, "failed to open `{}`", path.display()),
            Error::Read { path, .. } => write!(f, "failed to read `{}` as a tar archive", path.display()),
            Error::TooManyEntries { path, limit } => {
                write!(f, "`{}` has more than {limit} entries", path.display())
            }
            Error::TooManyDocuments { path, limit } => {
                write!(f, "`{}` has more than {limit} bytes of JSON", path.display())
            }
            Error::NoImages { path } => write!(
                f,
                "`{}` holds no image: neither `manifest.json` (docker save) nor `index.json` (OCI layout)",
                path.display()
            ),
            Error::Document { path, entry, .. } => {
                write!(f, "failed to parse `{entry}` in `{}`", path.display())
            }
            Error::Missing { path, entry } => write!(f, "`{}` lacks `{entry}`", path.display()),
            Error::Name { name, .. } => write!(f, "image name `{name}` is not valid"),
            Error::Cancelled => f.write_str("import cancelled"),
            Error::Containerd(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Open { source, .. } | Error::Read { source, .. } => Some(source),
            Error::Document { source, .. } => Some(source),
            Error::Name { source, .. } => Some(source),
            // Its text is this error's own.
            Error::Containerd(error) => error.source(),
            _ => None,
        }
    }
}
