//! One HTTP/2 connection to containerd, dialled again after it was lost.
//!
//! No pings: grpc-go answers more than one in five minutes with GOAWAY. On a Unix socket a dead peer
//! is seen at once, and a stuck one by the deadlines of the calls.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use smol::lock::Mutex;
use smol::net::unix::UnixStream;

use super::Error;
use super::io::Socket;
use crate::Executor;

/// How much of h2's guard against floods of small frames containerd may use up. Its answers and events are all small,
/// and many come at once when many containers or programs end: the default of 25,600 bytes cuts the connection then.
const SMALL_FRAMES: usize = 4 << 20;

pub struct Channel {
    socket: PathBuf,
    executor: Executor,
    live: Mutex<Option<Live>>,
}

struct Live {
    requests: SendRequest<Bytes>,
    over: Arc<AtomicBool>,
    /// Moves the connection's bytes; dropping it closes the connection.
    _driver: smol::Task<()>,
}

impl Channel {
    pub fn new(socket: PathBuf, executor: Executor) -> Channel {
        Channel { socket, executor, live: Mutex::new(None) }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Begins a call. A connection that turns out to be lost before the request is on its way is replaced
    /// once; after that the error is the caller's, since containerd may have acted on the request.
    pub async fn open(
        &self,
        call: &'static str,
        request: impl Fn() -> Request<()>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Error> {
        let mut fresh = false;
        loop {
            let (requests, over) = self.requests(call, &mut fresh).await?;
            let sent = match requests.ready().await {
                Ok(mut requests) => requests.send_request(request(), false),
                Err(error) => Err(error),
            };
            match sent {
                Ok(streams) => return Ok(streams),
                Err(source) if fresh => return Err(Error::Transport { call, source }),
                // The driver may not have noticed yet. Other calls may have dialled anew meanwhile.
                Err(_) => over.store(true, Ordering::Release),
            }
        }
    }

    async fn requests(
        &self,
        call: &'static str,
        fresh: &mut bool,
    ) -> Result<(SendRequest<Bytes>, Arc<AtomicBool>), Error> {
        let mut live = self.live.lock().await;
        if let Some(live) = live.as_ref().filter(|live| !live.over.load(Ordering::Acquire)) {
            return Ok((live.requests.clone(), live.over.clone()));
        }
        *live = None;
        *fresh = true;
        let connection = self.dial(call).await?;
        let opened = (connection.requests.clone(), connection.over.clone());
        *live = Some(connection);
        Ok(opened)
    }

    async fn dial(&self, call: &'static str) -> Result<Live, Error> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            match source.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NoSocket { socket },
                ErrorKind::PermissionDenied => Error::Permission { socket },
                _ => Error::Connect { socket, source },
            }
        })?;
        let (requests, connection) = h2::client::Builder::new()
            .enable_push(false)
            .max_header_list_size(16 * 1024)
            .data_frame_budget(SMALL_FRAMES)
            .handshake::<_, Bytes>(Socket(Box::new(stream)))
            .await
            .map_err(|source| Error::Transport { call, source })?;
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let driver = self.executor.spawn(async move {
            match connection.await {
                Ok(()) => log::debug!("containerd closed the connection"),
                Err(error) if error.reason() == Some(Reason::NO_ERROR) => log::debug!("containerd goes away"),
                Err(error) => log::debug!("connection to containerd ended: {error}"),
            }
            ended.store(true, Ordering::Release);
        });
        Ok(Live { requests, over, _driver: driver })
    }
}
