//! Tasks: running containers.

use std::time::{Duration, SystemTime};

use super::call::{Method, found};
use super::types::{Empty, Timestamp, WireMount};
use super::{Client, Error, Mount};

/// Starting a shim and runc takes long on a loaded board; a logger must come up as well.
pub(super) const CREATE_LIMIT: Duration = Duration::from_secs(120);

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
        id: &str,
        mounts: &[Mount],
        stdio: &Stdio,
        terminal: bool,
    ) -> Result<u32, Error> {
        let (stdin, stdout, stderr) = match stdio.clone() {
            Stdio::Null => Default::default(),
            Stdio::Uri(uri) => (String::new(), uri.clone(), uri),
            Stdio::Streams { stdin, stdout, stderr } => (stdin, stdout, stderr),
        };
        let request = wire::CreateTaskRequest {
            container_id: id.into(),
            rootfs: mounts.iter().map(WireMount::from).collect(),
            stdin,
            stdout,
            // A terminal has one output.
            stderr: if terminal { String::new() } else { stderr },
            terminal,
        };
        let answer: wire::CreateTaskResponse =
            self.unary_within(wire::CREATE, &request, CREATE_LIMIT).await?;
        Ok(answer.pid)
    }

    pub async fn start_task(&self, id: &str) -> Result<u32, Error> {
        let answer: wire::StartResponse =
            self.unary_within(wire::START, &wire::ProcessRequest::init(id), CREATE_LIMIT).await?;
        Ok(answer.pid)
    }

    /// Sends `signal` to the first process or to all. A process or task that is gone already is fine.
    pub async fn kill_task(&self, id: &str, signal: u32, all: bool) -> Result<(), Error> {
        let request = wire::KillRequest { container_id: id.into(), exec_id: String::new(), signal, all };
        found(self.unary::<_, Empty>(wire::KILL, &request).await)?;
        Ok(())
    }

    /// `None` when there is no task: never created, or deleted, or the machine was restarted.
    pub async fn task(&self, id: &str) -> Result<Option<Task>, Error> {
        let answer: Option<wire::GetResponse> =
            found(self.unary(wire::GET, &wire::ProcessRequest::init(id)).await)?;
        Ok(answer
            .and_then(|answer| answer.process)
            .map(|process| Task { id: id.into(), ..Task::from(process) }))
    }

    /// Tasks of this namespace.
    pub async fn tasks(&self) -> Result<Vec<Task>, Error> {
        let answer: wire::ListTasksResponse = self.unary(wire::LIST, &Empty {}).await?;
        Ok(answer.tasks.into_iter().map(Task::from).collect())
    }

    /// Deletes a stopped (or never started) task; `None` when it is gone already.
    pub async fn delete_task(&self, id: &str) -> Result<Option<Exit>, Error> {
        let request = wire::DeleteTaskRequest { container_id: id.into() };
        let answer: Option<wire::DeleteResponse> =
            found(self.unary_within(wire::DELETE, &request, CREATE_LIMIT).await)?;
        Ok(answer.map(|answer| Exit { code: answer.exit_status, at: time_or_now(answer.exited_at) }))
    }

    /// Waits for the end of the first process, without a deadline. `NotFound` when there is no task.
    pub async fn wait_task(&self, id: &str) -> Result<Exit, Error> {
        let answer: wire::WaitResponse =
            self.unary_unlimited(wire::WAIT, &wire::ProcessRequest::init(id)).await?;
        Ok(Exit { code: answer.exit_status, at: time_or_now(answer.exited_at) })
    }
}

/// A process that never started has no time of its end.
pub(super) fn time_or_now(at: Option<Timestamp>) -> SystemTime {
    at.and_then(Timestamp::time).unwrap_or_else(SystemTime::now)
}

impl wire::Process {
    pub(super) fn status(&self) -> TaskStatus {
        match self.status {
            1 => TaskStatus::Created,
            2 => TaskStatus::Running,
            3 => TaskStatus::Stopped,
            4 => TaskStatus::Paused,
            5 => TaskStatus::Pausing,
            _ => TaskStatus::Unknown,
        }
    }
}

impl From<wire::Process> for Task {
    fn from(from: wire::Process) -> Task {
        let status = from.status();
        Task {
            // Which of the two is filled depends on containerd's version.
            id: if from.id.is_empty() { from.container_id } else { from.id },
            pid: from.pid,
            status,
            code: from.exit_status,
            exited_at: from.exited_at.and_then(Timestamp::time),
        }
    }
}

pub(super) mod wire {
    use super::{Method, Timestamp, WireMount};

    pub const CREATE: Method = Method("/containerd.services.tasks.v1.Tasks/Create");
    pub const START: Method = Method("/containerd.services.tasks.v1.Tasks/Start");
    pub const KILL: Method = Method("/containerd.services.tasks.v1.Tasks/Kill");
    pub const GET: Method = Method("/containerd.services.tasks.v1.Tasks/Get");
    pub const LIST: Method = Method("/containerd.services.tasks.v1.Tasks/List");
    pub const DELETE: Method = Method("/containerd.services.tasks.v1.Tasks/Delete");
    pub const WAIT: Method = Method("/containerd.services.tasks.v1.Tasks/Wait");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateTaskRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(message, repeated, tag = "3")]
        pub rootfs: Vec<WireMount>,
        #[prost(string, tag = "4")]
        pub stdin: String,
        #[prost(string, tag = "5")]
        pub stdout: String,
        #[prost(string, tag = "6")]
        pub stderr: String,
        #[prost(bool, tag = "7")]
        pub terminal: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateTaskResponse {
        #[prost(uint32, tag = "2")]
        pub pid: u32,
    }

    /// Start, Get and Wait take the same fields.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ProcessRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub exec_id: String,
    }

    impl ProcessRequest {
        pub fn init(container_id: &str) -> ProcessRequest {
            ProcessRequest { container_id: container_id.into(), exec_id: String::new() }
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct StartResponse {
        #[prost(uint32, tag = "1")]
        pub pid: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct KillRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub exec_id: String,
        #[prost(uint32, tag = "3")]
        pub signal: u32,
        #[prost(bool, tag = "4")]
        pub all: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Process {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub id: String,
        #[prost(uint32, tag = "3")]
        pub pid: u32,
        #[prost(int32, tag = "4")]
        pub status: i32,
        #[prost(uint32, tag = "9")]
        pub exit_status: u32,
        #[prost(message, optional, tag = "10")]
        pub exited_at: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct GetResponse {
        #[prost(message, optional, tag = "1")]
        pub process: Option<Process>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListTasksResponse {
        #[prost(message, repeated, tag = "1")]
        pub tasks: Vec<Process>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DeleteTaskRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DeleteResponse {
        #[prost(uint32, tag = "3")]
        pub exit_status: u32,
        #[prost(message, optional, tag = "4")]
        pub exited_at: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WaitResponse {
        #[prost(uint32, tag = "1")]
        pub exit_status: u32,
        #[prost(message, optional, tag = "2")]
        pub exited_at: Option<Timestamp>,
    }
}
