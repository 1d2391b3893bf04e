//! What ADD answers (specification, section 5).

use std::net::IpAddr;

/// Interfaces and addresses of one attachment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attached {
    pub interfaces: Vec<Interface>,
    pub ips: Vec<IpConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mac: String,
    /// Empty: on the host.
    pub sandbox: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    pub address: IpAddr,
    pub prefix_length: u8,
    pub gateway: Option<IpAddr>,
}
