//! A pod's volumes on the node: set up before its first container, bound into containers, kept up to date,
//! taken down with the pod.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::configs::Configs;
use crate::api::Object;

/// One bind mount of a container (`mounts` of the runtime-spec).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub destination: String,
    pub source: PathBuf,
    /// `rbind`, `ro`, `rslave` …
    pub options: Vec<String>,
}

/// The volumes of all pods of this node.
#[derive(Debug, Clone)]
pub struct Volumes {
    pub configs: Configs,
    /// `<data>/agent/pods`: volumes are in `<uid>/volumes/<name>`.
    pub pods_folder: PathBuf,
}

/// Why a pod can't have its volumes, or a container can't be given one. Tried again later.
#[derive(Debug)]
pub enum Error {}

impl Volumes {
    /// Makes all of the pod's volumes. Idempotent, and cheap when it is done. An error is the event FailedMount; the
    /// pod's containers stay ContainerCreating.
    pub async fn set_up(&self, _pod: &Object) -> Result<(), Error> {
        Ok(())
    }

    /// What to bind into one container. `env` is what `subPathExpr` is expanded by. An error is the waiting
    /// reason CreateContainerConfigError.
    pub async fn mounts(
        &self,
        _pod: &Object,
        _container: &Value,
        _env: &[(String, String)],
    ) -> Result<Vec<Mount>, Error> {
        Ok(Vec::new())
    }

    /// Brings the files of a running pod up to date with its ConfigMaps, Secrets and own metadata.
    pub async fn refresh(&self, _pod: &Object) {}

    /// Unmounts all that is mounted for the pod. Goes on past failures and returns all of them. Its folder is
    /// removed afterwards by [`super::work::remove_folder`].
    pub async fn tear_down(&self, _uid: &str) -> Result<(), Vec<Error>> {
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Error {}
