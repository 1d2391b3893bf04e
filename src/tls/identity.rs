//! The server's certificate: in memory only, replaced in the running process.

use std::net::IpAddr;
use std::sync::Arc;

use futures_rustls::rustls::ServerConfig;

use super::{Authority, Error, Names};

/// The certificate that a server shows, and the TLS configuration that shows it.
pub struct ServerIdentity {}

impl ServerIdentity {
    /// Issues a first certificate for `names` and the machine's addresses.
    pub fn new(authority: Arc<Authority>, names: Names) -> Result<Arc<ServerIdentity>, Error> {
        let _ = (authority, names);
        todo!()
    }

    /// The configuration for the acceptor: TLS 1.3, ALPN http/1.1, the current certificate.
    pub fn config(&self) -> Arc<ServerConfig> {
        todo!()
    }

    /// To be called for each connection with the local address that it arrived at: issues a new
    /// certificate when the address is not in the current one, or when two thirds of its life are over.
    pub fn prepare(&self, local: IpAddr) {
        let _ = local;
        todo!()
    }
}
