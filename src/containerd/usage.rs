//! What snapshots take on the disk.

use super::call::{Method, found};
use super::{Client, Error};

const USAGE: Method = Method("/containerd.services.snapshots.v1.Snapshots/Usage");

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    snapshotter: String,
    #[prost(string, tag = "2")]
    key: String,
}

/// Without the layers below it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SnapshotUsage {
    /// Bytes.
    #[prost(int64, tag = "1")]
    pub size: i64,
    #[prost(int64, tag = "2")]
    pub inodes: i64,
}

impl Client {
    /// `None` when there is no such snapshot. containerd walks the files of an active one.
    pub async fn snapshot_usage(&self, snapshotter: &str, key: &str) -> Result<Option<SnapshotUsage>, Error> {
        found(self.unary(USAGE, &Request { snapshotter: snapshotter.into(), key: key.into() }).await)
    }
}
