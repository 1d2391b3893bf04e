//! The program behind a container's output: containerd's shim starts it (`binary://` stdio), CRI log
//! lines come out: `<RFC3339Nano> stdout F <text>`, P instead of F for a part of a line over 16 KiB.
//!
//! It runs as long as the container, without agent and containerd, so it is small: no executor, two
//! buffers, one poll(2). When the file can't be written it goes on reading, so that the container never
//! blocks, and says how many lines were lost once it can write again.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, poll};

use crate::api::time;
use crate::sys::inherited;

/// The first argument of the program, and the key in the `binary://` URI; the second is the file.
pub const ARGUMENT: &str = "container-log";

/// The longest text of one line; what is longer is written in parts.
const MAX_LINE: usize = 16 * 1024;
/// What is read at once while little comes: most containers say little, and each has such a program.
const FIRST_READ: usize = 2 * 1024;
/// Lines are written together up to about this.
const BATCH: usize = 8 * 1024;

/// Serves a container's output if the process was started for that, with the arguments `container-log
/// <file>`; None otherwise. Call it before anything else in the program.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = arguments.next();
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return None;
    }
    let file = arguments.next()?;
    let Some([stdout, stderr, ready]) = inherited::log_pipes() else {
        eprintln!("midge {ARGUMENT} is started by containerd with pipes as descriptors 3, 4 and 5");
        return Some(ExitCode::from(2));
    };
    inherited::ignore_termination();
    let mut log = Log::new(Path::new(&file));
    drop(ready);
    serve(stdout, stderr, &mut log);
    Some(ExitCode::SUCCESS)
}

fn serve(stdout: File, stderr: File, log: &mut Log) {
    let mut sources = [Source::new(stdout, "stdout"), Source::new(stderr, "stderr")];
    loop {
        let [first, second] = &sources;
        let mut polled = [PollFd::new(&first.pipe, PollFlags::IN), PollFd::new(&second.pipe, PollFlags::IN)];
        // An ended pipe would be ready for ever, so it is left out.
        let waiting = match (first.ended, second.ended) {
            (true, true) => return,
            (true, false) => &mut polled[1..],
            (false, true) => &mut polled[..1],
            (false, false) => &mut polled[..],
        };
        match poll(waiting, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ready = [&polled[0], &polled[1]].map(|fd| !fd.revents().is_empty());
        for (source, ready) in sources.iter_mut().zip(ready) {
            if ready && !source.ended {
                source.copy(log);
            }
        }
    }
}

/// One of the container's two streams, and the beginning of a line whose end has not come.
struct Source {
    pipe: File,
    name: &'static str,
    /// [`FIRST_READ`] bytes, and [`MAX_LINE`] once these were not enough.
    buffer: Vec<u8>,
    filled: usize,
    ended: bool,
}

impl Source {
    fn new(pipe: File, name: &'static str) -> Source {
        Source { pipe, name, buffer: vec![0; FIRST_READ], filled: 0, ended: false }
    }

    /// Reads once and writes the lines that are complete.
    fn copy(&mut self, log: &mut Log) {
        let read = match self.pipe.read(&mut self.buffer[self.filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Ok(read) => read,
            Err(_) => 0,
        };
        let stamp = time::format_nano(SystemTime::now());
        self.ended = read == 0;
        let from = self.filled;
        self.filled += read;
        let text = &self.buffer[..self.filled];
        let mut start = 0;
        // What was there before holds no newline.
        for (at, _) in text[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            log.line(&stamp, self.name, "F", &text[start..from + at]);
            start = from + at + 1;
        }
        let rest = self.filled - start;
        if rest == MAX_LINE || (self.ended && rest > 0) {
            let tag = if self.ended { "F" } else { "P" };
            log.line(&stamp, self.name, tag, &text[start..]);
            self.filled = 0;
        } else {
            self.buffer.copy_within(start..self.filled, 0);
            self.filled = rest;
        }
        if from + read == self.buffer.len() {
            self.buffer.resize(MAX_LINE, 0);
        }
        log.flush();
    }
}

/// The file, which may fail at any time and work again later.
struct Log {
    path: Box<Path>,
    file: Option<File>,
    batch: Vec<u8>,
    lines: u64,
    lost: u64,
}

impl Log {
    fn new(path: &Path) -> Log {
        let mut log = Log { path: path.into(), file: None, batch: Vec::new(), lines: 0, lost: 0 };
        log.file = log.open().ok();
        log
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)
    }

    fn line(&mut self, stamp: &str, stream: &str, tag: &str, text: &[u8]) {
        for part in [stamp.as_bytes(), b" ", stream.as_bytes(), b" ", tag.as_bytes(), b" ", text, b"\n"] {
            self.batch.extend_from_slice(part);
        }
        self.lines += 1;
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
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
        let before = file.metadata()?.len();
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What `input`, written to stdout in these pieces, becomes, times cut off.
    fn logged(
        name: &str,
        input: &[&[u8]],
        before: impl FnOnce(&Path),
        between: impl Fn(&Path, usize),
    ) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("midge-logger-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        before(&path);
        let mut log = Log::new(&path);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut writer = File::from(writer);
        let mut source = Source::new(File::from(reader), "stdout");
        for (index, piece) in input.iter().enumerate() {
            between(&path, index);
            writer.write_all(piece).unwrap();
            source.copy(&mut log);
        }
        drop(writer);
        source.copy(&mut log);
        assert!(source.ended);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    fn nothing(_: &Path, _: usize) {}

    #[test]
    fn lines_are_joined_and_cut() {
        let long = vec![b'x'; MAX_LINE];
        let lines =
            logged("lines", &[b"one\ntw", b"o\n\n", &long, b"tail\n", b"no newline"], |_| (), nothing);
        let part = format!("stdout P {}", "x".repeat(MAX_LINE));
        let expected =
            ["stdout F one", "stdout F two", "stdout F ", &part, "stdout F tail", "stdout F no newline"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_file_that_cannot_be_written_loses_lines_and_says_so() {
        let in_the_way = |path: &Path| fs::create_dir(path).unwrap();
        let lines = logged("lost", &[b"a\nb\n", b"c\n"], in_the_way, |path, index| {
            if index == 1 {
                fs::remove_dir(path).unwrap();
            }
        });
        let expected = ["stderr F midge: 2 lines were lost, the log could not be written", "stdout F c"];
        assert_eq!(lines, expected);
    }
}
