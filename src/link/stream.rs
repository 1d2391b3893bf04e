//! One stream on a link: data in both directions, each with its own credit, until one end ends it.

use std::fmt;
use bytes::Bytes;

/// The bytes that may be under way to a reader that does not read.
pub const WINDOW: u32 = 64 << 10;
/// The most bytes of one data frame; [`Stream::write`] cuts.
pub const MAX_DATA: usize = 16 << 10;

/// One end of a stream. Reading and writing may go on in two tasks at once (one each), by reference.
/// Dropping it without [`Stream::end`] tells the peer that it was cut off.
pub struct Stream {}

/// What comes from the peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// `channel` is the meaning of the bytes, such as 1 stdout, 2 stderr.
    Data { channel: u8, data: Bytes },
    /// The last of a stream. Empty: all went well. Otherwise a Kubernetes Status object, JSON.
    End { status: Vec<u8> },
}

/// The stream is over without an [`Chunk::End`] having been read.
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
            Self::LinkLost => "the link to the node was lost",
            Self::Ended => "the other end ended the stream",
        })
    }
}

impl std::error::Error for StreamError {}

impl Stream {
    /// The next chunk; waits for one. Cancel-safe. Reading is what gives the peer credit: at most
    /// [`WINDOW`] bytes are held for a stream that nobody reads.
    pub async fn read(&self) -> Result<Chunk, StreamError> {
        todo!()
    }

    /// Writes all of `data`; waits for credit, [`MAX_DATA`] bytes at a time.
    pub async fn write(&self, channel: u8, data: &[u8]) -> Result<(), StreamError> {
        let _ = (channel, data);
        todo!()
    }

    /// Ends the stream: all that was written arrives before it. `status` is empty for success, otherwise
    /// a Status object as JSON.
    pub async fn end(self, status: &[u8]) -> Result<(), StreamError> {
        let _ = status;
        todo!()
    }

    /// Waits until the peer has ended or dropped the stream, or the link is lost: for a writer that has
    /// nothing to write (a followed log) and must not linger. Cancel-safe.
    pub async fn closed(&self) {
        todo!()
    }
}
