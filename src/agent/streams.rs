//! What the server asks of this node on streams of their own: logs, programs in containers, ports, figures.

use std::path::PathBuf;
use std::sync::Arc;

use futures_lite::future;

use super::logs;
use super::stats::Stats;
use crate::api::Status;
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
}

impl Streams {
    /// As the outbox takes it.
    pub fn into_serve(self) -> Serve {
        let streams = Arc::new(self);
        Arc::new(move |request, stream| {
            let streams = Arc::clone(&streams);
            Box::pin(async move { streams.serve(request, stream).await })
        })
    }

    /// Serves one request to its end. Dropped when the link or its reader goes: nothing of it may stay.
    pub async fn serve(&self, request: StreamRequest, stream: Stream) -> Result<(), StreamError> {
        match request {
            StreamRequest::Log(request) => logs::serve(&self.pods_folder, &request, stream).await,
            StreamRequest::Read(request) => self.stats.serve(&request, stream).await,
            StreamRequest::Exec(_) | StreamRequest::Attach(_) | StreamRequest::PortForward(_) => {
                stream.end(&Status::internal("this node can't do that yet").to_vec()).await
            }
        }
    }
}
