//! The cluster's CA: made once, kept in two files.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::Error;

/// The CA: P-256, valid from 1970 for boards without a clock, for ten years from its making.
pub struct Authority {}

impl Authority {
    /// Reads `ca.crt` and `ca.key` in `folder`, or makes them (0600, the folder 0700) if neither is there.
    pub fn open_or_create(folder: &Path) -> Result<Authority, Error> {
        let _ = folder;
        todo!()
    }

    /// The certificate as PEM text, exactly as `/cacerts` serves it and the token's hash is taken of.
    pub fn certificate_pem(&self) -> &str {
        todo!()
    }

    /// The SHA-256 of [`Authority::certificate_pem`].
    pub fn hash(&self) -> [u8; 32] {
        todo!()
    }
}

/// What a server's certificate is for. [`super::SERVER_NAME`], localhost and the loopback addresses, the
/// `kubernetes.default` names are always in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// Adds a DNS name or an address, as in `--tls-san`.
    pub fn add(&mut self, name: &str) -> Result<(), Error> {
        let _ = name;
        todo!()
    }
}
