//! What a server is told at start, validated.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// A validated configuration: nothing after it checks a flag again.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder that `server/` is made in, `/var/lib/midge` by default.
    pub data_dir: PathBuf,
    /// The address to listen on; `0.0.0.0` or `::` for every one.
    pub bind_address: IpAddr,
    /// The HTTPS port; 0 takes a free one (tests), which [`super::Ready`] then names.
    pub port: u16,
    /// The address that others are told to use.
    pub advertise_address: Option<IpAddr>,
    /// Further names and addresses for the server's certificate.
    pub tls_san: Vec<String>,
    /// Pods' addresses; each node gets a /24 of it.
    pub cluster_cidr: Cidr,
    /// Services' addresses.
    pub service_cidr: Cidr,
    /// The cluster's DNS server, told to the nodes. `None`: there is none, and pods get their host's.
    pub cluster_dns: Option<Ipv4Addr>,
    /// The cluster's DNS domain, `cluster.local` by default.
    pub cluster_domain: String,
    /// Nodes keep their pods while they are away, unless their annotation says otherwise.
    pub keep_pods: bool,
    /// Where the admin's kubeconfig is written; `None` writes none.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's mode, 0600 by default.
    pub kubeconfig_mode: u32,
    /// The secret of the server's own join token (`--token`); `None` makes a random one once.
    pub token: Option<String>,
}

impl Config {
    /// The defaults, with `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 6443,
            advertise_address: None,
            tls_san: Vec::new(),
            cluster_cidr: Cidr { address: Ipv4Addr::new(10, 42, 0, 0), prefix: 16 },
            service_cidr: Cidr { address: Ipv4Addr::new(10, 43, 0, 0), prefix: 16 },
            cluster_dns: None,
            cluster_domain: String::from("cluster.local"),
            keep_pods: false,
            kubeconfig: Some(PathBuf::from("/etc/midge/midge.yaml")),
            kubeconfig_mode: 0o600,
            token: None,
        }
    }

    /// `<data_dir>/server`.
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join("server")
    }
}

/// An IPv4 range in CIDR notation, its host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let malformed = || CidrError { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let prefix: u8 = prefix.parse().map_err(|_| malformed())?;
        if prefix > 32 {
            return Err(malformed());
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Ok(Self { address: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }
}

/// A text that is no IPv4 range.
#[derive(Debug)]
pub struct CidrError {
    text: String,
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an IPv4 range such as 10.42.0.0/16", self.text)
    }
}

impl std::error::Error for CidrError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!("10.42.7.9/16".parse::<Cidr>().unwrap().to_string(), "10.42.0.0/16");
        assert_eq!("1.2.3.4/0".parse::<Cidr>().unwrap().to_string(), "0.0.0.0/0");
        for bad in ["10.42.0.0", "10.42.0.0/33", "fd00::/64", "/8", "10.42.0.0/-1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
