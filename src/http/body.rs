//! Bodies: what a response is made of, and reading one with a bound.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_lite::{Stream, StreamExt, future};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use smol::Timer;

/// A response's body. A stream that gives an error cuts the connection: the reader sees that it is not whole.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is there already; it gets a Content-Length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes in pieces, each sent at once (chunked).
pub fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// Why a body could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// 413.
    TooLarge {
        limit: usize,
    },
    /// 408: nothing came for so long.
    TimedOut {
        after: Duration,
    },
    Receive {
        source: hyper::Error,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the body is larger than {limit} bytes"),
            Self::TimedOut { after } => write!(f, "no more of the body came for {} s", after.as_secs()),
            Self::Receive { .. } => f.write_str("failed to receive the body"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Receive { source } => Some(source),
            _ => None,
        }
    }
}

/// Reads a whole body of at most `limit` bytes, with at most `patience` between two pieces. A sender
/// that trickles pays with its connection: the whole may take ten times `patience`.
pub async fn read(body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, ReadError> {
    let whole = patience.saturating_mul(10);
    let timed_out = async {
        Timer::after(whole).await;
        Err(ReadError::TimedOut { after: whole })
    };
    future::or(read_pieces(body, limit, patience), timed_out).await
}

async fn read_pieces(mut body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let timed_out = async {
            Timer::after(patience).await;
            Err(ReadError::TimedOut { after: patience })
        };
        let frame = match future::or(async { Ok(body.frame().await) }, timed_out).await? {
            None => break,
            Some(frame) => frame.map_err(|source| ReadError::Receive { source })?,
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(ReadError::TooLarge { limit });
        }
        // Most bodies are one piece: no copy then.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
