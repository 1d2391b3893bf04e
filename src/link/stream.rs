//! One stream on a link: data in both directions, each with its own credit, until one end ends it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::shared::{PeerEnd, Shared};

/// One end of a stream. Reading and writing may go on in two tasks at once (one each), by reference.
/// Dropping it without [`Stream::end`] tells the peer that it was cut off.
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
}

/// What comes from the peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// `channel` is the meaning of the bytes, such as 1 stdout, 2 stderr.
    Data { channel: u8, data: Bytes },
    /// The last of a stream. Empty: all went well. Otherwise a Kubernetes Status object, JSON.
    End { status: Vec<u8> },
}

/// The stream is over without a [`Chunk::End`] having been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The link was lost.
    LinkLost,
    /// The peer dropped its end, or has ended the stream before what is written.
    Ended,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLost => "the link was lost",
            Self::Ended => "the other end ended the stream",
        })
    }
}

impl std::error::Error for StreamError {}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id }
    }

    /// The next chunk; waits for one. Cancel-safe. Reading is what gives the peer credit: at most
    /// 64 KiB are held for a stream that nobody reads.
    pub async fn read(&self) -> Result<Chunk, StreamError> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            let lost = state.closed.is_some();
            let Some(entry) = state.stream(self.id) else { return Poll::Ready(Err(StreamError::LinkLost)) };
            if let Some((channel, data)) = entry.take() {
                state.driver.wake();
                return Poll::Ready(Ok(Chunk::Data { channel, data: Bytes::from(data) }));
            }
            match entry.peer_end.replace(PeerEnd::Over) {
                Some(PeerEnd::Status(status)) => Poll::Ready(Ok(Chunk::End { status })),
                Some(PeerEnd::Over) => Poll::Ready(Err(StreamError::Ended)),
                None if lost => Poll::Ready(Err(StreamError::LinkLost)),
                None => {
                    entry.peer_end = None;
                    entry.waiting.add(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Writes all of `data`; waits for the peer's credit.
    pub async fn write(&self, channel: u8, data: &[u8]) -> Result<(), StreamError> {
        let mut rest = data;
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            while !rest.is_empty() {
                let lost = state.closed.is_some();
                let Some(entry) = state.stream(self.id).filter(|_| !lost) else {
                    return Poll::Ready(Err(StreamError::LinkLost));
                };
                if entry.peer_end.is_some() {
                    return Poll::Ready(Err(StreamError::Ended));
                }
                let length = entry.queue_data(channel, rest);
                if length == 0 {
                    entry.waiting.add(cx);
                    return Poll::Pending;
                }
                rest = &rest[length..];
                state.driver.wake();
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ends the stream: all that was written arrives before it. `status` is empty for success, otherwise
    /// a Status object as JSON.
    pub async fn end(self, status: &[u8]) -> Result<(), StreamError> {
        let mut state = self.shared.lock();
        let lost = state.closed.is_some();
        let Some(entry) = state.stream(self.id).filter(|_| !lost) else { return Err(StreamError::LinkLost) };
        if matches!(entry.peer_end, Some(PeerEnd::Over)) {
            return Err(StreamError::Ended);
        }
        entry.queue_end(status);
        state.driver.wake();
        Ok(())
        // The handle that is dropped now finds its stream detached and leaves it to the driver.
    }

    /// Waits until the peer has ended or dropped the stream, or the link is lost: for a writer that has
    /// nothing to write (a followed log) and must not linger. Cancel-safe.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            let lost = state.closed.is_some();
            match state.stream(self.id).filter(|entry| !lost && entry.peer_end.is_none()) {
                None => Poll::Ready(()),
                Some(entry) => {
                    entry.waiting.add(cx);
                    Poll::Pending
                }
            }
        })
        .await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().cut(self.id);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.id)
    }
}
