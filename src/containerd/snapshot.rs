//! Snapshots: layers of file systems.

use std::time::Duration;

use super::call::{LIST_LIMIT, Method, found, within};
use super::types::{Empty, WireMount};
use super::{Client, Error, Labels};

/// Ten minutes: large layers on slow cards.
const COMMIT_LIMIT: Duration = Duration::from_secs(600);

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
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        let request = wire::PrepareSnapshotRequest {
            snapshotter: snapshotter.into(),
            key: key.into(),
            parent: parent.into(),
            labels: labels.clone(),
        };
        let answer: wire::MountsResponse = self.unary(wire::PREPARE, &request).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// [`Client::prepare_snapshot`], or the mounts of `key` if that exists already.
    pub async fn ensure_snapshot(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        match self.prepare_snapshot(snapshotter, key, parent, labels).await {
            Err(error) if error.is_already_exists() => self.snapshot_mounts(snapshotter, key).await,
            other => other,
        }
    }

    pub async fn snapshot_mounts(&self, snapshotter: &str, key: &str) -> Result<Vec<Mount>, Error> {
        let answer: wire::MountsResponse =
            self.unary(wire::MOUNTS, &wire::SnapshotRequest::new(snapshotter, key)).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// `None` when there is no such snapshot.
    pub async fn snapshot(&self, snapshotter: &str, key: &str) -> Result<Option<Snapshot>, Error> {
        let request = wire::SnapshotRequest::new(snapshotter, key);
        let answer: Option<wire::StatSnapshotResponse> = found(self.unary(wire::STAT, &request).await)?;
        Ok(answer.and_then(|answer| answer.info).map(Snapshot::from))
    }

    /// Snapshots that match one of `filters` (all if empty), for instance `kind==active`.
    pub async fn snapshots(&self, snapshotter: &str, filters: &[&str]) -> Result<Vec<Snapshot>, Error> {
        let request = wire::ListSnapshotsRequest {
            snapshotter: snapshotter.into(),
            filters: filters.iter().map(|filter| filter.to_string()).collect(),
        };
        within(wire::LIST.name(), LIST_LIMIT, async {
            let mut answers = self.server_stream(wire::LIST, &request).await?;
            let mut snapshots = Vec::new();
            while let Some(message) = answers.next::<wire::ListSnapshotsResponse>().await? {
                snapshots.extend(message.info.into_iter().map(Snapshot::from));
            }
            Ok(snapshots)
        })
        .await
    }

    /// Makes the active snapshot `key` the committed one `name`.
    pub async fn commit_snapshot(
        &self,
        snapshotter: &str,
        name: &str,
        key: &str,
        labels: &Labels,
    ) -> Result<(), Error> {
        let request = wire::CommitSnapshotRequest {
            snapshotter: snapshotter.into(),
            name: name.into(),
            key: key.into(),
            labels: labels.clone(),
        };
        // Some snapshotters measure the layer by walking it.
        self.unary_within::<_, Empty>(wire::COMMIT, &request, COMMIT_LIMIT).await?;
        Ok(())
    }

    /// Removes a snapshot; one that is gone already is fine.
    pub async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<(), Error> {
        found(self.unary::<_, Empty>(wire::REMOVE, &wire::SnapshotRequest::new(snapshotter, key)).await)?;
        Ok(())
    }
}

impl From<wire::Info> for Snapshot {
    fn from(from: wire::Info) -> Snapshot {
        let kind = match from.kind {
            1 => SnapshotKind::View,
            2 => SnapshotKind::Active,
            3 => SnapshotKind::Committed,
            _ => SnapshotKind::Unknown,
        };
        Snapshot { name: from.name, parent: from.parent, kind, labels: from.labels }
    }
}

mod wire {
    use super::{Labels, Method, WireMount};

    pub const PREPARE: Method = Method("/containerd.services.snapshots.v1.Snapshots/Prepare");
    pub const MOUNTS: Method = Method("/containerd.services.snapshots.v1.Snapshots/Mounts");
    pub const STAT: Method = Method("/containerd.services.snapshots.v1.Snapshots/Stat");
    pub const LIST: Method = Method("/containerd.services.snapshots.v1.Snapshots/List");
    pub const COMMIT: Method = Method("/containerd.services.snapshots.v1.Snapshots/Commit");
    pub const REMOVE: Method = Method("/containerd.services.snapshots.v1.Snapshots/Remove");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PrepareSnapshotRequest {
        #[prost(string, tag = "1")]
        pub snapshotter: String,
        #[prost(string, tag = "2")]
        pub key: String,
        #[prost(string, tag = "3")]
        pub parent: String,
        #[prost(btree_map = "string, string", tag = "4")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MountsResponse {
        #[prost(message, repeated, tag = "1")]
        pub mounts: Vec<WireMount>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SnapshotRequest {
        #[prost(string, tag = "1")]
        pub snapshotter: String,
        #[prost(string, tag = "2")]
        pub key: String,
    }

    impl SnapshotRequest {
        pub fn new(snapshotter: &str, key: &str) -> SnapshotRequest {
            SnapshotRequest { snapshotter: snapshotter.into(), key: key.into() }
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CommitSnapshotRequest {
        #[prost(string, tag = "1")]
        pub snapshotter: String,
        #[prost(string, tag = "2")]
        pub name: String,
        #[prost(string, tag = "3")]
        pub key: String,
        #[prost(btree_map = "string, string", tag = "4")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Info {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub parent: String,
        #[prost(int32, tag = "3")]
        pub kind: i32,
        #[prost(btree_map = "string, string", tag = "6")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct StatSnapshotResponse {
        #[prost(message, optional, tag = "1")]
        pub info: Option<Info>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListSnapshotsRequest {
        #[prost(string, tag = "1")]
        pub snapshotter: String,
        #[prost(string, repeated, tag = "2")]
        pub filters: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListSnapshotsResponse {
        #[prost(message, repeated, tag = "1")]
        pub info: Vec<Info>,
    }
}
