//! The program behind a container's output: containerd's shim starts it (`binary://` stdio), CRI log
//! lines come out: `<RFC3339Nano> stdout F <text>`, P instead of F for a part of a line over 16 KiB.
//!
//! It runs as long as the container, without agent and containerd, so it is small: no executor, two
//! buffers, one poll(2). Who attaches to the container gets a copy of what comes, by a socket. When the file can't be written it goes on reading, so that the container never
//! blocks, and says how many lines were lost once it can write again.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::file::Log;
use self::listeners::Listeners;
use crate::api::time;
use crate::sys::{fifo, inherited};

mod file;
mod listeners;
mod options;

pub use self::file::{Limits, rotated};
pub use self::listeners::HEADER;
pub use self::options::Options;

/// The first argument of the program, and the key in the `binary://` URI; the second are the [`Options`].
pub const ARGUMENT: &str = "container-log";
/// The first argument of one that gets the output of a program with an input, for which the shim has no log
/// program: the output comes by two FIFOs, named by two more arguments.
pub const PIPES_ARGUMENT: &str = "container-log-pipes";

/// The longest text of one line; what is longer is written in parts.
const MAX_LINE: usize = 16 * 1024;
/// What is read at once while little comes: most containers say little, and each has such a program.
const FIRST_READ: usize = 2 * 1024;
/// How often it is looked whether FIFOs that nobody has opened yet are still there.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Serves a container's output if the process was started for that, with the arguments `container-log
/// <options>`; None otherwise. Call it before anything else in the program.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = arguments.next();
    let first = arguments.next()?;
    let by_pipes = first == OsStr::new(PIPES_ARGUMENT);
    if !by_pipes && first != OsStr::new(ARGUMENT) {
        return None;
    }
    let options = Options::parse(&arguments.next()?);
    if by_pipes {
        let paths = [arguments.next()?, arguments.next()?].map(PathBuf::from);
        inherited::ignore_termination();
        return Some(match arguments.next() {
            None => start_anew(),
            Some(_) => serve_pipes(&options, &paths),
        });
    }
    let Some([stdout, stderr, ready]) = inherited::log_pipes() else {
        eprintln!("midge {ARGUMENT} is started by containerd with pipes as descriptors 3, 4 and 5");
        return Some(ExitCode::from(2));
    };
    inherited::ignore_termination();
    let mut server = Server::new(&options);
    drop(ready);
    server.serve([stdout, stderr], None);
    Some(ExitCode::SUCCESS)
}

/// So that what goes on is no child of the agent's: one more argument tells it apart.
fn start_anew() -> ExitCode {
    let started = std::env::current_exe()
        .and_then(|program| Command::new(program).args(std::env::args_os().skip(1)).arg("anew").spawn());
    if started.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve_pipes(options: &Options, paths: &[PathBuf; 2]) -> ExitCode {
    let [first, second] = paths;
    let (Ok(stdout), Ok(stderr)) = (fifo::reader(first), fifo::reader(second)) else {
        return ExitCode::FAILURE;
    };
    let mut server = Server::new(options);
    server.serve([stdout, stderr], Some(first));
    ExitCode::SUCCESS
}

struct Server {
    log: Log,
    listeners: Listeners,
}

impl Server {
    fn new(options: &Options) -> Server {
        Server { log: Log::new(&options.log, options.limits), listeners: Listeners::new(&options.socket) }
    }

    /// Until both pipes are at their ends; `fifo`, if there is one, until somebody has opened it or it is gone.
    fn serve(&mut self, pipes: [File; 2], mut fifo: Option<&Path>) {
        let [stdout, stderr] = pipes;
        let mut sources = [Source::new(stdout, "stdout"), Source::new(stderr, "stderr")];
        while sources.iter().any(|source| !source.ended) {
            // An ended pipe would be ready for ever, so it is left out.
            let waiting = sources.iter().filter(|source| !source.ended).map(|source| source.pipe.as_fd());
            let mut polled: Vec<PollFd> = waiting
                .chain(self.listeners.fds())
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            match poll(&mut polled, fifo.map(|_| &LOOK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let mut ready = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
            drop(polled);
            for source in &mut sources {
                if !source.ended && ready.next() == Some(true) {
                    fifo = None;
                    source.copy(&mut self.log, &mut self.listeners);
                }
            }
            self.listeners.serve(ready);
            if fifo.is_some_and(|fifo| !fifo.exists()) {
                return;
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
    fn copy(&mut self, log: &mut Log, listeners: &mut Listeners) {
        let read = match self.pipe.read(&mut self.buffer[self.filled..]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                return;
            }
            Ok(read) => read,
            Err(_) => 0,
        };
        let stamp = time::format_nano(SystemTime::now());
        self.ended = read == 0;
        let from = self.filled;
        self.filled += read;
        let text = &self.buffer[..self.filled];
        listeners.say(self.name, &text[from..]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

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
        let mut log = Log::new(&path, Limits { size: 30_000, files: 3 });
        let mut listeners = Listeners::new(&folder.join("out"));
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut writer = File::from(writer);
        let mut source = Source::new(File::from(reader), "stdout");
        for (index, piece) in input.iter().enumerate() {
            between(&path, index);
            writer.write_all(piece).unwrap();
            source.copy(&mut log, &mut listeners);
        }
        drop(writer);
        source.copy(&mut log, &mut listeners);
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

    #[test]
    fn files_are_rotated_by_size_and_number() {
        let folder = std::env::temp_dir().join(format!("midge-rotation-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        let mut log = Log::new(&path, Limits { size: 1000, files: 3 });
        for number in 0..100 {
            log.line("2026-01-02T03:04:05.000000000Z", "stdout", "F", format!("line {number}").as_bytes());
            log.flush();
        }
        let read = |number| fs::read_to_string(rotated(&path, number)).unwrap();
        let all = [read(2), read(1), read(0)];
        assert!(all.iter().all(|text| text.len() <= 1000 && text.ends_with('\n')));
        // None of the lines that are left is missing or twice.
        let all = all.concat();
        let count = all.lines().count();
        let expected: Vec<String> = (100 - count..100).map(|number| format!("line {number}")).collect();
        assert!(count > 40 && all.lines().map(|line| &line[40..]).eq(expected), "{all}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        fs::remove_dir_all(&folder).unwrap();
    }
}
