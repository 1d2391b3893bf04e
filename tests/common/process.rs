//! A program in the background with its output in a file.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, appending what it prints to `log`.
    pub fn start(mut command: Command, log: &Path) -> Process {
        let out = open(log);
        let err = open(log);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        Process { child, log: log.to_path_buf() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9, as a power cut for this process alone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; its exit code, or `None` when it took longer than `limit` and was killed.
    pub fn stop(&mut self, limit: Duration) -> Option<i32> {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        self.ended(limit)
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self, limit: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            if start.elapsed() > limit {
                self.kill();
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open(log: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.unwrap_or_else(|error| panic!("failed to open {}: {error}", log.display()))
}
