//! Mending a damaged journal.

use std::path::{Path, PathBuf};

use super::Error;

/// What [`repair`] found and did.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines with a good checksum, all of them kept.
    pub kept: usize,
    /// The numbers of the lines that were not whole, counted from 1.
    pub dropped: Vec<usize>,
    /// Where the file is as it was; none if nothing was damaged and nothing was changed.
    pub saved: Option<PathBuf>,
}

/// Rewrites the journal in `folder` with every line that has a good checksum, after the damaged
/// file was saved beside it under a name of its own. No server may be running on the folder.
///
/// Errors: [`Error::Locked`], [`Error::Open`], [`Error::Write`], [`Error::Version`].
pub fn repair(folder: &Path) -> Result<Report, Error> {
    let _ = folder;
    todo!()
}
