//! `midge shutdown`: has the node here end its pods, and waits. What it prints is what the node says.

use super::args::ShutdownArgs;
use super::error::Error;
use super::node;
use crate::agent::shutdown::{self, ENDED, GO_ON};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long the node may be late: a small machine that is busy takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of all that the node says.
const MAX_BYTES: u64 = 1024 * 1024;

pub fn run(args: ShutdownArgs) -> Result<(), Error> {
    let data_dir = node::data_dir(args.data_dir.as_deref())?;
    node::require_root()?;
    let path = shutdown::path(&node::run_dir(args.run_dir.as_deref(), &data_dir));
    let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NoNode { data_dir },
        _ => Error::ReadFile { path: path.clone(), source },
    })?;
    let last = follow(stream).map_err(|source| Error::ReadFile { path: path.clone(), source })?;
    if [ENDED, GO_ON].contains(&last.as_str()) { Ok(()) } else { Err(Error::PodsRun) }
}

/// Prints what the node says until it has said all. Returns its last line.
fn follow(stream: UnixStream) -> io::Result<String> {
    let mut until = Instant::now() + PATIENCE;
    let mut lines = BufReader::new(stream.try_clone()?.take(MAX_BYTES));
    let mut next = |until: Instant| -> io::Result<String> {
        // Zero would be none.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let most = next(until)?.parse().map_err(|_| io::ErrorKind::InvalidData)?;
    until += Duration::from_secs(most);
    let mut last = String::new();
    loop {
        let line = next(until)?;
        if line.is_empty() {
            return Ok(last);
        }
        super::print(&line);
        last = line;
    }
}
