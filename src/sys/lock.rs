//! One process for each data folder.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug)]
pub enum Error {
    Open { path: PathBuf, source: io::Error },
    /// Another process has it; its id when it could be read.
    Held { path: PathBuf, process: Option<u32> },
    Lock { path: PathBuf, source: io::Error },
}

/// Locks the file at `path`, which is made when it is missing. Does not wait.
pub fn exclusive(path: &Path) -> Result<Lock, Error> {
    let _ = path;
    todo!()
}
