//! Snapshots: layers of file systems.

use super::{Client, Error, Labels};

/// A mount as containerd describes it: passed on to [`Client::create_task`] unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `overlay`, `bind`, …
    pub kind: String,
    pub source: String,
    pub target: String,
    pub options: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    Unknown,
    View,
    /// Writable.
    Active,
    /// Unpacked layers, named by chain id.
    Committed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub name: String,
    pub parent: String,
    pub kind: SnapshotKind,
    pub labels: Labels,
}

impl Client {
    /// A writable snapshot called `key` on top of the committed `parent` (empty for none).
    pub async fn prepare_snapshot(
        &self,
        _snapshotter: &str,
        _key: &str,
        _parent: &str,
        _labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        todo!()
    }

    /// [`Client::prepare_snapshot`], or the mounts of `key` if that exists already.
    pub async fn ensure_snapshot(
        &self,
        _snapshotter: &str,
        _key: &str,
        _parent: &str,
        _labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        todo!()
    }

    pub async fn snapshot_mounts(&self, _snapshotter: &str, _key: &str) -> Result<Vec<Mount>, Error> {
        todo!()
    }

    /// `None` when there is no such snapshot.
    pub async fn snapshot(&self, _snapshotter: &str, _key: &str) -> Result<Option<Snapshot>, Error> {
        todo!()
    }

    /// Snapshots that match one of `filters` (all if empty), for instance `kind==active`.
    pub async fn snapshots(&self, _snapshotter: &str, _filters: &[&str]) -> Result<Vec<Snapshot>, Error> {
        todo!()
    }

    /// Makes the active snapshot `key` the committed one `name`.
    pub async fn commit_snapshot(
        &self,
        _snapshotter: &str,
        _name: &str,
        _key: &str,
        _labels: &Labels,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Removes a snapshot; one that is gone already is fine.
    pub async fn remove_snapshot(&self, _snapshotter: &str, _key: &str) -> Result<(), Error> {
        todo!()
    }
}
