//! Tasks: running containers.

use std::time::SystemTime;

use super::{Client, Error, Mount};

/// Where a task's output goes; its input is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// `/dev/null`.
    Null,
    /// One URI for stdout and stderr, for instance `binary:///usr/local/bin/midge?container-log=/path`
    /// or `file:///path`.
    Uri(String),
    /// FIFOs or URIs of its own; an empty text is `/dev/null`.
    Streams { stdin: String, stdout: String, stderr: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    Unknown,
    Created,
    Running,
    Stopped,
    Paused,
    Pausing,
}

/// A task as containerd sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The container's id.
    pub id: String,
    pub pid: u32,
    pub status: TaskStatus,
    /// Exit code; 128 + signal if killed by one. Means something when `status` is `Stopped`.
    pub code: u32,
    pub exited_at: Option<SystemTime>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 128 + signal if killed by one.
    pub code: u32,
    pub at: SystemTime,
}

impl Client {
    /// Creates the task: the shim, the cgroup and the mounted root are there afterwards, the program waits
    /// for [`Client::start_task`]. Returns its process id.
    pub async fn create_task(
        &self,
        _id: &str,
        _mounts: &[Mount],
        _stdio: &Stdio,
        _terminal: bool,
    ) -> Result<u32, Error> {
        todo!()
    }

    pub async fn start_task(&self, _id: &str) -> Result<u32, Error> {
        todo!()
    }

    /// Sends `signal` to the first process or to all. A process or task that is gone already is fine.
    pub async fn kill_task(&self, _id: &str, _signal: u32, _all: bool) -> Result<(), Error> {
        todo!()
    }

    /// `None` when there is no task: never created, or deleted, or the machine was restarted.
    pub async fn task(&self, _id: &str) -> Result<Option<Task>, Error> {
        todo!()
    }

    /// Tasks of this namespace.
    pub async fn tasks(&self) -> Result<Vec<Task>, Error> {
        todo!()
    }

    /// Deletes a stopped (or never started) task; `None` when it is gone already.
    pub async fn delete_task(&self, _id: &str) -> Result<Option<Exit>, Error> {
        todo!()
    }

    /// Waits for the end of the first process, without a deadline. `NotFound` when there is no task.
    pub async fn wait_task(&self, _id: &str) -> Result<Exit, Error> {
        todo!()
    }
}
