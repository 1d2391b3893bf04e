//! Network configurations (specification, section 1).

use super::{Error, Plugins};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A list of plugins to run for every pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub name: String,
    /// `cniVersion`, one that midge speaks.
    pub version: String,
    pub(super) plugins: Vec<Value>,
    /// The file it came from; None for midge's own.
    pub path: Option<PathBuf>,
}

/// midge's own network: a bridge with addresses from the node's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// The network's name.
    pub name: String,
    /// The bridge's interface name, 15 bytes at most.
    pub bridge: String,
    /// The node's pod range, `10.42.0.0/24`.
    pub subnet: String,
    pub mtu: Option<u32>,
    /// Where host-local keeps leases. One for each agent.
    pub lease_dir: PathBuf,
}

impl Config {
    /// The first of `*.conflist`, `*.conf`, `*.json` in `folder`, by name. None when there is none.
    pub fn load(folder: &Path) -> Result<Option<Config>, Error> {
        let _ = folder;
        todo!()
    }

    /// midge's own bridge network.
    pub fn bridge(options: &BridgeOptions) -> Config {
        let _ = options;
        todo!()
    }

    /// That each plugin named here (and each address plugin) can be run.
    pub fn check(&self, plugins: &Plugins) -> Result<(), Error> {
        let _ = plugins;
        todo!()
    }
}
