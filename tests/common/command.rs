//! Running programs and looking at what they say.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs `program`; anything but success ends the test with what it printed.
pub fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) {
    output(program, arguments);
}

/// Runs `program` and returns its standard output.
pub fn output(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    Answer::of(&mut command).success().stdout
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Answer {
    command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(command: &mut Command) -> Answer {
        let name = format!("{command:?}");
        let output = command.output().unwrap_or_else(|error| panic!("failed to run {name}: {error}"));
        Answer::from_output(name, output)
    }

    /// What `command`, a name for messages, said.
    pub fn from_output(command: String, Output { status, stdout, stderr }: Output) -> Answer {
        Answer {
            command,
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn success(self) -> Answer {
        assert_eq!(self.code, Some(0), "{} failed\n{}{}", self.command, self.stdout, self.stderr);
        self
    }

    /// The program ended with `code` and said one line on stderr, which holds each of `words`.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Answer {
        assert_eq!(self.code, Some(code), "{}\n{}{}", self.command, self.stdout, self.stderr);
        let last = self.stderr.trim_end().lines().last().unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "no `{word}` in the last line of\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Answer {
        for word in words {
            assert!(
                self.stdout.contains(word) || self.stderr.contains(word),
                "{}: no `{word}` in\n{}{}",
                self.command,
                self.stdout,
                self.stderr
            );
        }
        self
    }
}

/// Looks every 50 ms until `found` has something; after `limit` the test ends with `what`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
