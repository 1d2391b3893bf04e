//! Containers: containerd's records of what may run. They outlive tasks and reboots.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;

use super::call::{LIST_LIMIT, Method, found, within};
use super::types::{Any, Empty, Timestamp};
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
    pub async fn create_container(&self, spec: ContainerSpec) -> Result<(), Error> {
        let options = spec.options.map(|options| Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: Bytes::from(wire::RuncOptions::from(options).encode_to_vec()),
        });
        let container = wire::Container {
            id: spec.id,
            labels: spec.labels,
            image: spec.image,
            runtime: Some(wire::Runtime { name: spec.runtime, options }),
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
                value: Bytes::from(spec.spec),
            }),
            snapshotter: spec.snapshotter,
            snapshot_key: spec.snapshot_key,
            created_at: None,
        };
        let request = wire::CreateContainerRequest { container: Some(container) };
        self.unary::<_, Empty>(wire::CREATE, &request).await?;
        Ok(())
    }

    /// Containers that match one of `filters` (all if empty), for instance `labels."midge/pod"==abc`.
    /// Their OCI specs are left out.
    pub async fn containers(&self, filters: &[&str]) -> Result<Vec<Container>, Error> {
        let request =
            wire::ListContainersRequest { filters: filters.iter().map(|f| f.to_string()).collect() };
        within(wire::LIST.name(), LIST_LIMIT, async {
            // As a stream, so that a hundred specs are never here at once.
            let mut answers = self.server_stream(wire::LIST, &request).await?;
            let mut containers = Vec::new();
            while let Some(message) = answers.next::<wire::ListContainerMessage>().await? {
                containers.extend(message.container.map(Container::from));
            }
            Ok(containers)
        })
        .await
    }

    pub async fn container(&self, id: &str) -> Result<Option<Container>, Error> {
        let request = wire::ContainerRequest { id: id.into() };
        let answer: Option<wire::GetContainerResponse> = found(self.unary(wire::GET, &request).await)?;
        Ok(answer.and_then(|answer| answer.container).map(Container::from))
    }

    /// Deletes the record; one that is gone already is fine.
    pub async fn delete_container(&self, id: &str) -> Result<(), Error> {
        let request = wire::ContainerRequest { id: id.into() };
        found(self.unary::<_, Empty>(wire::DELETE, &request).await)?;
        Ok(())
    }
}

impl From<wire::Container> for Container {
    fn from(from: wire::Container) -> Container {
        Container {
            id: from.id,
            image: from.image,
            snapshotter: from.snapshotter,
            snapshot_key: from.snapshot_key,
            labels: from.labels,
            created_at: from.created_at.and_then(Timestamp::time),
        }
    }
}

impl From<RuncOptions> for wire::RuncOptions {
    fn from(from: RuncOptions) -> wire::RuncOptions {
        wire::RuncOptions {
            shim_cgroup: from.shim_cgroup,
            binary_name: from.binary_name,
            systemd_cgroup: from.systemd_cgroup,
        }
    }
}

mod wire {
    use super::{Any, Labels, Method, Timestamp};

    pub const CREATE: Method = Method("/containerd.services.containers.v1.Containers/Create");
    pub const GET: Method = Method("/containerd.services.containers.v1.Containers/Get");
    pub const LIST: Method = Method("/containerd.services.containers.v1.Containers/ListStream");
    pub const DELETE: Method = Method("/containerd.services.containers.v1.Containers/Delete");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Runtime {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub options: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Container {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(btree_map = "string, string", tag = "2")]
        pub labels: Labels,
        #[prost(string, tag = "3")]
        pub image: String,
        #[prost(message, optional, tag = "4")]
        pub runtime: Option<Runtime>,
        #[prost(message, optional, tag = "5")]
        pub spec: Option<Any>,
        #[prost(string, tag = "6")]
        pub snapshotter: String,
        #[prost(string, tag = "7")]
        pub snapshot_key: String,
        #[prost(message, optional, tag = "8")]
        pub created_at: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateContainerRequest {
        #[prost(message, optional, tag = "1")]
        pub container: Option<Container>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ContainerRequest {
        #[prost(string, tag = "1")]
        pub id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct GetContainerResponse {
        #[prost(message, optional, tag = "1")]
        pub container: Option<Container>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListContainersRequest {
        #[prost(string, repeated, tag = "1")]
        pub filters: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListContainerMessage {
        #[prost(message, optional, tag = "1")]
        pub container: Option<Container>,
    }

    /// `containerd.runc.v1.Options`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RuncOptions {
        #[prost(string, tag = "3")]
        pub shim_cgroup: String,
        #[prost(string, tag = "6")]
        pub binary_name: String,
        #[prost(bool, tag = "9")]
        pub systemd_cgroup: bool,
    }
}
