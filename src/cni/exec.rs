//! Running one plugin (specification, section 2).

use super::Error;
use crate::sys::host;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWriteExt, future};
use serde_json::Value;
use smol::Timer;
use smol::process::{Child, Command, Stdio};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Where plugins are.
#[derive(Debug, Clone)]
pub struct Plugins {
    folders: Vec<PathBuf>,
    deadline: Duration,
}

/// A result is some kilobytes.
const MOST_STDOUT: usize = 256 * 1024;
/// Of what it complains about, the beginning is told.
const MOST_STDERR: usize = 2 * 1024;
/// A slow board with a busy card takes seconds; what takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// One run: the `CNI_*` variables and the text for standard input.
pub(super) struct Run<'a> {
    pub command: &'static str,
    pub container_id: &'a str,
    /// Empty: there is none (any more).
    pub netns: OsString,
    pub ifname: &'a str,
    pub args: &'a str,
    pub stdin: &'a [u8],
}

impl Plugins {
    /// Searched in this order.
    pub fn new(folders: Vec<PathBuf>) -> Plugins {
        Plugins { folders, deadline: DEADLINE }
    }

    /// How long one plugin may take; 60 s otherwise.
    pub fn with_deadline(self, deadline: Duration) -> Plugins {
        Plugins { deadline, ..self }
    }

    /// `/opt/cni/bin` (where installers unpack them), `/usr/lib/cni` (Debian), `/usr/libexec/cni`
    /// (Fedora, Alpine, OpenWrt).
    pub fn default_folders() -> Vec<PathBuf> {
        ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"].map(PathBuf::from).to_vec()
    }

    /// The program of the plugin `kind`.
    pub fn find(&self, kind: &str) -> Result<PathBuf, Error> {
        let can_run = |path: &PathBuf| {
            std::fs::metadata(path)
                .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
        };
        let found = self.folders.iter().map(|folder| folder.join(kind)).find(can_run);
        found.ok_or_else(|| Error::PluginMissing { plugin: kind.into(), folders: self.folders.clone() })
    }

    /// Runs `kind` and returns what it wrote to standard output. Dropping the future kills the plugin.
    pub(super) async fn run(&self, kind: &str, run: Run<'_>) -> Result<Vec<u8>, Error> {
        let program = self.find(kind)?;
        let command = run.command;
        let mut child = self
            .command(&program, &run)?
            .spawn()
            .map_err(|source| Error::Start { plugin: kind.into(), source })?;
        let timer = Timer::after(self.deadline);
        let timeout = async {
            timer.await;
            None
        };
        // Neither arm leaves anything behind but the child, which is looked after below.
        let talked = future::or(async { Some(talk(&mut child, run.stdin).await) }, timeout).await;
        let Some(talked) = talked else {
            let _ = child.kill();
            let _ = child.status().await;
            return Err(Error::TimedOut { plugin: kind.into(), command, seconds: self.deadline.as_secs() });
        };
        let (status, stdout, stderr) =
            talked.map_err(|source| Error::Talk { plugin: kind.into(), source })?;
        let Some(stdout) = stdout else {
            return Err(Error::TooMuchOutput { plugin: kind.into(), limit: MOST_STDOUT });
        };
        judge(kind, command, status, stdout, &stderr)
    }

    fn command(&self, program: &PathBuf, run: &Run<'_>) -> Result<Command, Error> {
        let path = std::env::join_paths(&self.folders).unwrap_or_default();
        let mut command = Command::new(program);
        // Nothing of ours: join tokens are nobody else's, and systemd would take a plugin's word for ours. The
        // bridge plugin runs iptables.
        command
            .env_clear()
            .env("PATH", host::program_path())
            .env("CNI_COMMAND", run.command)
            .env("CNI_CONTAINERID", run.container_id)
            .env("CNI_NETNS", &run.netns)
            .env("CNI_IFNAME", run.ifname)
            .env("CNI_ARGS", run.args)
            .env("CNI_PATH", path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }
}

/// Writes, reads both outputs and waits, all at once: a plugin may answer before it has read.
async fn talk(child: &mut Child, input: &[u8]) -> io::Result<(ExitStatus, Option<Vec<u8>>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(input).await {
            // It had its reasons not to read on; its exit tells.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
        // Dropped here: the plugin sees the end of its input.
    };
    let outputs = future::try_zip(read(stdout, MOST_STDOUT), read(stderr, MOST_STDERR));
    let ((), ((stdout, whole), (stderr, _))) = future::try_zip(write, outputs).await?;
    let status = child.status().await?;
    Ok((status, whole.then_some(stdout), stderr))
}

/// Reads to the end and keeps the first `most` bytes. Whether that was all.
async fn read(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let (mut kept, mut whole) = (Vec::new(), true);
    let Some(mut from) = from else { return Ok((kept, whole)) };
    let mut buffer = [0u8; 2048];
    loop {
        let read = from.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((kept, whole));
        }
        let room = most.saturating_sub(kept.len()).min(bytes.len());
        whole &= room == bytes.len();
        kept.extend_from_slice(&bytes[..room]);
    }
}

fn judge(
    kind: &str,
    command: &'static str,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: &[u8],
) -> Result<Vec<u8>, Error> {
    let plugin = kind.to_string();
    if status.success() {
        return Ok(stdout);
    }
    if let Some(signal) = status.signal() {
        return Err(Error::Killed { plugin, command, signal });
    }
    let error: Value = serde_json::from_slice(&stdout).unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    match error.get("code").and_then(Value::as_u64) {
        Some(code) => {
            Err(Error::Refused { plugin, command, code, message: text("msg"), details: text("details") })
        }
        None => {
            let stderr = String::from_utf8_lossy(stderr).trim().replace('\n', "; ");
            Err(Error::Failed { plugin, command, code: status.code(), stderr })
        }
    }
}
