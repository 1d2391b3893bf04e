//! The log's file and those before it: `0.log`, `0.log.1` (newer) to `0.log.4`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::api::time;

/// Lines are written together up to about this.
const BATCH: usize = 8 * 1024;

/// How much of a container's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub size: u64,
    /// Files, the one that is written to included.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { size: 10 << 20, files: 5 }
    }
}

/// The file that `number` files came after; 0: the one that is written to.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The file, which may fail at any time and work again later.
pub struct Log {
    path: Box<Path>,
    limits: Limits,
    file: Option<File>,
    batch: Vec<u8>,
    lines: u64,
    lost: u64,
}

impl Log {
    pub fn new(path: &Path, limits: Limits) -> Log {
        let mut log = Log { path: path.into(), limits, file: None, batch: Vec::new(), lines: 0, lost: 0 };
        log.file = log.open().ok();
        log
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)
    }

    pub fn line(&mut self, stamp: &str, stream: &str, tag: &str, text: &[u8]) {
        for part in [stamp.as_bytes(), b" ", stream.as_bytes(), b" ", tag.as_bytes(), b" ", text, b"\n"] {
            self.batch.extend_from_slice(part);
        }
        self.lines += 1;
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.write() {
            Ok(()) => self.lost = 0,
            Err(_) => {
                self.lost += self.lines;
                self.file = None;
            }
        }
        self.lines = 0;
        self.batch.clear();
    }

    /// Writes the batch whole or not at all.
    fn write(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let mut before = file.metadata()?.len();
        let after = before.saturating_add(self.batch.len().try_into().unwrap_or(u64::MAX));
        if before > 0 && after > self.limits.size && self.rotate().is_ok() {
            file = self.open()?;
            before = file.metadata()?.len();
        }
        let note = (self.lost > 0).then(|| {
            let stamp = time::format_nano(SystemTime::now());
            format!("{stamp} stderr F midge: {} lines were lost, the log could not be written\n", self.lost)
        });
        let written = note.map_or(Ok(()), |note| file.write_all(note.as_bytes()));
        let written = written.and_then(|()| file.write_all(&self.batch));
        if written.is_err() {
            // A torn line would swallow the next one.
            file.set_len(before)?;
        }
        self.file = Some(file);
        written
    }

    /// Makes room for a new file; the oldest one goes.
    fn rotate(&self) -> io::Result<()> {
        for number in (0..self.limits.files.saturating_sub(1)).rev() {
            let moved = fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1));
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
