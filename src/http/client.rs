//! A client for one request at a time: `/cacerts`, the link's upgrade, the command line's calls.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_rustls::rustls::ClientConfig;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::{Io, Url};
use crate::Executor;

/// Why a server could not be talked to. `server` is `host:port`.
#[derive(Debug)]
pub enum Error {
    Resolve { host: String, source: io::Error },
    Connect { server: String, source: io::Error },
    /// The TLS handshake failed: the certificate is not trusted, or the other end speaks no TLS.
    Handshake { server: String, source: io::Error },
    Request { server: String, source: hyper::Error },
    TimedOut { server: String, after: Duration },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, .. } => write!(f, "failed to find the address of `{host}`"),
            Self::Connect { server, .. } => write!(f, "failed to connect to {server}"),
            Self::Handshake { server, .. } => write!(f, "failed to agree on TLS with {server}"),
            Self::Request { server, .. } => write!(f, "failed to talk HTTP with {server}"),
            Self::TimedOut { server, after } => {
                write!(f, "{server} did not answer within {} s", after.as_secs())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::Connect { source, .. } | Self::Handshake { source, .. } => {
                Some(source)
            }
            Self::Request { source, .. } => Some(source),
            Self::TimedOut { .. } => None,
        }
    }
}

/// A connection to a server, for several requests one after the other. Dropping it closes it.
pub struct Client {}

impl Client {
    /// Connects (every address of the host in turn) and agrees on TLS, verifying against `tls` and
    /// [`crate::tls::SERVER_NAME`], within `patience`.
    pub async fn connect(
        url: &Url,
        tls: Arc<ClientConfig>,
        patience: Duration,
        executor: &Executor,
    ) -> Result<Client, Error> {
        let _ = (url, tls, patience, executor);
        todo!()
    }

    /// Sends a request (its URI is a path; the Host header is added) and waits for the answer's header.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let _ = request;
        todo!()
    }

    /// Gives the connection below HTTP after a `101`, with what was read past the header.
    pub async fn upgraded(self, response: Response<Incoming>) -> Result<(Io, Bytes), Error> {
        let _ = response;
        todo!()
    }
}
