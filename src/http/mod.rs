//! Floor 1: HTTP/1.1 server and client over hyper.

pub mod body;
pub mod client;
pub mod exposition;
mod guard;
mod idle;
pub mod server;
#[cfg(test)]
mod tests;
pub mod url;

pub use body::Body;
pub use url::Url;

use futures_lite::{AsyncRead, AsyncWrite};

/// A connection below HTTP, whatever it is made of. Boxed: an unboxed TLS stream makes every future that
/// holds it 6 KB larger.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> Transport for T {}
/// See [`Transport`].
pub type Io = Box<dyn Transport>;

/// The connection below an upgraded one, and what was read of it ahead. Taking hyper's own wrapper off
/// gives its buffers back. `None` for a connection that neither [`server`] nor [`client`] made.
pub fn unwrap_upgraded(upgraded: hyper::upgrade::Upgraded) -> Option<(Io, bytes::Bytes)> {
    let parts = upgraded.downcast::<smol_hyper::rt::FuturesIo<Io>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}
