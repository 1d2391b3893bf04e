//! Mending a damaged journal.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use super::disk::{Disk, Folder};
use super::journal::{Failure, lock};
use super::line::{self, Line, VERSION};
use super::writer::CEILING_STEP;

/// What [`repair`] found and did.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines with a good checksum, all of them kept.
    pub kept: usize,
    /// The numbers of the lines that were not whole, counted from 1. What they changed is as it was
    /// before: an object may be older than it was, back after its deletion, or missing.
    pub dropped: Vec<usize>,
    /// Where the file is as it was; none if nothing was damaged and nothing was changed.
    pub saved: Option<PathBuf>,
}

/// Rewrites the journal in `folder` with every line that has a good checksum, after the damaged
/// file was saved beside it under a name of its own. No server may be running on the folder.
///
/// Errors: [`Error::Locked`], [`Error::Open`], [`Error::Write`], [`Error::Version`].
pub fn repair(folder: &Path) -> Result<Report, Error> {
    let mut disk = Folder::new(folder);
    let path = disk.path().to_owned();
    // Before the lock, which would make a folder that was mistyped.
    let open = |source| Error::Open { path: path.clone(), source };
    let file = File::open(&path).map_err(open)?;
    let _lock = lock(folder)?;
    let (mut report, highest) = examine(&file, &path)?;
    if report.dropped.is_empty() {
        return Ok(report);
    }
    let write = |source| Error::Write { path: path.clone(), source };
    report.saved = Some(save(&path).map_err(write)?);
    copy_whole(&path, &mut disk, highest + CEILING_STEP).map_err(write)?;
    Ok(report)
}

/// Counts the lines, and finds the highest revision or ceiling in them.
fn examine(file: &File, path: &Path) -> Result<(Report, u64), Error> {
    let mut report = Report { kept: 0, dropped: Vec::new(), saved: None };
    let (mut highest, mut header) = (0, false);
    line::read(BufReader::new(file), |raw| {
        let parsed = if raw.complete { Line::parse(raw.text) } else { None };
        match parsed {
            None => report.dropped.push(raw.number),
            Some((Line::Header { version, .. }, _)) if version > VERSION => {
                let path = path.to_owned();
                return Err(Failure::Store(Error::Version { path, found: version, supported: VERSION }));
            }
            Some((Line::Header { .. }, _)) if raw.number > 1 => report.dropped.push(raw.number),
            Some((line, _)) => {
                report.kept += 1;
                header |= matches!(line, Line::Header { .. });
                highest = highest.max(match line {
                    Line::Header { ceiling, .. } | Line::Ceiling(ceiling) => ceiling,
                    Line::Put { revision, .. } | Line::Delete { revision, .. } => revision,
                });
            }
        }
        Ok(())
    })
    .map_err(|failure| match failure {
        Failure::Io(source) => Error::Open { path: path.to_owned(), source },
        Failure::Store(error) => error,
    })?;
    if !header && report.dropped.first() != Some(&1) {
        report.dropped.insert(0, 1); // the first line is missing altogether
    }
    Ok((report, highest))
}

/// Copies the damaged file beside itself, durably, under a name that is not taken.
fn save(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut number = now;
    let saved = loop {
        let saved = path.with_extension(format!("jsonl.damaged-{number}"));
        if !saved.exists() {
            break saved;
        }
        number += 1;
    };
    fs::copy(path, &saved)?; // with its mode
    File::open(&saved)?.sync_all()?;
    Ok(saved)
}

/// Replaces the journal by one of its whole lines. The new ceiling is far above all of them, since the lines
/// that told of higher revisions may be among the lost ones.
fn copy_whole(path: &Path, disk: &mut Folder, ceiling: u64) -> io::Result<()> {
    let mut log = disk.create()?;
    let mut text = Vec::new();
    Line::Header { version: VERSION, ceiling }.write(false, &mut text);
    line::read(BufReader::new(File::open(path)?), |raw| {
        let parsed = if raw.complete { Line::parse(raw.text) } else { None };
        if parsed.is_some_and(|(line, _)| !matches!(line, Line::Header { .. })) {
            text.extend_from_slice(raw.text);
            text.push(b'\n');
        }
        log.write_all(&text)?;
        text.clear();
        Ok::<_, io::Error>(())
    })?;
    Line::Ceiling(ceiling).write(false, &mut text);
    log.write_all(&text)?;
    log.sync()?;
    disk.install()
}
