//! Floor 1: containerd's gRPC API, spoken directly over its socket.
//!
//! One multiplexed connection ([`Client`]) carries every call; it is dialled again by itself after a
//! restart of containerd. On top of the plain services stand image resolution ([`Image`]), unpacking
//! ([`Client::ensure_unpacked`]) and the import of image archives ([`import::archive`]). Works with
//! containerd 1.6, 1.7 and 2.x, whose CRI plugin may be off.

mod call;
mod channel;
mod client;
mod container;
mod content;
pub mod document;
mod error;
mod event;
mod exec;
mod frame;
mod image;
pub mod import;
mod io;
mod lease;
mod platform;
pub mod reference;
mod snapshot;
mod store;
mod task;
mod types;
mod unpack;
mod usage;

/// gRPC itself, for other servers than containerd.
pub mod grpc {
    pub use super::call::{Answers, Requests};
    pub use super::io::Socket;
}

/// Labels of a resource: keys as `midge/pod`, sorted.
pub type Labels = std::collections::BTreeMap<String, String>;

pub use client::{Client, Version};
pub use container::{Container, ContainerSpec, RuncOptions};
pub use content::{Blob, ContentInfo, Descriptor, PIECE, Writer};
pub use error::{Code, Error};
pub use event::{Event, Events};
pub use exec::ExecSpec;
pub use image::{Image, ImageConfig, Layer, StoredImage};
pub use lease::Lease;
pub use platform::Platform;
pub use snapshot::{Mount, Snapshot, SnapshotKind};
pub use task::{Exit, Stdio, Task, TaskStatus};
pub use usage::SnapshotUsage;
