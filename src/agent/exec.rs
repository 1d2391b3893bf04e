//! A program run in a container to its end, for probes and hooks. Programs that a person talks to: [`super::streams`].

pub mod process;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures_lite::future;

use self::process::{Next, Process, Wanted};
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
    /// The container is gone, or its specification can't be read.
    NoContainer,
    /// The node has no room for the program's pipes.
    Pipes(std::io::Error),
}

/// Runs `command` in the container with the environment, user and limits of its own program. `limit` counts from its
/// start, which on a busy board takes longer than many a probe is given. Dropping it kills the program.
pub async fn run(
    client: &Client,
    run_dir: &Path,
    container_id: &str,
    command: &[String],
    limit: Duration,
    max_output: usize,
) -> Result<Ran, Error> {
    let wanted = Wanted { command: command.to_vec(), ..Wanted::default() };
    let mut process = Process::start(client, run_dir, container_id, wanted).await?;
    let running = async {
        let mut output = Vec::new();
        let code = loop {
            match process.next().await? {
                Next::Exit(code) => break code,
                Next::Text(_, text) => {
                    let room = max_output.saturating_sub(output.len());
                    output.extend_from_slice(&text[..text.len().min(room)]);
                }
            }
        };
        Ok(Ran { code, output })
    };
    let late = async {
        smol::Timer::after(limit).await;
        Err(Error::TimedOut(limit))
    };
    // What is dropped kills what it has started.
    future::or(running, late).await
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TimedOut(limit) => write!(f, "command timed out after {} s", limit.as_secs()),
            Error::Runtime(error) => error.fmt(f),
            Error::NoContainer => f.write_str("the container is gone"),
            Error::Pipes(_) => f.write_str("failed to make pipes for a program"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::TimedOut(_) | Error::NoContainer => None,
            Error::Runtime(error) => error.source(),
            Error::Pipes(error) => Some(error),
        }
    }
}
