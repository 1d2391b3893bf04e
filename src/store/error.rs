//! What can go wrong in the store.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Revision;

#[derive(Debug)]
pub enum Error {
    /// The file or folder could not be opened or read.
    Open { path: PathBuf, source: io::Error },
    /// Another process has the folder; its id when it is known.
    Locked { path: PathBuf, process: Option<u32> },
    /// A line that was once complete is not what was written. `line` counts from 1.
    Damaged { path: PathBuf, line: usize },
    /// A newer midge wrote the file.
    Version { path: PathBuf, found: u64, supported: u64 },
    /// What the write expected does not hold: the key's revision now, none if it is absent.
    Conflict { key: String, current: Option<Revision> },
    /// A value that is not one line of JSON, or an empty key.
    Value { key: String },
    /// The change could not be made durable, and was not made.
    Write { path: PathBuf, source: io::Error },
    /// The changes asked for are no longer known; the oldest that can be asked for follow `oldest`.
    Compacted { oldest: Revision },
    /// The store's writer has ended.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "failed to open the registry at `{}`", path.display()),
            Self::Locked { path, process } => {
                write!(f, "the registry at `{}` is in use by another midge server", path.display())?;
                if let Some(process) = process {
                    write!(f, " (process {process})")?;
                }
                f.write_str(": stop that one, or give this one its own --data-dir")
            }
            Self::Damaged { path, line } => write!(
                f,
                "the registry is damaged at line {line} of `{}`: `midge registry repair {}` keeps every line that is \
                 whole and saves the damaged file beside it",
                path.display(),
                path.parent().unwrap_or(path).display()
            ),
            Self::Version { path, found, supported } => write!(
                f,
                "the registry at `{}` has format {found}, this midge reads up to {supported}: run the midge that wrote it, or a newer one",
                path.display()
            ),
            Self::Conflict { key, current: Some(current) } => {
                write!(f, "`{key}` has changed: it is at revision {current}")
            }
            Self::Conflict { key, current: None } => write!(f, "`{key}` does not exist"),
            Self::Value { key } => write!(f, "the value for `{key}` is not one line of JSON"),
            Self::Write { path, .. } => write!(f, "failed to write the registry at `{}`", path.display()),
            Self::Compacted { oldest } => {
                write!(f, "the revision asked for is too old: changes are known after {oldest}")
            }
            Self::Closed => f.write_str("the registry is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The same error once more, since [`io::Error`] cannot be cloned and every waiting writer gets one.
pub(super) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
