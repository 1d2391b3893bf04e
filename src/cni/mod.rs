//! Floor 1: CNI plugins, run as the specification (v1.0.0) says.
//!
//! Specification: <https://www.cni.dev/docs/spec/>.

mod config;
mod error;
mod exec;
mod result;

pub use config::{BridgeOptions, Config};
pub use error::Error;
pub use exec::Plugins;
pub use result::{Attached, Interface, IpConfig};

use std::path::Path;

/// One interface of one pod.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Letters, digits, `.`, `_`, `-`; the pod's uid.
    pub container_id: &'a str,
    /// The pinned network namespace.
    pub netns: &'a Path,
    /// `eth0`.
    pub ifname: &'a str,
    /// `CNI_ARGS`, for instance `K8S_POD_NAME`. `IgnoreUnknown=1` is put before them.
    pub args: &'a [(&'a str, &'a str)],
    /// Where results are kept between ADD and DEL.
    pub cache_dir: &'a Path,
}

impl Config {
    /// Runs every plugin's ADD in order and keeps the result in `cache_dir`. An interface that was
    /// added before and not deleted is an error of the plugins: call [`Config::del`] first. After an
    /// error everything that was added is deleted again.
    pub async fn add(&self, plugins: &Plugins, attachment: &Attachment<'_>) -> Result<Attached, Error> {
        let _ = (plugins, attachment);
        todo!()
    }
}

/// Runs every plugin's DEL in reverse order with the configuration, arguments and result that ADD was
/// given, read from `cache_dir`, and forgets them. Fine when nothing was added. `netns` may be gone.
pub async fn del(
    plugins: &Plugins, cache_dir: &Path, container_id: &str, ifname: &str, netns: &Path,
) -> Result<(), Error> {
    let _ = (plugins, cache_dir, container_id, ifname, netns);
    todo!()
}

/// The result of an earlier, finished ADD.
pub fn cached(cache_dir: &Path, container_id: &str, ifname: &str) -> Result<Option<Attached>, Error> {
    let _ = (cache_dir, container_id, ifname);
    todo!()
}

/// Container ids with anything in `cache_dir`, finished or not, sorted.
pub fn cached_ids(cache_dir: &Path) -> Result<Vec<String>, Error> {
    let _ = cache_dir;
    todo!()
}
