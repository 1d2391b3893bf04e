//! Further programs in a running container, and the standard streams of its processes.

use bytes::Bytes;

use super::call::{Method, found};
use super::task::{CREATE_LIMIT, Exit, TaskStatus, time_or_now, wire as task};
use super::types::{Any, Empty};
use super::{Client, Error};

/// A program to be added to a running task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecSpec {
    pub container_id: String,
    /// Of the caller's choice, one of its own for each.
    pub id: String,
    /// The `process` object of the OCI runtime specification, JSON.
    pub process: Vec<u8>,
    pub terminal: bool,
    /// Paths of FIFOs; empty for none.
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
}

impl Client {
    /// The OCI runtime specification that the container was made with, JSON; None when it is gone.
    pub async fn container_spec(&self, id: &str) -> Result<Option<Bytes>, Error> {
        let request = wire::ContainerRequest { id: id.into() };
        let answer: Option<wire::GetContainerResponse> =
            found(self.unary(wire::GET_CONTAINER, &request).await)?;
        let spec = answer.and_then(|answer| answer.container).and_then(|container| container.spec);
        Ok(spec.map(|spec| spec.value))
    }

    /// Adds the program, which waits for [`Client::start_exec`].
    pub async fn create_exec(&self, exec: ExecSpec) -> Result<(), Error> {
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
            value: Bytes::from(exec.process),
        };
        let request = wire::ExecProcessRequest {
            container_id: exec.container_id,
            stdin: exec.stdin,
            stdout: exec.stdout,
            // A terminal has one output.
            stderr: if exec.terminal { String::new() } else { exec.stderr },
            terminal: exec.terminal,
            spec: Some(spec),
            exec_id: exec.id,
        };
        self.unary_within::<_, Empty>(wire::EXEC, &request, CREATE_LIMIT).await?;
        Ok(())
    }

    /// Starts it, with its FIFOs open at the other end afterwards, and returns its process id.
    pub async fn start_exec(&self, container_id: &str, id: &str) -> Result<u32, Error> {
        let answer: task::StartResponse =
            self.unary_within(task::START, &request(container_id, id), CREATE_LIMIT).await?;
        Ok(answer.pid)
    }

    /// Waits for its end, without a deadline.
    pub async fn wait_exec(&self, container_id: &str, id: &str) -> Result<Exit, Error> {
        let answer: task::WaitResponse = self.unary_unlimited(task::WAIT, &request(container_id, id)).await?;
        Ok(Exit { code: answer.exit_status, at: time_or_now(answer.exited_at) })
    }

    /// Its process id and status; None when it is gone, or its container is.
    pub async fn exec(&self, container_id: &str, id: &str) -> Result<Option<(u32, TaskStatus)>, Error> {
        let answer: Option<task::GetResponse> =
            found(self.unary(task::GET, &request(container_id, id)).await)?;
        Ok(answer.and_then(|answer| answer.process).map(|process| (process.pid, process.status())))
    }

    /// Sends it SIGKILL.
    pub async fn kill_exec(&self, container_id: &str, id: &str) -> Result<(), Error> {
        let (container_id, exec_id) = (container_id.into(), id.into());
        let request = task::KillRequest { container_id, exec_id, signal: 9, all: false };
        found(self.unary::<_, Empty>(task::KILL, &request).await)?;
        Ok(())
    }

    /// Forgets it after its end; one that is gone already is fine.
    pub async fn delete_exec(&self, container_id: &str, id: &str) -> Result<(), Error> {
        let request = request(container_id, id);
        found(self.unary_within::<_, Empty>(wire::DELETE_PROCESS, &request, CREATE_LIMIT).await)?;
        Ok(())
    }

    /// Ends the input of a process once what is in its FIFO is read; `id` is empty for the container's own.
    pub async fn close_stdin(&self, container_id: &str, id: &str) -> Result<(), Error> {
        let request =
            wire::CloseIoRequest { container_id: container_id.into(), exec_id: id.into(), stdin: true };
        found(self.unary::<_, Empty>(wire::CLOSE_IO, &request).await)?;
        Ok(())
    }

    /// Tells a process the size of its terminal; `id` is empty for the container's own.
    pub async fn resize(&self, container_id: &str, id: &str, width: u16, height: u16) -> Result<(), Error> {
        let request = wire::ResizePtyRequest {
            container_id: container_id.into(),
            exec_id: id.into(),
            width: width.into(),
            height: height.into(),
        };
        found(self.unary::<_, Empty>(wire::RESIZE_PTY, &request).await)?;
        Ok(())
    }
}

fn request(container_id: &str, id: &str) -> task::ProcessRequest {
    task::ProcessRequest { container_id: container_id.into(), exec_id: id.into() }
}

mod wire {
    use super::{Any, Method};

    pub const EXEC: Method = Method("/containerd.services.tasks.v1.Tasks/Exec");
    pub const DELETE_PROCESS: Method = Method("/containerd.services.tasks.v1.Tasks/DeleteProcess");
    pub const CLOSE_IO: Method = Method("/containerd.services.tasks.v1.Tasks/CloseIO");
    pub const RESIZE_PTY: Method = Method("/containerd.services.tasks.v1.Tasks/ResizePty");
    pub const GET_CONTAINER: Method = Method("/containerd.services.containers.v1.Containers/Get");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ExecProcessRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub stdin: String,
        #[prost(string, tag = "3")]
        pub stdout: String,
        #[prost(string, tag = "4")]
        pub stderr: String,
        #[prost(bool, tag = "5")]
        pub terminal: bool,
        #[prost(message, optional, tag = "6")]
        pub spec: Option<Any>,
        #[prost(string, tag = "7")]
        pub exec_id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CloseIoRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub exec_id: String,
        #[prost(bool, tag = "3")]
        pub stdin: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ResizePtyRequest {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub exec_id: String,
        #[prost(uint32, tag = "3")]
        pub width: u32,
        #[prost(uint32, tag = "4")]
        pub height: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ContainerRequest {
        #[prost(string, tag = "1")]
        pub id: String,
    }

    /// Of a container, its specification alone.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Container {
        #[prost(message, optional, tag = "5")]
        pub spec: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct GetContainerResponse {
        #[prost(message, optional, tag = "1")]
        pub container: Option<Container>,
    }
}
