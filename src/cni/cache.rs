//! What ADD was given and what it answered, kept until DEL: the configuration may change meanwhile,
//! and the agent may start anew.

use super::{Attachment, Config, Error};
use crate::sys::file;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One file, `<container id>@<interface>.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of this format.
    pub version: u32,
    pub network: String,
    pub cni_version: String,
    pub plugins: Vec<Map<String, Value>>,
    /// `CNI_ARGS`
    pub args: String,
    pub runtime: Map<String, Value>,
    /// The last plugin's; None while ADD is under way, or when it was cut off.
    pub result: Option<Value>,
}

const VERSION: u32 = 1;

impl Record {
    pub fn new(config: &Config, attachment: &Attachment<'_>) -> Record {
        Record {
            version: VERSION,
            network: config.name.clone(),
            cni_version: config.version.clone(),
            plugins: config.plugins.clone(),
            args: attachment.cni_args(),
            runtime: attachment
                .runtime
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            result: None,
        }
    }

    pub fn config(&self) -> Config {
        Config {
            name: self.network.clone(),
            version: self.cni_version.clone(),
            plugins: self.plugins.clone(),
            path: None,
        }
    }
}

pub(super) fn path(folder: &Path, container_id: &str, ifname: &str) -> PathBuf {
    folder.join(format!("{container_id}@{ifname}.json"))
}

/// None when there is none. One that can't be understood is told in the log and counts as begun: what
/// was added is still to be deleted, with the configuration of today.
pub(super) fn read(path: &Path) -> Result<Option<Option<Record>>, Error> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| Error::ReadCache { path: path.into(), source })?,
    };
    match serde_json::from_slice::<Record>(&text) {
        Ok(record) if record.version <= VERSION => Ok(Some(Some(record))),
        Ok(record) => {
            log::warn!("`{}` is of version {}, newer than this midge", path.display(), record.version);
            Ok(Some(None))
        }
        Err(error) => {
            log::warn!("`{}` is damaged: {error}", path.display());
            Ok(Some(None))
        }
    }
}

pub(super) fn write(path: &Path, record: &Record) -> Result<(), Error> {
    let failed = |source| Error::WriteCache { path: path.into(), source };
    let text = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
    if let Some(folder) = path.parent() {
        file::create_private_folder(folder).map_err(failed)?;
    }
    file::write_atomic(path, &text, 0o600).map_err(failed)
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::WriteCache { path: path.into(), source }),
    }
}

/// Container ids with a file in `folder`, sorted.
pub(super) fn ids(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::ReadFolder { path: folder.into(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json")?.split_once('@'));
        ids.extend(id.map(|(id, _)| id.to_string()));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
