//! HTTPS on one port: keep-alive, limits, upgrades, a graceful end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_lite::{AsyncWriteExt, future};
use futures_rustls::TlsAcceptor;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use rustix::net::sockopt;
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::net::{TcpListener, TcpStream};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::guard::Guarded;
use super::idle::{Answer, Idle};
use super::{Body, Io};
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
    /// Connections at once from one address that nobody has [vouched for](Place::vouch); further ones are closed.
    pub per_address: usize,
    /// Connections at once that wait for a handshake or a request; when there are more, the one that has
    /// waited longest is closed. Each costs 22 KB.
    pub idle: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's whole header, from the end of the request before it: it ends connections that
    /// trickle as well as those that idle.
    pub header: Duration,
    /// For a peer that takes nothing of what is written to it.
    pub stall: Duration,
    /// For connections to finish once the server is to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            per_address: 512,
            idle: 128,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            drain: Duration::from_secs(5),
        }
    }
}

/// The most bytes of a request's header; more is answered with 431. hyper's read buffer is bounded by it too.
const MAX_HEADER: usize = 32 << 10;

/// Serves `listener` until `shutdown` is ready, then takes no more connections, lets running requests end
/// within `limits.drain`, and returns. Upgraded connections are their handlers' to end.
///
/// A request's extensions hold its connection's [`Place`], and the [`crate::tls::Caller`] of a client that showed a
/// certificate.
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
    let (stop, stopped) = bounded::<Infallible>(1);
    // Held by every connection that still serves; closed when the last one ends.
    let (serving, ended) = bounded::<Infallible>(1);
    let (freed, room) = bounded(1);
    let idle = Idle::new(limits.idle);
    let counts = Arc::new(Counts { total: AtomicUsize::new(0), addresses: Mutex::default(), freed });
    let accept = async {
        loop {
            while counts.total.load(Ordering::Relaxed) >= limits.connections {
                let _ = room.recv().await;
            }
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // For instance no file descriptor left: without a pause this would spin.
                    log::warn!("failed to accept a connection: {error}");
                    Timer::after(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let Some(counted) = counts.enter(address.ip().to_canonical(), limits.per_address) else {
                log::debug!("{address}: closed: the address has {} connections", limits.per_address);
                continue;
            };
            let connection = Connection {
                identity: identity.clone(),
                limits: limits.clone(),
                idle: idle.clone(),
                stopped: stopped.clone(),
                _serving: serving.clone(),
            };
            // Detached: the drain below waits for those that serve, and their stop is `stopped`.
            executor.spawn(connection.run(stream, address, counted, handler.clone())).detach();
        }
    };
    future::or(accept, shutdown).await;
    drop(listener);
    drop(stop);
    drop(serving);
    let drained = async {
        let _ = ended.recv().await;
    };
    let late = async {
        // The connections themselves end at `drain`; this is for one that does not.
        Timer::after(limits.drain + Duration::from_secs(1)).await;
    };
    future::or(drained, late).await;
}

/// One accepted connection.
struct Connection {
    identity: Arc<ServerIdentity>,
    limits: Limits,
    idle: Arc<Idle>,
    stopped: Receiver<Infallible>,
    _serving: Sender<Infallible>,
}

