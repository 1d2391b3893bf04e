//! One process for each data folder.

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Held until it is dropped or the process ends, however it ends. The file stays: removing it would
/// let two processes lock two files of one name.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Not by closing alone: a child that was forked a moment ago has the file open until it becomes its program.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[derive(Debug)]
pub enum Error {
    Open {
        path: PathBuf,
        source: io::Error,
    },
    /// Another process has it; its id when it could be read.
    Held {
        path: PathBuf,
        process: Option<u32>,
    },
    Lock {
        path: PathBuf,
        source: io::Error,
    },
}

/// Locks the file at `path`, which is made when it is missing. Does not wait.
pub fn exclusive(path: &Path) -> Result<Lock, Error> {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = opened.map_err(|source| Error::Open { path: path.into(), source })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = (&file).take(32).read_to_string(&mut text);
            return Err(Error::Held { path: path.into(), process: text.trim().parse().ok() });
        }
        Err(error) => return Err(Error::Lock { path: path.into(), source: error.into() }),
    }
    // The id is for people to read; the lock holds without it, also on a full disk.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock { file })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Open { path, .. } => write!(f, "failed to open the lock `{}`", path.display()),
            Error::Held { path, process: Some(id) } => {
                write!(f, "`{}` is locked by process {id}: another midge uses this folder", path.display())
            }
            Error::Held { path, process: None } => {
                write!(f, "`{}` is locked: another midge uses this folder", path.display())
            }
            Error::Lock { path, .. } => write!(f, "failed to lock `{}`", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Open { source, .. } | Error::Lock { source, .. } => Some(source),
            Error::Held { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let path = std::env::temp_dir().join(format!("midge-lock-{}", std::process::id()));
        let first = exclusive(&path).unwrap();
        // flock(2) belongs to the open file, so a second open in this process is as good as another's.
        match exclusive(&path).unwrap_err() {
            Error::Held { process, .. } => assert_eq!(process, Some(std::process::id())),
            other => panic!("{other}"),
        }
        drop(first);
        exclusive(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
