//! Where a container's standard streams lead, `<run>/stdio/<beginning of its id>/`: `in` is the FIFO of its input, `out`
//! the socket at which its log program serves those who attach, `started` says that its program has been started.
//!
//! The shim starts the log program itself, except for a container with an input and no terminal: for that it knows
//! FIFOs alone (`out.1`, `out.2`), whose reader is started here, and is no child of ours for long.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use serde_json::Value;

use crate::agent::logger::{self, Limits};
use crate::containerd::Stdio;
use crate::sys::{fifo, file};

/// What the streams of all containers share.
pub struct Options {
    pub run_dir: PathBuf,
    /// The log program.
    pub executable: PathBuf,
    pub limits: Limits,
}

/// A socket's path has 107 bytes at most.
const ID_PART: usize = 20;
const STARTED: &str = "started";

pub fn folder(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join("stdio").join(id.get(..ID_PART).unwrap_or(id))
}

pub fn input(run_dir: &Path, id: &str) -> PathBuf {
    folder(run_dir, id).join("in")
}

pub fn socket(run_dir: &Path, id: &str) -> PathBuf {
    folder(run_dir, id).join("out")
}

fn is(container: &Value, field: &str) -> bool {
    container.get(field) == Some(&Value::Bool(true))
}

pub fn has_terminal(container: &Value) -> bool {
    is(container, "tty")
}

pub fn has_input(container: &Value) -> bool {
    is(container, "stdin")
}

/// Its input ends with the first one who was attached to it.
pub fn has_input_once(container: &Value) -> bool {
    is(container, "stdinOnce")
}

impl Options {
    /// Makes what the task of `container` is created with. Blocks.
    pub fn set_up(&self, id: &str, container: &Value, log: &Path) -> io::Result<Stdio> {
        let folder = folder(&self.run_dir, id);
        file::create_private_folder(&folder)?;
        let options =
            logger::Options { limits: self.limits, socket: socket(&self.run_dir, id), log: log.to_owned() };
        let argument = options.to_argument();
        let uri = logger_uri(&self.executable, &argument);
        if !has_input(container) {
            return Ok(match has_terminal(container) {
                false => Stdio::Uri(uri),
                true => Stdio::Streams { stdin: String::new(), stdout: uri, stderr: String::new() },
            });
        }
        let input = input(&self.run_dir, id);
        fifo::create(&input)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        if has_terminal(container) {
            return Ok(Stdio::Streams { stdin: text(&input), stdout: uri, stderr: String::new() });
        }
        let [stdout, stderr] = [folder.join("out.1"), folder.join("out.2")];
        fifo::create(&stdout)?;
        fifo::create(&stderr)?;
        let mut program = Command::new(&self.executable);
        program.args([OsStr::new(logger::PIPES_ARGUMENT), &argument, stdout.as_os_str(), stderr.as_os_str()]);
        for stream in [Command::stdin, Command::stdout, Command::stderr] {
            stream(&mut program, process::Stdio::null());
        }
        // It starts itself anew, and ends: what goes on is no child of ours, and no signal to our group reaches it.
        program.process_group(0).status()?;
        Ok(Stdio::Streams { stdin: text(&input), stdout: text(&stdout), stderr: text(&stderr) })
    }

    /// Notes that the container's program is being started: containerd does not tell one that ended from one
    /// that was ended before that. Blocks.
    pub fn note_start(&self, id: &str) -> io::Result<()> {
        std::fs::write(folder(&self.run_dir, id).join(STARTED), "")
    }

    pub fn was_started(&self, id: &str) -> bool {
        folder(&self.run_dir, id).join(STARTED).exists()
    }

    /// Removes it. Fine when there is nothing. Blocks.
    pub fn remove(&self, id: &str) {
        let _ = std::fs::remove_dir_all(folder(&self.run_dir, id));
    }
}

/// `binary://<program>?container-log=<options>`: the shim makes two arguments of the key and the value.
fn logger_uri(executable: &Path, argument: &OsStr) -> String {
    let escape = |text: &OsStr| {
        text.as_bytes().iter().fold(String::new(), |mut text, byte| {
            let _ = match byte {
                b'/' | b'-' | b'_' | b'.' | b'~' => write!(text, "{}", char::from(*byte)),
                byte if byte.is_ascii_alphanumeric() => write!(text, "{}", char::from(*byte)),
                byte => write!(text, "%{byte:02X}"),
            };
            text
        })
    };
    format!("binary://{}?{}={}", escape(executable.as_os_str()), logger::ARGUMENT, escape(argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loggers_uri() {
        let uri = logger_uri(Path::new("/usr/local/bin/midge"), OsStr::new("10\n/data dir/a&b=c.log"));
        assert_eq!(uri, "binary:///usr/local/bin/midge?container-log=10%0A/data%20dir/a%26b%3Dc.log");
    }
}