impl Connection {
    async fn run<H, F>(self, stream: TcpStream, address: SocketAddr, counted: Place, handler: H)
    where
        H: Fn(Request<Incoming>, Peer) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let Ok(local) = stream.local_addr() else { return };
        let peer = Peer { address, local };
        set_options(&stream);
        let seat = self.idle.enter(address.ip().to_canonical());
        let late = async {
            Timer::after(self.limits.handshake).await;
            Err(std::io::ErrorKind::TimedOut.into())
        };
        let crowded = async {
            seat.closed().await;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        };
        let handshake = future::or(self.handshake(stream, local), future::or(late, crowded));
        let tls = match Box::pin(handshake).await {
            Ok(tls) => tls,
            Err(error) => return log::debug!("{address}: TLS handshake: {error}"),
        };
        let caller = self.identity.caller(tls.get_ref().1);
        let io: Io = Box::new(Guarded::new(tls, self.limits.stall, counted.clone()));
        let service = service_fn(|mut request: Request<Incoming>| {
            let busy = seat.busy();
            request.extensions_mut().insert(counted.clone());
            if let Some(caller) = &caller {
                request.extensions_mut().insert(caller.clone());
            }
            let response = handler(request, peer);
            async { Ok::<_, Infallible>(response.await.map(|body| Answer { body, _busy: busy })) }
        });
        let mut connection = Box::pin(
            http1::Builder::new()
                .timer(SmolTimer::new())
                .header_read_timeout(self.limits.header)
                .max_buf_size(MAX_HEADER)
                .max_headers(64)
                .serve_connection(FuturesIo::new(io), service)
                .with_upgrades(),
        );
        let stop = async {
            let _ = self.stopped.recv().await;
            None
        };
        let crowded = async {
            seat.closed().await;
            log::debug!("{address}: closed: too many connections wait for a request");
            Some(Ok(()))
        };
        let served = async { Some(connection.as_mut().await) };
        let outcome = match future::or(served, future::or(stop, crowded)).await {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                let late = async {
                    Timer::after(self.limits.drain).await;
                    Ok(())
                };
                future::or(connection.as_mut(), late).await
            }
        };
        if let Err(error) = outcome {
            log::debug!("{address}: {error}");
        }
    }

    async fn handshake(
        &self,
        mut stream: TcpStream,
        local: SocketAddr,
    ) -> std::io::Result<futures_rustls::server::TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            // A TLS handshake begins with 22: this is HTTP, from someone who forgot the `s`.
            stream.write_all(PLAIN_HTTP).await?;
            return Err(std::io::Error::other("plain HTTP"));
        }
        self.identity.prepare(local.ip());
        TlsAcceptor::from(self.identity.config()).accept(stream).await
    }
}

/// Word for word what Go's server, and so kube-apiserver, says.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Small writes at once, and a peer that vanished is noticed by the kernel within 2 minutes. A link's own
/// pings come more often than the probes, which then cost nothing.
fn set_options(stream: &TcpStream) {
    let outcome = stream
        .set_nodelay(true)
        .and_then(|()| Ok(sockopt::set_socket_keepalive(stream, true)?))
        .and_then(|()| Ok(sockopt::set_tcp_keepidle(stream, Duration::from_secs(75))?))
        .and_then(|()| Ok(sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?))
        .and_then(|()| Ok(sockopt::set_tcp_keepcnt(stream, 3)?));
    if let Err(error) = outcome {
        log::debug!("failed to set socket options: {error}");
    }
}

/// How many connections there are, and by address those that nobody has vouched for.
struct Counts {
    total: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    freed: Sender<()>,
}

impl Counts {
    fn enter(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Place> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::new(Counted { counts: self.clone(), address, vouched: AtomicBool::new(false) })))
    }
}

/// A connection's place among those that there may be.
#[derive(Clone)]
pub struct Place(Arc<Counted>);

impl Place {
    /// It is not of a stranger: it no longer counts against its address, which all nodes behind one router share.
    pub fn vouch(&self) {
        self.0.leave_address();
    }

    /// Nobody vouches for it any more: it counts against its address again, also over the limit, until it is closed.
    pub fn recount(&self) {
        let mut addresses = self.0.counts.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.vouched.swap(false, Ordering::Relaxed) {
            *addresses.entry(self.0.address).or_insert(0) += 1;
        }
    }

    /// As many as are asked for, of one address and of no connection.
    #[cfg(test)]
    pub fn testing(count: usize) -> Vec<Place> {
        let (freed, _) = bounded(1);
        let counts = Arc::new(Counts { total: AtomicUsize::new(0), addresses: Mutex::default(), freed });
        (0..count).filter_map(|_| counts.enter(IpAddr::from([127, 0, 0, 1]), count)).collect()
    }

    /// How many connections count against its address.
    #[cfg(test)]
    pub fn counted(&self) -> usize {
        self.0.counts.addresses.lock().unwrap().get(&self.0.address).copied().unwrap_or(0)
    }
}

/// One connection, counted until it is dropped.
struct Counted {
    counts: Arc<Counts>,
    address: IpAddr,
    vouched: AtomicBool,
}

impl Counted {
    fn leave_address(&self) {
        let mut addresses = self.counts.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if self.vouched.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.leave_address();
        self.counts.total.fetch_sub(1, Ordering::Relaxed);
        let _ = self.counts.freed.try_send(());
    }
}
