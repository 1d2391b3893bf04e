//! The handle that every other module of this room adds its calls to.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::Executor;

/// containerd's own account of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// For instance `1.6.20~ds1` or `v2.1.9`.
    pub version: String,
    pub revision: String,
}

/// A connection to one containerd, in one of its namespaces. Cloning is cheap and shares the
/// connection. Calls may run concurrently; dropping a call's future cancels it.
#[derive(Clone)]
pub struct Client {
    #[allow(dead_code)]
    namespace: Arc<str>,
}

impl Client {
    /// Connects to containerd at `socket`, checks its version and makes sure that `namespace` exists.
    /// After that a lost connection is dialled again by the next call.
    pub async fn connect(_socket: &Path, _namespace: &str, _executor: &Executor) -> Result<Client, Error> {
        todo!()
    }

    pub fn namespace(&self) -> &str {
        todo!()
    }

    /// The same connection, with every resource created through it held by `lease`.
    pub fn with_lease(&self, _lease: &str) -> Client {
        todo!()
    }

    pub async fn version(&self) -> Result<Version, Error> {
        todo!()
    }

    /// Names of the snapshotters that work on this machine, for instance `overlayfs` and `native`.
    pub async fn snapshotters(&self) -> Result<Vec<String>, Error> {
        todo!()
    }
}
