//! A client for one request at a time: `/cacerts`, the link's upgrade, the command line's calls, image registries.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_lite::future;
use futures_rustls::TlsConnector;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, Error as RustlsError};
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, StatusCode, Uri};
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
    /// The proxy does not let us through to the server.
    Proxy {
        proxy: String,
        server: String,
        status: StatusCode,
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
            Self::Proxy { proxy, server, status } => {
                write!(f, "the proxy {proxy} answers {status} to a connection to {server}")
            }
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
            Self::Proxy { .. } | Self::Upgrade { .. } | Self::TimedOut { .. } => None,
        }
    }
}

/// Where to connect to, and how.
#[derive(Clone)]
pub struct Target {
    /// A DNS name or an address; an IPv6 one without brackets.
    pub host: String,
    pub port: u16,
    /// `None` is plain HTTP.
    pub tls: Option<Tls>,
    pub proxy: Option<Proxy>,
}

#[derive(Clone)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    /// What the server's certificate must be for.
    pub name: String,
}

/// An HTTP proxy: it forwards plain HTTP and tunnels TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// `user:password`.
    pub credentials: Option<String>,
}

impl Target {
    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// As in a Host header: what is signed with it leaves the customary port out.
    fn host_header(&self) -> String {
        let customary = if self.tls.is_some() { 443 } else { 80 };
        let authority = self.authority();
        match authority.strip_suffix(&format!(":{customary}")) {
            Some(host) if self.port == customary => host.to_owned(),
            _ => authority,
        }
    }
}

impl Proxy {
    fn authorization(&self) -> Option<HeaderValue> {
        let value = format!("Basic {}", BASE64.encode(self.credentials.as_ref()?.as_bytes()));
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection to a server, for several requests one after the other. Dropping it closes it.
pub struct Client {
    server: String,
    host: String,
    /// Plain HTTP by a proxy: requests name the server, and carry this.
    forwarded: Option<Option<HeaderValue>>,
    patience: Duration,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Task<()>,
}

impl Client {
    /// [`Client::open`] to a server of midge's own, verifying against `tls` and [`SERVER_NAME`].
    pub async fn connect(
        url: &Url,
        tls: Arc<ClientConfig>,
        patience: Duration,
        executor: &Executor,
    ) -> Result<Client, Error> {
        let tls = Some(Tls { config: tls, name: SERVER_NAME.into() });
        let target = Target { host: url.host.clone(), port: url.port, tls, proxy: None };
        let mut client = Client::open(&target, patience, executor).await?;
        client.host = url.authority();
        Ok(client)
    }

    /// Connects (every address of the host in turn) and agrees on TLS, within `patience`, which is also
    /// what [`Client::send`] has.
    pub async fn open(target: &Target, patience: Duration, executor: &Executor) -> Result<Client, Error> {
        let server = target.authority();
        let dialled = within(patience, &server, Box::pin(dial(target, patience, executor))).await;
        let (sender, driver) = dialled?;
        let forwarded = target.proxy.as_ref().filter(|_| target.tls.is_none()).map(Proxy::authorization);
        Ok(Self { server, host: target.host_header(), forwarded, patience, sender, driver })
    }

    /// Whether another request may be sent: the server has not closed the connection.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request (its URI is a path; the Host header is added) and waits for the answer's header.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        if let Ok(host) = HeaderValue::try_from(&self.host) {
            request.headers_mut().insert(HOST, host);
        }
        if let Some(authorization) = &self.forwarded {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            if let Ok(uri) = Uri::try_from(format!("http://{}{path}", self.server)) {
                *request.uri_mut() = uri;
            }
            if let Some(authorization) = authorization {
                request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
            }
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

type Connection = (http1::SendRequest<Full<Bytes>>, Task<()>);

async fn dial(target: &Target, patience: Duration, executor: &Executor) -> Result<Connection, Error> {
    let server = target.authority();
    let mut io: Io = match &target.proxy {
        Some(proxy) => Box::new(connect(&proxy.host, proxy.port).await?),
        None => Box::new(connect(&target.host, target.port).await?),
    };
    if let Some(tls) = &target.tls {
        if let Some(proxy) = &target.proxy {
            io = tunnel(io, proxy, server.clone(), patience, executor).await?;
        }
        io = secure(io, &server, tls).await?;
    }
    handshake(io, server, executor).await
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses = smol::net::resolve((host, port))
        .await
        .map_err(|source| Error::Resolve { host: host.into(), source })?;
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
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(Error::Connect { server: authority(host, port), source: failure })
}

/// Asks the proxy for a connection to `server` (RFC 9110, "CONNECT").
async fn tunnel(
    io: Io,
    proxy: &Proxy,
    server: String,
    patience: Duration,
    executor: &Executor,
) -> Result<Io, Error> {
    let name = authority(&proxy.host, proxy.port);
    let (sender, driver) = handshake(io, name.clone(), executor).await?;
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::CONNECT;
    if let Ok(uri) = Uri::try_from(server.as_str()) {
        *request.uri_mut() = uri;
    }
    if let Some(authorization) = proxy.authorization() {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
    }
    let mut client = Client { host: server.clone(), server: name, forwarded: None, patience, sender, driver };
    let response = client.send(request).await?;
    if !response.status().is_success() {
        return Err(Error::Proxy { proxy: client.server, server, status: response.status() });
    }
    let name = client.server.clone();
    match client.upgraded(response).await? {
        (io, ahead) if ahead.is_empty() => Ok(io),
        // A TLS server does not speak first.
        _ => Err(Error::Upgrade { server: name }),
    }
}

async fn secure(io: Io, server: &str, tls: &Tls) -> Result<Io, Error> {
    let handshake = |source| Error::Handshake { server: server.to_owned(), source };
    let name = ServerName::try_from(tls.name.clone()).map_err(|error| handshake(io::Error::other(error)))?;
    let tls = TlsConnector::from(tls.config.clone()).connect(name, io).await.map_err(|source| {
        let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
        match cause {
            Some(RustlsError::InvalidCertificate(_)) => {
                Error::Untrusted { server: server.to_owned(), source }
            }
            _ => handshake(source),
        }
    })?;
    Ok(Box::new(tls))
}

async fn handshake(io: Io, server: String, executor: &Executor) -> Result<Connection, Error> {
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
