//! Containers: containerd's records of what may run. They outlive tasks and reboots.

use std::time::SystemTime;

use super::{Client, Error, Labels};

/// What a new container record holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    pub id: String,
    /// Name of an image record; informative.
    pub image: String,
    pub snapshotter: String,
    /// The snapshot that this container keeps from garbage collection; it need not exist yet.
    pub snapshot_key: String,
    /// For instance `io.containerd.runc.v2`.
    pub runtime: String,
    pub options: Option<RuncOptions>,
    /// The OCI runtime specification's `config.json`.
    pub spec: Vec<u8>,
    pub labels: Labels,
}

/// Options of the runc shim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuncOptions {
    /// The OCI runtime's binary instead of `runc`, a name or a path; empty for the default.
    pub binary_name: String,
    /// `cgroupsPath` is `slice:prefix:name` and systemd makes the cgroup.
    pub systemd_cgroup: bool,
    /// cgroup that the shim itself is put into; empty for containerd's.
    pub shim_cgroup: String,
}

/// A container record as containerd returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub id: String,
    pub image: String,
    pub snapshotter: String,
    pub snapshot_key: String,
    pub labels: Labels,
    pub created_at: Option<SystemTime>,
}

impl Client {
    /// Creates the record. Make it before the snapshot it names: a snapshot that nothing refers to may be
    /// taken by garbage collection at any moment.
    pub async fn create_container(&self, _spec: ContainerSpec) -> Result<(), Error> {
        todo!()
    }

    /// Containers that match one of `filters` (all if empty), for instance `labels."midge/pod"==abc`.
    /// Their OCI specs are left out.
    pub async fn containers(&self, _filters: &[&str]) -> Result<Vec<Container>, Error> {
        todo!()
    }

    pub async fn container(&self, _id: &str) -> Result<Option<Container>, Error> {
        todo!()
    }

    /// Deletes the record; one that is gone already is fine.
    pub async fn delete_container(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }
}
