//! What the server asks of this node on streams of their own: logs, programs in containers, ports, figures.

mod input;
mod port_forward;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use futures_lite::future;

pub use self::input::Input;
use super::desired::{self, Pod};
use super::exec::process;
use super::logs;
use super::record::Record;
use super::stats::Stats;
use super::volumes;
use crate::api::{Status, kinds};
use crate::containerd::Client;
use crate::link::{Stream, StreamError, StreamRequest};

/// What takes the streams that the server opens.
pub type Serve = Arc<dyn Fn(StreamRequest, Stream) -> future::Boxed<Result<(), StreamError>> + Send + Sync>;

/// What serving needs.
pub struct Streams {
    pub client: Client,
    pub stats: Arc<Stats>,
    /// `<data>/agent/pods`.
    pub pods_folder: PathBuf,
    /// `/run/midge`: pinned namespaces, FIFOs.
    pub run_dir: PathBuf,
    /// Folders of persistent volumes.
    pub storage: PathBuf,
}

impl Streams {
    /// As the outbox takes it. What an agent that was killed left of its streams is ended.
    pub fn into_serve(self) -> Serve {
        process::end_left(&self.client, &self.run_dir);
        let streams = Arc::new(self);
        Arc::new(move |request, stream| {
            let streams = Arc::clone(&streams);
            Box::pin(async move { streams.serve(request, stream).await })
        })
    }

    /// Serves one request to its end. Dropped when the link or its reader goes: nothing of it may stay.
    pub async fn serve(&self, request: StreamRequest, stream: Stream) -> Result<(), StreamError> {
        // Boxed: the largest one's size is not to be that of all.
        match request {
            StreamRequest::Log(request) => Box::pin(logs::serve(&self.pods_folder, &request, stream)).await,
            StreamRequest::Exec(request) => Box::pin(session::exec(self, request, stream)).await,
            StreamRequest::PortForward(request) => {
                Box::pin(port_forward::serve(self, &request, stream)).await
            }
            StreamRequest::Reclaim(request) => {
                Box::pin(volumes::claim::reclaim(&self.storage, request, stream)).await
            }
            StreamRequest::Attach(request) => Box::pin(session::attach(self, request, stream)).await,
            StreamRequest::Read(request) => Box::pin(self.stats.serve(&request, stream)).await,
        }
    }

    /// The pod as this node has it, and what is remembered of it.
    async fn pod(&self, uid: &str, name: &str) -> Result<(Pod, Record), Status> {
        let gone = Status::not_found(kinds::POD, name);
        if !desired::is_uid(uid) {
            return Err(gone);
        }
        let folder = self.pods_folder.join(uid);
        smol::unblock(move || {
            let text = std::fs::read(folder.join("pod.json")).map_err(|_| gone.clone())?;
            let pod = Pod::parse(&text, 0).map_err(|_| gone)?;
            let record = Record::load(&folder).map_err(Status::internal)?;
            Ok((pod, record))
        })
        .await
    }

    /// containerd's id of the container that runs.
    async fn container(&self, uid: &str, pod: &str, name: &str) -> Result<String, Status> {
        let (_, record) = self.pod(uid, pod).await?;
        let current = record.containers.get(name).and_then(|container| container.current.as_ref());
        match current.filter(|attempt| attempt.exit.is_none()) {
            Some(attempt) => Ok(attempt.id.clone()),
            None => Err(Status::internal(format!("container not found (\"{name}\")"))),
        }
    }
}
