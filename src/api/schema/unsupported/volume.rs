//! Of volumes.

use super::Row;
use super::Rule::{Acts, In, Only, Refused};

#[rustfmt::skip]
pub(in crate::api::schema) const VOLUME: &[Row] = &[
    ("name",                  Acts),
    ("hostPath",              Acts),
    ("emptyDir",              In(EMPTY_DIR)),
    ("gcePersistentDisk",     Refused),
    ("awsElasticBlockStore",  Refused),
    ("gitRepo",               Refused),
    ("secret",                In(SECRET_VOLUME)),
    ("nfs",                   Refused),
    ("iscsi",                 Refused),
    ("glusterfs",             Refused),
    ("persistentVolumeClaim", Acts),
    ("rbd",                   Refused),
    ("flexVolume",            Refused),
    ("cinder",                Refused),
    ("cephfs",                Refused),
    ("flocker",               Refused),
    ("downwardAPI",           In(DOWNWARD_API)),
    ("fc",                    Refused),
    ("azureFile",             Refused),
    ("configMap",             In(CONFIG_MAP_VOLUME)),
    ("vsphereVolume",         Refused),
    ("quobyte",               Refused),
    ("azureDisk",             Refused),
    ("photonPersistentDisk",  Refused),
    ("projected",             In(PROJECTED)),
    ("portworxVolume",        Refused),
    ("scaleIO",               Refused),
    ("storageos",             Refused),
    ("csi",                   Refused),
    ("ephemeral",             Refused),
    ("image",                 Refused),
];

/// Huge pages of the sizes that containers may ask for.
const MEDIUMS: &[&str] = &[
    r#""Memory""#,
    r#""HugePages""#,
    r#""HugePages-64Ki""#,
    r#""HugePages-2Mi""#,
    r#""HugePages-32Mi""#,
    r#""HugePages-1Gi""#,
];

#[rustfmt::skip]
pub(in crate::api::schema) const EMPTY_DIR: &[Row] = &[
    ("medium",    Only(MEDIUMS)),
    ("sizeLimit", Acts),
    ("mode",      Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const SECRET_VOLUME: &[Row] = &[
    ("secretName",  Acts),
    ("items",       In(KEY_TO_PATH)),
    ("defaultMode", Acts),
    ("optional",    Acts),
    ("defaultUser", Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const CONFIG_MAP_VOLUME: &[Row] = &[
    ("name",        Acts),
    ("items",       In(KEY_TO_PATH)),
    ("defaultMode", Acts),
    ("optional",    Acts),
    ("defaultUser", Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const KEY_TO_PATH: &[Row] = &[
    ("key",  Acts),
    ("path", Acts),
    ("mode", Acts),
    ("user", Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const DOWNWARD_API: &[Row] = &[
    ("items",       In(DOWNWARD_API_FILE)),
    ("defaultMode", Acts),
    ("defaultUser", Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const DOWNWARD_API_FILE: &[Row] = &[
    ("path",             Acts),
    ("fieldRef",         Acts),
    ("resourceFieldRef", Acts),
    ("mode",             Acts),
    ("user",             Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const PROJECTED: &[Row] = &[
    ("sources",     In(VOLUME_PROJECTION)),
    ("defaultMode", Acts),
    ("defaultUser", Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const VOLUME_PROJECTION: &[Row] = &[
    ("secret",              In(SECRET_PROJECTION)),
    ("downwardAPI",         In(DOWNWARD_API_PROJECTION)),
    ("configMap",           In(CONFIG_MAP_PROJECTION)),
    ("serviceAccountToken", In(TOKEN_PROJECTION)),
    ("clusterTrustBundle",  Refused),
    ("podCertificate",      Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const TOKEN_PROJECTION: &[Row] = &[
    ("audience",          Acts),
    ("expirationSeconds", Acts),
    ("path",              Acts),
    ("user",              Refused),
];

#[rustfmt::skip]
pub(in crate::api::schema) const SECRET_PROJECTION: &[Row] = &[
    ("name",     Acts),
    ("items",    In(KEY_TO_PATH)),
    ("optional", Acts),
];

#[rustfmt::skip]
pub(in crate::api::schema) const CONFIG_MAP_PROJECTION: &[Row] = &[
    ("name",     Acts),
    ("items",    In(KEY_TO_PATH)),
    ("optional", Acts),
];

#[rustfmt::skip]
pub(in crate::api::schema) const DOWNWARD_API_PROJECTION: &[Row] = &[
    ("items", In(DOWNWARD_API_FILE)),
];

#[rustfmt::skip]
pub(in crate::api::schema) const VOLUME_MOUNT: &[Row] = &[
    ("name",              Acts),
    ("readOnly",          Acts),
    ("recursiveReadOnly", Acts),
    ("mountPath",         Acts),
    ("subPath",           Acts),
    ("mountPropagation",  Acts),
    ("subPathExpr",       Acts),
    ("bindMountOptions",  Refused),
];
