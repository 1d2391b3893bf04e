//! The columns of volumes, claims and storage classes.

use serde_json::Value;

use super::Column;
use super::columns::{AGE, NAME};
use crate::api::Object;

pub const PERSISTENT_VOLUME: &[Column] = &[
    NAME,
    Column::text("Capacity", "The volume's size.", |volume, _| text(volume, "/spec/capacity/storage")),
    Column::text("Access Modes", "How it may be mounted.", |volume, _| {
        modes(volume, "/spec/accessModes").into()
    }),
    Column::text("Reclaim Policy", "What becomes of it when its claim goes.", |volume, _| {
        text(volume, "/spec/persistentVolumeReclaimPolicy")
    }),
    Column::text("Status", "The volume's phase.", |volume, _| phase(volume)),
    Column::text("Claim", "The claim that it is bound to.", |volume, _| {
        match (volume.str_at("/spec/claimRef/namespace"), volume.str_at("/spec/claimRef/name")) {
            (_, "") => "".into(),
            (namespace, name) => format!("{namespace}/{name}").into(),
        }
    }),
    Column::text("StorageClass", "The class that it is of.", |volume, _| {
        text(volume, "/spec/storageClassName")
    }),
    Column::text("VolumeAttributesClass", "The class of its attributes.", |volume, _| {
        super::or(volume.str_at("/spec/volumeAttributesClassName"), "<unset>")
    }),
    Column::text("Reason", "Why it is in its phase.", |volume, _| text(volume, "/status/reason")),
    AGE,
    Column::text("VolumeMode", "Filesystem or Block.", |volume, _| mode(volume)).wide(),
];

pub const PERSISTENT_VOLUME_CLAIM: &[Column] = &[
    NAME,
    Column::text("Status", "The claim's phase.", |claim, _| phase(claim)),
    Column::text("Volume", "The volume that it is bound to.", |claim, _| text(claim, "/spec/volumeName")),
    Column::text("Capacity", "The volume's size.", |claim, _| {
        text(claim, if bound(claim) { "/status/capacity/storage" } else { "" })
    }),
    Column::text("Access Modes", "How it may be mounted.", |claim, _| {
        if bound(claim) { modes(claim, "/status/accessModes").into() } else { "".into() }
    }),
    Column::text("StorageClass", "The class that it asks for.", |claim, _| {
        text(claim, "/spec/storageClassName")
    }),
    Column::text("VolumeAttributesClass", "The class of its attributes.", |claim, _| {
        super::or(claim.str_at("/spec/volumeAttributesClassName"), "<unset>")
    }),
    AGE,
    Column::text("VolumeMode", "Filesystem or Block.", |claim, _| mode(claim)).wide(),
];

pub const STORAGE_CLASS: &[Column] = &[
    Column {
        cell: |class, _| match class.annotation(DEFAULT) {
            Some("true") => format!("{} (default)", class.name()).into(),
            _ => class.name().into(),
        },
        ..NAME
    },
    Column::text("Provisioner", "Who makes its volumes.", |class, _| text(class, "/provisioner")),
    Column::text("ReclaimPolicy", "What becomes of its volumes.", |class, _| text(class, "/reclaimPolicy")),
    Column::text("VolumeBindingMode", "When its volumes are made.", |class, _| {
        text(class, "/volumeBindingMode")
    }),
    Column {
        kind: "boolean",
        ..Column::text("AllowVolumeExpansion", "Whether they may grow.", |class, _| {
            class.bool_at("/allowVolumeExpansion").into()
        })
    },
    AGE,
];

/// The annotation of the class that claims without one get.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

fn text(object: &Object, pointer: &str) -> Value {
    object.str_at(pointer).into()
}

fn bound(claim: &Object) -> bool {
    !claim.str_at("/spec/volumeName").is_empty()
}

fn phase(object: &Object) -> Value {
    match object.deletion_timestamp() {
        Some(_) => "Terminating".into(),
        None => text(object, "/status/phase"),
    }
}

fn mode(object: &Object) -> Value {
    super::or(object.str_at("/spec/volumeMode"), "<unset>")
}

/// `RWO,ROX`.
fn modes(object: &Object, pointer: &str) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    object.array_at(pointer).iter().map(short).collect::<Vec<_>>().join(",")
}
