//! The journal's way to the disk: a port, so that tests can let it fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::sys::file::sync_folder;

/// The open journal. What is written goes to its end.
pub(super) trait Log: Write + Send {
    /// Returns once everything written is durable. After an error nobody knows what is.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts off what lies past `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Where the journal lies.
pub(super) trait Disk: Send {
    fn path(&self) -> &Path;
    /// An empty file beside the journal.
    fn create(&mut self) -> io::Result<Box<dyn Log>>;
    /// Makes that file, which was synced, the journal, durably. After an error either may be it.
    fn install(&mut self) -> io::Result<()>;
}

impl Log for File {
    fn sync(&mut self) -> io::Result<()> {
        // The length counts as data: what is needed to read it back.
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// `journal.jsonl` in a folder.
pub(super) struct Folder {
    folder: PathBuf,
    journal: PathBuf,
    new: PathBuf,
}

impl Folder {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            journal: folder.join("journal.jsonl"),
            new: folder.join("journal.jsonl.new"),
        }
    }

    /// The journal for appending; none when there is none yet.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        match OpenOptions::new().read(true).append(true).open(&self.journal) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Disk for Folder {
    fn path(&self) -> &Path {
        &self.journal
    }

    fn create(&mut self) -> io::Result<Box<dyn Log>> {
        match fs::remove_file(&self.new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&self.new)?;
        Ok(Box::new(file))
    }

    fn install(&mut self) -> io::Result<()> {
        fs::rename(&self.new, &self.journal)?;
        sync_folder(&self.folder)
    }
}
