//! Floor 1: HTTP/1.1 server and client over hyper.

pub mod body;
pub mod client;
pub mod server;
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
