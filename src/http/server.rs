//! HTTPS on one port: keep-alive, limits, upgrades, a graceful end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use smol::net::TcpListener;

use super::Body;
use crate::Executor;
use crate::tls::ServerIdentity;

/// Where a request comes from, and where it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub local: SocketAddr,
}

/// What one client may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, upgraded ones included; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once from one address.
    pub per_address: usize,
    /// For the TLS handshake, and for a request's header once its first byte is there (or for the first).
    pub header: Duration,
    /// For a connection without a request.
    pub idle: Duration,
    /// For connections to finish once the server is to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            per_address: 512,
            header: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves `listener` until `shutdown` is ready, then takes no more connections, lets running requests end
/// within `limits.drain`, and returns. Upgraded connections are their handlers' to end.
///
/// Bodies are not read before the handler: [`super::body::read`] does it with a limit of its choice.
pub async fn serve<H, F>(
    listener: TcpListener,
    identity: Arc<ServerIdentity>,
    limits: Limits,
    executor: Executor,
    handler: H,
    shutdown: impl Future<Output = ()>,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _ = (listener, identity, limits, executor, handler);
    shutdown.await;
    todo!()
}
