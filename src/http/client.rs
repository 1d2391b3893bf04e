//! A client for one request at a time: `/cacerts`, the link's upgrade, the command line's calls.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use futures_rustls::TlsConnector;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, Error as RustlsError};
use http::header::{HOST, HeaderValue};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use smol::net::TcpStream;
use smol::{Task, Timer};
use smol_hyper::rt::FuturesIo;

use super::{Io, Url};
use crate::Executor;
use crate::tls::SERVER_NAME;

/// Why a server could not be talked to. `server` is `host:port`.
#[derive(Debug)]
pub enum Error {
    Resolve {
        host: String,
        source: io::Error,
    },
    Connect {
        server: String,
        source: io::Error,
    },
    /// The server's certificate is not from the trusted CA, or not valid now.
    Untrusted {
        server: String,
        source: io::Error,
    },
    /// The TLS handshake failed otherwise, for instance because the other end speaks no TLS.
    Handshake {
        server: String,
        source: io::Error,
    },
    Request {
        server: String,
        source: hyper::Error,
    },
    /// The answer was no upgrade after all.
    Upgrade {
        server: String,
    },
    TimedOut {
        server: String,
        after: Duration,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, .. } => write!(f, "failed to find the address of `{host}`"),
            Self::Connect { server, .. } => write!(f, "failed to connect to {server}"),
            Self::Untrusted { server, .. } => write!(f, "the certificate of {server} is not trusted"),
            Self::Handshake { server, .. } => write!(f, "failed to agree on TLS with {server}"),
            Self::Request { server, .. } => write!(f, "failed to talk HTTP with {server}"),
            Self::Upgrade { server } => write!(f, "{server} did not upgrade the connection"),
            Self::TimedOut { server, after } => {
                write!(f, "{server} did not answer within {} s", after.as_secs())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. }
            | Self::Connect { source, .. }
            | Self::Untrusted { source, .. }
            | Self::Handshake { source, .. } => Some(source),
            Self::Request { source, .. } => Some(source),
            Self::Upgrade { .. } | Self::TimedOut { .. } => None,
        }
    }
}

/// A connection to a server, for several requests one after the other. Dropping it closes it.
pub struct Client {
    server: String,
    patience: Duration,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Task<()>,
}

impl Client {
    /// Connects (every address of the host in turn) and agrees on TLS, verifying against `tls` and
    /// [`SERVER_NAME`], within `patience`, which is also what [`Client::send`] has.
    pub async fn connect(
        url: &Url,
        tls: Arc<ClientConfig>,
        patience: Duration,
        executor: &Executor,
    ) -> Result<Client, Error> {
        let server = url.authority();
        let (sender, driver) = within(patience, &server, Box::pin(dial(url, tls, executor))).await?;
        Ok(Self { server, patience, sender, driver })
    }

    /// Sends a request (its URI is a path; the Host header is added) and waits for the answer's header.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        if let Ok(host) = HeaderValue::try_from(&self.server) {
            request.headers_mut().insert(HOST, host);
        }
        let failed = |source| Error::Request { server: self.server.clone(), source };
        let answer = async {
            self.sender.ready().await.map_err(failed)?;
            self.sender.send_request(request).await.map_err(failed)
        };
        within(self.patience, &self.server, answer).await
    }

    /// Gives the connection below HTTP after a `101`, with what was read past the header.
    pub async fn upgraded(self, response: Response<Incoming>) -> Result<(Io, Bytes), Error> {
        let failed = |source| Error::Request { server: self.server.clone(), source };
        let upgraded =
            within(self.patience, &self.server, async { hyper::upgrade::on(response).await.map_err(failed) })
                .await?;
        drop(self.driver);
        super::unwrap_upgraded(upgraded).ok_or(Error::Upgrade { server: self.server })
    }
}

async fn within<T>(
    patience: Duration,
    server: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    future::or(work, async {
        Timer::after(patience).await;
        Err(Error::TimedOut { server: server.to_owned(), after: patience })
    })
    .await
}

async fn dial(
    url: &Url,
    tls: Arc<ClientConfig>,
    executor: &Executor,
) -> Result<(http1::SendRequest<Full<Bytes>>, Task<()>), Error> {
    let server = url.authority();
    let addresses = smol::net::resolve((url.host.as_str(), url.port))
        .await
        .map_err(|source| Error::Resolve { host: url.host.clone(), source })?;
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        // One that swallows packets must not use up the time of those after it.
        let attempt = future::or(TcpStream::connect(address), async {
            Timer::after(Duration::from_secs(5)).await;
            Err(io::ErrorKind::TimedOut.into())
        });
        match attempt.await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return secure(stream, server, tls, executor).await;
            }
            Err(error) => failure = error,
        }
    }
    Err(Error::Connect { server, source: failure })
}

async fn secure(
    stream: TcpStream,
    server: String,
    tls: Arc<ClientConfig>,
    executor: &Executor,
) -> Result<(http1::SendRequest<Full<Bytes>>, Task<()>), Error> {
    let handshake = |source| Error::Handshake { server: server.clone(), source };
    let name = ServerName::try_from(SERVER_NAME).map_err(|error| handshake(io::Error::other(error)))?;
    let tls = TlsConnector::from(tls).connect(name, stream).await.map_err(|source| {
        let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
        match cause {
            Some(RustlsError::InvalidCertificate(_)) => Error::Untrusted { server: server.clone(), source },
            _ => handshake(source),
        }
    })?;
    let io: Io = Box::new(tls);
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(64 << 10)
        .max_headers(64)
        .handshake(FuturesIo::new(io))
        .await
        .map_err(|source| Error::Request { server: server.clone(), source })?;
    let driver = executor.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            log::debug!("{server}: {error}");
        }
    });
    Ok((sender, driver))
}
