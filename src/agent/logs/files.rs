//! The files of one attempt's log as one text, while the log program rotates them.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::agent::logger::rotated;

/// Read at a time. A line has at most 16 KiB of text.
const BLOCK: usize = 32 * 1024;
/// More files than a log program keeps.
const MAX_FILES: u32 = 1000;

/// A place in the text.
pub struct Files {
    path: PathBuf,
    /// Oldest first; the first one is being read.
    left: VecDeque<File>,
    offset: u64,
}

impl Files {
    /// At the beginning, or at that of the last `lines` lines.
    pub fn open(path: &Path, lines: Option<u64>) -> io::Result<Files> {
        let mut files = Files { path: path.to_owned(), left: open_all(path)?, offset: 0 };
        let Some(mut lines) = lines else { return Ok(files) };
        // From the newest file back, to the one that the lines begin in.
        for index in (0..files.left.len()).rev() {
            match tail(&files.left[index], lines)? {
                Tail::At(offset) => {
                    files.left.drain(..index);
                    files.offset = offset;
                    break;
                }
                Tail::Has(found) => lines -= found,
            }
        }
        Ok(files)
    }

    /// The next whole lines; None at the end of all files.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut block = vec![0; BLOCK];
        loop {
            let Some(file) = self.left.front() else { return Ok(None) };
            let length = file.read_at(&mut block, self.offset)?;
            if let Some(end) = block[..length].iter().rposition(|byte| *byte == b'\n') {
                self.offset += size(end + 1);
                block.truncate(end + 1);
                return Ok(Some(block));
            }
            if length == BLOCK {
                // A longer line is none of the log program's: it is passed over.
                self.offset += size(length);
            } else if self.left.len() > 1 {
                self.left.pop_front();
                self.offset = 0;
            } else if !self.find_newer()? {
                return Ok(None);
            }
            // What was written to this file before the newer ones were begun is read first.
        }
    }

    /// Adds the files that were begun after the last one that is known.
    fn find_newer(&mut self) -> io::Result<bool> {
        let number = |file: &File| file.metadata().map(|facts| facts.ino());
        let Some(last) = self.left.back().map(number).transpose()? else { return Ok(false) };
        if std::fs::metadata(&self.path).is_ok_and(|facts| facts.ino() == last) {
            return Ok(false);
        }
        let mut all = match open_all(&self.path) {
            Ok(all) => all,
            // Between two files, or with its pod gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // None of them: all are newer, and some between were removed already.
        let known = all.iter().position(|file| number(file).is_ok_and(|number| number == last));
        let newer = all.split_off(known.map_or(0, |at| at + 1));
        let found = !newer.is_empty();
        self.left.extend(newer);
        Ok(found)
    }
}

/// Oldest first.
fn open_all(path: &Path) -> io::Result<VecDeque<File>> {
    let mut files: VecDeque<File> = VecDeque::new();
    let mut last = None;
    for number in 0..MAX_FILES {
        let file = match File::open(rotated(path, number)) {
            Ok(file) => file,
            // The newest one may just be about to be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        // The files were rotated between two openings.
        if last.replace(inode) != Some(inode) {
            files.push_front(file);
        }
    }
    if files.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(files) }
}

enum Tail {
    /// The lines begin here.
    At(u64),
    /// The file has so many only.
    Has(u64),
}

/// Where the last `lines` lines of a file begin. Reads from the end, a block at a time.
fn tail(file: &File, lines: u64) -> io::Result<Tail> {
    let mut end = file.metadata()?.len();
    if lines == 0 {
        return Ok(Tail::At(end));
    }
    // Its last line may not be whole yet: it is not counted.
    let mut found = 0;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(size(BLOCK));
        let length = usize::try_from(end - start).unwrap_or(BLOCK);
        file.read_exact_at(&mut block[..length], start)?;
        for at in (0..length).rev().filter(|at| block[*at] == b'\n') {
            // The newline that ends the line before.
            if found == lines {
                return Ok(Tail::At(start + size(at) + 1));
            }
            found += 1;
        }
        end = start;
    }
    if found == lines { Ok(Tail::At(0)) } else { Ok(Tail::Has(found)) }
}

fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn all(files: &mut Files) -> String {
        let mut text = Vec::new();
        while let Some(lines) = files.read().unwrap() {
            text.extend(lines);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn reads_on_while_files_are_rotated() {
        let folder = std::env::temp_dir().join(format!("midge-log-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        assert_eq!(Files::open(&path, None).err().unwrap().kind(), io::ErrorKind::NotFound);
        let text = |range: std::ops::Range<u32>| range.map(|line| format!("{line}\n")).collect::<String>();
        fs::write(rotated(&path, 2), text(0..10)).unwrap();
        fs::write(rotated(&path, 1), text(10..20)).unwrap();
        fs::write(&path, text(20..25) + "torn").unwrap();
        let mut files = Files::open(&path, None).unwrap();
        assert_eq!(all(&mut files), text(0..25));
        for (lines, first) in [(0, 25), (1, 24), (5, 20), (6, 19), (15, 10), (24, 1), (25, 0), (99, 0)] {
            assert_eq!(all(&mut Files::open(&path, Some(lines)).unwrap()), text(first..25), "{lines}");
        }
        let rotate = || {
            for number in (0..3).rev() {
                let _ = fs::rename(rotated(&path, number), rotated(&path, number + 1));
            }
        };
        // Written between the last reading and the rotation; then two at a time; then more than are kept.
        fs::write(&path, text(20..27)).unwrap();
        rotate();
        assert_eq!(all(&mut files), text(25..27));
        fs::write(&path, text(27..30)).unwrap();
        rotate();
        fs::write(&path, text(30..32)).unwrap();
        assert_eq!(all(&mut files), text(27..32));
        for number in 4..9 {
            rotate();
            fs::write(&path, text(number * 10..number * 10 + 1)).unwrap();
        }
        assert_eq!(all(&mut files), "50\n60\n70\n80\n");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(all(&mut files), "");
    }
}
