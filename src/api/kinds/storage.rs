//! Volumes, claims and classes of storage.

use super::{CORE, Kind, READ_WRITE, Subresource};
use crate::api::{strategy, table};

pub static PERSISTENT_VOLUME_CLAIM: &Kind = &Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    list_kind: "PersistentVolumeClaimList",
    short_names: &["pvc"],
    subresources: &[Subresource::new("status", "PersistentVolumeClaim", READ_WRITE)],
    columns: table::PERSISTENT_VOLUME_CLAIM,
    strategy: &strategy::ClaimStrategy,
    ..CORE
};

pub static PERSISTENT_VOLUME: &Kind = &Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    list_kind: "PersistentVolumeList",
    short_names: &["pv"],
    namespaced: false,
    subresources: &[Subresource::new("status", "PersistentVolume", READ_WRITE)],
    columns: table::PERSISTENT_VOLUME,
    strategy: &strategy::VolumeStrategy,
    ..CORE
};

pub static STORAGE_CLASS: &Kind = &Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    list_kind: "StorageClassList",
    short_names: &["sc"],
    namespaced: false,
    columns: table::STORAGE_CLASS,
    strategy: &strategy::StorageClassStrategy,
    ..CORE
};
