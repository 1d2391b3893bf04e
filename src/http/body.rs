//! Bodies: what a response is made of, and reading a request's with a bound.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

/// A response's body. A stream that gives an error cuts the connection: the reader sees that it is not whole.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// No body.
pub fn empty() -> Body {
    todo!()
}

/// A body that is there already; it gets a Content-Length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    let _ = bytes.into();
    todo!()
}

/// A body that comes in pieces, each sent at once (chunked).
pub fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    let _ = pieces;
    todo!()
}

/// Why a body could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// 413.
    TooLarge { limit: usize },
    /// 408: nothing came for so long.
    TimedOut { after: Duration },
    Receive { source: hyper::Error },
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

/// Reads a whole body of at most `limit` bytes, with at most `patience` between two pieces.
pub async fn read(body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, ReadError> {
    let _ = (body, limit, patience);
    todo!()
}
